"""What happens to a page that is open: published anew, pruned, replaced."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

import pytest

import warehouse_fixture as fixture
from dashboard_pages import one, show, texts, titles, variant
from market_pipeline.warehouse import Warehouse

pytest_plugins = ("dashboard_fixtures",)


def opened(folder: Path) -> set[str]:
    """The files of a folder that this process has open, those among them that are deleted marked so."""
    if sys.platform != "linux":
        pytest.skip("what a process has open is read from /proc")
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = link.readlink()
            if target.parent == folder and target.name.startswith("gold-"):
                found.add(target.name)
    return found


def close(warehouse: Warehouse, symbol: str = "ORCA") -> str:
    """The newest close, as the page's title has it."""
    row = one(
        warehouse,
        f"select close_usd from fact_daily_price where symbol = '{symbol}' order by session_date desc limit 1",
    )
    return f"{symbol} closed at {row['close_usd']:,.2f} "


def test_the_file_in_force_stays_open_and_a_pruned_one_is_let_go(warehouse: Warehouse, build_db: Path) -> None:
    test = show("prices", symbol="ORCA")
    assert opened(warehouse.folder) == {"gold-000001.duckdb"}, "the next query reads no catalog"
    for _ in range(4):  # three are kept
        fixture.publish(warehouse.folder, build_db=build_db)
    assert not (warehouse.folder / "gold-000001.duckdb").exists()
    assert opened(warehouse.folder) == {"gold-000001.duckdb (deleted)"}
    test.run()
    assert not test.exception
    assert "Generation 000005" in texts(test)
    assert opened(warehouse.folder) == {"gold-000005.duckdb"}


def test_a_file_of_the_same_name_is_not_the_one_that_is_held(warehouse: Warehouse, tmp_path: Path) -> None:
    """Somebody empties the folder and begins again: the first generation has the name that the first one had."""
    test = show("prices", symbol="ORCA")
    assert titles(test)[0].startswith(close(warehouse))
    elsewhere = tmp_path / "elsewhere"  # who publishes is another process, which holds nothing
    fixture.publish(elsewhere, build_db=fixture.build(tmp_path / "other.duckdb", seed=8))
    expected = close(Warehouse(elsewhere))
    shutil.rmtree(warehouse.folder)
    shutil.copytree(elsewhere, warehouse.folder)
    test.run()
    assert titles(test)[0].startswith(expected)
    assert opened(warehouse.folder) == {"gold-000001.duckdb"}


def test_a_rollback_is_followed(warehouse: Warehouse, tmp_path: Path) -> None:
    test = show("prices", symbol="ORCA")
    first = titles(test)[0]
    fixture.publish(warehouse.folder, build_db=fixture.build(tmp_path / "other.duckdb", seed=8))
    second = titles(test.run())[0]
    assert second != first
    warehouse.rollback()
    assert titles(test.run())[0] == first
    assert opened(warehouse.folder) == {"gold-000001.duckdb"}


def test_an_instrument_with_one_bar_has_every_page(folder: Path, build_db: Path) -> None:
    """KIWI's first session was the newest one."""
    market = variant(
        build_db,
        folder,
        """delete from fact_daily_price where symbol = 'KIWI' and session_date < date '2026-11-20';
           update fact_daily_price set raw_return_ratio = null, split_return_ratio = null, total_return_ratio = null,
               log_return = null, return_zscore_20d = null, return_zscore_252d = null, volume_zscore_20d = null,
               price_zscore_252d = null, volatility_20d_ratio = null, volatility_60d_ratio = null,
               volatility_252d_ratio = null
           where symbol = 'KIWI';
           delete from fact_adjusted_prices where symbol = 'KIWI'""",
    )
    fixture.publish(folder, build_db=market)
    for page in ("today", "prices", "compare", "volatility"):
        for asked in ({"symbol": "KIWI", "symbols": ["KIWI"]}, {"symbols": ["KIWI", "ORCA"], "subject": "KIWI"}):
            test = show(page, **asked)
            assert not test.exception, page
            assert not test.error, page
    said = titles(show("prices", symbol="KIWI"))[0]
    assert said.endswith("on 20 Nov 2026, with no return on the day")
    assert "KIWI has too short a history for a cone" in titles(show("volatility", symbol="KIWI"))


INJECTED = "x'; drop table dim_date; --"


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        ("today", {"session": "1999-01-01", "scope": "Nobody", "prices": "Raw"}),
        ("today", {"session": INJECTED, "scope": "Whole market", "traded": "$9 m", "map-view": "Pie"}),
        ("prices", {"symbol": "KIWI", "bars": "Hourly", "range": "99Y", "averages": ["20", "7", "x"]}),
        ("prices", {"symbol": "KIWI", "from": "2026-02-31", "to": "0001-01-01", "known": "2099-01-01"}),
        ("prices", {"symbol": "KIWI", "prices": INJECTED, "known-at": "25:61"}),
        ("compare", {"symbols": ["ORCA"] * 30, "subject": INJECTED, "range": ""}),
        ("compare", {"symbols": ["ORCA", "KIWI"], "known": "not a day", "lines-view": "Pie"}),
        ("sectors", {"week": INJECTED, "area": "x", "range": "x"}),
        ("volatility", {"symbol": "KIWI", "from": INJECTED}),
        ("explorer", {"tab": "Tables", "table": INJECTED}),
        ("trust", {"cadence": INJECTED}),
    ],
)
def test_an_address_that_makes_no_sense_has_the_page_as_it_is_without(
    market: Warehouse, page: str, asked: dict[str, str | list[str]]
) -> None:
    test = show(page, **asked)
    assert not test.exception
    assert not test.error
    assert titles(test)


@pytest.mark.parametrize("text", [INJECTED, "<script>alert(1)</script>", "%", "A" * 5_000, "\N{SHARK}", "'", "**x**"])
@pytest.mark.parametrize("page", ["prices", "compare", "volatility"])
def test_a_symbol_that_nobody_has_is_said_as_it_was_typed(market: Warehouse, page: str, text: str) -> None:
    test = show(page, symbol=text, symbols=[text])
    assert not test.exception
    assert not test.error
    assert not titles(test)
    (said,) = [element.value for element in test.info if "Nothing is called" in element.value]
    assert "`market-pipeline symbols add` follows an instrument" in said
    shown = said.split("**")[1] if "*" not in text else said
    for char in "<>*":
        assert char not in shown.replace(f"\\{char}", "") or "*" in text, "what is typed is no markup"
    assert market.verify()


@pytest.mark.parametrize(
    ("since", "until", "count"),
    [
        ("2026-07-04", "2026-07-05", 0),  # a holiday on a weekend
        ("2026-03-08", "2026-03-08", 0),  # the Sunday of the change to summer time
        ("2026-03-06", "2026-03-09", 2),  # the sessions around it
        ("2025-10-31", "2025-11-03", 2),  # and around the change back
        ("2026-11-20", "2026-11-20", 1),
    ],
)
def test_days_without_a_session_are_no_bars(market: Warehouse, since: str, until: str, count: int) -> None:
    test = show("prices", symbol="ORCA", price_view="Table", **{"from": since, "to": until})
    assert not test.exception
    if count:
        assert len(test.dataframe[0].value) == count
    else:
        assert "ORCA has no bar in this range" in texts(test)
