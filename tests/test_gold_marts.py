"""The marts of daily bars: weeks and months of real prices against an independent computation, and providers that
disagree. One real dbt build over a lake of Parquet files, no part of it mocked."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import shutil
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

import gold_daily_lake as lake
import gold_daily_oracle as oracle
from gold_dbt import run_dbt
from market_pipeline import catalog, providers, seeding

pytestmark = [pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-9
CADENCES = {
    "week": {"period_of": oracle.week_of, "minimum_returns": 3, "window": 52, "per_year": 52},
    "month": {"period_of": oracle.month_of, "minimum_returns": 10, "window": 36, "per_year": 12},
}
# What the windows of each cadence are called.
WINDOWS = {
    "week": {
        "volatility": "volatility_52w_ratio", "return_zscore": "return_zscore_52w", "volume_zscore": "volume_zscore_52w"
    },
    "month": {
        "volatility": "volatility_36m_ratio", "return_zscore": "return_zscore_36m", "volume_zscore": "volume_zscore_36m"
    },
}  # fmt: skip
EXPECTED_WARNINGS = {
    "fact_adjusted_prices_not_empty",  # this lake has no weekly bars
    "fact_daily_price_unusual",
    "mart_adjustment_check_vendors_agree",
    "mart_reconciliation_no_split_is_missed",
}
# What is done to a finished build, and the test that has to fail on it.
DAMAGE = (
    (
        "update agg_stock_weekly_metrics set high_usd = high_usd * 1.001 where symbol = 'IBM'",
        "periods_follow_their_sessions",
    ),
    (
        "update agg_stock_monthly_metrics set session_count = 99 where symbol = 'IBM'",
        "agg_stock_monthly_metrics_rules",
    ),
    ("update mart_reconciliation set verdict = 'agrees' where provider = 'fmp'", "mart_reconciliation_rules"),
    ("delete from mart_reconciliation where symbol = 'VOTE'", "every_contested_session_is_reconciled"),
    ("update mart_provider_score set agreeing_count = 0", "mart_provider_score_rules"),
    ("update mart_restatement set cadence = 'month'", "mart_restatement_rules"),
    ("update mart_coverage set outcome = 'gossip'", "mart_coverage_rules"),
    ("update mart_coverage set outcome = 'missing', reason = ''", "mart_coverage_rules"),
    ("insert into mart_coverage select * from mart_coverage limit 1", "mart_coverage_key"),
    ("update agg_sector_performance set price_source = sector || week_start_date", "agg_sector_performance_rules"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Build:
    """One finished build: its database with the published views and macros, dbt's results, the real bars."""

    folder: Path
    project: Path
    connection: duckdb.DuckDBPyConnection
    results: Mapping[str, Mapping[str, Any]]
    bars: Mapping[str, list[lake.Bar]]

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Rows of a query as mappings."""
        cursor = self.connection.execute(sql, list(parameters))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def one(self, sql: str, *parameters: object) -> dict[str, Any]:
        """The only row of a query."""
        (row,) = self.rows(sql, *parameters)
        return row


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """Everything once; dbt's unit tests run elsewhere."""
    folder = tmp_path_factory.mktemp("gold_marts")
    project = folder / "dbt"
    shutil.copytree(REPOSITORY / "dbt", project, ignore=shutil.ignore_patterns("target", "logs"))
    catalog.write(providers.load(), project, folder / "docs")
    lake.write(folder / "lake")
    results = run_dbt(project, folder, "build", "--exclude-resource-type", "unit_test")
    with duckdb.connect(str(folder / "build" / seeding.BUILD)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for file in sorted((project / "published").rglob("*.sql"), reverse=True):
            connection.execute(file.read_text(encoding="utf-8"))
        yield Build(folder, project, connection, results, lake.real_bars())


def exchange_sessions(build: Build) -> list[dt.date]:
    """Sessions of the real years: those of IBM, which never paused, and the ends of its first week and last month."""
    march = [dt.date(2013, 3, day) for day in range(1, 32)]
    ends = [dt.date(2000, 2, 28), dt.date(2000, 2, 29)]
    ends += [day for day in march if day.weekday() < 5 and day != dt.date(2013, 3, 29)]  # Good Friday
    return sorted({bar.day for bar in build.bars["IBM"]} | set(ends))


def is_close(ours: object, theirs: object) -> bool:
    """Equal, both missing, or within the tolerance."""
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=1e-12)
    return ours == theirs


