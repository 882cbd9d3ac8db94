"""Which instruments we follow: `instruments.csv` with their symbol history, or the demo's fictional twin.

`instrument_id` is a hash of the first known identity (asset class, first symbol, first date), so that it survives
renames and the growth of the file.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from market_pipeline.errors import ConfigurationError
from market_pipeline.feed import Feed, Instrument, Request
from market_pipeline.partition import Slice

SPELLED_BY = ("alpha_vantage",)


@dataclass(frozen=True, slots=True)
class Spelling:
    """One symbol of an instrument over `valid_from` <= date < `valid_to`; None means in force."""

    instrument_id: str
    symbol: str
    valid_from: dt.date
    valid_to: dt.date | None


@dataclass(frozen=True, slots=True)
class Universe:
    """Every known instrument, the ids that are followed, and the symbols they have had."""

    instruments: tuple[Instrument, ...]
    followed: frozenset[str]
    spellings: tuple[Spelling, ...]

    def members(self, *, on: dt.date) -> tuple[Instrument, ...]:
        """The followed instruments under the symbols they have on a day."""
        symbols = {
            spelling.instrument_id: spelling.symbol
            for spelling in self.spellings
            if spelling.valid_from <= on and (spelling.valid_to is None or on < spelling.valid_to)
        }
        return tuple(
            replace(i, symbol=symbols.get(i.instrument_id, i.symbol))
            for i in self.instruments
            if i.instrument_id in self.followed
        )


def expected(feed: Feed, part: Slice, instruments: Iterable[Instrument]) -> tuple[Request, ...]:
    """The requests of a slice: one per instrument that the feed serves and that was listed in it, by name."""
    requests = (
        feed.plan(instrument)
        for instrument in instruments
        if instrument.asset_class in feed.asset_classes and instrument.is_listed(part.start, part.end)
    )
    return tuple(sorted(requests, key=lambda request: request.name))


def instrument_id(asset_class: str, first_symbol: str, first_date: dt.date) -> str:
    """Stable name of an instrument: 16 hex digits of a hash of its first known identity."""
    text = f"{asset_class}|{first_symbol}|{first_date.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(folder: Path, *, is_demo: bool, only: Sequence[str] = ()) -> Universe:
    """Read the universe's two files. `only` narrows the followed ones to these symbols; an unknown one is an error."""
    prefix = "demo_" if is_demo else ""
    instruments: list[Instrument] = []
    followed: set[str] = set()
    for row in _rows(folder / f"{prefix}instruments.csv"):
        first = dt.date.fromisoformat(row["first_date"] or row["listed_date"])
        identity = instrument_id(row["asset_class"], row["first_symbol"] or row["symbol"], first)
        instruments.append(
            Instrument(
                instrument_id=identity,
                symbol=row["symbol"],
                name=row["name"],
                asset_class=row["asset_class"],
                exchange=row["exchange"],
                currency=row["currency"],
                sector=row["sector"] or None,
                industry=row["industry"] or None,
                listed_date=dt.date.fromisoformat(row["listed_date"]),
                delisted_date=_date(row["delisted_date"]),
                spellings=tuple((p, row[p]) for p in SPELLED_BY if row.get(p)),
            )
        )
        if row["is_followed"].lower() == "true":
            followed.add(identity)
    for provider in SPELLED_BY:
        if len({i.spelling(provider) for i in instruments}) != len(instruments):
            raise ConfigurationError(f"{prefix}instruments.csv gives two instruments one {provider} spelling; mend it")
    by_symbol = {i.symbol: i.instrument_id for i in instruments}
    if len(by_symbol) != len(instruments) or len(set(by_symbol.values())) != len(instruments):
        raise ConfigurationError(f"{prefix}instruments.csv names a symbol or an identity twice; mend the file")
    history = tuple(_rows(folder / f"{prefix}symbols.csv"))
    strangers = sorted({row["instrument_symbol"] for row in history} - set(by_symbol))
    if strangers:
        raise ConfigurationError(
            f"{prefix}symbols.csv names {', '.join(strangers)}, unknown to {prefix}instruments.csv; mend one of them"
        )
    spellings = tuple(
        Spelling(
            by_symbol[row["instrument_symbol"]],
            row["symbol"],
            dt.date.fromisoformat(row["valid_from"]),
            _date(row["valid_to"]),
        )
        for row in history
    )
    if only:
        unknown = [symbol for symbol in only if symbol not in by_symbol]
        if unknown:
            raise ConfigurationError(
                f"MARKET_PIPELINE_UNIVERSE names {', '.join(unknown)}, unknown to {prefix}instruments.csv; "
                "add a line there first"
            )
        followed = {by_symbol[symbol] for symbol in only}
    return Universe(tuple(sorted(instruments, key=lambda i: i.symbol)), frozenset(followed), spellings)


def _rows(path: Path) -> Iterable[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _date(text: str) -> dt.date | None:
    return dt.date.fromisoformat(text) if text else None
