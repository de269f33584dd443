"""What RFC 7946 says of a geometry: found wrong and mended in one walk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swath.limits import LIMITS
from swath.stac.antimeridian import cut_line, is_wide, unrolled
from swath.stac.areas import check_areas
from swath.stac.boxes import Reach, hull
from swath.stac.coordinates import Coordinates, Mended, Way, array_of, count_parts, count_positions, read_coordinates
from swath.stac.findings import Findings
from swath.stac.geometry import GEOMETRY_TYPES, BBox

__all__ = ["Outline", "check_geometry"]

_MOST_MEMBERS = 2_000
_MOST_CUT = 500  # parts of a geometry: a cut takes a millisecond
_WIDE = "an edge is longer than half the earth; what lies across the antimeridian is cut there"


@dataclass(slots=True)
class Outline:
    """How far a whole geometry reaches, as it was sent (`before`) and as it is mended (`after`). None: not known.

    `changed` has the type and coordinates of each geometry in it that is mended, by its pointer.
    """

    before: Reach | None = field(default_factory=Reach)
    after: Reach | None = field(default_factory=Reach)
    changed: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def take(self, at: str, mended: Mended | None) -> None:
        """Add one geometry; None is one whose place cannot be told."""
        self.before = _both(self.before, None if mended is None else mended.before)
        self.after = _both(self.after, None if mended is None else mended.after)
        if mended is not None and mended.changed is not None:
            self.changed[at] = mended.changed

    @property
    def is_empty(self) -> bool:
        return self.before is not None and not self.before.west

    def box(self, *, across: bool) -> BBox | None:
        return None if self.before is None else hull(self.before, across=across)

    def mended_box(self, *, across: bool) -> BBox | None:
        return None if self.after is None else hull(self.after, across=across)


def _both(one: Reach | None, other: Reach | None) -> Reach | None:
    if one is None or other is None:
        return None
    one.take(other)
    return one


def check_geometry(geometry: object, spelled: Any, findings: Findings, *, across: bool) -> Outline:
    """Check an item's geometry that is not null.

    `spelled` is the same with what stands for each position in the document. `across`: the item's bbox runs from east
    to west.
    """
    outline = Outline()
    if count_positions(geometry) > LIMITS.stored_geometry_vertices:
        most = f"{LIMITS.stored_geometry_vertices:,}"
        findings.error("/geometry", f"the geometry has more than {most} vertices; simplify it")
        outline.take("", None)
        return outline
    way = Way(across, count_parts(geometry) <= _MOST_CUT)
    stack = [(geometry, spelled, "/geometry")]
    members = 0
    while stack:
        part, text, at = stack.pop()
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(kind, str) or kind not in GEOMETRY_TYPES:
            findings.error(at, "a geometry is an object with the `type` of a GeoJSON geometry")
            outline.take(at, None)
        elif kind != "GeometryCollection":
            outline.take(at, _check_simple(kind, part, text, at, findings, way))
        elif isinstance(part.get("geometries"), list):
            members += len(part["geometries"])
            if members > _MOST_MEMBERS:
                findings.warning(at, f"more than {_MOST_MEMBERS:,} geometries in collections: they were not checked")
                outline.take(at, None)
                break
            pairs = enumerate(zip(part["geometries"], text["geometries"], strict=True))
            stack.extend((member, piece, f"{at}/geometries/{number}") for number, (member, piece) in pairs)
        else:
            findings.error(at, "a GeometryCollection has an array `geometries`")
            outline.take(at, None)
    return outline


def _check_simple(kind: str, part: dict[str, Any], text: Any, at: str, findings: Findings, way: Way) -> Mended | None:
    read = read_coordinates(kind, at, part.get("coordinates"), text.get("coordinates"), findings)
    if read is None:
        return None
    if not len(read.flat):
        findings.warning(at, f"the {kind} is empty; an item without a footprint has a null geometry")
        return Mended(Reach(), Reach())
    if "Polygon" in kind:
        return check_areas(read, findings, way)
    if "Line" in kind:
        return _check_lines(read, findings, way)
    return _check_points(read, findings)


def _check_lines(read: Coordinates, findings: Findings, way: Way) -> Mended | None:
    """A LineString or MultiLineString: two positions or more, cut at the antimeridian."""
    single = read.kind == "LineString"
    lines, texts = ([read.numbers], [read.spelled]) if single else (read.numbers, read.spelled)
    places = [f"{read.at}/coordinates" + ("" if single else f"/{number}") for number in range(len(lines))]
    short = [at for at, line in zip(places, lines, strict=True) if len(line) < 2]
    for at in short:
        findings.error(at, "a line has two positions or more")
    if short:
        return None
    before, after = Reach(), Reach()
    written: list[Any] = []
    changed = uncut = False
    for at, line, text in zip(places, lines, texts, strict=True):
        positions = array_of(line)
        wide, beyond = bool(is_wide(positions[:, 0]).any()), bool((np.abs(positions[:, 0]) > 180).any())
        before.take(_reach(unrolled(positions[:, 0]) if wide and way.across else positions[:, 0], positions))
        cut = cut_line(positions) if (wide or beyond) and way.cuts else None
        done = None if cut is None else "cut at the antimeridian"
        if beyond:
            findings.error(at, "a longitude is not between -180 and 180", done)
        elif wide:
            findings.warning(at, _WIDE, done)
        changed, uncut = changed or cut is not None, uncut or ((wide or beyond) and cut is None)
        written += [text] if cut is None else [part.tolist() for part in cut]
        for part in [positions] if cut is None else cut:
            after.take(_reach(part[:, 0], part))
    reach = None if uncut else after
    if not changed:
        return Mended(before, reach)
    if single and len(written) == 1:
        return Mended(before, reach, ("LineString", written[0]))
    return Mended(before, reach, ("MultiLineString", written))


def _reach(x: Any, positions: Any) -> Reach:
    y = positions[:, 1]
    return Reach([float(x.min())], [float(x.max())], float(y.min()), float(y.max()))


def _check_points(read: Coordinates, findings: Findings) -> Mended:
    """A Point or MultiPoint, moved by whole turns where it lies beyond ±180."""
    single = read.kind == "Point"
    x, y = read.flat[:, 0], read.flat[:, 1]
    beyond = np.abs(x) > 180
    moved = np.where(beyond, np.round((x + 180) % 360 - 180, 12), x)
    before = Reach(x.tolist(), x.tolist(), float(y.min()), float(y.max()))
    if not beyond.any():
        return Mended(before, before)
    numbers, written = ([read.numbers], [read.spelled]) if single else (read.numbers, list(read.spelled))
    for number in np.flatnonzero(beyond).tolist():
        at = f"{read.at}/coordinates" + ("" if single else f"/{number}")
        findings.error(at, "a longitude is not between -180 and 180", "moved the point round the earth")
        written[number] = [float(moved[number]), *numbers[number][1:]]
    after = Reach(moved.tolist(), moved.tolist(), before.south, before.north)
    return Mended(before, after, (read.kind, written[0] if single else written))
