"""The Compare page: levels, the peers' mean, correlations and measures, each against Polars on raw closes."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import polars as pl
import pytest

import warehouse_fixture as fixture
from dashboard_pages import frame, show, table, texts, titles, variant
from market_pipeline.warehouse import Warehouse

pytest_plugins = ("dashboard_fixtures",)

SYMBOLS = ["ORCA", "KIWI", "ELKO", "NEWT"]
YEAR_AGO = dt.date(2026, 11, 20) - dt.timedelta(weeks=53)


def levels(warehouse: Warehouse, *, is_total: bool = True) -> pl.DataFrame:
    """One column per followed instrument, by day: what a holder's share became, from raw closes."""
    raw = frame(
        warehouse,
        """select symbol, session_date as day, close_usd as close, split_ratio as split, dividend_usd as paid
           from fact_daily_price join dim_instrument using (instrument_id, symbol) where is_followed
           order by symbol, day""",
    )
    before = pl.col("close").shift(1).over("symbol") / pl.col("split")
    paid = pl.col("paid") if is_total else pl.lit(0.0)
    return raw.with_columns(level=(pl.col("close") / (before - paid)).fill_null(1.0).cum_prod().over("symbol")).pivot(
        on="symbol", index="day", values="level"
    )


def moved(ratio: float) -> str:
    """As a sentence has it."""
    return f"{'up' if ratio > 0 else 'down'} {abs(ratio) * 100:.1f} %"


@pytest.mark.parametrize(("mode", "is_total"), [("Total return", True), ("Split-adjusted", False)])
def test_lines_begin_at_100_on_the_first_common_day(market: Warehouse, mode: str, is_total: bool) -> None:
    own = levels(market, is_total=is_total).filter(pl.col("day") >= YEAR_AGO).sort("day")
    base = max(own.filter(pl.col(name).is_not_null())["day"][0] for name in SYMBOLS)
    assert base > own["day"][0], "NEWT was listed within the year"
    start = own.filter(pl.col("day") == base)
    test = show("compare", symbols=SYMBOLS, prices=mode, lines_view="Table")
    rows = table(test, "base_date")
    assert {row["base_date"] for row in rows} == {base}
    for row in rows:
        (level,) = own.filter(pl.col("day") == row["bar_date"])[row["symbol"]]
        assert row["level"] == pytest.approx(100 * level / start[row["symbol"]][0], abs=1e-6)
    assert len(rows) == sum(own[name].is_not_null().sum() for name in SYMBOLS)
    gains = sorted((own[name].drop_nulls()[-1] / start[name][0] - 1, name) for name in SYMBOLS)
    (worst, worst_name), (best, best_name) = gains[0], gains[-1]
    since = f"{base.day} {base:%b %Y}"
    assert titles(test)[0] == (f"{best_name} {moved(best)} since {since}, the most of 4; {worst_name} {moved(worst)}")


def test_peers_are_the_mean_of_the_others_of_the_sector(market: Warehouse) -> None:
    own = levels(market).filter(pl.col("day") >= YEAR_AGO).sort("day").select("day", "ORCA", "WREN", "IBEX")
    moves = own.select(pl.mean_horizontal(pl.col("WREN", "IBEX").pct_change()).fill_null(0.0) + 1).to_series()
    mean = 100 * moves.cum_prod()
    test = show("compare", symbols=["KIWI", "ORCA"], subject="ORCA", peers_view="Table")
    rows = table(test, "peers_level")
    assert [row["bar_date"] for row in rows] == own["day"].to_list()
    assert [row["peers_level"] for row in rows] == pytest.approx(mean.to_list(), abs=1e-6)
    assert [row["subject_level"] for row in rows] == pytest.approx(
        (100 * own["ORCA"] / own["ORCA"][0]).to_list(), abs=1e-6
    )
    lead = rows[-1]["subject_level"] - mean[-1]
    side = "ahead of" if lead > 0 else "behind"
    assert any(title.startswith(f"ORCA is {abs(lead):.1f} points {side} the mean of 2 peers") for title in titles(test))
    assert "the other Technology stocks" in texts(test)
    fund = show("compare", symbols=["FICT"])
    assert "Peers: the stocks that are followed and listed today" in texts(fund)


def test_correlations_are_those_of_common_log_returns(market: Warehouse) -> None:
    own = levels(market).sort("day").with_columns(pl.exclude("day").log().diff())
    own = own.filter(pl.col("day") >= YEAR_AGO + dt.timedelta(7))
    test = show(
        "compare", symbols=SYMBOLS, correlation_view="Table", **{"from": (YEAR_AGO + dt.timedelta(7)).isoformat()}
    )
    rows = table(test, "other_symbol")
    assert len(rows) == 16
    for row in rows:
        pair = own.select(pl.col(row["symbol"]).alias("a"), pl.col(row["other_symbol"]).alias("b")).drop_nulls()
        assert row["return_count"] == len(pair)
        assert row["correlation"] == pytest.approx(pair.select(pl.corr("a", "b")).item(), abs=1e-9)
    pairs = {
        (row["symbol"], row["other_symbol"]): row["correlation"] for row in rows if row["symbol"] < row["other_symbol"]
    }
    most, least = max(pairs, key=lambda pair: pairs[pair]), min(pairs, key=lambda pair: pairs[pair])
    (title,) = [title for title in titles(test) if "move together most" in title]
    assert set(most) == {title.split()[0], title.split()[2]}
    assert set(least) == {title.split("; ")[1].split()[0], title.split("; ")[1].split()[2]}


