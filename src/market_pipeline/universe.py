"""Which instruments we follow: `instruments.csv` with their symbol history, or the demo's fictional twin, and what the
user adds and takes away in a file of the profile (`market-pipeline symbols`).

`instrument_id` is a hash of the first known identity (asset class, first symbol, first date), so that it survives
renames and the growth of the file. A line of the user's file carries its id, which stays what it was when it was added.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from market_pipeline.errors import ConfigurationError
from market_pipeline.feed import Feed, Instrument, Request
from market_pipeline.partition import Slice

SPELLED_BY = ("alpha_vantage", "fmp", "polygon")
ASSET_CLASSES = ("stock", "etf", "index")
OWN_FILE = "universe.csv"
OWN_COLUMNS = (
    "symbol", "name", "asset_class", "exchange", "currency", "sector", "industry", "listed_date", "delisted_date",
    *SPELLED_BY, "is_followed", "instrument_id",
)  # fmt: skip
# A listing whose first day nobody knows is taken to be as old as the calendar.
UNKNOWN_LISTING = dt.date(1990, 1, 1)
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.^=/-]{0,19}\Z")
_ID = re.compile(r"[0-9a-f]{16,64}\Z")


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
    """The requests of a slice, by name: those for the instruments that the feed serves and that were listed in it."""
    listed = tuple(
        instrument
        for instrument in instruments
        if instrument.asset_class in feed.asset_classes and instrument.is_listed(part.start, part.end)
    )
    return tuple(sorted(feed.plan(part, listed), key=lambda request: request.name))


def symbols_in(given: Iterable[str]) -> tuple[str, ...]:
    """Symbols of texts that separate them by commas. Texts that name none are a ConfigurationError, because none at all
    would mean every one."""
    texts = tuple(given)
    names = tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
    if texts and not names:
        raise ConfigurationError("--symbols names no symbol; leave it out for all of them")
    return names


def instrument_id(asset_class: str, first_symbol: str, first_date: dt.date) -> str:
    """Stable name of an instrument: 16 hex digits of a hash of its first known identity."""
    text = f"{asset_class}|{first_symbol}|{first_date.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(folder: Path, *, is_demo: bool, only: Sequence[str] = (), own: Path | None = None) -> Universe:
    """Read the universe's two files, then the user's `own`, if it is there. `only` narrows the followed ones to these
    symbols; an unknown one is an error."""
    prefix = "demo_" if is_demo else ""
    instruments: list[Instrument] = []
    followed: set[str] = set()
    for row in _rows(folder / f"{prefix}instruments.csv"):
        first = dt.date.fromisoformat(row["first_date"] or row["listed_date"])
        identity = instrument_id(row["asset_class"], row["first_symbol"] or row["symbol"], first)
        instruments.append(_instrument(row, identity))
        if row["is_followed"].lower() == "true":
            followed.add(identity)
    by_symbol = {i.symbol: i.instrument_id for i in instruments}
    if len(by_symbol) != len(instruments):
        raise ConfigurationError(f"{prefix}instruments.csv names a symbol twice; mend the file")
    for row in read_own(own) if own is not None else ():
        symbol = row["symbol"]
        if symbol not in by_symbol:
            instruments.append(_instrument(row, row["instrument_id"]))
            by_symbol[symbol] = row["instrument_id"]
        (followed.add if row["is_followed"] == "true" else followed.discard)(by_symbol[symbol])
    files = f"{prefix}instruments.csv" + (f" or {OWN_FILE}" if own is not None else "")
    for provider in SPELLED_BY:
        if len({i.spelling(provider) for i in instruments}) != len(instruments):
            raise ConfigurationError(f"{files} gives two instruments one {provider} spelling; mend it")
    if len(set(by_symbol.values())) != len(instruments):
        raise ConfigurationError(f"{files} names an identity twice; mend the file")
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
    spellings += tuple(_own_spellings(instruments, spellings))
    if only:
        unknown = [symbol for symbol in only if symbol not in by_symbol]
        if unknown:
            raise ConfigurationError(
                f"MARKET_PIPELINE_UNIVERSE names {', '.join(unknown)}, unknown to {files}; "
                f"add it first: market-pipeline symbols add {unknown[0]}"
            )
        followed = {by_symbol[symbol] for symbol in only}
    return Universe(tuple(sorted(instruments, key=lambda i: i.symbol)), frozenset(followed), spellings)


def _own_spellings(instruments: Iterable[Instrument], history: Sequence[Spelling]) -> Iterable[Spelling]:
    """One spelling for each instrument without a history, from its listing on. A symbol that was another's then can't
    be its."""
    told = {spelling.instrument_id: spelling for spelling in history}
    symbols = {i.instrument_id: i.symbol for i in instruments}
    for i in instruments:
        if i.instrument_id in told:
            continue
        for other in history:
            if other.symbol == i.symbol and (other.valid_to is None or other.valid_to > i.listed_date):
                until = "today" if other.valid_to is None else other.valid_to
                raise ConfigurationError(
                    f"{i.symbol} was a symbol of {symbols[other.instrument_id]} from {other.valid_from} to {until}; "
                    "follow that one, or say since when it is another's: "
                    f"market-pipeline symbols add {i.symbol} --since DATE"
                )
        yield Spelling(i.instrument_id, i.symbol, i.listed_date, None)


def read_own(path: Path) -> tuple[dict[str, str], ...]:
    """The lines of the user's file with every column of `OWN_COLUMNS`; none when there is no file. Only `symbol` has to
    be given; a line that can't be is a ConfigurationError with its number."""
    if not path.is_file():
        return ()
    found: dict[str, dict[str, str]] = {}
    for number, given in enumerate(_rows(path), start=2):
        try:
            row = _own_row(given)
            if row["symbol"] in found:
                raise ValueError(f"{row['symbol']} is there already")
        except ValueError as error:
            raise ConfigurationError(f"{path.name}, line {number}: {error}; mend {path}") from None
        found[row["symbol"]] = row
    return tuple(found.values())


