"""Numbers by which registries know a fictional instrument: in the shape of real ones, and nobody's.

They belong to the instrument and survive its renames, so they come from the name it was listed under.
"""

from __future__ import annotations

from typing import Literal

from market_pipeline.sandbox.script import draw

Level = Literal["composite", "share class"]

_CONSONANTS = "BCDFGHJKLMNPQRSTVWXYZ0123456789"
_CUSIP = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


def cik(seed: int, name: str) -> int:
    """A registrant's number, of seven digits and far above any that had been given by 2026."""
    return 8_000_000 + draw(seed, name, "cik") % 1_000_000


def figi(number: int, level: Level) -> str:
    """Twelve characters made from a large random number: BBG00 and BBG001 begin real ones too."""
    text = "BBG00" if level == "composite" else "BBG001"
    while len(text) < 11:
        number, place = divmod(number, len(_CONSONANTS))
        text += _CONSONANTS[place]
    return text + str(number % 10)


def figi_of(seed: int, name: str, level: Level) -> str:
    """The same for an instrument with a name of its own."""
    return figi(draw(seed, name, "figi", level), level)


def cusip(seed: int, name: str) -> str:
    """Nine characters that begin with 9Q, a range for private use."""
    number, text = draw(seed, name, "cusip"), "9Q"
    while len(text) < 8:
        number, place = divmod(number, len(_CUSIP))
        text += _CUSIP[place]
    return text + str(number % 10)


def isin(seed: int, name: str) -> str:
    """Twelve characters around the CUSIP."""
    return f"US{cusip(seed, name)}{draw(seed, name, 'isin') % 10}"
