"""The fictional market computed up to the end of one year: weeks, what recurs in them, and every event.

Two things recur in every week, drawn from the seed: the close of one instrument is restated on the Wednesday
(12:00 UTC) of the second week after its own, and one instrument lacks the running week until Saturday (06:00 UTC).
What does not belong here: who bears which symbol at a clock (`market`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from market_pipeline.sandbox.events import Event, EventKind
from market_pipeline.sandbox.listing import Listing
from market_pipeline.sandbox.prices import Floats, Generator, Series
from market_pipeline.sandbox.script import Script, draw
from market_pipeline.sandbox.sessions import Sessions, midnight, new_york_date, week_start

_WEEK = dt.timedelta(days=7)
_RESTATED_AFTER = dt.timedelta(days=16, hours=12)  # Monday of the week to Wednesday noon, UTC, two weeks on
_LATE_UNTIL = dt.timedelta(days=5, hours=6)  # Monday of the week to its Saturday, 06:00 UTC


@dataclass(frozen=True, slots=True)
class Bar:
    """One week: `session` is its last closed session, `adjusted_close` is anchored at the newest bar served."""

    week_start: dt.date
    session: dt.date
    open: float
    high: float
    low: float
    close: float
    adjusted_close: float
    volume: int
    dividend: float


class Horizon:
    """The market computed up to the end of one year; nothing in it depends on a clock but what takes one."""

    def __init__(self, members: Sequence[Listing], script: Script, calendar: Sessions, *, seed: int) -> None:
        self.members = tuple(members)
        self.script = script
        self.calendar = calendar
        self.seed = seed
        self._generator = Generator(calendar, seed, script)
        self._series: dict[str, Series] = {}
        self._truth: dict[str, Series] = {}

    @property
    def moves(self) -> Floats:
        """The whole market's daily log returns, by session number."""
        return self._generator.market

    def series(self, member: Listing) -> Series:
        """Daily bars of a member."""
        if member.symbol not in self._series:
            self._series[member.symbol] = self._generator.series(member)
        return self._series[member.symbol]

    def bars(self, member: Listing, clock: dt.datetime) -> list[Bar]:
        """Weekly bars as known at the clock, newest first."""
        daily = self.series(member)
        count = min(self.calendar.closed_by(clock) - daily.first, len(daily))
        late = self.late.get((member.symbol, week_start(new_york_date(clock))))
        if late is not None and clock < late:
            count = min(count, self.calendar.from_day(week_start(new_york_date(clock))) - daily.first)
        if count < 1:
            return []
        dates = self.calendar.dates[daily.first : daily.first + count]
        starts = self.week_bounds(daily, count)
        ends = np.append(starts[1:], count) - 1
        grown = np.cumprod(daily.step[:count])
        columns = zip(
            ends.tolist(),
            daily.open[starts].tolist(),
            np.maximum.reduceat(daily.high[:count], starts).tolist(),
            np.minimum.reduceat(daily.low[:count], starts).tolist(),
            daily.close[ends].tolist(),
            (grown[-1] / grown[ends]).tolist(),
            np.add.reduceat(daily.volume[:count], starts).tolist(),
            np.add.reduceat(daily.dividend[:count], starts).tolist(),
            strict=True,
        )
        bars: list[Bar] = []
        for end, opened, high, low, close, factor, volume, dividend in columns:
            week = week_start(dates[end])
            corrected = self.restated.get((member.symbol, week))
            value = close if corrected is None or clock < corrected[0] else corrected[1]
            bars.append(
                Bar(week, dates[end], opened, high, low, value, round(value * factor, 4), volume, round(dividend, 4))
            )
        return bars[::-1]

    def week_bounds(self, daily: Series, count: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Positions of each week's first session among the first `count`."""
        dates = self.calendar.dates[daily.first : daily.first + count]
        weeks = np.array([day.toordinal() - day.weekday() for day in dates])
        return np.flatnonzero(np.concatenate(([True], weeks[1:] != weeks[:-1])))

    @cached_property
    def weeks(self) -> dict[dt.date, tuple[int, int]]:
        """Monday of each week -> numbers of its first session and of the one after its last."""
        found: dict[dt.date, tuple[int, int]] = {}
        for number, day in enumerate(self.calendar.dates):
            first, _ = found.get(week_start(day), (number, number))
            found[week_start(day)] = (first, number + 1)
        return found

    @cached_property
    def _plain(self) -> tuple[Listing, ...]:
        """Members without an event of their own."""
        reserved = self.script.reserved
        return tuple(
            member
            for member in self.members
            if member.asset_class != "index" and member.delisted is None and member.symbol not in reserved
        )

    def drawn(self, day: dt.date, what: str) -> Listing | None:
        """The member that something recurring happens to on a day: plain ones with eight weeks of history."""
        candidates = [member for member in self._plain if member.listed <= day - 8 * _WEEK]
        return candidates[draw(self.seed, what, day) % len(candidates)] if candidates else None

    @cached_property
    def restated(self) -> dict[tuple[str, dt.date], tuple[dt.datetime, float, float]]:
        """(symbol, week) -> instant of the correction, new close, old close."""
        found: dict[tuple[str, dt.date], tuple[dt.datetime, float, float]] = {}
        for week, (_, last) in self.weeks.items():
            member = self.drawn(week, "restated")
            if member is None:
                continue
            daily = self.series(member)
            old = float(daily.close[last - 1 - daily.first])
            new = moved_close(daily, last - 1)
            if new != old:
                found[member.symbol, week] = (_utc(week) + _RESTATED_AFTER, new, old)
        return found

    def truth(self, member: Listing) -> Series:
        """Daily bars of a member with every close as it stands after all restatements."""
        if member.symbol not in self._truth:
            daily = self.series(member)
            close = daily.close.copy()
            for (symbol, week), (_, new, _) in self.restated.items():
                position = self.weeks[week][1] - 1 - daily.first
                if symbol == member.symbol and 0 <= position < len(daily):
                    close[position] = new
            self._truth[member.symbol] = replace(daily, close=close)
        return self._truth[member.symbol]

    @cached_property
    def late(self) -> dict[tuple[str, dt.date], dt.datetime]:
        """(symbol, week) -> instant from which the week's row is served."""
        found: dict[tuple[str, dt.date], dt.datetime] = {}
        for week in self.weeks:
            member = self.drawn(week, "late")
            if member is not None and (member.symbol, week - 2 * _WEEK) not in self.restated:
                found[member.symbol, week] = _utc(week) + _LATE_UNTIL
        return found

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Every event up to the horizon, by instant."""
        found = [*self._lives(), *self._actions(), *self._recurring(), *self._planted()]
        found += [
            Event(EventKind.HALF_DAY, "", day, close)
            for day, close in zip(self.calendar.dates, self.calendar.closes, strict=True)
            if day in self.calendar.half_days
        ]
        return tuple(sorted(found, key=lambda event: (event.at, event.symbol, event.kind)))

    def _closes(self, day: dt.date) -> dt.datetime:
        return self.calendar.closes[self.calendar.from_day(day)]

    def _lives(self) -> Iterator[Event]:
        former = dict(self.script.former_names)
        for member in self.members:
            symbol, listed = member.symbol, member.listed
            yield Event(EventKind.LISTING, symbol, listed, self._closes(listed), new=member.periods[0].symbol)
            if member.delisted is not None and member.gone is not None:
                yield Event(
                    EventKind.DELISTING, symbol, member.delisted, midnight(member.gone), old=member.periods[-1].symbol
                )
            for number, (before, after) in enumerate(zip(member.periods, member.periods[1:], strict=False)):
                day, at = after.valid_from, midnight(after.valid_from)
                yield Event(EventKind.RENAME, symbol, day, at, old=before.symbol, new=after.symbol)
                if number == 0 and symbol in former:
                    yield Event(EventKind.NAME_CHANGE, symbol, day, at, old=former[symbol], new=member.name)
        for change in self.script.reclassified:
            for member in self.members:
                if member.symbol == change.symbol:
                    day, at, symbol = change.date, midnight(change.date), change.symbol
                    yield Event(EventKind.SECTOR_CHANGE, symbol, day, at, change.old_sector, member.sector)
                    yield Event(EventKind.INDUSTRY_CHANGE, symbol, day, at, change.old_industry, member.industry)

    def _actions(self) -> Iterator[Event]:
        for member in self.members:
            if member.asset_class == "index":
                continue
            daily = self.series(member)
            for position in np.flatnonzero((daily.dividend > 0) | (daily.ratio > 1)).tolist():
                day = self.calendar.dates[daily.first + position]
                at, previous = self._closes(day), float(daily.close[position - 1])
                if daily.dividend[position] > 0:
                    amount = float(daily.dividend[position])
                    yield Event(EventKind.DIVIDEND, member.symbol, day, at, previous, amount)
                if daily.special[position] > 0:
                    yield Event(EventKind.SPECIAL_DIVIDEND, member.symbol, day, at, new=float(daily.special[position]))
                if daily.ratio[position] > 1:
                    yield Event(EventKind.SPLIT, member.symbol, day, at, 1.0, float(daily.ratio[position]))

    def _recurring(self) -> Iterator[Event]:
        for (symbol, week), (at, new, old) in self.restated.items():
            yield Event(EventKind.RESTATEMENT, symbol, self._label(week), at, old, new)
        for (symbol, week), until in self.late.items():
            since = self.calendar.closes[self.weeks[week][0]]
            if since < until:
                yield Event(EventKind.LATE, symbol, self._label(week), since, until=until)

    def _planted(self) -> Iterator[Event]:
        clean = {member.symbol: member for member in self.members}
        for row in self.script.bad_rows:
            if row.symbol in clean and row.week_start in self.weeks:
                at = self._closes(self._label(row.week_start))
                (bar,) = (b for b in self.bars(clean[row.symbol], at) if b.week_start == row.week_start)
                old, new = (bar.high, bar.low) if row.fault == "high_below_low" else (bar.volume, -bar.volume)
                yield Event(EventKind.BAD_ROW, row.symbol, bar.session, at, old, new, detail=row.fault)
        for symbol, week in self.script.duplicates:
            if symbol in clean and week in self.weeks:
                label = self._label(week)
                yield Event(EventKind.DUPLICATE_ROW, symbol, label, self._closes(label))

    def _label(self, week: dt.date) -> dt.date:
        """Last session of a week."""
        return self.calendar.dates[self.weeks[week][1] - 1]


def moved_close(daily: Series, number: int) -> float:
    """Another close for the session of that number, between its low and its high."""
    position = number - daily.first
    old, high, low = float(daily.close[position]), float(daily.high[position]), float(daily.low[position])
    return round(old - 0.6 * (old - low) if old - low > high - old else old + 0.6 * (high - old), 2)


def _utc(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)
