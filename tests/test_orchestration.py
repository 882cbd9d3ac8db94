"""Dagster's side on a real pipeline: sandbox, folders, dbt, an instance of its own. The daemon has another file."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import time_machine
from dagster_dbt import DagsterDbtTranslator, build_dbt_asset_specs

from market_pipeline.errors import ConfigurationError, IncompleteSlice, Refused
from market_pipeline.orchestration import automation, checks, legs, locks, resources, runs
from market_pipeline.orchestration.definitions import build
from market_pipeline.orchestration.legs import Leg
from market_pipeline.orchestration.partitions import partitions
from market_pipeline.orchestration.resources import Asked
from market_pipeline.partition import Grain
from market_pipeline.pipeline import Pipeline
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.settings import Settings, load_settings
from market_pipeline.slice_run import IngestReport
from sample_profile import CLOCK, KEY, SEEDS, WEEK, Profile, make, receiving

WEEKLY, OVERVIEW = "bronze/alpha_vantage/weekly_adjusted", "bronze/alpha_vantage/overview"
BARS, PROFILES = "silver/alpha_vantage/weekly_adjusted", "silver/alpha_vantage/overview"
WEEKLIES = (WEEKLY, BARS, OVERVIEW, PROFILES)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The project's manifest, parsed once."""
    home = tmp_path_factory.mktemp("manifest")
    environ = {"MARKET_PIPELINE_PROFILE": "demo-parse", "MARKET_PIPELINE_HOME": str(home), "PATH": os.environ["PATH"]}
    pipeline = Pipeline(load_settings(environ))
    pipeline.initialize()
    return pipeline.dbt.parse().read_bytes()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    """The fictional market, without a call budget."""
    clock = dt.datetime.fromisoformat(CLOCK)
    with running(SandboxConfig(universe=SEEDS, clock=clock, plan="unlimited", roster_size=60)) as url:
        yield url


@pytest.fixture
def profile(tmp_path: Path, sandbox: str, manifest: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Profile]:
    """A fresh profile of three symbols."""
    made = make(tmp_path, sandbox, manifest, monkeypatch)
    yield made
    made.faults()


def _current(pipeline: Pipeline, *selection: str, asked: Asked = Asked()) -> runs.RunOutcome:  # noqa: B008 - frozen
    return runs.start(pipeline, Leg(selection, (WEEK,)), asked=asked)


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Definitions


def test_definitions_load_in_a_fresh_process_in_under_5_s_without_a_warning_or_a_socket(profile: Profile) -> None:
    """Five seconds are the promise on an idle machine, so it is the processor's time that is judged."""
    code = """
import logging, socket, time, warnings
def refuse(*args, **kwargs): raise AssertionError("a socket was opened")
socket.socket.connect = refuse
warnings.simplefilter("error")
seen = []
class Seen(logging.Handler):
    def emit(self, record): seen.append(record.getMessage())
logging.getLogger().addHandler(Seen(level=logging.WARNING))
from market_pipeline.orchestration.definitions import defs
repository = defs().get_repository_def()
assert repository.asset_graph.get_all_asset_keys()
assert not seen, seen
print(time.process_time())
"""
    process = profile.python(code)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert len(told.splitlines()) == 1, told
    assert float(told) < 5.0


def test_dagster_itself_validates_the_module(profile: Profile) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "market_pipeline.orchestration.definitions"],
        env={**os.environ, "DAGSTER_HOME": str(runs.instance_home(load_settings()))},
        cwd=load_settings().dagster_home,  # Dagster reads the `.env` of its working directory, and lets it win
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Validation successful" in found.stderr + found.stdout


def test_every_asset_has_description_group_kinds_owner_and_there_are_no_others(profile: Profile) -> None:
    graph = build(load_settings()).resolve_asset_graph()
    keys = graph.get_all_asset_keys()
    assert keys == graph.materializable_asset_keys, "an asset that nobody makes"
    assert {key.path[0] for key in keys} == {"bronze", "silver", "gold"}
    for key in keys:
        node = graph.get(key)
        assert node.description, key
        assert node.group_name != "default", key
        assert len(node.kinds) >= 2, key
        assert node.owners == ["team:data"], key
        assert node.pools or key.path[0] == "silver", key
    assert graph.get(dg.AssetKey(WEEKLY.split("/"))).group_name == "bronze_alpha_vantage"
    assert graph.get(dg.AssetKey(BARS.split("/"))).group_name == "silver_prices"


