"""Weekly-adjusted CSV to Parquet by hand: with the contract's rules in pandas and in Polars, and without any."""

from __future__ import annotations

from pathlib import Path

from peers.turn import slices, take

NAMES = {
    "timestamp": "session_date",
    "open": "open_usd",
    "high": "high_usd",
    "low": "low_usd",
    "close": "close_usd",
    "adjusted close": "adjusted_close_usd",
    "volume": "volume_shares",
    "dividend amount": "dividend_usd",
}
PRICES = ["open_usd", "high_usd", "low_usd", "close_usd"]
FLOATS = [*PRICES, "adjusted_close_usd", "dividend_usd"]
FETCHED_ON = "2026-11-21"


def by_pandas(lake: Path, out: Path) -> None:
    """Types, ranges, high and low, the week, keys; a cell that is no number or no date loses its row."""
    import pandas as pd

    for key, paths in slices(lake):
        frames = []
        for path in paths:
            frame = pd.read_csv(path)
            frame["instrument"] = path.name.partition(".")[0]
            frames.append(frame)
        found = pd.concat(frames, ignore_index=True).rename(columns=NAMES)
        for column in (*FLOATS, "volume_shares"):
            if found[column].dtype != "float64":
                found[column] = pd.to_numeric(found[column], errors="coerce")
        found["session_date"] = pd.to_datetime(found["session_date"], format="%Y-%m-%d", errors="coerce")
        found["week_start_date"] = found["session_date"] - pd.to_timedelta(found["session_date"].dt.weekday, unit="D")
        found = found.dropna().drop_duplicates()
        prices = found[PRICES]
        is_good = (
            ~found.duplicated(["instrument", "week_start_date"], keep=False)
            & (prices > 0).all(axis=1)
            & (prices <= 1e9).all(axis=1)
            & found["adjusted_close_usd"].gt(0)
            & found["adjusted_close_usd"].le(1e12)
            & found["volume_shares"].between(0, 2**53)
            & found["volume_shares"].mod(1).eq(0)
            & found["dividend_usd"].ge(0)
            & found["high_usd"].ge(prices.max(axis=1))
            & found["low_usd"].le(prices.min(axis=1))
            & found["session_date"].le(FETCHED_ON)
        )
        kept = found[is_good].astype({"volume_shares": "int64"}).sort_values(["instrument", "week_start_date"])
        kept.to_parquet(out / f"{key}.parquet", compression="zstd", compression_level=3, index=False)


def by_polars(lake: Path, out: Path) -> None:
    """The same rules as expressions over a typed read."""
    import polars as pl

    types = {name: pl.Float64 if column in FLOATS else pl.String for name, column in NAMES.items()}
    prices = pl.col(PRICES)
    for key, paths in slices(lake):
        frames = [
            pl.read_csv(path, schema=types, ignore_errors=True).with_columns(
                instrument=pl.lit(path.name.partition(".")[0])
            )
            for path in paths
        ]
        (
            pl.concat(frames)
            .lazy()
            .rename(NAMES)
            .with_columns(
                pl.col("session_date").str.to_date("%Y-%m-%d", strict=False),
                pl.col("volume_shares").cast(pl.Int64, strict=False),
            )
            .with_columns(week_start_date=pl.col("session_date").dt.truncate("1w"))
            .drop_nulls()
            .unique()
            .filter(
                pl.struct("instrument", "week_start_date").is_unique(),
                pl.all_horizontal(prices > 0, prices <= 1e9),
                pl.col("adjusted_close_usd").is_between(0, 1e12, closed="right"),
                pl.col("volume_shares").is_between(0, 2**53),
                pl.col("dividend_usd") >= 0,
                pl.col("high_usd") >= pl.max_horizontal(PRICES),
                pl.col("low_usd") <= pl.min_horizontal(PRICES),
                pl.col("session_date") <= pl.lit(FETCHED_ON).str.to_date(),
            )
            .sort("instrument", "week_start_date")
            .collect()
            .write_parquet(out / f"{key}.parquet", compression="zstd", compression_level=3)
        )


def floor(lake: Path, out: Path) -> None:
    """Reading with declared types and writing."""
    import polars as pl

    types = {**dict.fromkeys(NAMES, pl.Float64), "timestamp": pl.Date, "volume": pl.Int64}
    for key, paths in slices(lake):
        frame = pl.concat([pl.read_csv(path, schema=types) for path in paths])
        frame.rename(NAMES).write_parquet(out / f"{key}.parquet", compression="zstd", compression_level=3)


CONTESTANTS = {
    "pandas": (by_pandas, ("pandas", "pyarrow.parquet")),
    "polars": (by_polars, ("polars",)),
    "floor": (floor, ("polars",)),
}

if __name__ == "__main__":
    take(CONTESTANTS)
