"""Seeded daily bars: a market factor with clustered volatility, a factor per sector, noise per instrument.

Random numbers are drawn per name and year, so a longer horizon or another instrument changes no bar that exists.
Prices are as traded; what adjusts them are the steps of splits and dividends. What does not belong here: weeks,
corrections and everything else that depends on a clock (`market`).
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from market_pipeline.sandbox.listing import Listing
from market_pipeline.sandbox.script import Fund, Script, draw, share
from market_pipeline.sandbox.sessions import Sessions

Floats = NDArray[np.float64]

DAILY_DRIFT = 0.0003
_SECTOR_YIELD = {
    "Technology": 0.008,
    "Healthcare": 0.014,
    "Financial Services": 0.026,
    "Consumer Cyclical": 0.0,
    "Consumer Defensive": 0.029,
    "Energy": 0.036,
    "Basic Materials": 0.021,
    "Communication Services": 0.024,
    "Industrials": 0.017,
    "Utilities": 0.037,
    "Real Estate": 0.041,
}


@dataclass(frozen=True)
class Series:
    """Daily bars of one instrument; position 0 is session number `first` of the calendar.

    `dividend` is the amount that goes ex on a session (raw USD), `special` the part of it that is not a regular one,
    `ratio` the split on it (1 when none). `step` is what the session's events multiply all earlier adjusted prices by:
    (1 - dividend / previous close) / ratio.
    """

    first: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: NDArray[np.int64]
    dividend: Floats
    special: Floats
    ratio: Floats
    step: Floats

    def __len__(self) -> int:
        return len(self.close)


@dataclass(frozen=True)
class Generator:
    """Makes the series of every member from one seed."""

    calendar: Sessions
    seed: int
    script: Script

    @cached_property
    def _stress(self) -> Floats:
        """Common log-volatility per session: an autoregression, so that calm and wild weeks cluster."""
        shocks = self._normal("stress", 1)[0] * 0.16
        level, levels = 0.0, []
        for shock in shocks.tolist():
            level = 0.97 * level + shock
            levels.append(min(level, 1.1))
        return np.array(levels)

    @cached_property
    def market(self) -> Floats:
        """The whole market's daily log returns, by session number."""
        moves: Floats = DAILY_DRIFT + 0.0075 * np.exp(0.7 * self._stress) * self._normal("market", 1)[0]
        return moves

    def _sector(self, sector: str) -> Floats:
        moves: Floats = 0.0055 * np.exp(0.4 * self._stress) * self._normal(f"sector {sector}", 1)[0]
        return moves

    def _normal(self, name: str, rows: int) -> Floats:
        """`rows` standard normal numbers per session."""
        blocks = []
        for year in range(self.calendar.dates[0].year, self.calendar.dates[-1].year + 1):
            days = self.calendar.from_day(dt.date(year + 1, 1, 1)) - self.calendar.from_day(dt.date(year, 1, 1))
            stream = np.random.Generator(np.random.PCG64(draw(self.seed, name, year)))
            blocks.append(stream.standard_normal((rows, days)))
        return np.concatenate(blocks, axis=1)

    def series(self, listing: Listing) -> Series:
        """Daily bars from the listing to its last session, or to the calendar's end."""
        name = listing.periods[0].symbol
        first = self.calendar.from_day(listing.listed)
        last = len(self.calendar.dates)
        if listing.delisted is not None:
            last = self.calendar.from_day(listing.delisted + dt.timedelta(days=1))
        noise = self._normal(f"instrument {name}", 5)[:, first:last]
        wild = np.exp(0.4 * self._stress[first:last])
        fund = self.script.funds.get(listing.symbol) if listing.asset_class == "etf" else None
        spread, returns = self._returns(listing, name, fund, noise[0] * wild, slice(first, last))
        base = dict(self.script.base_prices).get(listing.symbol, 25 * math.exp(2.0 * share(self.seed, name, "base")))
        total = np.exp(np.cumsum(returns))
        dividend, special, ratio, step = self._actions(listing, name, fund, first, base * total)

        scale = base * np.cumprod(step)
        before = np.concatenate(([1.0], total[:-1]))
        close = np.round(scale * total, 2)
        opened = np.round(scale * before * np.exp(0.35 * returns + 0.2 * spread * noise[1]), 2)
        high = np.ceil(np.maximum(opened, close) * np.exp(0.4 * spread * np.abs(noise[2])) * 200 - 1e-6) / 200
        low = np.floor(np.minimum(opened, close) * np.exp(-0.4 * spread * np.abs(noise[3])) * 200 + 1e-6) / 200
        busy = np.exp(0.3 * noise[4] + 6 * np.abs(returns)) * wild
        shares = 4e5 * math.exp(3.2 * share(self.seed, name, "shares"))
        volume = np.round(shares * busy * np.cumprod(ratio)).astype(np.int64)
        return Series(first, opened, high, low, close, volume, dividend, special, ratio, step)

    def _returns(
        self, listing: Listing, name: str, fund: Fund | None, noise: Floats, days: slice
    ) -> tuple[float, Floats]:
        """Typical daily move of the instrument's own, and its daily log returns."""
        if listing.asset_class == "etf":
            fund = fund or Fund(1.0)
            moves = fund.beta * self.market[days] + fund.noise * noise
            return max(fund.noise, 0.004), moves + self._sector(fund.sector)[days] if fund.sector else moves
        spread = 0.009 + 0.011 * share(self.seed, name, "spread")
        beta = 0.7 + 0.7 * share(self.seed, name, "beta")
        moves = beta * self.market[days] + self._sector(listing.sector)[days] + spread * noise
        return spread, moves - spread**2 / 2

    def _actions(
        self, listing: Listing, name: str, fund: Fund | None, first: int, worth: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Dividends, their special part, split ratios and their steps per session. `worth` is the price had there been
        none of them."""
        dividend, special = np.zeros(len(worth)), np.zeros(len(worth))
        ratio, step = np.ones(len(worth)), np.ones(len(worth))
        dates = self.calendar.dates[first : first + len(worth)]
        for split in self.script.splits:
            if split.symbol == listing.symbol and dates[0] < split.date <= dates[-1]:
                ratio[dates.index(split.date)] = split.ratio
        quarterly = self._yield_ratio(listing, fund) / 4
        scale = 1.0
        ex_dates = self._ex_dates(name, dates) if quarterly > 0 else frozenset()
        extra = {
            min(position for position in ex_dates if dates[position] >= planted.since): planted.yield_ratio
            for planted in self.script.specials
            if planted.symbol == listing.symbol and any(dates[position] >= planted.since for position in ex_dates)
        }
        for position in sorted(ex_dates | set(np.flatnonzero(ratio > 1).tolist())):
            previous = round(float(worth[position - 1]) * scale, 2)
            if position in ex_dates:
                special[position] = round(extra.get(position, 0.0) * previous, 2)
                dividend[position] = round(quarterly * previous, 2) + special[position]
            step[position] = (1 - dividend[position] / previous) / ratio[position]
            scale *= float(step[position])
        return dividend, special, ratio, step

    def _yield_ratio(self, listing: Listing, fund: Fund | None) -> float:
        if fund is not None:
            return fund.yield_ratio
        if listing.asset_class != "stock" or listing.symbol in self.script.loss_makers:
            return 0.0
        return _SECTOR_YIELD.get(listing.sector, 0.0)

    def _ex_dates(self, name: str, dates: tuple[dt.date, ...]) -> frozenset[int]:
        """One session per quarter, the first one not before the instrument's own day of the month."""
        month, day = 1 + draw(self.seed, name, "ex month") % 3, 5 + draw(self.seed, name, "ex day") % 15
        found: set[int] = set()
        wanted: set[tuple[int, int]] = set()
        for position, date in enumerate(dates):
            key = (date.year, date.month)
            if position > 40 and date.month % 3 == month % 3 and date.day >= day and key not in wanted:
                wanted.add(key)
                found.add(position)
        return frozenset(found)
