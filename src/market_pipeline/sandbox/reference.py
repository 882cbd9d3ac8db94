"""Who bears which ticker when, over the whole market: one record per instrument and ticker.

What does not belong here: how the rest of the market comes about (`roster`), and how a provider writes it (`polygon`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from market_pipeline.sandbox import identifiers
from market_pipeline.sandbox.listing import Listing

_EXCHANGES = {"NYSE": "XNYS", "NASDAQ": "XNAS", "NYSE ARCA": "ARCX"}


@dataclass(frozen=True, slots=True)
class Ticker:
    """A ticker over `valid_from` <= date < `valid_to`, None means in force. What ends it is a delisting or, with
    `is_renamed`, another ticker of the same `instrument`. Identifiers are None where no registry has one."""

    symbol: str
    valid_from: dt.date
    valid_to: dt.date | None
    is_renamed: bool
    instrument: str
    name: str
    kind: str
    exchange: str
    cik: str | None
    composite_figi: str | None
    share_class_figi: str | None

    def holds(self, day: dt.date) -> bool:
        """True when the ticker is in force on that day."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)

    def is_delisted(self, day: dt.date) -> bool:
        """True when it has gone by that day, and not into another ticker."""
        return self.valid_to is not None and self.valid_to <= day and not self.is_renamed


def of_members(members: Sequence[Listing], former_names: dict[str, str], *, seed: int) -> Iterator[Ticker]:
    """The universe's tickers; indexes have none."""
    for member in members:
        if member.asset_class == "index":
            continue
        first = member.periods[0].symbol
        for number, period in enumerate(member.periods):
            is_last = number == len(member.periods) - 1
            yield Ticker(
                symbol=period.symbol,
                valid_from=member.listed if number == 0 else period.valid_from,
                valid_to=period.valid_to,
                is_renamed=not is_last,
                instrument=first,
                name=member.name if is_last else former_names.get(member.symbol, member.name),
                kind="ETF" if member.asset_class == "etf" else "CS",
                exchange=_EXCHANGES[member.exchange],
                cik=f"{identifiers.cik(seed, first):010d}",
                composite_figi=identifiers.figi_of(seed, first, "composite"),
                share_class_figi=identifiers.figi_of(seed, first, "share class"),
            )