def write_own(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Replace the user's file, sorted by symbol; every row is judged first (ValueError)."""
    judged = sorted((_own_row(row) for row in rows), key=lambda row: row["symbol"])
    text = io.StringIO()
    writer = csv.DictWriter(text, OWN_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(judged)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _own_row(given: Mapping[str, str | None]) -> dict[str, str]:
    """A line of the user's file with what it leaves out; ValueError says what is wrong."""
    row = {column: (given.get(column) or "").strip() for column in OWN_COLUMNS}
    symbol = row["symbol"]
    if not _SYMBOL.match(symbol):
        raise ValueError(
            f"{symbol!r} is no symbol; allowed are up to 20 letters, digits and . ^ = / -, first a letter or digit"
        )
    row["name"] = row["name"] or symbol
    row["asset_class"] = row["asset_class"].lower() or ASSET_CLASSES[0]
    if row["asset_class"] not in ASSET_CLASSES:
        raise ValueError(f"{row['asset_class']!r} is no asset class; one of: {', '.join(ASSET_CLASSES)}")
    row["currency"] = row["currency"].upper() or "USD"
    row["listed_date"] = row["listed_date"] or UNKNOWN_LISTING.isoformat()
    for column in ("listed_date", "delisted_date"):
        if row[column] and not re.fullmatch(r"\d{4}-\d\d-\d\d", row[column], re.ASCII):
            raise ValueError(f"{column} {row[column]!r} is no date; write YYYY-MM-DD")
    listed = dt.date.fromisoformat(row["listed_date"])
    if row["delisted_date"] and dt.date.fromisoformat(row["delisted_date"]) < listed:
        raise ValueError(f"{symbol} was delisted before it was listed")
    row["is_followed"] = row["is_followed"].lower() or "true"
    if row["is_followed"] not in ("true", "false"):
        raise ValueError(f"is_followed is {row['is_followed']!r}; write true or false")
    row["instrument_id"] = row["instrument_id"] or instrument_id(row["asset_class"], symbol, listed)
    if not _ID.match(row["instrument_id"]):
        raise ValueError(f"{row['instrument_id']!r} is no instrument_id; leave it empty")
    return row


def _instrument(row: Mapping[str, str], identity: str) -> Instrument:
    return Instrument(
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


def _rows(path: Path) -> Iterable[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _date(text: str) -> dt.date | None:
    return dt.date.fromisoformat(text) if text else None
