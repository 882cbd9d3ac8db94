"""The call budget of each provider key: persisted, shared by processes, never overspent across restarts.

A call is booked, and the booking synced to disk, before it is sent, and given back only when no connection came about:
a process killed in between has spent a call that was not made, never the other way round. Windows start at midnight of
the plan's reset zone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from market_pipeline.errors import LakeError, QuotaExhausted
from market_pipeline.feed import Pace

_TABLES = """
create table if not exists call (
    provider text not null, key_id text not null, day text not null, booked_at text not null
);
create index if not exists call_by_day on call (provider, key_id, day);
create table if not exists spent (
    provider text not null, key_id text not null, day text not null, primary key (provider, key_id, day)
);
create table if not exists pace (
    provider text not null, key_id text not null, last_start real not null, primary key (provider, key_id)
);
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """State of one key's window; `left` is None without a daily cap, `resets_at` is UTC."""

    provider: str
    calls_per_day: int | None
    used: int
    left: int | None
    resets_at: dt.datetime


def key_id(key: str | None) -> str:
    """Short fingerprint that tells keys apart in the ledger without holding one."""
    return hashlib.sha256(f"market-pipeline quota {key or ''}".encode()).hexdigest()[:12]


class Ledger:
    """SQLite file of booked calls. `wall` is the machine's clock in epoch seconds, for the pace only."""

    def __init__(self, path: Path, *, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._wall = wall

    def book(self, provider: str, key: str, pace: Pace, *, now: dt.datetime) -> float:
        """Take one call out of the budget and return the seconds to wait before sending it.

        Raises QuotaExhausted, having booked nothing, when the window has no call left. `key` is a `key_id`.
        """
        with self._transaction() as connection:
            wall = self._wall()
            row = connection.execute(
                "select last_start from pace where provider = ? and key_id = ?", (provider, key)
            ).fetchone()
            start = wall if row is None else max(wall, min(float(row[0]), wall + 600.0) + pace.interval_s)
            day = _day(now + dt.timedelta(seconds=start - wall), pace)
            budget = self._budget(connection, provider, key, pace, day=day)
            if budget.left == 0:
                raise QuotaExhausted(
                    f"The {pace.calls_per_day or budget.used} calls of {provider} for {day} are spent; "
                    f"it goes on at {budget.resets_at:%Y-%m-%d %H:%M} UTC",
                    provider=provider,
                    resets_at=budget.resets_at,
                )
            connection.execute(
                "insert into call values (?, ?, ?, ?)",
                (provider, key, day, now.isoformat(timespec="seconds")),
            )
            connection.execute("insert or replace into pace values (?, ?, ?)", (provider, key, start))
            return start - wall

    def give_back(self, provider: str, key: str, pace: Pace, *, now: dt.datetime) -> None:
        """Undo the newest booking of the window, for a call that provably never left this machine."""
        newest = "select max(rowid) from call where provider = ? and key_id = ? and day = ?"
        with self._transaction() as connection:
            connection.execute(
                f"delete from call where rowid = ({newest})",  # noqa: S608 - a constant
                (provider, key, _day(now, pace)),
            )

    def exhaust(self, provider: str, key: str, pace: Pace, *, now: dt.datetime) -> dt.datetime:
        """Note that the provider calls the window spent, whatever we counted; returns when it resets (UTC)."""
        day = _day(now, pace)
        with self._transaction() as connection:
            connection.execute("insert or ignore into spent values (?, ?, ?)", (provider, key, day))
            return self._budget(connection, provider, key, pace, day=day).resets_at

    def budget(self, provider: str, key: str, pace: Pace, *, now: dt.datetime) -> Budget:
        """What is left of the window that holds `now`."""
        with self._transaction() as connection:
            return self._budget(connection, provider, key, pace, day=_day(now, pace))

    def _budget(self, connection: sqlite3.Connection, provider: str, key: str, pace: Pace, *, day: str) -> Budget:
        which = (provider, key, day)
        (used,) = connection.execute(
            "select count(*) from call where provider = ? and key_id = ? and day = ?", which
        ).fetchone()
        is_spent = connection.execute(
            "select 1 from spent where provider = ? and key_id = ? and day = ?", which
        ).fetchone()
        cap = pace.calls_per_day
        left = 0 if is_spent else None if cap is None else max(0, cap - int(used))
        tomorrow = dt.date.fromisoformat(day) + dt.timedelta(days=1)
        resets_at = dt.datetime.combine(tomorrow, dt.time(), ZoneInfo(pace.reset_zone)).astimezone(dt.UTC)
        return Budget(provider, cap, int(used), left, resets_at)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            # `full` leaves the removal of the rollback journal unsynced: a power cut could take a booking back.
            connection.execute("pragma synchronous = extra")
            connection.execute("begin immediate")
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            yield connection
            connection.execute("commit")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("rollback")
            raise self._unusable(error) from error
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("rollback")
            raise
        finally:
            connection.close()

    def _unusable(self, error: Exception) -> LakeError:
        """Without the ledger nothing may be called: a call that is not booked could be one too many."""
        return LakeError(f"The call ledger {self._path} can't be used: {error}; no call is made without it")


def _day(moment: dt.datetime, pace: Pace) -> str:
    return moment.astimezone(ZoneInfo(pace.reset_zone)).date().isoformat()
