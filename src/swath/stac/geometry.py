"""Boxes and footprints: reading them, and the planar shape that a search sees.

Everything is planar CRS84 (longitude, latitude in degrees); heights are kept in documents and ignored
in searches. The search shape is what RFC 7946 says, literally, unless the item's bbox runs from east
to west (RFC 7946, 5.2) or a longitude lies beyond ±180: then it is cut at the antimeridian (3.1.9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

__all__ = [
    "GEOMETRY_TYPES",
    "BBox",
    "FootprintError",
    "check_shape",
    "edge_overlaps",
    "footprint",
    "is_tangled",
    "parse_bbox",
    "read_geometry",
]

GEOMETRY_TYPES = frozenset(
    ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")
)


@dataclass(frozen=True, slots=True)
class BBox:
    """A box in degrees. `west > east` means that it runs across the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    def parts(self) -> tuple[tuple[float, float, float, float], ...]:
        """One box, or two where the box crosses the antimeridian."""
        if self.west <= self.east:
            return ((self.west, self.south, self.east, self.north),)
        return ((self.west, self.south, 180.0, self.north), (-180.0, self.south, self.east, self.north))

    def shape(self) -> BaseGeometry:
        """The planar shape: a point or a line where the box has no width or no height."""
        shapes = [_box_shape(*part) for part in self.parts()]
        return shapes[0] if len(shapes) == 1 else shapely.union_all(shapes)


def _box_shape(west: float, south: float, east: float, north: float) -> BaseGeometry:
    if west == east and south == north:
        return shapely.Point(west, south)
    if west == east or south == north:
        return shapely.LineString([(west, south), (east, north)])
    return shapely.box(west, south, east, north)


def parse_bbox(numbers: Sequence[Any]) -> BBox:
    """A box of 4 or 6 numbers, west first; heights are checked and dropped. ValueError names the fault."""
    if len(numbers) not in (4, 6):
        raise ValueError(f"a bbox has 4 or 6 numbers, not {len(numbers)}")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float) or not -1e300 < number < 1e300:
            raise ValueError("a bbox holds finite numbers only")
    if len(numbers) == 6:
        west, south, bottom, east, north, top = map(float, numbers)
        if bottom > top:
            raise ValueError(f"the bbox is upside down: bottom {bottom} is above top {top}")
    else:
        west, south, east, north = map(float, numbers)
    for longitude in (west, east):
        if not -180 <= longitude <= 180:
            raise ValueError(f"longitude {longitude} of the bbox is not between -180 and 180")
    for latitude in (south, north):
        if not -90 <= latitude <= 90:
            raise ValueError(f"latitude {latitude} of the bbox is not between -90 and 90")
    if south > north:
        raise ValueError(f"south {south} of the bbox is north of north {north}; the order is west, south, east, north")
    return BBox(west, south, east, north)


def read_geometry(value: object, most_vertices: int) -> BaseGeometry:
    """A GeoJSON geometry of a request as a planar shape. ValueError names the fault.

    Out of range coordinates and shapes that are not valid (OGC 06-103r4, 6.1) are refused: engines
    disagree on what they mean, and repair is too slow for a request.
    """
    return check_shape(_shape_of(value, most_vertices), most_vertices)


def united(shape: BaseGeometry) -> BaseGeometry:
    """The same points; of a collection, one in which no part lies in another, since GEOS relates only those right.

    Areas become one; of lines and points, what lies outside is left. What needs no cut keeps its coordinates.
    """
    if shape.geom_type != "GeometryCollection":
        return shape
    parts = _parts(shape)
    parts = parts[~shapely.is_empty(parts)]
    kinds = shapely.get_type_id(parts)
    areas = shapely.union_all(parts[kinds == shapely.GeometryType.POLYGON])
    lines = shapely.MultiLineString(list(parts[kinds == shapely.GeometryType.LINESTRING]))
    if shapely.intersects(lines, areas):
        lines = shapely.difference(lines, areas)
    points = shapely.MultiPoint(list(parts[kinds == shapely.GeometryType.POINT]))
    for larger in (areas, lines):
        if shapely.intersects(points, larger):
            points = shapely.difference(points, larger)
    left = [each for each in (areas, lines, points) if not each.is_empty]
    return left[0] if len(left) == 1 else shapely.GeometryCollection([part for each in left for part in _parts(each)])


def check_shape(shape: BaseGeometry, most_vertices: int) -> BaseGeometry:
    """The same shape in two dimensions, if a search may use it. ValueError names the fault."""
    shape = shapely.force_2d(shape)
    if shapely.get_num_coordinates(shape) > most_vertices:
        raise ValueError(f"the geometry has more than {most_vertices:,} vertices; simplify it")
    if not shape.is_empty:
        west, south, east, north = _reach(shape)
        if west < -180 or east > 180 or south < -90 or north > 90:
            raise ValueError("a coordinate is not a longitude of -180 to 180 and a latitude of -90 to 90")
    if not shape.is_valid:
        raise ValueError(f"the geometry is not valid: {shapely.is_valid_reason(shape)}")
    return shape


