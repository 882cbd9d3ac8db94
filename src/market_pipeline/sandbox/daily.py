"""Daily bars of one member as one provider knows them at a clock, the session that is under way included.

The truth is the same for all; what differs is what each vendor does to it (see the functions) and its odd rows
(`oddities`). What does not belong here: rounding that belongs to a wire format, and bytes.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_pipeline.sandbox import noise
from market_pipeline.sandbox.horizon import Horizon
from market_pipeline.sandbox.listing import Listing
from market_pipeline.sandbox.oddities import Oddities
from market_pipeline.sandbox.prices import Floats, Series
from market_pipeline.sandbox.sessions import Sessions, new_york_date, week_start


@dataclass(frozen=True)
class Days:
    """Daily bars as traded, oldest first.

    A price over `split_factor` stands on the share count of the newest bar; a price times `total_factor` also leaves
    out the dividends since. `numbers` are the sessions' numbers in the calendar. `is_running`: the newest bar is one of
    a session that has not closed.
    """

    numbers: NDArray[np.intp]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    dividend: Floats
    ratio: Floats
    split_factor: Floats
    total_factor: Floats
    is_running: bool

    def __len__(self) -> int:
        return len(self.close)

    def kept(self, places: NDArray[Any] | slice) -> Days:
        """The bars at some places; the factors stay as they are."""
        arrays = {f.name: getattr(self, f.name)[places] for f in fields(self) if f.name != "is_running"}
        is_running = self.is_running and bool(len(arrays["numbers"])) and arrays["numbers"][-1] == self.numbers[-1]
        return Days(**arrays, is_running=is_running)


def alpha_vantage(horizon: Horizon, member: Listing, clock: dt.datetime) -> Days:
    """Closes before their restatement, and no running week for the member that is late."""
    found = _truth(horizon, member, clock)
    week = week_start(new_york_date(clock))
    late = horizon.late.get((member.symbol, week))
    if late is not None and clock < late:
        found = found.kept(found.numbers < horizon.calendar.from_day(week))
    close = found.close.copy()
    for (symbol, restated), (at, _, old) in horizon.restated.items():
        if symbol == member.symbol and clock < at and restated in horizon.weeks:
            close[found.numbers == horizon.weeks[restated][1] - 1] = old
    return replace(found, close=close)


def fmp(horizon: Horizon, oddities: Oddities, member: Listing, clock: dt.datetime) -> Days:
    """Prices in whole cents and volumes in hundreds; the dust of both is gone."""
    found = _truth(horizon, member, clock)
    rounded = {name: np.round(getattr(found, name), 2) for name in ("open", "high", "low", "close")}
    return _odd(replace(found, **rounded, volume=np.round(found.volume, -2)), oddities, member, clock, "fmp")


def polygon(horizon: Horizon, oddities: Oddities, member: Listing, clock: dt.datetime) -> Days:
    """Highs and lows of fractions of a cent; volumes lower by less than a thousandth. Closed sessions only."""
    found = _truth(horizon, member, clock)
    if found.is_running:
        found = found.kept(slice(None, -1))
    name, seed = member.periods[0].symbol, horizon.seed
    above, below = (noise.uniform(found.numbers, seed, name, what) for what in ("polygon high", "polygon low"))
    fewer = noise.uniform(found.numbers, seed, name, "polygon volume")
    found = replace(
        found,
        high=np.round(found.high + np.where(above < 0.4, above * 0.012, 0), 4),
        low=np.round(found.low - np.where(below < 0.4, below * 0.012, 0), 4),
        volume=np.round(found.volume * (1 - 0.0009 * fewer)),
    )
    return _odd(found, oddities, member, clock, "polygon")


def _truth(horizon: Horizon, member: Listing, clock: dt.datetime) -> Days:
    """What happened by the clock, whoever tells it."""
    daily, calendar = horizon.truth(member), horizon.calendar
    closed = max(min(calendar.closed_by(clock) - daily.first, len(daily)), 0)
    number = calendar.running(clock)
    is_running = number is not None and number - daily.first == closed and closed < len(daily)
    count = closed + is_running
    columns = {
        name: getattr(daily, name)[:count].astype(np.float64) for name in ("open", "high", "low", "close", "volume")
    }
    if is_running and number is not None:
        for name, value in _so_far(daily, closed, _elapsed(calendar, number, clock)).items():
            columns[name][-1] = value
    splits, steps = np.cumprod(daily.ratio[:count]), np.cumprod(daily.step[:count])
    return Days(
        numbers=np.arange(daily.first, daily.first + count),
        **columns,
        dividend=daily.dividend[:count],
        ratio=daily.ratio[:count],
        split_factor=splits[-1:] / splits,
        total_factor=steps[-1:] / steps,
        is_running=is_running,
    )


def _elapsed(calendar: Sessions, number: int, clock: dt.datetime) -> float:
    opens, closes = calendar.opens[number], calendar.closes[number]
    return (clock - opens) / (closes - opens)


def _so_far(daily: Series, position: int, elapsed: float) -> dict[str, float]:
    """A session's bar after a share of its time: the price on its way from the open to the close."""
    opened, close = float(daily.open[position]), float(daily.close[position])
    price = round(opened + (close - opened) * elapsed, 2)
    above = float(daily.high[position]) - max(opened, close)
    below = min(opened, close) - float(daily.low[position])
    return {
        "close": price,
        "high": round(max(opened, price) + above * elapsed, 2),
        "low": round(min(opened, price) - below * elapsed, 2),
        "volume": max(round(float(daily.volume[position]) * elapsed), 1),
    }


def _odd(found: Days, oddities: Oddities, member: Listing, clock: dt.datetime, provider: str) -> Days:
    """The bars with the provider's odd rows in them; the running session has none."""
    if not len(found):
        return found
    changed = ("open", "high", "low", "close", "volume", "split_factor", "total_factor")
    columns = {name: getattr(found, name).copy() for name in changed}
    is_there = np.ones(len(found), dtype=np.bool_)
    first, closed = int(found.numbers[0]), len(found) - found.is_running
    for odd in oddities.of(provider, member.symbol):
        place = odd.number - first
        if not 0 <= place < closed or not odd.holds(clock):
            continue
        if odd.kind == "missing_row":
            is_there[place] = False
        elif odd.kind == "missed_split":
            for name in ("open", "high", "low"):
                columns[name][place] = round(columns[name][place] * odd.ratio, 2)
            columns["close"][place] = odd.served
            columns["volume"][place] = round(columns["volume"][place] / odd.ratio, -2)
            columns["split_factor"][place] *= odd.ratio  # so that its adjusted series are right
            columns["total_factor"][place] /= odd.ratio
        else:
            columns["close"][place] = odd.served
            columns["high"][place] = max(columns["high"][place], odd.served)
            columns["low"][place] = min(columns["low"][place], odd.served)
    return replace(found, **columns).kept(is_there)
