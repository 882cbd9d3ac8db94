"""What the killed processes do: fetch, normalize, build, publish. Each is called in a forked process of its own.

Nothing here may run Polars when it is imported: its threads do not survive a fork, and the child would wait for them.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl

import gold_lake
import test_ingest_pages as pages
from market_pipeline import gold, ingest, normalize
from market_pipeline.dbt_project import DbtProject
from market_pipeline.errors import MarketPipelineError
from market_pipeline.feed import Pace
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.reference import OUTCOMES
from market_pipeline.store import FolderStore
from market_pipeline.warehouse import Warehouse
from wire import FAST, NOW, client, instrument

WEEKLY = PROVIDER.feeds[0]
PART = Slice.at(NOW.date(), grain=Grain.WEEK)
# How a worker under a fault can end besides 0: it said what is wrong, or its work was done before the fault came.
SAID, REACHED_NO_FAULT = 21, 22
# What of Python's own events is an operation on a file; syncs have none, so they are told apart.
_ON_FILES = frozenset({"open", "os.mkdir", "os.link", "os.rename", "os.remove", "sqlite3.connect"})


def fetch(folder: Path, url: str, symbols: str, checkpoint: str, calls_per_day: str = "0") -> int:
    """One slice of Alpha Vantage's weekly bars; 7 when symbols are missing."""
    ingest.CHECKPOINT_S = float(checkpoint)
    pace = Pace(int(calls_per_day), 0.0) if int(calls_per_day) else FAST
    with client(folder, url=url, pace=pace) as made:
        report = ingest.ingest(
            PROVIDER,
            WEEKLY,
            PART,
            [instrument(symbol) for symbol in symbols.split(",")],
            store=FolderStore(folder / "lake"),
            client=made,
            now=lambda: NOW,
        )
    return 0 if report.is_complete else 7


def span(folder: Path, url: str, checkpoint: str) -> int:
    """A range of sessions, one answer per instrument."""
    import test_ingest_span as spans

    ingest.CHECKPOINT_S = float(checkpoint)
    with client(folder, url=url, provider=spans.ACME) as made:
        reports = ingest.ingest_span(
            spans.ACME,
            spans.FEED,
            spans.PARTS,
            [instrument(symbol) for symbol in spans.SYMBOLS],
            store=FolderStore(folder / "lake"),
            client=made,
            now=lambda: spans.NOW,
        )
    return 0 if all(report.is_complete for report in reports) else 7


def chain(folder: Path, url: str, checkpoint: str) -> int:
    """An answer of many pages."""
    ingest.CHECKPOINT_S = float(checkpoint)
    with client(folder, url=url + "/acme", provider=pages.ACME) as made:
        report = ingest.ingest(
            pages.ACME, pages.FEED, pages.PART, [], store=FolderStore(folder / "lake"), client=made, now=lambda: NOW
        )
    return 0 if report.is_complete else 7


