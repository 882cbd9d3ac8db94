"""SIGKILL of `market-pipeline run` and `backfill` in each phase; `make chaos` kills `run` more often."""

from __future__ import annotations

import datetime as dt
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.warehouse import Warehouse
from proofs.kills_run import PHASES, SEEDS, SYMBOLS, kill_inside, run

pytestmark = [pytest.mark.kill, pytest.mark.slow]


def test_a_run_killed_in_each_phase_in_turn_loses_nothing_and_the_next_one_completes(tmp_path: Path) -> None:
    result = run(len(PHASES), seed=1, folder=tmp_path)
    print(dict(result.counts))
    assert not result.violations, "\n".join(result.violations)
    assert result.done >= len(PHASES), f"only {result.counts} of {len(PHASES)} runs died inside their phase"
    assert result.counts["reads"] > 0


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


def test_a_backfill_killed_in_each_phase_asks_for_no_session_twice(tmp_path: Path) -> None:
    """Its gold is built as that of `run`, which the test above kills there."""
    clock = dt.datetime(2026, 11, 20, 22, tzinfo=dt.UTC)
    with running(SandboxConfig(universe=SEEDS, clock=clock, plan="unlimited", roster_size=200)) as url:
        httpx2.put(f"{url}/_sandbox/faults", json=[{"kind": "latency", "seconds": 0.1}]).raise_for_status()
        victim, rng = Backfill(tmp_path, url), random.Random("sessions")
        for phase, longest_s in (("is_fetching", 0.2), ("is_normalizing", 0.02)):
            assert kill_inside(victim, getattr(victim, phase), longest_s=longest_s, rng=rng), phase
        last = victim.start()
        _, told = last.communicate(timeout=300)
        assert last.returncode == 0, told
        assert len(victim.committed()) == len(victim.written()) == 30
        assert 30 <= victim.calls() <= 31, "at most the call under way is made twice"
        answer, _ = Warehouse(victim.root / "warehouse").query(
            "select count(distinct session_date) as sessions from fact_daily_price"
        )
        assert answer.to_pylist() == [{"sessions": 30}]
