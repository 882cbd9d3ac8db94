"""When things start by themselves: bronze by the clock, silver and gold after their inputs, and what was put off.

Everything here is stopped over sample data unless `MARKET_PIPELINE_AUTOMATION=on`, but for the reaper, which only
tidies up.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import dagster as dg

from market_pipeline.feed import Feed, Provider
from market_pipeline.orchestration import bronze, locks
from market_pipeline.partition import Grain
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

Feeds = Sequence[tuple[Provider, Feed]]

# New York time. Vendors finish a session's data overnight. A week is taken on the evening of its last weekday, so that
# a free plan has three windows (Friday, Saturday, Sunday) before the slice ends; days and months wait for the morning.
_CRON = {Grain.DAY: "0 6 * * 2-6", Grain.WEEK: "0 20 * * 5", Grain.MONTH: "0 6 1 * *"}
_ZONE = "America/New_York"
_AUTOMATION_S, _RESUME_S, _REAP_S = 15, 300, 30


def follows_its_inputs() -> dg.AutomationCondition[Any]:
    """Ask for an asset when an input has been materialized outside of a run that does the asset too, and nothing
    upstream is still under way.

    Not `eager()`: that one also wants no input missing, and a partition history with holes always has some.
    A slice with refused or failed requests, or too many rejected rows, is never materialized, so nothing follows it.
    """
    condition = dg.AutomationCondition
    is_new = condition.newly_updated() & ~condition.executed_with_root_target()
    is_busy = condition.in_progress() | condition.any_deps_in_progress()
    return (
        condition.any_deps_match(is_new).since_last_handled().with_label("an input is newer")
        & ~condition.in_progress()
        & ~condition.any_deps_match(is_busy).with_label("something upstream is under way")
    ).with_label("follows its inputs")


def jobs(feeds: Feeds) -> tuple[dg.UnresolvedAssetJobDefinition, ...]:
    """One job per grain that asks for the bronze of all its feeds."""
    return tuple(
        dg.define_asset_job(
            f"bronze_{grain.value}",
            selection=dg.AssetSelection.assets(*[bronze.key(p, f) for p, f in feeds if f.grain is grain]),
            description=f"Bronze of every feed whose slices are a {grain.value}.",
        )
        for grain in _grains(feeds)
    )


def schedules(feeds: Feeds, settings: Settings, *, is_on: bool) -> Iterator[dg.ScheduleDefinition]:
    """Bronze of the running slice, by the clock of the exchange."""
    status = dg.DefaultScheduleStatus.RUNNING if is_on else dg.DefaultScheduleStatus.STOPPED
    for grain in _grains(feeds):
        feed = next(feed for _, feed in feeds if feed.grain is grain)

        def ask(_context: dg.ScheduleEvaluationContext, feed: Feed = feed) -> dg.RunRequest:
            return dg.RunRequest(partition_key=Pipeline(settings).current_slice(feed).key)

        yield dg.ScheduleDefinition(
            name=f"bronze_{grain.value}_schedule",
            job_name=f"bronze_{grain.value}",
            cron_schedule=_CRON[grain],
            execution_timezone=_ZONE,
            execution_fn=ask,
            default_status=status,
            description="Fetches the running slice once its data is out; silver and gold follow by themselves.",
        )


def sensors(
    feeds: Feeds, settings: Settings, *, followers: Iterable[dg.AssetKey], is_on: bool
) -> tuple[dg.SensorDefinition, ...]:
    """What reacts: `followers` to their inputs, deferred requests to a new call budget, the reaper to dead runs."""
    status = dg.DefaultSensorStatus.RUNNING if is_on else dg.DefaultSensorStatus.STOPPED
    return (
        dg.AutomationConditionSensorDefinition(
            "automation",
            target=dg.AssetSelection.assets(*followers),
            minimum_interval_seconds=_AUTOMATION_S,
            default_status=status,
            description="Asks for silver and gold when their inputs have changed.",
        ),
        dg.SensorDefinition(
            name="resume",
            evaluation_fn=_resume(feeds, settings),
            target=dg.AssetSelection.assets(*[bronze.key(p, f) for p, f in feeds]),
            minimum_interval_seconds=_RESUME_S,
            default_status=status,
            description="Fetches what a spent call budget put off, once the budget is new and the slice still runs.",
        ),
        dg.SensorDefinition(
            name="reaper",
            evaluation_fn=_reap(settings),
            minimum_interval_seconds=_REAP_S,
            default_status=dg.DefaultSensorStatus.RUNNING,
            description="Fails runs whose process has died and frees what they held.",
        ),
    )


def _grains(feeds: Feeds) -> tuple[Grain, ...]:
    return tuple(sorted({feed.grain for _, feed in feeds}))


def _resume(feeds: Feeds, settings: Settings) -> Callable[[dg.SensorEvaluationContext], dg.SensorResult]:
    def resume(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline = Pipeline(settings)
        requests, waiting = [], []
        for provider, feed in feeds:
            key, part = bronze.key(provider, feed), pipeline.current_slice(feed)
            wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[part.key])
            records = context.instance.fetch_materializations(wanted, limit=1).records
            newest = records[0].asset_materialization if records else None
            resumes_at = str(newest.metadata["resumes_at"].value) if newest and "resumes_at" in newest.metadata else ""
            if not resumes_at:
                continue
            if dt.datetime.fromisoformat(resumes_at) > pipeline.now():
                waiting.append(f"{provider.name}/{feed.dataset} goes on at {resumes_at}")
                continue
            run_key = f"{'/'.join(key.path)} {part.key} {resumes_at}"
            requests.append(dg.RunRequest(run_key=run_key, partition_key=part.key, asset_selection=[key]))
        reason = None if requests else "; ".join(waiting) or "Nothing is put off."
        return dg.SensorResult(run_requests=requests, skip_reason=reason)

    return resume


def _reap(settings: Settings) -> Callable[[dg.SensorEvaluationContext], dg.SkipReason]:
    def reap(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        reaped = locks.reap(context.instance, settings.state)
        return dg.SkipReason(f"Failed without an owner: {', '.join(reaped)}" if reaped else "Every run has an owner.")

    return reap
