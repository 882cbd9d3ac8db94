"""A small published warehouse: every gold table with plausible rows of a fictional market, without dbt or a lake.

Over 300 lines because a market is one thing: its walk, its tables and its health must agree.
Numbers come from a seeded walk, derived columns from SQL written here, so that the dashboard and the reader are tested
against something that none of our models made. Run as a script it publishes in a loop, for tests that kill it:
`python warehouse_fixture.py BUILD.duckdb WAREHOUSE`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from market_pipeline.warehouse import (
    DatasetHealth,
    FailedCheck,
    Generation,
    Health,
    LastRun,
    Problem,
    ProviderQuota,
    Warehouse,
)

NOW = dt.datetime(2026, 11, 21, 6, 30, tzinfo=dt.UTC)
LAST_SESSION = dt.date(2026, 11, 20)
WEEKS = 210
DAILY_WEEKS = 110
TABLES = (
    "dim_date",
    "dim_instrument",
    "dim_symbol_history",
    "dim_price_anchor",
    "dim_source",
    "fact_adjusted_prices",
    "fact_price_version",
    "fact_daily_price",
    "fact_daily_price_version",
    "fact_corporate_action",
    "agg_stock_weekly_metrics",
    "agg_stock_monthly_metrics",
    "agg_sector_performance",
    "mart_adjustment_check",
    "mart_coverage",
    "mart_provider_score",
    "mart_quarantine",
    "mart_reconciliation",
    "mart_restatement",
)
STATEMENTS = (
    """create view dim_stock as
       select i.* exclude (valid_from, valid_to, is_current, attribute_source),
           1e9 * (1 + hash(instrument_id) % 900) as market_capitalization, 18.5 as pe_ratio, 1.1 as beta,
           0.012 as dividend_yield_ratio, 5e8 as shares_outstanding,
           timestamptz '2026-11-20 22:10:00+00' as profile_known_at
       from dim_instrument as i where i.is_current""",
    "comment on view dim_stock is 'One instrument as it is today.'",
    *(
        f"""create macro {prefix}price_history_asof(known_at) as table
            select * from {table}
            where known_from <= known_at and (known_to is null or known_at < known_to)
            qualify row_number() over (partition by instrument_id, session_date order by provider_rank) = 1"""
        for prefix, table in (("", "fact_daily_price_version"), ("weekly_", "fact_price_version"))
    ),
    *(
        f"""create macro {prefix}prices_asof(day, known_at) as table
            select * from {prefix}price_history_asof(known_at) where session_date <= day
            qualify row_number() over (partition by instrument_id order by session_date desc) = 1"""
        for prefix in ("", "weekly_")
    ),
    """create view daily_price as
       with newest as (select instrument_id, split_factor as s, total_factor as t from dim_price_anchor)
       select f.*, open_usd * split_factor / s as split_adjusted_open_usd,
           high_usd * split_factor / s as split_adjusted_high_usd, low_usd * split_factor / s as split_adjusted_low_usd,
           close_usd * split_factor / s as split_adjusted_close_usd,
           volume_shares / split_factor * s as split_adjusted_volume_shares,
           close_usd * total_factor / t as total_return_close_usd, average_20d_anchored_usd / s as average_20d_usd,
           average_50d_anchored_usd / s as average_50d_usd, average_120d_anchored_usd / s as average_120d_usd,
           average_200d_anchored_usd / s as average_200d_usd, high_252d_anchored_usd / s as high_252d_usd,
           low_252d_anchored_usd / s as low_252d_usd
       from fact_daily_price as f join newest using (instrument_id)""",
    *(
        f"""create view {name} as
            with newest as (select instrument_id, split_factor as s, total_factor as t from dim_price_anchor)
            select m.* exclude (split_factor, total_factor, average_volume_shares),
                open_usd * split_factor / s as split_adjusted_open_usd,
                high_usd * split_factor / s as split_adjusted_high_usd,
                low_usd * split_factor / s as split_adjusted_low_usd,
                close_usd * split_factor / s as split_adjusted_close_usd,
                volume_shares / split_factor * s as split_adjusted_volume_shares,
                close_usd * total_factor / t as total_return_close_usd
            from {table} as m join newest using (instrument_id)"""
        for name, table in (
            ("weekly_price", "agg_stock_weekly_metrics"),
            ("monthly_price", "agg_stock_monthly_metrics"),
        )
    ),
)
# symbol, name, asset class, sector, price, weekly volatility, volume, weeks of history, weeks since delisting
FOLLOWED = (
    ("ORCA", "Orca Robotics", "stock", "Technology", 118.0, 0.045, 2.4e7, WEEKS, 0),
    ("WREN", "Wren Semiconductors", "stock", "Technology", 61.0, 0.06, 4.5e7, WEEKS, 0),
    ("IBEX", "Ibex Software", "stock", "Technology", 240.0, 0.035, 8e6, WEEKS, 0),
    ("LYNX", "Lynx Banking Group", "stock", "Financial Services", 44.0, 0.028, 6.4e7, WEEKS, 0),
    ("TERN", "Tern Insurance", "stock", "Financial Services", 87.0, 0.022, 1.4e7, WEEKS, 0),
    ("KIWI", "Kiwi Foods", "stock", "Consumer Defensive", 52.0, 0.018, 2.2e7, WEEKS, 0),
    ("MOTH", "Moth Apparel", "stock", "Consumer Cyclical", 33.0, 0.05, 4.1e7, WEEKS, 0),
    ("DRAY", "Dray Motors", "stock", "Consumer Cyclical", 19.0, 0.07, 1.8e8, WEEKS, 0),
    ("ELKO", "Elko Energy", "stock", "Energy", 71.0, 0.038, 3.6e7, WEEKS, 0),
    ("PUMA", "Puma Therapeutics", "stock", "Healthcare", 29.0, 0.055, 2.7e7, WEEKS, 0),
    ("SEAL", "Seal Devices", "stock", "Healthcare", 154.0, 0.026, 1.1e7, WEEKS, 0),
    ("NEWT", "Newt Networks", "stock", "Communication Services", 12.0, 0.08, 5.5e7, 31, 0),
    ("DODO", "Dodo Airlines", "stock", "Industrials", 8.0, 0.06, 2.9e7, WEEKS - 40, 40),
    ("FICT", "Fictional 500 Fund", "etf", None, 410.0, 0.02, 7.2e7, WEEKS, 0),
)
# Of the market's roster: daily bars from one provider, no weekly feed, no profile. One bore a followed symbol before.
ROSTER = (
    ("ZEBU", "Zebu Mining", "stock", None, 14.0, 0.05, 3e7, 60, 0),
    ("YAKS", "Yaks Logistics", "stock", None, 88.0, 0.04, 2e6, 60, 0),
    ("LYNX", "Lynx Entertainment", "stock", None, 5.0, 0.06, 1e6, 30, 70),
)
MARKET = FOLLOWED + ROSTER
WEEKLY_ONLY = ("DODO",)
_COLUMNS = (
    *("instrument_id", "symbol", "week_start_date", "session_date", "open_usd", "high_usd", "low_usd", "close_usd"),
    *("adjusted_close_usd", "volume_shares", "dividend_usd"),
)
_DAY_COLUMNS = (
    *("instrument_id", "symbol", "session_date", "open_usd", "high_usd", "low_usd", "close_usd", "volume_shares"),
    *("dividend_usd", "split_ratio"),
)
_INPUT = """
create table days (
    instrument_id varchar, symbol varchar, session_date date, open_usd double, high_usd double, low_usd double,
    close_usd double, volume_shares double, dividend_usd double, split_ratio double
);
create table bars (
    instrument_id varchar, symbol varchar, week_start_date date, session_date date, open_usd double, high_usd double,
    low_usd double, close_usd double, adjusted_close_usd double, volume_shares bigint, dividend_usd double
);
create table members (
    instrument_id varchar, symbol varchar, name varchar, asset_class varchar, sector varchar, listed_date date,
    delisted_date date, is_followed boolean
);
"""


def identity(symbol: str, *, is_followed: bool = True) -> str:
    """A stable instrument id for a fictional symbol; the roster's have their own, as reused tickers must."""
    return hashlib.sha256((symbol if is_followed else f"roster {symbol}").encode()).hexdigest()[:16]


