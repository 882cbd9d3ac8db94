"""What goes wrong as messages, sent by apprise to `MARKET_PIPELINE_ALERT_URL`: one sensor for runs that failed, one for
what lasts: failed checks, stale data, spent call budgets. What lasts is told once, and again when it comes back.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Mapping

import dagster as dg

from market_pipeline import freshness, logs
from market_pipeline.errors import ConfigurationError, LakeError
from market_pipeline.orchestration.resources import redact, target_of
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

_log = logging.getLogger(__name__)
_WATCH_S = 300


def sensor(settings: Settings) -> dg.SensorDefinition:
    """Tell about every failed run of the instance, those of the command line too. It runs when an address is set."""

    @dg.run_failure_sensor(
        name="alert",
        monitor_all_code_locations=True,  # runs of the command line carry no code location
        default_status=dg.DefaultSensorStatus.RUNNING if settings.alert_url else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=15,
        description="Sends a message about each failed run.",
    )
    def alert(context: dg.RunFailureSensorContext) -> None:
        pipeline = Pipeline(settings)
        errors = [sentence(event) for event in context.get_step_failure_events()]
        title = f"market-pipeline {settings.profile}: {target_of(context.dagster_run)} failed"
        body = "\n".join(dict.fromkeys(errors)) or context.failure_event.message or "The run failed without a message."
        body += f"\nRun {context.dagster_run.run_id}"
        send(settings, title=redact(title, pipeline), body=redact(body, pipeline))

    return alert


def watcher(settings: Settings) -> dg.SensorDefinition:
    """Tell what the newest run left that needs somebody. Its cursor holds what has been told."""

    @dg.sensor(
        name="watch",
        minimum_interval_seconds=_WATCH_S,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.alert_url else dg.DefaultSensorStatus.STOPPED,
        description="Sends a message about failed checks, stale data and spent call budgets.",
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        pipeline = Pipeline(settings)
        present = troubles(pipeline, now=pipeline.now())
        told = set(json.loads(context.cursor or "[]"))
        new = {key: text for key, text in present.items() if key not in told}
        if new:
            what = next(iter(new.values())) if len(new) == 1 else f"{len(new)} troubles"
            title = f"market-pipeline {settings.profile}: {what}"
            send(settings, title=redact(title, pipeline), body=redact("\n".join(new.values()), pipeline))
        context.update_cursor(json.dumps(sorted(present)))
        return dg.SkipReason(f"{len(present)} troubles, {len(new)} of them new.")

    return watch


def troubles(pipeline: Pipeline, *, now: dt.datetime) -> Mapping[str, str]:
    """What `health.json` says that somebody should look at, in words, by a key that stays as long as it lasts."""
    try:
        health = pipeline.warehouse.health()
    except LakeError as error:
        return {"health": str(error)}
    if health is None:
        return {}
    found = {
        f"check {check.name}": f"Check {check.name} failed: {check.message}"
        for check in health.failed_checks
        if check.severity == "error"
    }
    known = {(provider.name, feed.dataset): feed for provider, feed in pipeline.active_feeds()}
    for dataset in health.datasets:
        feed = known.get((dataset.provider, dataset.dataset))
        if feed is None or not dataset.slice:
            continue
        late = freshness.of_feed(feed, slice_key=dataset.slice, newest_data_date=dataset.newest_data_date, now=now)
        if late:
            name = f"{dataset.provider}/{dataset.dataset}"
            found[f"stale {name}"] = f"{name} is stale: {late}"
    for quota in health.quota:
        if quota.left == 0 and (quota.resets_at is None or dt.datetime.fromisoformat(quota.resets_at) > now):
            found[f"quota {quota.provider}"] = f"The calls of {quota.provider} are spent until {quota.resets_at} UTC"
    return found


def send(settings: Settings, *, title: str, body: str) -> None:
    """Send one message; without an address nothing is sent. Raises ConfigurationError when nobody took it."""
    if settings.alert_url is None:
        return
    import apprise  # noqa: PLC0415 - it loads two hundred services, and only a failed run needs one

    notifier = apprise.Apprise()
    if not notifier.add(settings.alert_url) or not notifier.notify(title=title, body=body):
        raise ConfigurationError("Nobody took the message sent to MARKET_PIPELINE_ALERT_URL; mend the address in .env")
    logs.tell(_log, "An alert was sent", title=title)


def sentence(event: dg.DagsterEvent) -> str:
    """What went wrong in a step: the innermost error's words, or a failure's own description."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else event.message or ""