def test_gold_is_what_dagster_dbt_reads_from_the_same_manifest(profile: Profile, manifest: bytes) -> None:
    """Our reading saves two seconds of imports; dagster-dbt's is the oracle for names and dependencies."""

    class Named(DagsterDbtTranslator):
        def get_asset_key(self, dbt_resource_props: dict) -> dg.AssetKey:
            if dbt_resource_props["resource_type"] == "source":
                return super().get_asset_key(dbt_resource_props)
            return dg.AssetKey(["gold", dbt_resource_props["name"]])

    specs = build_dbt_asset_specs(manifest=json.loads(manifest), dagster_dbt_translator=Named())
    oracle = {spec.key: {dep.asset_key for dep in spec.deps} for spec in specs}
    graph = build(load_settings()).resolve_asset_graph()
    silver = {key for key in graph.get_all_asset_keys() if key.path[0] == "silver"}
    assert len(silver) == len(profile.pipeline().feeds())
    ours = {key: set(graph.get(key).parent_keys) for key in graph.get_all_asset_keys() if key.path[0] == "gold"}
    assert ours.keys() == oracle.keys()
    for key, parents in oracle.items():
        expected = {parent for parent in parents if parent.path[0] in ("gold", "silver")}
        if any(parent.path[0] == "quarantine" for parent in parents):
            expected |= silver
        assert ours[key] == expected, key


def test_every_dbt_test_is_a_check_that_blocks_as_dbt_says(profile: Profile, manifest: bytes) -> None:
    nodes = [node for node in json.loads(manifest)["nodes"].values() if node["resource_type"] == "test"]
    graph = build(load_settings()).resolve_asset_graph()
    found = {key.name: graph.get(key) for key in graph.asset_check_keys if key.asset_key.path[0] == "gold"}
    assert len(nodes) > 10
    assert set(found) == {node["name"] for node in nodes}
    for node in nodes:
        assert found[node["name"]].blocking == (node["config"]["severity"].lower() == "error"), node["name"]


def test_a_missing_manifest_names_the_command_that_mends_it(profile: Profile) -> None:
    settings = load_settings()
    (settings.dbt_target / "manifest.json").unlink()
    with pytest.raises(ConfigurationError, match="market-pipeline init"):
        build(settings)


