"""Answers about the whole market: rows name their symbols, belong to their session, and are judged one by one."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path

import polars as pl
import pytest

from market_pipeline import contracts, layout, manifest
from market_pipeline.feed import Feed, Outcome, Request
from market_pipeline.manifest import Entry, Payload
from market_pipeline.normalize import CONFLICTING, OUTSIDE, NormalizeReport, normalize
from market_pipeline.partition import Slice
from market_pipeline.providers.polygon import PROVIDER
from market_pipeline.store import FolderStore

FETCHED_AT = dt.datetime(2026, 11, 20, 22, 0, tzinfo=dt.UTC)
LATER = FETCHED_AT + dt.timedelta(days=1)
SESSION_END = 1_795_208_400_000  # 2026-11-20 16:00 in New York, 21:00 UTC, in milliseconds


def feed(dataset: str) -> Feed:
    """One of the provider's feeds."""
    found = PROVIDER.feed(dataset)
    assert found is not None
    return found


def bar(ticker: str, close: float = 10.0, **more: object) -> dict[str, object]:
    """A sound row of grouped daily."""
    return {
        "T": ticker,
        "v": 1000,
        "vw": close,
        "o": close,
        "c": close,
        "h": close,
        "l": close,
        "t": SESSION_END,
    } | more


def grouped(*rows: dict[str, object], request_id: str = "a") -> bytes:
    """A grouped daily answer."""
    head = {"queryCount": len(rows), "resultsCount": len(rows), "adjusted": False, "status": "OK"}
    return json.dumps({**head, "results": rows, "request_id": request_id}).encode()


def commit(store: FolderStore, which: Feed, part: Slice, *bodies: tuple[Request, bytes, dt.datetime]) -> None:
    """A bronze slice with these answers."""
    prefix = layout.bronze_slice(PROVIDER.name, which.dataset, part.key)
    payloads: dict[str, list[Payload]] = {}
    requests = {request.name: request for request, _, _ in bodies}
    for request, body, fetched_at in bodies:
        sha256 = hashlib.sha256(body).hexdigest()
        key = layout.bronze_object(prefix, request.name, sha256, request.extension)
        store.create(key, body)
        payloads.setdefault(request.name, []).append(Payload(key.removeprefix(prefix), sha256, len(body), fetched_at))
    entries = tuple(
        Entry(requests[name], Outcome.FETCHED, "", FETCHED_AT, tuple(found)) for name, found in sorted(payloads.items())
    )
    manifest.write(store, PROVIDER.name, which, part, seq=1, entries=entries, written_at=FETCHED_AT)


def session(tmp_path: Path, *answers: tuple[bytes, dt.datetime]) -> tuple[NormalizeReport, pl.DataFrame, FolderStore]:
    """Silver of one session's answers."""
    which, store = feed("grouped_daily"), FolderStore(tmp_path)
    part = Slice.at(dt.date(2026, 11, 20), grain=which.grain)
    (request,) = which.plan(part, ())
    commit(store, which, part, *((request, body, at) for body, at in answers))
    report = normalize(PROVIDER, which, part, store=store)
    return report, pl.read_parquet(store.url(report.silver_key)), store


def test_rows_name_their_symbols_and_know_no_instrument(tmp_path: Path) -> None:
    report, rows, _ = session(tmp_path, (grouped(bar("KIMpL"), bar("BRK.B", 480.25), bar("A")), FETCHED_AT))
    assert (report.rows_in, report.rows_kept) == (3, 3)
    assert rows.get_column("symbol").to_list() == ["A", "BRK.B", "KIMpL"]
    assert rows.get_column("instrument_id").null_count() == 3
    assert set(rows.get_column("session_date")) == {dt.date(2026, 11, 20)}
    assert rows.get_column("adjusted_close_usd").null_count() == 3  # the provider has no such column


def test_another_request_id_alone_makes_no_version(tmp_path: Path) -> None:
    again = [(grouped(bar("A"), request_id=name), FETCHED_AT + dt.timedelta(days=n)) for n, name in enumerate("abc")]
    report, rows, _ = session(tmp_path, *again)
    assert (report.rows_in, report.rows_kept, report.rows_duplicate) == (3, 1, 2)
    assert rows.get_column("known_at").to_list() == [FETCHED_AT]


