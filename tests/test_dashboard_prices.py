"""The Prices page: intervals, adjustments, what was known when, actions, and the picker of a whole market.

Over 300 lines because the tests of a page are one file.
"""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import warehouse_fixture as fixture
from dashboard_pages import DASHBOARDS, one, show, texts, titles, variant
from market_pipeline.warehouse import Warehouse

pytest_plugins = ("dashboard_fixtures",)


def bars(**query: str) -> Any:
    """All rows of the price card."""
    return show("prices", price_view="Table", range="All", **query).dataframe[0].value


@pytest.mark.parametrize(
    ("interval", "relation", "period"),
    [
        ("Daily", "daily_price", "on the day"),
        ("Weekly", "weekly_price", "on the week"),
        ("Monthly", "monthly_price", "in the month so far"),
    ],
)
def test_titles_carry_the_actual_numbers(market: Warehouse, interval: str, relation: str, period: str) -> None:
    row = one(
        market,
        f"""select close_usd, split_return_ratio as r from {relation}
            where symbol = 'KIWI' order by session_date desc limit 1""",
    )
    assert isinstance(row["r"], float)
    moved = f"{'up' if row['r'] > 0 else 'down'} {abs(row['r']) * 100:.1f} %"
    expected = f"KIWI closed at {row['close_usd']:,.2f} on 20 Nov 2026, {moved} {period}"
    assert titles(show("prices", symbol="KIWI", bars=interval))[0] == expected


def test_a_bar_that_ended_early_is_not_so_far(folder: Path, build_db: Path) -> None:
    """ELKO stops on a Wednesday in August, as one that is halted does; the feed sees KIWI's same week up to there."""
    halted = variant(
        build_db,
        folder,
        """delete from fact_daily_price where symbol = 'ELKO' and session_date > date '2026-08-12';
           delete from agg_stock_weekly_metrics where symbol = 'ELKO' and week_start_date > date '2026-08-10';
           update agg_stock_weekly_metrics set session_date = date '2026-08-12', is_partial_week = true
           where symbol = 'ELKO' and week_start_date = date '2026-08-10';
           update fact_price_version
           set is_partial_week = true, session_date = date '2026-08-12',
               known_from = timestamptz '2026-08-12 22:00:00+00'
           where symbol = 'KIWI' and week_start_date = date '2026-08-10' and version_number = 1;""",
    )
    fixture.publish(folder, build_db=halted)
    daily = titles(show("prices", symbol="ELKO", bars="Weekly"))[0]
    assert "on 12 Aug 2026" in daily
    assert daily.endswith("on the week")
    feed = {"symbol": "KIWI", "bars": "Weekly", "weeks": "Weekly feed", "range": "All"}
    running, over = (titles(show("prices", **feed, known=day))[0] for day in ("2026-08-12", "2026-08-16"))
    assert "on 12 Aug 2026" in running
    assert "on 12 Aug 2026" in over
    assert running.endswith("in the week so far")
    assert over.endswith("on the week")


def test_a_link_reproduces_the_controls(market: Warehouse) -> None:
    test = show("prices", symbol="WREN", range="1Y", prices="Raw", bars="Weekly", averages="20", price_view="Table")
    assert test.selectbox(key="symbol").value == "WREN"
    assert test.button_group(key="averages").value == [20]
    assert 52 <= len(test.dataframe[0].value) <= 54
    assert len(bars(symbol="WREN", bars="Daily")) == fixture.DAILY_WEEKS * 5
    assert len(bars(symbol="WREN", bars="Weekly")) == fixture.DAILY_WEEKS
    assert len(bars(symbol="WREN", bars="Monthly")) == 26  # October 2024 to November 2026
    assert len(bars(symbol="WREN", bars="Weekly", weeks="Weekly feed")) == fixture.WEEKS