@pytest.mark.parametrize(
    ("variables", "automation"),
    [
        ({}, "STOPPED"),
        ({"MARKET_PIPELINE_AUTOMATION": "on"}, "RUNNING"),
        ({"MARKET_PIPELINE_PROFILE": "live", "MARKET_PIPELINE_CLOCK": "", "ALPHA_VANTAGE_BASE_URL": ""}, "RUNNING"),
        (
            {
                "MARKET_PIPELINE_PROFILE": "live",
                "MARKET_PIPELINE_CLOCK": "",
                "ALPHA_VANTAGE_BASE_URL": "",
                "ALPHA_VANTAGE_API_KEY": "",
                "FMP_API_KEY": "",
                "POLYGON_API_KEY": "",
            },
            "STOPPED",
        ),
    ],
    ids=["sample", "sample switched on", "live with a key", "live without a key"],
)
def test_automation_runs_where_a_real_key_is(
    profile: Profile, manifest: bytes, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], automation: str
) -> None:
    """Dagster's default is STOPPED everywhere, which would make `live` a pipeline that never starts."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    settings.dbt_target.mkdir(parents=True, exist_ok=True)
    (settings.dbt_target / "manifest.json").write_bytes(manifest)
    repository = build(settings).get_repository_def()
    status = {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs}
    tidying = {"reaper": "RUNNING", "pruner": "RUNNING", "alert": "STOPPED", "watch": "STOPPED"}
    assert status == {"automation": automation, "resume": automation, **tidying}
    assert {schedule.default_status.value for schedule in repository.schedule_defs} == {automation}


def _ticked(settings: Settings) -> dict[str, tuple[dg.ScheduleDefinition, list[dg.RunRequest], str]]:
    """Every schedule, what it asks for, and why it asks for nothing."""
    repository = build(settings).get_repository_def()
    found = {}
    for schedule in repository.schedule_defs:
        now = settings.now()
        with dg.build_schedule_context(repository_def=repository, scheduled_execution_time=now) as context:
            tick = schedule.evaluate_tick(context)
        assert schedule.execution_timezone == "America/New_York"
        found[schedule.name] = schedule, list(tick.run_requests or ()), tick.skip_message or ""
    return found


def test_the_schedules_ask_for_the_newest_slice_of_each_grain_in_new_york_time(profile: Profile) -> None:
    """Friday evening: the session has closed, and the five before it are asked again for corrections."""
    found = _ticked(load_settings())
    crons = {name: schedule.cron_schedule for name, (schedule, _, _) in found.items()}
    assert crons["bronze_week_schedule"] == "0 20 * * 5"
    assert crons["bronze_session_schedule"] == "0 6 * * 2-6"
    assert crons["bronze_month_schedule"] == "0 6 * * 2-6", "what a month holds is announced and corrected daily"
    (week,) = found["bronze_week_schedule"][1]
    assert week.partition_key == WEEK
    (month,) = found["bronze_month_schedule"][1]
    assert month.partition_key == "2026-11-01"
    session = {
        tuple(k.path[1:]): request for request in found["bronze_session_schedule"][1] for k in request.asset_selection
    }
    assert session["alpha_vantage", "daily_adjusted"].partition_key == "2026-11-20"
    revised = session["polygon", "grouped_daily"]
    assert revised is session["fmp", "eod_raw"]
    assert revised.partition_key is None
    assert revised.tags["dagster/asset_partition_range_start"] == "2026-11-13"
    assert revised.tags["dagster/asset_partition_range_end"] == "2026-11-20"
    assert revised.tags["market_pipeline/trailing"] == "true"


def test_the_morning_after_a_holiday_asks_for_no_session_again(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thanksgiving is Thursday the 26th; the half day after it is a session."""
    monkeypatch.setenv("MARKET_PIPELINE_CLOCK", "2026-11-27T11:00:00Z")
    _, requests, reason = _ticked(load_settings())["bronze_session_schedule"]
    assert not requests
    assert "2026-11-26 was no session; the newest is 2026-11-25" in reason
    monkeypatch.setenv("MARKET_PIPELINE_CLOCK", "2026-11-28T11:00:00Z")
    _, requests, _ = _ticked(load_settings())["bronze_session_schedule"]
    assert {r.tags.get("dagster/asset_partition_range_end", r.partition_key) for r in requests} == {"2026-11-27"}


