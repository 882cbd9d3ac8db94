"""The rest of the sandbox's market: lives, tickers, prices, actions and odd rows, the same in whatever order asked."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from market_pipeline.sandbox import noise
from market_pipeline.sandbox.events import ROSTER_ROWS, Event, EventKind
from market_pipeline.sandbox.market import Market
from market_pipeline.sandbox.whole_market import WholeMarket
from sandbox_http import CAPTURED, NOW, ROSTER, SEEDS, client, grouped, needs_captures, pages, polygon, set_clock

SECOND = dt.timedelta(seconds=1)
TODAY = NOW.date()


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.load(SEEDS, roster_size=ROSTER)


@pytest.fixture(scope="module")
def whole(market: Market) -> WholeMarket:
    return market.whole(NOW)


@pytest.fixture(scope="module")
def http() -> TestClient:
    return client()


def row(http: TestClient, ticker: str, day: dt.date) -> dict[str, float] | None:
    found = [bar for bar in grouped(http, day.isoformat()) if bar["T"] == ticker]
    return found[0] if found else None


# Random numbers


def test_numbers_depend_on_their_place_alone() -> None:
    whole = noise.normal(np.arange(10_000), 7, "word", 3)
    assert whole[1234] == noise.normal(np.array([1234]), 7, "word", 3)[0]
    assert (noise.normal(np.arange(10_000)[::-1], 7, "word", 3)[::-1] == whole).all()
    assert (whole != noise.normal(np.arange(10_000), 8, "word", 3)).mean() > 0.99


def test_numbers_are_spread_as_they_should_be() -> None:
    """Against the moments of the distributions they stand for: 0 and 1, 1/2 and 1/12, with 200,000 draws."""
    places = np.arange(200_000)
    drawn, even = noise.normal(places, 1, "a"), noise.uniform(places, 1, "b")
    assert (drawn.mean(), drawn.std()) == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.01))
    assert (even.mean(), even.var()) == (pytest.approx(0.5, abs=0.005), pytest.approx(1 / 12, abs=0.002))
    assert 0 <= even.min() < even.max() < 1
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01


# Lives


def test_no_ticker_has_two_bearers_on_one_day(whole: WholeMarket) -> None:
    lives = defaultdict(list)
    for one in whole.tickers:
        lives[one.symbol].append((one.valid_from, one.valid_to or dt.date.max))
    for symbol, periods in lives.items():
        ordered = sorted(periods)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(ordered)), symbol
    assert sum(len(periods) > 1 for periods in lives.values()) >= 10


def test_about_as_many_tickers_are_listed_at_any_time(whole: WholeMarket) -> None:
    for year in range(2018, 2027):
        active = sum(one.holds(dt.date(year, 12, 31)) for one in whole.roster.tickers)
        assert active == pytest.approx(ROSTER, rel=0.02), year
    assert sum(one.is_delisted(TODAY) for one in whole.roster.tickers) == pytest.approx(0.02 * ROSTER * 8.9, rel=0.15)


def test_the_default_market_is_as_large_as_the_real_one() -> None:
    whole = Market.load(SEEDS).whole(NOW)
    active = Counter(one.kind for one in whole.tickers if one.holds(TODAY))
    assert sum(active.values()) == pytest.approx(11_030, abs=50)
    assert set(active) == {"CS", "ETF", "ADRC", "PFD", "WARRANT", "UNIT"}
    assert 1_500 < sum(one.is_delisted(TODAY) for one in whole.tickers) < 2_500
    assert any(one.symbol.endswith(".B") for one in whole.tickers)
    assert len({one.name for one in whole.tickers if one.kind == "CS" and not one.symbol.endswith(".B")}) > 6_000


@needs_captures
def test_tickers_and_names_are_nobodys() -> None:
    path = CAPTURED / "alpha_vantage" / "other" / "listing_status-active-13411rows.csv"
    if not path.is_file():
        pytest.skip("the captured roster is not beside this clone")
    with path.open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    words = {word.lower().strip(",.") for real in listed for word in real["name"].split()}
    tickers = Market.load(SEEDS).whole(NOW).tickers
    assert not {one.symbol for one in tickers} & {real["symbol"] for real in listed}
    assert not {one.name.split()[0].lower() for one in tickers} & words


def test_a_delisted_ticker_comes_back_as_another_company(market: Market, http: TestClient) -> None:
    events = market.events(NOW, kinds=[EventKind.ROSTER_REUSE])
    delisted = {e.old: e for e in market.events(NOW, kinds=[EventKind.ROSTER_DELISTING])}
    event = next(e for e in reversed(events) if e.symbol in delisted)
    gone = delisted[event.symbol]
    assert gone.date + dt.timedelta(days=60) <= event.date
    (now,) = pages(http, "/v3/reference/tickers", ticker=event.symbol)[0]
    (then,) = pages(http, "/v3/reference/tickers", ticker=event.symbol, active="false")[0]
    assert then["delisted_utc"][:10] == (gone.date + dt.timedelta(days=1)).isoformat()
    assert (then["name"], now["name"]) == (event.old, event.new)
    assert then["composite_figi"] != now["composite_figi"]
    assert then["cik"] != now["cik"]
    path = f"/v2/aggs/ticker/{event.symbol}/range/1/day/2018-01-01/{TODAY}"
    days = [dt.datetime.fromtimestamp(bar["t"] / 1000, dt.UTC).date() for bar in polygon(http, path).json()["results"]]
    assert not [day for day in days if gone.date < day < event.date]
    assert min(abs((day - gone.date).days) for day in days if day <= gone.date) < 10
    assert min(day for day in days if day >= event.date) <= event.date + dt.timedelta(days=10)
    life = polygon(http, f"/vX/reference/tickers/{event.symbol}/events").json()["results"]
    assert (life["name"], [e["date"] for e in life["events"]]) == (now["name"], [event.date.isoformat()])


def test_a_renamed_ones_old_ticker_goes_to_another(market: Market, http: TestClient) -> None:
    renames = {e.old: e for e in market.events(NOW, kinds=[EventKind.ROSTER_RENAME])}
    event = next(e for e in reversed(market.events(NOW, kinds=[EventKind.ROSTER_REUSE])) if e.symbol in renames)
    rename = renames[event.symbol]
    assert rename.date < event.date
    (heir,) = pages(http, "/v3/reference/tickers", ticker=event.symbol)[0]
    before = (rename.date - dt.timedelta(days=1)).isoformat()
    (former,) = pages(http, "/v3/reference/tickers", ticker=event.symbol, date=before)[0]
    (renamed,) = pages(http, "/v3/reference/tickers", ticker=str(rename.new), date=rename.date.isoformat())[0]
    assert former["composite_figi"] == renamed["composite_figi"] != heir["composite_figi"]
    assert pages(http, "/v3/reference/tickers", ticker=event.symbol, active="false") == [[]]
    told = polygon(http, f"/vX/reference/tickers/{renamed['composite_figi']}/events").json()["results"]["events"]
    assert [e["ticker_change"]["ticker"] for e in told] == [rename.new, rename.old]
    assert told[0]["date"] == rename.date.isoformat()
    # the price goes on under the new ticker
    numbers = market.horizon(NOW).calendar
    first = numbers.from_day(rename.date)
    old = next(filter(None, (row(http, event.symbol, numbers.dates[n]) for n in range(first - 1, first - 6, -1))))
    new = next(filter(None, (row(http, str(rename.new), numbers.dates[n]) for n in range(first, first + 5))))
    assert new["o"] / old["c"] == pytest.approx(1, abs=0.25)


def test_this_year_has_both_cases(market: Market) -> None:
    this_year = [e for e in market.events(NOW, kinds=[EventKind.ROSTER_REUSE]) if e.date.year == TODAY.year]
    assert len(this_year) == 2


# Prices


def test_bars_are_sound(whole: WholeMarket, market: Market) -> None:
    last = market.horizon(NOW).calendar.closed_by(NOW) - 1
    for number in (0, 1, 31, 32, 777, last):
        bars = whole.prices.session(number)
        assert (bars.low <= np.minimum(bars.open, bars.close)).all()
        assert (bars.high >= np.maximum(bars.open, bars.close)).all()
        assert (bars.low > 0).all()
        assert ((bars.low <= bars.vwap) & (bars.vwap <= bars.high)).all()
        assert (bars.volume > 0).all()
        assert (bars.trades >= 1).all()
        share = bars.is_there[(whole.roster.listed <= number) & (number < whole.roster.ended)].mean()
        assert 0.9 < share < 0.999  # some are halted or do not trade


def test_sessions_and_histories_say_the_same(whole: WholeMarket) -> None:
    last = 2200
    for instrument in (0, 7, 123, ROSTER - 1):
        history = whole.prices.history(instrument, last + 1)
        for number in (0, 1, 31, 32, 33, 640, 1999, last):
            session = whole.prices.session(number)
            for name in ("open", "high", "low", "close", "volume", "vwap", "trades", "is_there"):
                assert getattr(history, name)[number] == getattr(session, name)[instrument], (instrument, number, name)


def test_a_longer_calendar_changes_nothing_that_was(market: Market) -> None:
    later = Market.load(SEEDS, roster_size=ROSTER)
    before, after = market.whole(NOW), later.whole(NOW + dt.timedelta(days=730))
    count = len(before.roster.instruments)
    assert len(after.roster.instruments) > count
    for number in (100, 1500, 2200):
        one, two = before.prices.session(number), after.prices.session(number)
        assert (one.close == two.close[:count]).all()
        assert (one.is_there == two.is_there[:count]).all()
        assert before.roster.symbols(number) == after.roster.symbols(number)[:count]
    for table in ("dividends", "splits"):
        old, new = getattr(before, table).columns, getattr(after, table).columns
        ends = dt.date(2026, 12, 31).toordinal()
        assert (old["ticker"][old["date"] <= ends] == new["ticker"][new["date"] <= ends]).all()


def test_two_processes_give_the_same_bytes() -> None:
    code = (
        "import hashlib, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from sandbox_http import client, grouped, pages\n"
        "http = client(roster_size=120)\n"
        "told = [grouped(http, '2026-11-20'), pages(http, '/v3/reference/tickers', limit='50'),"
        " pages(http, '/v3/reference/dividends', limit='1000')]\n"
        "print(hashlib.sha256(repr(told).encode()).hexdigest())\n"
    )
    command = [sys.executable, "-c", code, str(SEEDS.parents[1] / "tests")]
    digests = {subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)}
    assert len(digests) == 1


# Actions


def test_splits_are_in_the_prices(market: Market, whole: WholeMarket) -> None:
    """The last close over the first open is the ratio, within a day's move."""
    table = whole.splits.columns
    checked = Counter[str]()
    for event in market.events(NOW, kinds=[EventKind.ROSTER_SPLIT])[-60:]:
        number = market.horizon(NOW).calendar.number(event.date)
        assert number is not None
        before, after = whole.prices.session(number - 1), whole.prices.session(number)
        place = next(
            o.number
            for o in whole.roster.instruments
            if o.symbol(number) == event.symbol and o.listed <= number < o.ended
        )
        ratio = float(event.new or 0)
        assert before.close[place] / after.open[place] == pytest.approx(ratio, rel=0.15), event
        same = (table["ticker"] == event.symbol) & (table["date"] == event.date.toordinal())
        assert table["ratio"][same].tolist() == [ratio]
        checked["reverse" if ratio < 1 else "forward"] += 1
    assert min(checked["reverse"], checked["forward"]) > 3


