"""Slices of time: a half-open range of UTC dates with one text key.

The key of a slice is the ISO date of its first day, for every grain: `2026-11-16` is that day, the week that starts
on that Monday, or (2026-11-01) that month. Symbols are rows and object names, never partitions.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from market_pipeline.errors import ConfigurationError


class Grain(StrEnum):
    """How much time one slice covers; weeks start on Monday. A session is a day on which the exchange opens: which
    days those are is the calendar's business."""

    SESSION = "session"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def floor(self, day: dt.date) -> dt.date:
        """First day of the slice that holds `day`."""
        if self is Grain.WEEK:
            return day - dt.timedelta(days=day.weekday())
        return day.replace(day=1) if self is Grain.MONTH else day

    def next(self, start: dt.date) -> dt.date:
        """First day of the slice after the one that starts on `start`."""
        if self is Grain.MONTH:
            return (start.replace(day=28) + dt.timedelta(days=4)).replace(day=1)
        return start + dt.timedelta(days=7 if self is Grain.WEEK else 1)


@dataclass(frozen=True, slots=True, order=True)
class Slice:
    """`start` <= date < `end`, aligned to its grain."""

    start: dt.date
    end: dt.date

    @property
    def key(self) -> str:
        """Text form, the ISO date of the first day."""
        return self.start.isoformat()

    @classmethod
    def at(cls, day: dt.date, *, grain: Grain) -> Slice:
        """The slice of this grain that holds `day`."""
        start = grain.floor(day)
        return cls(start, grain.next(start))

    @classmethod
    def from_key(cls, key: str, *, grain: Grain) -> Slice:
        """Inverse of `key`; a date that starts no slice of the grain is an error."""
        try:
            start = dt.date.fromisoformat(key)
            end = grain.next(grain.floor(start))
        except (ValueError, OverflowError) as error:
            raise ConfigurationError(f"{key!r} is no date; write YYYY-MM-DD") from error
        if start.isoformat() != key:
            raise ConfigurationError(f"{key!r} is another spelling of a date; write {start}")
        if grain.floor(start) != start:
            raise ConfigurationError(
                f"No {grain} starts on {key}; the one that holds it starts on {grain.floor(start)}"
            )
        return cls(start, end)


def slices(since: dt.date, until: dt.date, *, grain: Grain) -> tuple[Slice, ...]:
    """Every slice that overlaps the half-open range, oldest first; empty for an empty range."""
    found: list[Slice] = []
    start = grain.floor(since) if since < until else until
    while start < until:
        found.append(Slice(start, grain.next(start)))
        start = grain.next(start)
    return tuple(found)
