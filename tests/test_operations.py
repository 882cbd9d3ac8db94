"""What keeps a stack going unattended: the history of runs, their log's pruning, alerts about what lasts, metrics."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import postgres
from market_pipeline import history
from market_pipeline.cli.doctor import probes
from market_pipeline.cli.metrics import Figures
from market_pipeline.errors import ConfigurationError
from market_pipeline.orchestration import alerts, database, pruning, runs
from market_pipeline.orchestration.legs import GOLD, Leg
from market_pipeline.orchestration.resources import SESSION, session_resource
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings, load_settings
from market_pipeline.warehouse import DatasetHealth, FailedCheck, Health, ProviderQuota
from sample_profile import REPOSITORY, receiving

NOW = dt.datetime(2026, 11, 20, 22, tzinfo=dt.UTC)


@dg.asset(key=["bronze", "somebody", "something"])
def something() -> None:
    """An asset of no feed."""


def run_once(instance: dg.DagsterInstance, *, tag: str) -> str:
    """A run as the command line starts one."""
    result = dg.materialize([something], instance=instance, tags={"market_pipeline/started_by": tag})
    return result.run_id


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith(("MARKET_PIPELINE_", "PG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "demo")
    monkeypatch.setenv("MARKET_PIPELINE_CLOCK", NOW.isoformat())
    return load_settings()


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.serving("owner-secret-0123456789") as found:
        found.run("create role dagster login createdb password 'a:word of dagster';")
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
def stored(
    request: pytest.FixtureRequest, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Dagster's storage, embedded and as in containers."""
    if request.param == "sqlite":
        return settings
    found: postgres.Postgres = request.getfixturevalue("server")
    file = tmp_path / "pgpass"
    file.write_text("# of a container\nelsewhere:5432:*:other:nothing\n*:*:*:dagster:a\\:word of dagster\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    monkeypatch.setenv("MARKET_PIPELINE_DATABASE_URL", f"postgresql://dagster@127.0.0.1:{found.port}/d{os.getpid()}")
    return load_settings()


def test_the_history_of_runs_and_the_pruning_of_their_log(stored: Settings) -> None:
    runs.create_instance(stored)
    assert history.runs(stored).is_empty()
    with runs.open_instance(stored) as instance:
        first, second = run_once(instance, tag="command line"), run_once(instance, tag="backfill")
        found = history.runs(stored)
        assert found.get_column("run_id").to_list() == [first, second]
        assert found.get_column("started_by").to_list() == ["command line", "backfill"]
        assert found.get_column("status").to_list() == ["success", "success"]
        assert all(0 <= seconds < 120 for seconds in found.get_column("run_seconds"))
        assert set(found.schema) == set(history.RUNS)

        before = {run_id: len(instance.all_logs(run_id)) for run_id in (first, second)}
        number, last = pruning.prune(instance, before=dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1))
        assert number == 2
        assert last is not None
        kept = [entry.dagster_event_type for entry in instance.all_logs(first)]
        assert dg.DagsterEventType.ASSET_MATERIALIZATION in kept
        assert len(kept) < before[first] // 2
        assert instance.get_latest_materialization_event(something.key) is not None
        assert instance.get_run_by_id(first) is not None
        assert pruning.prune(instance, before=dt.datetime.now(dt.UTC), after=last)[0] == 0


