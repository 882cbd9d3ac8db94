"""Grouped daily JSON to validated silver: rows per second and memory, against pandas and against the floor.

Every contestant reads the same generated payloads (11,000 rows each) and leaves one Parquet file per session:

- `ours`: bronze to silver by `normalize`, with hashes, contract, quarantine, versions and fsync
- `pandas`: the same rules written by hand over `pandas.DataFrame`s, without quarantine, versions, hashes and fsync
- `floor`: orjson and Polars with a declared schema and no validation at all: what reading and writing alone cost

Each runs in a process of its own, in turns, and the best of its rounds counts. Row counts and the sums of every column
must be equal, or the benchmark fails.

    python benchmarks/grouped_daily.py [--sessions 20] [--rounds 3]
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import polars as pl

from market_pipeline import calendar, contracts, layout, manifest
from market_pipeline.feed import Outcome
from market_pipeline.manifest import Entry, Payload
from market_pipeline.normalize import normalize
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.polygon import PROVIDER
from market_pipeline.store import FolderStore

ROWS = 11_000
LAST = dt.date(2026, 11, 20)
FETCHED_AT = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
SUMMED = ("open_usd", "high_usd", "low_usd", "close_usd", "volume_shares", "vwap_usd", "transaction_count")
MEMBERS = {"o": "open_usd", "h": "high_usd", "l": "low_usd", "c": "close_usd", "v": "volume_shares", "vw": "vwap_usd"}


def payload(session: dt.date) -> bytes:
    """One invented session of the whole market, in the provider's shape."""
    draw = random.Random(session.toordinal())  # noqa: S311 - invented prices
    closes_at = calendar.close_of(session)
    if closes_at is None:
        raise SystemExit(f"{session} is no session")
    rows = []
    for number in range(ROWS):
        low = draw.uniform(1, 400)
        high = low * (1 + draw.random() / 20)
        first, last = draw.uniform(low, high), draw.uniform(low, high)
        volume = draw.randint(100, 20_000_000)
        rows.append(
            {
                "T": f"T{number:05d}",
                "v": volume,
                "vw": round((low + high) / 2, 4),
                "o": round(first, 4),
                "c": round(last, 4),
                "h": round(high, 4) + 0.0001,
                "l": round(low, 4) - 0.0001,
                "t": int(closes_at.timestamp() * 1000),
                "n": volume // 90,
            }
        )
    head = {"queryCount": ROWS, "resultsCount": ROWS, "adjusted": False, "status": "OK", "request_id": f"{session}"}
    return orjson.dumps({**head, "results": rows})


def prepare(folder: Path, sessions: int) -> None:
    """A bronze lake with one grouped daily payload per session."""
    feed = PROVIDER.feed("grouped_daily")
    if feed is None:
        raise SystemExit("polygon/grouped_daily is gone")
    store = FolderStore(folder)
    for session in calendar.sessions(LAST - dt.timedelta(days=2 * sessions + 10), LAST)[-sessions:]:
        part = Slice.at(session, grain=Grain.SESSION)
        (request,) = feed.plan(part, ())
        body = payload(session)
        sha256 = hashlib.sha256(body).hexdigest()
        prefix = layout.bronze_slice(PROVIDER.name, feed.dataset, part.key)
        key = layout.bronze_object(prefix, request.name, sha256, request.extension)
        store.create(key, body)
        stored = Payload(key.removeprefix(prefix), sha256, len(body), FETCHED_AT)
        entry = Entry(request, Outcome.FETCHED, "", FETCHED_AT, (stored,))
        manifest.write(store, PROVIDER.name, feed, part, seq=1, entries=(entry,), written_at=FETCHED_AT)


def payloads(folder: Path) -> list[Path]:
    """The payloads of the lake, oldest session first."""
    return sorted(path for path in (folder / "bronze").rglob("*.json") if "manifest-" not in path.name)


def ours(folder: Path, out: Path) -> None:
    """What the pipeline does."""
    feed = PROVIDER.feed("grouped_daily")
    if feed is None:
        raise SystemExit("polygon/grouped_daily is gone")
    store = FolderStore(folder)
    for path in payloads(folder):
        part = Slice.from_key(path.parent.name.removeprefix("slice="), grain=Grain.SESSION)
        report = normalize(PROVIDER, feed, part, store=store)
        (out / f"{part.key}.parquet").hardlink_to(folder / report.silver_key)


