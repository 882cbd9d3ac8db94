"""Members of the fictional market, read from its seed files. What does not belong here: what they do (`script`)."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Period:
    """A symbol over `valid_from` <= date < `valid_to`; None means in force."""

    symbol: str
    valid_from: dt.date
    valid_to: dt.date | None

    def holds(self, day: dt.date) -> bool:
        """True when the symbol is in force on that day."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument with its symbols; `delisted` is its last session."""

    symbol: str
    name: str
    asset_class: str
    exchange: str
    currency: str
    sector: str
    industry: str
    listed: dt.date
    delisted: dt.date | None
    periods: tuple[Period, ...]
    is_followed: bool = True

    @property
    def gone(self) -> dt.date | None:
        """The Monday after the last session, from which on nobody answers for the instrument any more."""
        if self.delisted is None:
            return None
        return self.delisted + dt.timedelta(days=7 - self.delisted.weekday())

    def symbol_on(self, day: dt.date) -> str | None:
        """The symbol the instrument answers to on a day, None before the listing and once it is gone."""
        if self.delisted is not None and self.gone is not None and self.delisted < day < self.gone:
            day = self.delisted
        return next((period.symbol for period in self.periods if period.holds(day)), None)


def load(folder: Path) -> tuple[Listing, ...]:
    """Read `demo_instruments.csv` and `demo_symbols.csv`, ordered by symbol."""
    periods: dict[str, list[Period]] = {}
    for row in _rows(folder / "demo_symbols.csv"):
        periods.setdefault(row["instrument_symbol"], []).append(
            Period(row["symbol"], dt.date.fromisoformat(row["valid_from"]), _date(row["valid_to"]))
        )
    listings = [
        Listing(
            symbol=row["symbol"],
            name=row["name"],
            asset_class=row["asset_class"],
            exchange=row["exchange"],
            currency=row["currency"],
            sector=row["sector"],
            industry=row["industry"],
            listed=dt.date.fromisoformat(row["listed_date"]),
            delisted=_date(row["delisted_date"]),
            periods=tuple(sorted(periods[row["symbol"]], key=lambda period: period.valid_from)),
            is_followed=row["is_followed"] == "true",
        )
        for row in _rows(folder / "demo_instruments.csv")
    ]
    return tuple(sorted(listings, key=lambda listing: listing.symbol))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _date(text: str) -> dt.date | None:
    return dt.date.fromisoformat(text) if text else None