def test_a_database_is_made_once(server: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pgpass"
    file.write_text("*:*:*:dagster:a\\:word of dagster\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    url = f"postgresql://dagster@127.0.0.1:{server.port}/made_here"
    assert database.make(url)
    assert not database.make(url)


def health(**changed: object) -> Health:
    """What a run left, with troubles."""
    return Health(
        **{  # type: ignore[arg-type]
            "written_at": NOW.isoformat(),
            "as_of": NOW.isoformat(),
            "profile": "demo",
            "generation": None,
            "failed_checks": (
                FailedCheck("close_is_positive", "bars", "2 rows", 2, "error"),
                FailedCheck("volume_is_usual", "bars", "1 row", 1, "warn"),
            ),
            "datasets": (DatasetHealth("fmp", "eod_raw", "2026-11-13", 5, 5, newest_data_date="2026-11-13"),),
            "quota": (ProviderQuota("fmp", "free", 250, 250, 0, "2026-11-21T05:00:00+00:00"),),
            "rows_by_layer": {"silver_rows": 7},
            "bytes_by_layer": {"bronze": 9_000, "silver": 4_321},
            **changed,
        }
    )


def test_what_lasts_is_told_once_and_again_when_it_comes_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(settings)
    pipeline.initialize()
    with receiving() as messages:
        monkeypatch.setenv("MARKET_PIPELINE_ALERT_URL", messages.url)
        watch = alerts.watcher(load_settings())
        assert watch.default_status is dg.DefaultSensorStatus.RUNNING

        def tick(cursor: str | None) -> str | None:
            context = dg.build_sensor_context(cursor=cursor)
            return watch.evaluate_tick(context).cursor

        pipeline.warehouse.write_health(health())
        cursor = tick(None)
        assert len(messages) == 1
        text = str(messages[0])
        for words in ("close_is_positive", "fmp/eod_raw is stale", "calls of fmp are spent"):
            assert words in text
        assert "volume_is_usual" not in text, "a warning is no alarm"
        cursor = tick(cursor)
        assert len(messages) == 1
        pipeline.warehouse.write_health(health(failed_checks=()))
        cursor = tick(cursor)
        assert len(messages) == 1
        pipeline.warehouse.write_health(health())
        tick(cursor)
        assert len(messages) == 2
        assert "fmp are spent" not in str(messages[1])


def test_messages_that_nobody_takes_are_sent_later_once_and_in_order(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(settings)
    pipeline.initialize()
    with receiving(is_away=True) as receiver:
        monkeypatch.setenv("MARKET_PIPELINE_ALERT_URL", receiver.url)
        settings = load_settings()
        watch = alerts.watcher(settings)
        for number in range(3):
            alerts.send(settings, title=f"run {number} failed", body="for a reason")
        alerts.send(settings, title="run 0 failed", body="for a reason")
        assert receiver.refused == 1, "who comes second waits behind the first"
        pipeline.warehouse.write_health(health(datasets=(), quota=()))
        first = watch.evaluate_tick(dg.build_sensor_context())
        assert "4 messages wait" in (first.skip_message or "")
        assert "MARKET_PIPELINE_ALERT_URL" in caplog.text
        assert "SECRETPATH" not in caplog.text
        found = {probe.name: probe for probe in probes(settings)}["alerts"]
        assert (found.ok, found.found) == (False, "4 wait to be taken")
        receiver.is_away = False
        second = watch.evaluate_tick(dg.build_sensor_context(cursor=first.cursor))
        assert "wait" not in (second.skip_message or "")
        titles = [json.loads(body)["title"].removeprefix("market-pipeline demo: ") for body in receiver]
        assert titles == [*(f"run {number} failed" for number in range(3)), "Check close_is_positive failed: 2 rows"]
        assert alerts.waiting(settings) == ()
        alerts.send(settings, title="run 0 failed", body="for a reason")
        watch.evaluate_tick(dg.build_sensor_context(cursor=second.cursor))
        assert len(receiver) == 5, "the same words once more are a new message"


def test_what_waits_is_bounded_and_one_that_is_never_taken_holds_nobody_up_for_long(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(is_away=True) as receiver:
        monkeypatch.setenv("MARKET_PIPELINE_ALERT_URL", receiver.url)
        settings = load_settings()
        for number in range(103):
            alerts.keep(settings, title=f"{number}", body="b")
        kept = alerts.waiting(settings)
        assert len(kept) == 100
        assert caplog.text.count("is given up: nobody took it") == 3
        told = [json.loads((settings.root / key).read_text())["title"] for key in kept]
        assert told == [str(number) for number in range(3, 103)]
        for key in kept[3:]:
            (settings.root / key).unlink()
        # The first waits since last week, the second since two hours.
        for key, hours in zip(kept, (200, 2), strict=False):
            number, _, name = key.removeprefix("alerts/").partition("-")
            aged = int(number) - hours * 3600 * 10**9
            (settings.root / key).rename(settings.root / f"alerts/{aged:020}-{name}")
        receiver.is_away, receiver.refuses = False, '"4"'
        assert alerts.deliver(settings) == 1
        (message,) = receiver
        assert json.loads(message)["title"] == "5"
        receiver.refuses = ""
        assert alerts.deliver(settings) == 0
        assert "nobody took it then" in receiver[1]


def test_an_address_that_nobody_knows_is_told_without_it(settings: Settings) -> None:
    """In a process of its own, whose every line is seen, apprise's too."""
    code = """if True:
        import logging, os, sys
        from market_pipeline import logs
        from market_pipeline.orchestration import alerts
        from market_pipeline.settings import load_settings
        logs.set_up()
        logging.getLogger().setLevel(logging.DEBUG)
        for url in sys.argv[1:]:
            os.environ["MARKET_PIPELINE_ALERT_URL"] = url
            alerts.keep(load_settings(), title="t", body="b")
            alerts.deliver(load_settings())
        """
    urls = ["slack://TOKEN-0123456789", "https://hooks.example/services/TOKEN-0123456789", "TOKEN-0123456789"]
    environment = {**os.environ, "MARKET_PIPELINE_LOG_FORMAT": "json"}
    command = [sys.executable, "-c", code, *urls]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.count("MARKET_PIPELINE_ALERT_URL in .env is no address in apprise's notation") == 3
    assert "TOKEN" not in done.stdout + done.stderr
    assert len(alerts.waiting(settings)) == 1


def test_a_receiver_with_broken_headers_makes_no_line_with_the_address(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as receiver:
        receiver.header = "no header at all"
        monkeypatch.setenv("MARKET_PIPELINE_ALERT_URL", receiver.url)
        alerts.send(load_settings(), title="t", body="b")
        assert len(receiver) == 1
    assert "SECRETPATH" not in caplog.text


def test_doctor_says_whose_key_a_store_is_asked_with(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[str]:
        return [probe.found for probe in probes(load_settings()) if probe.name == "store identity"]

    monkeypatch.setenv("MARKET_PIPELINE_STORE_IDENTITIES", "external")
    assert found() == [], "a folder has no key"
    for name, value in {"LAKE_URL": "s3://market", "S3_ENDPOINT": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(f"MARKET_PIPELINE_{name}", value)
    assert found() == ["external: the key in .env, nobody here tried what it is denied"]
    monkeypatch.setenv("MARKET_PIPELINE_S3_ROLE", "pipeline")
    assert found() == ["pipeline, denials tried"]


def test_the_role_of_dagster_is_made_and_no_process_is_given_its_password(
    server: postgres.Postgres, tmp_path: Path
) -> None:
    """docker/database/roles.sh, under another name, by a psql that first writes down what it was given."""
    word = 'it\'s \\ "a" $word `of` :role'
    (tmp_path / "word").write_text(f"{word}\n")
    (tmp_path / "psql").write_text(
        f'#!/bin/sh\ntr "\\0" "\\n" </proc/$$/cmdline >{tmp_path}/given\nenv >>{tmp_path}/given\n'
        f'exec {server.binaries}/psql "$@"\n'
    )
    (tmp_path / "psql").chmod(0o755)
    script = (REPOSITORY / "docker/database/roles.sh").read_text(encoding="utf-8")
    for old, new in (
        ("/secrets/database/dagster", f"{tmp_path}/word"),
        ("role dagster", "role other"),
        ("-U postgres", f"-U {postgres.USER}"),
    ):
        assert old in script
        script = script.replace(old, new)
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGCONNECT_TIMEOUT": "5"}
    owner = {**os.environ, **place, "PGPASSWORD": server.password, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for expected in (0, 3):  # at the second time there is such a role
        done = subprocess.run(["sh", "-c", script], env=owner, capture_output=True, text=True, check=False)
        assert done.returncode == expected, done.stderr
    given = (tmp_path / "given").read_text()
    assert "ON_ERROR_STOP=1" in given
    assert "PGHOST=127.0.0.1" in given
    for text in (given, done.stderr, server.log()):
        assert "it's" not in text
        assert "it''s" not in text
    login = [
        server.binaries / "psql",
        "-U",
        "other",
        "-d",
        "postgres",
        "-Atc",
        "select rolcreatedb and not rolsuper from pg_roles where rolname = 'other'",
    ]
    done = subprocess.run(
        login, env={**os.environ, **place, "PGPASSWORD": word}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "t\n"
    (tmp_path / "word").write_text("")
    assert subprocess.run(["sh", "-c", script], env=owner, capture_output=True, check=False).returncode == 1


def test_prometheus_gets_figures_and_names_what_cant_be_read(settings: Settings) -> None:
    pipeline = Pipeline(settings)
    pipeline.initialize()
    registry = CollectorRegistry()
    registry.register(Figures(settings))
    assert 'market_pipeline_info{profile="demo"' in generate_latest(registry).decode()
    pipeline.warehouse.write_health(health())
    text = generate_latest(registry).decode()
    for line in (
        'market_pipeline_rows{layer="silver"} 7.0',
        'market_pipeline_bytes{layer="bronze"} 9000.0',
        'market_pipeline_calls_left{plan="free",provider="fmp"} 0.0',
        'market_pipeline_data_age_days{dataset="eod_raw",provider="fmp"} 7.0',
        'market_pipeline_checks{outcome="failed"} 1.0',
        'market_pipeline_up{part="health"} 1.0',
    ):
        assert line in text
    old = json.loads((settings.warehouse / "health.json").read_text())
    del old["bytes_by_layer"], old["sealed_sha256"]  # as it was before bytes were counted
    (settings.warehouse / "health.json").write_text(json.dumps(old))
    text = generate_latest(registry).decode()
    assert 'market_pipeline_rows{layer="silver"} 7.0' in text
    assert "market_pipeline_bytes{" not in text
    (settings.warehouse / "health.json").write_text("{")
    assert 'market_pipeline_up{part="health"} 0.0' in generate_latest(registry).decode()


def test_no_run_begins_in_a_lake_that_is_half_restored(settings: Settings) -> None:
    settings.restoring.parent.mkdir(parents=True, exist_ok=True)
    settings.restoring.write_text("0" * 32)
    with pytest.raises(ConfigurationError, match="has not ended"):
        runs.start(Pipeline(settings), Leg((GOLD,)))
    resources = {SESSION: session_resource(settings, None)}
    with pytest.raises(dg.DagsterError) as raised, dg.build_resources(resources):
        pass
    assert "has not ended" in str(raised.value.__cause__)
    assert [probe for probe in probes(settings) if probe.name == "restore" and not probe.ok]
