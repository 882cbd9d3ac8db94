"""The fictional market as of a clock: weekly bars, profiles and events, as a provider would know them at that instant.

Pure: the clock is an argument everywhere. What does not belong here: bytes on a wire (`alpha_vantage`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from market_pipeline.sandbox import listing as listings
from market_pipeline.sandbox.companies import Profile, profile
from market_pipeline.sandbox.events import ROSTER_ROWS, Event, EventKind
from market_pipeline.sandbox.horizon import Bar, Horizon
from market_pipeline.sandbox.listing import Listing
from market_pipeline.sandbox.oddities import Oddities
from market_pipeline.sandbox.script import Script, draw
from market_pipeline.sandbox.sessions import new_york_date, sessions
from market_pipeline.sandbox.whole_market import WholeMarket

DEFAULT_SEED = 20260105
DEFAULT_ROSTER_SIZE = 11_000


class Market:
    """Every member's history, generated up to the end of the year after the clock's, and then kept."""

    def __init__(
        self,
        members: Sequence[Listing],
        *,
        seed: int = DEFAULT_SEED,
        script: Script | None = None,
        roster_size: int = DEFAULT_ROSTER_SIZE,
    ) -> None:
        self.members = tuple(members)
        self.roster_size = roster_size
        self.seed = seed
        self.script = script or Script()
        self._horizons: dict[int, Horizon] = {}
        self._oddities: dict[int, Oddities] = {}
        self._wholes: dict[int, WholeMarket] = {}
        self._events: dict[int, tuple[Event, ...]] = {}

    @classmethod
    def load(cls, folder: Path, *, seed: int = DEFAULT_SEED, roster_size: int = DEFAULT_ROSTER_SIZE) -> Market:
        """The market of the seed files in a folder."""
        return cls(listings.load(folder), seed=seed, roster_size=roster_size)

    def symbols(self, clock: dt.datetime) -> tuple[str, ...]:
        """Symbols in force at the clock, sorted; indexes too."""
        day = new_york_date(clock)
        return tuple(sorted(symbol for member in self.members if (symbol := member.symbol_on(day)) is not None))

    def member(self, symbol: str, clock: dt.datetime) -> Listing | None:
        """The instrument that bears a symbol at the clock; None for former, future and unknown ones."""
        day = new_york_date(clock)
        return next((member for member in self.members if member.symbol_on(day) == symbol), None)

    def _every_event(self, clock: dt.datetime) -> tuple[Event, ...]:
        year = new_york_date(clock).year + 1
        if year not in self._events:
            lives = self.whole(clock).lives()
            found = [*self.horizon(clock).events, *self.oddities(clock).events(), *lives]
            self._events[year] = tuple(sorted(found, key=_order))
        return self._events[year]

    def past_member(self, symbol: str, clock: dt.datetime) -> Listing | None:
        """The instrument that bears a symbol, or bore it when it was delisted; vendors keep the histories of those."""
        day = new_york_date(clock)
        gone = (m for m in self.members if m.delisted is not None and m.delisted < day)
        return self.member(symbol, clock) or next((m for m in gone if m.periods[-1].symbol == symbol), None)

    def bars(self, symbol: str, clock: dt.datetime, *, with_faults: bool = True) -> tuple[Bar, ...]:
        """Weekly bars, newest first, with the planted bad and repeated rows unless told otherwise.

        Empty for symbols not in force, indexes, and instruments whose first session has not closed.
        """
        member = self.member(symbol, clock)
        if member is None or member.asset_class == "index":
            return ()
        bars = self.horizon(clock).bars(member, clock)
        return tuple(self._spoiled(member, bars) if with_faults else bars)

    def profile(self, symbol: str, clock: dt.datetime) -> Profile | None:
        """Fundamentals of the stock that bears a symbol; None for everything else."""
        member = self.member(symbol, clock)
        return None if member is None else self.company(member, clock)

    def company(self, member: Listing, clock: dt.datetime) -> Profile | None:
        """Fundamentals of a stock, after its delisting too; None for everything else and before its first close."""
        horizon = self.horizon(clock)
        if member.asset_class != "stock":
            return None
        closed = min(horizon.calendar.closed_by(clock) - horizon.series(member).first, len(horizon.series(member)))
        if closed < 1:
            return None
        return profile(
            self.as_known(member, clock),
            horizon.series(member),
            closed,
            dates=horizon.calendar.dates,
            today=new_york_date(clock),
            seed=self.seed,
            is_loss_maker=member.symbol in self.script.loss_makers,
        )

    def shares_outstanding(self, member: Listing, clock: dt.datetime) -> int:
        """Shares of a company or a fund."""
        company = self.company(member, clock)
        if company is not None:
            return company.shares_outstanding
        return 10_000_000 + draw(self.seed, member.periods[0].symbol, "fund shares") % 9_000 * 100_000

    def events(
        self,
        clock: dt.datetime,
        *,
        kinds: Collection[EventKind] = frozenset(EventKind),
        since: dt.datetime | None = None,
    ) -> tuple[Event, ...]:
        """Everything that had happened by the clock (and not before `since`), oldest first.

        The roster's odd rows cost a session's prices each, so they are told with a `since` only.
        """
        found = [event for event in self._every_event(clock) if event.at <= clock and event.kind in kinds]
        if since is None:
            return tuple(found)
        odd = self.whole(clock).events(clock, since) if ROSTER_ROWS & set(kinds) else ()
        found += [event for event in odd if event.kind in kinds]
        return tuple(sorted((event for event in found if event.at >= since), key=_order))

    def oddities(self, clock: dt.datetime) -> Oddities:
        """The odd daily rows, up to the same horizon."""
        year = new_york_date(clock).year + 1
        if year not in self._oddities:
            self._oddities[year] = Oddities(self.horizon(clock))
        return self._oddities[year]

    def whole(self, clock: dt.datetime) -> WholeMarket:
        """The members beside the roster, up to the same horizon."""
        year = new_york_date(clock).year + 1
        if year not in self._wholes:
            horizon = self.horizon(clock)
            self._wholes.clear()  # one of them is a third of the process
            self._wholes[year] = WholeMarket(horizon, self.oddities(clock), roster_size=self.roster_size)
        return self._wholes[year]

    def horizon(self, clock: dt.datetime) -> Horizon:
        """Everything computed up to the end of the year after the clock's."""
        year = new_york_date(clock).year + 1
        if year not in self._horizons:
            self._horizons[year] = Horizon(self.members, self.script, sessions(year), seed=self.seed)
        return self._horizons[year]

    def as_known(self, member: Listing, clock: dt.datetime) -> Listing:
        """The member under the symbol, name and sector it bore at the clock."""
        day = new_york_date(clock)
        member = replace(member, symbol=member.symbol_on(day) or member.symbol)
        former = dict(self.script.former_names)
        current = next(m for m in self.members if m.periods == member.periods)
        if current.symbol in former and member.symbol == member.periods[0].symbol:
            member = replace(member, name=former[current.symbol])
        for change in self.script.reclassified:
            if change.symbol == current.symbol and day < change.date:
                member = replace(member, sector=change.old_sector, industry=change.old_industry)
        return member

    def _spoiled(self, member: Listing, bars: Sequence[Bar]) -> Iterator[Bar]:
        bad = {row.week_start: row.fault for row in self.script.bad_rows if row.symbol == member.symbol}
        twice = {week for symbol, week in self.script.duplicates if symbol == member.symbol}
        for bar in bars:
            match bad.get(bar.week_start):
                case "high_below_low":
                    yield replace(bar, high=bar.low, low=bar.high)
                case "negative_volume":
                    yield replace(bar, volume=-bar.volume)
                case _:
                    yield bar
            if bar.week_start in twice:
                yield bar


def _order(event: Event) -> tuple[dt.datetime, str, str]:
    return event.at, event.symbol, event.kind