def week(build: Build, symbol: str, monday: str) -> dict[str, Any]:
    """One row of the weekly table."""
    return build.one("select * from agg_stock_weekly_metrics where symbol = ? and week_start_date = ?", symbol, monday)


def month(build: Build, symbol: str, first: str) -> dict[str, Any]:
    """One row of the monthly table."""
    return build.one("select * from agg_stock_monthly_metrics where symbol = ? and month_start_date = ?", symbol, first)


def test_build_passes_and_names_what_is_unusual(build: Build) -> None:
    bad = {name: item["status"] for name, item in build.results.items() if item["status"] not in ("success", "pass")}
    assert set(bad.values()) == {"warn"}
    assert set(bad) == EXPECTED_WARNINGS


@pytest.mark.parametrize("cadence", ["week", "month"])
@pytest.mark.parametrize("symbol", sorted(lake.REAL))
def test_periods_of_real_prices_equal_the_oracles(build: Build, symbol: str, cadence: str) -> None:
    theirs = oracle.periods(build.bars[symbol], exchange_sessions(build), listed=lake.REAL[symbol], **CADENCES[cadence])
    ours = build.rows(
        f"select * from agg_stock_{cadence}ly_metrics where symbol = ? order by {cadence}_start_date", symbol
    )
    assert len(ours) == len(theirs) > 9
    names = {"start_date": f"{cadence}_start_date", "is_partial": f"is_partial_{cadence}", **WINDOWS[cadence]}
    for mine, yours in zip(ours, theirs, strict=True):
        for column, value in yours.items():
            name = names.get(column, column)
            assert is_close(mine[name], value), (symbol, mine[f"{cadence}_start_date"], name, mine[name], value)


def test_windows_have_values_where_the_history_is_long(build: Build) -> None:
    counts = build.one(
        "select count(*) as n, count(volatility_52w_ratio) as v, count(return_zscore_52w) as r, "
        "count(volume_zscore_52w) as s from agg_stock_weekly_metrics where symbol = 'IBM'"
    )
    # The first week has no return: the 27th is the first with 26 of them, and the 26th the first with 26 weeks.
    assert counts == {"n": 679, "v": 653, "r": 653, "s": 654}
    counts = build.one(
        "select count(*) as n, count(volatility_36m_ratio) as v, count(return_zscore_36m) as r, "
        "count(volume_zscore_36m) as s from agg_stock_monthly_metrics where symbol = 'IBM'"
    )
    assert counts == {"n": 157, "v": 139, "r": 139, "s": 140}


@pytest.mark.parametrize(
    ("symbol", "monday", "count", "expected", "is_partial", "has_gap"),
    [
        ("IBM", "2001-09-03", 4, 4, False, False),  # Labor Day
        ("IBM", "2001-09-10", 1, 1, False, False),  # closed from the 11th to the 14th
        ("IBM", "2001-09-17", 5, 5, False, False),
        ("AAPL", "2012-10-29", 3, 3, False, False),  # closed on the 29th and 30th
        ("MSFT", "2004-06-07", 4, 4, False, False),  # closed on Friday the 11th
        ("MSFT", "2006-12-25", 4, 4, False, False),
        ("MSFT", "2007-01-01", 3, 3, False, False),  # New Year, and closed on the 2nd
        ("IBM", "2012-04-02", 4, 4, False, False),  # Good Friday
        ("IBM", "2012-11-19", 4, 4, False, False),  # Thanksgiving and a half day
        ("IBM", "2000-02-28", 3, 5, False, True),  # the data begin on Wednesday, the listing did not
        ("GOOG", "2004-08-16", 2, 2, False, False),  # listed on Thursday
        ("FB", "2012-05-14", 1, 1, False, False),  # listed on Friday
        ("IBM", "2013-02-25", 5, 5, False, False),
        ("CENT", "2026-10-26", 5, 5, False, False),
    ],
)
def test_weeks_around_holidays_and_listings(
    build: Build, symbol: str, monday: str, count: int, expected: int, *, is_partial: bool, has_gap: bool
) -> None:
    row = week(build, symbol, monday)
    assert (row["session_count"], row["expected_session_count"]) == (count, expected)
    assert (row["is_partial_week"], row["has_gap"]) == (is_partial, has_gap)