def _reach(shape: BaseGeometry) -> tuple[float, float, float, float]:
    """The bounds of all coordinates. Those of GEOS leave out the holes of polygons, which may lie anywhere."""
    if shape.geom_type == "Polygon" and not shapely.get_num_interior_rings(shape):
        west, south, east, north = shape.bounds
        return west, south, east, north
    coordinates = shapely.get_coordinates(shape)
    west, south = coordinates.min(axis=0).tolist()
    east, north = coordinates.max(axis=0).tolist()
    return west, south, east, north


def _shape_of(value: object, most_vertices: int) -> BaseGeometry:
    if not isinstance(value, dict):
        raise ValueError("a geometry is a GeoJSON object")
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in GEOMETRY_TYPES:
        raise ValueError(f"{kind!r} is not the type of a GeoJSON geometry")
    if not _is_small_polygon(value):
        _check_positions(value, most_vertices)
    try:
        shape = shapely.from_geojson(msgspec.json.encode(value))
    except shapely.errors.GEOSException as error:
        raise ValueError(f"not a GeoJSON {kind}: {_reason(error)}") from None
    return shapely.force_2d(shape) if shapely.has_z(shape) else shape


_Position = Annotated[list[float], msgspec.Meta(min_length=2)]
_SmallRing = Annotated[list[_Position], msgspec.Meta(max_length=64)]


class _SmallPolygon(msgspec.Struct):
    coordinates: Annotated[list[_SmallRing], msgspec.Meta(min_length=1, max_length=1)]


def _is_small_polygon(value: dict[str, Any]) -> bool:
    """Whether it is what most footprints are, and plainly right: told without a step of Python for each number."""
    if value["type"] != "Polygon":
        return False
    try:
        msgspec.convert(value, _SmallPolygon)
    except msgspec.ValidationError:
        return False
    return True


def _reason(error: Exception) -> str:
    """GEOS prefixes its class and, for JSON, a code."""
    text = str(error).strip()
    return text.rsplit("] ", 1)[-1].removeprefix("IllegalArgumentException: ").removeprefix("ParseException: ")


def _check_positions(value: dict[str, Any], most_vertices: int) -> None:
    """Positions are arrays of at least two finite numbers: what GEOS is lenient about."""
    total = 0
    stack: list[object] = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            if part.get("type") == "GeometryCollection":
                members = part.get("geometries")
                if not isinstance(members, list):
                    raise ValueError("a GeometryCollection has an array `geometries`")
                stack.extend(members)
            else:
                if not isinstance(part.get("coordinates"), list):
                    raise ValueError("a geometry has an array `coordinates`")
                stack.append(part["coordinates"])
        elif isinstance(part, list):
            total += not part or not isinstance(part[0], list)  # an empty array costs as much as a position
            if part and not isinstance(part[0], list):
                if len(part) < 2 or not all(type(number) in (int, float) for number in part):
                    raise ValueError("a position is an array of two or three numbers")
            else:
                stack.extend(part)
        else:
            raise ValueError("coordinates are arrays of numbers")
        if total > most_vertices:
            raise ValueError(f"the geometry has more than {most_vertices:,} vertices; simplify it")


@dataclass(frozen=True, slots=True)
class FootprintError(ValueError):
    """A stored geometry that no search could use."""

    reason: str

    def __str__(self) -> str:
        return self.reason


def footprint(value: object, bbox: object, most_vertices: int) -> tuple[BaseGeometry | None, bool, str | None]:
    """The search shape of an item, whether it differs from the literal geometry, and a warning.

    None for a null geometry. FootprintError when the geometry cannot be read at all. A footprint that
    crosses itself is repaired for searching (`make_valid`, method "structure") with a warning; the stored
    document keeps what was sent.
    """
    if value is None:
        return None, False, None
    try:
        shape = _shape_of(value, most_vertices)
    except ValueError as error:
        raise FootprintError(str(error)) from None
    if shape.is_empty:
        return shape, False, None
    west, south, east, north = _reach(shape)
    if south < -90 or north > 90:
        raise FootprintError("a latitude is not between -90 and 90")
    if west < -540 or east > 540:
        raise FootprintError("a longitude is not between -180 and 180, nor one turn beyond")
    if is_tangled(shape):
        raise FootprintError("the outline crosses itself, or nests, so often that no area can be told; simplify it")
    changed = west < -180 or east > 180
    if _runs_west(bbox) and east - west > 180:
        changed, shape = True, _unrolled(shape)
    warning = None
    if not shape.is_valid:
        reason = shapely.is_valid_reason(shape)
        warning = f"the footprint is not valid ({reason}); searches use a repaired copy"
        changed, shape = True, shapely.make_valid(shape, method="structure")
    if changed:
        shape = _cut(shape)
    if shape.geom_type == "GeometryCollection":
        changed, shape = True, united(shape)
    return shape, changed, warning


_SIMPLE_VERTICES = 100
_OVERLAPS_PER_VERTEX = 50
_MOST_NESTED = 2_000_000


