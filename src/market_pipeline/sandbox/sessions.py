"""Sessions of the fictional market: New York's (XNYS), with its holidays and half days."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
FIRST_YEAR = 2018


@dataclass(frozen=True)
class Sessions:
    """Sessions from 2018 to the end of a year: dates, UTC instants of their opens and closes, which are half days.

    A session's number is its place in `dates`.
    """

    dates: tuple[dt.date, ...]
    opens: tuple[dt.datetime, ...]
    closes: tuple[dt.datetime, ...]
    half_days: frozenset[dt.date]

    def closed_by(self, clock: dt.datetime) -> int:
        """How many sessions had closed at that instant."""
        return bisect_right(self.closes, clock)

    def running(self, clock: dt.datetime) -> int | None:
        """Number of the session that was under way at that instant."""
        number = self.closed_by(clock)
        return number if number < self.begun_by(clock) else None

    def begun_by(self, clock: dt.datetime) -> int:
        """How many sessions had begun at that instant."""
        return bisect_right(self.opens, clock)

    def number(self, day: dt.date) -> int | None:
        """Number of a day's session, None on a closed day."""
        number = self.from_day(day)
        return number if number < len(self.dates) and self.dates[number] == day else None

    def from_day(self, day: dt.date) -> int:
        """Index of the first session on or after a day."""
        return bisect_right(self.dates, day - dt.timedelta(days=1))


@lru_cache(maxsize=4)
def sessions(last_year: int) -> Sessions:
    """The calendar up to 31 December of `last_year`; a longer one begins with the shorter one."""
    import exchange_calendars as xc  # noqa: PLC0415 - takes most of a second, and recorded mode needs no calendar

    calendar = xc.get_calendar("XNYS", start=f"{FIRST_YEAR}-01-01", end=f"{last_year}-12-31")
    return Sessions(
        dates=tuple(stamp.date() for stamp in calendar.sessions),
        opens=tuple(stamp.to_pydatetime().astimezone(dt.UTC) for stamp in calendar.schedule["open"]),
        closes=tuple(stamp.to_pydatetime().astimezone(dt.UTC) for stamp in calendar.schedule["close"]),
        half_days=frozenset(stamp.date() for stamp in calendar.early_closes),
    )


def new_york_date(clock: dt.datetime) -> dt.date:
    """The calendar date in New York at an instant."""
    return clock.astimezone(NEW_YORK).date()


def midnight(day: dt.date) -> dt.datetime:
    """The instant (UTC) at which a day begins in New York."""
    return dt.datetime.combine(day, dt.time(), NEW_YORK).astimezone(dt.UTC)


def week_start(day: dt.date) -> dt.date:
    """Monday of a day's week."""
    return day - dt.timedelta(days=day.weekday())
