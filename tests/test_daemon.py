"""A real Dagster daemon over a partition history with holes: what it starts by itself, what it leaves alone, what it
tells and what it tidies up. One daemon for all, because it costs half a minute to start."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from market_pipeline.orchestration import locks, runs
from market_pipeline.orchestration.legs import Leg
from market_pipeline.pipeline import Pipeline
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.settings import load_settings
from sample_profile import CLOCK, SEEDS, WEEK, Profile, make, receiving

WEEKLY = "bronze/alpha_vantage/weekly_adjusted"
BARS = "silver/alpha_vantage/weekly_adjusted"
GROUPED, SESSIONS = "bronze/polygon/grouped_daily", ("2026-11-18", "2026-11-19", "2026-11-20")
MODULE = "market_pipeline.orchestration.definitions"
DEADLINE_S = 240.0  # the daemon and its code server import Dagster before they look
pytestmark = [pytest.mark.daemon, pytest.mark.slow]


@pytest.fixture
def messages() -> Iterator[tuple[str, list[str]]]:
    """A local address for alerts and what it has received."""
    with receiving() as found:
        yield found.url, found


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: tuple[str, list[str]]) -> Iterator[Profile]:
    """A sample profile whose automation is switched on."""
    clock = dt.datetime.fromisoformat(CLOCK)
    with running(SandboxConfig(universe=SEEDS, clock=clock, plan="unlimited", roster_size=60)) as sandbox:
        made = make(
            tmp_path,
            sandbox,
            b"{}",
            monkeypatch,
            MARKET_PIPELINE_AUTOMATION="on",
            MARKET_PIPELINE_ALERT_URL=messages[0],
        )
        made.pipeline().dbt.parse()
        yield made
        made.faults()


@pytest.fixture
def daemon(profile: Profile) -> Iterator[Path]:
    """The daemon as a child in a group of its own (its code server and runs are its children); gives its log."""
    settings = load_settings()
    home = runs.instance_home(settings)
    runs.create_instance(settings)
    log = settings.root / "daemon.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dagster-daemon"), "run", "-m", MODULE],
            env={**os.environ, "DAGSTER_HOME": str(home)},
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield log
    for number, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 10)):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


def test_silver_and_gold_follow_bronze_by_themselves(
    profile: Profile, daemon: Path, messages: tuple[str, list[str]]
) -> None:
    pipeline = profile.pipeline()
    with runs.open_instance(pipeline.settings) as instance:
        # The first look at failed runs only notes where the log ends, so a failure before it is not told.
        for sensor in ("automation", "alert"):
            _wait(lambda sensor=sensor: _ticks(instance, sensor) > 0, f"the first look of {sensor}", daemon)

        # 1. A slice with a refused symbol is not passed on.
        profile.faults({"kind": "message", "message": "invalid_call", "symbol": "BQLN"})
        refused = runs.start(pipeline, Leg((WEEKLY,), (WEEK,)))
        assert not refused.is_success
        _wait(lambda: any("BQLN" in told for told in messages[1]), "the alert about the refused symbol", daemon)
        ticks = _ticks(instance, "automation")
        _wait(lambda: _ticks(instance, "automation") >= ticks + 2, "two looks at a partial slice", daemon)
        assert len(instance.get_runs()) == 1, "nobody follows a partial slice"

        # 2. A whole slice is: one week of 98, and of one feed of two.
        profile.faults()
        assert runs.start(pipeline, Leg((WEEKLY,), (WEEK,))).is_success
        _wait(lambda: any(_is_owned(run) for run in _automated(instance)), "a run that locks itself", daemon)
        _wait(lambda: _newest(instance, "gold/fact_adjusted_prices"), "gold", daemon)
        silver = _newest(instance, BARS)
        assert silver is not None
        assert silver.partition == WEEK
        current = pipeline.warehouse.current()
        assert current is not None
        assert current.tables["fact_adjusted_prices"] > 500
        _wait(lambda: all(run.is_finished for run in instance.get_runs()), "the end of every run", daemon)
        started = _automated(instance)
        assert len(started) == 2, "silver once and gold once"
        assert all(run.is_success for run in started)
        health = pipeline.warehouse.health()
        assert health is not None, "runs of the daemon leave health.json too"
        assert health.last_run is not None
        assert (health.last_run.target, health.last_run.status) == ("gold", "success")

        # 3. A range of sessions is followed by one run over the range.
        assert runs.start(pipeline, Leg((GROUPED,), SESSIONS)).is_success
        key = dg.AssetKey(GROUPED.replace("bronze", "silver").split("/"))
        _wait(lambda: instance.get_materialized_partitions(key) == set(SESSIONS), "silver of the sessions", daemon)
        _wait(lambda: _sessions(pipeline) == len(SESSIONS), "the sessions in gold", daemon)
        _wait(lambda: all(run.is_finished for run in instance.get_runs()), "the end of every run", daemon)
        assert all(run.is_success for run in _automated(instance))
        (silver_run,) = [run for run in _automated(instance) if key in (run.asset_selection or ())]
        assert silver_run.tags["dagster/asset_partition_range_start"] == SESSIONS[0]
        assert silver_run.tags["dagster/asset_partition_range_end"] == SESSIONS[-1]

        # 4. A run that is killed is ended by the reaper, and told about.
        profile.faults({"kind": "latency", "seconds": 45, "count": 1})
        before = len(messages[1])
        process = profile.python(
            "from market_pipeline.settings import load_settings\n"
            "from market_pipeline.pipeline import Pipeline\n"
            "from market_pipeline.orchestration import runs\n"
            "from market_pipeline.orchestration.legs import Leg\n"
            "from market_pipeline.orchestration.resources import Asked\n"
            "asked = Asked(refetch=True)\n"
            f"runs.start(Pipeline(load_settings()), Leg(({WEEKLY!r},), ({WEEK!r},)), asked=asked)\n"
        )
        _wait(lambda: _is_started(instance), "a run that hangs", daemon)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        _wait(lambda: not _is_started(instance), "the reaper", daemon)
        # Other alerts, of stale data say, may come in between.
        _wait(lambda: any("died" in told for told in messages[1][before:]), "the alert about the killed run", daemon)


def _sessions(pipeline: Pipeline) -> int:
    """How many sessions the published daily fact has."""
    answer, _ = pipeline.warehouse.query("select count(distinct session_date) as n from fact_daily_price")
    (row,) = answer.to_pylist()
    return int(row["n"])


def _wait(condition: Callable[[], object], what: str, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come; the daemon says: {log.read_text()[-3000:]}"
        time.sleep(0.5)


def _ticks(instance: dg.DagsterInstance, sensor: str) -> int:
    """How often a sensor has looked."""
    states = [state for state in instance.all_instigator_state() if state.instigator_name == sensor]
    return sum(len(instance.get_ticks(state.instigator_origin_id, state.selector_id)) for state in states)


def _is_started(instance: dg.DagsterInstance) -> bool:
    return any(run.status is dg.DagsterRunStatus.STARTED for run in instance.get_runs())


def _automated(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Runs that nobody started."""
    return [run for run in instance.get_runs() if "dagster/from_automation_condition" in run.tags]


def _is_owned(run: dg.DagsterRun) -> bool | None:
    return locks.is_owned(load_settings().state, run.run_id)


def _newest(instance: dg.DagsterInstance, key: str) -> dg.AssetMaterialization | None:
    event = instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
    return None if event is None else event.asset_materialization
