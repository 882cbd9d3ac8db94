"""The event log in batches holds what Dagster's own holds, and a year of slices costs seconds.

No `annotations` import: Dagster looks at the types of an asset's arguments."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from market_pipeline.orchestration.event_log import BATCH_SIZE, BATCH_SIZE_VARIABLE
from market_pipeline.orchestration.partitions import partitions
from market_pipeline.partition import Grain

OURS = """\
telemetry:
  enabled: false
event_log_storage:
  module: market_pipeline.orchestration.event_log
  class: BatchedEventLog
  config:
    base_dir: {home}/history/runs
"""
DAGSTERS = "telemetry:\n  enabled: false\n"
SESSIONS = partitions(Grain.SESSION, clock=None)
KEYS = [key for key in SESSIONS.get_partition_keys() if "2025-03-03" <= key <= "2026-03-03"]


@contextmanager
def instance(home: Path, configuration: str) -> Iterator[dg.DagsterInstance]:
    """An instance of its own in a folder."""
    home.mkdir()
    (home / "dagster.yaml").write_text(configuration.format(home=home))
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("counted", asset="bars", blocking=True)],
)
def bars(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    """Metadata for each slice, and one check."""
    for key in context.partition_keys:
        context.add_asset_metadata({"rows": len(key), "day": key}, partition_key=key)
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="counted")])


@dg.asset(deps=[bars])
def summary() -> Iterator[dg.MaterializeResult[None]]:
    """Something without partitions."""
    yield dg.MaterializeResult(metadata={"rows": 1})


def run(made: dg.DagsterInstance, first: str, last: str) -> str:
    """One run over a range, and its id."""
    job = dg.Definitions([bars, summary]).resolve_implicit_global_asset_job_def()
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    result = job.execute_in_process(
        instance=made, tags=tags, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    )
    assert result.success
    return result.run_id


def counted(file: Path) -> dict[tuple[str, str | None, str | None], int]:
    """Events of a database by type, asset and partition."""
    with sqlite3.connect(file) as connection:
        sql = "select dagster_event_type, asset_key, partition, count(*) from event_logs group by 1, 2, 3"
        return {tuple(row[:3]): row[3] for row in connection.execute(sql)}  # type: ignore[misc]


def test_a_run_leaves_the_same_events_in_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, BATCH_SIZE)
    with instance(tmp_path / "ours", OURS) as ours:
        mine = run(ours, KEYS[0], KEYS[11])
        found = {
            "partitions": ours.get_materialized_partitions(bars.key),
            "newest": ours.get_latest_materialization_event(bars.key),
            "summary": ours.get_latest_materialization_event(summary.key),
            "records": ours.fetch_materializations(dg.AssetRecordsFilter(asset_key=bars.key), limit=50).records,
            "checks": ours.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(bars.key, "counted"), limit=5
            ),
            "keys": set(ours.all_asset_keys()),
        }
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, "0")
    with instance(tmp_path / "dagsters", DAGSTERS) as theirs:
        other = run(theirs, KEYS[0], KEYS[11])
        assert found["partitions"] == theirs.get_materialized_partitions(bars.key) == set(KEYS[:12])
        assert found["keys"] == set(theirs.all_asset_keys()) == {bars.key, summary.key}
    for name, run_id in (("ours", mine), ("dagsters", other)):
        folder = tmp_path / name / "history" / "runs"
        (file,) = [f for f in folder.glob("*.db") if f.stem == run_id]
        assert counted(file)
    files = {name: tmp_path / name / "history" / "runs" for name in ("ours", "dagsters")}
    assert counted(files["ours"] / f"{mine}.db") == counted(files["dagsters"] / f"{other}.db")
    assert counted(files["ours"] / "index.db") == counted(files["dagsters"] / "index.db")
    assert found["newest"] is not None
    assert found["newest"].asset_materialization is not None
    assert found["newest"].asset_materialization.partition == KEYS[11]
    assert found["summary"] is not None
    days = {record.partition_key: record.asset_materialization.metadata["day"].value for record in found["records"]}
    assert days == {key: key for key in KEYS[:12]}, "each slice has its own metadata"
    (check,) = found["checks"]
    assert check.status.value == "SUCCEEDED"


def test_a_year_of_slices_is_stored_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor time, so that a busy machine does not matter; one by one the same events take several times as much."""
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, BATCH_SIZE)
    assert len(KEYS) == 252
    with instance(tmp_path / "ours", OURS) as ours:
        run(ours, KEYS[0], KEYS[0])  # everything is imported and migrated
        started = time.process_time()
        run(ours, KEYS[0], KEYS[-1])
        assert time.process_time() - started < 4.0
        assert len(ours.get_materialized_partitions(bars.key)) == 252