def test_a_correction_is_a_version_of_its_ticker_alone(tmp_path: Path) -> None:
    report, rows, _ = session(
        tmp_path, (grouped(bar("A"), bar("B")), FETCHED_AT), (grouped(bar("A", 11.0), bar("B")), LATER)
    )
    assert (report.rows_kept, report.rows_duplicate) == (3, 1)
    assert rows.filter(pl.col("symbol") == "A").get_column("close_usd").to_list() == [10.0, 11.0]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (bar("BAD", h=9.0), "high_is_highest"),
        (bar("BAD", l=11.0), "low_is_lowest"),
        (bar("BAD", c=-1.0, l=-1.0), "close_usd|min"),
        (bar("BAD", c=1e-320, l=1e-320), "close_usd|min"),
        (bar("BAD", l=9e-7), "low_usd|min"),
        (bar("BAD", vw=1e-300), "vwap_usd|min"),
        (bar("BAD", v=-5), "volume_shares|min"),
        (bar("BAD", v="many"), "volume_shares|dtype"),
        (bar("BAD", n=1.5), "transaction_count|dtype"),
        (bar("BAD", o=None), "open_usd|nullability"),
        (bar("BAD", vw=0), "vwap_usd|min"),
        (bar("BAD", t=SESSION_END - 86_400_000), OUTSIDE),
        (bar("BAD", t=None), "session_date|nullability"),
        (bar(""), "symbol|regex"),
        (bar(" BAD"), "symbol|regex"),
        (bar("BAD\n\x1b[31m"), "symbol|regex"),
        (bar("BAD\n"), "symbol|regex"),
        (bar("B\u200bAD"), "symbol|regex"),
        (bar("B" * 33), "symbol|regex"),
        (bar(None), "symbol|nullability"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_row_is_quarantined_by_name_and_the_others_are_kept(
    tmp_path: Path, row: dict[str, object], rule: str
) -> None:
    report, rows, store = session(tmp_path, (grouped(bar("A"), row, bar("Z")), FETCHED_AT))
    assert rows.get_column("symbol").to_list() == ["A", "Z"]
    assert (report.rows_in, report.rows_kept, report.rows_rejected) == (3, 2, 1)
    assert rule in dict(report.rejected_by_rule)
    key = layout.quarantine_part("bars_daily", "polygon", "grouped_daily", "2026-11-20")
    rejected = pl.read_parquet(store.url(key))
    assert set(rejected.get_column("symbol")) == {row["T"]}
    assert json.loads(rejected.get_column("row_json")[0]).keys() >= {"symbol", "close_usd"}


def test_symbols_as_vendors_spell_them_are_kept(tmp_path: Path) -> None:
    symbols = ["BCpC", "BF.B", "C:EURUSD", "NYCB- PR-U", "X", "Z" * 32]
    _, rows, _ = session(tmp_path, (grouped(*map(bar, symbols)), FETCHED_AT))
    assert rows.get_column("symbol").to_list() == symbols


def test_the_smallest_price_that_is_quoted_is_one(tmp_path: Path) -> None:
    _, rows, _ = session(tmp_path, (grouped(bar("TINY", 1e-6)), FETCHED_AT))
    assert rows.get_column("close_usd").to_list() == [1e-6]


def test_a_repeated_row_counts_once_and_two_that_differ_are_neither(tmp_path: Path) -> None:
    body = grouped(bar("A"), bar("A"), bar("B", 10.0), bar("B", 12.0), bar("C"))
    report, rows, _ = session(tmp_path, (body, FETCHED_AT))
    assert rows.get_column("symbol").to_list() == ["A", "C"]
    assert (report.rows_in, report.rows_kept, report.rows_duplicate, report.rows_rejected) == (5, 2, 1, 2)
    assert dict(report.rejected_by_rule) == {CONFLICTING: 2}


def test_equal_values_in_two_spellings_are_one_row(tmp_path: Path) -> None:
    rows = [bar("A", v=0), bar("A", v=-0.0), bar("B", v=1000), bar("B", v=1000.0), bar("B", v="1e3")]
    report, kept, _ = session(tmp_path, (grouped(*rows), FETCHED_AT))
    assert kept.get_column("symbol").to_list() == ["A", "B"]
    assert (report.rows_in, report.rows_kept, report.rows_duplicate, report.rows_rejected) == (5, 2, 3, 0)


def test_a_bar_on_a_closed_day_and_one_of_a_running_session_are_not_bars(tmp_path: Path) -> None:
    which, store = feed("grouped_daily"), FolderStore(tmp_path)
    for day, end, rule in (
        (dt.date(2026, 11, 26), 1_795_726_800_000, "exchange_was_open"),  # Thanksgiving
        (dt.date(2026, 11, 27), 1_795_802_400_000, "session_had_closed"),  # half day, closes at 18:00 UTC
    ):
        part = Slice.at(day, grain=which.grain)
        (request,) = which.plan(part, ())
        before_the_close = dt.datetime(2026, 11, 27, 17, 59, tzinfo=dt.UTC)
        commit(store, which, part, (request, grouped(bar("A", t=end)), before_the_close))
        report = normalize(PROVIDER, which, part, store=store)
        assert dict(report.rejected_by_rule) == {rule: 1}


def dividends(*amounts: tuple[str, float], name: str = "") -> bytes:
    """A page of dividends of one ticker, day and class, by their ids."""
    about = {"ticker": "A", "ex_dividend_date": "2026-11-10", "dividend_type": "CD", "currency": "USD", "frequency": 4}
    rows = [{**about, "id": action_id, "cash_amount": amount} for action_id, amount in amounts]
    rows.append({**about, "id": f"of {name}", "ticker": f"PAGE{name}", "cash_amount": 1})
    return json.dumps({"status": "OK", "results": rows}).encode()


ONE, TWO, CORRECTED = ("E1", 1.67), ("E2", 0.5), ("E1", 1.7)


@pytest.mark.parametrize(
    ("answers", "kept", "conflicts"),
    [
        # By page and second. Two dividends, a page each: none corrects the other.
        ([(1, 0, (ONE,)), (2, 1, (TWO,))], [], 2),
        # Told again under another id: one dividend, whatever its label.
        ([(1, 0, (ONE,)), (2, 1, (("E9", 1.67),))], ["1.67", "1.67"], 0),
        # A later answer has another value: a correction, on the same page or on one that it has moved to.
        ([(1, 0, (ONE,)), (2, 1, ()), (1, 100, (CORRECTED,))], ["1.67", "1.7"], 0),
        ([(1, 0, ()), (2, 1, (ONE,)), (1, 100, (CORRECTED,)), (2, 101, ())], ["1.67", "1.7"], 0),
        # The second one came a day later, beside a first page that has not changed.
        ([(1, 0, (ONE,)), (2, 1, ()), (2, 100, (TWO,))], [], 2),
        # Two that clashed, then one of them is gone: what stands alone is kept.
        ([(1, 0, (ONE,)), (2, 1, (TWO,)), (1, 100, ()), (2, 101, (("E2", 0.6),))], ["0.6"], 2),
    ],
)
def test_pages_of_one_answer_do_not_correct_each_other(
    tmp_path: Path,
    answers: list[tuple[int, int, tuple[tuple[str, float], ...]]],
    kept: list[str],
    conflicts: int,
) -> None:
    which, store = feed("dividends"), FolderStore(tmp_path)
    part = Slice.at(dt.date(2026, 11, 1), grain=which.grain)
    (first,) = which.plan(part, ())
    pages = {1: first, 2: first.next_page("/v3/reference/dividends", (("cursor", "x"),))}
    bodies = [
        (pages[page], dividends(*rows, name=f"{page}{second}"), FETCHED_AT + dt.timedelta(seconds=second))
        for page, second, rows in answers
    ]
    commit(store, which, part, *bodies)
    report = normalize(PROVIDER, which, part, store=store)
    rows = pl.read_parquet(store.url(report.silver_key)).filter(pl.col("symbol") == "A").sort("known_at")
    assert [f"{amount.normalize():f}" for amount in rows.get_column("cash_amount")] == kept
    assert dict(report.rejected_by_rule) == ({CONFLICTING: conflicts} if conflicts else {})


def test_the_roster_keeps_nanoseconds_and_they_make_no_version(tmp_path: Path) -> None:
    """Both forms of `last_updated_utc` in one page; on the next day it has moved for every ticker."""

    def row(ticker: str, updated: str, **more: object) -> dict[str, object]:
        return {
            "ticker": ticker,
            "name": ticker,
            "market": "stocks",
            "active": True,
            "last_updated_utc": updated,
        } | more

    which, store = feed("tickers"), FolderStore(tmp_path)
    part = Slice.at(dt.date(2026, 11, 20), grain=which.grain)
    first = which.plan(part, ())[0]
    old = [
        row("A", "2026-11-19T06:06:06.417975318Z", composite_figi="BBG000000001"),
        row("B", "2026-11-19T00:00:00Z", cik="0000320193", currency_name="usd"),
        row("C", "2026-11-19T07:06:20.39923902Z", active=False, delisted_utc="2019-05-01T00:00:00Z"),
    ]
    new = [{**found, "last_updated_utc": "2026-11-20T06:06:06.5Z"} for found in old]
    bodies = (json.dumps({"status": "OK", "results": rows, "request_id": "x"}).encode() for rows in (old, new))
    commit(store, which, part, *((first, body, at) for body, at in zip(bodies, (FETCHED_AT, LATER), strict=True)))
    report = normalize(PROVIDER, which, part, store=store)
    rows = pl.read_parquet(store.url(report.silver_key))
    assert (report.rows_in, report.rows_kept, report.rows_duplicate) == (6, 3, 3)
    assert rows.schema["last_updated_at"] == pl.Datetime("ns", "UTC")
    assert rows.get_column("last_updated_at").dt.nanosecond().to_list() == [417_975_318, 0, 399_239_020]
    assert rows.get_column("identity").to_list() == ["BBG000000001", "cik:320193", ""]
    assert rows.get_column("listing").to_list() == ["active", "active", "2019-05-01"]
    assert rows.get_column("currency").to_list() == [None, "USD", None]


def test_every_contract_takes_its_empty_frame() -> None:
    for name in contracts.names():
        schema = contracts.contract(name)
        good, failure = schema.filter(schema.create_empty())
        assert good.height == len(failure) == 0
        assert set(contracts.version_columns(schema)) <= set(contracts.own_columns(schema))