@pytest.mark.parametrize("interval", ["Daily", "Weekly", "Monthly"])
def test_a_split_is_a_jump_in_raw_prices_only(market: Warehouse, interval: str) -> None:
    worst = {}
    for mode in ("Split-adjusted", "Total return", "Raw"):
        rows = bars(symbol="ORCA", prices=mode, bars=interval)
        worst[mode] = min(after / before for before, after in itertools.pairwise(rows["close_usd"]))
        assert list(rows["split_ratio"].dropna()) == [2.0]
        assert min(rows["return_ratio"].dropna()) > -0.4, "a split is never a return"
    assert worst["Raw"] < 0.6
    assert worst["Split-adjusted"] > 0.75
    assert worst["Total return"] > 0.75


def test_a_dividend_falls_in_the_prices_and_not_in_the_total_return(market: Warehouse) -> None:
    """Reinvested at the close before: two total-return closes are as C1 to C0 - D, two split-adjusted as C1 to C0."""
    raw, split, total = (
        bars(symbol="KIWI", prices=mode).set_index("session_date") for mode in ("Raw", "Split-adjusted", "Total return")
    )
    days = list(raw.index)
    for ex_date in raw.index[raw["dividend_usd"].notna()]:
        before = days[days.index(ex_date) - 1]
        first, second, paid = raw["close_usd"][before], raw["close_usd"][ex_date], raw["dividend_usd"][ex_date]
        assert split["close_usd"][ex_date] / split["close_usd"][before] == pytest.approx(second / first)
        assert total["close_usd"][ex_date] / total["close_usd"][before] == pytest.approx(second / (first - paid))
        assert total["return_ratio"][ex_date] == pytest.approx(second / (first - paid) - 1)
    assert total["close_usd"].iloc[-1] == raw["close_usd"].iloc[-1], "anchored at the newest bar"
    for name in ("open_usd", "high_usd", "low_usd"):
        for mode in (split, total):
            assert list(mode[name] / mode["close_usd"]) == pytest.approx(list(raw[name] / raw["close_usd"])), name


def test_averages_and_band_are_on_the_prices_as_drawn(market: Warehouse) -> None:
    for mode in ("Split-adjusted", "Total return"):
        rows = bars(symbol="ORCA", prices=mode)
        for days in (20, 50, 120, 200):
            own = rows["close_usd"].rolling(days).mean()
            assert list(rows[f"average_{days}d_usd"].fillna(-1)) == pytest.approx(list(own.fillna(-1))), (mode, days)
        assert rows["high_252d_usd"].iloc[-1] == pytest.approx(rows["high_usd"].tail(252).max())
        assert rows["low_252d_usd"].iloc[-1] == pytest.approx(rows["low_usd"].tail(252).min())
    split, raw = (bars(symbol="ORCA", prices=mode) for mode in ("Split-adjusted", "Raw"))
    in_shares_of_the_day = raw["close_usd"] / split["close_usd"]
    assert sorted(set(in_shares_of_the_day.round(6))) == [1.0, 2.0]
    assert list((raw["average_50d_usd"] / split["average_50d_usd"]).dropna()) == pytest.approx(
        list(in_shares_of_the_day[49:])
    )
    weekly = bars(symbol="ORCA", bars="Weekly").set_index("session_date")
    daily = bars(symbol="ORCA").set_index("session_date")
    for name in ("average_50d_usd", "volatility_60d_ratio", "high_252d_usd", "price_zscore_252d"):
        assert list(weekly[name].dropna()) == list(daily[name].reindex(weekly.index).dropna()), name


def test_the_as_of_date_shows_what_was_known_then(market: Warehouse) -> None:
    now = bars(symbol="ORCA").set_index("session_date")["close_usd"]
    then = show("prices", symbol="ORCA", range="All", price_view="Table", known="2026-05-01")
    assert "as known by 2 May 2026 00:00 UTC" in texts(then)
    assert "on 1 May 2026" in titles(then)[0]
    day = dt.date(2026, 3, 6)
    rows = then.dataframe[0].value.set_index("session_date")
    assert rows["close_usd"][day] == pytest.approx(now[day] * 0.985)
    assert rows["corrected_values"].sum() == 0
    before_the_evening = show("prices", symbol="ORCA", known="2026-05-01", known_at="21:30")
    assert "as known by 1 May 2026 21:30 UTC" in texts(before_the_evening)
    assert "on 30 Apr 2026" in titles(before_the_evening)[0], "the bar of 1 May was fetched at 22:00"
    nothing = show("prices", symbol="ORCA", known="2019-01-01")
    assert "Nothing was known of ORCA" in texts(nothing)
    assert not nothing.exception


