"""Promise 17: eight sessions of one dashboard server beside a loop that builds gold by dbt and publishes it.

The server is a real `streamlit run`, its sessions are those of `open_pages`. Counted are the seconds of watching.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import gold_lake
import warehouse_fixture as fixture
from market_pipeline import catalog
from market_pipeline.settings import REPOSITORY
from proofs import forks, oracle
from proofs.open_pages import PAGES, PROMISED_S, Session, Watcher, are_drawn, have_shown, judged
from proofs.proof import Proof, Result
from test_gold import second_provider

# Under a minute dbt would build nothing: then generations are published that were built before.
SHORTEST_WITH_DBT_S, PAUSE_S = 60, 2.0


@contextmanager
def served(home: Path, *, profile: str = "demo") -> Iterator[str]:
    """A dashboard server of a profile; its address, and what it says in `home/streamlit.log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "streamlit", "run", "dashboards/app.py", "--server.headless", "true"]
    with (home / "streamlit.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--server.address", "127.0.0.1", "--server.port", address.partition(":")[2]],
            cwd=REPOSITORY,
            env={**os.environ, "MARKET_PIPELINE_HOME": str(home), "MARKET_PIPELINE_PROFILE": profile},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(lambda: _answers(f"http://{address}/_stcore/health"), "the dashboard's server", 120)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own loopback address
            return True
    except OSError:
        return False


def _wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds:g} s")
        time.sleep(0.1)


def _publisher(folder: Path, *, with_dbt: bool) -> Callable[[], None]:
    """Prepare, and publish a first generation; gives what publishes the next one."""
    if with_dbt:
        shutil.copytree(REPOSITORY / "dbt", folder / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
        catalog.write(second_provider(), folder / "dbt", folder / "docs")
        gold_lake.write(folder / "lake", gold_lake.silver_bars(), second_provider())

        def build() -> None:
            code = forks.run("build", folder, seconds=300)
            if code != 0:
                raise AssertionError(f"a build of gold ended with {code}")

        build()
        return build
    markets = [fixture.build(folder / f"market-{seed}.duckdb", seed=seed) for seed in (7, 8)]
    fixture.publish(folder / "warehouse", build_db=markets[0])

    def publish() -> None:
        time.sleep(PAUSE_S)
        markets.reverse()
        fixture.publish(folder / "warehouse", build_db=markets[0])

    return publish


def run(count: int, *, seed: int, folder: Path) -> Result:
    """So many seconds of eight sessions beside the loop."""
    profile = folder / "demo"
    profile.mkdir()
    publish = _publisher(profile, with_dbt=count >= SHORTEST_WITH_DBT_S)
    watcher = Watcher(profile / "warehouse")
    with served(folder) as address:
        sessions = [Session(address, page) for page in PAGES]
        watcher.start()
        for session in sessions:
            session.start()
        opened = time.monotonic()
        are_drawn(sessions, seconds=300)
        drawn_after = time.monotonic() - opened
        begun, opened_with = time.monotonic(), max(watcher.published)
        while time.monotonic() - begun < count and not any(session.faults for session in sessions):
            publish()
        newest = max(oracle.published(oracle.files(profile / "warehouse")), opened_with)
        seconds = time.monotonic() - begun
        have_shown(sessions, newest)
        watcher.has_ended.set()
        for session in sessions:
            session.stop()
    log = (folder / "streamlit.log").read_text(errors="replace")
    published = {number: at for number, at in watcher.published.items() if number > opened_with}
    return _judged(sessions, published, int(seconds), drawn_after, log)


def _judged(
    sessions: list[Session], published: Mapping[int, float], seconds: int, drawn_after: float, log: str
) -> Result:
    wrong, waits = judged(sessions, published)
    wrong += [f"the server says: {line[:300]}" for line in log.splitlines() if _is_complaint(line)][:5]
    counts = {
        "generations": len(published),
        "sightings": len(waits),
        "of them within 2 s": sum(wait <= PROMISED_S for wait in waits),
        "runs of pages": sum(session.runs for session in sessions),
    }
    worst = {"s until all eight were drawn": round(drawn_after, 1)}
    if waits:
        worst |= {"worst s until shown": round(waits[-1], 2), "median s": round(waits[len(waits) // 2], 2)}
    return Result(seconds, tuple(wrong), counts, worst)


def _is_complaint(line: str) -> bool:
    said = line.casefold()
    return "traceback" in said or "could not set lock" in said or "conflicting lock" in said or "io error" in said


PROOFS = (
    Proof(17, "sessions", "eight dashboard sessions beside builds by dbt", "seconds", 8, 3600, 300, run, is_soak=True),
)
