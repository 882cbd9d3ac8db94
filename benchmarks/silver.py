"""Bytes of bronze to validated silver: against the same rules in pandas and in Polars, and against no rules at all.

Every contestant reads the same invented payloads and leaves one Parquet file per slice. `ours` also compares hashes,
reads manifests, keeps versions and quarantine, and syncs its files. Each turn is a process of its own; imports are not
part of the time. Rows and the sums of every measure must be equal, or there are no figures.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

import bronze
from measure import Figure, child, in_turns, middle, ratio


@dataclass(frozen=True, slots=True)
class Size:
    """How much a contest is about: slices, payloads of a slice where there is one per symbol, rows of a payload."""

    slices: int
    symbols: int
    rows: int


SIZES = {
    "weekly_adjusted": Size(4, 50, 1_300),
    "overview": Size(4, 500, 1),
    "grouped_daily": Size(20, 0, 11_000),
}
QUICK = {
    "weekly_adjusted": Size(1, 2, 20),
    "overview": Size(1, 4, 1),
    "grouped_daily": Size(2, 0, 20),
}
WHAT = {
    "weekly_adjusted": "weekly-adjusted CSV to validated silver",
    "overview": "company overview JSON to validated silver",
    "grouped_daily": "grouped daily JSON of the whole market to validated silver",
}
_PRICES = ("open_usd", "high_usd", "low_usd", "close_usd", "volume_shares")
SUMMED = {
    "weekly_adjusted": (*_PRICES, "adjusted_close_usd", "dividend_usd"),
    "overview": ("market_capitalization", "ebitda", "pe_ratio", "revenue_ttm", "beta", "shares_outstanding"),
    "grouped_daily": (*_PRICES, "vwap_usd", "transaction_count"),
}
PEERS = {
    "pandas": "the same rules in pandas",
    "polars": "the same rules in plain Polars",
    "floor": "reading and writing without any rule",
}
CONTESTANTS = ("ours", *PEERS)


def weekly_adjusted(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """Alpha Vantage's CSV."""
    return _contest("weekly_adjusted", scratch, is_quick=is_quick)


def overview(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """Alpha Vantage's JSON of one company a file."""
    return _contest("overview", scratch, is_quick=is_quick)


def grouped_daily(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """Polygon's JSON of one session a file."""
    return _contest("grouped_daily", scratch, is_quick=is_quick)


def totals(dataset: str, out: Path) -> dict[str, float]:
    """Rows and the sums of the measures of everything that a contestant left."""
    frame = pl.concat([pl.read_parquet(path, columns=list(SUMMED[dataset])) for path in sorted(out.glob("*.parquet"))])
    sums = {column: float(frame.get_column(column).cast(pl.Float64).sum()) for column in SUMMED[dataset]}
    return {"rows": frame.height, **sums}


def compare(found: Mapping[str, Mapping[str, float]]) -> None:
    """Everybody kept the same rows; sums in another order differ in the last digits."""
    for name, sums in found.items():
        for column, value in sums.items():
            if abs(value - found["ours"][column]) > 1e-9 * max(1.0, abs(value)):
                raise SystemExit(f"{name} has another sum of {column}: {value} against {found['ours'][column]}")


def turn(dataset: str, name: str, lake: Path, out: Path) -> dict[str, float]:
    """One turn of one contestant."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.rmtree(lake / "silver", ignore_errors=True)  # unchanged output is not written, which would be no contest
    module, contestant = ("ours", dataset) if name == "ours" else (f"peers.{dataset}", name)
    return child(module, contestant, str(lake), str(out))


def _contest(dataset: str, scratch: Path, *, is_quick: bool) -> list[Figure]:
    size = (QUICK if is_quick else SIZES)[dataset]
    rounds = 1 if is_quick else 5
    lake = scratch / "lake"
    bronze.prepare(lake, dataset, slices=size.slices, symbols=size.symbols, rows=size.rows)
    turns = in_turns({name: partial(turn, dataset, name, lake, scratch / name) for name in CONTESTANTS}, rounds=rounds)
    found = {name: totals(dataset, scratch / name) for name in CONTESTANTS}
    compare(found)
    rows = int(found["ours"]["rows"])
    seconds = {name: [taken["seconds"] for taken in turns[name]] for name in CONTESTANTS}
    how = f"{WHAT[dataset]}: {rows:,} rows in {size.slices} slices, equal in all; median of {rounds} rounds in turns"
    figures = [Figure("rows per second", round(rows / middle(seconds["ours"], 6)), "rows/s", how)]
    figures += [
        Figure(f"time to {name}", ratio(seconds["ours"], seconds[name]), "times", f"ours over {what}")
        for name, what in PEERS.items()
    ]
    for name in CONTESTANTS:
        peak = middle([taken["peak_mib"] for taken in turns[name]], 0)
        grown = middle([taken["peak_mib"] - taken["base_mib"] for taken in turns[name]], 0)
        what = f"peak resident set of the process; {grown:.0f} MiB of it over its imports"
        figures.append(Figure(f"memory of {name}", int(peak), "MiB", what))
    return figures
