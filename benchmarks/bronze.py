"""Bronze of invented payloads, as `ingest` would have left it: what the silver benchmarks start from.

A payload has the provider's shape and no provider's data. With `is_spoiled` each slice also has rows that break a rule,
rows that are no numbers or no dates, repeated and contradictory ones: those who keep the same rows judge alike.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from market_pipeline import calendar, layout, manifest
from market_pipeline.feed import Feed, Instrument, Outcome, Provider, Request
from market_pipeline.manifest import Entry, Payload
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers import alpha_vantage, polygon
from market_pipeline.store import FolderStore

LAST = dt.date(2026, 11, 20)
FETCHED_AT = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
PROVIDERS = {
    "weekly_adjusted": alpha_vantage.PROVIDER,
    "overview": alpha_vantage.PROVIDER,
    "grouped_daily": polygon.PROVIDER,
}
_WEEKLY_HEADER = "timestamp,open,high,low,close,adjusted close,volume,dividend amount"


def feed_of(dataset: str) -> tuple[Provider, Feed]:
    """The provider and feed of a dataset."""
    feed = PROVIDERS[dataset].feed(dataset)
    if feed is None:
        raise SystemExit(f"{dataset} is gone")
    return PROVIDERS[dataset], feed


def prepare(folder: Path, dataset: str, *, slices: int, symbols: int, rows: int, is_spoiled: bool = False) -> None:
    """A lake with so many slices of a feed. `rows` is what one payload holds, `symbols` how many payloads a slice has;
    a payload of the whole market is one."""
    provider, feed = feed_of(dataset)
    store = FolderStore(folder)
    if feed.grain is Grain.SESSION:
        days: Sequence[dt.date] = calendar.sessions(LAST - dt.timedelta(days=2 * slices + 10), LAST)[-slices:]
    else:
        days = [LAST - dt.timedelta(weeks=number) for number in range(slices)]
    listed = dt.date(1990, 1, 1)
    instruments = tuple(
        Instrument(f"{n:016x}", f"Z{n:04d}", f"Company {n}", "stock", "XNYS", "USD", None, None, listed)
        for n in range(symbols)
    )
    make: Callable[..., bytes] = {"weekly_adjusted": _weekly, "overview": _overview, "grouped_daily": _grouped}[dataset]
    for day in days:
        part = Slice.at(day, grain=feed.grain)
        entries = []
        for number, request in enumerate(feed.plan(part, instruments)):
            draw = random.Random(f"{dataset} {part.key} {request.name}")  # noqa: S311 - invented prices
            body = make(draw, request, day, rows=rows, is_spoiled=is_spoiled and number < 2)
            entries.append(_entry(store, layout.bronze_slice(provider.name, dataset, part.key), request, body))
        manifest.write(store, provider.name, feed, part, seq=1, entries=tuple(entries), written_at=FETCHED_AT)
    (folder / "sessions.txt").write_text("\n".join(map(str, calendar.session_dates())), encoding="ascii")


def _entry(store: FolderStore, prefix: str, request: Request, body: bytes) -> Entry:
    """A payload beside its like, and what the manifest says of it."""
    sha256 = hashlib.sha256(body).hexdigest()
    key = layout.bronze_object(prefix, request.name, sha256, request.extension)
    path = store.root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)  # not by the store: thousands of fsyncs would only keep the reader waiting
    return Entry(
        request, Outcome.FETCHED, "", FETCHED_AT, (Payload(key.removeprefix(prefix), sha256, len(body), FETCHED_AT),)
    )


def _bar(draw: random.Random) -> tuple[float, float, float, float]:
    """Open, high, low and close."""
    low = draw.uniform(1, 400)
    high = low * (1 + draw.random() / 20)
    first, last = draw.uniform(low, high), draw.uniform(low, high)
    return round(first, 4), round(high, 4) + 0.0001, round(low, 4) - 0.0001, round(last, 4)


def _weekly(draw: random.Random, request: Request, day: dt.date, *, rows: int, is_spoiled: bool) -> bytes:
    """A history of weeks up to the one of a day, newest first."""
    del request
    friday = day + dt.timedelta(days=4 - day.weekday())
    lines = []
    for number in range(rows):
        first, high, low, last = _bar(draw)
        paid = 0.25 if number % 13 == 6 else 0
        lines.append(
            f"{friday - dt.timedelta(weeks=number)},{first:.4f},{high:.4f},{low:.4f},{last:.4f},"
            f"{last * 0.98:.4f},{draw.randint(10_000, 90_000_000)},{paid:.4f}"
        )
    if is_spoiled:
        cells = [line.split(",") for line in lines[:8]]
        cells[0][2] = "0.0100"  # the high is the lowest
        cells[1][1] = "-1.0000"
        cells[2][4] = "twelve"
        cells[3][6] = "12.5"
        cells[4][0] = "2026-13-40"
        cells[5][7] = "-0.1000"
        lines[:8] = [",".join(row) for row in cells]
        lines += [lines[6], lines[7].replace(",0.0000", ",0.0100")]  # one repeated, one contradicted
    return ("\r\n".join([_WEEKLY_HEADER, *lines]) + "\r\n").encode()


def _overview(draw: random.Random, request: Request, day: dt.date, *, rows: int, is_spoiled: bool) -> bytes:
    """A company; of the spoiled ones the first has a word for a number and the second a negative value."""
    del rows
    symbol = str(request.symbol)
    found = {
        "Symbol": symbol,
        "AssetType": "Common Stock",
        "Name": f"Company {symbol}",
        "Description": "An invented company. " * 20,
        "CIK": str(draw.randint(1, 9_999_999)),
        "Exchange": "NYSE",
        "Currency": "USD",
        "Country": "USA",
        "Sector": draw.choice(("TECHNOLOGY", "ENERGY", "None")),
        "Industry": "WIDGETS",
        "FiscalYearEnd": "December",
        "LatestQuarter": "2026-09-30",
        "MarketCapitalization": str(draw.randint(10**8, 10**12)),
        "EBITDA": str(draw.randint(10**6, 10**11)),
        "PERatio": f"{draw.uniform(5, 60):.2f}",
        "PEGRatio": "-",
        "BookValue": f"{draw.uniform(1, 90):.2f}",
        "DividendPerShare": "None" if draw.random() < 0.3 else f"{draw.uniform(0, 6):.2f}",
        "DividendYield": f"{draw.uniform(0, 0.06):.4f}",
        "DilutedEPSTTM": f"{draw.uniform(-4, 20):.2f}",
        "RevenueTTM": str(draw.randint(10**7, 10**11)),
        "ProfitMargin": f"{draw.uniform(-0.2, 0.4):.3f}",
        "Beta": f"{draw.uniform(0.2, 2):.3f}",
        "SharesOutstanding": str(draw.randint(10**6, 10**10)),
        "DividendDate": f"{day}",
        "ExDividendDate": "0000-00-00",
    }
    if is_spoiled:
        found |= {"Beta": "high"} if symbol.endswith("0") else {"MarketCapitalization": "-5"}
    return orjson.dumps(found)


def _grouped(draw: random.Random, request: Request, session: dt.date, *, rows: int, is_spoiled: bool) -> bytes:
    """One session of a whole market."""
    closes_at = calendar.close_of(session)
    if closes_at is None:
        raise SystemExit(f"{session} is no session")
    instant = int(closes_at.timestamp() * 1000)
    found: list[dict[str, object]] = []
    for number in range(rows):
        first, high, low, last = _bar(draw)
        volume = draw.randint(100, 20_000_000)
        bar = {"v": volume, "vw": round((low + high) / 2, 4), "o": first, "c": last, "h": high, "l": low}
        found.append({"T": f"T{number:05d}", **bar, "t": instant, "n": volume // 90})
    if is_spoiled:
        saturday = instant - 86_400_000 * (session.weekday() + 2)
        spoils: dict[str, object] = {"h": 0.01, "o": -1, "c": "twelve", "v": -5, "t": saturday}
        for place, (member, value) in enumerate(spoils.items()):
            found[place][member] = value
        found += [dict(found[6]), {**found[7], "v": 1}]
    head = {"queryCount": len(found), "resultsCount": len(found), "adjusted": False, "status": "OK"}
    return orjson.dumps({**head, "request_id": request.name, "results": found})
