"""S_CROSSES of lines and footprints, by the shortcut for straight segments and by GEOS: the same answers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import shapely

import swath
from tests.conftest import long, make_item


def footprint(draw: random.Random) -> shapely.Geometry:
    """On whole degrees, so that corners lie on lines, and edges along them; some with a hole, some in two parts."""
    west, south = draw.randrange(-20, 20), draw.randrange(-20, 20)
    corners = [(west + draw.randrange(0, 9), south + draw.randrange(0, 9)) for _ in range(draw.choice((3, 4, 5, 7)))]
    shape = shapely.convex_hull(shapely.multipoints(corners))
    match draw.randrange(6):
        case 0 if shape.geom_type == "Polygon":
            return shape.difference(shapely.box(west + 2, south + 2, west + 5, south + 4))
        case 1 if shape.geom_type == "Polygon":
            return shape.union(shapely.box(west + 9, south, west + 11, south + 3))
        case 2:
            return shapely.linestrings(corners)
    return shape


def line(draw: random.Random) -> shapely.Geometry:
    def points(count: int) -> list[tuple[float, float]]:
        every = [(draw.randrange(-25, 30), draw.randrange(-25, 30)) for _ in range(count)]
        return [(x + 0.5, y + 0.25) for x, y in every] if draw.random() < 0.3 else [*every]

    if draw.random() < 0.2:
        return shapely.MultiLineString([points(2), points(3)])
    return shapely.linestrings(points(draw.choice((2, 2, 3, 6))))


def test_a_line_crosses_what_geos_says_that_it_crosses(tmp_path: Path) -> None:
    draw = random.Random(11)
    shapes = {f"{number:04d}": footprint(draw) for number in range(1_500)}
    # What is not valid is searched by a repaired copy: that is tested elsewhere.
    shapes = {name: shape for name, shape in shapes.items() if shape.is_valid and not shape.is_empty}
    with (tmp_path / "items.ndjson").open("w") as out:
        for name, shape in shapes.items():
            out.write(json.dumps(make_item(name, geometry=json.loads(shapely.to_geojson(shape)))) + "\n")
    crossed = pairs = 0
    with swath.open(tmp_path / "c", create=True) as session:
        session.load(tmp_path / "items.ndjson")
        for _ in range(long(150, 5_000)):
            literal = line(draw)
            if not literal.is_valid:
                continue
            found = {item["id"] for item in session.search(filter=f"S_CROSSES(geometry, {literal.wkt})")}
            assert found == {name for name, shape in shapes.items() if shapely.crosses(literal, shape)}, literal.wkt
            pairs, crossed = pairs + len(shapes), crossed + len(found)
    print(f"\n{pairs:,} pairs of a line and a footprint, {crossed:,} cross")
    assert crossed > pairs // 100
