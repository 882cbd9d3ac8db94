"""Promise 16: rows that no market has are quarantined under the name of what is wrong; the rows beside them are loaded.

A case is one row among sound ones, in the wire format of one of three feeds. What is expected of it is said here, in
words of this file: kept, dropped as a repetition, or the rules of which at least one must be named.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from market_pipeline import layout, manifest, providers
from market_pipeline.feed import Outcome, Request
from market_pipeline.manifest import Entry, Payload
from market_pipeline.normalize import normalize_slices
from market_pipeline.partition import Slice
from market_pipeline.store import FolderStore
from proofs.proof import Proof, Result
from wire import instrument

KNOWN_AT = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
KEPT, REPEATED = "kept", "repeated"
FIELDS = ("open", "high", "low", "close", "volume")
NAMES = ("date", *FIELDS)
# Sound sessions of one week, and one more that is poisoned.
SOUND = ("2026-11-02", "2026-11-03", "2026-11-04")
DAY = "2026-11-05"
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Rows to put beside the sound ones, and what is expected of each of them."""

    about: str
    rows: tuple[Row, ...]
    expected: frozenset[str]


def _row(day: str = DAY, **changed: object) -> Row:
    return {"date": day, "open": 50.0, "high": 51.0, "low": 49.0, "close": 50.5, "volume": 1000, **changed}


def _case(about: str, *rows: Row, expected: str) -> Case:
    return Case(about, rows, frozenset(expected.split()))


def _numbers() -> Iterator[Case]:
    """Each number, as nothing that a price or a volume is."""
    for field in FIELDS:
        column = "volume_shares" if field == "volume" else f"{field}_usd"
        bounds = "high_is_highest low_is_lowest"
        for value in (
            -1,
            -0.01,
            0,
            1e300,
            -1e300,
            1e13,
            "NaN",
            "inf",
            "-inf",
            "Infinity",
            "abc",
            "1,234.5",
            "$50",
            "50 USD",
            "0x32",
            "½",
            "--5",
        ):
            if field == "volume" and value in (0, 1e13):
                continue  # no shares traded is possible, and so are many
            yield _case(f"{field} is {value!r}", _row(**{field: value}), expected=f"{column} {bounds}")
        for value in (None, "", " ", "null", "-", "None"):
            yield _case(f"{field} is {value!r}", _row(**{field: value}), expected=f"{column} {bounds}")
        for value in (True, [50], {"raw": 50}, [], {}):
            yield _case(f"{field} is {json.dumps(value)}", _row(**{field: value}), expected=f"{column} {bounds}")
    for field, factors in {"open": (100, 0.01), "close": (100, 0.01), "high": (0.01,), "low": (100,)}.items():
        for factor in factors:
            yield _case(
                f"{field} times {factor}", _row(**{field: 50 * factor}), expected="high_is_highest low_is_lowest"
            )


def _relations() -> Iterator[Case]:
    order = "high_is_highest low_is_lowest"
    yield _case("high below low", _row(high=48.0), expected=order)
    yield _case("low above high", _row(low=52.0), expected=order)
    yield _case("high and low swapped", _row(high=49.0, low=51.0), expected=order)
    yield _case("open above high", _row(open=51.01), expected=order)
    yield _case("close below low", _row(close=48.99), expected=order)
    yield _case("close above high by a cent", _row(close=51.01), expected=order)
    yield _case("all prices negative", _row(open=-50.0, high=-49.0, low=-51.0, close=-50.0), expected="open_usd")
    yield _case("all prices zero", _row(open=0, high=0, low=0, close=0), expected="open_usd")
    yield _case("a flat bar", _row(open=50, high=50, low=50, close=50), expected=KEPT)
    yield _case("no volume", _row(volume=0), expected=KEPT)
    yield _case("a tenth of a cent", _row(open=0.001, high=0.001, low=0.0009, close=0.001), expected=KEPT)
    yield _case("a price of half a million", _row(open=5e5, high=5.1e5, low=4.9e5, close=5e5), expected=KEPT)