def test_dividends_fall_on_sessions_of_their_instruments_life(whole: WholeMarket, market: Market) -> None:
    table = whole.dividends.columns
    sessions = {day.toordinal() for day in market.horizon(NOW).calendar.dates}
    lives = defaultdict(list)
    for one in whole.tickers:
        lives[one.symbol].append(one)
    for day, ticker, amount in zip(*(table[name].tolist() for name in ("date", "ticker", "amount")), strict=True):
        assert day in sessions
        assert amount > 0
        assert any(one.holds(dt.date.fromordinal(day)) for one in lives[ticker])
    assert set(table["kind"].tolist()) == {"CD", "SC", "LT"}
    assert set(table["frequency"].tolist()) >= {0, 1, 2, 4, 12}
    assert (table["known"] < table["date"]).all()
    assert (table["date"] < table["paid"]).all()
    assert len(set(zip(*(table[name].tolist() for name in ("date", "ticker", "kind")), strict=True))) == len(
        table["date"]
    )


# Odd rows


def odd(market: Market, kind: EventKind, days: int = 14) -> list[Event]:
    return list(market.events(NOW, kinds=[kind], since=NOW - dt.timedelta(days=days)))


def test_three_closes_a_session_are_corrected_on_the_next(market: Market) -> None:
    events = [e for e in odd(market, EventKind.ROSTER_CORRECTION) if e.date == dt.date(2026, 11, 18)]
    assert 1 <= len(events) <= 3
    http = client()
    for event in events:
        assert event.at == dt.datetime(2026, 11, 19, 21, tzinfo=dt.UTC)
        for instant, close in ((event.at - SECOND, event.old), (event.at, event.new)):
            set_clock(http, instant)
            bar = row(http, event.symbol, event.date)
            assert bar is not None
            assert bar["c"] == close
            assert bar["l"] <= bar["c"] <= bar["h"]
    assert len({(e.symbol, e.date) for e in odd(market, EventKind.ROSTER_CORRECTION)}) > 15


