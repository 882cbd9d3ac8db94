"""More than 20,000 points are thinned on the server, it is said, and a part of them is asked for again, whole."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import warehouse_fixture as fixture
from dashboard_pages import drawn, lengthen, show, table, texts, variant
from market_pipeline.warehouse import Warehouse

pytest_plugins = ("dashboard_fixtures",)

LONG = 24_000  # bars before the fixture's first, one a calendar day
FIRST = dt.date(2024, 10, 14)
NOTE = "points are drawn, chosen to keep the shape; downloads hold all."
HOW = "Drag over a part with the tool on the left of the chart, or set dates under **Zoom**, to load all of it."


@pytest.fixture(scope="module")
def long_db(build_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market in which ORCA and WREN were traded on each of 24,000 days more."""
    market = variant(build_db, tmp_path_factory.mktemp("long") / "demo", "select 1")
    lengthen(market, ("ORCA", "WREN"), days=LONG)
    return market


@pytest.fixture
def long_market(folder: Path, long_db: Path) -> Warehouse:
    """The same, published."""
    fixture.publish(folder, build_db=long_db)
    return Warehouse(folder)


def test_prices_are_thinned_and_a_part_is_whole_again(long_market: Warehouse) -> None:
    total = LONG + fixture.DAILY_WEEKS * 5
    asked: dict[str, Any] = {"symbol": "ORCA", "prices": "Raw"}
    test = show("prices", **asked, range="All")
    assert not test.exception
    assert f"20,000 of {total:,} {NOTE} {HOW}" in texts(test)
    sent = drawn(test, "price-chart")
    assert sent.num_rows == 20_000
    spike = (FIRST - dt.timedelta(12345)).isoformat()
    assert spike in sent["bar"].to_pylist(), "what stands out is never left out"
    since, until = FIRST - dt.timedelta(12500), FIRST - dt.timedelta(12000)
    part = show("prices", **asked, **{"from": since.isoformat(), "to": until.isoformat()})
    assert NOTE not in texts(part)
    found = drawn(part, "price-chart")
    assert found["bar"].to_pylist() == [(since + dt.timedelta(day)).isoformat() for day in range(501)]
    assert found["close_usd"].to_pylist() == [
        (50 + i % 97) * (100.0 if i == 12345 else 1.0) for i in range(12500, 11999, -1)
    ]
    assert len(set(found["bar"].to_pylist()) - set(sent["bar"].to_pylist())) > 20, "some had been left out"


def test_lines_that_are_compared_share_the_points(long_market: Warehouse) -> None:
    total = 2 * (LONG + fixture.DAILY_WEEKS * 5)
    asked: dict[str, Any] = {"symbols": ["ORCA", "WREN"], "prices": "Raw"}
    test = show("compare", **asked, range="All")
    assert f"20,000 of {total:,} {NOTE} {HOW}" in texts(test)
    sent = drawn(test, "lines-chart")
    assert sum(sent.num_rows - sent[name].null_count for name in ("ORCA", "WREN")) == 20_000
    with_a_short_one = show("compare", symbols=["WREN", "KIWI"], prices="Raw", range="All")
    short = drawn(with_a_short_one, "lines-chart")
    assert 400 < short.num_rows - short["KIWI"].null_count < fixture.DAILY_WEEKS * 5, "its part, not the half"
    assert 19_990 <= sum(short.num_rows - short[name].null_count for name in ("WREN", "KIWI")) <= 20_000
    whole = show("compare", **asked, range="All", lines_view="Table")
    assert len(table(whole, "base_date")) == total, "the table and the downloads hold all"
    part = show("compare", **asked, range="All", **{"from": "1990-01-01", "to": "1991-12-31"})
    assert NOTE not in texts(part).split("points")[0]
    found = drawn(part, "lines-chart")
    assert found.num_rows == 730
    assert found["ORCA"].null_count == 0


def test_a_history_of_volatility_is_thinned_too(long_market: Warehouse) -> None:
    test = show("volatility", symbol="ORCA", range="All")
    assert f"6,666 of {LONG + fixture.DAILY_WEEKS * 5 - 0:,} {NOTE}".split(" of ")[0] in texts(test)
    assert drawn(test, "history-chart").num_rows == 6_666
    part = show("volatility", symbol="ORCA", range="All", **{"from": "1990-01-01", "to": "1991-12-31"})
    assert drawn(part, "history-chart").num_rows == 730


def test_what_is_dragged_over_becomes_the_dates(market: Warehouse) -> None:
    import zoom

    days = [dt.date(2026, 1, 1) + dt.timedelta(day) for day in range(100)]
    assert zoom.part([{"coord_range": [9.6, 30.4]}], days) == (days[10], days[30])
    assert zoom.part([{"coord_range": [30.4, 9.6]}], days) == (days[10], days[30]), "dragged to the left"
    assert zoom.part([{"coord_range": [-40.0, 400.0]}], days) == (days[0], days[-1])
    assert zoom.part([{"coord_range": [5.1, 5.3]}], days) is None, "a click is no part"
    assert zoom.part([], days) is None
    assert zoom.part([{"coord_range": [1, 2]}], []) is None


def test_the_whole_range_comes_back(market: Warehouse) -> None:
    test = show("prices", symbol="ORCA", **{"from": "2026-03-02", "to": "2026-03-31"})
    assert "on 31 Mar 2026" in test.subheader[0].value
    (button,) = [button for button in test.button if button.label == "Whole range"]
    button.click().run()
    assert "on 20 Nov 2026" in test.subheader[0].value
    assert test.date_input(key="from").value is None


def test_thinning_keeps_the_ends_and_the_extremes() -> None:
    import charts

    values = [float(i % 97) for i in range(50_000)]
    values[31_234], values[44_321] = 1e6, -1e6
    long = pa.table({"i": range(50_000), "v": values})
    kept, note = charts.thin(long, "v")
    assert kept.num_rows == charts.MAX_POINTS
    assert "20,000 of 50,000 points" in note
    assert {0, 31_234, 44_321, 49_999} <= set(kept["i"].to_pylist())
    assert charts.thin(long.slice(0, 100), "v") == (long.slice(0, 100), "")
