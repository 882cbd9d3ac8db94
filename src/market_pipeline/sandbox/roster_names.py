"""Tickers and names of the rest of the market: many, distinct, and nobody's.

Tickers hold one of a few pairs of letters that no listed ticker held in 2026; names begin with an invented word.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Collection

import numpy as np

from market_pipeline.sandbox import noise

_PAIRS = ("QZ", "ZQ", "JQ", "QV", "KQ", "GQ", "ZJ", "WQ", "BQ")
_FIVE_LETTERS = 14_000
_HEADS = (
    *("Quav", "Zelq", "Vorq", "Jaxq", "Qorl", "Wexq", "Brizq", "Kolq", "Fazq", "Druq", "Nyxq", "Tarq", "Plezq"),
    *("Suvq", "Gralq", "Hovq", "Mirq", "Laxq", "Ozq", "Uvq", "Ixq", "Cazq", "Bolq", "Rezq", "Stoq", "Yalq", "Emzq"),
    *("Alvq", "Denq", "Finq", "Glyq", "Juvq", "Kriq", "Loqz", "Mavq", "Norq", "Pryq", "Rolq", "Skeq", "Twaq", "Vluq"),
)
_MIDDLES = (
    "a",
    "e",
    "i",
    "o",
    "u",
    "ar",
    "en",
    "il",
    "or",
    "um",
    "ara",
    "eni",
    "iro",
    "ovi",
    "una",
    "esta",
    "ilo",
    "ama",
)
_TAILS = (
    *("dor", "nex", "lia", "vane", "tum", "rix", "sol", "mont", "gan", "phor", "dyne", "corp", "lume", "tek", "ra"),
    *("vian", "quil", "zen", "bar", "cis", "dell", "fex", "gor", "hal", "jin", "kor", "lex", "mar", "nor", "pax"),
)
_FORMS = (
    "Inc.",
    "Corp.",
    "Holdings Inc.",
    "Group Inc.",
    "Technologies Inc.",
    "Therapeutics Inc.",
    "Bancorp",
    "Energy Corp.",
)
_THEMES = ("Large Company", "Small Company", "Dividend", "Treasury Bond", "Technology", "Quality", "Income", "Momentum")


def tickers(seed: int, taken: Collection[str]) -> list[str]:
    """About 20,000 tickers of four and five letters in a seeded order, none of them taken."""
    letters = string.ascii_uppercase
    four = [a + pair + b for pair in _PAIRS for a, b in itertools.product(letters, repeat=2)]
    five = [a + pair + b + c for pair in _PAIRS for a, b, c in itertools.product(letters, repeat=3)]
    chosen = four + [five[place] for place in _order(seed, "five letters", len(five))[:_FIVE_LETTERS]]
    found = (chosen[place] for place in _order(seed, "tickers", len(chosen)))
    return [ticker for ticker in found if ticker not in taken]


def words(seed: int) -> list[str]:
    """About 20,000 invented words in a seeded order."""
    every = ["".join(parts) for parts in itertools.product(_HEADS, _MIDDLES, _TAILS)]
    return [every[place] for place in _order(seed, "words", len(every))]


def company(word: str, number: int) -> str:
    """A company's name."""
    return f"{word} {_FORMS[number % len(_FORMS)]}"


def fund(word: str, number: int) -> str:
    """A fund's name."""
    return f"{word} {_THEMES[number % len(_THEMES)]} ETF"


def _order(seed: int, what: str, count: int) -> list[int]:
    places: list[int] = np.argsort(noise.bits(np.arange(count), seed, what), kind="stable").tolist()
    return places
