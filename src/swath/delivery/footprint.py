"""Footprints out of the corners that metadata list: rings whose longitudes are continuous over the antimeridian."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["footprint_of"]


def footprint_of(rings: Iterable[Sequence[tuple[float, float]]]) -> dict[str, Any] | None:
    """A GeoJSON Polygon or MultiPolygon of outer rings, each (longitude, latitude). None where no ring has an area.

    No step within a ring and no step from one ring to the next is longer than 180°, so longitudes may pass 180.
    """
    made: list[list[list[float]]] = []
    for ring in rings:
        near = made[0][0][0] if made else None
        if (closed := _ring(ring, near)) is not None:
            made.append(closed)
    if not made:
        return None
    if len(made) == 1:
        return {"type": "Polygon", "coordinates": [made[0]]}
    return {"type": "MultiPolygon", "coordinates": [[ring] for ring in made]}


def _ring(points: Sequence[tuple[float, float]], near: float | None) -> list[list[float]] | None:
    """Closed, counter-clockwise (RFC 7946, 3.1.6); None with fewer than three corners or without area."""
    last = near
    ring: list[list[float]] = []
    for longitude, latitude in points:
        if not (-360.0 <= longitude <= 360.0 and -90.0 <= latitude <= 90.0):
            return None
        if last is not None:
            longitude -= 360.0 * round((longitude - last) / 360.0)
        if not ring or ring[-1] != [longitude, latitude]:
            ring.append([longitude, latitude])
        last = longitude
    if ring and ring[0] == ring[-1]:
        ring.pop()
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1], strict=True))
    if len(ring) < 3 or area == 0.0:
        return None
    if area < 0.0:
        ring.reverse()
    return [*ring, list(ring[0])]
