"""What a run's assets share: one `Pipeline`, the run's lock, and a record of what its steps said."""

from __future__ import annotations

import datetime as dt
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from market_pipeline import logs
from market_pipeline.errors import CheckFailed, ConfigurationError, MarketPipelineError
from market_pipeline.gold import GoldReport
from market_pipeline.normalize import NormalizeReport
from market_pipeline.orchestration import locks
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings
from market_pipeline.slice_run import IngestReport

_log = logging.getLogger(__name__)
SESSION = "session"
TAG = "market_pipeline/"
REDACTED = "[REDACTED]"

Report = IngestReport | NormalizeReport | GoldReport
Progress = Callable[[str, int, int], None]


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked for beside assets and slices. It travels as tags of the run, so that a run that is started
    again from the UI is the same run.

    - `allow_partial`: go on without symbols that were refused or failed.
    - `refetch`: ask again for everything; `trailing`: for the older slices where the newest one is new.
    - `symbols`: ask for these only; whole-market requests stay. `max_calls`: stop after so many calls.
    """

    allow_partial: bool = False
    refetch: bool = False
    trailing: bool = False
    symbols: tuple[str, ...] = ()
    max_calls: int | None = None

    def tags(self) -> dict[str, str]:
        """The tags that say so; what is not asked for has none."""
        said = {
            "allow_partial": "true" if self.allow_partial else "",
            "refetch": "true" if self.refetch else "",
            "trailing": "true" if self.trailing else "",
            "symbols": ",".join(self.symbols),
            "max_calls": "" if self.max_calls is None else str(self.max_calls),
        }
        return {f"{TAG}{name}": value for name, value in said.items() if value}

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Asked:
        """Inverse of `tags`."""
        said = {name.removeprefix(TAG): value for name, value in tags.items() if name.startswith(TAG)}
        limit = said.get("max_calls", "")
        return cls(
            allow_partial=said.get("allow_partial", "").lower() == "true",
            refetch=said.get("refetch", "").lower() == "true",
            trailing=said.get("trailing", "").lower() == "true",
            symbols=tuple(part.strip() for part in said.get("symbols", "").split(",") if part.strip()),
            max_calls=int(limit) if limit.isdecimal() else None,
        )


@dataclass
class Session:
    """One run: its pipeline, its steps' reports in order, and its errors. `on_progress` gets a target (such as
    `bronze/alpha_vantage/overview`), how many requests are done, and of how many."""

    pipeline: Pipeline
    on_progress: Progress = no_progress
    reports: list[Report] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def calls_left(self, asked: Asked) -> int | None:
        """How many calls the run may still make, None without a limit of its own."""
        if asked.max_calls is None:
            return None
        return max(0, asked.max_calls - sum(r.calls_used for r in self.reports if isinstance(r, IngestReport)))

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


def refuse_half_a_lake(settings: Settings) -> None:
    """Raise while a restore is under way, or after one that was cut."""
    if settings.restoring.exists():
        raise ConfigurationError(
            f"The restore of profile {settings.profile} has not ended, so its lake is not whole; restore the same "
            "backup again: make restore FROM=..., or begin anew: make wipe"
        )


def session_resource(settings: Settings, prepared: Session | None) -> dg.ResourceDefinition:
    """The run's `Session`. A run that nobody prepared (started in the UI or by the daemon) also leaves `health.json`;
    one that the command line prepared leaves that to it."""

    @dg.resource(description="The profile's pipeline, held for one run.")
    def session(context: dg.InitResourceContext) -> Iterator[Session]:
        run, instance = context.run, context.instance
        refuse_half_a_lake(settings)
        if run is not None and instance is not None:
            _refuse_another_profile(instance, settings)
            locks.own(settings.state, run.run_id)
            locks.reap(instance, settings.state)
        target = "" if run is None else target_of(run)
        with logs.about({"run_id": "" if run is None else run.run_id, "target": target}):
            logs.tell(_log, "A run begins")
            if prepared is not None:
                yield prepared
                return
            started_at = dt.datetime.now(dt.UTC)
            found = Session(Pipeline(settings))
            yield found
            error = found.errors[0] if found.errors else None
            found.pipeline.record_run(
                target=target,
                started_at=started_at,
                status="success" if error is None else "failed",
                exit_code=0 if error is None else 6 if isinstance(error, CheckFailed) else 1,
                error=None if error is None else found.redact(str(error)),
            )

    return session
