"""The planted events of the fictional market: what happens to whom and when.

Renames, listings and delistings come from the seed files; everything else is said here, by the symbol in force today.
A rule with a symbol that the universe lacks is without effect.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Fund:
    """How an exchange-traded fund moves: daily share of the market's and of one sector's move, and its own noise."""

    beta: float
    sector: str = ""
    noise: float = 0.0004
    yield_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Split:
    """`ratio` new shares for one old, from `date` (a session, the first one of its week) on."""

    symbol: str
    date: dt.date
    ratio: int


@dataclass(frozen=True, slots=True)
class Special:
    """A dividend beside the regular one, on the first ex-date from `since` on: a share of the close before."""

    symbol: str
    since: dt.date
    yield_ratio: float


@dataclass(frozen=True, slots=True)
class Reclassified:
    """A company whose sector and industry were others until `date`."""

    symbol: str
    date: dt.date
    old_sector: str
    old_industry: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is wrong in every snapshot: high and low exchanged, or the volume negative."""

    symbol: str
    week_start: dt.date
    fault: Literal["high_below_low", "negative_volume"]


@dataclass(frozen=True, slots=True)
class Script:
    """Everything planted. `former_names` are the names borne until the first rename."""

    splits: tuple[Split, ...] = (
        Split("VEXQ", dt.date(2026, 9, 14), 4),
        Split("QRVN", dt.date(2021, 8, 16), 2),
    )
    specials: tuple[Special, ...] = (Special("PLVQ", dt.date(2026, 7, 1), 0.02),)
    former_names: tuple[tuple[str, str], ...] = (("OXQN", "Zaqbook Travel Inc"),)
    reclassified: tuple[Reclassified, ...] = (
        Reclassified("XLOM", dt.date(2026, 9, 21), "Technology", "Software - Application"),
    )
    bad_rows: tuple[BadRow, ...] = (
        BadRow("KQTL", dt.date(2024, 3, 11), "high_below_low"),
        BadRow("DRQX", dt.date(2023, 8, 7), "negative_volume"),
    )
    duplicates: tuple[tuple[str, dt.date], ...] = (("JXPR", dt.date(2025, 2, 10)),)
    loss_makers: frozenset[str] = frozenset({"HLQV", "NQTR", "WYRQ"})
    base_prices: tuple[tuple[str, float], ...] = (("VEXQ", 220.0), ("QRVN", 180.0), ("CQXT", 40.0))
    funds: dict[str, Fund] = field(
        default_factory=lambda: {
            "MQXT": Fund(1.0, yield_ratio=0.014),
            "TQXT": Fund(1.05, sector="Technology", yield_ratio=0.006),
            "SQXT": Fund(1.2, noise=0.004, yield_ratio=0.012),
            "BQXT": Fund(-0.15, noise=0.0045, yield_ratio=0.036),
            "CQXT": Fund(0.9, noise=0.028),
        }
    )

    @property
    def reserved(self) -> frozenset[str]:
        """Symbols with an event of their own: the recurring ones spare them, so that each can be told from the rest."""
        return frozenset(
            {split.symbol for split in self.splits}
            | {symbol for symbol, _ in self.former_names}
            | {change.symbol for change in self.reclassified}
            | {row.symbol for row in self.bad_rows}
            | {symbol for symbol, _ in self.duplicates}
        )


def draw(seed: int, *words: object) -> int:
    """A whole number that depends on nothing but the seed and the words."""
    text = "|".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def share(seed: int, *words: object) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the words."""
    return draw(seed, *words) / 2**64
