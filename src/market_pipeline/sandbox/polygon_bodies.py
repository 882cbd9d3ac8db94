"""The shapes of Polygon's answers: compact JSON, numbers as Go writes them, rows in the order of captured bodies.

What does not belong here: keys, plans and refusals (`polygon`), filters and cursors (`polygon_query`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from market_pipeline.sandbox.reference import Ticker
from market_pipeline.sandbox.roster_actions import Table
from market_pipeline.sandbox.sessions import NEW_YORK, midnight

Row = dict[str, Any]

_LARGE = 1e6  # from here on with an exponent
_FINE_SINCE = dt.date(2025, 7, 1)  # since then rows are dated to the nanosecond
_NEW_YORK_UNTIL = dt.date(2023, 1, 1)  # until then a delisting is dated at midnight in New York


def compact(document: object) -> bytes:
    """JSON without a space."""
    return orjson.dumps(document)


def go_number(value: float) -> orjson.Fragment:
    """A number as Go writes it."""
    return orjson.Fragment(go_text(value).encode())


def go_text(value: float) -> str:
    """A number in Go's shortest `g` style: whole ones without a point, from a million on with an exponent."""
    if value >= _LARGE:
        digits, exponent = _digits(value)
        return f"{digits[0]}.{digits[1:]}e+{exponent:02d}" if len(digits) > 1 else f"{digits}e+{exponent:02d}"
    return str(int(value)) if float(value).is_integer() else repr(value)


def _digits(value: float) -> tuple[str, int]:
    """Significant digits and decimal exponent of a number of at least one."""
    whole, _, fraction = (str(int(value)) if value == int(value) else repr(value)).partition(".")
    return (whole + fraction).rstrip("0") or "0", len(whole) - 1


@dataclass(frozen=True)
class Columns:
    """Bars to be written, in the order of the rows."""

    tickers: Sequence[str]
    volume: NDArray[np.float64]
    vwap: NDArray[np.float64]
    open: NDArray[np.float64]
    close: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    instants: Sequence[int]
    trades: NDArray[np.float64]

    def reversed(self) -> Columns:
        """The rows the other way round."""
        return Columns(*(getattr(self, field.name)[::-1] for field in fields(self)))


def bars(columns: Columns, *, with_ticker: bool) -> orjson.Fragment:
    """The array of aggregates, written column by column: ten thousand objects would cost a garbage collection each."""
    names = ["v", "vw", "o", "c", "h", "l", "t", "n"]
    texts = [
        _numbers(columns.volume),
        *(_numbers(price) for price in (columns.vwap, columns.open, columns.close, columns.high, columns.low)),
        [str(instant) for instant in columns.instants],
        [str(trades) for trades in columns.trades.astype(np.int64).tolist()],
    ]
    if with_ticker:
        names, texts = ["T", *names], [[f'"{ticker}"' for ticker in columns.tickers], *texts]
    row = ",".join(f'"{name}":%s' for name in names)
    rows = ",".join([f"{{{row}}}" % values for values in zip(*texts, strict=True)])
    return orjson.Fragment(f"[{rows}]".encode())


def _numbers(column: NDArray[np.float64]) -> list[str]:
    """A column's numbers in Go's style."""
    texts = orjson.dumps(column.tolist())[1:-1].decode().split(",") if len(column) else []
    for place in np.flatnonzero(column == np.floor(column)).tolist():
        texts[place] = texts[place].removesuffix(".0")
    for place in np.flatnonzero(column >= _LARGE).tolist():
        texts[place] = go_text(float(column[place]))
    return texts


