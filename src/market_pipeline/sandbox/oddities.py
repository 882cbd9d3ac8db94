"""Where a provider's daily bars of a member differ from what happened: drawn from the seed, some in every week.

    correction    a close is wrong until the next session has closed (Polygon, one member every session), or until the
                  next Wednesday, 12:00 UTC (FMP, one member on the last session of every week)
    price_off     a close is wrong by one cent, for good (Polygon, one member on the second session of every week)
    missing_row   a session lacks a member, for good (third session of the week: Polygon in even weeks, FMP in odd ones)
    missed_split  raw prices stand on the basis before a split for its first three sessions (FMP, every split)

Alpha Vantage's own restatements and late weeks are the horizon's. What does not belong here: the rest of the market
(`roster_oddities`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from market_pipeline.sandbox.events import Event, EventKind
from market_pipeline.sandbox.horizon import Horizon, moved_close
from market_pipeline.sandbox.listing import Listing

_MISSED_SESSIONS = 3
_RESTATED_AFTER = dt.timedelta(days=9, hours=12)  # Monday of the week to Wednesday noon, UTC, of the next one

Kind = Literal["correction", "price_off", "missing_row", "missed_split"]


@dataclass(frozen=True, slots=True)
class Oddity:
    """One odd row: `served` instead of the close `right` until `until` (None: for good); `ratio` of a missed split."""

    kind: Kind
    provider: str
    symbol: str
    number: int
    right: float
    served: float
    until: dt.datetime | None = None
    ratio: float = 1.0

    def holds(self, clock: dt.datetime) -> bool:
        """True while the row is odd."""
        return self.until is None or clock < self.until


class Oddities:
    """Every odd daily row of the members, up to a horizon."""

    def __init__(self, horizon: Horizon) -> None:
        self._horizon = horizon
        self._calendar = horizon.calendar

    def of(self, provider: str, symbol: str) -> tuple[Oddity, ...]:
        """The odd rows of one member at one provider."""
        return self._found.get((provider, symbol), ())

    def events(self) -> Iterator[Event]:
        """The odd rows as events, with the closes that are served and should be."""
        for odd in (one for found in self._found.values() for one in found):
            day, closed = self._calendar.dates[odd.number], self._calendar.closes[odd.number]
            if odd.kind == "correction" and odd.until is not None:
                yield Event(
                    EventKind.CORRECTION, odd.symbol, day, odd.until, odd.served, odd.right, provider=odd.provider
                )
                continue
            new = None if odd.kind == "missing_row" else odd.served
            detail = f"ratio {odd.ratio:g}" if odd.kind == "missed_split" else ""
            yield Event(
                EventKind(odd.kind), odd.symbol, day, closed, odd.right, new, detail=detail, provider=odd.provider
            )

    @cached_property
    def _found(self) -> dict[tuple[str, str], tuple[Oddity, ...]]:
        found: dict[tuple[str, str], dict[int, Oddity]] = {}
        # the first of two on one row stays
        for odd in (*self._missed_splits(), *self._weekly(), *self._polygon_corrections()):
            found.setdefault((odd.provider, odd.symbol), {}).setdefault(odd.number, odd)
        return {place: tuple(rows.values()) for place, rows in found.items()}

    def _polygon_corrections(self) -> Iterator[Oddity]:
        for number, until in enumerate(self._calendar.closes[1:]):
            yield from self._moved("polygon", number, until)

    def _weekly(self) -> Iterator[Oddity]:
        for week, (first, end) in self._horizon.weeks.items():
            monday = dt.datetime.combine(week, dt.time(), dt.UTC)
            yield from self._moved("fmp", end - 1, monday + _RESTATED_AFTER)
            member = self._drawn(first + 1, "polygon price_off") if first + 1 < end else None
            if member is not None:
                right = self._close(member, first + 1)
                yield Oddity("price_off", "polygon", member.symbol, first + 1, right, round(right + 0.01, 2))
            provider = "fmp" if week.isocalendar().week % 2 else "polygon"
            member = self._drawn(first + 2, f"{provider} missing_row") if first + 2 < end else None
            if member is not None:
                right = self._close(member, first + 2)
                yield Oddity("missing_row", provider, member.symbol, first + 2, right, right)

    def _missed_splits(self) -> Iterator[Oddity]:
        for member in self._horizon.members:
            if member.asset_class == "index":
                continue
            daily = self._horizon.truth(member)
            for position in np.flatnonzero(daily.ratio != 1).tolist():
                ratio = float(daily.ratio[position])
                for number in range(position, min(position + _MISSED_SESSIONS, len(daily))):
                    right = float(daily.close[number])
                    yield Oddity(
                        "missed_split",
                        "fmp",
                        member.symbol,
                        number + daily.first,
                        right,
                        round(right * ratio, 2),
                        ratio=ratio,
                    )

    def _moved(self, provider: str, number: int, until: dt.datetime) -> Iterator[Oddity]:
        """A close that is another one until it is corrected."""
        member = self._drawn(number, f"{provider} correction")
        if member is None:
            return
        right = self._close(member, number)
        served = moved_close(self._horizon.truth(member), number)
        if served != right:
            yield Oddity("correction", provider, member.symbol, number, right, served, until)

    def _drawn(self, number: int, what: str) -> Listing | None:
        day = self._calendar.dates[number]
        return self._horizon.drawn(day, what)

    def _close(self, member: Listing, number: int) -> float:
        daily = self._horizon.truth(member)
        return float(daily.close[number - daily.first])
