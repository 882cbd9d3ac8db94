"""Random numbers by place instead of by order: a key and a place give the same number, alone or in a whole vector.

So one session of the whole market and the whole history of one ticker cost one vector each. What does not belong here:
what the numbers mean (`prices`, `roster_prices`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_pipeline.sandbox.script import draw

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Places = NDArray[Any]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_PART = np.uint64(0xFFFF)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def bits(places: Places, seed: int, *words: object) -> Words:
    """64 random bits per place (whole numbers, any shape), after splitmix64."""
    state = np.asarray(places).astype(np.uint64)
    with np.errstate(over="ignore"):
        state = state * _STEP + np.uint64(draw(seed, *words))
        state ^= state >> np.uint64(30)
        state *= _FIRST
        state ^= state >> np.uint64(27)
        state *= _SECOND
        state ^= state >> np.uint64(31)
    return state


def uniform(places: Places, seed: int, *words: object) -> Floats:
    """Numbers in [0, 1)."""
    return (bits(places, seed, *words) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(places: Places, seed: int, *words: object) -> Floats:
    """Nearly normal numbers, at most 3.5 from zero: the sum of four uniform ones of 16 bits each."""
    drawn = bits(places, seed, *words)
    total = drawn & _PART
    for shift in (16, 32, 48):
        total += (drawn >> np.uint64(shift)) & _PART
    centred: Floats = total.astype(np.float64) - 2 * 65535.0
    return centred * (math.sqrt(3) / 65535)