def _repetitions() -> Iterator[Case]:
    yield _case("the same row twice", _row(), _row(), expected=f"{KEPT} {REPEATED}")
    yield _case("the same row nine times", *[_row()] * 9, expected=f"{KEPT} {REPEATED}")
    yield _case("two closes of one day", _row(), _row(close=50.6), expected="conflicting_duplicate")
    yield _case("two volumes of one day", _row(), _row(volume=1001), expected="conflicting_duplicate")
    yield _case("three closes of one day", _row(), _row(close=50.6), _row(close=50.7), expected="conflicting_duplicate")


def _of_dates(dates: Sequence[tuple[str, object, str]]) -> Iterator[Case]:
    for about, date, expected in dates:
        yield _case(f"{about}: {date!r}", _row(date=date), expected=expected)


_NO_DATE = "session_date week_start_date"
TEXTS = (
    ("no such day", "2026-02-30", _NO_DATE), ("no such month", "2026-13-05", _NO_DATE),
    ("no leap day in this year", "2026-02-29", _NO_DATE), ("no leap day in a century", "2100-02-29", _NO_DATE),
    ("day zero", "2026-11-00", _NO_DATE), ("month zero", "2026-00-05", _NO_DATE), ("zeros", "0000-00-00", _NO_DATE),
    ("without hyphens", "20261105", _NO_DATE), ("with slashes", "2026/11/05", _NO_DATE),
    ("American", "11/05/2026", _NO_DATE),
    ("German", "05.11.2026", _NO_DATE), ("short year", "26-11-05", _NO_DATE),
    ("with a time", "2026-11-05 16:00:00", _NO_DATE),
    ("ISO with a zone", "2026-11-05T16:00:00-05:00", _NO_DATE), ("seconds", "1793898000", _NO_DATE),
    ("words", "yesterday", _NO_DATE), ("a sign", "+2026-11-05", _NO_DATE),
    ("nothing", "", f"{_NO_DATE} outside_slice"), ("null", None, f"{_NO_DATE} outside_slice"),
    ("full-width digits", "\uff12\uff10\uff12\uff16-11-05", _NO_DATE),
    ("a year of five digits", "12026-11-05", _NO_DATE),
    ("the year 1", "0001-01-01", _NO_DATE),
)  # fmt: skip


_CLOSED, _EARLY = "exchange_was_open", "session_had_closed exchange_was_open"
CLOSED = (
    ("a Saturday", "2026-11-07", _CLOSED), ("a Sunday", "2026-11-08", _CLOSED),
    ("Thanksgiving", "2025-11-27", _CLOSED),
    ("Christmas", "2025-12-25", _CLOSED), ("New Year", "2026-01-01", _CLOSED), ("Good Friday", "2026-04-03", _CLOSED),
    ("Independence Day, observed", "2026-07-03", _CLOSED), ("a day of mourning", "2025-01-09", _CLOSED),
    ("after a hurricane", "2012-10-29", _CLOSED), ("before the calendar", "1912-04-15", _CLOSED),
    ("a session to come", "2026-11-23", _EARLY), ("next year", "2027-03-01", _EARLY),
    ("far ahead", "2999-12-31", _EARLY),
    ("the last day there is", "9999-12-31", _NO_DATE),
)  # fmt: skip
ODD = (
    ("a leap day", "2024-02-29", KEPT), ("a leap day of a century", "2000-02-29", KEPT),
    ("the Friday before the clocks go on", "2026-03-06", KEPT), ("the Monday after it", "2026-03-09", KEPT),
    ("the Friday before the clocks go back", "2026-10-30", KEPT), ("the Monday a week after", "2026-11-09", KEPT),
    ("a half day", "2025-11-28", KEPT), ("Christmas Eve", "2025-12-24", KEPT),
    ("the last of a year", "2025-12-31", KEPT),
    ("a session of the last century", "1999-12-31", KEPT),
)  # fmt: skip