def test_only_corrections_change_a_session_afterwards(market: Market) -> None:
    http = client(clock=dt.datetime(2026, 11, 18, 21, tzinfo=dt.UTC))
    before = {bar["T"]: bar for bar in grouped(http, "2026-11-18")}
    set_clock(http, NOW)
    after = {bar["T"]: bar for bar in grouped(http, "2026-11-18")}
    kinds = [EventKind.ROSTER_CORRECTION, EventKind.CORRECTION]
    events = market.events(NOW, kinds=kinds, since=NOW - dt.timedelta(days=7))
    expected = {e.symbol for e in events if e.provider == "polygon" and e.date == dt.date(2026, 11, 18)}
    assert {ticker for ticker in before if before[ticker] != after[ticker]} == expected
    assert set(before) == set(after)


def test_bad_and_double_rows_are_where_the_events_say(market: Market, http: TestClient) -> None:
    bad, twice = odd(market, EventKind.ROSTER_BAD_ROW), odd(market, EventKind.ROSTER_DUPLICATE_ROW)
    assert [e.date for e in bad] == [dt.date(2026, 11, 9), dt.date(2026, 11, 16)]
    assert [e.date for e in twice] == [dt.date(2026, 11, 12), dt.date(2026, 11, 19)]
    for day in (dt.date(2026, 11, number) for number in (*range(9, 14), *range(16, 21))):
        rows = grouped(http, day.isoformat())
        assert {bar["T"] for bar in rows if bar["h"] < bar["l"]} == {e.symbol for e in bad if e.date == day}
        counts = Counter(bar["T"] for bar in rows)
        assert {ticker for ticker, n in counts.items() if n > 1} == {e.symbol for e in twice if e.date == day}
        for event in (e for e in bad if e.date == day):
            bar = next(bar for bar in rows if bar["T"] == event.symbol)
            assert (bar["l"], bar["h"]) == (event.old, event.new)