def test_schedules_ask_only_for_feeds_with_a_key_and_a_plan(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PROFILE", "recorded"), ("UNIVERSE", "")):
        monkeypatch.setenv(f"MARKET_PIPELINE_{name}", value)
    monkeypatch.setenv("ALPHA_VANTAGE_PLAN", "free")
    for name in ("FMP_API_KEY", "POLYGON_API_KEY"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    settings.dbt_target.mkdir(parents=True)
    (settings.dbt_target / "manifest.json").write_bytes((profile.root / "dbt" / "manifest.json").read_bytes())
    found = _ticked(settings)
    (week,) = found["bronze_week_schedule"][1]
    assert {key.path[1] for key in week.asset_selection} == {"alpha_vantage"}
    assert not found["bronze_session_schedule"][1]
    assert "key and a plan" in found["bronze_session_schedule"][2]


# Partitions


def test_the_running_week_is_a_partition_and_the_next_is_not() -> None:
    weeks = partitions(Grain.WEEK, clock=None)
    with time_machine.travel(dt.datetime(2026, 11, 20, 22, tzinfo=dt.UTC), tick=False):
        assert weeks.get_partition_keys()[0] == "2025-01-06"
        assert weeks.get_partition_keys()[-1] == "2026-11-16"
    with time_machine.travel(dt.datetime(2026, 11, 23, 0, 0, 1, tzinfo=dt.UTC), tick=False):
        assert weeks.get_partition_keys()[-1] == "2026-11-23"


@pytest.mark.parametrize("machine", ["2026-02-01", "2026-11-21", "2029-05-05"])
def test_a_fixed_clock_says_which_slice_is_the_newest_whatever_the_machine_says(machine: str) -> None:
    clock = dt.datetime.fromisoformat(CLOCK)
    with time_machine.travel(dt.datetime.fromisoformat(machine).replace(tzinfo=dt.UTC), tick=False):
        assert partitions(Grain.WEEK, clock=clock).get_partition_keys()[-1] == WEEK
        assert partitions(Grain.DAY, clock=clock).get_partition_keys()[-1] == "2026-11-20"
        assert partitions(Grain.MONTH, clock=clock).get_partition_keys()[-1] == "2026-11-01"


# Runs


@pytest.mark.slow
def test_a_run_from_the_command_line_is_a_run_in_the_instance_with_all_it_has_to_say(profile: Profile) -> None:
    pipeline = profile.pipeline()
    told: list[tuple[str, int, int]] = []
    outcome = runs.start(
        pipeline,
        Leg((*WEEKLIES, "gold"), (WEEK,)),
        on_progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert outcome.is_success, outcome.errors
    assert outcome.error is None
    assert {what for what, _, _ in told} == set(WEEKLIES)
    assert (WEEKLY, 3, 3) in told
    current = pipeline.warehouse.current()
    assert current is not None
    assert current.generation == "000001"
    with runs.open_instance(pipeline.settings) as instance:
        run = instance.get_run_by_id(outcome.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert run.tags["dagster/partition"] == WEEK
        bronze = _newest(instance, WEEKLY)
        assert bronze.partition == WEEK
        assert bronze.metadata["calls_used"].value == 3
        assert bronze.metadata["fetched"].value == 3
        silver = _newest(instance, BARS)
        assert silver.partition == WEEK
        rows = silver.metadata["dagster/row_count"].value
        assert isinstance(rows, int)
        assert rows > 500
        assert silver.metadata["newest_date"].value == "2026-11-20"
        preview = silver.metadata["preview"]
        assert isinstance(preview, dg.TableMetadataValue)
        assert len(preview.records) == 5
        fact = _newest(instance, "gold/fact_adjusted_prices")
        assert fact.metadata["dagster/row_count"].value == current.tables["fact_adjusted_prices"]
        assert fact.metadata["generation"].value == "000001"
    schema = build(pipeline.settings).resolve_asset_graph().get(dg.AssetKey(BARS.split("/"))).metadata
    columns = schema["dagster/column_schema"].columns
    assert {c.name: c.description for c in columns}["close_usd"] == "Last close of the week, raw."

    again = runs.start(pipeline, Leg((*WEEKLIES, "gold"), (WEEK,)))
    assert again.is_success, again.errors
    (built,) = (report for report in again.reports if hasattr(report, "is_new"))
    assert not built.is_new
    assert sum(r.calls_used for r in again.reports if isinstance(r, IngestReport)) == 0
    assert list((pipeline.settings.state / "runs").iterdir()) == []


def test_a_range_of_slices_is_one_run_with_a_report_for_each(profile: Profile) -> None:
    """Backfills go in ranges: a run costs seconds, a slice milliseconds."""
    pipeline = profile.pipeline()
    weeks = ["2026-11-02", "2026-11-09", WEEK]
    for week in weeks:
        now = dt.datetime.fromisoformat(week).replace(tzinfo=dt.UTC) + dt.timedelta(days=2)
        Pipeline(pipeline.settings, now=lambda now=now: now).ingest("alpha_vantage", "weekly_adjusted", [week])
    outcome = runs.start(pipeline, Leg((BARS,), tuple(weeks)))
    assert outcome.is_success, outcome.errors
    assert [report.slice_key for report in outcome.reports] == weeks
    with runs.open_instance(pipeline.settings) as instance:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(BARS.split("/")))
        records = instance.fetch_materializations(wanted, limit=10).records
        by_week = {record.partition_key: record.asset_materialization for record in records}
    assert set(by_week) == set(weeks)
    keys = {week: str(found.metadata["object"].value) for week, found in by_week.items() if found}
    assert all(f"slice={week}/" in key for week, key in keys.items()), "each slice has its own metadata"


def test_a_past_week_without_a_snapshot_is_one_clear_sentence(profile: Profile) -> None:
    outcome = runs.start(profile.pipeline(), Leg((WEEKLY,), ("2026-10-05",)))
    assert not outcome.is_success
    assert isinstance(outcome.error, IncompleteSlice)
    assert "no snapshot of 2026-10-05" in str(outcome.error)


def test_targets_are_words_and_an_unknown_one_lists_the_known(profile: Profile) -> None:
    pipeline = profile.pipeline()
    assert legs.select(pipeline, "alpha_vantage/weekly_adjusted") == (WEEKLY, BARS, "gold")
    assert legs.select(pipeline, "gold") == ("gold",)
    assert WEEKLY not in legs.select(pipeline, "silver")
    assert set(WEEKLIES[1::2]) <= set(legs.select(pipeline, "all", layers=("silver",)))
    with pytest.raises(ConfigurationError, match="alpha_vantage/overview"):
        legs.select(pipeline, "alpha_vantage/hourly")
    with pytest.raises(ConfigurationError, match="Nothing to run"):
        runs.start(pipeline, Leg(("bronze/none",), (WEEK,)))


# What blocks


def test_a_refused_symbol_fails_the_run_and_nothing_follows_unless_partial_is_allowed(profile: Profile) -> None:
    pipeline = profile.pipeline()
    profile.faults({"kind": "message", "message": "invalid_call", "symbol": "BQLN"})
    outcome = _current(pipeline, WEEKLY, BARS)
    assert not outcome.is_success
    assert isinstance(outcome.error, IncompleteSlice)
    assert "BQLN" in str(outcome.error)
    assert outcome.failed_checks == (f"{WEEKLY}: complete",)
    with runs.open_instance(pipeline.settings) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey(WEEKLY.split("/"))) is None
        assert instance.get_latest_materialization_event(dg.AssetKey(BARS.split("/"))) is None
    assert pipeline.bronze_slices("alpha_vantage", "weekly_adjusted") == (WEEK,), "what came is committed all the same"

    partial = _current(pipeline, WEEKLY, BARS, asked=Asked(allow_partial=True))
    assert partial.is_success, partial.errors
    assert partial.warned_checks[0] == f"{WEEKLY}: complete"


def test_a_refused_key_is_told_as_such(profile: Profile) -> None:
    profile.faults({"kind": "message", "message": "bad_key"})
    outcome = _current(profile.pipeline(), WEEKLY)
    assert isinstance(outcome.error, Refused)
    assert outcome.error.is_key
    assert KEY not in str(outcome.error)


def test_deferred_requests_warn_and_do_not_block(profile: Profile) -> None:
    profile.faults({"kind": "message", "message": "per_day", "symbol": "BQXT"})
    pipeline = profile.pipeline()
    outcome = _current(pipeline, WEEKLY, BARS)
    assert outcome.is_success, outcome.errors
    assert f"{WEEKLY}: complete" in outcome.warned_checks
    with runs.open_instance(pipeline.settings) as instance:
        found = _newest(instance, WEEKLY)
        assert found.metadata["deferred"].value == 1
        resumes_at = dt.datetime.fromisoformat(str(found.metadata["resumes_at"].value))
        repository = build(pipeline.settings).get_repository_def()
        resume = repository.get_sensor_def("resume")
        with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
            waiting = resume.evaluate_tick(context)
        assert not waiting.run_requests
        assert "goes on at 2026-11-21" in (waiting.skip_message or "")
        later = dataclasses.replace(
            pipeline.settings, fields=pipeline.settings.fields.model_copy(update={"clock": resumes_at})
        )
        repository = build(later).get_repository_def()
        with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
            (request,) = repository.get_sensor_def("resume").evaluate_tick(context).run_requests or ()
        assert request.partition_key == WEEK
        assert request.asset_selection == [dg.AssetKey(WEEKLY.split("/"))]


@pytest.mark.parametrize(("ratio", "is_success"), [("0.01", True), ("0", False)])
def test_rejected_rows_warn_up_to_a_share_and_block_beyond(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, ratio: str, *, is_success: bool
) -> None:
    """The fictional market has a few bad rows; at a share of none they are too many."""
    monkeypatch.setenv("MARKET_PIPELINE_UNIVERSE", "")
    monkeypatch.setenv("MARKET_PIPELINE_MAX_REJECTED_RATIO", ratio)
    outcome = _current(profile.pipeline(), WEEKLY, BARS)
    assert outcome.is_success is is_success
    named = outcome.warned_checks if is_success else outcome.failed_checks
    assert named == (f"{BARS}: contract",)
    assert is_success or "break the contract" in str(outcome.error)


LIMITS = checks.Limits(max_rejected_ratio=0.01, min_row_ratio=0.7, min_coverage_ratio=0.5, allow_partial=False)


def test_an_instrument_without_a_row_shows_in_coverage_by_name() -> None:
    whole, gap = checks.Covered("2026-11-19", 6, ()), checks.Covered("2026-11-20", 6, ("BBB",))
    check = checks.coverage([whole, gap])
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert "11 of 12" in (check.description or "")
    assert "BBB in 2026-11-20" in (check.description or "")
    assert checks.blocked_coverage("fmp/eod_raw", [whole, gap], LIMITS) is None
    assert checks.coverage([whole]).passed


def test_a_session_in_which_most_instruments_have_no_row_blocks() -> None:
    half = checks.Covered("2026-11-20", 6, ("AAA", "BBB", "CCC"))
    most = checks.Covered("2026-11-20", 6, ("AAA", "BBB", "CCC", "DDD"))
    assert checks.blocked_coverage("fmp/eod_raw", [half], LIMITS) is None
    error = checks.blocked_coverage("fmp/eod_raw", [most], LIMITS)
    assert "only 2 of 6 instruments have rows for 2026-11-20" in str(error)
    partial = dataclasses.replace(LIMITS, allow_partial=True)
    assert checks.blocked_coverage("fmp/eod_raw", [most], partial) is None
    few = checks.Covered("2026-11-20", 4, ("AAA", "BBB", "CCC"))
    assert checks.blocked_coverage("fmp/eod_raw", [few], LIMITS) is None, "three of four prove nothing"


def test_a_session_far_smaller_than_the_ones_before_it_is_thin() -> None:
    """Of 100 symbols 70 are enough at 70 %, 69 are not; two sessions before it prove nothing."""
    assert checks.thin_sessions({"d": 70}, [100, 100, 100], LIMITS) == ()
    assert checks.thin_sessions({"d": 69}, [100, 100, 100], LIMITS) == (checks.Thin("d", 69, 100.0),)
    assert checks.thin_sessions({"d": 69}, [100, 100], LIMITS) == ()
    assert checks.thin_sessions({"c": 100, "d": 69}, [100, 100], LIMITS) == (checks.Thin("d", 69, 100.0),)
    assert checks.thin_sessions({"d": 0}, [100, 0, 100, 100], LIMITS) == (checks.Thin("d", 0, 100.0),)


def test_a_thin_session_is_no_measure_for_the_next_and_old_ones_are_forgotten() -> None:
    cut = dict.fromkeys(["a", "b", "c", "d", "e"], 10)
    assert len(checks.thin_sessions(cut, [100, 100, 100], LIMITS)) == 5
    grown = checks.thin_sessions({"z": 150}, [100] * 30 + [200] * 20, LIMITS)
    assert grown == (), "150 is above 70 % of 200, and the thirty sessions before are out of sight"
    assert checks.thin_sessions({"z": 139}, [100] * 30 + [200] * 20, LIMITS) == (checks.Thin("z", 139, 200.0),)


@pytest.mark.slow
# Owners of runs


def test_a_killed_run_gives_its_pool_slot_back_and_the_next_run_completes(profile: Profile) -> None:
    """Without the lock the next run would wait for ever: the slot of a killed run is held by nobody."""
    pipeline = profile.pipeline()
    process = _hanging_run(profile, pipeline)
    with runs.open_instance(pipeline.settings) as instance:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.STARTED
        assert _slots(instance) == {run.run_id}
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert _slots(instance) == {run.run_id}, "Dagster alone frees nothing"
    profile.faults()
    began = time.monotonic()
    outcome = _current(pipeline, WEEKLY)
    assert outcome.is_success, outcome.errors
    assert time.monotonic() - began < 30
    with runs.open_instance(pipeline.settings) as instance:
        killed = instance.get_run_by_id(run.run_id)
        assert killed is not None
        assert killed.status is dg.DagsterRunStatus.FAILURE
        assert _slots(instance) == set()


def test_a_live_run_of_another_process_is_respected_and_waited_for(profile: Profile) -> None:
    pipeline = profile.pipeline()
    process = _hanging_run(profile, pipeline, seconds=6.0)
    with runs.open_instance(pipeline.settings) as instance:
        (run,) = instance.get_runs()
        assert locks.reap(instance, pipeline.settings.state) == ()
        assert _slots(instance) == {run.run_id}
    profile.faults()
    outcome = _current(pipeline, WEEKLY)  # waits for the pool, then finds everything fetched
    told, _ = process.communicate(timeout=60)
    assert "success True" in told, told
    assert outcome.is_success, outcome.errors
    with runs.open_instance(pipeline.settings) as instance:
        other = instance.get_run_by_id(run.run_id)
        assert other is not None
        assert other.status is dg.DagsterRunStatus.SUCCESS


def test_young_runs_without_a_lock_are_left_alone_and_old_ones_reaped(profile: Profile) -> None:
    """A run that the UI launches needs seconds until its process takes the lock; one that never does is dead."""
    settings = load_settings()
    job = build(settings).resolve_implicit_global_asset_job_def()
    with runs.open_instance(settings) as instance:
        run = instance.create_run_for_job(job)
        instance.report_engine_event("as the launcher does", run)
        assert locks.reap(instance, settings.state) == ()
        with time_machine.travel(dt.datetime.now(dt.UTC) + locks.GRACE + dt.timedelta(seconds=5)):
            assert locks.reap(instance, settings.state) == (run.run_id,)
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status is dg.DagsterRunStatus.FAILURE


def test_an_interrupt_is_recorded_and_the_next_run_goes_on(profile: Profile) -> None:
    pipeline = profile.pipeline()
    process = _hanging_run(profile, pipeline)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in told
    with runs.open_instance(pipeline.settings) as instance:
        (run,) = instance.get_runs()
        assert run.is_finished
        assert _slots(instance) == set()
    profile.faults()
    assert _current(pipeline, WEEKLY).is_success


def test_an_interrupt_that_comes_while_memory_is_collected_is_not_lost() -> None:
    code = """if True:
        import os, signal, time, weakref
        from market_pipeline.orchestration import interrupts
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background is started without
        class Thing: pass
        thing = Thing()
        def forget(_): os.kill(os.getpid(), signal.SIGINT); [None for _ in range(100_000)]
        seen = weakref.ref(thing, forget)
        try:
            with interrupts.kept():
                del thing
                time.sleep(20)
        except KeyboardInterrupt:
            print("ended")
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "ended\n", done.stderr


def test_two_profiles_share_nothing_of_dagster(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _current(profile.pipeline(), WEEKLY).is_success
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "demo-other")
    other = load_settings()
    with runs.open_instance(other) as instance:
        assert instance.get_runs() == []
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled


def test_definitions_of_one_profile_refuse_to_run_in_the_instance_of_another(
    profile: Profile, manifest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `.env` in the working directory of a Dagster process overrides its environment; sample data must not follow."""
    first = load_settings()
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "demo-other")
    other = load_settings()
    other.dbt_target.mkdir(parents=True)
    (other.dbt_target / "manifest.json").write_bytes(manifest)
    job = build(other).resolve_implicit_global_asset_job_def()
    with runs.open_instance(first) as instance:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(WEEKLY.split("/"))],
            partition_key=WEEK,
            raise_on_error=False,
        )
        assert not result.success
        assert _newest_error(instance, result.run_id).startswith(
            "market_pipeline.errors.ConfigurationError: DAGSTER_HOME"
        )
    assert not (other.lake / "bronze").exists()


