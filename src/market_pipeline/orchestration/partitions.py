"""Slices as Dagster partitions: the same keys, one definition per grain."""

from __future__ import annotations

import datetime as dt
import warnings
from functools import lru_cache

import dagster as dg

from market_pipeline import calendar
from market_pipeline.partition import Grain, Slice
from market_pipeline.settings import Settings

# For a profile that was never prepared; a prepared one knows its own (`note_first_day`).
FIRST_DAY = dt.date(2025, 1, 6)
_CRON = {Grain.SESSION: "0 0 * * 1-5", Grain.DAY: "0 0 * * *", Grain.WEEK: "0 0 * * 1", Grain.MONTH: "0 0 1 * *"}
_MIDNIGHT = dt.time()
_FRIDAY = 4
# A fixed clock may lie past the machine's: then so many slices past the machine's own may exist.
_SLICES_AHEAD = 520


def first_day(settings: Settings) -> dt.date:
    """The day a profile's history can begin on: what lies before it has no partition."""
    file = settings.state / "first-day"
    return dt.date.fromisoformat(file.read_text(encoding="utf-8").strip()) if file.is_file() else FIRST_DAY


def note_first_day(settings: Settings, day: dt.date) -> None:
    """Let the history begin on `day`, or earlier if it did already; a lake with older slices moves it back, and so does
    a backfill."""
    file = settings.state / "first-day"
    if not file.is_file() or first_day(settings) > day:
        temporary = file.with_name("first-day.tmp")
        temporary.write_text(f"{day.isoformat()}\n", encoding="utf-8")
        temporary.replace(file)


def partitions(
    grain: Grain, *, clock: dt.datetime | None, first: dt.date = FIRST_DAY
) -> dg.TimeWindowPartitionsDefinition:
    """Every slice of a grain since `first`, the running one included (`end_offset`): snapshots of it are taken before
    it ends, and today's session is there before it closes, though asking for it is refused until then.

    A fixed `clock` says which slice is the running one; None leaves that to the machine's. Then, on a holiday, Dagster
    also shows the session after it (https://github.com/dagster-io/dagster/issues/33551); it is refused like today's.
    """
    return dg.TimeWindowPartitionsDefinition(
        start=grain.floor(first).isoformat(),
        end=None if clock is None else _end(grain, clock.date()).isoformat(),
        fmt="%Y-%m-%d",
        cron_schedule=_CRON[grain],
        timezone="UTC",
        end_offset=1 if clock is None else _SLICES_AHEAD,
        exclusions=_holidays(first) if grain is Grain.SESSION else None,
    )


def _end(grain: Grain, day: dt.date) -> dt.date:
    """The start of the first window after the one that holds `day`; a Friday's lasts until Monday."""
    end = Slice.at(day, grain=grain).end
    while grain is Grain.SESSION and end.weekday() > _FRIDAY:
        end += dt.timedelta(days=1)
    return end


@lru_cache(maxsize=4)
def _holidays(first: dt.date) -> tuple[dt.datetime, ...]:
    """Weekdays since `first` on which the exchange stays closed, as far as the calendar goes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # exchange-calendars uses pandas as it was
        sessions = set(calendar.session_dates())
    days = (first + dt.timedelta(days=n) for n in range((max(sessions) - first).days))
    closed = (day for day in days if day.weekday() <= _FRIDAY and day not in sessions)
    return tuple(dt.datetime.combine(day, _MIDNIGHT) for day in closed)