def _before_each(folder: Path, act: Callable[[int], None]) -> Callable[[], int]:
    """Call `act` with a number before each operation on the folder's files; gives a function that tells how many."""
    seen, root = 0, str(folder)

    def before(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in _ON_FILES and str(arguments[0]).startswith(root):
            seen += 1
            act(seen)

    real = os.fsync

    def fsync(descriptor: int) -> None:
        before("open", (root,))
        real(descriptor)

    os.fsync = fsync
    sys.addaudithook(before)
    return lambda: seen


def die_at(folder: Path, point: str, name: str, *rest: str) -> int:
    """Another worker, which ends itself by SIGKILL before its operation number `point`; 0 means never. The number of
    operations is left beside the lake."""

    def act(number: int) -> None:
        if number == int(point):
            os.kill(os.getpid(), signal.SIGKILL)

    count = _before_each(folder, act)
    code = WORKERS[name](folder, *rest)
    found = count()
    (folder / "points").write_text(str(found))
    return code


def fail_at(folder: Path, point: str, error: str, name: str, *rest: str) -> int:
    """Another worker, whose operation number `point` and all later ones fail with this error of the system."""
    is_over = False

    def act(number: int) -> None:
        if number >= int(point) and not is_over:
            raise OSError(int(error), os.strerror(int(error)), str(folder))

    count = _before_each(folder, act)
    code = _told(folder, name, *rest, at_end=lambda: None)
    is_over = True
    return REACHED_NO_FAULT if code == 0 and count() < int(point) else code


def limited(folder: Path, size: str, name: str, *rest: str) -> int:
    """Another worker, which can write no file larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), before[1]))
    return _told(folder, name, *rest, at_end=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before))


def read_only(folder: Path, name: str, *rest: str) -> int:
    """Another worker, which may read the folder and write nothing in it: root without the right to override that."""
    header, nothing = struct.pack("II", 0x20080522, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing) != 0:
        return 9
    return _told(folder, name, *rest, at_end=lambda: None)


def _told(folder: Path, name: str, *rest: str, at_end: Callable[[], None]) -> int:
    """How a worker ends: what it raises on purpose, or the system raises, is said in a sentence."""
    try:
        code = WORKERS[name](folder, *rest)
    except (OSError, MarketPipelineError) as error:
        at_end()
        return SAID if str(error).strip() and "Traceback" not in str(error) else 9
    at_end()
    return code


def once(folder: Path) -> int:
    """Normalize one slice, from nothing."""
    store = FolderStore(folder / "lake")
    normalize.normalize(PROVIDER, WEEKLY, PART, store=store)
    return 0


def publish_once(folder: Path, rows: str) -> int:
    """Publish the build that is there."""
    del rows
    publish_build(Warehouse(folder / "warehouse"), folder / "build.duckdb")
    return 0


def rewrite(folder: Path) -> int:
    """Normalize one slice over and over, from nothing each time; how often is left beside the lake."""
    store = FolderStore(folder / "lake")
    for number in itertools.count():
        (folder / "passes").write_text(str(number))
        for prefix in ("silver/", "quarantine/"):
            for key in store.list(prefix):
                store.delete(key)
        normalize.normalize(PROVIDER, WEEKLY, PART, store=store)
    return 0


def publish(folder: Path, rows: str) -> int:
    """Publish generation after generation; both tables of one hold the same instant in every row."""
    warehouse, build = Warehouse(folder / "warehouse"), folder / f"build-{os.getpid()}.duckdb"
    while True:
        publish_pair(warehouse, build, rows=int(rows))


def publish_pair(warehouse: Warehouse, build: Path, *, rows: int) -> None:
    """One generation of two tables whose `v` is the time of building."""
    build.unlink(missing_ok=True)
    instant = time.time_ns()
    with duckdb.connect(str(build), config={"threads": 1}) as con:
        for table in ("a", "b"):
            con.execute(f"create table {table} as select {instant} as v, i from range({rows}) as r (i)")
    publish_build(warehouse, build)


def publish_build(warehouse: Warehouse, build: Path) -> None:
    """Publish both tables of a build."""
    warehouse.publish(
        build,
        tables=["a", "b"],
        newest={},
        is_partial=False,
        missing=[],
        inputs_sha256="",
        profile="demo",
        now=NOW,
    )


def build(folder: Path) -> int:
    """Build gold from the lake of `gold_lake` by dbt, audit it and publish it."""
    report = gold.build(
        DbtProject(folder / "dbt", folder / "target", str(folder / "lake"), os.environ),
        FolderStore(folder / "lake"),
        Warehouse(folder / "warehouse"),
        outcomes=pl.DataFrame(schema=OUTCOMES),
        prefixes=("quarantine/", "reference/"),
        profile="demo",
        now=gold_lake.AS_OF,
        keep=3,
        is_full_refresh=True,
    )
    return 0 if report.is_new else 7


def bomb(folder: Path, number: str) -> int:
    """Fetch one of the bodies that are made to fill memory."""
    from proofs import bombs

    return bombs.answer(folder, number)


WORKERS: dict[str, Callable[..., int]] = {
    "fetch": fetch,
    "span": span,
    "chain": chain,
    "die_at": die_at,
    "fail_at": fail_at,
    "limited": limited,
    "read_only": read_only,
    "once": once,
    "publish_once": publish_once,
    "rewrite": rewrite,
    "bomb": bomb,
    "publish": publish,
    "build": build,
}
