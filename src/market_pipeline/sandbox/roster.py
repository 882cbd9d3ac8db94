"""The rest of the market: thousands of instruments that come, go, change their tickers and inherit others' tickers.

Instruments are numbered. The first `size` of them are listed when the calendar begins; every year as many are listed
as are delisted, some are renamed, one takes the ticker of a delisted one and one the ticker that a renamed one gave up,
each after a gap. Nothing of a year depends on a later one. What does not belong here: prices (`roster_prices`) and
corporate actions (`roster_actions`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from market_pipeline.sandbox import identifiers, noise, roster_names
from market_pipeline.sandbox.reference import Ticker
from market_pipeline.sandbox.script import draw
from market_pipeline.sandbox.sessions import Sessions

Kind = Literal["CS", "ETF", "ADRC", "PFD", "WARRANT", "UNIT"]

KINDS: tuple[Kind, ...] = ("CS", "ETF", "ADRC", "PFD", "WARRANT", "UNIT")
_BELONGS: tuple[Kind, ...] = ("CS", "PFD", "WARRANT", "UNIT")
_SHARES = (0.52, 0.30, 0.05, 0.05, 0.05, 0.03)
_EXCHANGES = ("XNAS", "XNYS", "XNAS", "XNYS", "XASE", "XNAS")
_FUND_EXCHANGES = ("ARCX", "BATS", "XNAS", "ARCX")
_REUSE_GAP = 45  # sessions between the last bar of a ticker and the first one of its next bearer
_NEVER = 1 << 30


@dataclass(slots=True)
class Instrument:
    """One instrument: `listed` is the number of its first session, `ended` of the one after its last; `renamed` of its
    first session under the second of its `symbols`. `reuses` is the number of the instrument that had its ticker."""

    number: int
    kind: Kind
    name: str
    symbols: list[str]
    listed: int
    ended: int = _NEVER
    renamed: int = _NEVER
    reuses: int | None = None
    issuer: int = 0

    def symbol(self, session: int) -> str:
        """Its ticker on a session of its life."""
        return self.symbols[-1] if session >= self.renamed else self.symbols[0]


@dataclass(frozen=True)
class Roster:
    """Every instrument of the rest of the market up to the calendar's end."""

    calendar: Sessions
    seed: int
    size: int
    taken: frozenset[str]

    @cached_property
    def instruments(self) -> tuple[Instrument, ...]:
        """All of them, by number."""
        return tuple(_Builder(self).build()) if self.size else ()

    @cached_property
    def listed(self) -> NDArray[np.int64]:
        """First sessions, by number."""
        return np.array([one.listed for one in self.instruments], dtype=np.int64)

    @cached_property
    def ended(self) -> NDArray[np.int64]:
        """Sessions after the last ones, by number."""
        return np.array([one.ended for one in self.instruments], dtype=np.int64)

    @cached_property
    def kind(self) -> NDArray[np.int64]:
        """Places in `KINDS`, by number."""
        return np.array([KINDS.index(one.kind) for one in self.instruments], dtype=np.int64)

    def symbols(self, session: int) -> list[str]:
        """Tickers on a session, by number; what the dead and the unborn get is without meaning."""
        found = self._last_symbols.copy()
        for one in self._renamed:
            if session < one.renamed:
                found[one.number] = one.symbols[0]
        return found

    @cached_property
    def _last_symbols(self) -> list[str]:
        return [one.symbols[-1] for one in self.instruments]

    @cached_property
    def _renamed(self) -> list[Instrument]:
        return [one for one in self.instruments if one.renamed < _NEVER]

    @cached_property
    def tickers(self) -> tuple[Ticker, ...]:
        """One record per instrument and ticker."""
        return tuple(record for one in self.instruments for record in self._records(one))

    @cached_property
    def _identities(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        places = np.arange(len(self.instruments))
        return (
            noise.bits(places, self.seed, "roster figi", "composite"),
            noise.bits(places, self.seed, "roster figi", "share class"),
        )

    @cached_property
    def _inherited(self) -> frozenset[int]:
        """Instruments one of whose tickers is another's later."""
        return frozenset(one.reuses for one in self.instruments if one.reuses is not None)

    def _records(self, one: Instrument) -> list[Ticker]:
        dates = self.calendar.dates
        # a ticker is free from the day after its last session
        ended = None if one.ended > len(dates) else dates[one.ended - 1] + dt.timedelta(days=1)
        listed = dates[one.listed] if one.listed else dt.date(1990 + one.number % 28, 1 + one.number % 12, 4)
        bounds = [listed, *([dates[one.renamed]] if one.renamed < len(dates) else []), ended]
        identity, share_class = (int(column[one.number]) for column in self._identities)
        is_told_apart = one.reuses is not None or one.number in self._inherited
        has_figi = is_told_apart or (one.kind not in ("WARRANT", "UNIT") and identity % 20 != 0)
        has_cik = one.kind != "ETF" or identity % 3 != 0
        exchanges = _FUND_EXCHANGES if one.kind == "ETF" else _EXCHANGES
        return [
            Ticker(
                symbol=one.symbols[number],
                valid_from=bounds[number] or listed,
                valid_to=bounds[number + 1],
                is_renamed=number < len(bounds) - 2,
                instrument=f"roster {one.number}",
                name=one.name,
                kind=one.kind,
                exchange=exchanges[one.issuer % len(exchanges)],
                cik=f"{9_000_000 + one.issuer:010d}" if has_cik else None,
                composite_figi=identifiers.figi(identity, "composite") if has_figi else None,
                share_class_figi=identifiers.figi(share_class, "share class") if has_figi else None,
            )
            for number in range(len(bounds) - 1)
        ]


class _Builder:
    """Lives the years one after the other."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._tickers = iter(roster_names.tickers(roster.seed, roster.taken))
        self._words = roster_names.words(roster.seed)
        self._used: set[str] = set()
        self._found: list[Instrument] = []
        self._parents: dict[Kind, list[Instrument]] = {}
        self._kinds: list[Kind] = []

    def build(self) -> list[Instrument]:
        """Every instrument, by number."""
        size, calendar = self._roster.size, self._roster.calendar
        for _ in range(size):
            self._born(0)
        for year in range(calendar.dates[0].year, calendar.dates[-1].year + 1):
            start, end = (calendar.from_day(dt.date(y, 1, 1)) for y in (year, year + 1))
            self._live(year, start, end)
        return self._found

    def _live(self, year: int, start: int, end: int) -> None:
        """Delistings and renamings of a year, then its listings; none in its first and last days."""
        count, renames = max(self._roster.size // 50, 4), max(self._roster.size // 500, 2)
        alive = [one.number for one in self._found if one.ended == _NEVER]
        order = np.argsort(noise.bits(np.array(alive), self._roster.seed, "roster lives", year), kind="stable")
        chosen = [self._found[alive[place]] for place in order.tolist()]
        for one in chosen[:count]:
            one.ended = self._session(year, "ended", one.number, start, end)
        stays = (one for one in chosen[count:] if one.renamed == _NEVER and one.kind in ("CS", "ETF"))
        for _, one in zip(range(renames), stays, strict=False):
            one.renamed = self._session(year, "renamed", one.number, start, end)
            one.symbols.append(next(self._tickers))
        listings = sorted(self._session(year, "listed", place, start, end) for place in range(count))
        # the heirs come in the second half of the year, so that there is somebody to inherit from
        late = len(listings) * 3 // 4
        for place, session in enumerate(listings):
            found = {late: self._ended, late + 1: self._renamed}.get(place)
            self._born(session, None if found is None else found(session))

    def _session(self, year: int, what: str, place: int, start: int, end: int) -> int:
        return start + 5 + draw(self._roster.seed, "roster", what, year, place) % max(end - start - 10, 1)

    def _ended(self, session: int) -> tuple[Instrument, str] | None:
        """The last delisted one whose ticker has been free long enough, and is nobody's yet."""
        gone = (o for o in self._found if o.ended + _REUSE_GAP <= session and o.kind == "CS")
        free = (one for one in gone if one.symbols[-1] not in self._used)
        one = max(free, key=lambda one: one.ended, default=None)
        return None if one is None else (one, one.symbols[-1])

    def _renamed(self, session: int) -> tuple[Instrument, str] | None:
        """The last renamed one whose former ticker has been free long enough, and is nobody's yet."""
        gone = (o for o in self._found if o.renamed + _REUSE_GAP <= session)
        free = (one for one in gone if one.symbols[0] not in self._used)
        one = max(free, key=lambda one: one.renamed, default=None)
        return None if one is None else (one, one.symbols[0])

    def _born(self, session: int, inherited: tuple[Instrument, str] | None = None) -> None:
        number = len(self._found)
        kind = self._kind(number)
        parent = self._parent(kind) if inherited is None else None
        if parent is not None:
            self._found.append(self._derived(number, kind, session, parent))
            return
        kind = kind if kind in ("CS", "ETF", "ADRC") and inherited is None else "CS"
        word = self._words[number % len(self._words)]
        name = (roster_names.fund if kind == "ETF" else roster_names.company)(word, number)
        name += " American Depositary Shares" if kind == "ADRC" else ""
        one = Instrument(number, kind, name, [], session, issuer=number)
        if inherited is not None:
            bearer, ticker = inherited
            one.symbols, one.reuses = [ticker], bearer.number
            self._used.add(ticker)
        else:
            one.symbols = [next(self._tickers)]
            if kind == "CS":
                for derived in _BELONGS:
                    self._parents.setdefault(derived, []).append(one)
        self._found.append(one)

    def _kind(self, number: int) -> Kind:
        while number >= len(self._kinds):
            places = np.arange(len(self._kinds), len(self._kinds) + 4096)
            drawn = noise.uniform(places, self._roster.seed, "roster kind")
            self._kinds += [KINDS[place] for place in np.searchsorted(np.cumsum(_SHARES)[:-1], drawn, "right").tolist()]
        return self._kinds[number]

    def _parent(self, kind: Kind) -> Instrument | None:
        """The company that it belongs to, the newest one that has none of its kind; few shares are second ones."""
        is_first_class = kind == "CS" and draw(self._roster.seed, "second class", len(self._found)) % 80 > 0
        candidates = [] if is_first_class else self._parents.get(kind, [])
        return candidates.pop() if candidates else None

    @staticmethod
    def _derived(number: int, kind: Kind, session: int, parent: Instrument) -> Instrument:
        suffix, words = {
            "CS": (".B", "Class B Common Stock"),
            "PFD": (f"p{'ABCDEFL'[number % 7]}", f"Depositary Shares, Series {'ABCDEFL'[number % 7]} Preferred Stock"),
            "WARRANT": (".WS", "Warrants, each whole warrant for one share of common stock"),
            "UNIT": (".U", "Units, each of one share of common stock and one-half of one warrant"),
        }[kind]
        symbols = [parent.symbols[0] + suffix]
        return Instrument(number, kind, f"{parent.name} {words}", symbols, session, issuer=parent.number)