def test_too_few_common_returns_have_no_correlation(market: Warehouse) -> None:
    test = show("compare", symbols=SYMBOLS, correlation_view="Table", **{"from": "2026-11-02"})
    assert "No pair has 20 returns in common in this range" in titles(test)
    assert all(math.isnan(row["correlation"]) for row in table(test, "other_symbol"))


def test_measures_are_those_of_the_levels(market: Warehouse) -> None:
    own = levels(market).filter(pl.col("day") >= YEAR_AGO).sort("day")
    rows = {
        row["symbol"]: row
        for row in table(show("compare", symbols=SYMBOLS, measures_view="Table"), "deepest_fall_ratio")
    }
    for name in SYMBOLS:
        path = own[name].drop_nulls()
        steps = path.log().diff().drop_nulls()
        assert rows[name]["return_ratio"] == pytest.approx(path[-1] / path[0] - 1, abs=1e-9)
        assert rows[name]["volatility_ratio"] == pytest.approx(steps.std() * math.sqrt(252), abs=1e-9)
        assert rows[name]["deepest_fall_ratio"] == pytest.approx((path / path.cum_max()).min() - 1, abs=1e-9)
        assert rows[name]["worst_return_ratio"] == pytest.approx(math.exp(steps.min()) - 1, abs=1e-9)


@pytest.mark.parametrize("mode", ["Split-adjusted", "Total return", "Raw"])
def test_as_of_now_equals_the_present(market: Warehouse, mode: str) -> None:
    asked = {"symbols": SYMBOLS, "prices": mode, "range": "All", "lines_view": "Table"}
    now, then = (table(show("compare", **asked, **known), "base_date") for known in ({}, {"known": "2026-11-21"}))
    assert [(row["symbol"], row["bar_date"]) for row in now] == [(row["symbol"], row["bar_date"]) for row in then]
    assert [row["level"] for row in then] == pytest.approx([row["level"] for row in now], abs=1e-9)


def test_an_earlier_knowledge_has_the_earlier_value_and_no_later_bar(market: Warehouse) -> None:
    asked = {"symbols": ["ORCA", "KIWI"], "range": "All", "lines_view": "Table"}
    now = {
        row["bar_date"]: row["level_usd"]
        for row in table(show("compare", **asked), "base_date")
        if row["symbol"] == "ORCA"
    }
    test = show("compare", **asked, known="2026-05-01")
    then = {row["bar_date"]: row["level_usd"] for row in table(test, "base_date") if row["symbol"] == "ORCA"}
    assert max(then) == dt.date(2026, 5, 1)
    corrected = dt.date(2026, 3, 6)
    assert then[corrected] == pytest.approx(now[corrected] * 0.985)
    before = dt.date(2026, 3, 5)
    assert then[before] == pytest.approx(now[before])
    assert "as known by 2 May 2026 00:00 UTC" in texts(test)
    assert "Nothing was known of these in this range" in texts(show("compare", symbols=["ORCA"], known="2019-01-01"))


def test_one_without_days_brings_all_to_weeks_and_says_so(market: Warehouse) -> None:
    test = show("compare", symbols=["ELKO", "DODO"], range="All", lines_view="Table")
    assert "DODO has no daily bars: these are weeks of the weekly feed" in texts(test)
    feed = frame(market, "select symbol, session_date, adjusted_close_usd as c from fact_adjusted_prices")
    own = {(row["symbol"], row["session_date"]): row["c"] for row in feed.iter_rows(named=True)}
    rows = table(test, "base_date")
    assert {row["symbol"] for row in rows} == {"ELKO", "DODO"}
    assert all(row["level_usd"] == pytest.approx(own[row["symbol"], row["bar_date"]]) for row in rows)
    raw = table(show("compare", symbols=["ORCA"], range="All", lines_view="Table"), "base_date")
    assert len(raw) == fixture.DAILY_WEEKS * 5


def test_the_picker_takes_any_symbol_and_suggests_for_others(market: Warehouse) -> None:
    test = show("compare", symbols=["zebu", "KIWI"])
    assert not test.exception
    assert "ZEBU" in titles(test)[0]
    unknown = show("compare", symbols=["KIWI", "robot"])
    assert "Nothing is called **robot**. One of these?" in texts(unknown)
    next(button for button in unknown.button if "Orca" in button.label).click().run()
    assert unknown.multiselect(key="symbols").value == ["KIWI", "ORCA"]
    assert "ORCA" in titles(unknown)[0]


def test_at_first_one_is_compared_with_its_peers(market: Warehouse) -> None:
    picked = show("compare").multiselect(key="symbols").value
    sectors = {row[0]: row[3] for row in fixture.FOLLOWED}
    assert len(picked) == 5
    assert [sectors[name] for name in picked].count(sectors[picked[0]]) == list(sectors.values()).count(
        sectors[picked[0]]
    )


def test_one_alone_in_its_sector_has_no_peers(market: Warehouse) -> None:
    test = show("compare", symbols=["KIWI", "ORCA"], subject="KIWI")
    assert "KIWI has no peers to be held against" in titles(test)
    assert "No other followed stock is in Consumer Defensive. `market-pipeline symbols add` follows one." in texts(test)


def test_without_a_symbol_it_asks_for_one(folder: Path, build_db: Path, warehouse: Warehouse) -> None:
    test = show("compare")
    test.multiselect(key="symbols").set_value([]).run()
    assert "Pick at least one symbol to compare." in texts(test)
    assert not test.exception
    nothing = "".join(f"delete from {name};" for name in fixture.TABLES if name != "dim_date")
    fixture.publish(folder, build_db=variant(build_db, folder, nothing))
    assert "Gold holds no prices. `market-pipeline run all` fetches them." in texts(show("compare"))
