"""The Today page: every number from raw closes and volumes by Polars, never from what the page asks."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import warehouse_fixture as fixture
from dashboard_pages import frame, show, table, texts, titles, variant
from market_pipeline.warehouse import Warehouse

pytest_plugins = ("dashboard_fixtures",)

NEWEST = dt.date(2026, 11, 20)
FOLLOWED = {row[0]: row for row in fixture.FOLLOWED}


def bars(warehouse: Warehouse, *, is_followed: bool = True) -> pl.DataFrame:
    """Raw bars with everything the page shows, computed here from closes, splits, dividends and volumes."""
    raw = frame(
        warehouse,
        f"""select p.instrument_id as id, i.symbol, i.sector, i.asset_class, i.is_delisted, p.session_date as day,
                p.close_usd as close, p.volume_shares as shares, p.split_ratio as split, p.dividend_usd as paid
            from fact_daily_price as p join dim_instrument as i using (instrument_id)
            where i.is_followed or not {is_followed} order by id, day""",
    )
    before = pl.col("close").shift(1).over("id") / pl.col("split")
    kept = pl.col("split").cum_prod().over("id")
    return (
        raw.with_columns(
            split_return=pl.col("close") / before - 1,
            total_return=pl.col("close") / (before - pl.col("paid")) - 1,
            level=pl.col("close") * kept,
            traded=pl.col("close") * pl.col("shares"),
            even=pl.col("shares") / kept,
        )
        .with_columns(log=(1 + pl.col("total_return")).log())
        .with_columns(
            return_z=(pl.col("log") - pl.col("log").rolling_mean(252, min_samples=126).over("id"))
            / pl.col("log").rolling_std(252, min_samples=126).over("id"),
            volume_z=(pl.col("even") - pl.col("even").rolling_mean(20, min_samples=10).over("id"))
            / pl.col("even").rolling_std(20, min_samples=10).over("id"),
            price_z=(pl.col("level") - pl.col("level").rolling_mean(252, min_samples=126).over("id"))
            / pl.col("level").rolling_std(252, min_samples=126).over("id"),
            volatility=pl.col("log").rolling_std(20, min_samples=10).over("id") * math.sqrt(252),
        )
    )


def moved(ratio: float) -> str:
    """As a sentence has it."""
    return f"{'up' if ratio > 0 else 'down'} {abs(ratio) * 100:.1f} %"


def test_tiles_name_what_they_are_and_count_who_rose(market: Warehouse) -> None:
    newest = bars(market).filter(pl.col("day") == NEWEST)
    stocks = newest.filter(pl.col("asset_class") == "stock")["split_return"]
    fund = newest.filter(pl.col("symbol") == "FICT")["split_return"][0]
    test = show("today")
    assert titles(test)[0] == (
        f"FICT {moved(fund)}; {(stocks > 0).sum()} of {len(stocks)} followed stocks rose, "
        f"{moved(stocks.mean())} on average"
    )
    labels = [metric.label for metric in test.metric]
    assert labels == ["FICT ETF", "Stocks, equal weight"], "a fund is called a fund, a mean a mean"
    assert test.metric[1].value == f"{len(stocks)} stocks"


def test_the_mean_of_the_stocks_is_followed_day_by_day(market: Warehouse) -> None:
    found = bars(market).filter(pl.col("asset_class") == "stock").group_by("day").agg(pl.col("split_return").mean())
    path = (1 + found.sort("day")["split_return"].tail(60)).product() - 1
    mean = table(show("today", indices_view="Table"), "path_return_ratio")[-1]
    assert mean["asset_class"] == "mean"
    assert mean["path_return_ratio"] == pytest.approx(path, abs=1e-9)
    assert len(mean["path"]) == 60


def test_movers_are_ranked_by_their_own_closes(market: Warehouse) -> None:
    newest = bars(market).filter(pl.col("day") == NEWEST).sort("split_return")
    rose, fell = (newest["split_return"] > 0).sum(), (newest["split_return"] < 0).sum()
    first, last = newest["split_return"][0], newest["split_return"][-1]
    test = show("today", movers_view="Table")
    said = f"Furthest: {newest['symbol'][-1]} {moved(last)}, {newest['symbol'][0]} {moved(first)}"
    assert f"{said}; {rose} rose and {fell} fell" in titles(test)
    rows = table(test, "advancing_count")
    expected = newest.filter((pl.col("split_return").rank("ordinal") <= 10) | (pl.col("split_return") > 0))
    assert [row["symbol"] for row in rows] == expected["symbol"].to_list()
    assert [row["return_ratio"] for row in rows] == pytest.approx(expected["split_return"].to_list(), abs=1e-9)


def test_a_dividend_is_a_fall_only_without_it(market: Warehouse) -> None:
    paid = bars(market).filter((pl.col("symbol") == "ELKO") & (pl.col("paid") > 0)).row(-1, named=True)
    for mode, name in (("Split-adjusted", "split_return"), ("Total return", "total_return")):
        test = show("today", session=paid["day"].isoformat(), prices=mode, scores_view="Table", events_view="Table")
        (row,) = [row for row in table(test, "is_unusual") if row["symbol"] == "ELKO"]
        assert row["return_ratio"] == pytest.approx(paid[name], abs=1e-9)
        assert any(title.startswith("Events: ") and "dividend" in title for title in titles(test))
    (event,) = [row for row in table(test, "event_date") if row["symbol"] == "ELKO"]
    assert (event["what"], event["cash_amount"], event["event_date"]) == ("dividend", paid["paid"], paid["day"])


def test_a_split_is_never_a_move(market: Warehouse) -> None:
    test = show("today", prices="Raw")
    assert not test.exception
    assert test.button_group(key="prices").value == "Split-adjusted"
    assert "Raw" not in test.button_group(key="prices").options


def test_scores_and_their_count_are_those_of_the_raw_series(market: Warehouse) -> None:
    newest = bars(market).filter((pl.col("day") == NEWEST) & pl.col("return_z").is_not_null())
    reach = newest.select(pl.max_horizontal(pl.col("return_z", "volume_z", "price_z").abs())).to_series()
    test = show("today", scores_view="Table")
    assert any(
        title.startswith(f"{(reach > 2).sum()} of {len(newest)} instruments beyond two deviations")
        for title in titles(test)
    )
    rows = {row["symbol"]: row for row in table(test, "is_unusual")}
    assert len(rows) == len(newest)
    for row in newest.iter_rows(named=True):
        for page, own in (("return_zscore", "return_z"), ("volume_zscore", "volume_z"), ("price_zscore", "price_z")):
            assert rows[row["symbol"]][page] == pytest.approx(row[own], abs=1e-6), (row["symbol"], page)


@pytest.mark.parametrize("day", [NEWEST, dt.date(2026, 11, 3), dt.date(2026, 6, 5)])
def test_a_breakout_is_above_every_value_of_the_year_before(market: Warehouse, day: dt.date) -> None:
    found = bars(market).filter(pl.col("day") <= day)
    year = found.filter((pl.col("day") < day) & (pl.col("day") >= day - dt.timedelta(364))).group_by("id")
    highest = year.agg(highest=pl.col("volatility").max(), count=pl.col("volatility").count()).filter(
        pl.col("count") >= 126
    )
    now = found.filter(pl.col("day") == day).join(highest, on="id")
    out = sorted(now.filter(pl.col("volatility") > pl.col("highest"))["symbol"])
    test = show("today", session=day.isoformat(), breakouts_view="Table")
    rows = table(test, "is_breakout")
    assert sorted(row["symbol"] for row in rows if row["is_breakout"]) == out
    assert {row["symbol"]: row["highest_ratio"] for row in rows} == pytest.approx(
        dict(zip(now["symbol"], now["highest"], strict=True)), abs=1e-9
    )
    said = f"broke out in {len(out)} of {len(now)}" if out else "No 20-day volatility broke out"
    assert any(said in title for title in titles(test))


def test_sectors_are_led_by_the_mean_of_their_stocks(market: Warehouse) -> None:
    newest = bars(market).filter((pl.col("day") == NEWEST) & pl.col("sector").is_not_null())
    means = newest.group_by("sector").agg(pl.col("split_return").mean()).sort("split_return")
    best, worst = means.row(-1), means.row(0)
    assert f"{best[0]} did best, {moved(best[1])} on average; {worst[0]} worst, {moved(worst[1])}" in titles(
        show("today")
    )


def test_the_whole_market_has_a_floor_under_what_was_traded(market: Warehouse) -> None:
    newest = bars(market, is_followed=False).filter(pl.col("day") == NEWEST)
    for name, floor in (("Any", 0), ("$10 m", 1e7), ("$100 m", 1e8)):
        test = show("today", scope="Whole market", traded=name, map_view="Table")
        stocks = newest.filter((pl.col("traded") >= floor) & (pl.col("asset_class") == "stock"))
        assert sorted(row["symbol"] for row in table(test, "sector_return_ratio")) == sorted(stocks["symbol"])
    assert "ZEBU" in newest["symbol"]
    assert "ZEBU" not in str(table(show("today", map_view="Table"), "sector_return_ratio"))


def test_failed_checks_are_named_here_too(warehouse: Warehouse) -> None:
    assert "No blocking check failed: 141 passed, 2 warned" in titles(show("today"))
    warehouse.write_health(fixture.health("000001", has_failed=True))
    test = show("today")
    assert "1 blocking check failed: assert_return_matches_closes" in titles(test)
    assert table(test, "severity")[0]["message"] == "Got 2 results, configured to fail if != 0"


def test_the_events_of_a_session_are_counted_by_kind(market: Warehouse) -> None:
    """SEAL lacks the newest session in both feeds; on 9 November three bars of the past were corrected."""
    assert "Events: 2 no bar" in titles(show("today"))
    test = show("today", session="2026-11-09")
    assert "Events: 3 corrected" in titles(test)
    found = {(row["symbol"], row["what"]): row["value_count"] for row in table(test, "event_date")}
    assert found == {
        ("ORCA", "corrected: day of 2026-03-06"): 1,
        ("ORCA", "corrected: week of 2026-03-02"): 2,
        ("KIWI", "corrected: week of 2026-08-10"): 2,
    }


def test_without_daily_bars_the_weekly_feed_answers(folder: Path, build_db: Path) -> None:
    market = variant(build_db, folder, "delete from fact_daily_price; delete from agg_stock_weekly_metrics")
    warehouse = Warehouse(folder)
    fixture.publish(folder, build_db=market)
    raw = frame(
        warehouse,
        """select symbol, week_start_date as day, adjusted_close_usd as close from fact_adjusted_prices
           where symbol <> 'DODO' order by symbol, day""",
    )
    newest = (
        raw.with_columns(move=pl.col("close") / pl.col("close").shift(1).over("symbol") - 1)
        .filter(pl.col("day") == dt.date(2026, 11, 16))
        .sort("move")
    )
    test = show("today")
    assert not test.exception
    assert not test.error
    assert any(
        title.startswith(f"Furthest: {newest['symbol'][-1]} {moved(newest['move'][-1])}") for title in titles(test)
    )
    assert "in the week" not in texts(test)
    assert test.selectbox(key="session").label == "Week of"


def test_nothing_to_show_says_what_is_missing(folder: Path, build_db: Path) -> None:
    short = variant(build_db, folder, "delete from fact_daily_price where session_date < date '2026-11-20'")
    fixture.publish(folder, build_db=short)
    test = show("today")
    assert not test.exception
    said = texts(test)
    assert "It needs 126 values of an instrument's volatility in the year before." in said
    alone: dict[str, Any] = {"scope": "Whole market", "traded": "$100 m"}
    thin = variant(build_db, folder, "update fact_daily_price set dollar_volume_usd = 5")
    fixture.publish(folder, build_db=thin)
    assert "less in **Traded at least**" in texts(show("today", **alone))
