"""A lake for the marts of daily bars: thirteen years of real prices of five companies, and three weeks of a fictional
market in which three providers disagree. Expected numbers do not come from here: `gold_daily_oracle` and the tests
compute them from the same rows.

The real prices come from the package `bokeh_sampledata` (raw daily bars and a vendor's adjusted close). Splits are
listed here; dividends are what the vendor's adjusted closes imply, rounded to the tenth of a cent.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl

from market_pipeline import calendar, contracts, layout, providers, reference
from market_pipeline.commit import Name
from market_pipeline.feed import Instrument
from market_pipeline.normalize import QUARANTINE
from market_pipeline.store import FolderStore
from market_pipeline.universe import Spelling, Universe
from silver_files import put_slice

UTC = dt.UTC
AS_OF = dt.datetime(2026, 11, 2, 23, tzinfo=UTC)
POLYGON, FMP, VANTAGE = "polygon", "fmp", "alpha_vantage"  # in the order of their priorities
RAW_FEEDS = {POLYGON: "grouped_daily", FMP: "eod_raw", VANTAGE: "daily_adjusted"}

# The listing began within a week, where a date is given; the others were listed long before the data begin.
REAL = {
    "AAPL": dt.date(1990, 1, 2),
    "FB": dt.date(2012, 5, 18),
    "GOOG": dt.date(2004, 8, 19),
    "IBM": dt.date(1990, 1, 2),
    "MSFT": dt.date(1990, 1, 2),
}
REAL_SPLITS = {
    ("AAPL", dt.date(2000, 6, 21)): 2.0,
    ("AAPL", dt.date(2005, 2, 28)): 2.0,
    ("MSFT", dt.date(2003, 2, 18)): 2.0,
}
REAL_END = dt.date(2013, 3, 1)

FIRST, LAST = dt.date(2026, 10, 12), dt.date(2026, 10, 30)
SPLIT_DATE = dt.date(2026, 10, 21)
CORRECTED = dt.date(2026, 10, 15)
CORRECTED_AT = dt.datetime(2026, 10, 20, 22, tzinfo=UTC)
LATE = dt.date(2026, 10, 30)
LATE_AT = dt.datetime(2026, 10, 31, 12, tzinfo=UTC)
GAP = dt.date(2026, 10, 22)
REFUSED = dt.date(2026, 10, 29)
# MOVE's reverse split and its dividend are announced, then put off.
ANNOUNCED_AT, MOVED_AT = dt.datetime(2026, 10, 15, 23, tzinfo=UTC), dt.datetime(2026, 10, 19, 23, tzinfo=UTC)
FIRST_SPLIT_DATE, MOVED_SPLIT_DATE = dt.date(2026, 10, 20), dt.date(2026, 10, 27)
FIRST_EX_DATE, MOVED_EX_DATE = dt.date(2026, 10, 28), dt.date(2026, 11, 4)
MARKET = ("CENT", "VOTE", "PENY", "CORR", "HOLE", "MOVE")
SPLITS = {"CENT": (SPLIT_DATE, 2.0), "MOVE": (MOVED_SPLIT_DATE, 0.5)}
# A listing of the roster that the user's own file took over with the id it has there: the hash of its FIGI.
OWN, OWN_FIGI = "OWND", "BBG000OWND01"


@dataclass(frozen=True, slots=True)
class Bar:
    """One real session, as traded, with what went ex and split on it; `adjusted` is the vendor's adjusted close."""

    day: dt.date
    open: float
    high: float
    low: float
    close: float
    volume: float
    adjusted: float
    dividend: float
    split: float


def sessions(since: dt.date, until: dt.date) -> list[dt.date]:
    """Sessions of the exchange from `since` to `until`, both included."""
    return list(calendar.sessions(since, until + dt.timedelta(days=1)))


def fetched_at(session: dt.date) -> dt.datetime:
    """When a session's bars are fetched: two hours after the latest close."""
    return dt.datetime.combine(session, dt.time(23), tzinfo=UTC)


def real_bars() -> dict[str, list[Bar]]:
    """The real sessions of each company, oldest first."""
    lines: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    packed = resources.files("bokeh_sampledata").joinpath("_data", "stocks.csv.gz").read_bytes()
    for line in csv.DictReader(io.StringIO(gzip.decompress(packed).decode())):
        lines[line["Ticker"]].append(line)
    found: dict[str, list[Bar]] = {}
    for ticker, rows in lines.items():
        before: Bar | None = None
        found[ticker] = []
        for row in rows:
            day, close, adjusted = dt.date.fromisoformat(row["Date"]), float(row["Close"]), float(row["Adj Close"])
            split = REAL_SPLITS.get((ticker, day), 1.0)
            # This vendor's adjusted closes grow by (close + dividend) / old close.
            grown = 0.0 if before is None else adjusted / before.adjusted * before.close / split - close
            prices = (float(row[name]) for name in ("Open", "High", "Low"))
            bar = Bar(day, *prices, close, float(row["Volume"]), adjusted, round(grown, 3) + 0.0, split)
            found[ticker].append(bar)
            before = bar
    return found


