"""SIGKILL of `market-pipeline run` and `backfill` in each phase, with readers open on gold.

A kill counts only when the process was alive in its phase and died by the signal. The default run does one kill a
phase; `make chaos` does more (MARKET_PIPELINE_TEST_RUN_KILLS).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.settings import REPOSITORY
from market_pipeline.warehouse import Warehouse

SEEDS = REPOSITORY / "dbt" / "seeds"
KILLS = int(os.environ.get("MARKET_PIPELINE_TEST_RUN_KILLS", "1"))
SYMBOLS = "BQLN,CQXT,XLOM,VEXQ,HLQV,KQTL"
FIRST = dt.datetime(2026, 7, 11, 12, tzinfo=dt.UTC)
PROFILE = "demo-kill"
TARGETS = ("alpha_vantage/weekly_adjusted", "alpha_vantage/overview")

pytestmark = [pytest.mark.kill, pytest.mark.slow]


@dataclass
class Readers:
    """Threads that read gold all the time and note what a reader must never see."""

    folder: Path
    reads: int = 0
    faults: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def read_forever(self) -> None:
        warehouse, newest = Warehouse(self.folder), ""
        while not self._stop.is_set():
            try:
                answer, generation = warehouse.query(
                    "select (select count(*) from fact_adjusted_prices) as facts, "
                    "(select count(*) from fact_price_version where is_current) as versions"
                )
            except Exception as error:  # noqa: BLE001 - any error of a reader is the finding
                self.faults.append(f"{type(error).__name__}: {error}")
                continue
            (row,) = answer.to_pylist()
            if row["facts"] != generation.tables["fact_adjusted_prices"]:
                self.faults.append(f"torn: {row} in {generation.generation}")
            if generation.generation < newest:
                self.faults.append(f"backwards: {generation.generation} after {newest}")
            newest = generation.generation
            self.reads += 1
            time.sleep(0.01)  # the readers share two cores with the run that is killed

    @contextlib.contextmanager
    def reading(self, count: int = 2) -> Iterator[None]:
        threads = [threading.Thread(target=self.read_forever, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(30)


class Victim:
    """A profile whose `run` is killed and run again."""

    def __init__(self, home: Path, url: str) -> None:
        self.url, self.root = url, home / PROFILE
        self.moment = FIRST
        self.variables = {
            **os.environ,
            "MARKET_PIPELINE_PROFILE": PROFILE,
            "MARKET_PIPELINE_HOME": str(home),
            "MARKET_PIPELINE_UNIVERSE": SYMBOLS,
            "ALPHA_VANTAGE_BASE_URL": f"{url}/alpha_vantage",
        }

    def next_week(self) -> None:
        """New data to fetch, so that every phase has work."""
        self.moment += dt.timedelta(weeks=1)
        self.variables["MARKET_PIPELINE_CLOCK"] = self.moment.isoformat()
        httpx2.put(f"{self.url}/_sandbox/clock", json={"now": self.moment.isoformat()}).raise_for_status()

    @property
    def key(self) -> str:
        day = self.moment.date()
        return (day - dt.timedelta(days=day.weekday())).isoformat()

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "market_pipeline.cli", "run", *TARGETS],
            env=self.variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> None:
        """The next run completes by itself."""
        run = self.start()
        _, told = run.communicate(timeout=180)
        assert run.returncode == 0, told

    def bronze(self) -> dict[str, str]:
        """Every object of bronze with its hash."""
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (self.root / "lake/bronze").rglob("*")
            if path.is_file() and not path.name.startswith(".tmp-")
        }

    def named(self) -> set[str]:
        """Objects that the week's manifests name."""
        found = set()
        for file in (self.root / "lake/bronze").rglob(f"slice={self.key}/manifest-*.json"):
            for entry in json.loads(file.read_text())["requests"]:
                found |= {str((file.parent / p["object"]).relative_to(self.root)) for p in entry["payloads"]}
        return found

    # Phases: true while the run is inside.
    def is_fetching(self) -> bool:
        objects = list((self.root / "lake/bronze").rglob(f"slice={self.key}/*.csv"))
        return 0 < len(objects) < SYMBOLS.count(",") + 1

    def is_normalizing(self) -> bool:
        """Both feeds are committed, and at least one silver slice is not written yet."""
        done = [
            file
            for file in (self.root / "lake/bronze").rglob(f"slice={self.key}/manifest-*.json")
            if all(e["outcome"] in ("fetched", "empty") for e in json.loads(file.read_text())["requests"])
        ]
        silver = list((self.root / "lake/silver").rglob(f"slice={self.key}/part.parquet"))
        return len({file.parent for file in done}) == 2 and len(silver) < 2

    def is_in_dbt(self) -> bool:
        return bool(list((self.root / "warehouse").glob("build-*/build.duckdb")))

    def is_publishing(self) -> bool:
        return bool(list((self.root / "warehouse").glob("gold-*.tmp*")))


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A profile with one published generation, over a provider that takes its time."""
    with running(SandboxConfig(universe=SEEDS, clock=FIRST, plan="unlimited")) as url:
        httpx2.put(f"{url}/_sandbox/faults", json=[{"kind": "latency", "seconds": 0.05}]).raise_for_status()
        made = Victim(tmp_path_factory.mktemp("kill"), url)
        made.next_week()
        made.finish()
        yield made


def kill_inside(
    victim: Victim | Backfill, is_inside: Callable[[], bool], *, longest_s: float, rng: random.Random
) -> bool:
    """Start a run, wait for the phase, wait a little, kill. True when it died inside the phase."""
    run = victim.start()
    try:
        deadline = time.monotonic() + 120
        while not is_inside():
            if run.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        time.sleep(rng.uniform(0, longest_s))
        was_inside = is_inside() and run.poll() is None
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        return was_inside and run.returncode == -signal.SIGKILL
    finally:
        if run.poll() is None:
            run.kill()
        run.communicate()


PHASES = (("is_fetching", 0.2), ("is_normalizing", 0.02), ("is_in_dbt", 5.0), ("is_publishing", 0.05))


def test_a_run_killed_in_each_phase_in_turn_loses_nothing_and_the_next_one_completes(victim: Victim) -> None:
    """One round: the same week's run is killed in mid-fetch, then in mid-normalize, mid-dbt and mid-publish, each time
    started anew; the fifth start completes by itself."""
    rng = random.Random("rounds")
    warehouse = Warehouse(victim.root / "warehouse")
    readers = Readers(warehouse.folder)
    killed: Counter[str] = Counter()
    rounds = 0
    with readers.reading():
        while min(killed[phase] for phase, _ in PHASES) < KILLS and rounds < 2 * KILLS + 2:
            rounds += 1
            victim.next_week()
            week_before = warehouse.verify()
            for phase, longest_s in PHASES:
                before = victim.bronze()
                killed[phase] += kill_inside(victim, getattr(victim, phase), longest_s=longest_s, rng=rng)
                after = victim.bronze()
                assert before.items() <= after.items()
                assert victim.named() <= set(after)
                left = warehouse.verify()
                assert left == week_before or left.number > week_before.number
            before = victim.bronze()
            victim.finish()
            assert before.items() <= victim.bronze().items()
            newest = warehouse.verify()
            assert newest.number > week_before.number
            assert not newest.is_partial
            assert not list(warehouse.folder.glob("build-*"))
    told = ", ".join(f"{killed[phase]} {phase}" for phase, _ in PHASES)
    print(f"kills: {told}; {rounds} rounds, {readers.reads} reads, {len(readers.faults)} reader faults")
    for phase, _ in PHASES:
        assert killed[phase] >= KILLS, f"only {killed[phase]} of {KILLS} runs died inside {phase}"
    assert readers.reads > 0
    assert not readers.faults


# A backfill of sessions


@dataclass
class Backfill:
    """`market-pipeline backfill` of thirty sessions of the whole market, and what is on disk of it."""

    home: Path
    url: str

    @property
    def root(self) -> Path:
        return self.home / "demo-sessions"

    def start(self) -> subprocess.Popen[str]:
        variables = {
            "MARKET_PIPELINE_PROFILE": self.root.name,
            "MARKET_PIPELINE_HOME": str(self.home),
            "MARKET_PIPELINE_CLOCK": "2026-11-20T22:00:00Z",
            "MARKET_PIPELINE_UNIVERSE": SYMBOLS,
            "POLYGON_BASE_URL": f"{self.url}/polygon",
        }
        span = ["--since", "2026-10-12", "--until", "2026-11-20"]
        return subprocess.Popen(
            [sys.executable, "-m", "market_pipeline.cli", "backfill", "polygon/grouped_daily", *span],
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def committed(self) -> set[str]:
        """Sessions that have a manifest."""
        files = (self.root / "lake/bronze/polygon/grouped_daily").glob("slice=*/manifest-*.json")
        return {file.parent.name.removeprefix("slice=") for file in files}

    def written(self) -> set[str]:
        """Sessions that are in silver."""
        folder = self.root / "lake/silver/bars_daily/provider=polygon/dataset=grouped_daily"
        return {file.parent.name.removeprefix("slice=") for file in folder.glob("slice=*/part.parquet")}

    def calls(self) -> int:
        state = httpx2.get(f"{self.url}/_sandbox/state").json()
        return sum(a["count"] for a in state["answers"] if "grouped" in a["endpoint"])

    def is_fetching(self) -> bool:
        return 3 <= len(self.committed()) < 30

    def is_normalizing(self) -> bool:
        return 3 <= len(self.written()) < 30

    def is_in_dbt(self) -> bool:
        return bool(list((self.root / "warehouse").glob("build-*/build.duckdb")))


def test_a_backfill_killed_in_each_phase_asks_for_no_session_twice(tmp_path: Path) -> None:
    clock = dt.datetime(2026, 11, 20, 22, tzinfo=dt.UTC)
    with running(SandboxConfig(universe=SEEDS, clock=clock, plan="unlimited", roster_size=200)) as url:
        httpx2.put(f"{url}/_sandbox/faults", json=[{"kind": "latency", "seconds": 0.1}]).raise_for_status()
        victim, rng = Backfill(tmp_path, url), random.Random("sessions")
        for phase, longest_s in (("is_fetching", 0.2), ("is_normalizing", 0.02), ("is_in_dbt", 3.0)):
            assert kill_inside(victim, getattr(victim, phase), longest_s=longest_s, rng=rng), phase
        run = victim.start()
        _, told = run.communicate(timeout=300)
        assert run.returncode == 0, told
        assert len(victim.committed()) == len(victim.written()) == 30
        assert 30 <= victim.calls() <= 31, "at most the call under way is made twice"
        answer, _ = Warehouse(victim.root / "warehouse").query(
            "select count(distinct session_date) as sessions from fact_daily_price"
        )
        assert answer.to_pylist() == [{"sessions": 30}]
