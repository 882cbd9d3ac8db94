"""The fictional market as of a clock: sound bars, and every planted event before and after its instant."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from market_pipeline.sandbox.events import Event, EventKind
from market_pipeline.sandbox.horizon import Bar
from market_pipeline.sandbox.market import Market

SEEDS = Path(__file__).parents[1] / "dbt" / "seeds"
NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.load(SEEDS)


def one(market: Market, kind: EventKind, symbol: str | None = None) -> Event:
    found = [e for e in market.events(NOW, kinds=[kind]) if symbol in (None, e.symbol)]
    assert len(found) == 1
    return found[0]


def week(bars: tuple[Bar, ...], monday: dt.date) -> Bar | None:
    return next((bar for bar in bars if bar.week_start == monday), None)


def priced(market: Market, clock: dt.datetime = NOW) -> dict[str, tuple[Bar, ...]]:
    bars = {symbol: market.bars(symbol, clock, with_faults=False) for symbol in market.symbols(clock)}
    return {symbol: found for symbol, found in bars.items() if found}


def test_universe_has_every_sector_and_every_kind_of_instrument(market: Market) -> None:
    stocks = [m for m in market.members if m.asset_class == "stock"]
    assert len(stocks) >= 22
    assert len({m.sector for m in stocks}) == 11
    assert sum(m.asset_class == "etf" for m in market.members) == 5
    assert sum(m.asset_class == "index" for m in market.members) == 1


def test_every_bar_is_sound(market: Market) -> None:
    for symbol, bars in priced(market).items():
        for bar in bars:
            where = (symbol, bar)
            assert 0 < bar.low <= min(bar.open, bar.close), where
            assert bar.high >= max(bar.open, bar.close), where
            assert bar.volume > 0, where
            assert bar.dividend >= 0, where
            assert bar.adjusted_close > 0, where
            assert 0 <= (bar.session - bar.week_start).days <= 4, where


def test_history_is_long_without_gaps_and_newest_first(market: Market) -> None:
    for symbol, bars in priced(market).items():
        weeks = [bar.week_start for bar in bars]
        assert all((a - b).days == 7 for a, b in itertools.pairwise(weeks)), symbol
    histories = [len(bars) for bars in priced(market).values()]
    assert sum(length > 5 * 52 for length in histories) >= 27


def test_prices_start_on_the_listing_date(market: Market) -> None:
    for member in market.members:
        if member.asset_class != "index" and member.delisted is None:
            oldest = market.bars(member.symbol, NOW, with_faults=False)[-1]
            assert oldest.week_start <= member.listed <= oldest.session


def test_two_processes_give_the_same_bars(market: Market) -> None:
    code = (
        "import datetime as dt, hashlib, pathlib, sys\n"
        "from market_pipeline.sandbox.market import Market\n"
        "clock = dt.datetime.fromisoformat(sys.argv[2])\n"
        "market = Market.load(pathlib.Path(sys.argv[1]))\n"
        "known = [(market.bars(s, clock), market.profile(s, clock)) for s in market.symbols(clock)]\n"
        "print(hashlib.sha256(repr(known).encode()).hexdigest())\n"
    )
    command = [sys.executable, "-c", code, str(SEEDS), NOW.isoformat()]
    elsewhere = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    known = [(market.bars(s, NOW), market.profile(s, NOW)) for s in market.symbols(NOW)]
    assert elsewhere == hashlib.sha256(repr(known).encode()).hexdigest()


def test_a_longer_horizon_changes_no_bar_that_exists(market: Market) -> None:
    later = at("2028-03-01 12:00")
    for symbol, bars in priced(market).items():
        whole = {bar.week_start: bar for bar in market.bars(symbol, later, with_faults=False)}
        for bar in bars:
            same = whole[bar.week_start]
            assert (bar.open, bar.high, bar.low, bar.volume, bar.dividend) == (
                same.open,
                same.high,
                same.low,
                same.volume,
                same.dividend,
            )


def test_another_seed_is_another_market(market: Market) -> None:
    assert Market.load(SEEDS, seed=1).bars("QRVN", NOW)[0] != market.bars("QRVN", NOW)[0]


def test_later_clocks_change_history_only_by_restatements_and_by_the_anchor(market: Market) -> None:
    def raw(bars: tuple[Bar, ...]) -> dict[dt.date, tuple[float, ...]]:
        return {bar.week_start: (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.dividend) for bar in bars}

    before, after = at("2026-11-13 22:00"), at("2026-11-20 22:00")
    changed = set()
    for symbol, bars in priced(market, before).items():
        later = raw(market.bars(symbol, after, with_faults=False))
        changed |= {(symbol, monday) for monday, values in raw(bars).items() if later[monday] != values}
    events = market.events(after, kinds=[EventKind.RESTATEMENT], since=before)
    assert len(events) == 1
    assert changed == {(event.symbol, event.week_start) for event in events}


def test_weeks_are_dated_by_their_last_session(market: Market) -> None:
    bars = market.bars("TYRQ", NOW)
    good_friday = week(bars, dt.date(2026, 3, 30))
    assert good_friday is not None
    assert good_friday.session == dt.date(2026, 4, 2)
    assert bars[0].session == dt.date(2026, 11, 20)


@pytest.mark.parametrize(
    ("clock", "session"),
    [
        ("2026-11-18 20:59:59", "2026-11-17"),  # winter time: the close is at 21:00 UTC
        ("2026-11-18 21:00:00", "2026-11-18"),
        ("2026-07-02 20:00:00", "2026-07-02"),  # summer time
        ("2026-11-27 17:59:59", "2026-11-25"),  # Thanksgiving, then a half day that closes at 18:00 UTC
        ("2026-11-27 18:00:00", "2026-11-27"),
        ("2026-11-16 15:00:00", "2026-11-13"),  # Monday before the close: no running week yet
    ],
)
def test_the_running_week_is_dated_by_the_last_closed_session(market: Market, clock: str, session: str) -> None:
    bars = market.bars("TYRQ", at(clock))
    assert bars[0].session == dt.date.fromisoformat(session)
    assert bars[0].close == bars[0].adjusted_close


def test_the_running_week_grows(market: Market) -> None:
    partial = market.bars("TYRQ", at("2026-11-18 22:00"))[0]
    whole = market.bars("TYRQ", NOW)[0]
    assert partial.week_start == whole.week_start
    assert partial.open == whole.open
    assert partial.volume < whole.volume
    assert partial.high <= whole.high


def test_split_makes_no_jump_in_adjusted_closes(market: Market) -> None:
    for symbol, ratio in (("VEXQ", 4), ("QRVN", 2)):
        event = one(market, EventKind.SPLIT, symbol)
        assert event.new == ratio
        bars = market.bars(symbol, NOW)
        after = week(bars, event.week_start)
        before = week(bars, event.week_start - dt.timedelta(days=7))
        assert after is not None
        assert before is not None
        assert before.close / after.close == pytest.approx(ratio, rel=0.2)
        assert abs(after.adjusted_close / before.adjusted_close - 1) < 0.2
    assert one(market, EventKind.SPLIT, "VEXQ").date == dt.date(2026, 9, 14)


def test_split_is_unknown_before_its_day(market: Market) -> None:
    before = market.bars("VEXQ", at("2026-09-14 19:59:59"))[0]
    after = week(market.bars("VEXQ", at("2026-09-14 20:00")), before.week_start)
    assert after is not None
    assert before.adjusted_close == before.close == after.close
    assert after.adjusted_close == pytest.approx(before.close / 4, rel=0.02)


def test_adjustment_factors_are_those_of_the_dividends_and_splits(market: Market) -> None:
    """Chain of (1 - dividend / previous close) / ratio, recomputed from the events alone."""
    events = market.events(NOW, kinds=[EventKind.DIVIDEND, EventKind.SPLIT])
    assert len({e.symbol for e in events if e.kind is EventKind.DIVIDEND}) >= 20
    for symbol, bars in priced(market).items():
        factor, own = 1.0, [e for e in events if e.symbol == symbol]
        for bar in bars:
            assert bar.adjusted_close == pytest.approx(bar.close * factor, abs=5.1e-5), (symbol, bar)
            inside = [e for e in own if e.week_start == bar.week_start]
            paid = sum(float(e.new or 0) for e in inside if e.kind is EventKind.DIVIDEND)
            assert bar.dividend == pytest.approx(paid, abs=1e-9)
            for event in inside:
                new, old = float(event.new or 0), float(event.old or 0)
                factor *= 1 - new / old if event.kind is EventKind.DIVIDEND else 1 / new


def test_dividends_are_quarterly(market: Market) -> None:
    days = [e.date for e in market.events(NOW, kinds=[EventKind.DIVIDEND]) if e.symbol == "TYRQ"]
    assert len(days) > 25
    assert all(60 < (b - a).days < 125 for a, b in itertools.pairwise(days))


def test_one_close_is_restated_every_week(market: Market) -> None:
    events = market.events(NOW, kinds=[EventKind.RESTATEMENT])
    mondays = [e.week_start for e in events]
    assert mondays == sorted(set(mondays))
    assert len(events) > 400
    assert all((b - a).days == 7 for a, b in zip(mondays[-200:], mondays[-199:], strict=False))
    for event in events[-60:]:
        assert event.at == dt.datetime.combine(event.week_start + dt.timedelta(days=16), dt.time(12), dt.UTC)
        old = week(market.bars(event.symbol, event.at - SECOND), event.week_start)
        new = week(market.bars(event.symbol, event.at), event.week_start)
        assert old is not None
        assert new is not None
        assert (old.close, new.close) == (event.old, event.new)
        assert old.close != new.close
        assert new.low <= new.close <= new.high
        assert new.adjusted_close / new.close == pytest.approx(old.adjusted_close / old.close, rel=1e-5)
        assert (old.open, old.high, old.low, old.volume) == (new.open, new.high, new.low, new.volume)


def test_one_instrument_is_late_every_week(market: Market) -> None:
    events = market.events(NOW, kinds=[EventKind.LATE])
    assert len(events) > 400
    for event in events[-40:]:
        assert event.until is not None
        assert event.until == dt.datetime.combine(event.week_start + dt.timedelta(days=5), dt.time(6), dt.UTC)
        before = market.bars(event.symbol, event.until - SECOND)[0]
        after = market.bars(event.symbol, event.until)[0]
        assert before.week_start == event.week_start - dt.timedelta(days=7)
        assert (after.week_start, after.session) == (event.week_start, event.date)
    last = events[-1]
    assert last.until is not None
    others = priced(market, last.until - SECOND)
    assert [symbol for symbol, bars in others.items() if bars[0].week_start != last.week_start] == [last.symbol]


def test_bad_rows_are_in_every_snapshot_and_alone(market: Market) -> None:
    for clock in (NOW, at("2026-06-01 12:00")):
        bad = {
            (symbol, bar.week_start)
            for symbol in market.symbols(clock)
            for bar in market.bars(symbol, clock)
            if bar.high < bar.low or bar.volume < 0
        }
        assert bad == {("KQTL", dt.date(2024, 3, 11)), ("DRQX", dt.date(2023, 8, 7))}
    assert {(e.symbol, e.detail) for e in market.events(NOW, kinds=[EventKind.BAD_ROW])} == {
        ("KQTL", "high_below_low"),
        ("DRQX", "negative_volume"),
    }


def test_one_row_is_served_twice(market: Market) -> None:
    event = one(market, EventKind.DUPLICATE_ROW)
    assert (event.symbol, event.week_start) == ("JXPR", dt.date(2025, 2, 10))
    for symbol in market.symbols(NOW):
        served = market.bars(symbol, NOW)
        assert len(served) - len(set(served)) == (symbol == "JXPR")


def test_rename_moves_the_symbol_and_keeps_the_history(market: Market) -> None:
    event = one(market, EventKind.RENAME)
    assert (event.symbol, event.old, event.new, event.date) == ("OXQN", "ZQBK", "OXQN", dt.date(2026, 10, 5))
    before = event.at - SECOND
    old, new = market.bars("ZQBK", before), market.bars("OXQN", event.at)
    assert old == new
    assert market.bars("OXQN", before) == ()
    assert market.bars("ZQBK", event.at) == ()
    was, now = market.profile("ZQBK", before), market.profile("OXQN", event.at)
    assert was is not None
    assert now is not None
    assert (was.name, was.symbol) == ("Zaqbook Travel Inc", "ZQBK")
    assert (now.name, now.symbol) == ("Oxaqun Voyages Inc", "OXQN")


def test_delisted_instrument_answers_until_the_end_of_its_last_week(market: Market) -> None:
    event = one(market, EventKind.DELISTING)
    assert (event.symbol, event.date) == ("EQWX", dt.date(2026, 10, 16))
    last = market.bars("EQWX", event.at - SECOND)
    assert last[0].session == event.date
    assert market.bars("EQWX", event.at) == ()
    assert market.profile("EQWX", event.at) is None


def test_recent_listing_appears_with_its_first_close(market: Market) -> None:
    assert market.bars("NQTR", at("2026-05-14 19:59:59")) == ()
    (first,) = market.bars("NQTR", at("2026-05-14 20:00"))
    assert first.session == dt.date(2026, 5, 14)


def test_sector_changes_on_its_day(market: Market) -> None:
    event = one(market, EventKind.SECTOR_CHANGE)
    before, after = market.profile("XLOM", event.at - SECOND), market.profile("XLOM", event.at)
    assert before is not None
    assert after is not None
    assert (before.sector, after.sector) == (event.old, event.new) == ("Technology", "Communication Services")
    assert (before.industry, after.industry) == ("Software - Application", "Internet Content & Information")


def test_half_days_are_events(market: Market) -> None:
    days = {e.date for e in market.events(at("2026-12-31 12:00"), kinds=[EventKind.HALF_DAY])}
    assert {dt.date(2025, 11, 28), dt.date(2025, 12, 24), dt.date(2026, 11, 27), dt.date(2026, 12, 24)} <= days


def test_events_never_come_from_the_future(market: Market) -> None:
    clock = at("2026-09-16 00:00")
    assert all(event.at <= clock for event in market.events(clock))
    assert {e.at for e in market.events(NOW, since=clock)} >= {one(market, EventKind.RENAME).at}
    assert all(event.at >= clock for event in market.events(NOW, since=clock))


def test_profiles_fit_the_prices(market: Market) -> None:
    for member in market.members:
        found = market.profile(member.symbol, NOW)
        assert (found is None) == (member.asset_class != "stock" or member.delisted is not None)
        if found is not None:
            assert found.price == market.bars(member.symbol, NOW, with_faults=False)[0].close
            assert found.market_capitalization == pytest.approx(found.shares_outstanding * found.price, rel=1e-4)
            assert found.low_52w <= found.price <= found.high_52w


def test_split_multiplies_shares_and_not_the_company(market: Market) -> None:
    event = one(market, EventKind.SPLIT, "VEXQ")
    before, after = market.profile("VEXQ", event.at - SECOND), market.profile("VEXQ", event.at)
    assert before is not None
    assert after is not None
    assert after.shares_outstanding == pytest.approx(4 * before.shares_outstanding, rel=1e-5)
    assert after.market_capitalization == pytest.approx(before.market_capitalization, rel=0.1)
    assert after.high_52w < before.high_52w / 2
