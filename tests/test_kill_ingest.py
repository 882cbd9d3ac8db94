"""SIGKILL in the middle of fetching and of normalizing: nothing acknowledged is lost and the next run completes.

Acknowledged means that a manifest names it. A test fails when fewer processes died in mid-work than it promises.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import test_ingest_pages as pages
import test_ingest_span as spans
from market_pipeline import layout, manifest
from market_pipeline.feed import Outcome
from market_pipeline.normalize import normalize
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.store import FolderStore
from wire import KEY, KILLS, NOW, Wire, bar, commit, csv, response, tree, weeks

WEEKLY = PROVIDER.feeds[0]
PART = Slice.at(NOW.date(), grain=Grain.WEEK)
SYMBOLS = [f"S{n:02d}" for n in range(60)]
CHECKPOINT_S = 0.04
pytestmark = [pytest.mark.kill, pytest.mark.slow]

# One process imports everything and forks a worker per line of its input: kills are many, imports are slow. It also
# sends the signal, because only the parent of a process knows that its number is still its own.
FORKS = """
import os, signal, sys, time
from pathlib import Path
from market_pipeline import ingest, normalize
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.store import FolderStore
from wire import NOW, client, instrument
import test_ingest_pages as pages
import test_ingest_span as spans

feed, part = PROVIDER.feeds[0], Slice.at(NOW.date(), grain=Grain.WEEK)

def fetch(folder, url, symbols, checkpoint):
    ingest.CHECKPOINT_S = float(checkpoint)
    with client(folder, url=url) as made:
        report = ingest.ingest(
            PROVIDER, feed, part, [instrument(s) for s in symbols.split(",")],
            store=FolderStore(folder / "lake"), client=made, now=lambda: NOW,
        )
    return 0 if report.is_complete else 7

def fetch_span(folder, url, checkpoint):
    ingest.CHECKPOINT_S = float(checkpoint)
    with client(folder, url=url, provider=spans.ACME) as made:
        reports = ingest.ingest_span(
            spans.ACME, spans.FEED, spans.PARTS, [instrument(s) for s in spans.SYMBOLS],
            store=FolderStore(folder / "lake"), client=made, now=lambda: spans.NOW,
        )
    return 0 if all(report.is_complete for report in reports) else 7

def fetch_pages(folder, url, checkpoint):
    ingest.CHECKPOINT_S = float(checkpoint)
    with client(folder, url=url + "/acme", provider=pages.ACME) as made:
        report = ingest.ingest(
            pages.ACME, pages.FEED, pages.PART, [],
            store=FolderStore(folder / "lake"), client=made, now=lambda: NOW,
        )
    return 0 if report.is_complete else 7

def rewrite(folder):
    store = FolderStore(folder)
    while True:
        for prefix in ("silver/", "quarantine/"):
            for key in store.list(prefix):
                store.delete(key)
        normalize.normalize(PROVIDER, feed, part, store=store)

