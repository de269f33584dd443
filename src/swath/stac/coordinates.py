"""The coordinates of a GeoJSON geometry: read, counted, and told where they are no coordinates.

Each position comes twice: as numbers, and as it is spelled (a piece of the document's text, or the same numbers). What
is mended is made of the spelled ones wherever they stay, so that a ring that is turned round keeps its digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from swath.limits import LIMITS
from swath.stac.boxes import Reach
from swath.stac.findings import Findings

__all__ = ["DEPTHS", "Coordinates", "Mended", "Way", "array_of", "count_parts", "count_positions", "read_coordinates"]

# How many arrays there are around a position.
DEPTHS = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}

_Position = Annotated[list[float], msgspec.Meta(min_length=2)]
_SHAPES: dict[int, Any] = {
    0: _Position, 1: list[_Position], 2: list[list[_Position]], 3: list[list[list[_Position]]],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coordinates:
    """The coordinates of a geometry that is no collection. `at` points to the geometry, `flat` has all positions."""

    kind: str
    at: str
    numbers: Any
    spelled: Any
    flat: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Way:
    """How edges longer than half a turn are taken.

    `across`: the item's bbox runs from east to west. `cuts`: there are few enough parts to cut those that need it.
    """

    across: bool
    cuts: bool


@dataclass(frozen=True, slots=True)
class Mended:
    """How far a geometry reaches as it was sent and as it is mended, and its type and coordinates if they changed.

    `after` is None where that is not known: it lies across the antimeridian, and cannot be cut.
    """

    before: Reach
    after: Reach | None
    changed: tuple[str, Any] | None = None


def count_positions(value: object) -> int:
    """How many positions a geometry has, or empty arrays, which cost as much. Stops where there are too many."""
    if not isinstance(value, dict):
        return 1
    members = value.get("geometries")
    if value.get("type") == "GeometryCollection" and isinstance(members, list):
        return sum(map(count_positions, members))
    level, count = [value.get("coordinates")], 1
    for _ in range(DEPTHS.get(str(value.get("type")), 0)):
        level = list(chain.from_iterable(part for part in level if isinstance(part, list)))
        count = max(count, len(level))
        if count > LIMITS.stored_geometry_vertices:
            break
    return count


def count_parts(value: object) -> int:
    """How many polygons, lines or points a geometry has."""
    if not isinstance(value, dict):
        return 1
    parts = value.get("geometries") if value.get("type") == "GeometryCollection" else value.get("coordinates")
    if value.get("type") == "GeometryCollection" and isinstance(parts, list):
        return sum(map(count_parts, parts))
    return len(parts) if isinstance(parts, list) and str(value.get("type")).startswith("Multi") else 1


def read_coordinates(kind: str, at: str, numbers: Any, spelled: Any, findings: Findings) -> Coordinates | None:
    """Coordinates that lie on the earth, none of them if the geometry is empty; None with an error otherwise."""
    at_coordinates = f"{at}/coordinates"
    try:
        msgspec.convert(numbers, _SHAPES[DEPTHS[kind]])
    except msgspec.ValidationError:
        findings.error(*_misshapen(numbers, DEPTHS[kind], at_coordinates))
        return None
    positions = [numbers] if not DEPTHS[kind] else numbers
    for _ in range(DEPTHS[kind] - 1):
        positions = list(chain.from_iterable(positions))
    if any(len(position) > 3 for position in positions):
        findings.warning(at_coordinates, "a position has more than three numbers, which GeoJSON gives no meaning")
    read = Coordinates(kind, at, numbers, spelled, array_of(positions))
    flat = read.flat
    if not len(flat):
        return read
    low, high = flat.min(axis=0), flat.max(axis=0)
    if low[1] < -90 or high[1] > 90:
        findings.error(_place(read, np.abs(flat[:, 1]) > 90), "a latitude is not between -90 and 90")
        return None
    if low[0] < -540 or high[0] > 540:
        findings.error(
            _place(read, np.abs(flat[:, 0]) > 540), "a longitude is not between -180 and 180, nor one turn beyond"
        )
        return None
    return read


def array_of(positions: list[Any]) -> NDArray[np.float64]:
    """Positions as rows: longitude, latitude, and height where all have one."""
    if not positions:
        return np.empty((0, 2))
    fewest, most = min(map(len, positions)), max(map(len, positions))
    if fewest == most <= 3:
        return np.array(positions, np.float64)
    return np.array([position[: min(fewest, 3)] for position in positions], np.float64)


def _place(read: Coordinates, wrong: NDArray[np.bool_]) -> str:
    """The pointer to the first position that is wrong."""
    index = int(np.argmax(wrong))

    def down(value: Any, depth: int, before: int, place: str) -> tuple[int, str | None]:
        if depth == 0:
            return before + 1, place if before == index else None
        for number, part in enumerate(value):
            before, found = down(part, depth - 1, before, f"{place}/{number}")
            if found is not None:
                return before, found
        return before, None

    return down(read.numbers, DEPTHS[read.kind], 0, f"{read.at}/coordinates")[1] or read.at


def _misshapen(value: Any, depth: int, at: str) -> tuple[str, str]:
    """Where coordinates are not what the type asks for, and what they should be there."""
    if depth == 0:
        return at, "a position is an array of two or three numbers"
    if isinstance(value, list):
        for number, part in enumerate(value):
            try:
                msgspec.convert(part, _SHAPES[depth - 1])
            except msgspec.ValidationError:
                return _misshapen(part, depth - 1, f"{at}/{number}")
    return at, "an array of positions" if depth == 1 else "an array of arrays of positions"