@dataclass(frozen=True)
class Wire:
    """One feed's format, a body out of a symbol's rows, and the cases that it can carry."""

    provider: str
    dataset: str
    body: Callable[[str, Sequence[Row]], bytes]
    cases: Callable[[], Iterator[Case]]


def _json_body(symbol: str, rows: Sequence[Row]) -> bytes:
    names = {"open": "adjOpen", "high": "adjHigh", "low": "adjLow", "close": "adjClose"}
    return json.dumps([{"symbol": symbol, **{names.get(k, k): v for k, v in row.items()}} for row in rows]).encode()


def _csv_body(_symbol: str, rows: Sequence[Row]) -> bytes:
    header = "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient"
    lines = [
        ",".join(
            "" if value is None else str(value) for value in (*(row[n] for n in NAMES[:5]), 50.5, row["volume"], 0, 1)
        )
        for row in rows
    ]
    return "".join(f"{line}\r\n" for line in (header, *lines)).encode()


def _market_rows(symbol: str, rows: Sequence[Row]) -> list[Row]:
    names = dict(zip(NAMES, "tohlcv", strict=True))
    return [
        {
            "T": row.get("ticker", symbol),
            **{names[k]: _instant(v) if k == "date" else v for k, v in row.items() if k in names},
        }
        for row in rows
    ]


def _market_body(rows: Sequence[Row]) -> bytes:
    return json.dumps({"status": "OK", "adjusted": False, "resultsCount": len(rows), "results": rows}).encode()


def _instant(date: object) -> object:
    """Milliseconds of the session's end in New York, as the vendor stamps a bar; what is no date stays."""
    if not isinstance(date, str) or len(date) != 10:
        return date
    end = dt.datetime.combine(dt.date.fromisoformat(date), dt.time(16), ZoneInfo("America/New_York"))
    return int(end.timestamp() * 1000)


def _of_json() -> Iterator[Case]:
    yield from (*_numbers(), *_relations(), *_repetitions(), *_of_dates(TEXTS))


def _of_csv() -> Iterator[Case]:
    """Text only; a comma in a value shifts the line."""
    for case in (*_numbers(), *_relations(), *_repetitions(), *_of_dates((*TEXTS, *CLOSED, *ODD))):
        values = [value for row in case.rows for value in row.values()]
        if not any(isinstance(value, bool | list | dict) or "," in str(value) for value in values):
            yield case


def _of_market() -> Iterator[Case]:
    yield from (*_numbers(), *_relations(), *_repetitions())
    for value in (1793898000, 1793898000000000, "1793898000000", 1.5, None, 0, -1, 2**63 - 1, [1], True):
        yield _case(f"t is {value!r}", _row(date=value), expected="session_date outside_slice exchange_was_open")
    yield _case("t is of the session before", _row(date="2026-11-04"), expected="outside_slice")
    yield _case("t is of a Saturday", _row(date="2026-11-07"), expected="outside_slice exchange_was_open")
    for value in (None, "", 7, ["A"], {"a": 1}):
        yield _case(f"T is {json.dumps(value)}", _row(ticker=value), expected="symbol")


WIRES = (
    Wire("fmp", "eod_raw", _json_body, _of_json),
    Wire("alpha_vantage", "daily_adjusted", _csv_body, _of_csv),
    Wire("polygon", "grouped_daily", _json_body, _of_market),
)


