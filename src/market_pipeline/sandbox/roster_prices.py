"""Daily bars of the rest of the market: one session of all of it, or the history of one ticker, at the same cost.

Log prices follow the market and revert slowly, so that nothing dies of cheapness; their levels are kept for every 32nd
session. Everything else is drawn by place (`noise`), so sessions may be asked for in any order. What does not belong
here: corrections and other odd rows (`roster_oddities`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_pipeline.sandbox import noise
from market_pipeline.sandbox.prices import DAILY_DRIFT, Floats
from market_pipeline.sandbox.roster import KINDS, Roster

Ints = NDArray[Any]

_KEPT = 0.998  # share of yesterday's level that today's begins with
_BLOCK = 32
_BLOCKS = 6  # blocks of levels in memory
_ROW = 1 << 20  # places of one session in the random numbers: more than there are instruments

# By kind: log of the typical price, its spread; daily move of its own, its spread; share of the market's move; log of
# the typical volume, its spread; share of sessions without a trade.
_TRAITS: dict[str, tuple[float, float, float, float, float, float, float, float]] = {
    "CS": (3.0, 1.0, 0.012, 0.016, 1.0, 12.6, 1.7, 0.003),
    "ETF": (3.5, 0.5, 0.004, 0.004, 0.9, 10.5, 1.9, 0.012),
    "ADRC": (2.6, 0.8, 0.012, 0.014, 0.9, 11.5, 1.8, 0.006),
    "PFD": (3.2, 0.05, 0.003, 0.002, 0.1, 8.8, 0.8, 0.06),
    "WARRANT": (-0.9, 0.8, 0.035, 0.03, 1.0, 9.4, 1.2, 0.3),
    "UNIT": (2.33, 0.03, 0.002, 0.002, 0.0, 7.6, 1.0, 0.4),
}


@dataclass(frozen=True)
class Bars:
    """Raw bars; `volume` has fractions where it is reported so. `is_there`: the instrument was listed and traded."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    vwap: Floats
    trades: Floats
    is_there: NDArray[np.bool_]


