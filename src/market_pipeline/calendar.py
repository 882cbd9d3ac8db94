"""Trading sessions of the New York exchanges, from exchange-calendars (XNYS).

What does not belong here: which instruments were listed when (`universe`).
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
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


@lru_cache(maxsize=1)
def _closes() -> dict[dt.date, dt.datetime]:
    """When each session that the contracts can judge closes (UTC)."""
    import polars as pl

    sessions = days(dt.datetime.now(dt.UTC).year + 2).filter(pl.col("is_session"))
    return dict(sessions.select("calendar_date", "closes_at").iter_rows())


def session_dates() -> list[dt.date]:
    """Every session from 1990 to the end of the year after next, oldest first."""
    return list(_closes())


@lru_cache(maxsize=1)
def _columns() -> tuple[pl.Series, pl.Series]:
    """Sessions and their closes as columns."""
    import polars as pl

    known = _closes()
    return pl.Series(list(known), dtype=pl.Date), pl.Series(list(known.values()), dtype=pl.Datetime("us", "UTC"))


def closes(session: pl.Expr) -> pl.Expr:
    """When a session closes (UTC), null for a date that is none. A search, because a rule is evaluated for thousands
    of small slices, and a join would build its table for each."""
    import polars as pl

    known, closes_at = _columns()
    place = pl.lit(known).search_sorted(session)
    return pl.when(is_session(session)).then(pl.lit(closes_at).gather(place, null_on_oob=True))


def is_session(date: pl.Expr) -> pl.Expr:
    """Whether the exchange opens on a date."""
    known, _ = _columns()
    return date.is_in(known.implode())


def sessions(since: dt.date, until: dt.date) -> tuple[dt.date, ...]:
    """The sessions of the half-open range, oldest first."""
    found = session_dates()
    return tuple(found[bisect_left(found, since) : bisect_left(found, until)])


def session_before(day: dt.date, *, count: int = 1) -> dt.date:
    """The session `count` sessions before a day (the day itself does not count)."""
    found = session_dates()
    return found[max(bisect_left(found, day) - count, 0)]


def session_after(day: dt.date) -> dt.date:
    """The first session after a day."""
    found = session_dates()
    return found[bisect_right(found, day)]


def close_of(session: dt.date) -> dt.datetime | None:
    """When a session closes (UTC); None for a day that is none."""
    return _closes().get(session)


def last_close(since: dt.date, until: dt.date) -> dt.datetime | None:
    """When the last session of the half-open range closes (UTC), None when it has no session."""
    import polars as pl

    inside = days(until.year + 1).filter(pl.col("calendar_date").is_between(since, until, closed="left"))
    found = inside.get_column("closes_at").max()
    return found if isinstance(found, dt.datetime) else None


def last_closed_session(now: dt.datetime) -> dt.date:
    """The newest session whose close is not after `now` (UTC)."""
    day = session_before(now.date() + dt.timedelta(days=1))
    closes_at = close_of(day)
    return day if closes_at is not None and closes_at <= now else session_before(day)
