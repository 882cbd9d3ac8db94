"""One pipeline on a folder and on a real S3 store, chosen by one setting: the same rows, reruns that write nothing,
damage that is named and mended, a store that dies in the middle of a run."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from market_pipeline.buckets import make_buckets
from market_pipeline.commit import Name
from market_pipeline.errors import HashMismatch, LakeError
from market_pipeline.manifest import read
from market_pipeline.pipeline import Pipeline
from market_pipeline.s3 import S3Store
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.settings import load_settings
from s3_server import SECRET_KEY, S3Server, running_s3
from test_end_to_end import KEY, SATURDAYS, SEEDS, command, environment

NOW = SATURDAYS[-1]
SYMBOLS = "OXQN,EQWX,KQTL"  # of which KQTL has a row with its high below its low
WEEKLY, WEEK = ("alpha_vantage", "weekly_adjusted"), "2026-11-16"
SESSIONS = ("2026-11-17", "2026-11-18", "2026-11-19")
OUTAGE_S = float(os.environ.get("MARKET_PIPELINE_TEST_OUTAGE_S", "3"))
KINDS = ("folder", "s3")

pytestmark = [pytest.mark.slow]


@dataclasses.dataclass
class Place:
    """One pipeline with its lake; `server` is the store of one on S3."""

    variables: dict[str, str]
    server: S3Server | None

    @property
    def pipeline(self) -> Pipeline:
        """A new one, as each process has it."""
        return Pipeline(load_settings(self.variables), now=lambda: NOW)

    def fill(self) -> int:
        """Fetch and normalize a snapshot and some sessions; how many calls that took."""
        pipeline, calls = self.pipeline, 0
        for provider, dataset, keys in ((*WEEKLY, (WEEK,)), ("fmp", "eod_raw", SESSIONS)):
            calls += sum(report.calls_used for report in pipeline.ingest(provider, dataset, keys))
            pipeline.normalize(provider, dataset, keys)
        return calls

    def files(self) -> dict[str, str]:
        """Hash of each object of bronze, silver and quarantine."""
        store = self.pipeline.store
        return {
            key: sha
            for layer in ("bronze", "silver", "quarantine")
            for key, sha in store.digests(store.list(f"{layer}/")).items()
        }


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with running(SandboxConfig(universe=SEEDS, clock=NOW, plan="unlimited", roster_size=60)) as found:
        yield found


@pytest.fixture(scope="module")
def places(sandbox: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """A folder and a bucket, each filled and published."""
    folder = tmp_path_factory.mktemp("stores")
    with running_s3(folder / "server") as server:
        found = {}
        for kind in KINDS:
            variables = environment(
                folder / kind,
                sandbox,
                profile="demo-stores",
                MARKET_PIPELINE_UNIVERSE=SYMBOLS,
                MARKET_PIPELINE_CLOCK=NOW.isoformat(),
                FMP_BASE_URL=f"{sandbox}/fmp",
                FMP_API_KEY=KEY,
                **(server.variables if kind == "s3" else {}),
            )
            place = Place(variables, server if kind == "s3" else None)
            pipeline = place.pipeline
            if pipeline.settings.s3 is not None:
                make_buckets(pipeline.settings.s3)
            pipeline.initialize()
            assert place.fill() > 0
            pipeline.publish(allow_partial=True)
            found[kind] = place
        yield found


def test_the_lake_is_where_the_setting_says(places: dict[str, Place]) -> None:
    assert isinstance(places["s3"].pipeline.store, S3Store)
    assert not (places["s3"].pipeline.settings.lake).exists(), "nothing of a lake in S3 is on the disk"
    assert not list(places["s3"].pipeline.store.list("probe/"))


def test_both_lakes_hold_the_same_bytes_and_give_the_same_gold(places: dict[str, Place]) -> None:
    folder, s3 = places["folder"], places["s3"]
    manifests = {key for key in folder.files() if "manifest-" in key}
    assert {k: v for k, v in folder.files().items() if k not in manifests} == {
        k: v for k, v in s3.files().items() if k not in manifests
    }
    for table in ("fact_adjusted_prices", "fact_daily_price", "dim_stock", "mart_coverage", "ledger_silver_slice"):
        rows = [
            pl.from_arrow(place.pipeline.warehouse.query(f"from {table} order by all")[0]) for place in (folder, s3)
        ]
        assert rows[0].height > 0, table
        assert rows[0].equals(rows[1]), table


@pytest.mark.parametrize("kind", KINDS)
def test_a_rerun_asks_for_nothing_and_writes_nothing(places: dict[str, Place], kind: str) -> None:
    place = places[kind]
    before = place.files()
    assert place.fill() == 0
    assert place.files() == before
    assert not place.pipeline.publish(allow_partial=True).is_new


@pytest.mark.parametrize("kind", KINDS)
def test_the_secrets_are_in_no_file(places: dict[str, Place], kind: str) -> None:
    place = places[kind]
    home = Path(place.variables["MARKET_PIPELINE_HOME"])
    searched = 0
    for file in home.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            searched += 1
            assert SECRET_KEY.encode() not in data, file
            assert KEY.encode() not in data, file
    assert searched > 10


@pytest.mark.parametrize("damaged", ["silver", "quarantine", "commit"])
def test_bytes_that_were_not_committed_are_named_gold_stays_and_replay_mends(
    places: dict[str, Place], damaged: str
) -> None:
    pipeline = places["folder"].pipeline
    name = _quarantined(pipeline)
    key = {"silver": name.silver_key, "quarantine": name.quarantine_key, "commit": name.commit_key}[damaged]
    path, served = Path(pipeline.store.url(key)), pipeline.warehouse.current()
    whole = path.read_bytes()
    data = bytearray(whole)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    remedy = f"market-pipeline replay {name.provider}/{name.dataset} --since {name.slice_key}"
    with pytest.raises(LakeError, match=remedy) as caught:
        pipeline.publish(allow_partial=True)
    assert key in str(caught.value)
    assert damaged == "commit" or isinstance(caught.value, HashMismatch)
    assert pipeline.warehouse.verify() == served
    pipeline.normalize(name.provider, name.dataset, [name.slice_key])
    assert path.read_bytes() == whole
    assert not pipeline.publish(allow_partial=True).is_new


def _quarantined(pipeline: Pipeline) -> Name:
    """A slice that has rejected rows, made by a payload with a broken line."""
    name = Name("bars_weekly_adjusted", *WEEKLY, WEEK)
    if pipeline.store.exists(name.quarantine_key):
        return name
    raise AssertionError("the fictional market has no bad row in this slice any more")


def test_a_store_killed_in_the_middle_of_a_run_delays_it_and_loses_nothing(
    sandbox: str, tmp_path: Path, places: dict[str, Place]
) -> None:
    with running_s3(tmp_path / "server") as server:
        place = Place(
            {**places["s3"].variables, **server.variables, "MARKET_PIPELINE_HOME": str(tmp_path / "home")}, server
        )
        pipeline = place.pipeline
        assert pipeline.settings.s3 is not None
        make_buckets(pipeline.settings.s3)
        pipeline.initialize()
        stored_at_kill: list[int] = []

        def kill_once_something_is_stored() -> None:
            watcher = place.pipeline.store
            while not (stored := watcher.list("bronze/")):
                time.sleep(0.02)
            stored_at_kill.append(len(stored))
            server.kill()
            time.sleep(OUTAGE_S)
            server.start()

        killer = threading.Thread(target=kill_once_something_is_stored)
        killer.start()
        started = time.monotonic()
        calls = place.fill()
        killer.join(timeout=120)
        assert time.monotonic() - started > OUTAGE_S
        assert 0 < stored_at_kill[0] < len(pipeline.store.list("bronze/")), "it died before the run was over"
        assert place.fill() == 0, "nothing that was acknowledged is asked for again"
        whole = places["s3"].files()
        assert {k for k in place.files() if k.endswith(".parquet")} == {k for k in whole if k.endswith(".parquet")}
        for provider, dataset, keys in ((*WEEKLY, (WEEK,)), ("fmp", "eod_raw", SESSIONS)):
            for key in keys:
                committed = read(pipeline.store, provider, dataset, key)
                assert committed is not None
                assert all(entry.outcome.is_final for entry in committed.entries)
        assert calls <= len(SYMBOLS.split(",")) * 2 + 2


def test_the_command_line_says_what_is_wrong_with_a_store(places: dict[str, Place], tmp_path: Path) -> None:
    variables = {**places["s3"].variables, "MARKET_PIPELINE_HOME": str(tmp_path)}
    done = command(variables, "doctor", "--json")
    told = done.stdout
    assert '"honoured"' in told
    assert hashlib.sha256(SECRET_KEY.encode()).hexdigest() not in told
    assert SECRET_KEY not in done.stdout + done.stderr
    silent = {**variables, "MARKET_PIPELINE_S3_ENDPOINT": "http://127.0.0.1:9"}
    done = command(silent, "init")
    assert done.returncode == 3, done.stderr
    assert "127.0.0.1:9 does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    shown = command(variables, "config", "show")
    assert SECRET_KEY not in shown.stdout
    assert "s3://market" in shown.stdout