def test_odd_rows_of_the_roster_are_told_with_a_since_only(market: Market) -> None:
    assert not market.events(NOW, kinds=ROSTER_ROWS)
    recent = market.events(NOW, since=NOW - dt.timedelta(days=8))
    assert {e.kind for e in recent} >= ROSTER_ROWS
    assert list(recent) == sorted(recent, key=lambda e: (e.at, e.symbol, e.kind))


# Size


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process's memory is read from /proc")
def test_the_whole_market_fits_in_300_megabytes() -> None:
    code = (
        "import datetime as dt, pathlib, re, sys\n"
        "from market_pipeline.sandbox.market import Market\n"
        "from market_pipeline.sandbox.polygon import Polygon\n"
        "polygon = Polygon(Market.load(pathlib.Path(sys.argv[1])))\n"
        "now = dt.datetime.fromisoformat(sys.argv[2])\n"
        "def ask(path, **params):\n"
        "    answer = polygon.answer(polygon.call('http://host', path, params, {}), now)\n"
        "    assert answer.outcome == 'data', answer\n"
        "    return answer.body\n"
        "for day in ('2026-11-20', '2026-11-19', '2018-03-01', '2022-06-01'):\n"
        "    assert len(ask('/v2/aggs/grouped/locale/us/market/stocks/' + day)) > 1_000_000\n"
        "for name in ('tickers', 'dividends', 'splits'):\n"
        "    ask('/v3/reference/' + name, limit='1000')\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) // 1024)\n"
    )
    command = [sys.executable, "-c", code, str(SEEDS), NOW.isoformat()]
    used = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert used < 300, used
