"""Dagster's storage in PostgreSQL: few connections for many questions, and one that died in between is no error."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import postgres
from market_pipeline.orchestration import runs
from market_pipeline.settings import Settings, load_settings

WORD = "dagster-secret-0123456789"


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.serving("owner-secret-0123456789") as found:
        found.run(f"create role dagster login createdb password '{WORD}'")
        found.run("alter system set log_connections = on; select pg_reload_conf()")
        yield found


@pytest.fixture
def settings(server: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:{server.port}:*:dagster:{WORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "recorded")
    monkeypatch.setenv("MARKET_PIPELINE_DATABASE_URL", f"postgresql://dagster@127.0.0.1:{server.port}/d{os.getpid()}")
    found = load_settings()
    runs.create_instance(found)
    monkeypatch.setenv("DAGSTER_HOME", str(found.dagster_home))
    return found


@dg.asset
def many(context: dg.AssetExecutionContext) -> None:
    for number in range(40):
        context.log_event(dg.AssetMaterialization(f"of_many_{number}"))


def backends(server: postgres.Postgres) -> int:
    return int(server.run("select count(*) from pg_stat_activity where usename = 'dagster'"))


@pytest.mark.usefixtures("settings")
def test_a_run_of_many_events_opens_few_connections_and_leaves_none(server: postgres.Postgres) -> None:
    with dg.DagsterInstance.get() as instance:
        before = server.log().count("connection authorized: user=dagster")
        assert dg.materialize([many], instance=instance).success
        opened = server.log().count("connection authorized: user=dagster") - before
        assert opened <= 5, f"{opened} connections for 41 events"
        assert len(instance.all_logs(instance.get_runs()[0].run_id)) > 40
        assert backends(server) >= 1
    deadline = time.monotonic() + 10
    while backends(server) and time.monotonic() < deadline:  # a server's process ends a moment after its client
        time.sleep(0.1)
    assert backends(server) == 0


@pytest.mark.usefixtures("settings")
def test_a_server_that_was_away_is_no_error(server: postgres.Postgres) -> None:
    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([many], instance=instance).success
        ended = server.run("select bool_and(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'dagster'")
        assert ended == "t"
        assert dg.materialize([many], instance=instance).success
