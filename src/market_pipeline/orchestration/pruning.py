"""What Dagster may forget: the log of runs that ended long ago. What they materialized and checked stays, because it
tells which slices are there.

Generations of gold are pruned by whoever publishes the next one (`snapshots`), ticks of schedules and sensors by
Dagster itself (`retention` in its configuration).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable

import dagster as dg
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import delete, or_

from market_pipeline.settings import Settings

# Often enough for a day's runs, and never long: so many runs at a time.
_EVERY_S, _AT_ONCE = 3600, 200
_KEPT = sorted(kind.value for kind in ASSET_EVENTS | ASSET_CHECK_EVENTS)
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def sensor(settings: Settings) -> dg.SensorDefinition:
    """Prune each hour. Its cursor is the time up to which runs have been pruned."""
    return dg.SensorDefinition(
        name="pruner",
        evaluation_fn=_prune(settings),
        minimum_interval_seconds=_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Removes what runs logged long ago; what they materialized stays.",
    )


def prune(
    instance: dg.DagsterInstance, *, before: dt.datetime, after: dt.datetime | None = None
) -> tuple[int, dt.datetime | None]:
    """Remove the log of runs that ended and were made in the span; returns of how many, and when the last was made."""
    span = dg.RunsFilter(statuses=_ENDED, created_before=before, created_after=after)
    records = instance.get_run_records(span, limit=_AT_ONCE, ascending=True)
    for record in records:
        _forget(instance.event_log_storage, record.dagster_run.run_id)
    return len(records), records[-1].create_timestamp if records else None


def _forget(storage: EventLogStorage, run_id: str) -> None:
    """SQLite has a file for each run, PostgreSQL one table: both answer to the same connection."""
    if not isinstance(storage, SqlEventLogStorage):
        return
    table = SqlEventLogStorageTable
    kinds = table.c.dagster_event_type
    chatter = delete(table).where(table.c.run_id == run_id, or_(kinds.is_(None), kinds.not_in(_KEPT)))
    with storage.run_connection(run_id) as connection:
        connection.execute(chatter)


def _prune(settings: Settings) -> Callable[[dg.SensorEvaluationContext], dg.SkipReason]:
    def prune_some(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        after: dt.datetime | None = None
        with contextlib.suppress(TypeError, ValueError):
            after = dt.datetime.fromisoformat(context.cursor or "")
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=settings.keep_log_days)
        number, last = prune(context.instance, before=before, after=after)
        if last is not None:
            context.update_cursor(last.isoformat())
        return dg.SkipReason(f"Removed the log of {number} runs." if number else "No run is that old.")

    return prune_some
