"""Odd rows of the rest of the market in Polygon's grouped daily bars, drawn from the seed session by session.

    correction     three closes of every session are others until the next session has closed
    bad row        on the first session of a week one row has its high and low exchanged, for good
    duplicate row  on the fourth session of a week one row is there twice

What does not belong here: the universe's members (`oddities`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from market_pipeline.sandbox.horizon import Horizon
from market_pipeline.sandbox.roster_prices import Bars
from market_pipeline.sandbox.script import draw
from market_pipeline.sandbox.sessions import week_start

_CORRECTED = 3


@dataclass(frozen=True, slots=True)
class OddRows:
    """Instruments whose row of a session is odd; `corrected` with the close that is served at first."""

    corrected: dict[int, float]
    exchanged: int | None
    twice: int | None


def on_session(horizon: Horizon, number: int, bars: Bars) -> OddRows:
    """The odd rows of one session, whose bars are `bars`."""
    present = np.flatnonzero(bars.is_there & (bars.high > bars.low))
    if len(present) < 100:  # a roster for tests has none
        return OddRows({}, None, None)
    first, end = horizon.weeks[week_start(horizon.calendar.dates[number])]

    def one(what: str) -> int:
        return int(present[draw(horizon.seed, "roster", what, number) % len(present)])

    corrected = {place: _moved(bars, place) for place in {one(f"correction {k}") for k in range(_CORRECTED)}}
    exchanged = one("exchanged") if number == first else None
    twice = one("twice") if number == first + 3 and number < end else None
    return OddRows(
        {place: close for place, close in corrected.items() if close != bars.close[place] and place != exchanged},
        exchanged,
        twice,
    )


def _moved(bars: Bars, place: int) -> float:
    """Another close between low and high, with as many decimals as the right one."""
    close, high, low = (float(column[place]) for column in (bars.close, bars.high, bars.low))
    digits = 2 if close >= 1 else 4
    moved = round(close - 0.6 * (close - low) if close - low > high - close else close + 0.6 * (high - close), digits)
    return moved if low <= moved <= high else close
