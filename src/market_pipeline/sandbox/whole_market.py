"""The whole market as Polygon tells it: the universe's members beside the roster, by session, by ticker, by action.

What does not belong here: the members' own histories (`daily`), the bytes (`polygon_bodies`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from market_pipeline.sandbox import daily, noise, reference, roster_actions, roster_oddities
from market_pipeline.sandbox.events import Event, EventKind
from market_pipeline.sandbox.horizon import Horizon
from market_pipeline.sandbox.listing import Listing
from market_pipeline.sandbox.oddities import Oddities
from market_pipeline.sandbox.polygon_bodies import Columns, milliseconds, start_of
from market_pipeline.sandbox.prices import Floats
from market_pipeline.sandbox.reference import Ticker
from market_pipeline.sandbox.roster import Roster
from market_pipeline.sandbox.roster_actions import Table
from market_pipeline.sandbox.roster_prices import Bars, RosterPrices
from market_pipeline.sandbox.sessions import midnight

Sessions = NDArray[np.intp]


class WholeMarket:
    """Everything up to one horizon; nothing in it depends on a clock but what takes one."""

    def __init__(self, horizon: Horizon, oddities: Oddities, *, roster_size: int) -> None:
        self._horizon, self._oddities = horizon, oddities
        taken = frozenset(period.symbol for member in horizon.members for period in member.periods)
        self._minute: dt.datetime | None = None
        self._members: dict[tuple[str, bool], tuple[Sessions, Floats]] = {}
        self.roster = Roster(horizon.calendar, horizon.seed, roster_size, taken)

    @cached_property
    def prices(self) -> RosterPrices:
        """Prices of the roster."""
        return RosterPrices(self.roster, self._horizon.moves)

    @cached_property
    def tickers(self) -> tuple[Ticker, ...]:
        """Every ticker there was, is or will be up to the horizon."""
        former = dict(self._horizon.script.former_names)
        own = reference.of_members(self._horizon.members, former, seed=self._horizon.seed)
        return (*own, *self.roster.tickers)

    @cached_property
    def bearers(self) -> Mapping[str, Sequence[Ticker]]:
        """The records of each instrument, oldest first."""
        found: dict[str, list[Ticker]] = {}
        for one in self.tickers:
            found.setdefault(one.instrument, []).append(one)
        return found

    @cached_property
    def dividends(self) -> Table:
        """Every dividend."""
        return roster_actions.dividends(self._horizon, self.roster, self.prices)

    @cached_property
    def splits(self) -> Table:
        """Every split."""
        return roster_actions.splits(self._horizon, self.roster, self.prices)

    def session(self, number: int, clock: dt.datetime, *, is_adjusted: bool) -> Columns:
        """Every row of a closed session, as known at the clock, in a seeded order."""
        rows = (self._member_row(m, number, clock, is_adjusted=is_adjusted) for m in self._horizon.members)
        own = [row for row in rows if row is not None]
        tickers = [ticker for ticker, _ in own]
        values = np.array([row for _, row in own]).reshape(len(own), 7).T
        if self.roster.size:
            symbols, rest = self._roster_rows(number, clock, is_adjusted=is_adjusted)
            tickers += symbols
            values = np.concatenate([values, rest], axis=1)
        order = np.argsort(noise.bits(np.arange(len(tickers)), self._horizon.seed, "grouped order", number))
        closed = milliseconds(self._horizon.calendar.closes[number])
        opened, high, low, close, volume, vwap, trades = values[:, order]
        listed = [tickers[place] for place in order.tolist()]
        return Columns(listed, volume, vwap, opened, close, high, low, [closed] * len(listed), trades)

    def history(self, ticker: str, since: int, until: int, clock: dt.datetime, *, is_adjusted: bool) -> Columns:
        """The bars under one ticker on the sessions with numbers since <= number < until that have closed."""
        calendar = self._horizon.calendar
        until = min(until, calendar.closed_by(clock))
        rows: dict[int, Sequence[float]] = {}
        for one in (one for one in self.tickers if one.symbol == ticker):
            numbers = [n for n in range(since, until) if one.holds(calendar.dates[n])]
            if not numbers:
                continue
            rows |= self._bearer_rows(one, numbers, clock, is_adjusted=is_adjusted)
        values = np.array([rows[number] for number in sorted(rows)]).reshape(len(rows), 7).T
        opened, high, low, close, volume, vwap, trades = values
        instants = [start_of(calendar.dates[number]) for number in sorted(rows)]
        return Columns([ticker] * len(rows), volume, vwap, opened, close, high, low, instants, trades)

    def events(self, clock: dt.datetime, since: dt.datetime) -> Iterator[Event]:
        """Odd rows of the roster that were told or mended between two instants, with the closes told."""
        calendar = self._horizon.calendar
        for number in range(max(calendar.closed_by(since) - 1, 0), calendar.closed_by(clock)):
            bars = self.prices.session(number)
            odd, symbols = roster_oddities.on_session(self._horizon, number, bars), self.roster.symbols(number)
            day, at = calendar.dates[number], calendar.closes[number]
            for place, served in odd.corrected.items():
                mended = calendar.closes[number + 1]
                if since <= mended <= clock:
                    right = float(bars.close[place])
                    yield Event(
                        EventKind.ROSTER_CORRECTION, symbols[place], day, mended, served, right, provider="polygon"
                    )
            if odd.exchanged is not None and since <= at:
                high, low = float(bars.high[odd.exchanged]), float(bars.low[odd.exchanged])
                symbol = symbols[odd.exchanged]
                yield Event(EventKind.ROSTER_BAD_ROW, symbol, day, at, high, low, provider="polygon")
            if odd.twice is not None and since <= at:
                yield Event(EventKind.ROSTER_DUPLICATE_ROW, symbols[odd.twice], day, at, provider="polygon")

    def lives(self) -> Iterator[Event]:
        """What becomes of the roster's tickers, and its splits; `detail` is the instrument's name."""
        calendar, instruments = self._horizon.calendar, self.roster.instruments
        dates, closes = calendar.dates, calendar.closes
        for one in instruments:
            if one.listed:
                day, at = dates[one.listed], midnight(dates[one.listed])
                yield Event(EventKind.ROSTER_LISTING, one.symbols[0], day, at, new=one.symbols[0], detail=one.name)
                if one.reuses is not None:
                    before = instruments[one.reuses].name
                    yield Event(EventKind.ROSTER_REUSE, one.symbols[0], day, at, before, one.name)
            if one.renamed < len(dates):
                day = dates[one.renamed]
                old, new = one.symbols
                yield Event(EventKind.ROSTER_RENAME, new, day, midnight(day), old, new, detail=one.name)
            if one.ended <= len(dates):
                day, symbol = dates[one.ended - 1], one.symbols[-1]
                at = midnight(day + dt.timedelta(days=1))
                yield Event(EventKind.ROSTER_DELISTING, symbol, day, at, old=symbol, detail=one.name)
        for place in np.flatnonzero(self.prices.split_session < len(dates)).tolist():
            number = int(self.prices.split_session[place])
            symbol, ratio = instruments[place].symbol(number), float(self.prices.split_ratio[place])
            yield Event(EventKind.ROSTER_SPLIT, symbol, dates[number], closes[number], 1.0, ratio)

    def _roster_rows(self, number: int, clock: dt.datetime, *, is_adjusted: bool) -> tuple[list[str], Floats]:
        bars = self.prices.session(number)
        odd = roster_oddities.on_session(self._horizon, number, bars)
        values = _stacked(bars)
        if number + 1 >= len(self._horizon.calendar.closes) or clock < self._horizon.calendar.closes[number + 1]:
            for place, served in odd.corrected.items():
                values[3, place] = served
        if odd.exchanged is not None:
            values[1:3, odd.exchanged] = values[2:0:-1, odd.exchanged]
        if is_adjusted:
            now = self._horizon.calendar.begun_by(clock) - 1
            _adjust(values, self.prices.split_factor(now) / self.prices.split_factor(number))
        places = np.flatnonzero(bars.is_there)
        if odd.twice is not None:
            places = np.append(places, odd.twice)
        symbols = self.roster.symbols(number)
        return [symbols[place] for place in places.tolist()], values[:, places]

    def _bearer_rows(
        self, one: Ticker, numbers: Sequence[int], clock: dt.datetime, *, is_adjusted: bool
    ) -> dict[int, Sequence[float]]:
        """Rows of one instrument by session; those of the roster without its odd rows."""
        member = next((m for m in self._horizon.members if m.periods[0].symbol == one.instrument), None)
        if member is not None:
            known, values = self._member_values(member, clock, is_adjusted=is_adjusted)
            rows = dict(zip(known.tolist(), values.T.tolist(), strict=True))
            return {number: rows[number] for number in numbers if number in rows}
        place, sessions = int(one.instrument.rpartition(" ")[2]), np.arange(numbers[-1] + 1)
        bars = self.prices.history(place, numbers[-1] + 1)
        values = _stacked(bars)
        if is_adjusted:
            now = self._horizon.calendar.begun_by(clock) - 1
            ratio, since = self.prices.split_ratio[place], self.prices.split_session[place]
            _adjust(values, self.prices.split_factor(now)[place] / np.where(since <= sessions, ratio, 1.0))
        return {number: values[:, number].tolist() for number in numbers if bars.is_there[number]}

    def _member_row(
        self, member: Listing, number: int, clock: dt.datetime, *, is_adjusted: bool
    ) -> tuple[str, Sequence[float]] | None:
        """The ticker and the row of a member on a session, None where there is none."""
        ticker = member.symbol_on(self._horizon.calendar.dates[number])
        if member.asset_class == "index" or ticker is None:
            return None
        known, values = self._member_values(member, clock, is_adjusted=is_adjusted)
        place = int(np.searchsorted(known, number))
        return (ticker, values[:, place].tolist()) if place < len(known) and known[place] == number else None

    def _member_values(self, member: Listing, clock: dt.datetime, *, is_adjusted: bool) -> tuple[Sessions, Floats]:
        """Session numbers and rows of a member; kept for a minute of the clock, within which nothing changes."""
        minute, key = clock.replace(second=0, microsecond=0), (member.symbol, is_adjusted)
        if self._minute != minute:
            self._minute, self._members = minute, {}
        if key not in self._members:
            days = daily.polygon(self._horizon, self._oddities, member, clock)
            name, seed = member.periods[0].symbol, self._horizon.seed
            inside = 0.35 + 0.3 * noise.uniform(days.numbers, seed, name, "polygon vwap")
            vwap = np.clip(np.round(days.low + (days.high - days.low) * inside, 4), days.low, days.high)
            per_trade = 60 + 80 * noise.uniform(days.numbers, seed, name, "polygon trades")
            trades = np.maximum(np.floor(days.volume / per_trade), 1)
            values = np.array([days.open, days.high, days.low, days.close, days.volume, vwap, trades])
            if is_adjusted:
                _adjust(values, days.split_factor)
            self._members[key] = (days.numbers, values)
        return self._members[key]


def _stacked(bars: Bars) -> Floats:
    return np.array([bars.open, bars.high, bars.low, bars.close, bars.volume, bars.vwap, bars.trades])


def _adjust(values: Floats, shares: Floats | float) -> None:
    """Prices and volumes in shares of now, of which one then was `shares`; in place."""
    values[[0, 1, 2, 3, 5]] = np.round(values[[0, 1, 2, 3, 5]] / shares, 4)
    values[4] = np.round(values[4] * shares, 6)
