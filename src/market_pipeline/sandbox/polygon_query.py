"""How Polygon's reference endpoints are asked: filters on members, order, limit, and cursors.

A cursor is the unpadded base64 of the query it continues, with a marker of the last row that was sent: its ticker and a
hash, in which the page's number is hidden for whoever plants faults. What does not belong here: the rows
(`polygon_bodies`).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import numpy as np

from market_pipeline.sandbox.reference import Ticker
from market_pipeline.sandbox.roster_actions import Column, Table

MAX_LIMIT = 1000
_COMPARISONS: Mapping[str, Callable[[Column, object], Column]] = {
    "": lambda column, value: column == value,
    "gte": lambda column, value: column >= value,
    "gt": lambda column, value: column > value,
    "lte": lambda column, value: column <= value,
    "lt": lambda column, value: column < value,
}


class BadQueryError(ValueError):
    """A parameter that cannot be read."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of an answer, by its ticker and by what tells it from the other rows of that ticker."""

    ticker: str
    key: str

    @property
    def digest(self) -> str:
        """60 hex digits, for that the page's number makes 64."""
        return hashlib.sha256(f"{self.ticker}|{self.key}".encode()).hexdigest()[4:]


@dataclass(frozen=True, slots=True)
class Query:
    """A query as asked for, or as its cursor says: `ticker` and `digest` of the last row sent, `page` from 1."""

    params: Mapping[str, str]
    ticker: str = ""
    digest: str = ""
    page: int = 1

    def limit(self, default: int) -> int:
        """Rows of a page."""
        text = self.params.get("limit", str(default))
        if not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
            raise BadQueryError(f"Could not parse the limit: {MAX_LIMIT} is the maximum")
        return int(text)

    def day(self, name: str) -> dt.date | None:
        """A date, None when it is not given."""
        text = self.params.get(name)
        if text is None:
            return None
        try:
            return dt.date.fromisoformat(text)
        except ValueError:
            raise BadQueryError(f"Could not parse the parameter: {name}") from None

    def is_(self, name: str, *, default: bool) -> bool:
        """A parameter that is true or false."""
        return self.params.get(name, str(default)).lower() == "true"

    def is_last_sent(self, mark: Mark) -> bool:
        """True for the row after which the page begins."""
        return mark.ticker == self.ticker and mark.digest == self.digest

    def cursor(self, mark: Mark, **kept: str) -> str:
        """The cursor of the page that comes after a row; `kept` are parameters that were left to their defaults."""
        marker = f"{mark.ticker}|{self.page + 1:04x}{mark.digest}"
        text = urlencode(sorted({**kept, **self.params, "page_marker": marker}.items()))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(params: Mapping[str, str]) -> Query:
    """The query of a request; a cursor stands for everything else in it."""
    if "cursor" not in params:
        return Query({name: value for name, value in params.items() if name != "apiKey"})
    text = params["cursor"]
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        found = dict(parse_qsl(decoded, strict_parsing=True))
        ticker, _, hidden = found.pop("page_marker").rpartition("|")
        return Query(found, ticker, hidden[4:], int(hidden[:4], 16))
    except (binascii.Error, UnicodeDecodeError, ValueError, KeyError):
        raise BadQueryError("Could not parse the cursor") from None


def page_of(params: Mapping[str, str]) -> int:
    """The number of the page that a request asks for; 1 for whatever cannot be read."""
    try:
        return read(params).page
    except BadQueryError:
        return 1


