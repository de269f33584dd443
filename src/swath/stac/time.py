"""Instants and intervals.

An instant is a whole number of microseconds since 1970-01-01T00:00:00Z, in the proleptic Gregorian
calendar, years 0000 to 9999. Finer fractions are cut off, towards the past.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

__all__ = ["DAY", "Interval", "format_instant", "parse_date", "parse_instant", "parse_interval", "parse_temporal"]

SECOND = 1_000_000
DAY = 86_400 * SECOND

# RFC 3339, section 5.6. ASCII digits only: `\d` would let in other scripts.
_DATE = r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
_FULL_DATE = re.compile(_DATE)
_DATE_TIME = re.compile(
    _DATE + r"[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))"
)
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Interval:
    """A span of time in microseconds, closed at both ends. None is an open end."""

    start: int | None
    end: int | None


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01. ValueError for a date that is not in the calendar."""
    if not 1 <= month <= 12:
        raise ValueError(f"month {month} is not 01 to 12")
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = 29 if month == 2 and leap else _MONTH_DAYS[month - 1]
    if not 1 <= day <= last:
        raise ValueError(f"day {day} is not 01 to {last}")
    # Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": the year begins in March.
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468


_FIRST, _LAST = _days(0, 1, 1) * DAY, (_days(9999, 12, 31) + 1) * DAY - 1


def parse_date(text: str) -> int:
    """The start of an RFC 3339 full-date, in microseconds. ValueError when it is none."""
    match = _FULL_DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a date like 2020-01-31")
    year, month, day = match.groups()
    return _days(int(year), int(month), int(day)) * DAY


def parse_instant(text: str) -> int:
    """An RFC 3339 date-time in microseconds. ValueError when it is none.

    A leap second (`:60`) is refused: no instant of this time scale stands for it.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 date-time like 2020-01-31T10:00:00Z")
    year, month, day, hour, minute, second, fraction, _, sign, offset_hour, offset_minute = match.groups()
    hours, minutes, seconds = int(hour), int(minute), int(second)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(f"{text!r} has a time that is not 00:00:00 to 23:59:59")
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    offset = 0
    if sign is not None:
        if int(offset_hour) > 23 or int(offset_minute) > 59:
            raise ValueError(f"{text!r} has an offset that is not 00:00 to 23:59")
        offset = (int(offset_hour) * 60 + int(offset_minute)) * (60 if sign == "+" else -60)
    days = _days(int(year), int(month), int(day))
    instant = (days * 86_400 + hours * 3600 + minutes * 60 + seconds - offset) * SECOND + micros
    if not _FIRST <= instant <= _LAST:
        raise ValueError(f"{text!r} is not in the years 0000 to 9999 of UTC")
    return instant


@functools.lru_cache(4_096)
def parse_temporal(text: str) -> tuple[int, int] | None:
    """First and last microsecond of a date (the whole day) or of a date-time; None when it is neither.

    For stored values: here a space may stand for the T (RFC 3339, 5.6, note), as large publishers write it.
    """
    if len(text) < 10 or text[4] != "-" or text[7] != "-":
        return None
    try:
        if len(text) == 10:
            start = parse_date(text)
            return start, start + DAY - 1
        instant = parse_instant(text.replace(" ", "T", 1))
    except ValueError:
        return None
    return instant, instant


def parse_interval(text: str) -> Interval:
    """The `datetime` parameter: an instant, or two ends of which one may be open (`..` or empty).

    ValueError for anything else. OGC API - Features, 7.15.3; STAC API - Item Search.
    """
    start, slash, end = text.partition("/")
    if not slash:
        instant = parse_instant(text)
        return Interval(instant, instant)
    if "/" in end:
        raise ValueError(f"{text!r} has more than two ends")
    ends = [None if part in ("", "..") else parse_instant(part) for part in (start, end)]
    if ends == [None, None]:
        raise ValueError(f"{text!r} is open at both ends; leave the parameter out to search all time")
    if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
        raise ValueError(f"{text!r} ends before it starts")
    return Interval(ends[0], ends[1])


def format_instant(instant: int) -> str:
    """RFC 3339 in UTC, in its shortest form: `2020-01-31T10:00:00Z`, `…:00.25Z`."""
    days, rest = divmod(instant, DAY)
    seconds, micros = divmod(rest, SECOND)
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    fraction = f".{micros:06d}".rstrip("0") if micros else ""
    return f"{year:04d}-{month:02d}-{day:02d}T{clock}{fraction}Z"