# Automation


def test_gold_follows_its_inputs_although_history_has_holes_and_eager_does_not(profile: Profile) -> None:
    """The trap, in one evaluation: of 98 weeks one is there. `eager()` also wants the other 97."""
    settings = load_settings()

    @dg.asset(partitions_def=partitions(Grain.WEEK, clock=settings.clock))
    def source() -> None: ...

    @dg.asset(deps=[source], automation_condition=automation.follows_its_inputs())
    def ours() -> None: ...

    @dg.asset(deps=[source], automation_condition=dg.AutomationCondition.eager())
    def eager() -> None: ...

    definitions = dg.Definitions([source, ours, eager])
    with dg.DagsterInstance.ephemeral() as instance:
        first = dg.evaluate_automation_conditions(definitions, instance)
        assert first.total_requested == 0
        dg.materialize([source], instance=instance, partition_key=WEEK)
        second = dg.evaluate_automation_conditions(definitions, instance, cursor=first.cursor)
        assert second.get_num_requested(ours.key) == 1
        assert second.get_num_requested(eager.key) == 0
        third = dg.evaluate_automation_conditions(definitions, instance, cursor=second.cursor)
        assert third.total_requested == 0, "asked for once, not at every tick"


def test_what_one_run_does_whole_is_not_asked_for_again(profile: Profile) -> None:
    @dg.asset(partitions_def=partitions(Grain.WEEK, clock=load_settings().clock))
    def source() -> None: ...

    @dg.asset(deps=[source], automation_condition=automation.follows_its_inputs())
    def follower() -> None: ...

    definitions = dg.Definitions([source, follower])
    with dg.DagsterInstance.ephemeral() as instance:
        first = dg.evaluate_automation_conditions(definitions, instance)
        dg.materialize([source, follower], instance=instance, partition_key=WEEK)
        second = dg.evaluate_automation_conditions(definitions, instance, cursor=first.cursor)
        assert second.total_requested == 0