def rows_of(
    table: Table, query: Query, *, known: dt.date, members: Mapping[str, str], sort: str, limit: int
) -> tuple[list[int], Mark | None]:
    """Places of a page's rows, and the mark of the last one when others follow.

    `members` maps the names of the answer to columns; `sort` is the member that sorts by default, its dates descending.
    """
    columns = table.columns
    is_wanted = columns["known"] <= known.toordinal()
    for name in query.params:
        member, _, comparison = name.partition(".")
        column = members.get(member)
        if column is None:
            continue
        if comparison not in _COMPARISONS:
            raise BadQueryError(f"Could not parse the parameter: {name}")
        is_wanted &= _COMPARISONS[comparison](columns[column], _value(query, name, columns[column]))
    places = np.flatnonzero(is_wanted)
    by = query.params.get("sort", sort)
    if by not in members:
        raise BadQueryError(f"Could not parse the parameter: sort {by}")
    is_descending = query.params.get("order", "desc" if by == sort else "asc") == "desc"
    if members[by] != "date":
        places = places[np.argsort(columns[members[by]][places], kind="stable")]
    if is_descending != (members[by] == "date"):
        places = places[::-1]
    start = 0
    if query.digest:
        same = np.flatnonzero(columns["ticker"][places] == query.ticker).tolist()
        start = _start(query, ((place, _mark(table, int(places[place]))) for place in same))
    page = places[start : start + limit].tolist()
    return page, _mark(table, page[-1]) if start + limit < len(places) else None


def tickers_of(records: Sequence[Ticker], query: Query, *, today: dt.date) -> list[Ticker]:
    """Every ticker that a query asks for, in its order, whatever its page."""
    day = query.day("date") or today
    is_active = query.is_("active", default=True)
    kind, exchange = query.params.get("type"), query.params.get("exchange")
    words = query.params.get("search", "").lower()
    identifier = {name: query.params[name] for name in ("cik", "composite_figi") if name in query.params}
    found = [
        one
        for one in records
        if (one.holds(day) if is_active else one.is_delisted(day))
        and kind in (None, one.kind)
        and exchange in (None, one.exchange)
        and all(getattr(one, name) == value for name, value in identifier.items())
        and (not words or words in one.symbol.lower() or words in one.name.lower())
        and _fits(one.symbol, query)
    ]
    if query.params.get("market", "stocks") != "stocks":
        return []
    by = query.params.get("sort", "ticker")
    if by not in ("ticker", "name", "type", "primary_exchange", "cik", "composite_figi"):
        raise BadQueryError(f"Could not parse the parameter: sort {by}")
    member = {"ticker": "symbol", "type": "kind", "primary_exchange": "exchange"}.get(by, by)
    is_descending = query.params.get("order", "asc") == "desc"
    found.sort(key=lambda one: (getattr(one, member) or "", one.symbol, one.valid_from), reverse=is_descending)
    return found


def after(found: Sequence[Ticker], query: Query, limit: int) -> tuple[int, Sequence[Ticker], Mark | None]:
    """The place of a page's first row, its rows, and the mark of the last one when others follow."""
    start = 0
    if query.digest:
        marks = ((place, Mark(one.symbol, one.instrument)) for place, one in enumerate(found))
        start = _start(query, ((place, mark) for place, mark in marks if mark.ticker == query.ticker))
    page = found[start : start + limit]
    is_last = start + limit >= len(found)
    return start, page, None if is_last else Mark(page[-1].symbol, page[-1].instrument)


def _start(query: Query, marks: Iterable[tuple[int, Mark]]) -> int:
    """The place after the last row that was sent."""
    found = next((place for place, mark in marks if query.is_last_sent(mark)), None)
    if found is None:
        raise BadQueryError("Could not find the page of the cursor")
    return found + 1


def _fits(symbol: str, query: Query) -> bool:
    tests = {
        "ticker": symbol.__eq__,
        "ticker.gte": symbol.__ge__,
        "ticker.gt": symbol.__gt__,
        "ticker.lte": symbol.__le__,
        "ticker.lt": symbol.__lt__,
    }
    return all(test(query.params[name]) for name, test in tests.items() if name in query.params)


def _value(query: Query, name: str, column: Column) -> object:
    """A filter's value as its column has it: days are ordinals."""
    if column.dtype.kind == "i" and "date" in name:
        day = query.day(name)
        return 0 if day is None else day.toordinal()
    try:
        return query.params[name] if column.dtype.kind == "U" else float(query.params[name])
    except ValueError:
        raise BadQueryError(f"Could not parse the parameter: {name}") from None


def _mark(table: Table, row: int) -> Mark:
    columns = table.columns
    return Mark(str(columns["ticker"][row]), f"{columns['date'][row]}|{columns['kind'][row]}")
