"""The demo: what it fetches from which moment, and that a second one has nothing to do."""

from __future__ import annotations

import datetime as dt
import os
import socket
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from market_pipeline.cli import demo
from market_pipeline.cli.demo import Part
from market_pipeline.orchestration import runs
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings

SATURDAY = dt.datetime(2026, 11, 21, 16, tzinfo=dt.UTC)


def test_snapshots_are_taken_on_three_past_saturdays_and_now() -> None:
    saturdays = [dt.datetime(2026, 10, 31, 12, tzinfo=dt.UTC), dt.datetime(2026, 11, 7, 12, tzinfo=dt.UTC)]
    assert demo.moments(SATURDAY) == (*saturdays, dt.datetime(2026, 11, 14, 12, tzinfo=dt.UTC), SATURDAY)


def test_a_year_is_fetched_before_the_last_week_so_that_its_corrections_show() -> None:
    """From 2025-11-10 to 2026-11-13 there are 265 weekdays and ten holidays: Thanksgiving and Christmas of 2025; New
    Year, King, Washington, Good Friday, Memorial, Juneteenth, Independence (on the 3rd) and Labor Day of 2026."""
    weekdays = [dt.date(2025, 11, 10) + dt.timedelta(days=n) for n in range(369)]
    weekdays = [day for day in weekdays if day.weekday() < 5]
    assert len(weekdays) - 10 == 255
    assert demo.history(dt.date(2026, 11, 14), []) == (
        Part(("fmp/eod_raw",), dt.date(2025, 11, 10), dt.date(2026, 11, 13)),
        Part(("polygon/grouped_daily",), dt.date(2026, 11, 9), dt.date(2026, 11, 13)),
    )


def test_a_split_that_a_provider_missed_is_fetched_from_the_other_one_too() -> None:
    missed = [dt.date(2021, 8, 16), *(dt.date(2026, 9, day) for day in (14, 15, 16))]
    found = demo.history(dt.date(2026, 11, 14), missed)
    assert found[1:3] == (
        Part(("polygon/grouped_daily",), dt.date(2026, 9, 11), dt.date(2026, 9, 16)),
        Part(("polygon/dividends", "polygon/splits"), dt.date(2026, 9, 11), dt.date(2026, 11, 13)),
    )
    assert demo.history(dt.date(2026, 11, 14), missed[:1]) == demo.history(dt.date(2026, 11, 14), []), "too long ago"


@pytest.mark.slow
def test_the_demo_shows_corrections_and_a_missed_split_and_the_second_one_has_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "MARKET_PIPELINE_PROFILE": "demo",
        "MARKET_PIPELINE_HOME": str(tmp_path),
        "MARKET_PIPELINE_CLOCK": SATURDAY.isoformat(),
        "MARKET_PIPELINE_SANDBOX_PORT": str(port),
        "MARKET_PIPELINE_UNIVERSE": "VEXQ,IQVE,TQXT,BQLN",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run_demo() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "market_pipeline.cli", "demo"],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    told = run_demo()
    assert "255 slices" in told
    assert "Published: generation 000001" in told
    settings = load_settings()
    raw = settings.lake / "silver/bars_daily/provider=fmp/dataset=eod_raw"
    grouped = settings.lake / "silver/bars_daily/provider=polygon/dataset=grouped_daily"

    def closes(folder: Path, day: str, symbol: str) -> list[float]:
        rows = pl.read_parquet(folder / f"slice={day}/part.parquet").filter(symbol=symbol).sort("known_at")
        return rows.get_column("close_usd").to_list()

    # The sandbox's own events: FMP and Polygon correct a bar of the 13th on the 18th and on the 16th.
    assert closes(raw, "2026-11-13", "IQVE") == [26.5, 26.18]
    assert closes(grouped, "2026-11-13", "TQXT") == [210.08, 210.59]
    # A split of four for one on the 14th that FMP books three sessions late.
    assert closes(raw, "2026-09-14", "VEXQ") == [612.68]
    assert closes(grouped, "2026-09-14", "VEXQ") == [153.17]
    listed, _ = Pipeline(settings).warehouse.query("select * from mart_pipeline_run order by created_at")
    *before, building = listed.to_pylist()
    assert (building["target"], building["status"], building["run_seconds"]) == ("gold", "started", None)
    with runs.open_instance(settings) as instance:
        records = {record.dagster_run.run_id: record for record in instance.get_run_records()}
        assert set(records) == {building["run_id"], *(row["run_id"] for row in before)}
        for row in before:
            record = records[row["run_id"]]
            assert row["status"] == record.dagster_run.status.value.lower() == "success"
            assert record.start_time is not None
            assert record.end_time is not None
            assert row["run_seconds"] == pytest.approx(record.end_time - record.start_time, abs=0.001)
            assert row["slice_from"] == (
                record.dagster_run.tags.get("dagster/asset_partition_range_start")
                or record.dagster_run.tags.get("dagster/partition")
            )
        spans = [run.tags.get("dagster/asset_partition_range_start") for run in instance.get_runs()]
        assert spans.count("2025-11-10") == 1, "a year of sessions is one run"
        assert len(instance.get_materialized_partitions(dg.AssetKey(["silver", "fmp", "eod_raw"]))) == 260

    again = run_demo()
    assert "Nothing was fetched, and nothing written to bronze and silver" in again
    assert "Published: generation 000001" in again, "gold is not built again either"
