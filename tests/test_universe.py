"""Instruments: ids that survive renames and growth, spellings that belong to one instrument at a time."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from pathlib import Path

import pytest

from conftest import REPOSITORY
from market_pipeline import universe
from market_pipeline.errors import ConfigurationError
from market_pipeline.feed import Feed
from market_pipeline.partition import Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from wire import instrument

SEEDS = REPOSITORY / "dbt" / "seeds"
WEEKLY, OVERVIEW = PROVIDER.feeds[:2]
COLUMNS = (
    "symbol,name,asset_class,exchange,currency,sector,industry,listed_date,delisted_date,first_symbol,first_date,"
    "alpha_vantage,is_followed"
)
TODAY = dt.date(2026, 11, 18)
CORE = {
    "NVDA", "AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "SPY",
    "QQQ", "IWM", "TLT", "GME", "VIX", "IBIT", "RDDT", "IBM",
}  # fmt: skip
LINES = (
    "AAA,Aaa,stock,NYSE,USD,Energy,Oil,2001-02-03,,AAA,2001-02-03,,true",
    "BBB,Bbb,etf,NYSE,USD,,,2002-02-03,,OLD,1999-01-04,B-B,true",
    "CCC,Ccc,index,NYSE,USD,,,1990-01-02,,CCC,1990-01-02,,true",
    "DDD,Ddd,stock,NYSE,USD,Energy,Oil,2003-02-03,2020-05-06,DDD,2003-02-03,,false",
)
SYMBOLS = ("AAA,AAA,2001-02-03,", "BBB,OLD,1999-01-04,2002-02-03", "BBB,BBB,2002-02-03,")


def write(folder: Path, lines: tuple[str, ...] = LINES, symbols: tuple[str, ...] = SYMBOLS) -> Path:
    """A universe of these lines."""
    (folder / "instruments.csv").write_text("\n".join((COLUMNS, *lines)) + "\n", encoding="utf-8")
    (folder / "symbols.csv").write_text(
        "\n".join(("instrument_symbol,symbol,valid_from,valid_to", *symbols)) + "\n", encoding="utf-8"
    )
    return folder


def ids(folder: Path) -> dict[str, str]:
    """Id by symbol."""
    return {i.symbol: i.instrument_id for i in universe.load(folder, is_demo=False).instruments}


def test_ids_survive_order_and_growth_of_the_file(tmp_path: Path) -> None:
    before = ids(write(tmp_path))
    more = tuple(f"N{n},New,stock,NYSE,USD,,,2020-01-0{n % 9 + 1},,N{n},2020-01-0{n % 9 + 1},,true" for n in range(500))
    lines = [*LINES, *more]
    random.Random(1).shuffle(lines)
    after = ids(write(tmp_path, tuple(lines)))
    assert len(set(after.values())) == 504
    assert {symbol: after[symbol] for symbol in before} == before


def test_an_id_survives_a_rename(tmp_path: Path) -> None:
    before = ids(write(tmp_path))
    renamed = LINES[0].replace("AAA,Aaa", "NEW,New Name")
    after = ids(write(tmp_path, (renamed, *LINES[1:]), ("NEW,AAA,2001-02-03,2026-01-01", "NEW,NEW,2026-01-01,")))
    assert after["NEW"] == before["AAA"]


def test_an_id_is_written_down_once_and_for_all() -> None:
    """A change of the rule would orphan every lake."""
    assert universe.instrument_id("stock", "IBM", dt.date(1962, 1, 2)) == "44b27c00141131d1"


def test_members_bear_the_symbol_of_the_day(tmp_path: Path) -> None:
    known = universe.load(write(tmp_path), is_demo=False)
    for day, symbol in (("2002-02-02", "OLD"), ("2002-02-03", "BBB"), ("2026-11-18", "BBB")):
        members = {i.instrument_id: i for i in known.members(on=dt.date.fromisoformat(day))}
        assert members[ids(tmp_path)["BBB"]].symbol == symbol
        assert len(members) == 3


@pytest.mark.parametrize(
    "line",
    [
        LINES[0],
        "AAA,Other,etf,NYSE,USD,,,2011-02-03,,AAA,2011-02-03,,true",
        "ZZZ,Same identity,stock,NYSE,USD,,,2011-02-03,,AAA,2001-02-03,,true",
        "ZZZ,Same spelling,stock,NYSE,USD,,,2011-02-03,,ZZZ,2011-02-03,B-B,true",
        "B-B,Spelled as another,stock,NYSE,USD,,,2011-02-03,,B-B,2011-02-03,,true",
    ],
)
def test_two_lines_for_one_thing_are_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"instruments\.csv"):
        universe.load(write(tmp_path, (*LINES, line)), is_demo=False)


def test_a_history_of_an_unknown_instrument_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"symbols\.csv.*NONE"):
        universe.load(write(tmp_path, symbols=("NONE,X,2001-01-01,",)), is_demo=False)


def test_the_followed_ones_can_be_narrowed_and_unknown_ones_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    assert [i.symbol for i in universe.load(tmp_path, is_demo=False).members(on=TODAY)] == ["AAA", "BBB", "CCC"]
    narrowed = universe.load(tmp_path, is_demo=False, only=("DDD", "AAA"))
    assert [i.symbol for i in narrowed.members(on=TODAY)] == ["AAA", "DDD"]
    assert len(narrowed.instruments) == 4
    with pytest.raises(ConfigurationError, match=r"MARKET_PIPELINE_UNIVERSE names XXX, YYY"):
        universe.load(tmp_path, is_demo=False, only=("XXX", "AAA", "YYY"))


@pytest.mark.parametrize(
    ("feed", "start", "names"),
    [
        (WEEKLY, "2026-11-16", ["AAA", "B-B"]),
        (OVERVIEW, "2026-11-16", ["AAA"]),
        (WEEKLY, "2020-05-04", ["AAA", "B-B", "DDD"]),
        (WEEKLY, "2020-05-11", ["AAA", "B-B"]),
        (WEEKLY, "2001-01-29", ["AAA"]),
        (WEEKLY, "2001-01-22", []),
        (WEEKLY, "1995-01-02", []),
    ],
)
def test_what_is_expected_follows_class_and_listing(tmp_path: Path, feed: Feed, start: str, names: list[str]) -> None:
    known = universe.load(write(tmp_path), is_demo=False)
    part = Slice.from_key(start, grain=feed.grain)
    requests = universe.expected(feed, part, known.instruments)
    assert [request.name for request in requests] == names


def test_a_listing_is_half_open_at_its_first_day_and_holds_its_last() -> None:
    listed = instrument("X", listed="2020-01-06", delisted_date=dt.date(2020, 5, 6))
    day = dt.timedelta(days=1)
    assert not listed.is_listed(dt.date(2020, 1, 5), dt.date(2020, 1, 6))
    assert listed.is_listed(dt.date(2020, 1, 6), dt.date(2020, 1, 6) + day)
    assert listed.is_listed(dt.date(2020, 5, 6), dt.date(2020, 5, 6) + day)
    assert not listed.is_listed(dt.date(2020, 5, 7), dt.date(2020, 5, 7) + day)


# The files of the repository


@pytest.mark.parametrize("is_demo", [False, True])
def test_our_universe_is_sound(is_demo: bool) -> None:
    known = universe.load(SEEDS, is_demo=is_demo)
    assert len({i.instrument_id for i in known.instruments}) == len(known.instruments)
    for i in known.instruments:
        assert i.asset_class in ("stock", "etf", "index")
        assert (i.sector is not None) == (i.asset_class == "stock")
        assert i.delisted_date is None or i.delisted_date > i.listed_date
        history = sorted((s for s in known.spellings if s.instrument_id == i.instrument_id), key=lambda s: s.valid_from)
        assert history, i.symbol
        assert history[-1].symbol == i.symbol
        for before, after in itertools.pairwise(history):
            assert before.valid_to is not None
            assert before.valid_from < before.valid_to <= after.valid_from
    for name in ("alpha_vantage",):
        assert len({i.spelling(name) for i in known.instruments}) == len(known.instruments)


@pytest.mark.parametrize("is_demo", [False, True])
def test_no_symbol_belongs_to_two_instruments_on_one_day(is_demo: bool) -> None:
    known = universe.load(SEEDS, is_demo=is_demo)
    for one, other in itertools.combinations(known.spellings, 2):
        if one.symbol == other.symbol:
            ends = [s.valid_to or dt.date.max for s in (one, other)]
            assert ends[0] <= other.valid_from or ends[1] <= one.valid_from, one.symbol


def test_the_core_universe_is_followed() -> None:
    known = universe.load(SEEDS, is_demo=False)
    symbols = {i.symbol for i in known.members(on=TODAY)}
    assert symbols >= CORE
    by_symbol = {i.symbol: i for i in known.instruments}
    assert by_symbol["VIX"].asset_class == "index"
    assert not {by_symbol["VIX"].asset_class} & (WEEKLY.asset_classes | OVERVIEW.asset_classes)
    assert by_symbol["BRK.B"].spelling("alpha_vantage") == "BRK-B"
    real = {i.symbol for i in known.instruments}
    assert not real & {i.symbol for i in universe.load(SEEDS, is_demo=True).instruments}
