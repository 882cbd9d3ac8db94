"""Runs started by us: in this process, in the profile's own Dagster instance, so that the UI shows them like any other.

What does not belong here: what a run consists of (`legs`), how it is told (`cli`), who owns a run (`locks`).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.tags import MAX_RETRIES_TAG

from market_pipeline.errors import ConfigurationError
from market_pipeline.orchestration import alerts, database, interrupts, locks
from market_pipeline.orchestration.definitions import build
from market_pipeline.orchestration.event_log import BATCH_SIZE, BATCH_SIZE_VARIABLE, BatchedEventLog
from market_pipeline.orchestration.legs import GOLD, Leg
from market_pipeline.orchestration.resources import (
    TAG,
    Asked,
    Progress,
    Report,
    Session,
    no_progress,
    refuse_half_a_lake,
)
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_INSTANCE = """\
# Written by market-pipeline; changes are lost. Nothing leaves the machine.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    default_limit: 1
    granularity: op
  runs:
    max_concurrent_runs: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
  cancel_timeout_seconds: 120
  poll_interval_seconds: 30
  free_slots_after_run_end_seconds: 30
retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days:
      skipped: 7
      failure: 30
      success: 90
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
_SQLITE = """\
event_log_storage:
  module: {module}
  class: {name}
  config:
    base_dir: {folder}
"""
# Without a password: libpq takes it from the file that PGPASSFILE names, so that it is in no configuration.
_POSTGRES = """\
storage:
  custom:
    module: {module}
    class: {name}
    config:
      postgres_url: {url}
run_retries:
  enabled: true
  max_retries: 3
  retry_on_asset_or_op_failure: false  # a run whose process died is started again, one that was refused is not
"""

_NOTHING_SPECIAL = Asked()


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended. `errors` are its steps' errors in order (ours, or a bug's), `reports` what each step that came
    to an end said, a failed build's too; `failed_checks` name checks as `asset: check`."""

    run_id: str
    is_success: bool
    errors: tuple[Exception, ...]
    reports: tuple[Report, ...]
    failed_checks: tuple[str, ...]
    warned_checks: tuple[str, ...]
    seconds: float

    @property
    def error(self) -> Exception | None:
        """The first error, which names the run."""
        return self.errors[0] if self.errors else None


def instance_home(settings: Settings) -> Path:
    """The instance's folder, DAGSTER_HOME of every Dagster process; its configuration is written if it differs."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    file = home / "dagster.yaml"
    if settings.database_url is not None:
        # By its name: where there is no server, its client need not be imported.
        module = f"{__package__}.postgres_storage"
        text = _INSTANCE + _POSTGRES.format(
            module=module, name="KeptConnections", url=json.dumps(settings.database_url)
        )
    else:
        text = _INSTANCE + _SQLITE.format(
            module=BatchedEventLog.__module__,
            name=BatchedEventLog.__name__,
            folder=json.dumps(str(home / "history" / "runs")),  # where Dagster's own storage has it; JSON is YAML
        )
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        temporary = home / "dagster.yaml.tmp"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    return home


def create_instance(settings: Settings) -> None:
    """Make the instance's databases, by one process at a time: two that migrate a new SQLite file together break it. A
    database on a server may be a new one behind the same folder, so it is looked at each time."""
    home = instance_home(settings)
    made = home / "created"
    if settings.database_url is None and made.is_file():
        return
    with (home / "create.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if settings.database_url is not None:
            database.make(settings.database_url)
        with open_instance(settings) as instance:
            instance.get_runs(limit=1)
            instance.all_instigator_state()
            instance.event_log_storage.all_asset_keys()
        made.touch()


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The profile's Dagster instance."""
    with dg.DagsterInstance.from_config(str(instance_home(settings))) as instance:
        yield instance


def start(
    pipeline: Pipeline,
    leg: Leg,
    *,
    instance: dg.DagsterInstance | None = None,
    asked: Asked = _NOTHING_SPECIAL,
    on_progress: Progress = no_progress,
) -> RunOutcome:
    """Run a leg in this process and wait for the end, in the profile's `instance`, which is opened where none is given.

    Runs whose process has died are ended first; a living one that holds a pool is waited for. What goes wrong inside
    the run is in the outcome; only an interrupt (KeyboardInterrupt, once the run is recorded as ended) and a wrong call
    are raised.
    """
    started = time.monotonic()
    settings = pipeline.settings
    refuse_half_a_lake(settings)
    session = Session(pipeline, on_progress=on_progress)
    definitions = build(settings, prepared=session)
    graph = definitions.resolve_asset_graph()
    wanted = [
        key
        for key in graph.materializable_asset_keys
        if "/".join(key.path) in leg.selection or (key.path[0] == GOLD and GOLD in leg.selection)
    ]
    if not wanted:
        raise ConfigurationError(f"Nothing to run in {', '.join(leg.selection) or 'an empty selection'}")
    run_id = str(uuid.uuid4())
    job = definitions.resolve_implicit_global_asset_job_def()
    os.environ.setdefault(BATCH_SIZE_VARIABLE, BATCH_SIZE)
    with open_instance(settings) if instance is None else nullcontext(instance) as dagster:
        locks.own(settings.state, run_id)
        try:
            locks.reap(dagster, settings.state)
            with interrupts.kept():
                result = job.execute_in_process(
                    run_config=_QUIET,
                    instance=dagster,
                    asset_selection=wanted,
                    partition_key=leg.slice_key,
                    raise_on_error=False,
                    run_id=run_id,
                    # Nobody but its command can take up a run of this process, should it die.
                    tags={f"{TAG}started_by": "command line", MAX_RETRIES_TAG: "0", **asked.tags(), **leg.tags()},
                )
        finally:
            locks.release(settings.state, run_id)
    if _is_interrupted(result):
        raise KeyboardInterrupt
    if not result.success and not session.errors:  # Dagster's own complaint: none of our steps raised
        told = (alerts.sentence(event) for event in result.all_events if event.is_step_failure)
        session.errors.append(RuntimeError(session.redact("; ".join(told)) or "the run failed before its first step"))
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    return RunOutcome(
        run_id=run_id,
        is_success=result.success,
        errors=tuple(session.errors),
        reports=tuple(session.reports),
        failed_checks=_names(failed, dg.AssetCheckSeverity.ERROR),
        warned_checks=_names(failed, dg.AssetCheckSeverity.WARN),
        seconds=round(time.monotonic() - started, 3),
    )


def _is_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether the run ended by Ctrl-C, which Dagster turns into a failure of the step that it hit."""
    errors = (
        event.step_failure_data.error if event.is_step_failure else event.job_failure_data.error
        for event in result.all_events
        if event.is_failure
    )
    return any(error is not None and error.cls_name == DagsterExecutionInterruptedError.__name__ for error in errors)


def _names(found: Collection[dg.AssetCheckEvaluation], severity: dg.AssetCheckSeverity) -> tuple[str, ...]:
    return tuple(f"{'/'.join(e.asset_key.path)}: {e.check_name}" for e in found if e.severity is severity)