def build(path: Path, *, seed: int = 7) -> Path:
    """Write a private build file with every gold table; another seed is another market."""
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as con:
        con.execute("set TimeZone = 'UTC'")
        con.execute(_INPUT)
        bars: list[tuple[object, ...]] = []
        days: list[tuple[object, ...]] = []
        for number, (symbol, name, kind, sector, *walk) in enumerate(MARKET):
            is_followed = number < len(FOLLOWED)
            key = identity(symbol, is_followed=is_followed)
            rows = [(key, *row) for row in _walk(random.Random(seed * 1000 + number), symbol, walk)]
            if is_followed:
                bars.extend(rows)
            if symbol not in WEEKLY_ONLY:
                days.extend(_days(random.Random(seed * 1000 + number + 500), rows, volatility=walk[1]))
            gone = walk[-1]
            con.execute(
                "insert into members values (?, ?, ?, ?, ?, ?, ?, ?)",
                [key, symbol, name, kind, sector, rows[0][3], rows[-1][3] if gone else None, is_followed],
            )
        for table, columns, rows in (("bars", _COLUMNS, bars), ("days", _DAY_COLUMNS, days)):
            con.register("walked", pa.table([list(column) for column in zip(*rows, strict=True)], names=columns))
            con.execute(f"insert into {table} by name from walked")
            con.unregister("walked")
            con.execute(f"delete from {table} where symbol = 'SEAL' and session_date = ?", [LAST_SESSION])  # deferred
        for name in ("warehouse_fixture.sql", "warehouse_fixture_daily.sql"):
            con.execute(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return path


def publish(
    folder: Path, *, build_db: Path | None = None, profile: str = "demo", is_partial: bool = False
) -> Generation:
    """Publish the fixture's market to `folder` as its next generation, with the health that goes with it."""
    source = build_db or build(folder.parent / f"{folder.name}-build.duckdb")
    warehouse = Warehouse(folder)
    missing = [
        {
            "provider": "alpha_vantage",
            "dataset": "weekly_adjusted",
            "symbol": "SEAL",
            "outcome": "deferred",
            "reason": "quota",
        }
    ]
    record = warehouse.publish(
        source,
        tables=TABLES,
        statements=STATEMENTS,
        newest={"bars_daily": "2026-11-20", "bars_weekly_adjusted": "2026-11-20", "company_profile": "2026-11-20"},
        is_partial=is_partial,
        missing=missing if is_partial else [],
        inputs_sha256="0" * 64,
        profile=profile,
        now=NOW,
    )
    warehouse.write_health(health(record.generation, profile=profile))
    return record


def health(generation: str | None, *, profile: str = "demo", has_failed: bool = False) -> Health:
    """A run's health: green, or with one failed blocking check."""
    failed = FailedCheck(
        name="assert_return_matches_closes",
        model="fact_adjusted_prices",
        message="Got 2 results, configured to fail if != 0",
        failures=2,
        severity="error",
    )
    return Health(
        written_at=NOW.isoformat(),
        as_of=NOW.isoformat(),
        profile=profile,
        generation=generation,
        last_run=LastRun(
            target="all",
            started_at=(NOW - dt.timedelta(seconds=48)).isoformat(),
            finished_at=NOW.isoformat(),
            status="failed" if has_failed else "success",
            exit_code=6 if has_failed else 0,
            error="1 blocking check failed" if has_failed else None,
        ),
        failed_checks=(failed,) if has_failed else (),
        checks_passed=141,
        checks_warned=2,
        datasets=(
            DatasetHealth(
                provider="alpha_vantage",
                dataset="weekly_adjusted",
                slice="2026-11-16",
                expected=13,
                fetched=12,
                deferred=1,
                newest_data_date="2026-11-20",
                resumes_at="2026-11-22T05:00:00+00:00",
                problems=(Problem("SEAL", "deferred", "quota"),),
            ),
            DatasetHealth(
                provider="alpha_vantage",
                dataset="overview",
                slice="2026-11-16",
                expected=12,
                fetched=11,
                empty=1,
                newest_data_date="2026-11-20",
                problems=(Problem("NEWT", "empty", "no profile"),),
            ),
            DatasetHealth(
                provider="polygon",
                dataset="grouped_daily",
                slice="2026-11-20",
                expected=1,
                fetched=1,
                newest_data_date="2026-11-20",
            ),
        ),
        quota=(
            ProviderQuota("alpha_vantage", "free", 25, 24, 1, "2026-11-22T05:00:00+00:00"),
            ProviderQuota("polygon", "free", None, 7, None, None),
        ),
        quarantined={"weekly_adjusted": 3},
        rows_by_layer={"bronze": 101, "silver": 10_932, "gold": 6_204},
        bytes_by_layer={"bronze": 48_200_000, "silver": 1_310_000, "quarantine": 20_000, "gold": 9_700_000},
    )


def _walk(rng: random.Random, symbol: str, walk: Sequence[Any]) -> list[tuple[object, ...]]:
    """Weekly bars of one instrument, oldest first: ORCA splits 2:1, KIWI and ELKO pay dividends, DRAY jumps."""
    price, volatility, volume, weeks, gone = walk
    raw: list[list[float]] = []
    close = price
    for week in range(weeks):
        jump = 0.28 if symbol == "DRAY" and week == weeks - 3 else 0.0
        opened = close * (1 + rng.gauss(0, volatility / 5))
        close = max(1.0, opened * (1 + rng.gauss(0.0018, volatility) + jump))
        high = max(opened, close) * (1 + abs(rng.gauss(0, volatility / 3)))
        low = min(opened, close) * (1 - abs(rng.gauss(0, volatility / 3)))
        shares = volume * rng.lognormvariate(0, 0.28) * (3.2 if jump else 1)
        paid = round(close * 0.008, 2) if symbol in ("KIWI", "ELKO") and week % 13 == 6 else 0.0
        raw.append([opened, high, low, close, shares, paid])
    split_at = weeks - 70 if symbol == "ORCA" else -1
    rows: list[tuple[object, ...]] = []
    factor = 1.0
    for week in range(weeks - 1, -1, -1):
        opened, high, low, close, shares, paid = raw[week]
        scale = 2.0 if week < split_at else 1.0
        friday = LAST_SESSION - dt.timedelta(weeks=weeks - 1 - week + gone)
        levels = [round(value * scale, 4) for value in (opened, high, low, close)]
        adjusted = levels[3] / scale * factor
        rows.append(
            (
                symbol,
                friday - dt.timedelta(days=4),
                friday,
                *levels,
                adjusted,
                int(shares / scale),
                paid,
            )
        )
        factor *= 1 - paid / close
    return rows[::-1]


def _days(rng: random.Random, weeks: Sequence[Any], *, volatility: float) -> list[tuple[object, ...]]:
    """Daily bars of the last weeks, as traded, whose Fridays close as the weeks do. A split is on a Monday, a dividend
    goes ex on a Wednesday."""
    rows: list[tuple[object, ...]] = []
    kept = weeks[-DAILY_WEEKS:]
    close = float(kept[0][4])
    for number, (key, symbol, monday, _, _, _, _, weekly_close, _, volume, paid) in enumerate(kept):
        is_split = symbol == "ORCA" and number == len(kept) - 70
        close = close / 2 if is_split else close
        for weekday in range(5):
            opened = close * (1 + rng.gauss(0, volatility / 8))
            drift = (weekly_close / close) ** (1 / (5 - weekday)) - 1
            noise = 0.0 if weekday == 4 else rng.gauss(0, volatility / 2.2)
            close = round(weekly_close if weekday == 4 else max(0.5, close * (1 + drift + noise)), 4)
            high = max(opened, close) * (1 + abs(rng.gauss(0, volatility / 5)))
            low = min(opened, close) * (1 - abs(rng.gauss(0, volatility / 5)))
            rows.append(
                (
                    key,
                    symbol,
                    monday + dt.timedelta(days=weekday),
                    *(round(level, 4) for level in (opened, high, low, close)),
                    float(int(volume / 5 * rng.lognormvariate(0, 0.25))),
                    paid if weekday == 2 else 0.0,
                    2.0 if is_split and weekday == 0 else 1.0,
                )
            )
    return rows


def main(build_db: Path, folder: Path) -> None:
    """Publish until killed, one line per generation on stdout."""
    while True:
        sys.stdout.write(f"{publish(folder, build_db=build_db).generation}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
