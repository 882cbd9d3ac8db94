"""Company overviews as JSON to Parquet by hand: with the contract's rules in pandas and in Polars, and without any."""

from __future__ import annotations

import json
from pathlib import Path

from peers.turn import slices, take

NUMBERS = {
    "MarketCapitalization": "market_capitalization",
    "EBITDA": "ebitda",
    "PERatio": "pe_ratio",
    "PEGRatio": "peg_ratio",
    "BookValue": "book_value_per_share",
    "DividendPerShare": "dividend_per_share",
    "DividendYield": "dividend_yield_ratio",
    "DilutedEPSTTM": "eps_diluted_ttm",
    "RevenueTTM": "revenue_ttm",
    "ProfitMargin": "profit_margin_ratio",
    "Beta": "beta",
    "SharesOutstanding": "shares_outstanding",
}
DATES = {
    "LatestQuarter": "latest_quarter_date",
    "DividendDate": "dividend_date",
    "ExDividendDate": "ex_dividend_date",
}
TEXTS = {
    "Symbol": "symbol",
    "Name": "name",
    "AssetType": "asset_type",
    "Exchange": "exchange",
    "Currency": "currency",
    "Country": "country",
    "Sector": "sector",
    "Industry": "industry",
    "CIK": "cik",
    "FiscalYearEnd": "fiscal_year_end",
}
NAMES = {**TEXTS, **NUMBERS, **DATES}
NOT_NEGATIVE = ["market_capitalization", "dividend_per_share", "dividend_yield_ratio", "shares_outstanding"]
MISSING = ["", "none", "-", "n/a", "0000-00-00"]


def by_pandas(lake: Path, out: Path) -> None:
    """Words for nothing are nothing; types, ranges and patterns; a value that does not fit its type loses its row."""
    import pandas as pd

    for key, paths in slices(lake):
        found = pd.DataFrame([json.loads(path.read_bytes()) for path in paths])[list(NAMES)].rename(columns=NAMES)
        found = found.mask(found.apply(lambda column: column.str.strip().str.lower()).isin(MISSING))
        typed = found.copy()
        for column in NUMBERS.values():
            typed[column] = pd.to_numeric(found[column], errors="coerce")
        for column in DATES.values():
            typed[column] = pd.to_datetime(found[column], format="%Y-%m-%d", errors="coerce")
        is_good = (
            ~(found.notna() & typed.isna()).any(axis=1)
            & typed["name"].notna()
            & ~typed.duplicated("symbol", keep=False)
            & ~(typed[NOT_NEGATIVE] < 0).any(axis=1)
            & (typed["shares_outstanding"].isna() | typed["shares_outstanding"].mod(1).eq(0))
            & (typed["currency"].isna() | typed["currency"].str.fullmatch(r"[A-Za-z]{3}", na=False))
            & (typed["cik"].isna() | typed["cik"].str.fullmatch(r"\d{1,10}", na=False))
        )
        kept = typed[is_good].sort_values("symbol")
        kept.to_parquet(out / f"{key}.parquet", compression="zstd", compression_level=3, index=False)


def by_polars(lake: Path, out: Path) -> None:
    """The same rules as expressions."""
    import orjson
    import polars as pl

    types = dict.fromkeys(NAMES, pl.String)
    for key, paths in slices(lake):
        found = (
            pl.DataFrame([orjson.loads(path.read_bytes()) for path in paths], schema=types)
            .rename(NAMES)
            .with_columns(
                pl.when(~pl.all().str.strip_chars().str.to_lowercase().is_in(MISSING)).then(pl.all()).name.keep()
            )
        )
        typed = found.with_columns(
            pl.col(list(NUMBERS.values())).cast(pl.Float64, strict=False),
            pl.col(list(DATES.values())).str.to_date("%Y-%m-%d", strict=False),
        )
        lost = [found[column].is_not_null() & typed[column].is_null() for column in NAMES.values()]
        kept = typed.filter(
            ~pl.any_horizontal(lost),
            pl.col("name").is_not_null(),
            pl.col("symbol").is_unique(),
            pl.all_horizontal(pl.col(NOT_NEGATIVE).ge(0).fill_null(value=True)),
            pl.col("shares_outstanding").mod(1).eq(0).fill_null(value=True),
            pl.col("currency").str.contains(r"^[A-Za-z]{3}$").fill_null(value=True),
            pl.col("cik").str.contains(r"^\d{1,10}$").fill_null(value=True),
        )
        kept.sort("symbol").write_parquet(out / f"{key}.parquet", compression="zstd", compression_level=3)


def floor(lake: Path, out: Path) -> None:
    """Reading, numbers as numbers, and writing."""
    import orjson
    import polars as pl

    types = dict.fromkeys(NAMES, pl.String)
    numbers = pl.col(list(NUMBERS.values())).cast(pl.Float64, strict=False)
    for key, paths in slices(lake):
        frame = pl.DataFrame([orjson.loads(path.read_bytes()) for path in paths], schema=types).rename(NAMES)
        frame.with_columns(numbers).write_parquet(out / f"{key}.parquet", compression="zstd", compression_level=3)


CONTESTANTS = {
    "pandas": (by_pandas, ("pandas", "pyarrow.parquet")),
    "polars": (by_polars, ("polars", "orjson")),
    "floor": (floor, ("polars", "orjson")),
}

if __name__ == "__main__":
    take(CONTESTANTS)
