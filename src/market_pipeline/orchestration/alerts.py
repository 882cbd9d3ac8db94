"""What goes wrong as messages, sent by apprise to `MARKET_PIPELINE_ALERT_URL`: one sensor for runs that failed, one for
what lasts: failed checks, stale data, spent call budgets. What lasts is told once, and again when it comes back.

Dagster asks a sensor once about a failure, and the receiver may be away just then. So each message is first kept in the
folder `alerts`, then sent, then forgotten; the oldest goes first, and while it is not taken, the others wait. `watch`
goes on with them. A process that dies between sending and forgetting has the message sent again.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from market_pipeline import freshness, logs
from market_pipeline.errors import LakeError
from market_pipeline.orchestration.resources import redact, target_of
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import PREFIX, Settings
from market_pipeline.store import FolderStore

_log = logging.getLogger(__name__)
_WATCH_S = 300
# Beside the state and not in it: a backup copies the state, and an old message is nothing to bring back.
_KEPT = "alerts/"
# What waits at most. One that is not taken for an hour may be one that its receiver will never take: others pass it.
_MOST, _LONGEST, _PASSED, _LATE = 100, dt.timedelta(days=3), dt.timedelta(hours=1), dt.timedelta(minutes=2)
# Dagster waits for a sensor for 60 seconds; what is left then waits for the next look.
_PATIENCE_S = 30.0
# They write addresses into their lines, and with them what signs in there: apprise one that it can't read, urllib3 one
# whose server answers with broken headers.
_TALKATIVE = ("apprise", "urllib3.connection")


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
            keep(settings, title=redact(title, pipeline), body=redact("\n".join(new.values()), pipeline))
        context.update_cursor(json.dumps(sorted(present)))
        left = deliver(settings)
        said = f"{len(present)} troubles, {len(new)} of them new."
        return dg.SkipReason(f"{said} {left} messages wait for somebody to take them." if left else said)

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
    """Send one message, or keep it until `watch` can; without an address nothing is sent. Where others wait already, it
    takes its turn behind them: their receiver was away a moment ago."""
    if keep(settings, title=title, body=body):
        deliver(settings)


def waiting(settings: Settings) -> tuple[str, ...]:
    """Keys, in the profile's folder, of the messages that nobody has taken yet, the oldest first."""
    return FolderStore(settings.root).list(_KEPT)


def keep(settings: Settings, *, title: str, body: str) -> bool:
    """Write a message down, once however often it is told while it waits; the oldest ones make room. True when no other
    waits."""
    if settings.alert_url is None:
        return False
    store, name = FolderStore(settings.root), hashlib.sha256(f"{title}\n{body}".encode()).hexdigest()[:16]
    with _alone(settings):
        kept = waiting(settings)
        if any(key.endswith(f"-{name}.json") for key in kept):
            return False
        # A clock that is set back changes no order.
        number = max(time.time_ns(), _number(kept[-1]) + 1 if kept else 0)
        store.create(f"{_KEPT}{number:020}-{name}.json", json.dumps({"title": title, "body": body}).encode())
        for key in kept[: max(0, len(kept) + 1 - _MOST)]:
            _give_up(store, key)
    return not kept


def deliver(settings: Settings) -> int:
    """Send what waits, in its order, until one is not taken; returns how many are left. That nobody takes them is no
    error: Dagster asks no sensor again about a failure of which it could not tell."""
    if settings.alert_url is None:
        return 0
    store, end = FolderStore(settings.root), time.monotonic() + _PATIENCE_S
    with _alone(settings):
        problem = ""
        for key in waiting(settings):
            if time.monotonic() > end:
                break
            message, age = json.loads(store.get(key)), dt.datetime.now(dt.UTC) - _told_at(key)
            if age > _LONGEST:
                _give_up(store, key)
                continue
            if age > _LATE:
                message["body"] += f"\nThis is of {_told_at(key):%Y-%m-%d %H:%M} UTC; nobody took it then."
            found = _post(settings.alert_url, title=message["title"], body=message["body"])
            if not found:
                store.delete(key)
                logs.tell(_log, "An alert was sent", title=message["title"])
                continue
            problem = found
            if age < _PASSED:
                break
        left = len(waiting(settings))
    if problem:
        _log.warning("%s; %d alerts wait and are sent later", problem, left)
    return left


def _post(url: str, *, title: str, body: str) -> str:
    """Send a message; what was wrong, without the address, or nothing. Of several addresses one is enough."""
    for name in _TALKATIVE:
        logging.getLogger(name).disabled = True
    import apprise  # noqa: PLC0415 - it loads two hundred services, and only a message needs one

    address = f"{PREFIX}ALERT_URL in .env"
    notifier = apprise.Apprise()
    if not notifier.add(url):
        return f"{address} is no address in apprise's notation, such as json://host/path or slack://; mend it"
    taken = [bool(apprise.Apprise(service).notify(title=title, body=body)) for service in notifier]
    if not all(taken) and any(taken):
        _log.warning("Of %d addresses at %s, %d took a message; it is not sent again", len(taken), address, sum(taken))
    if not any(taken):
        return f"Nobody took a message at {address}; mend the address, or start who listens there"
    return ""


def _number(key: str) -> int:
    return int(key.removeprefix(_KEPT).partition("-")[0])


def _told_at(key: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(_number(key) / 1e9, dt.UTC)


def _give_up(store: FolderStore, key: str) -> None:
    store.delete(key)
    _log.warning("The alert of %s UTC is given up: nobody took it", f"{_told_at(key):%Y-%m-%d %H:%M}")


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Wait for whoever keeps or sends messages of this profile: each is sent once, one after another."""
    path = settings.state / "locks" / "alerts.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sentence(event: dg.DagsterEvent) -> str:
    """What went wrong in a step: the innermost error's words, or a failure's own description."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else event.message or ""