def test_a_split_that_was_not_known_yet_adjusts_nothing(market: Warehouse) -> None:
    """Of 21 July 2025, announced on 30 June."""
    unaware = bars(symbol="ORCA", known="2025-06-15")
    assert list(unaware["close_usd"]) == list(unaware["raw_close_usd"])
    between = bars(symbol="ORCA", known="2025-07-10")
    assert list(between["close_usd"]) == list(between["raw_close_usd"]), "known, and not yet effective"
    aware = bars(symbol="ORCA", known="2025-07-21")
    assert list(aware["split_ratio"].dropna()) == [2.0]
    assert list(aware["close_usd"][:-1] * 2) == pytest.approx(list(aware["raw_close_usd"][:-1]))


@pytest.mark.parametrize("mode", ["Split-adjusted", "Total return", "Raw"])
@pytest.mark.parametrize("symbol", ["ORCA", "KIWI"])
def test_as_of_now_equals_the_present(market: Warehouse, symbol: str, mode: str) -> None:
    """The as-of query computes factors and windows again; with today's knowledge they must be gold's own."""
    now = bars(symbol=symbol, prices=mode)
    then = bars(symbol=symbol, prices=mode, known="2026-11-21")
    assert list(then["session_date"]) == list(now["session_date"])
    for name in now.columns.drop(["session_date", "first_session_date"]):
        assert list(then[name].fillna(-9)) == pytest.approx(list(now[name].fillna(-9)), abs=1e-9), name


def test_as_of_now_equals_the_present_in_the_weekly_feed(market: Warehouse) -> None:
    for mode in ("Split-adjusted", "Total return", "Raw"):
        asked = {"symbol": "TERN", "bars": "Weekly", "weeks": "Weekly feed", "prices": mode}
        now, then = bars(**asked), bars(**asked, known="2026-11-21")
        for name in now.columns.drop(["session_date", "first_session_date", "known_at"]):
            assert list(then[name].fillna(-9)) == pytest.approx(list(now[name].fillna(-9)), abs=1e-9), name


def test_what_is_not_kept_by_version_is_said(market: Warehouse) -> None:
    weekly = show("prices", symbol="ORCA", bars="Weekly", known="2026-05-01")
    assert "these are the weekly feed's, as known then" in texts(weekly)
    assert "on the week" in titles(weekly)[0]
    market = show("prices", symbol="ZEBU", bars="Weekly", known="2026-05-01")
    assert "Weeks are not kept by version: these are the days, as known then." in texts(market)
    monthly = show("prices", symbol="ORCA", bars="Monthly", known="2026-05-01")
    assert "Months are not kept by version: these are the days, as known then." in texts(monthly)
    assert "on the day" in titles(monthly)[0]


def test_an_instrument_without_daily_bars_shows_the_weekly_feed_and_says_so(market: Warehouse) -> None:
    test = show("prices", symbol="DODO", range="All")
    assert "DODO has no daily bars: these are the weekly ones of the weekly feed" in texts(test)
    assert "market-pipeline run polygon/grouped_daily" in texts(test)
    assert "on the week" in titles(test)[0]
    for mode in ("Split-adjusted", "Total return", "Raw"):
        rows = bars(symbol="DODO", prices=mode)
        assert len(rows) == fixture.WEEKS - 40
    elko = {"symbol": "ELKO", "bars": "Weekly", "weeks": "Weekly feed"}
    total, raw = bars(**elko, prices="Total return"), bars(**elko, prices="Raw")
    assert list(total["close_usd"]) == pytest.approx(list(raw["adjusted_close_usd"]))
    assert total["close_usd"].iloc[0] < raw["close_usd"].iloc[0] * 0.97


