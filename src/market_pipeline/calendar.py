"""Trading sessions of the New York exchanges, from exchange-calendars (XNYS).

What does not belong here: which instruments were listed when (`universe`).
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

FIRST_DAY = dt.date(1990, 1, 1)


@lru_cache(maxsize=4)
def days(end_year: int) -> pl.DataFrame:
    """One row per calendar day from 1990-01-01 to 31 December of `end_year`.

    Columns: calendar_date, is_session, is_half_day, opens_at and closes_at (UTC, null on closed days).
    """
    import exchange_calendars as xc
    import polars as pl

    last = dt.date(end_year, 12, 31)
    calendar = xc.get_calendar("XNYS", start=FIRST_DAY.isoformat(), end=last.isoformat())
    schedule = calendar.schedule
    early = {stamp.date() for stamp in calendar.early_closes}
    sessions = pl.DataFrame(
        {
            "calendar_date": [stamp.date() for stamp in schedule.index],
            "opens_at": [stamp.to_pydatetime() for stamp in schedule["open"]],
            "closes_at": [stamp.to_pydatetime() for stamp in schedule["close"]],
        },
        schema={
            "calendar_date": pl.Date,
            "opens_at": pl.Datetime("us", "UTC"),
            "closes_at": pl.Datetime("us", "UTC"),
        },
    ).with_columns(is_half_day=pl.col("calendar_date").is_in(list(early)))
    return (
        pl.DataFrame({"calendar_date": pl.date_range(FIRST_DAY, last, eager=True)})
        .join(sessions, on="calendar_date", how="left")
        .select(
            "calendar_date",
            is_session=pl.col("closes_at").is_not_null(),
            is_half_day=pl.col("is_half_day").fill_null(value=False),
            opens_at="opens_at",
            closes_at="closes_at",
        )
        .sort("calendar_date")
    )


def last_close(since: dt.date, until: dt.date) -> dt.datetime | None:
    """When the last session of the half-open range closes (UTC), None when it has no session."""
    import polars as pl

    inside = days(until.year + 1).filter(pl.col("calendar_date").is_between(since, until, closed="left"))
    found = inside.get_column("closes_at").max()
    return found if isinstance(found, dt.datetime) else None


def last_closed_session(now: dt.datetime) -> dt.date:
    """The newest session whose close is not after `now` (UTC)."""
    import polars as pl

    closed = days(now.year + 1).filter(pl.col("closes_at") <= now).get_column("calendar_date").max()
    if not isinstance(closed, dt.date):
        raise ValueError(f"No session had closed by {now:%Y-%m-%d}")
    return closed