def instrument_id(symbol: str) -> str:
    """A readable id, since nothing here depends on its being a hash; that of the listing taken over is the roster's."""
    if symbol == OWN:
        return hashlib.md5(f"figi|{OWN_FIGI}".encode(), usedforsecurity=False).hexdigest()[:16]
    return symbol.lower()


def base_close(symbol: str, session: dt.date) -> float:
    """What really was traded at the close: a slow, exact walk. CENT splits 2 for 1, MOVE 1 for 2."""
    number = sessions(FIRST, LAST).index(session)
    if symbol == "PENY":
        return 2.0 + 0.01 * (number % 3)
    split_date, ratio = SPLITS.get(symbol, (LAST, 1.0))
    return (100.0 + 0.5 * number) / (ratio if session >= split_date else 1)


def fictional_rows() -> Iterator[dict[str, Any]]:
    """Silver rows of the fictional market. polygon is off by a split of 4 in VOTE, fmp by CENT's own split before its
    day, and alpha_vantage by one cent everywhere. polygon corrects a close of CORR five days later, is late with its
    last session of CORR, and has no bar of HOLE on one session; fmp was refused on one session."""
    days = sessions(FIRST, LAST)
    for session in days:
        for symbol in MARKET:
            close, known_at = base_close(symbol, session), fetched_at(session)
            if not (symbol == "HOLE" and session == GAP):
                scale = 4.0 if symbol == "VOTE" else 1.0
                about = {"provider": POLYGON, "symbol": symbol, "session": session, "volume": 1_000_000.0 / scale}
                if symbol == "CORR" and session == CORRECTED:
                    yield _bar(**about, close=close * 1.02, known_at=known_at)
                    yield _bar(**about, close=close, known_at=CORRECTED_AT)
                elif symbol == "CORR" and session == LATE:
                    yield _bar(**about, close=close, known_at=LATE_AT)
                else:
                    yield _bar(**about, close=close * scale, known_at=known_at)
            if session != REFUSED:
                is_early = symbol == "CENT" and session < SPLIT_DATE
                scale = 0.5 if is_early else 1.0
                about = {"provider": FMP, "symbol": symbol, "session": session, "volume": 1_005_000.0 / scale}
                yield _bar(**about, close=close * scale, known_at=known_at)
                if symbol == "CENT":
                    # Split-adjusted rows are asked for once more at the end, when the split is known.
                    adjusted = {**about, "dataset": "eod_split_adjusted", "basis": "split_adjusted"}
                    yield _bar(**adjusted, close=round(close * scale, 2), known_at=fetched_at(LAST))
            split_date, ratio = SPLITS.get(symbol, (LAST, 1.0))
            yield _bar(
                provider=VANTAGE,
                symbol=symbol,
                session=session,
                close=close + 0.01,
                volume=990_000.0,
                known_at=fetched_at(LAST),
                slice_start=LAST,
                adjusted=(close + 0.01) / (ratio if session < split_date else 1),
                split=ratio if session == split_date else 1.0,
            )


def action_rows() -> Iterator[dict[str, Any]]:
    """Silver rows of what polygon tells of MOVE: the split moves within its month, the dividend into the next one. The
    dates that they left stay in silver, since it keeps every version."""
    split = {"action_type": "split", "kind": "split", "split_from": 2.0, "split_to": 1.0, "action_id": "S1"}
    dividend = {"action_type": "dividend", "kind": "CD", "cash_amount": Decimal("1.68"), "action_id": "E1"}
    for dataset, action, day, known_at in (
        ("splits", split, FIRST_SPLIT_DATE, ANNOUNCED_AT),
        ("splits", split, MOVED_SPLIT_DATE, MOVED_AT),
        ("dividends", dividend, FIRST_EX_DATE, ANNOUNCED_AT),
        ("dividends", dividend, MOVED_EX_DATE, MOVED_AT),
    ):
        yield {**_about(POLYGON, dataset, "MOVE", day.replace(day=1), known_at), **action, "effective_date": day}


def ticker_rows() -> Iterator[dict[str, Any]]:
    """Silver rows of the roster: the one listing that the user's own file took over."""
    yield {
        **_about(POLYGON, "tickers", OWN, dt.date(2026, 10, 26), fetched_at(LAST)),
        "identity": OWN_FIGI,
        "listing": "active",
        "is_active": True,
        "name": "Owned Inc",
        "market": "stocks",
        "primary_exchange": "XNAS",
        "ticker_type": "CS",
        "currency": "USD",
        "composite_figi": OWN_FIGI,
    }