def test_the_weekly_feed_infers_a_split_from_its_factor(market: Warehouse) -> None:
    asked = {"symbol": "ORCA", "bars": "Weekly", "weeks": "Weekly feed"}
    for mode, is_jump in (("Raw", True), ("Split-adjusted", False), ("Total return", False)):
        rows = bars(**asked, prices=mode)
        assert [round(value, 1) for value in rows["split_ratio"].dropna()] == [2.0]
        worst = min(after / before for before, after in itertools.pairwise(rows["close_usd"]))
        assert (worst < 0.6) is is_jump, mode


def test_splits_and_dividends_are_listed_and_counted(market: Warehouse) -> None:
    assert "ORCA: 1 split (2:1 on 21 Jul 2025), 0 dividends" in titles(show("prices", symbol="ORCA", range="All"))
    paid = one(
        market,
        "select count(*) as n, sum(cash_amount)::double as s from fact_corporate_action "
        "where symbol = 'ELKO' and effective_date >= date '2025-11-14'",
    )
    said = titles(show("prices", symbol="ELKO", range="1Y"))
    assert f"ELKO: 0 splits, {paid['n']} dividends of {paid['s']:.2f} USD in all since 14 Nov 2025" in said
    unknown = show("prices", symbol="ORCA", range="All", known="2025-06-15")
    assert "ORCA: 0 splits, 0 dividends" in titles(unknown)
    assert "1 value of ORCA corrected by a provider" not in titles(unknown)


def test_what_is_announced_for_later_has_not_happened(folder: Path, build_db: Path) -> None:
    """A dividend of ORCA that goes ex after the newest session, and one that goes ex on it."""
    announced = variant(
        build_db,
        folder,
        """insert into fact_corporate_action
           select a.* replace (s.id as instrument_id, 'ORCA' as symbol, s.ex_date as effective_date,
               s.ex_date as first_session_date, timestamptz '2026-10-01 22:00:00+00' as known_from, 0.75 as cash_amount)
           from (select * from fact_corporate_action where action_type = 'dividend' limit 1) as a
           cross join (
               select distinct instrument_id as id, unnest([date '2026-11-20', date '2026-11-23']) as ex_date
               from fact_daily_price where symbol = 'ORCA'
           ) as s""",
    )
    fixture.publish(folder, build_db=announced)
    said = titles(show("prices", symbol="ORCA", range="3M"))
    assert "ORCA: 0 splits, 1 dividend of 0.7500 USD in all since 21 Aug 2026" in said
    earlier = titles(show("prices", symbol="ORCA", range="3M", known="2026-11-18"))
    assert "ORCA: 0 splits, 0 dividends since 21 Aug 2026" in earlier


@pytest.mark.parametrize("known", [None, "2026-11-21"])
def test_a_bar_is_marked_for_what_its_own_provider_corrected(folder: Path, build_db: Path, known: str | None) -> None:
    """Polygon corrects two values of ORCA that are drawn from fmp, and one of ZEBU that nobody else has."""
    corrected = variant(
        build_db,
        folder,
        """insert into mart_restatement
           select r.* replace (p.instrument_id as instrument_id, p.symbol as symbol, 'polygon' as provider,
               p.session_date as session_date, p.session_date as period_start_date)
           from (select * from mart_restatement where cadence = 'day') as r
           join fact_daily_price as p on (p.symbol, p.session_date) in (
               ('ORCA', date '2026-03-06'), ('ORCA', date '2026-10-06'), ('ZEBU', date '2026-10-06')
           )""",
    )
    fixture.publish(folder, build_db=corrected)
    asked = {} if known is None else {"known": known}
    marks = {
        symbol: rows[rows["corrected_values"] > 0].set_index("session_date")["corrected_values"].to_dict()
        for symbol, rows in ((symbol, bars(symbol=symbol, **asked)) for symbol in ("ORCA", "ZEBU"))
    }
    assert marks == {"ORCA": {dt.date(2026, 3, 6): 1}, "ZEBU": {dt.date(2026, 10, 6): 1}}
    if known is None:
        for interval in ("Weekly", "Monthly"):
            assert bars(symbol="ORCA", bars=interval)["corrected_values"].sum() == 1