def ticker(one: Ticker, *, today: dt.date, place: int) -> Row:
    """A row of the roster as of a day; identifiers that nobody has are absent."""
    is_active = one.holds(today)
    row: Row = {
        "ticker": one.symbol,
        "name": one.name,
        "market": "stocks",
        "locale": "us",
        "primary_exchange": one.exchange,
        "type": one.kind,
        "active": is_active,
        "currency_name": "usd",
    }
    for name in ("cik", "composite_figi", "share_class_figi"):
        if getattr(one, name) is not None:
            row[name] = getattr(one, name)
    day = today if is_active or one.valid_to is None else one.valid_to
    row["last_updated_utc"] = _updated(day, place)
    if not is_active and one.valid_to is not None:
        row["delisted_utc"] = _delisted(one.valid_to)
    return row


def _updated(day: dt.date, place: int) -> str:
    """Up to when a row is vouched for: midnight in older ones, else some nanoseconds after the row before it."""
    if day < _FINE_SINCE:
        return f"{day.isoformat()}T00:00:00Z"
    nanoseconds = f"{399_238_389 + 137 * place:09d}".rstrip("0")
    return f"{day.isoformat()}T07:06:20.{nanoseconds}Z"


def _delisted(day: dt.date) -> str:
    """The day after the last session, at midnight: in New York before 2023, in UTC since."""
    if day < _NEW_YORK_UNTIL:
        return f"{midnight(day):%Y-%m-%dT%H:%M:%SZ}"
    return f"{day.isoformat()}T00:00:00Z"


def dividends(table: Table, places: Iterable[int]) -> Iterator[Row]:
    """Dividends as paid; the day of the declaration is missing where nobody wrote it down."""
    columns = table.columns
    for place in places:
        row: Row = {"cash_amount": go_number(float(columns["amount"][place])), "currency": "USD"}
        identifier = _id(columns, place)
        if int(identifier[1:3], 16) > 6:
            row["declaration_date"] = _day(columns["known"][place])
        yield row | {
            "dividend_type": str(columns["kind"][place]),
            "ex_dividend_date": _day(columns["date"][place]),
            "frequency": int(columns["frequency"][place]),
            "id": identifier,
            "pay_date": _day(columns["paid"][place]),
            "record_date": _day(columns["record"][place]),
            "ticker": str(columns["ticker"][place]),
        }


def splits(table: Table, places: Iterable[int]) -> Iterator[Row]:
    """Splits as old and new shares."""
    columns = table.columns
    for place in places:
        old, new = fraction(float(columns["ratio"][place]))
        yield {
            "execution_date": _day(columns["date"][place]),
            "id": _id(columns, place),
            "split_from": go_number(old),
            "split_to": go_number(new),
            "ticker": str(columns["ticker"][place]),
        }


def fraction(ratio: float) -> tuple[float, float]:
    """Old and new shares: whole ones where small ones do, else new ones for one old."""
    for old in (1, 2, 4):
        if float(ratio * old).is_integer():
            return float(old), ratio * old
    return (round(1 / ratio, 6), 1.0) if ratio < 1 else (1.0, ratio)


def events(records: Sequence[Ticker]) -> Row:
    """The life of one instrument by its tickers, newest first."""
    newest = records[-1]
    row: Row = {"name": newest.name}
    for name in ("composite_figi", "cik"):
        if getattr(newest, name) is not None:
            row[name] = getattr(newest, name)
    row["events"] = [
        {"ticker_change": {"ticker": one.symbol}, "type": "ticker_change", "date": one.valid_from.isoformat()}
        for one in reversed(records)
    ]
    return row


def start_of(day: dt.date) -> int:
    """Midnight in New York, in milliseconds."""
    return milliseconds(dt.datetime.combine(day, dt.time(), NEW_YORK))


def milliseconds(instant: dt.datetime) -> int:
    """An instant in milliseconds since 1970."""
    return int(instant.timestamp()) * 1000


def _day(ordinal: Any) -> str:
    return dt.date.fromordinal(int(ordinal)).isoformat()


def _id(columns: Mapping[str, NDArray[Any]], place: int) -> str:
    text = f"{columns['date'][place]}|{columns['ticker'][place]}|{columns['kind'][place]}"
    return "E" + hashlib.sha256(text.encode()).hexdigest()
