"""Promises 1, 3 and 6: `market-pipeline run` killed in each phase in turn, with readers open on gold.

A kill counts only when the process was alive in its phase and died by the signal.
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
from typing import Protocol

import httpx2

from market_pipeline.errors import LakeError
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.settings import REPOSITORY
from market_pipeline.warehouse import Warehouse
from proofs.proof import Proof, Result

SEEDS = REPOSITORY / "dbt" / "seeds"
SYMBOLS = "BQLN,CQXT,XLOM,VEXQ,HLQV,KQTL"
FIRST = dt.datetime(2026, 7, 11, 12, tzinfo=dt.UTC)
PROFILE = "demo-kill"
TARGETS = ("alpha_vantage/weekly_adjusted", "alpha_vantage/overview")
# Of each phase the longest time that a run may go on in it before it is killed.
PHASES = (("is_fetching", 0.2), ("is_normalizing", 0.02), ("is_in_dbt", 5.0), ("is_publishing", 0.05))


class Startable(Protocol):
    """Something that can be killed."""

    def start(self) -> subprocess.Popen[str]:
        """A process of its own."""


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
            time.sleep(0.5)  # they share two cores with the run that is killed; `reads` has the numbers

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
        _, told = run.communicate(timeout=600)
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


def kill_inside(victim: Startable, is_inside: Callable[[], bool], *, longest_s: float, rng: random.Random) -> bool:
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


def run(count: int, *, seed: int, folder: Path) -> Result:
    """Rounds of four kills, until so many counted. One round: the same week's run is killed in mid-fetch, then in
    mid-normalize, mid-dbt and mid-publish, each time started anew; the fifth start completes by itself."""
    with running(SandboxConfig(universe=SEEDS, clock=FIRST, plan="unlimited")) as url:
        httpx2.put(f"{url}/_sandbox/faults", json=[{"kind": "latency", "seconds": 0.05}]).raise_for_status()
        victim = Victim(folder, url)
        victim.next_week()
        victim.finish()
        return _rounds(victim, count, random.Random(f"run {seed}"))


def _rounds(victim: Victim, count: int, rng: random.Random) -> Result:
    warehouse = Warehouse(victim.root / "warehouse")
    readers, killed, wrong, rounds = Readers(warehouse.folder), Counter[str](), list[str](), 0
    with readers.reading():
        while killed.total() < count and rounds < count // 2 + 2 and not wrong:
            rounds += 1
            victim.next_week()
            try:
                wrong += _round(victim, warehouse, killed, rng)
            except (LakeError, AssertionError) as error:
                wrong.append(f"round {rounds}: {error}")
    told = {f"in {phase.removeprefix('is_').removeprefix('in_')}": killed[phase] for phase, _ in PHASES}
    return Result(killed.total(), tuple(wrong + readers.faults), {**told, "rounds": rounds, "reads": readers.reads})


def _round(victim: Victim, warehouse: Warehouse, killed: Counter[str], rng: random.Random) -> list[str]:
    week_before, wrong = warehouse.verify(), list[str]()
    for phase, longest_s in PHASES:
        before = victim.bronze()
        killed[phase] += kill_inside(victim, getattr(victim, phase), longest_s=longest_s, rng=rng)
        after = victim.bronze()
        if not before.items() <= after.items() or not victim.named() <= set(after):
            wrong.append(f"something of bronze is gone after a kill {phase}")
        left = warehouse.verify()
        if left != week_before and left.number <= week_before.number:
            wrong.append(f"generation {left.generation} after {week_before.generation}")
    before = victim.bronze()
    victim.finish()
    newest = warehouse.verify()
    if not before.items() <= victim.bronze().items():
        wrong.append("something of bronze is gone after the run that completed")
    if newest.number <= week_before.number or newest.is_partial:
        wrong.append("the run that completed did not publish everything")
    if list(warehouse.folder.glob("build-*")):
        wrong.append("the run that completed did not clean up")
    return wrong


PROOFS = (Proof(6, "runs", "`market-pipeline run` killed in each phase in turn", "kills", 0, 24, 4, run),)
