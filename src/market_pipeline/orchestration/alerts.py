"""Run failures as messages: one sensor, sent by apprise to `MARKET_PIPELINE_ALERT_URL`."""

from __future__ import annotations

import dagster as dg

from market_pipeline.errors import ConfigurationError
from market_pipeline.orchestration.resources import redact, target_of
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings


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


def send(settings: Settings, *, title: str, body: str) -> None:
    """Send one message; without an address nothing is sent. Raises ConfigurationError when nobody took it."""
    if settings.alert_url is None:
        return
    import apprise  # noqa: PLC0415 - it loads two hundred services, and only a failed run needs one

    notifier = apprise.Apprise()
    if not notifier.add(settings.alert_url) or not notifier.notify(title=title, body=body):
        raise ConfigurationError("Nobody took the message sent to MARKET_PIPELINE_ALERT_URL; mend the address in .env")


def sentence(event: dg.DagsterEvent) -> str:
    """What went wrong in a step: the innermost error's words, or a failure's own description."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else event.message or ""
