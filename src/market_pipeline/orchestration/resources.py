"""What a run's assets share: one `Pipeline`, the run's lock, and a record of what its steps said."""

from __future__ import annotations

import datetime as dt
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from market_pipeline.errors import CheckFailed, ConfigurationError, MarketPipelineError
from market_pipeline.gold import GoldReport
from market_pipeline.ingest import IngestReport
from market_pipeline.normalize import NormalizeReport
from market_pipeline.orchestration import locks
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

SESSION = "session"
ALLOW_PARTIAL_TAG = "market_pipeline/allow_partial"
REFETCH_TAG = "market_pipeline/refetch"
REDACTED = "[REDACTED]"

Report = IngestReport | NormalizeReport | GoldReport
Progress = Callable[[str, int, int], None]


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass
class Session:
    """One run: its pipeline, its steps' reports in order, and its errors. `on_progress` gets a target (such as
    `bronze/alpha_vantage/overview`), how many requests are done, and of how many."""

    pipeline: Pipeline
    on_progress: Progress = no_progress
    reports: list[Report] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def redact(self, text: str) -> str:
        """The text without any key or alert address."""
        return redact(text, self.pipeline)

    @contextmanager
    def step(self) -> Iterator[Pipeline]:
        """Run a step: its error is noted, and becomes a failure with one redacted sentence. An error that is not ours
        keeps its traceback for whoever mends the bug, unless a secret is in it."""
        try:
            yield self.pipeline
        except MarketPipelineError as error:
            self.errors.append(error)
            raise dg.Failure(description=self.redact(str(error)), allow_retries=False) from None
        except Exception as error:
            self.errors.append(error)
            told = "".join(traceback.format_exception(error))
            if self.redact(told) != told:
                raise dg.Failure(description=self.redact(f"{type(error).__name__}: {error}")) from None
            raise


def redact(text: str, pipeline: Pipeline) -> str:
    """The text without any of the profile's secrets."""
    for secret in sorted(pipeline.settings.secrets(pipeline.providers), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def is_tagged(tags: Mapping[str, str], name: str) -> bool:
    """Whether a run carries a yes-or-no tag."""
    return tags.get(name, "").lower() == "true"


def target_of(run: dg.DagsterRun) -> str:
    """What a run materializes, for people: assets and slices."""
    keys = sorted(run.asset_selection or (), key=lambda key: key.path)
    names = [key.to_user_string() for key in keys if key.path[0] != "gold"]
    if len(names) < len(keys):
        names.append("gold")
    tags = run.tags
    since, until = tags.get("dagster/asset_partition_range_start"), tags.get("dagster/asset_partition_range_end")
    slices = tags.get("dagster/partition") or (f"{since} ... {until}" if since else "")
    return " ".join(part for part in (", ".join(names) or run.job_name, slices) if part)


def _refuse_another_profile(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Dagster's processes let a `.env` in their working directory override the environment, so that the definitions of
    one profile could run in the instance of another."""
    if instance.is_persistent and Path(instance.root_directory).resolve() != settings.dagster_home:
        raise ConfigurationError(
            f"DAGSTER_HOME is {instance.root_directory}, but profile {settings.profile} has {settings.dagster_home}; "
            "start Dagster by: market-pipeline dev"
        )


def session_resource(settings: Settings, prepared: Session | None) -> dg.ResourceDefinition:
    """The run's `Session`. A run that nobody prepared (started in the UI or by the daemon) also leaves `health.json`;
    one that the command line prepared leaves that to it."""

    @dg.resource(description="The profile's pipeline, held for one run.")
    def session(context: dg.InitResourceContext) -> Iterator[Session]:
        run, instance = context.run, context.instance
        if run is not None and instance is not None:
            _refuse_another_profile(instance, settings)
            locks.own(settings.state, run.run_id)
            locks.reap(instance, settings.state)
        if prepared is not None:
            yield prepared
            return
        started_at = dt.datetime.now(dt.UTC)
        found = Session(Pipeline(settings))
        yield found
        error = found.errors[0] if found.errors else None
        found.pipeline.record_run(
            target="" if run is None else target_of(run),
            started_at=started_at,
            status="success" if error is None else "failed",
            exit_code=0 if error is None else 6 if isinstance(error, CheckFailed) else 1,
            error=None if error is None else found.redact(str(error)),
        )

    return session
