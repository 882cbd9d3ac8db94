"""When things start by themselves: bronze by the clock, silver and gold after their inputs, and what was put off.
What does not belong here: when an asset follows its inputs (`automation`).

Everything here is stopped over sample data unless `MARKET_PIPELINE_AUTOMATION=on`, but for the reaper, which only
tidies up.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from zoneinfo import ZoneInfo

import dagster as dg

from market_pipeline import calendar
from market_pipeline.feed import Feed, Provider
from market_pipeline.orchestration import bronze, legs, locks
from market_pipeline.partition import Grain
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

Feeds = Sequence[tuple[Provider, Feed]]

# New York time. Vendors finish a session's data overnight, so sessions are asked for the morning after. A week is taken
# on the evening of its last weekday, so that a free plan has three windows (Friday, Saturday, Sunday) before the slice
# ends. What a month holds is announced day by day where a provider revises it.
_AFTER_A_SESSION = "0 6 * * 2-6"
_CRON = {
    Grain.SESSION: _AFTER_A_SESSION,
    Grain.DAY: _AFTER_A_SESSION,
    Grain.WEEK: "0 20 * * 5",
    Grain.MONTH: "0 6 1 * *",
}
_ZONE = "America/New_York"
_AUTOMATION_S, _RESUME_S, _REAP_S = 15, 300, 30


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
    """Bronze of the newest slice, by the clock of the exchange."""
    status = dg.DefaultScheduleStatus.RUNNING if is_on else dg.DefaultScheduleStatus.STOPPED
    for grain in _grains(feeds):
        yield dg.ScheduleDefinition(
            name=f"bronze_{grain.value}_schedule",
            job_name=f"bronze_{grain.value}",
            cron_schedule=_cron(feeds, grain),
            execution_timezone=_ZONE,
            execution_fn=_ask(feeds, settings, grain),
            default_status=status,
            description="Fetches the newest slice once its data is out; silver and gold follow by themselves.",
        )


def _cron(feeds: Feeds, grain: Grain) -> str:
    is_revised = any(feed.is_revised for _, feed in feeds if feed.grain is grain)
    return _AFTER_A_SESSION if is_revised else _CRON[grain]


def _ask(
    feeds: Feeds, settings: Settings, grain: Grain
) -> Callable[[dg.ScheduleEvaluationContext], Iterator[dg.RunRequest | dg.SkipReason]]:
    """Runs for the feeds of a grain that can be asked today; on the morning after a holiday there is nothing new."""

    def ask(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        pipeline = Pipeline(settings)
        active = [(p, f) for p, f in pipeline.active_feeds() if f.grain is grain]
        if not active:
            yield dg.SkipReason(f"No feed whose slices are a {grain.value} has a key and a plan that includes it.")
            return
        newest = calendar.last_closed_session(pipeline.now())
        yesterday = pipeline.now().astimezone(ZoneInfo(_ZONE)).date() - dt.timedelta(days=1)
        if _cron(feeds, grain) == _AFTER_A_SESSION and grain is not Grain.DAY and newest < yesterday:
            yield dg.SkipReason(f"{yesterday} was no session; the newest is {newest}.")
            return
        selection = ["/".join(bronze.key(provider, feed).path) for provider, feed in active]
        for leg in legs.present(pipeline, selection):
            yield dg.RunRequest(  # each tick asks anew, so its time is in the key
                run_key=f"{leg.slice_keys[0]} {leg.slice_keys[-1]} at {context.scheduled_execution_time.isoformat()}",
                partition_key=leg.slice_key,
                tags=leg.tags(),
                asset_selection=[dg.AssetKey(name.split("/")) for name in leg.selection],
            )

    return ask


def sensors(
    settings: Settings,
    *,
    made: Iterable[dg.UnresolvedAssetJobDefinition],
    followers: Iterable[dg.AssetKey],
    is_on: bool,
) -> tuple[dg.SensorDefinition, ...]:
    """What reacts: `followers` to their inputs, deferred requests to a new call budget (by the jobs that were `made`),
    the reaper to dead runs."""
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
            evaluation_fn=_resume(settings),
            jobs=tuple(made),  # assets of several grains can't be one target
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


def _resume(settings: Settings) -> Callable[[dg.SensorEvaluationContext], dg.SensorResult]:
    def resume(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline = Pipeline(settings)
        requests, waiting = [], []
        for provider, feed in pipeline.active_feeds():
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
            job = f"bronze_{feed.grain.value}"
            request = dg.RunRequest(run_key=run_key, job_name=job, partition_key=part.key, asset_selection=[key])
            requests.append(request)
        reason = None if requests else "; ".join(waiting) or "Nothing is put off."
        return dg.SensorResult(run_requests=requests, skip_reason=reason)

    return resume


def _reap(settings: Settings) -> Callable[[dg.SensorEvaluationContext], dg.SkipReason]:
    def reap(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        reaped = locks.reap(context.instance, settings.state)
        return dg.SkipReason(f"Failed without an owner: {', '.join(reaped)}" if reaped else "Every run has an owner.")

    return reap
