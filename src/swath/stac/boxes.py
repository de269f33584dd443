"""The box of a geometry, and whether an item's `bbox` is that (RFC 7946, section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from swath.stac.geometry import BBox

__all__ = ["Reach", "compare", "hull"]

# What a box may be off by rounding: a hundredth of a degree where it is written coarsely, a millionth where finely.
_FEWEST_DECIMALS, _MOST_DECIMALS = 2, 6


@dataclass(slots=True)
class Reach:
    """How far each polygon, line and point of a geometry reaches; longitudes may run on beyond ±180."""

    west: list[float] = field(default_factory=list)
    east: list[float] = field(default_factory=list)
    south: float = math.inf
    north: float = -math.inf

    def take(self, other: Reach) -> None:
        """Add the parts of another geometry."""
        self.west.extend(other.west)
        self.east.extend(other.east)
        self.south, self.north = min(self.south, other.south), max(self.north, other.north)


def hull(reach: Reach, *, across: bool) -> BBox | None:
    """The smallest box around all parts; None when there are none.

    It runs across the antimeridian where the geometry is cut there, or where the item's bbox does (`across`).
    """
    if not reach.west:
        return None
    low, high = min(reach.west), max(reach.east)
    literal = BBox(low, reach.south, high, reach.north)
    beyond = low < -180 or high > 180
    cut = low == -180 and high == 180 and (-180.0, 180.0) not in zip(reach.west, reach.east, strict=True)
    if not (beyond or across or cut):
        return literal
    around = _round_the_earth(reach)
    if beyond or (around.west > around.east and (across or around.east + 360 - around.west <= 180)):
        return around
    return literal


def _round_the_earth(reach: Reach) -> BBox:
    """The box around all but the widest stretch of longitudes where nothing lies."""
    west = np.array(reach.west)
    turns = np.floor((west + 180) / 360) * 360
    starts, ends = west - turns, np.array(reach.east) - turns
    order = np.argsort(starts, kind="stable")
    starts, furthest = starts[order], np.maximum.accumulate(ends[order])
    gaps = np.append(starts[1:], starts[0] + 360) - furthest
    # A part that runs on beyond 180 covers the beginning too.
    beyond = furthest[-1] - 360
    gaps[:-1] = np.minimum(gaps[:-1], starts[1:] - beyond)
    widest = int(np.argmax(gaps))
    if gaps[widest] < 1e-9:
        return BBox(-180.0, reach.south, 180.0, reach.north)
    first, final = float(starts[(widest + 1) % len(starts)]), float(max(furthest[widest], beyond))
    return BBox(first, reach.south, round(final - 360, 12) if final > 180 else final, reach.north)


def compare(given: BBox, expected: BBox) -> Literal["same", "larger", "smaller"]:
    """What a bbox is beside the box of the geometry: `smaller` leaves a part of it out."""
    if given == expected:
        return "same"
    slack = _slack(given, expected)
    width, wanted = _width(given), _width(expected)
    if width >= 360 - slack:
        inside, wide = True, wanted < 360 - 2 * slack
    else:
        begin = (expected.west - given.west) % 360  # how much further east the geometry begins
        begin = begin - 360 if begin > 360 - slack else begin
        inside = begin + wanted <= width + slack
        wide = begin > slack or begin + wanted < width - slack
    if not inside or given.south > expected.south + slack or given.north < expected.north - slack:
        return "smaller"
    tall = given.south < expected.south - slack or given.north > expected.north + slack
    return "larger" if wide or tall else "same"


def _width(box: BBox) -> float:
    return box.east - box.west if box.west <= box.east else box.east + 360 - box.west


def _slack(*boxes: BBox) -> float:
    """One of the last decimal of what is written most coarsely: some round, some cut off."""
    written = min(max(map(_decimals, (box.west, box.south, box.east, box.north))) for box in boxes)
    return 10.0 ** -min(max(written, _FEWEST_DECIMALS), _MOST_DECIMALS) * 1.000_001


def _decimals(number: float) -> int:
    mantissa, _, exponent = repr(float(number)).partition("e")
    return len(mantissa.partition(".")[2].rstrip("0")) - int(exponent or 0)