def test_the_running_month_is_partial(build: Build) -> None:
    row = month(build, "AAPL", "2013-03-01")
    assert (row["session_count"], row["expected_session_count"], row["is_partial_month"], row["has_gap"]) == (
        1, 20, True, False,
    )  # fmt: skip
    whole = month(build, "AAPL", "2013-02-01")
    assert (whole["session_count"], whole["is_partial_month"], whole["has_gap"]) == (19, False, False)


def test_a_holiday_week_ends_on_its_last_session_and_follows_the_one_before(build: Build) -> None:
    before, short, after = (week(build, "IBM", monday) for monday in ("2001-09-03", "2001-09-10", "2001-09-17"))
    assert short["session_date"] == short["first_session_date"] == dt.date(2001, 9, 10)
    assert short["total_return_ratio"] == pytest.approx(short["close_usd"] / before["close_usd"] - 1, rel=1e-12)
    assert after["total_return_ratio"] == pytest.approx(after["close_usd"] / short["close_usd"] - 1, rel=1e-12)
    assert short["realised_volatility_ratio"] is None  # one return has no deviation


def test_a_split_inside_a_week_is_in_the_basis_of_its_last_session(build: Build) -> None:
    """Apple split 2 for 1 on Wednesday 2000-06-21: Monday and Tuesday were traded at twice the price."""
    row = week(build, "AAPL", "2000-06-19")
    bars = [bar for bar in build.bars["AAPL"] if dt.date(2000, 6, 19) <= bar.day <= dt.date(2000, 6, 23)]
    monday, tuesday, *after = bars
    assert row["open_usd"] == monday.open / 2
    assert row["high_usd"] == max(monday.high / 2, tuesday.high / 2, *(bar.high for bar in after))
    assert row["low_usd"] == min(monday.low / 2, tuesday.low / 2, *(bar.low for bar in after))
    assert row["volume_shares"] == 2 * (monday.volume + tuesday.volume) + sum(bar.volume for bar in after)
    assert row["split_ratio"] == 2
    assert abs(row["total_return_ratio"]) < 0.2


@pytest.mark.parametrize("cadence", ["week", "month"])
def test_total_returns_are_those_of_the_vendors_adjusted_closes(build: Build, cadence: str) -> None:
    """The vendor's own adjusted closes took no part in the build but through the dividends. Where none was paid their
    ratios are our returns; where one was, the two formulas differ by its size times the day's move."""
    period_of = CADENCES[cadence]["period_of"]
    checked = 0
    for symbol, bars in build.bars.items():
        last = {period_of(bar.day): bar for bar in bars}  # type: ignore[operator]
        ours = build.rows(
            f"select {cadence}_start_date as start, total_return_ratio as total, dividend_usd / close_usd as paid "
            f"from agg_stock_{cadence}ly_metrics where symbol = ? order by 1",
            symbol,
        )
        for old, row in pairwise(ours):
            theirs = last[row["start"]].adjusted / last[old["start"]].adjusted - 1
            assert abs(row["total"] - theirs) <= 1e-9 + 0.1 * row["paid"], (symbol, row, theirs)
            checked += row["paid"] == 0
    assert checked > (2000 if cadence == "week" else 400)


def test_levels_of_the_views_are_adjusted_to_the_newest_bar(build: Build) -> None:
    rows = build.rows("select * from weekly_price where symbol = 'AAPL' order by week_start_date")
    by_date = {row["week_start_date"]: row for row in rows}
    first, between = by_date[dt.date(2000, 3, 6)], by_date[dt.date(2004, 6, 7)]
    assert first["split_adjusted_close_usd"] == first["close_usd"] / 4  # before both splits
    assert between["split_adjusted_high_usd"] == between["high_usd"] / 2
    assert between["split_adjusted_volume_shares"] == between["volume_shares"] * 2
    newest = rows[-1]
    assert newest["total_return_close_usd"] == newest["split_adjusted_close_usd"] == newest["close_usd"]
    for old, row in pairwise(rows):
        grown = row["total_return_close_usd"] / old["total_return_close_usd"] - 1
        assert grown == pytest.approx(row["total_return_ratio"], abs=1e-12)
    months = build.rows("select * from monthly_price where symbol = 'IBM' order by month_start_date")
    assert months[0]["split_adjusted_close_usd"] == months[0]["close_usd"]
    assert months[0]["total_return_close_usd"] < months[0]["close_usd"]


