"""Who owns a run: a file lock that the system releases when the run's process dies, however it dies.

Dagster keeps no such record: a killed run stays `STARTED` and holds its pool slots, and the next run waits for ever.
What does not belong here: how a run is started (`runs`), locks on data (`store.exclusive`).
"""

from __future__ import annotations

import datetime as dt
import fcntl
import logging
import os
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import RunRecord

from market_pipeline import logs

# From launch to its first lock a run's process imports Dagster and us: seconds, a minute on a starved machine.
_log = logging.getLogger(__name__)
GRACE = dt.timedelta(seconds=120)
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_held: dict[str, int] = {}


def _path(state: Path, run_id: str) -> Path:
    return state / "runs" / f"{run_id}.lock"


def own(state: Path, run_id: str) -> None:
    """Hold the run's lock until `release` or the end of this process. Owning twice is owning once."""
    if run_id in _held:
        return
    path = _path(state, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
            break
        os.close(handle)  # a reaper removed the file between our two calls
    os.write(handle, f"{os.getpid()}\n".encode())
    _held[run_id] = handle


def release(state: Path, run_id: str) -> None:
    """Give the lock up; only for a run whose end Dagster has recorded, else it would look ownerless."""
    handle = _held.pop(run_id, None)
    if handle is not None:
        _path(state, run_id).unlink(missing_ok=True)
        os.close(handle)


def is_owned(state: Path, run_id: str) -> bool | None:
    """Whether a living process holds the run; None when no process ever locked it."""
    try:
        handle = os.open(_path(state, run_id), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def reap(instance: dg.DagsterInstance, state: Path) -> tuple[str, ...]:
    """End every run whose process is gone and free its pool slots; returns the ids of the runs. Living runs are left
    alone, and so are young ones that no process has locked yet."""
    reaped = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED)):
        run = record.dagster_run
        owned = is_owned(state, run.run_id)
        if owned or (owned is None and _age(record) < GRACE):
            continue
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The process of this run ended before it could confirm.")
        else:
            instance.report_run_failed(run, "The process of this run died; the next run takes up what it left.")
        reaped.append(run.run_id)
        logs.tell(_log, "The process of a run died; the run is ended", level=logging.WARNING, reaped_run_id=run.run_id)
    _free_slots(instance)
    for path in (state / "runs").glob("*.lock"):
        found = instance.get_run_by_id(path.stem)
        if path.stem not in _held and (found is None or found.is_finished) and is_owned(state, path.stem) is False:
            path.unlink(missing_ok=True)
    return tuple(reaped)


def _free_slots(instance: dg.DagsterInstance) -> None:
    """Release the pool slots, held or waited for, of runs that have ended or are gone."""
    storage = instance.event_log_storage
    for run_id in storage.get_concurrency_run_ids():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(run_id)


def _age(record: RunRecord) -> dt.timedelta:
    updated = record.update_timestamp
    return dt.datetime.now(dt.UTC) - (updated if updated.tzinfo else updated.replace(tzinfo=dt.UTC))