# Alerts


def test_a_failed_run_sends_one_message_with_target_and_sentence_and_without_secrets(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is set to a symbol, so that the error sentence would hold it as a provider's echo does."""
    with receiving() as received:
        monkeypatch.setenv("MARKET_PIPELINE_ALERT_URL", received.url)
        monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "BQLN")
        profile.faults({"kind": "message", "message": "invalid_call", "symbol": "BQLN"})
        settings = load_settings()
        repository = build(settings).get_repository_def()
        alert = repository.get_sensor_def("alert")
        assert alert.default_status is dg.DefaultSensorStatus.RUNNING
        with runs.open_instance(settings) as instance:
            with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
                cursor = alert.evaluate_tick(context).cursor
            assert not _current(profile.pipeline(), WEEKLY).is_success
            with dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor) as context:
                alert.evaluate_tick(context)
    (message,) = received
    assert f"{WEEKLY} {WEEK} failed" in message
    assert "1 of 3 requests gave no data" in message
    assert "BQLN" not in message
    assert "SECRETPATH" not in message
    assert resources.REDACTED in message


# A second provider


def test_a_made_up_second_provider_costs_one_file(profile: Profile) -> None:
    """In a process of its own: the file appears in the folder that is listed, and nowhere else."""
    code = f"""
from pathlib import Path
import market_pipeline.providers as listed
extra = Path({str(load_settings().state)!r}) / "extra"
extra.mkdir(parents=True)
(extra / "made_up.py").write_text('''
import dataclasses
from market_pipeline.providers.alpha_vantage import PROVIDER as first
PROVIDER = dataclasses.replace(first, name="made_up", title="Made Up", feeds=first.feeds[:1])
''')
listed.__path__.append(str(extra))
from market_pipeline.orchestration.definitions import defs
for key in sorted(k.to_user_string() for k in defs().resolve_asset_graph().get_all_asset_keys()):
    print(key)
"""
    process = profile.python(code)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert {"bronze/made_up/weekly_adjusted", "silver/made_up/weekly_adjusted"} <= set(told.split())


