"""The universe files: true where a roster is at hand, consistent everywhere, and fiction kept apart from fact."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "dbt" / "seeds"
ROSTER = ROOT.parent / "shared/payloads/alpha_vantage/other/listing_status-active-13411rows.csv"
COLUMNS = [
    "symbol",
    "name",
    "asset_class",
    "exchange",
    "currency",
    "sector",
    "industry",
    "listed_date",
    "delisted_date",
    "first_symbol",
    "first_date",
    "alpha_vantage",
    "is_followed",
]
SECTORS = {
    "Technology",
    "Healthcare",
    "Financial Services",
    "Consumer Cyclical",
    "Consumer Defensive",
    "Energy",
    "Basic Materials",
    "Communication Services",
    "Industrials",
    "Utilities",
    "Real Estate",
}
CORE_AND_CHAOS = {
    "NVDA",
    "AAPL",
    "MSFT",
    "GOOGL",
    "AMZN",
    "META",
    "TSLA",
    "SPY",
    "QQQ",
    "IWM",
    "TLT",
    "GME",
    "VIX",
    "IBIT",
    "RDDT",
}
# Where we know better than the roster, and why. (IBM's own date there, 1962-01-02, is the first day of anybody's daily
# record, not of its listing, which is decades older; for coverage the record is what counts.)
OTHER_DATES = {
    "AMGN": "1983-06-17: the public offering; the roster has the first day of its own prices",
}

needs_roster = pytest.mark.skipif(not ROSTER.is_file(), reason="the captured roster is not beside this clone")


def rows(name: str) -> list[dict[str, str]]:
    with (SEEDS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def roster() -> dict[str, dict[str, str]]:
    with ROSTER.open(encoding="utf-8", newline="") as file:
        return {row["symbol"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("prefix", ["", "demo_"])
def test_instruments_are_well_formed(prefix: str) -> None:
    found = rows(f"{prefix}instruments")
    assert list(found[0]) == COLUMNS
    assert [row["symbol"] for row in found] == sorted({row["symbol"] for row in found})
    for row in found:
        assert row["name"]
        assert row["name"] == row["name"].strip()
        assert row["currency"] == "USD"
        assert row["is_followed"] in ("true", "false")
        assert row["asset_class"] in ("stock", "etf", "index")
        assert bool(row["sector"]) == bool(row["industry"]) == (row["asset_class"] == "stock"), row["symbol"]
        assert dt.date.fromisoformat(row["first_date"]) <= dt.date.fromisoformat(row["listed_date"])
        assert not row["delisted_date"] or row["delisted_date"] > row["listed_date"]
    sectors = Counter(row["sector"] for row in found if row["sector"])
    assert set(sectors) == SECTORS
    assert min(sectors.values()) >= 2


def test_universe_has_core_and_chaos() -> None:
    followed = {row["symbol"] for row in rows("instruments") if row["is_followed"] == "true"}
    assert followed >= CORE_AND_CHAOS | {"IBM"}
    assert 30 <= len(followed) <= 40


def test_spelling_differs_only_where_it_must() -> None:
    assert {r["symbol"]: r["alpha_vantage"] for r in rows("instruments") if r["alpha_vantage"]} == {"BRK.B": "BRK-B"}


@pytest.mark.parametrize("prefix", ["", "demo_"])
def test_symbol_histories_fit_the_instruments(prefix: str) -> None:
    periods = defaultdict(list)
    for row in rows(f"{prefix}symbols"):
        assert row["symbol"]
        assert not row["valid_to"] or row["valid_from"] < row["valid_to"]
        periods[row["instrument_symbol"]].append(row)
    instruments = {row["symbol"]: row for row in rows(f"{prefix}instruments")}
    assert set(periods) == set(instruments)
    for symbol, found in periods.items():
        instrument = instruments[symbol]
        assert (found[0]["symbol"], found[0]["valid_from"]) == (instrument["first_symbol"], instrument["first_date"])
        assert found[-1]["symbol"] == symbol
        assert bool(found[-1]["valid_to"]) == bool(instrument["delisted_date"])
        joints = itertools.pairwise(found)
        assert all(before["valid_to"] == after["valid_from"] for before, after in joints), symbol


@pytest.mark.parametrize("prefix", ["", "demo_"])
def test_no_spelling_belongs_to_two_instruments_at_once(prefix: str) -> None:
    holders = defaultdict(list)
    for row in rows(f"{prefix}symbols"):
        holders[row["symbol"]].append((row["valid_from"], row["valid_to"] or "9999-12-31"))
    for symbol, found in holders.items():
        ordered = sorted(found)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ordered)), symbol


def holder(symbol: str, day: str) -> str | None:
    return next(
        (
            row["instrument_symbol"]
            for row in rows("symbols")
            if row["symbol"] == symbol and row["valid_from"] <= day and (not row["valid_to"] or day < row["valid_to"])
        ),
        None,
    )


@pytest.mark.parametrize(
    ("symbol", "day", "expected"),
    [
        ("META", "2022-01-28", "METV"),
        ("META", "2022-01-31", None),
        ("META", "2022-06-08", None),
        ("META", "2022-06-09", "META"),
        ("FB", "2022-06-08", "META"),
        ("FB", "2022-06-09", None),
        ("GOOG", "2014-04-02", "GOOGL"),
        ("GOOGL", "2014-04-03", "GOOGL"),
        ("QQQ", "2004-11-30", "QQQ"),
        ("QQQQ", "2004-12-01", "QQQ"),
        ("QQQ", "2011-03-22", None),
        ("QQQ", "2011-03-23", "QQQ"),
    ],
)
def test_symbols_have_had_the_owners_they_had(symbol: str, day: str, expected: str | None) -> None:
    assert holder(symbol, day) == expected


@needs_roster
def test_listing_dates_are_those_of_the_roster() -> None:
    listed = roster()
    for row in rows("instruments"):
        known = listed.get(row["alpha_vantage"] or row["symbol"])
        if row["asset_class"] == "index":
            assert known is None
            continue
        assert known is not None, row["symbol"]
        assert known["assetType"].lower() == row["asset_class"]
        assert known["exchange"] == row["exchange"]
        if row["symbol"] in OTHER_DATES:
            assert OTHER_DATES[row["symbol"]].startswith(row["listed_date"])
        else:
            assert known["ipoDate"] == row["listed_date"], row["symbol"]


@needs_roster
def test_fictional_symbols_and_names_are_nobodys() -> None:
    listed = roster()
    names = {word.lower() for row in listed.values() for word in row["name"].split()}
    for row in rows("demo_symbols"):
        assert row["symbol"] not in listed
    for row in rows("demo_instruments"):
        assert row["name"].split()[0].lower() not in names, row["name"]


def test_fact_and_fiction_share_no_symbol() -> None:
    real, fictional = ({row["symbol"] for row in rows(name)} for name in ("symbols", "demo_symbols"))
    assert not real & fictional


@pytest.mark.parametrize("prefix", ["", "demo_"])
def test_listings_begin_and_end_on_sessions(prefix: str) -> None:
    import exchange_calendars as xc

    calendar = xc.get_calendar("XNYS", start="1960-01-01")
    for row in rows(f"{prefix}instruments"):
        for day in filter(None, (row["listed_date"], row["delisted_date"])):
            assert calendar.is_session(day), (row["symbol"], day)