def test_sectors_come_from_daily_bars_where_no_weekly_ones_are(build: Build) -> None:
    assert build.rows("select distinct price_source from agg_sector_performance") == [
        {"price_source": "agg_stock_weekly_metrics"}
    ]
    row = build.one("select * from agg_sector_performance where week_start_date = '2012-10-29'")
    weeks = build.rows("select * from agg_stock_weekly_metrics where week_start_date = '2012-10-29'")
    assert row["instrument_count"] == len(weeks) == 5
    returns = [week["total_return_ratio"] for week in weeks]
    assert row["average_return_ratio"] == pytest.approx(math.fsum(returns) / 5, rel=1e-12)


def reconciled(build: Build, symbol: str, session: dt.date, measure: str) -> dict[str, tuple[Any, ...]]:
    """Verdict, likely split and winner by provider."""
    rows = build.rows(
        "select * from mart_reconciliation where symbol = ? and session_date = ? and measure = ?",
        symbol, session, measure,
    )  # fmt: skip
    return {row["provider"]: (row["verdict"], row["likely_split_ratio"], row["winner_provider"]) for row in rows}


def test_a_provider_that_adjusted_too_early_missed_the_split_and_a_cent_agrees(build: Build) -> None:
    """CENT, at 100 USD: fmp has the prices of after the split before it; alpha_vantage is one cent off."""
    before, after = dt.date(2026, 10, 16), dt.date(2026, 10, 22)
    assert reconciled(build, "CENT", before, "close_usd") == {
        lake.POLYGON: ("agrees", None, lake.POLYGON),
        lake.FMP: ("missed_split", 2.0, lake.POLYGON),
        lake.VANTAGE: ("agrees", None, lake.POLYGON),
    }
    assert reconciled(build, "CENT", before, "volume_shares")[lake.FMP] == ("missed_split", 2.0, lake.POLYGON)
    assert {verdict for verdict, _, _ in reconciled(build, "CENT", after, "close_usd").values()} == {"agrees"}
    cent = build.one(
        "select * from mart_reconciliation where symbol = 'CENT' and session_date = ? and measure = 'close_usd' "
        "and provider = 'alpha_vantage'",
        before,
    )
    assert cent["difference_ratio"] == pytest.approx(0.01 / lake.base_close("CENT", before), rel=1e-9)
    assert cent["tolerance_ratio"] == 0.001


def test_two_that_agree_outvote_the_preferred_provider(build: Build) -> None:
    """VOTE: polygon, which is preferred, is at four times the price of the other two; VOTE never split."""
    day = dt.date(2026, 10, 16)
    assert reconciled(build, "VOTE", day, "close_usd") == {
        lake.POLYGON: ("missed_split", 4.0, lake.FMP),
        lake.FMP: ("agrees", None, lake.FMP),
        lake.VANTAGE: ("agrees", None, lake.FMP),
    }
    fact = build.one("select * from fact_daily_price where symbol = 'VOTE' and session_date = ?", day)
    assert (fact["provider"], fact["close_usd"]) == (lake.FMP, lake.base_close("VOTE", day))


def test_a_cent_on_a_cheap_stock_is_beyond_the_tolerance(build: Build) -> None:
    """PENY, at 2 USD: a cent is half a percent."""
    found = reconciled(build, "PENY", dt.date(2026, 10, 16), "close_usd")
    assert found == {
        lake.POLYGON: ("agrees", None, lake.POLYGON),
        lake.FMP: ("agrees", None, lake.POLYGON),
        lake.VANTAGE: ("differs", None, lake.POLYGON),
    }


def test_providers_are_scored_per_instrument(build: Build) -> None:
    rows = build.rows("select * from mart_provider_score")
    found = {(row["symbol"], row["provider"]): row for row in rows}
    days = lake.sessions(lake.FIRST, lake.LAST)
    early = sum(day < lake.SPLIT_DATE for day in days)
    asked = len(days) - 1  # fmp was refused on one session
    fmp = found["CENT", lake.FMP]
    assert (fmp["session_count"], fmp["missed_split_count"]) == (asked, 5 * early)
    assert fmp["provider_score"] == pytest.approx(1 - early / asked)
    assert found["CENT", lake.POLYGON]["provider_score"] == found["CENT", lake.VANTAGE]["provider_score"] == 1
    assert found["VOTE", lake.FMP]["won_session_count"] == asked
    # On the session that fmp lacks the two that remain disagree, and the preferred one wins without support.
    vote = found["VOTE", lake.POLYGON]
    assert (vote["won_session_count"], vote["confirmed_ratio"]) == (1, 0)
    assert vote["provider_score"] == pytest.approx(1 / len(days))
    # The volumes agree within 2 %, the four prices are a cent off.
    assert found["PENY", lake.VANTAGE]["provider_score"] == pytest.approx(0.2)


