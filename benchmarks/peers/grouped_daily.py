"""Grouped daily JSON to Parquet by hand: with the contract's rules in pandas and in Polars, and without any."""

from __future__ import annotations

import json
from pathlib import Path

from peers.turn import slices, take

PRICES = ["open_usd", "high_usd", "low_usd", "close_usd"]
FLOATS = {"o": "open_usd", "h": "high_usd", "l": "low_usd", "c": "close_usd", "v": "volume_shares", "vw": "vwap_usd"}
NAMES = {**FLOATS, "n": "transaction_count", "T": "symbol"}
FETCHED_ON = "2026-11-21"


def by_pandas(lake: Path, out: Path) -> None:
    """Types, ranges, high and low, the calendar, keys; a value that is no number loses its row."""
    import pandas as pd

    sessions = pd.DatetimeIndex((lake / "sessions.txt").read_text("ascii").split())
    for key, paths in slices(lake):
        found = pd.concat([pd.DataFrame(json.loads(path.read_bytes())["results"]) for path in paths])
        for member in (*FLOATS, "t", "n"):
            if found[member].dtype.kind not in "if":
                found[member] = pd.to_numeric(found[member], errors="coerce")
        found = found.rename(columns=NAMES).dropna().drop_duplicates()
        instants = pd.to_datetime(found.pop("t"), unit="ms", utc=True).dt.tz_convert("America/New_York")
        found["session_date"] = instants.dt.tz_localize(None).dt.normalize()
        prices = found[PRICES]
        is_good = (
            (prices > 0).all(axis=1)
            & (prices <= 1e12).all(axis=1)
            & found["vwap_usd"].gt(0)
            & found["vwap_usd"].le(1e12)
            & found["high_usd"].ge(prices.max(axis=1))
            & found["low_usd"].le(prices.min(axis=1))
            & found["volume_shares"].between(0, 2.0**53)
            & found["transaction_count"].between(0, 2**53)
            & found["symbol"].str.len().gt(0)
            & ~found.duplicated(["symbol", "session_date"], keep=False)
            & found["session_date"].isin(sessions)
            & found["session_date"].lt(FETCHED_ON)
        )
        kept = found[is_good].astype({"transaction_count": "int64"}).sort_values(["symbol", "session_date"])
        kept.to_parquet(out / f"{key}.parquet", compression="zstd", compression_level=3, index=False)


def by_polars(lake: Path, out: Path) -> None:
    """The same rules as expressions."""
    import orjson
    import polars as pl

    sessions = pl.Series((lake / "sessions.txt").read_text("ascii").split()).str.to_date()
    types = {"T": pl.String, **dict.fromkeys(FLOATS, pl.Float64), "t": pl.Int64, "n": pl.Int64}
    prices = pl.col(PRICES)
    for key, paths in slices(lake):
        rows = [row for path in paths for row in orjson.loads(path.read_bytes())["results"]]
        (
            pl.DataFrame(
                [pl.Series(name, [row.get(name) for row in rows], dtype=t, strict=False) for name, t in types.items()]
            )
            .lazy()
            .rename(NAMES)
            .with_columns(
                session_date=pl.from_epoch("t", time_unit="ms")
                .dt.replace_time_zone("UTC")
                .dt.convert_time_zone("America/New_York")
                .dt.date()
            )
            .drop_nulls()
            .unique()
            .filter(
                pl.all_horizontal(prices > 0, prices <= 1e12),
                pl.col("vwap_usd").is_between(0, 1e12, closed="right"),
                pl.col("high_usd") >= pl.max_horizontal(PRICES),
                pl.col("low_usd") <= pl.min_horizontal(PRICES),
                pl.col("volume_shares").is_between(0, 2.0**53),
                pl.col("transaction_count").is_between(0, 2**53),
                pl.col("symbol").str.len_bytes() > 0,
                pl.struct("symbol", "session_date").is_unique(),
                pl.col("session_date").is_in(sessions.implode()),
                pl.col("session_date") < pl.lit(FETCHED_ON).str.to_date(),
            )
            .sort("symbol", "session_date")
            .collect()
            .write_parquet(out / f"{key}.parquet", compression="zstd", compression_level=3)
        )


def floor(lake: Path, out: Path) -> None:
    """Reading with declared types and writing."""
    import orjson
    import polars as pl

    types = {"T": pl.String, **dict.fromkeys(FLOATS, pl.Float64), "t": pl.Int64, "n": pl.Int64}
    for key, paths in slices(lake):
        frame = pl.concat([pl.DataFrame(orjson.loads(path.read_bytes())["results"], schema=types) for path in paths])
        frame.rename(NAMES).write_parquet(out / f"{key}.parquet", compression="zstd", compression_level=3)


CONTESTANTS = {
    "pandas": (by_pandas, ("pandas", "pyarrow.parquet")),
    "polars": (by_polars, ("polars", "orjson")),
    "floor": (floor, ("polars", "orjson")),
}

if __name__ == "__main__":
    take(CONTESTANTS)