def test_marks_carry_text_beside_their_colour(market: Warehouse) -> None:
    import bars as drawn
    import charts

    sql = (DASHBOARDS / "queries" / "prices.sql").read_text()
    asked = {"since": dt.date(1900, 1, 1), "until": fixture.LAST_SESSION, "interval": "day", "adjustment": "raw"}
    rows, _ = market.query(sql, {"instrument_id": fixture.identity("ORCA"), **asked})
    measures = replace(drawn.DAYS, overlays={"average_50d_usd": "50-day average"})
    spec = charts.candles(rows, charts.DARK, measures)
    source = spec["dataset"]["source"].to_pylist()
    (split,) = [row for row in source if row["split_mark"] is not None]
    assert (split["bar"], split["split_text"], split["split_ratio"]) == ("2025-07-21", "2:1", 2.0)
    (corrected,) = [row for row in source if row["corrected_mark"] is not None]
    assert (corrected["bar"], corrected["corrected_values"]) == ("2026-03-06", 1)
    shapes = [series["symbol"] for series in spec["series"] if series["type"] == "scatter"]
    assert len(set(shapes)) == 3
    drawn_columns = {name for series in spec["series"] for name in [series["encode"]["y"]] if isinstance(name, str)}
    assert drawn_columns <= set(source[0]), "every series finds its column"
    assert [charts.split_text(ratio) for ratio in (4.0, 1.5, 0.1, None)] == ["4:1", "1.5:1", "1:10", None]


def test_the_picker_finds_what_it_does_not_offer(market: Warehouse) -> None:
    assert "Zebu Mining" in texts(show("prices", symbol="zebu"))
    former = show("prices", symbol="OLDW")
    assert "OLDW is what WREN was called before" in texts(former)
    assert titles(former)[0].startswith("WREN closed at")
    reused = show("prices", symbol="LYNX (delisted 2025-07-18)")
    assert "Lynx Entertainment" in texts(reused)
    assert "Lynx Banking Group" in texts(show("prices", symbol="LYNX"))


def test_a_part_of_a_name_leads_to_suggestions(market: Warehouse) -> None:
    test = show("prices", symbol="robot")
    assert "Nothing is called **robot**. One of these?" in texts(test)
    assert not test.exception
    assert [button.label for button in test.button] == ["**ORCA** Orca Robotics"]
    nothing = show("volatility", symbol="no*such[thing")
    assert r"Nothing is called **no\*such\[thing**" in texts(nothing)
    assert "market-pipeline symbols add" in texts(nothing)


def test_the_picker_offers_the_followed_first_and_few_of_a_whole_market(folder: Path, build_db: Path) -> None:
    market = variant(
        build_db,
        folder,
        """create temp table roster as select 'Q' || i as symbol, md5('Q' || i) as id from range(11000) as r (i);
           insert into dim_instrument
           select i.* replace (r.id as instrument_id, r.symbol as symbol, 'Market ' || r.symbol as name)
           from roster as r cross join dim_instrument as i where i.symbol = 'ZEBU';
           insert into fact_daily_price
           select p.* replace (r.id as instrument_id, r.symbol as symbol, hash(r.symbol) % 1e6 as dollar_volume_usd)
           from roster as r cross join fact_daily_price as p
           where p.symbol = 'ZEBU' and p.session_date = date '2026-11-20';""",
    )
    fixture.publish(folder, build_db=market)
    test = show("prices", symbol="Q777")
    offered = test.selectbox(key="symbol").options
    assert len(offered) <= 13 + 1 + 200
    assert set(offered[:14]) == {row[0] for row in fixture.FOLLOWED}
    assert "Market Q777" in texts(test)


def test_delisted_instruments_keep_their_page(market: Warehouse) -> None:
    assert "delisted, last session" in texts(show("prices", symbol="DODO"))