class RosterPrices:
    """`moves` are the market's daily log returns, by session number."""

    def __init__(self, roster: Roster, moves: Floats) -> None:
        self._roster, self._seed = roster, roster.seed
        self._moves = moves - DAILY_DRIFT
        self._count = len(roster.instruments)
        self._starts: list[Floats] = [np.zeros(self._count)]  # levels before the first session of each block
        self._blocks: OrderedDict[int, Floats] = OrderedDict()

    def session(self, number: int) -> Bars:
        """All instruments on one session, by their numbers."""
        places = np.arange(self._count)
        now = self._level(number)
        before = self._level(number - 1) if number else np.zeros(self._count)
        return self._bars(places, np.full(self._count, number), before, now)

    def history(self, instrument: int, end: int) -> Bars:
        """One instrument on the sessions before number `end`, from the calendar's first on."""
        sessions = np.arange(end)
        places = np.full(end, instrument)
        level, levels = 0.0, [0.0]
        for step in self._steps(places, sessions).tolist():
            level = _KEPT * level + step
            levels.append(level)
        return self._bars(places, sessions, np.array(levels[:-1]), np.array(levels[1:]))

    def split_factor(self, number: int) -> Floats:
        """Shares of a session for one share of the first session, by instrument."""
        factor: Floats = np.where(self.split_session <= number, self.split_ratio, 1.0)
        return factor

    @cached_property
    def split_session(self) -> Ints:
        """First session after the one split of an instrument's life; beyond the calendar for those without one."""
        calendar, count = self._roster.calendar, self._count
        draws = [noise.uniform(np.arange(count), self._seed, "roster split", what) for what in ("whether", "when")]
        # sessions of fifteen years, so that a longer calendar moves no split
        wanted = np.where(draws[0] < 0.28, (draws[1] * 15 * 252).astype(np.int64), len(calendar.dates) + 1)
        is_share = np.isin(self._roster.kind, [KINDS.index("CS"), KINDS.index("ETF"), KINDS.index("ADRC")])
        lives = (wanted > self._roster.listed + 5) & (wanted < self._roster.ended - 5)
        return np.where(is_share & lives & (wanted < len(calendar.dates)), wanted, len(calendar.dates) + 1)

    @cached_property
    def split_ratio(self) -> Floats:
        """New shares for one old in that split: cheap shares are merged, dear ones divided."""
        choice = noise.bits(np.arange(self._count), self._seed, "roster split", "ratio") % np.uint64(4)
        dear, middle, cheap = (
            np.array([2.0, 3.0, 4.0, 10.0]),
            np.array([1.5, 2.0, 1.25, 1.1]),
            np.array([0.2, 0.1, 0.05, 0.1]),
        )
        ratio: Floats = np.where(self.base > 60, dear[choice], np.where(self.base > 12, middle[choice], cheap[choice]))
        return ratio

    @cached_property
    def base(self) -> Floats:
        """Typical price before any split."""
        typical, spread = self._trait(0), self._trait(1)
        base: Floats = np.exp(typical + spread * noise.normal(np.arange(self._count), self._seed, "roster base"))
        return np.clip(base, 0.25, 900.0)

    @cached_property
    def _own(self) -> Floats:
        return self._trait(2) + self._trait(3) * noise.uniform(np.arange(self._count), self._seed, "roster own move")

    @cached_property
    def _share(self) -> Floats:
        return self._trait(4) * (0.6 + 0.8 * noise.uniform(np.arange(self._count), self._seed, "roster beta"))

    @cached_property
    def _usual_volume(self) -> Floats:
        usual = self._trait(5) + self._trait(6) * noise.normal(np.arange(self._count), self._seed, "roster volume")
        volume: Floats = np.exp(usual)
        return volume

    @cached_property
    def _traits(self) -> Floats:
        return np.array([_TRAITS[kind] for kind in KINDS])[self._roster.kind]

    def _trait(self, column: int) -> Floats:
        return self._traits[:, column] if self._count else np.zeros(0)

    def _steps(self, places: Ints, sessions: Ints) -> Floats:
        """What a session adds to the level."""
        shock = noise.normal(sessions * _ROW + places, self._seed, "roster move")
        steps: Floats = self._share[places] * self._moves[sessions] + self._own[places] * shock
        return steps

    def _level(self, number: int) -> Floats:
        """Levels after a session."""
        block, place = divmod(number, _BLOCK)
        while len(self._starts) <= block:
            self._starts.append(self._block(len(self._starts) - 1)[-1].copy())  # a view keeps its block
        level: Floats = self._block(block)[place]
        return level

    def _block(self, block: int) -> Floats:
        if block in self._blocks:
            self._blocks.move_to_end(block)
            return self._blocks[block]
        places, level = np.arange(self._count), self._starts[block]
        first = block * _BLOCK
        rows = np.empty((min(_BLOCK, len(self._moves) - first), self._count))
        for row in range(len(rows)):
            level = _KEPT * level + self._steps(places, np.full(1, first + row))
            rows[row] = level
        self._blocks[block] = rows
        while len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)
        return rows

    def _bars(self, places: Ints, sessions: Ints, before: Floats, now: Floats) -> Bars:
        key = sessions * _ROW + places

        def drawn(what: str) -> Floats:
            return noise.normal(key, self._seed, "roster", what)

        def share(what: str) -> Floats:
            return noise.uniform(key, self._seed, "roster", what)

        shares = np.where(self.split_session[places] <= sessions, self.split_ratio[places], 1.0)
        scale, own = self.base[places] / shares, self._own[places]
        cents = np.where(scale * np.exp(now) < 1, 1e4, 1e2)
        close = np.maximum(np.round(scale * np.exp(now) * cents) / cents, 0.0001)
        gap = 0.35 * (now - before) + 0.2 * own * drawn("open")
        opened = np.maximum(np.round(scale * np.exp(before + gap) * cents) / cents, 0.0001)
        # a third of highs and lows are trades of fractions of a cent
        finer = np.where(share("fractions") < 0.33, 1e4, cents)
        high = np.maximum(opened, close) * np.exp(0.4 * own * np.abs(drawn("high")))
        low = np.minimum(opened, close) * np.exp(-0.4 * own * np.abs(drawn("low")))
        high, low = np.floor(high * finer + 1e-6) / finer, np.maximum(np.ceil(low * finer - 1e-6) / finer, 0.0001)
        high, low = np.maximum(high, np.maximum(opened, close)), np.minimum(low, np.minimum(opened, close))
        busy = np.exp(0.5 * drawn("volume") + 5 * np.abs(now - before))
        digits = np.where(places % 97 == 5, 10.0, 1.0)
        volume = np.maximum(np.round(self._usual_volume[places] * busy * shares * digits) / digits, 1.0)
        vwap = np.round(low + (high - low) * (0.3 + 0.4 * share("vwap")), 4)
        trades = np.clip(np.floor(volume / (40 + 160 * share("trades"))), 1, None)
        is_listed = (self._roster.listed[places] <= sessions) & (sessions < self._roster.ended[places])
        is_traded = share("traded") >= self._trait(7)[places]
        is_halted = noise.uniform((sessions // 5) * _ROW + places, self._seed, "roster halted") < 0.0008
        return Bars(
            opened, high, low, close, volume, np.clip(vwap, low, high), trades, is_listed & is_traded & ~is_halted
        )