def test_vendors_adjusted_closes_are_checked_against_our_factors(build: Build) -> None:
    """alpha_vantage adjusts CENT as we do. fmp's split-adjusted rows are right too, but its raw ones, off by the split,
    times our factor are not."""
    rows = build.rows("select * from mart_adjustment_check where symbol = 'CENT' order by session_date")
    by_vendor = {name: [row for row in rows if row["provider"] == name] for name in (lake.VANTAGE, lake.FMP)}
    assert all(row["is_equal"] for row in by_vendor[lake.VANTAGE])
    assert {row["adjustment_ratio"] for row in by_vendor[lake.VANTAGE]} == {0.5, 1.0}
    unequal = [row["session_date"] for row in by_vendor[lake.FMP] if not row["is_equal"]]
    assert unequal == [day for day in lake.sessions(lake.FIRST, lake.LAST) if day < lake.SPLIT_DATE]


def test_a_moved_action_counts_once_and_on_its_new_day(build: Build) -> None:
    """MOVE: a reverse split that was put off by a week, within its month, and a dividend that went into the next."""
    rows = build.rows("select * from fact_corporate_action where symbol = 'MOVE' order by effective_date")
    found = [(row["action_type"], row["effective_date"], row["provider"], row["known_from"]) for row in rows]
    assert found == [
        ("split", dt.date(2026, 10, 27), lake.POLYGON, lake.MOVED_AT),
        ("dividend", dt.date(2026, 11, 4), lake.POLYGON, lake.MOVED_AT),
    ]
    assert (rows[0]["split_ratio"], rows[0]["provider_count"], rows[0]["agreeing_provider_count"]) == (0.5, 2, 2)
    prices = build.rows("select * from fact_daily_price where symbol = 'MOVE' order by session_date")
    # Eleven sessions from 12 to 26 October, four from 27 to 30 October.
    assert [row["split_factor"] for row in prices] == [1.0] * 11 + [0.5] * 4
    assert [row["total_factor"] for row in prices] == [1.0] * 11 + [0.5] * 4
    assert all(0.004 < row["total_return_ratio"] < 0.006 for row in prices[1:])  # half a dollar on a hundred


def test_a_listing_in_the_users_own_file_is_one_instrument(build: Build) -> None:
    """`symbols add` writes a listing of the roster into the file under the id that it has there."""
    listing = build.one("select * from int_listing where symbol = ?", lake.OWN)
    assert (listing["instrument_id"], listing["is_in_universe"]) == (lake.instrument_id(lake.OWN), True)
    rows = build.rows(
        "select * from dim_instrument where instrument_id = ? or symbol = ?", listing["instrument_id"], lake.OWN
    )
    assert [
        (row["instrument_id"], row["symbol"], row["name"], row["identity_source"], row["is_current"]) for row in rows
    ] == [(lake.instrument_id(lake.OWN), lake.OWN, "Owned Inc", "universe", True)]


def test_a_corrected_session_keeps_both_values(build: Build) -> None:
    row = build.one(
        "select * from mart_restatement where symbol = 'CORR' and session_date = ? and measure = 'close'",
        lake.CORRECTED,
    )
    close = lake.base_close("CORR", lake.CORRECTED)
    assert (row["cadence"], row["week_start_date"], row["provider"]) == ("day", None, lake.POLYGON)
    assert (row["old_value"], row["new_value"]) == (pytest.approx(close * 1.02), close)
    assert (row["first_seen_at"], row["cause"]) == (lake.CORRECTED_AT, "correction")
    changed = build.rows("select distinct symbol, session_date from mart_restatement")
    assert changed == [{"symbol": "CORR", "session_date": lake.CORRECTED}]


def asof(build: Build, symbol: str, day: dt.date, known_at: dt.datetime) -> dict[str, Any]:
    """The bar that `prices_asof` gives."""
    return build.one("select * from prices_asof(?, ?) where symbol = ?", day, known_at, symbol)


