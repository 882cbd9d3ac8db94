"""Publishing a generation against a bare copy of the file that comes out of it.

Publishing sorts, copies, hashes every row on both sides, reads the new file back as a reader would, syncs it and moves
the pointer; the floor is what a copy with fsync of the same bytes costs, the peer DuckDB's own COPY FROM DATABASE.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import duckdb

from market_pipeline.warehouse import Warehouse
from measure import Figure, child, in_turns, mib, middle, ratio, timed
from peers.turn import peak_kib

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
ORDER = ("symbol", "session_date")


def run(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """All three on one build file, each turn in a process of its own."""
    rows, rounds = (20_000, 1) if is_quick else (2_500_000, 5)
    build = scratch / "build.duckdb"
    _build(build, rows)
    warehouse = Warehouse(scratch / "warehouse")
    _publish(warehouse, build)
    found = warehouse.verify()
    kept = scratch / "kept.duckdb"
    shutil.copyfile(warehouse.folder / found.file, kept)  # the third publication from now prunes it
    names = ("ours", "duckdb", "floor")
    turns = in_turns({name: partial(child, "publish", name, str(scratch)) for name in names}, rounds=rounds)
    seconds = {name: [turn["seconds"] for turn in turns[name]] for name in names}
    how = f"one table of {rows:,} rows, {mib(found.bytes)} MiB; median of {rounds} rounds in turns"
    to_duckdb, to_floor = (ratio(seconds["ours"], seconds[name]) for name in ("duckdb", "floor"))
    figures = [
        Figure("rows per second", round(rows / middle(seconds["ours"], 6)), "rows/s", how),
        Figure("time to duckdb", to_duckdb, "times", "ours over COPY FROM DATABASE and fsync, which sorts nothing"),
        Figure("time to floor", to_floor, "times", "ours over a copy of the bytes and fsync"),
    ]
    for name in names:
        peak = round(middle([turn["peak_mib"] for turn in turns[name]]))
        figures.append(Figure(f"memory of {name}", peak, "MiB", "peak resident set of the process"))
    return figures


def _turn(name: str, scratch: Path) -> None:
    build = scratch / "build.duckdb"
    work = {
        "ours": lambda: _publish(Warehouse(scratch / "warehouse"), build),
        "duckdb": lambda: _copy_database(build, scratch / "copy.duckdb"),
        "floor": lambda: _copy(scratch / "kept.duckdb", scratch / "copy.bin"),
    }
    seconds = timed(work[name])
    print(json.dumps({"seconds": seconds, "peak_mib": peak_kib() / 1024}))


def _build(path: Path, rows: int) -> None:
    """A private build file with one table of bars, in no order."""
    with duckdb.connect(str(path)) as con:
        con.execute(
            """create table fact as
               select
                   'Z' || lpad(((i * 7919) % 11000)::varchar, 5, '0') as symbol,
                   date '2025-01-01' + (i // 11000)::int as session_date,
                   md5(i::varchar) as bar_key,
                   (hash(i) % 100000) / 100 as open_usd, (hash(i + 1) % 100000) / 100 as high_usd,
                   (hash(i + 2) % 100000) / 100 as low_usd, (hash(i + 3) % 100000) / 100 as close_usd,
                   (hash(i + 4) % 90000000)::double as volume_shares
               from range($1) as rows (i)""",
            [rows],
        )


def _publish(warehouse: Warehouse, build: Path) -> None:
    warehouse.publish(
        build,
        tables=["fact"],
        newest={},
        is_partial=False,
        missing=[],
        inputs_sha256="0" * 64,
        profile="benchmark",
        now=NOW,
        orders={"fact": ORDER},
    )


def _copy_database(build: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    with duckdb.connect(str(to), config={"memory_limit": "1GB", "threads": "2"}) as con:
        con.execute(f"attach '{build}' as build (read_only)")
        con.execute("copy from database build to copy")
    _sync(to)


def _copy(source: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    shutil.copyfile(source, to)
    _sync(to)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


if __name__ == "__main__":
    _turn(sys.argv[1], Path(sys.argv[2]))