def by_pandas(folder: Path, out: Path) -> None:
    """The same rules by hand: types, keys, ranges, high and low, the calendar."""
    import pandas as pd  # type: ignore[import-untyped]

    sessions = {pd.Timestamp(day) for day in calendar.session_dates()}
    for path in payloads(folder):
        frame = pd.DataFrame(json.loads(path.read_bytes())["results"])
        frame["session_date"] = (
            pd.to_datetime(frame["t"], unit="ms", utc=True).dt.tz_convert("America/New_York").dt.tz_localize(None)
        ).dt.normalize()
        frame = frame.rename(columns={**MEMBERS, "n": "transaction_count", "T": "symbol"}).drop(columns="t")
        frame = frame.astype({**dict.fromkeys(MEMBERS.values(), "float64"), "transaction_count": "int64"})
        prices = frame[["open_usd", "high_usd", "low_usd", "close_usd"]]
        is_good = (
            (prices > 0).all(axis=1)
            & (prices <= 1e12).all(axis=1)
            & (frame["high_usd"] >= prices.max(axis=1))
            & (frame["low_usd"] <= prices.min(axis=1))
            & frame["volume_shares"].between(0, 2.0**53)
            & frame["transaction_count"].between(0, 2**53)
            & (frame["symbol"].str.len() > 0)
            & ~frame.duplicated(["symbol", "session_date"], keep=False)
            & frame["session_date"].isin(sessions)
        )
        kept = frame[is_good].sort_values(["symbol", "session_date"])
        kept.to_parquet(out / f"{path.parent.name.removeprefix('slice=')}.parquet", compression="zstd", index=False)


def floor(folder: Path, out: Path) -> None:
    """Reading, a declared schema, writing."""
    schema = {"T": pl.String, **dict.fromkeys(MEMBERS, pl.Float64), "t": pl.Int64, "n": pl.Int64}
    for path in payloads(folder):
        frame = pl.DataFrame(orjson.loads(path.read_bytes())["results"], schema=schema)
        frame.rename({**MEMBERS, "n": "transaction_count", "T": "symbol"}).write_parquet(
            out / f"{path.parent.name.removeprefix('slice=')}.parquet", compression="zstd", compression_level=3
        )


CONTESTANTS: dict[str, Callable[[Path, Path], None]] = {"ours": ours, "pandas": by_pandas, "floor": floor}


def contest(name: str, folder: Path, out: Path) -> None:
    """One round of one contestant, in this process; prints seconds and peak memory."""
    contracts.contract("bars_daily")  # imports are nobody's work
    if name == "pandas":
        import pandas  # noqa: F401
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    CONTESTANTS[name](folder, out)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "base_mib": base / 1024, "peak_mib": peak / 1024}))


def totals(out: Path) -> dict[str, float]:
    """Rows and the sums of the measures of everything that a contestant left."""
    frame = pl.concat([pl.read_parquet(path, columns=list(SUMMED)) for path in sorted(out.glob("*.parquet"))])
    sums = {column: float(frame.get_column(column).cast(pl.Float64).sum()) for column in SUMMED}
    return {"rows": frame.height, **sums}


def main() -> None:
    """Prepare, run in turns, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        contest(given.contestant, given.folder, given.out)
        return
    with tempfile.TemporaryDirectory() as scratch:
        lake = Path(scratch) / "lake"
        prepare(lake, given.sessions)
        best: dict[str, dict[str, float]] = {}
        found: dict[str, dict[str, float]] = {}
        for turn in range(given.rounds):
            for name in CONTESTANTS:
                out = Path(scratch) / f"{name}-{turn}"
                out.mkdir()
                for path in (lake / "silver").rglob("*.parquet"):
                    path.unlink()  # unchanged output is not written, which would be no contest
                command = [sys.executable, __file__, "--contestant", name, "--folder", str(lake), "--out", str(out)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                measured = json.loads(done.stdout)
                found[name] = totals(out)
                if name not in best or measured["seconds"] < best[name]["seconds"]:
                    best[name] = measured
        compare(found)
        report(best, rows=int(found["ours"]["rows"]))


def compare(found: dict[str, dict[str, float]]) -> None:
    """All contestants kept the same rows."""
    for name, sums in found.items():
        for column, value in sums.items():
            if abs(value - found["ours"][column]) > 1e-9 * max(1.0, abs(value)):
                raise SystemExit(f"{name} has another sum of {column}: {value} against {found['ours'][column]}")


def report(best: dict[str, dict[str, float]], *, rows: int) -> None:
    """The table, as ratios of one run."""
    print(f"{rows:,} rows of {ROWS:,} a session")
    print(f"{'':8} {'rows/s':>10} {'time to floor':>14} {'memory over imports':>20}")
    for name, measured in best.items():
        ratio = measured["seconds"] / best["floor"]["seconds"]
        grown = measured["peak_mib"] - measured["base_mib"]
        print(f"{name:8} {rows / measured['seconds']:10,.0f} {ratio:13.2f}x {grown:16.0f} MiB")


if __name__ == "__main__":
    main()
