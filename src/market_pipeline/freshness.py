"""How fresh data is, judged by its newest date against the exchange's calendar, never by when something ran."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from market_pipeline import calendar
from market_pipeline.feed import Feed
from market_pipeline.partition import Grain

# Vendors finish a session's data overnight; the schedules ask for it then.
_READY, _ZONE = dt.time(6), ZoneInfo("America/New_York")


def due_session(now: dt.datetime) -> dt.date:
    """The newest session whose data should be there: from six in the morning after it, New York time."""
    here = now.astimezone(_ZONE)
    return calendar.session_before(here.date() if here.time() >= _READY else here.date() - dt.timedelta(days=1))


def due_slice(grain: Grain, now: dt.datetime) -> dt.date:
    """The first day of the newest slice of a grain whose data should be there; a week is due when its last session
    is."""
    session = due_session(now)
    start = grain.floor(session)
    if grain is Grain.WEEK and calendar.sessions(session + dt.timedelta(days=1), grain.next(start)):
        return start - dt.timedelta(days=7)
    return start


def lateness(grain: Grain, newest: dt.date | None, now: dt.datetime) -> str:
    """What is wrong with data whose newest date this is, in words; empty when nothing is."""
    due = due_slice(grain, now)
    if newest is None:
        return "no data"
    if newest >= due:
        return ""
    if grain is Grain.SESSION:
        late = len(calendar.sessions(newest + dt.timedelta(days=1), due + dt.timedelta(days=1)))
        return f"{late} session{'s' if late > 1 else ''} late: newest {newest}, due {due}"
    return f"newest {newest}, but the {grain.value} of {due} is due"


def of_feed(feed: Feed, *, slice_key: str, newest_data_date: str | None, now: dt.datetime) -> str:
    """A feed's lateness: by the newest session in its rows or, for data that is about no session, by its slice."""
    if not slice_key:
        return "never fetched"
    return lateness(feed.grain, dt.date.fromisoformat(newest_data_date or slice_key), now)


def of_table(name: str, newest: str, now: dt.datetime) -> str:
    """A gold table's lateness: daily facts by session, everything else by week."""
    grain = Grain.SESSION if name.startswith("fact_daily_") else Grain.WEEK
    return lateness(grain, dt.date.fromisoformat(newest), now)