def _take(folder: Path, wire: Wire, cases: Sequence[Case]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Silver and quarantine, each case under a symbol of its own."""
    provider = providers.load()[wire.provider]
    feed = provider.feed(wire.dataset)
    assert feed is not None
    sessions = [dt.date.fromisoformat(day) for day in (*SOUND, DAY)]
    parts = [Slice.at(day, grain=feed.grain) for day in (sessions if feed.spans else sessions[-1:])]
    span = Slice(parts[0].start, parts[-1].end)
    bodies: list[tuple[Request, bytes]] = []
    if wire.provider == "polygon":
        rows = [row for n, case in enumerate(cases) for row in _market_rows(f"C{n:04d}", case.rows)]
        rows += [row for n in range(3) for row in _market_rows(f"SOUND{n}", [_row()])]
        bodies = [(feed.plan(span, ())[0], _market_body(rows))]
    else:
        for number, case in enumerate(cases):
            symbol = f"C{number:04d}"
            (request,) = feed.plan(span, (instrument(symbol),))
            bodies.append((request, wire.body(symbol, [*map(_row, SOUND), *case.rows])))
    store = FolderStore(folder)
    home = layout.bronze_slice(provider.name, feed.dataset, parts[-1].key)
    for part in parts:
        prefix, entries = layout.bronze_slice(provider.name, feed.dataset, part.key), []
        for request, body in bodies:
            assert feed.classify(request, 200, "", body).outcome is Outcome.FETCHED
            sha256 = hashlib.sha256(body).hexdigest()
            key = layout.bronze_object(home, request.name, sha256, request.extension)
            store.create(key, body)
            name = layout.payload_name(prefix, key)
            payload = Payload(name, sha256, len(body), KNOWN_AT, since=request.since, until=request.until)
            entries.append(Entry(request, Outcome.FETCHED, "", KNOWN_AT, (payload,)))
        manifest.write(store, provider.name, feed, part, seq=1, entries=tuple(entries), written_at=KNOWN_AT)
    for report in normalize_slices(provider, feed, parts, store=store):
        assert report.rows_in == report.rows_kept + report.rows_duplicate + report.rows_rejected
    found = [
        pl.concat(
            [
                pl.read_parquet(path).select("symbol", *columns)
                for path in sorted((folder / layer).rglob("part.parquet"))
            ]
        )
        for layer, columns in (("silver", ("session_date",)), ("quarantine", ("rule",)))
    ]
    return found[0], found[1]


def _judge(wire: Wire, cases: Sequence[Case], silver: pl.DataFrame, quarantine: pl.DataFrame) -> Iterator[str]:
    """What differs from what the cases expect."""
    kept = Counter(silver.get_column("symbol"))
    rules: dict[str | None, set[str]] = {}
    for symbol, rule in quarantine.iter_rows():
        rules.setdefault(symbol, set()).add(rule.partition("|")[0])
    sound = 0 if wire.provider == "polygon" else len(SOUND)
    if wire.provider == "polygon" and {f"SOUND{n}" for n in range(3)} - kept.keys():
        yield "sound rows beside poisoned ones were not loaded"
    for number, case in enumerate(cases):
        symbol: str | None = f"C{number:04d}"
        if "ticker" in case.rows[0]:
            (symbol,) = rules or {None: set()}
        loaded, named = kept[symbol or ""] - sound, rules.get(symbol, set())
        is_right = loaded == 1 and not named
        if KEPT not in case.expected:
            is_right = loaded == 0 and bool(named & case.expected)
        if not is_right:
            yield f"{wire.provider}, {case.about}: {loaded} loaded, named {sorted(named)}"


def run(count: int, *, seed: int, folder: Path) -> Result:
    """About `count` cases, of all feeds; all there are when it is large enough."""
    rng, done, wrong = random.Random(f"poison {seed}"), 0, list[str]()
    for wire in WIRES:
        cases = list(wire.cases())
        share = -(-count // len(WIRES))
        cases = cases if share >= len(cases) else rng.sample(cases, share)
        # A row without a ticker can't be told from another one, so each is alone.
        groups = [[case] for case in cases if "ticker" in case.rows[0]]
        groups.append([case for case in cases if "ticker" not in case.rows[0]])
        for number, group in enumerate(groups):
            if group:
                wrong += _judge(wire, group, *_take(folder / wire.provider / f"{number}", wire, group))
        done += len(cases)
    return Result(done, tuple(wrong))


PROOFS = (Proof(16, "poison", "poisoned rows named, the rest loaded", "cases", 200, 200, 200, run, is_finite=True),)