def _newest(instance: dg.DagsterInstance, key: str) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
    assert event is not None, key
    assert event.asset_materialization is not None
    return event.asset_materialization


def _newest_error(instance: dg.DagsterInstance, run_id: str) -> str:
    """The innermost error of a run's failure."""
    (failure,) = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert failure.dagster_event is not None
    error = failure.dagster_event.job_failure_data.error
    assert error is not None
    while error.cause is not None:
        error = error.cause
    return error.message


def _slots(instance: dg.DagsterInstance) -> set[str]:
    """Runs that hold the provider's pool."""
    info = instance.event_log_storage.get_concurrency_info("alpha_vantage")
    return {slot.run_id for slot in info.claimed_slots}


def _hanging_run(profile: Profile, pipeline: Pipeline, *, seconds: float = 45.0) -> subprocess.Popen[str]:
    """A run in another process, stuck in its first request for `seconds` with the provider's pool in its hands."""
    profile.faults({"kind": "latency", "seconds": seconds, "count": 1})
    process = profile.python(
        "from market_pipeline.settings import load_settings\n"
        "from market_pipeline.pipeline import Pipeline\n"
        "from market_pipeline.orchestration import runs\n"
        "from market_pipeline.orchestration.legs import Leg\n"
        f"outcome = runs.start(Pipeline(load_settings()), Leg(({WEEKLY!r},), ({WEEK!r},)))\n"
        "print('success', outcome.is_success, outcome.errors)\n"
    )
    deadline = time.monotonic() + 60
    with runs.open_instance(pipeline.settings) as instance:
        while not _slots(instance):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "the run never took the pool"
            time.sleep(0.1)
    time.sleep(0.5)
    return process


def test_a_new_instance_is_made_by_one_of_many_processes(tmp_path: Path) -> None:
    """Two that migrate a new SQLite file together break it: the daemon and the web server start side by side."""
    script = (
        "from market_pipeline.settings import load_settings\n"
        "from market_pipeline.orchestration import runs\n"
        "runs.create_instance(load_settings())\n"
        "with runs.open_instance(load_settings()) as instance:\n"
        "    assert instance.get_runs(limit=1) == []\n"
    )
    environment = {**os.environ, "MARKET_PIPELINE_HOME": str(tmp_path), "MARKET_PIPELINE_PROFILE": "demo-new"}
    made = [subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    for process in made:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told.decode()