def is_tangled(shape: BaseGeometry) -> bool:
    """Whether telling or repairing an area could take longer than anybody waits: by how many boxes overlap.

    Of edges: a coastline has a few overlaps an edge, a scribble as many as edges; 2,000 vertices of the latter take
    GEOS 43 s and 2.7 GB. Of rings: it compares each with all around it, and 20,000 within each other take it 40 s.
    """
    total = shapely.get_num_coordinates(shape)
    if total <= _SIMPLE_VERTICES or shape.geom_type not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        return False
    most = _OVERLAPS_PER_VERTEX * total
    return edge_overlaps(shape, most) > most or _overlaps(_boxes_of_rings(shape), _MOST_NESTED) > _MOST_NESTED


def edge_overlaps(shape: BaseGeometry, most: int) -> int:
    """How many pairs of edges have boxes that overlap: each pair twice, each edge with itself. Stops beyond `most`."""
    parts = _parts(shape)
    outlines = [*shapely.get_rings(parts), *parts[shapely.get_type_id(parts) == shapely.GeometryType.LINESTRING]]
    if not outlines:
        return 0
    return _overlaps(np.concatenate([_boxes_of_edges(shapely.get_coordinates(outline)) for outline in outlines]), most)


def _overlaps(boxes: NDArray[np.object_], most: int) -> int:
    """Counted some boxes at a time, so that counting itself is bounded."""
    tree = shapely.STRtree(boxes)
    step = max(1, 1_000_000 // max(1, len(boxes)))
    found = 0
    for start in range(0, len(boxes), step):
        found += tree.query(boxes[start : start + step]).shape[1]
        if found > most:
            break
    return found


def _boxes_of_rings(shape: BaseGeometry) -> NDArray[np.object_]:
    west, south, east, north = shapely.bounds(shapely.get_rings(_parts(shape))).T
    boxes: NDArray[np.object_] = shapely.box(west, south, east, north)
    return boxes


def _boxes_of_edges(coordinates: NDArray[np.float64]) -> NDArray[np.object_]:
    low, high = np.minimum(coordinates[:-1], coordinates[1:]), np.maximum(coordinates[:-1], coordinates[1:])
    boxes: NDArray[np.object_] = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    return boxes


def _runs_west(bbox: object) -> bool:
    """Whether a document's bbox says that it crosses the antimeridian (west greater than east)."""
    if not isinstance(bbox, list) or len(bbox) not in (4, 6):
        return False
    west, east = bbox[0], bbox[len(bbox) // 2]
    return isinstance(west, int | float) and isinstance(east, int | float) and west > east


def _parts(shape: BaseGeometry) -> NDArray[np.object_]:
    """The points, lines and polygons of a geometry, out of collections within collections too."""
    parts: NDArray[np.object_] = shapely.get_parts(shape)
    while (shapely.get_type_id(parts) >= shapely.GeometryType.MULTIPOINT).any():
        parts = shapely.get_parts(parts)
    return parts


def _unrolled(shape: BaseGeometry) -> BaseGeometry:
    """A shape across the antimeridian, whose longitudes jump there, with them running on beyond 180."""

    def onward(xy: NDArray[np.float64]) -> NDArray[np.float64]:  # what lies west of Greenwich is one turn further on
        return xy + np.where(xy[:, :1] < 0, (360.0, 0.0), (0.0, 0.0))

    filled = [part for part in _parts(shape) if not part.is_empty]  # shapely makes nothing of empty parts
    parts = [shapely.transform(part, onward) if _is_wide(part) else part for part in filled]
    if len(parts) == 1:
        return parts[0]
    kinds = {part.geom_type for part in parts}
    together = {"Polygon": shapely.MultiPolygon, "LineString": shapely.MultiLineString, "Point": shapely.MultiPoint}
    return (together[kinds.pop()] if len(kinds) == 1 else shapely.GeometryCollection)(parts)


def _cut(shape: BaseGeometry) -> BaseGeometry:
    """The shape with its parts beyond ±180 moved round, so that it lies within [-180, 180] (RFC 7946, 3.1.9).

    Cut in the plane, as everything here is planar. What a cut leaves of an area on the meridian itself is no area.
    """
    areal = shape.geom_type in ("Polygon", "MultiPolygon")
    if shape.geom_type == "GeometryCollection":  # GEOS cannot tell what an empty polygon leaves of one
        shape = shapely.GeometryCollection([part for part in _parts(shape) if not part.is_empty])
    parts: list[BaseGeometry] = []
    for turn in (-360.0, 0.0, 360.0):
        window = shapely.box(-180 - turn, -90, 180 - turn, 90)
        seen = [part for part in _parts(shapely.intersection(shape, window)) if not part.is_empty]
        kept = [part for part in seen if part.area > 0] if areal else seen
        parts.extend(shapely.affinity.translate(part, xoff=turn) for part in kept)
    return shapely.union_all(parts)


def _is_wide(shape: BaseGeometry) -> bool:
    west, _, east, _ = shape.bounds
    return bool(east - west > 180)
