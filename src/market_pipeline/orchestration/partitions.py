"""Slices as Dagster partitions: the same keys, one definition per grain."""

from __future__ import annotations

import datetime as dt

import dagster as dg

from market_pipeline.partition import Grain, Slice
from market_pipeline.settings import Settings

# For a profile that was never prepared; a prepared one knows its own (`note_first_day`).
FIRST_DAY = dt.date(2025, 1, 6)
_CRON = {Grain.DAY: "0 0 * * *", Grain.WEEK: "0 0 * * 1", Grain.MONTH: "0 0 1 * *"}
# A fixed clock may lie past the machine's: then so many slices past the machine's own may exist.
_SLICES_AHEAD = 520


def first_day(settings: Settings) -> dt.date:
    """The day a profile's history can begin on: snapshots of weeks before it can't be taken any more."""
    file = settings.state / "first-day"
    return dt.date.fromisoformat(file.read_text(encoding="utf-8").strip()) if file.is_file() else FIRST_DAY


def note_first_day(settings: Settings, day: dt.date) -> None:
    """Let the history begin on `day`, or earlier if it did already; a lake with older slices moves it back."""
    file = settings.state / "first-day"
    if not file.is_file() or first_day(settings) > day:
        temporary = file.with_name("first-day.tmp")
        temporary.write_text(f"{day.isoformat()}\n", encoding="utf-8")
        temporary.replace(file)


def partitions(
    grain: Grain, *, clock: dt.datetime | None, first: dt.date = FIRST_DAY
) -> dg.TimeWindowPartitionsDefinition:
    """Every slice of a grain since `first`, the running one included (`end_offset`), because snapshots of it are
    taken before it ends. A fixed `clock` says which slice is the running one; None leaves that to the machine's."""
    end = None if clock is None else Slice.at(clock.date(), grain=grain).end.isoformat()
    return dg.TimeWindowPartitionsDefinition(
        start=grain.floor(first).isoformat(),
        end=end,
        fmt="%Y-%m-%d",
        cron_schedule=_CRON[grain],
        timezone="UTC",
        end_offset=1 if clock is None else _SLICES_AHEAD,
    )