for line in sys.stdin:
    name, seconds, folder, *rest = line.split()
    worker = os.fork()
    if not worker:
        code = 9
        try:
            ways = {"fetch": fetch, "span": fetch_span, "pages": fetch_pages, "rewrite": rewrite}
            code = ways[name](Path(folder), *rest)
        finally:
            os._exit(code)
    ends = time.monotonic() + float(seconds)
    done = 0
    while not done and time.monotonic() < ends:
        time.sleep(0.002)
        done, status = os.waitpid(worker, os.WNOHANG)
    if not done:
        os.kill(worker, signal.SIGKILL)
        _, status = os.waitpid(worker, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Forks:
    """Runs workers that die by SIGKILL after some seconds, if they have not ended before."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "POLARS_MAX_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def run(self, name: str, folder: Path, *rest: object, seconds: float) -> int:
        """Exit code of one worker, negative when it died by the signal."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, (name, seconds, folder, *rest))) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """A warm interpreter."""
    made = Forks()
    yield made
    made.process.communicate()


def _body(symbol: str) -> bytes:
    return weeks(40, close=50 + int(symbol[1:]))


def _fetched(store: FolderStore) -> dict[str, tuple[str, ...]]:
    """Hashes of the payloads by symbol, as the newest manifest says; each is read back whole."""
    found = manifest.read(store, PROVIDER.name, WEEKLY.dataset, PART.key)
    prefix = layout.bronze_slice(PROVIDER.name, WEEKLY.dataset, PART.key)
    if found is None:
        return {}
    for entry in found.entries:
        for payload in entry.payloads:
            assert store.get(prefix + payload.object, sha256=payload.sha256) == _body(entry.request.name)
    return {
        entry.request.name: tuple(payload.sha256 for payload in entry.payloads)
        for entry in found.entries
        if entry.outcome is Outcome.FETCHED
    }


def test_ingest_killed_in_mid_fetch_loses_nothing_and_completes(tmp_path: Path, forks: Forks) -> None:
    random_ = random.Random(11)
    calls: Counter[str] = Counter()

    def slow(received: bytes, _number: int) -> Iterator[bytes]:
        match = re.search(rb"symbol=(S\d\d)", received)
        assert match is not None
        symbol = match[1].decode()
        calls[symbol] += 1
        answer = response(_body(symbol))
        time.sleep(0.004)
        yield answer[: len(answer) // 2]
        time.sleep(0.004)
        yield answer[len(answer) // 2 :]

    killed, lakes, with_data = 0, 0, 0
    with Wire(slow) as server:
        while killed < KILLS:
            folder = tmp_path / f"lake-{lakes}"
            store = FolderStore(folder / "lake")
            known: dict[str, tuple[str, ...]] = {}
            code, kills = -1, 0
            calls.clear()
            while code != 0:
                seconds = random_.uniform(0.02, 0.35) if killed < KILLS else 60.0
                code = forks.run("fetch", folder, server.url, ",".join(SYMBOLS), CHECKPOINT_S, seconds=seconds)
                assert code in (0, -signal.SIGKILL)
                found = _fetched(store)
                assert known.items() <= found.items(), "a committed payload was lost"
                known = found
                kills += code != 0
                killed += code != 0
                with_data += code != 0 and 0 < len(found) < len(SYMBOLS)
            assert known == {symbol: (hashlib.sha256(_body(symbol)).hexdigest(),) for symbol in SYMBOLS}
            # A kill costs at most what was fetched since the last checkpoint, and the call in flight.
            asked = calls.total()
            assert asked <= len(SYMBOLS) + kills * (CHECKPOINT_S / 0.008 + 2)
            before = tree(store.root)
            assert forks.run("fetch", folder, server.url, ",".join(SYMBOLS), CHECKPOINT_S, seconds=60) == 0
            assert calls.total() == asked
            assert tree(store.root) == before
            lakes += 1
    assert killed >= KILLS
    assert with_data >= KILLS // 2, f"only {with_data} of {killed} died with data and without the rest"
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("way", ["span", "pages"])
def test_a_killed_range_and_a_killed_chain_of_pages_go_on(tmp_path: Path, forks: Forks, way: str) -> None:
    """Whatever a manifest named after a kill is named after the next one too, with bytes that can be read back; the run
    that ends leaves what an undisturbed one leaves, and one more asks nothing."""
    random_, asked = random.Random(13), 0

    def slow(received: bytes, _number: int) -> Iterator[bytes]:
        nonlocal asked
        asked += 1
        host = re.search(rb"Host: (\S+)", received, re.IGNORECASE)
        assert host is not None
        url = httpx2.URL(f"http://{host[1].decode()}{received.split(b' ')[1].decode()}")
        body = spans.Bars().rows(url) if way == "span" else pages.Roster().page(url)
        answer = response(body)
        time.sleep(0.003)
        yield answer[: len(answer) // 2]
        time.sleep(0.003)
        yield answer[len(answer) // 2 :]

    provider, feed, parts = (
        (spans.ACME, spans.FEED, spans.PARTS) if way == "span" else (pages.ACME, pages.FEED, [pages.PART])
    )

    def named(store: FolderStore) -> set[tuple[str, str, str]]:
        found = set()
        for part in parts:
            committed = manifest.read(store, provider.name, feed.dataset, part.key)
            prefix = layout.bronze_slice(provider.name, feed.dataset, part.key)
            for entry in committed.entries if committed else ():
                for payload in entry.payloads:
                    assert store.get(layout.bronze_payload(prefix, payload.object), sha256=payload.sha256)
                    found.add((part.key, entry.request.name, payload.sha256))
        return found

    killed = lakes = midway = 0
    with Wire(slow) as server:
        while killed < KILLS:
            folder = tmp_path / f"lake-{lakes}"
            store, known, code = FolderStore(folder / "lake"), set[tuple[str, str, str]](), -1
            while code != 0:
                seconds = random_.uniform(0.02, 0.4) if killed < KILLS else 60.0
                code = forks.run(way, folder, server.url, 0.01, seconds=seconds)
                assert code in (0, -signal.SIGKILL)
                found = named(store)
                assert known <= found, "a committed payload was lost"
                midway += code != 0 and len(found) > 0
                killed += code != 0
                known = found
            count = len(spans.SYMBOLS) * len(parts) if way == "span" else pages.PAGES
            assert len(known) == count
            before, calls = tree(store.root), asked
            assert forks.run(way, folder, server.url, 0.01, seconds=60) == 0
            assert asked == calls
            assert tree(store.root) == before
            lakes += 1
    assert midway >= KILLS // 4, f"only {midway} of {killed} died with data and without the rest"


def test_normalize_killed_in_mid_work_ends_in_the_same_bytes(tmp_path: Path, forks: Forks) -> None:
    random_ = random.Random(13)
    store = FolderStore(tmp_path)
    commit(
        store,
        WEEKLY,
        PART,
        {
            s: [(_body(s), NOW), (csv(bar("2026-11-06"), "2026-11-13,x,1,1,1,1,1,1"), NOW.replace(hour=20))]
            for s in SYMBOLS[:10]
        },
    )
    report = normalize(PROVIDER, WEEKLY, PART, store=store)
    assert report.rows_rejected == 10
    quarantine_key = layout.quarantine_part(WEEKLY.contract, PROVIDER.name, WEEKLY.dataset, PART.key)
    whole = {key: store.get(key) for key in (report.silver_key, quarantine_key)}
    bronze = {key: store.get(key) for key in store.list("bronze/")}
    incomplete = 0
    for _ in range(KILLS):
        assert forks.run("rewrite", tmp_path, seconds=random_.uniform(0.02, 0.3)) == -signal.SIGKILL
        found = {key: store.get(key) for key in whole if store.exists(key)}
        assert found.items() <= whole.items(), "a reader could have seen a part of a file"
        incomplete += len(found) < 2
        again = normalize(PROVIDER, WEEKLY, PART, store=store)
        assert again.sha256 == report.sha256
        assert {key: store.get(key) for key in whole} == whole
    assert not normalize(PROVIDER, WEEKLY, PART, store=store).is_written
    assert {key: store.get(key) for key in store.list("bronze/")} == bronze
    assert incomplete >= KILLS // 4, f"only {incomplete} of {KILLS} died in mid-work"