def real_rows() -> Iterator[dict[str, Any]]:
    """Silver rows of the real history: one snapshot of one provider. Its adjusted closes are left out, since this
    vendor adjusts by another formula than the pipeline."""
    for ticker, bars in real_bars().items():
        for bar in bars:
            yield {
                **_about(VANTAGE, RAW_FEEDS[VANTAGE], ticker, REAL_END, fetched_at(REAL_END)),
                "session_date": bar.day,
                "price_basis": "raw",
                "open_usd": bar.open,
                "high_usd": bar.high,
                "low_usd": bar.low,
                "close_usd": bar.close,
                "volume_shares": bar.volume,
                "dividend_usd": bar.dividend,
                "split_ratio": bar.split,
            }


def _bar(
    *,
    provider: str,
    symbol: str,
    session: dt.date,
    close: float,
    volume: float,
    known_at: dt.datetime,
    dataset: str | None = None,
    basis: str = "raw",
    slice_start: dt.date | None = None,
    adjusted: float | None = None,
    split: float | None = None,
) -> dict[str, Any]:
    return {
        **_about(provider, dataset or RAW_FEEDS[provider], symbol, slice_start or session, known_at),
        "session_date": session,
        "price_basis": basis,
        "open_usd": close,
        "high_usd": close,
        "low_usd": close,
        "close_usd": close,
        "volume_shares": volume,
        "adjusted_close_usd": adjusted,
        "dividend_usd": None if split is None else 0.0,
        "split_ratio": split,
    }


def _about(provider: str, dataset: str, symbol: str, slice_start: dt.date, known_at: dt.datetime) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "instrument_id": None if provider == POLYGON else instrument_id(symbol),
        "provider": provider,
        "dataset": dataset,
        "slice_start_date": slice_start,
        "known_at": known_at,
        "bronze_sha256": "0" * 64,
    }


def write(lake: Path) -> None:
    """Silver, quarantine and reference files of the lake."""
    loaded = providers.load()
    for provider in loaded.values():
        for feed in provider.feeds:
            empty = contracts.contract(feed.contract).create_empty()
            _put(lake / layout.silver_empty(feed.contract, provider.name, feed.dataset), empty)
    _put(lake / layout.quarantine_empty(), pl.DataFrame(schema=QUARANTINE))
    _write_rows(lake, "bars_daily", [*real_rows(), *fictional_rows()])
    _write_rows(lake, "corporate_actions", action_rows())
    _write_rows(lake, "tickers", ticker_rows())
    universe = Universe(
        instruments=tuple(_instrument(symbol, listed) for symbol, listed in _listings().items()),
        followed=frozenset(map(instrument_id, MARKET)),
        spellings=tuple(Spelling(instrument_id(s), s, dt.date(1990, 1, 1), None) for s in _listings()),
    )
    store = FolderStore(lake)
    tables = reference.tables(store, loaded, universe, now=AS_OF, profile="test")
    reference.write(store, {**tables, "outcomes": _outcomes()})


def _write_rows(lake: Path, contract: str, rows: Iterable[Mapping[str, Any]]) -> None:
    schema = contracts.contract(contract)
    empty = schema.create_empty()
    filled = [{column: row.get(column) for column in empty.columns} for row in rows]
    frame = pl.DataFrame(filled, schema=empty.schema)
    parts = frame.partition_by("provider", "dataset", "slice_start_date", as_dict=True)
    for (provider, dataset, start), part in parts.items():
        put_slice(FolderStore(lake), Name(contract, str(provider), str(dataset), f"{start}"), schema.validate(part))


def _listings() -> dict[str, dt.date]:
    return {**REAL, **dict.fromkeys((*MARKET, OWN), dt.date(2020, 1, 2))}


def _instrument(symbol: str, listed: dt.date) -> Instrument:
    return Instrument(
        instrument_id(symbol), symbol, f"{symbol} Inc", "stock", "NASDAQ", "USD", "Technology", None, listed
    )


def _outcomes() -> pl.DataFrame:
    """What a run would have left in the manifests of the three raw feeds."""
    rows = []
    for session in sessions(FIRST, LAST):
        rows.append(_outcome(POLYGON, session, None))
        rows += [_outcome(FMP, session, symbol, is_refused=session == REFUSED) for symbol in MARKET]
    rows += [_outcome(VANTAGE, LAST, symbol) for symbol in MARKET]
    return pl.DataFrame(rows, schema=reference.OUTCOMES)


def _outcome(provider: str, session: dt.date, symbol: str | None, *, is_refused: bool = False) -> dict[str, Any]:
    return {
        "provider": provider,
        "dataset": RAW_FEEDS[provider],
        "contract": "bars_daily",
        "slice_start_date": session,
        "slice_end_date": session + dt.timedelta(days=1),
        "request": symbol or "market",
        "instrument_id": None if symbol is None else instrument_id(symbol),
        "symbol": symbol,
        "outcome": "refused" if is_refused else "fetched",
        "reason": "plan" if is_refused else "",
        "fetched_at": None if is_refused else fetched_at(session),
    }


def _put(path: Path, frame: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