def test_asof_gives_the_close_of_before_a_correction_and_of_after(build: Build) -> None:
    close = lake.base_close("CORR", lake.CORRECTED)
    instant = dt.timedelta(microseconds=1)
    early = asof(build, "CORR", lake.CORRECTED, lake.CORRECTED_AT - instant)
    late = asof(build, "CORR", lake.CORRECTED, lake.CORRECTED_AT)
    assert (early["provider"], early["close_usd"], early["version_number"]) == (
        lake.POLYGON, pytest.approx(close * 1.02), 1,
    )  # fmt: skip
    assert (late["provider"], late["close_usd"], late["version_number"]) == (lake.POLYGON, close, 2)


def test_asof_falls_back_to_a_provider_that_was_known_by_then(build: Build) -> None:
    early = asof(build, "CORR", lake.LATE, lake.LATE_AT - dt.timedelta(microseconds=1))
    late = asof(build, "CORR", lake.LATE, lake.LATE_AT)
    assert (early["session_date"], early["provider"]) == (lake.LATE, lake.FMP)
    assert (late["session_date"], late["provider"]) == (lake.LATE, lake.POLYGON)
    assert not build.rows("select * from prices_asof(?, '2013-03-01 22:59:59')", lake.LAST)


def test_history_asof_now_is_the_fact(build: Build) -> None:
    """What is known now, chosen by the fact's rule, is the fact: session by session and provider by provider."""
    different = build.one(
        "select count(*) as n from price_history_asof(?) as h full join fact_daily_price as f "
        "on h.instrument_id = f.instrument_id and h.session_date = f.session_date "
        "where h.provider is distinct from f.provider or h.close_usd is distinct from f.close_usd",
        lake.AS_OF,
    )
    assert different == {"n": 0}
    bars = build.rows("select * from prices_asof(?, ?)", lake.LAST, lake.AS_OF)
    assert len(bars) == len(lake.REAL) + len(lake.MARKET)


def test_coverage_names_every_gap_of_a_session_feed(build: Build) -> None:
    days = lake.sessions(lake.FIRST, lake.LAST)
    rows = build.rows("select * from mart_coverage where dataset in ('grouped_daily', 'eod_raw')")
    assert len(rows) == 2 * len(days) * len(lake.MARKET)
    gaps = {
        (row["dataset"], row["symbol"], row["slice_start_date"], row["outcome"], row["reason"])
        for row in rows
        if not row["is_complete"]
    }
    assert gaps == {
        ("grouped_daily", "HOLE", lake.GAP, "missing", "no_bar"),
        *(("eod_raw", symbol, lake.REFUSED, "refused", "plan") for symbol in lake.MARKET),
    }
    assert all(row["outcome"] == "fetched" for row in rows if row["is_complete"])


def test_the_week_of_a_gap_says_so(build: Build) -> None:
    """Other providers have HOLE's session, so the fact has no gap; a provider's own gap is the coverage's business."""
    row = week(build, "HOLE", "2026-10-19")
    assert (row["session_count"], row["has_gap"]) == (5, False)


def test_published_views_equal_the_audited_models(build: Build) -> None:
    for name in ("weekly_price", "monthly_price"):
        compiled = build.folder / "target" / "compiled" / "market_pipeline" / "models" / "marts" / f"{name}.sql"
        query = compiled.read_text(encoding="utf-8")
        assert build.rows(f"select * from ({query}) except all select * from {name}") == []


@pytest.mark.parametrize(("damage", "test"), DAMAGE)
def test_the_audit_sees_damage(damaged: Mapping[str, str], damage: str, test: str) -> None:
    assert damaged[damage] == test


@pytest.fixture(scope="module")
def damaged(build: Build) -> Mapping[str, str]:
    """For each kind of damage the test that fails on it; all are done to one copy."""
    build.connection.execute("checkpoint")
    (build.folder / "damaged").mkdir()
    copy = build.folder / "damaged" / seeding.BUILD
    build.connection.execute(f"attach '{copy}' as damaged")
    build.connection.execute("copy from database build to damaged")
    build.connection.execute("detach damaged")
    with duckdb.connect(str(copy)) as connection:
        for damage, _ in DAMAGE:
            connection.execute(damage)
    selected = sorted({test for _, test in DAMAGE})
    results = run_dbt(build.project, build.folder, "test", "--select", *selected, work="damaged")
    return {damage: test for damage, test in DAMAGE if results[test]["status"] == "fail"}
