"""Polygon's answers: what each is, whatever its status says, and what eleven thousand tickers or one page become."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from market_pipeline import providers
from market_pipeline.errors import PayloadChanged
from market_pipeline.feed import Feed, Outcome, Pace, Request, Verdict
from market_pipeline.fetch import Client
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.polygon import PROVIDER
from market_pipeline.quota import Ledger
from provider_silver import Silver, silver
from wire import KEY, NOW, instrument, reply

GROUPED, TICKERS, DIVIDENDS, SPLITS, EVENTS = PROVIDER.feeds
SAMPLES = Path(__file__).parent / "payloads" / "polygon"
DAY = dt.date(2026, 11, 20)
SAMPLE_OF = {
    "grouped_daily": GROUPED,
    "tickers_active": TICKERS,
    "tickers_inactive": TICKERS,
    "dividends": DIVIDENDS,
    "splits": SPLITS,
    "ticker_events": EVENTS,
}


def part_of(feed: Feed) -> Slice:
    """The slice of a feed that holds the samples' day."""
    return Slice.at(DAY, grain=feed.grain)


def asked(feed: Feed, symbol: str = "SMPL", part: Slice | None = None) -> Request:
    """The first request of a feed."""
    return feed.plan(part or part_of(feed), (instrument(symbol),))[0]


def adjusted() -> Request:
    """A request for split-adjusted bars, which we never send; documents and recordings are answers to it."""
    request = asked(GROUPED)
    params = tuple((name, "true" if name == "adjusted" else value) for name, value in request.params)
    return Request(request.name, request.path, params, request.extension)


def verdict(body: bytes, feed: Feed = GROUPED, *, status: int = 200, kind: str = "application/json") -> Verdict:
    """What an answer is."""
    return feed.classify(asked(feed), status, kind, body)


def sample(name: str) -> bytes:
    """One of our samples."""
    return (SAMPLES / f"{name}.json").read_bytes()


def grouped(*rows: object, **members: Any) -> bytes:
    """A grouped answer with these rows."""
    found = {"resultsCount": len(rows), "adjusted": False, "results": list(rows), "status": "OK", **members}
    return json.dumps(found).encode()


def error(text: str, *, member: str = "error", status: str = "ERROR") -> bytes:
    """An error as the provider wraps it."""
    return json.dumps({"status": status, "request_id": "0" * 32, member: text}).encode()


# Verdicts

F, E, R, D = Outcome.FAILED, Outcome.EMPTY, Outcome.REFUSED, Outcome.FETCHED
KEY_REFUSED = Verdict(R, "invalid_key", is_key=True)
RATE = Verdict(F, "rate_limited", is_retryable=True, retry_after_s=15.0)
ERRORS: dict[str, tuple[int, bytes, Verdict]] = {
    "unknown key": (401, error("Unknown API Key"), KEY_REFUSED),
    "no key": (401, error("API Key was not provided"), KEY_REFUSED),
    "key in another member": (401, error("Unknown API Key", member="message"), KEY_REFUSED),
    "key without a body": (401, b"", KEY_REFUSED),
    "key under 200": (200, error("Unknown API Key"), KEY_REFUSED),
    "plan": (
        403,
        error("You are not entitled to this", member="message", status="NOT_AUTHORIZED"),
        Verdict(R, "not_entitled"),
    ),
    "plan under 200": (
        200,
        error("You are not entitled to this", member="message", status="NOT_AUTHORIZED"),
        Verdict(R, "not_entitled"),
    ),
    "plan with data": (
        200,
        grouped({"T": "A", "o": 1, "h": 1, "l": 1, "c": 1, "v": 1, "t": 1}, status="NOT_AUTHORIZED"),
        Verdict(R, "not_authorized"),
    ),
    "plan in new words": (403, error("Nope", status="NOT_AUTHORIZED"), Verdict(R, "not_authorized")),
    "rate": (429, error("exceeded the maximum requests per minute, please wait"), RATE),
    "rate without a body": (429, b"", Verdict(F, "rate_limited", is_retryable=True)),
    "rate as text": (429, b"slow down", Verdict(F, "rate_limited", is_retryable=True)),
    "parameter": (400, error("Could not parse the date"), Verdict(F, "http_400")),
    "route": (404, b"404 page not found\n", Verdict(F, "http_404")),
    "403 of another kind": (403, b"<html>", Verdict(F, "http_403")),
    "500": (500, error("x"), Verdict(F, "http_500", is_retryable=True)),
    "502": (502, b"<html>", Verdict(F, "http_502", is_retryable=True)),
    "500 with data": (500, sample("grouped_daily"), Verdict(F, "http_500", is_retryable=True)),
    "error under 200": (200, error("Something new"), Verdict(F, "unknown_status")),
    "no status": (200, b"{}", Verdict(F, "unknown_status")),
    "status of another type": (200, b'{"status": ["OK"]}', Verdict(F, "unknown_status")),
    "list": (200, b"[]", Verdict(F, "unknown_status")),
    "null": (200, b"null", Verdict(F, "unknown_status")),
    "nothing": (200, b"", Verdict(F, "empty_body", is_retryable=True)),
    "html": (200, b" <html>", Verdict(F, "html", is_retryable=True)),
    "text": (200, b"404 page not found", Verdict(F, "not_json")),
    "csv": (200, b"T,c,h,l,n,o,t,v,vw\nA,1,1,1,1,1,1,1,1\n", Verdict(F, "not_json")),
    "results that are text": (200, b'{"status":"OK","results":"x"}', Verdict(F, "unknown_shape")),
    "results that are numbers": (200, b'{"status":"OK","results":[1]}', Verdict(F, "unknown_shape")),
    "rows among numbers": (200, b'{"status":"OK","results":[{"T":"A"},1]}', Verdict(F, "unknown_shape")),
    "rows without members": (200, b'{"status":"OK","results":[{}]}', Verdict(F, "unknown_shape")),
    "null results": (200, b'{"status":"OK","results":null}', Verdict(F, "unknown_shape")),
}


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8", ""])
@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_told_apart_whatever_was_asked(name: str, kind: str) -> None:
    status, body, expected = ERRORS[name]
    for feed in PROVIDER.feeds:
        assert verdict(body, feed, status=status, kind=kind) == expected


@pytest.mark.parametrize("status", [403, 200])
def test_the_window_of_a_plan_is_not_yet_for_a_session_and_a_refusal_elsewhere(status: int) -> None:
    body = error("Your plan doesn't include this data timeframe.", member="message", status="NOT_AUTHORIZED")
    for feed in PROVIDER.feeds:
        outcome = Outcome.NOT_YET if feed is GROUPED else R
        assert verdict(body, feed, status=status) == Verdict(outcome, "outside_plan_timeframe")


def test_an_unknown_ticker_has_no_events_and_elsewhere_404_is_a_failure() -> None:
    body = error("Ticker not found.", member="message", status="NOT_FOUND")
    assert verdict(body, EVENTS, status=404) == Verdict(E, "unknown_ticker")
    assert verdict(b"404 page not found", EVENTS, status=404) == Verdict(F, "http_404")
    for feed in (GROUPED, TICKERS, DIVIDENDS, SPLITS):
        assert verdict(body, feed, status=404) == Verdict(F, "http_404")


@pytest.mark.parametrize("name", SAMPLE_OF)
def test_a_body_is_data_for_its_own_endpoint_only(name: str) -> None:
    for feed in PROVIDER.feeds:
        assert (verdict(sample(name), feed).outcome is D) == (feed is SAMPLE_OF[name])
        assert (verdict(sample(name).replace(b'"OK"', b'"DELAYED"'), feed).outcome is D) == (feed is SAMPLE_OF[name])


@pytest.mark.parametrize("name", SAMPLE_OF)
def test_a_body_cut_at_any_byte_is_not_data(name: str) -> None:
    body = sample(name)
    assert {verdict(body[:n], SAMPLE_OF[name]).outcome for n in range(len(body))} == {F}
    assert verdict(body[:-1], SAMPLE_OF[name]) == Verdict(F, "json_cut_short", is_retryable=True)


@pytest.mark.parametrize("name", SAMPLE_OF)
@pytest.mark.parametrize("colon", [":", " :", "\n: "])
def test_a_member_named_twice_is_no_data(name: str, colon: str) -> None:
    feed, body = SAMPLE_OF[name], json.dumps(json.loads(sample(name)), separators=(",", ":"))
    inner = body.replace('"ticker":', f'"ticker"{colon}"OTHER","ticker":', 1).replace('"T":', f'"T"{colon}"O","T":', 1)
    assert inner != body
    assert verdict(inner.encode(), feed) == Verdict(F, "duplicate_members")
    outer = body.replace('"results":', f'"results"{colon}[],"results":', 1)
    assert verdict(outer.encode(), feed) == Verdict(F, "duplicate_members")


def test_a_text_that_looks_like_a_member_is_none() -> None:
    body = json.loads(sample("tickers_active"))
    body["results"][0]["name"] = 'The "Name": a "Name": company'
    for colon in (":", " : "):
        assert verdict(json.dumps(body, separators=(",", colon)).encode(), TICKERS) == Verdict(D)


@pytest.mark.parametrize("name", SAMPLE_OF)
def test_a_byte_order_mark_changes_nothing(name: str) -> None:
    feed, body = SAMPLE_OF[name], sample(name)
    marked = b"\xef\xbb\xbf" + body
    assert verdict(marked, feed) == verdict(body, feed) == Verdict(D)
    assert feed.parse(marked, asked(feed)).equals(feed.parse(body, asked(feed)))
    if feed.follow is not None:
        assert feed.follow(asked(feed), marked) == feed.follow(asked(feed), body)


@pytest.mark.parametrize("name", SAMPLE_OF)
def test_a_body_nested_too_deep_is_no_data(name: str) -> None:
    """The members of a row are on the third or fourth level."""
    for depth in (65, 1000, 1100):
        body = sample(name).rstrip().removesuffix(b"}") + b',"more":' + b"[" * depth + b"]" * depth + b"}"
        assert verdict(body, SAMPLE_OF[name]) == Verdict(F, "json_too_deep")


def test_empty_answers() -> None:
    assert verdict(sample("grouped_daily_holiday")) == Verdict(E, "no_results")
    assert verdict(grouped()) == Verdict(E, "no_results")
    for feed in (TICKERS, DIVIDENDS, SPLITS):
        assert verdict(b'{"results":[],"status":"OK","request_id":"x"}', feed) == Verdict(E, "no_results")
    assert verdict(b'{"results":{"name":"x","events":[]},"status":"OK"}', EVENTS) == Verdict(E, "no_events")
    # An aggregate without results must say that there are none; a list endpoint always has the list.
    assert verdict(b'{"status":"OK"}') == Verdict(F, "unknown_shape")
    assert verdict(b'{"status":"OK","resultsCount":3}') == Verdict(F, "unknown_shape")
    assert verdict(b'{"status":"OK"}', TICKERS) == Verdict(F, "unknown_shape")


@pytest.mark.parametrize("feed", [TICKERS, DIVIDENDS, SPLITS], ids=lambda feed: feed.dataset)
@pytest.mark.parametrize("address", [5, 0, False, {"a": 1}, []])
def test_a_next_page_that_is_no_text_is_not_the_last_page(feed: Feed, address: object) -> None:
    name = next(name for name, of in SAMPLE_OF.items() if of is feed)
    body = {**json.loads(sample(name)), "next_url": address}
    assert verdict(json.dumps(body).encode(), feed) == Verdict(F, "unknown_next_page")
    assert verdict(json.dumps({**body, "results": []}).encode(), feed) == Verdict(F, "unknown_next_page")
    assert verdict(json.dumps({**body, "next_url": None}).encode(), feed) == Verdict(D)


def test_a_grouped_answer_must_be_whole_raw_and_about_the_market() -> None:
    body = json.loads(sample("grouped_daily"))
    assert verdict(json.dumps({**body, "resultsCount": 6}).encode()) == Verdict(F, "count_differs")
    assert verdict(json.dumps({**body, "adjusted": True}).encode()) == Verdict(F, "other_adjustment")
    assert verdict(json.dumps({k: v for k, v in body.items() if k != "adjusted"}).encode()).outcome is F
    assert verdict(json.dumps({**body, "ticker": "SMPL"}).encode()) == Verdict(F, "unknown_shape")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("grouped_daily", "c", "close"),
        ("tickers_active", "market", "mkt"),
        ("dividends", "cash_amount", "amount"),
        ("splits", "split_to", "to"),
        ("ticker_events", "date", "day"),
    ],
)
def test_a_renamed_member_is_another_shape_and_no_row(name: str, old: str, new: str) -> None:
    body = sample(name).replace(f'"{old}":'.encode(), f'"{new}":'.encode())
    feed = SAMPLE_OF[name]
    assert verdict(body, feed) == Verdict(F, "unknown_shape")
    with pytest.raises(PayloadChanged):
        feed.parse(body, asked(feed))


@pytest.mark.parametrize("feed", PROVIDER.feeds, ids=lambda feed: feed.dataset)
@pytest.mark.parametrize(
    "body", [b"[]", b"1", b"{}", b'{"results":[]}', b'{"results":[1]}', b'{"results":{"events":1}}']
)
def test_what_is_no_data_is_never_parsed(feed: Feed, body: bytes) -> None:
    with pytest.raises(PayloadChanged):
        feed.parse(body, asked(feed))


# Grouped daily


def market(folder: Path, body: bytes, part: Slice | None = None) -> Silver:
    """Silver of one session."""
    part = part or part_of(GROUPED)
    return silver(folder, PROVIDER, GROUPED, part, [(asked(GROUPED, part=part), body)])


BAR = ("symbol", "open_usd", "high_usd", "low_usd", "close_usd", "volume_shares", "vwap_usd", "transaction_count")


def test_a_session_of_the_whole_market(tmp_path: Path) -> None:
    found = market(tmp_path, sample("grouped_daily"))
    assert found.rejected == []
    assert [tuple(row[name] for name in BAR) for row in found.rows] == [
        ("OVRC", 3.0, 3.05, 2.98, 3.02, 5100.0, 3.0125, 12),
        ("SMPL", 41.2, 42.0512, 40.9, 41.87, 112345678.0, 41.3071, 310223),
        ("SMPLW", 0.0312, 0.0312, 0.03, 0.03, 25933.6, None, None),
        ("SMPpA", 26.07, 26.25, 25.91, 25.9102, 4369.0, 25.9407, 74),
        ("TWO.B", 18.0, 18.0, 18.0, 18.0, 1.0, 18.0, 1),
    ]
    assert found.column("is_otc") == [True, False, False, False, False]
    assert set(found.column("price_basis")) == {"raw"}
    assert set(found.column("session_date")) == {DAY}
    assert set(found.column("instrument_id")) == {None}


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (1795208400000, "2026-11-20"),  # 16:00 in New York, winter: the end of a session
        (1795150800000, "2026-11-20"),  # midnight in New York, as the other endpoint stamps it
        (1795208400000 - 3 * 3_600_000, "2026-11-20"),  # 13:00, a half day
        (1784750400000, "2026-07-22"),  # 16:00 in New York, summer
        (1784692800000, "2026-07-22"),  # midnight in New York, summer
        (1784692799999, "2026-07-21"),
    ],
)
def test_the_date_of_an_instant_is_new_york_s(instant: int, day: str) -> None:
    row = {"T": "A", "o": 1, "h": 1, "l": 1, "c": 1, "v": 1, "t": instant}
    frame = GROUPED.parse(grouped(row), asked(GROUPED))
    assert frame.get_column("session_date").to_list() == [dt.date.fromisoformat(day)]


GOOD = {"T": "GOOD", "v": 1.5e3, "vw": 2.5, "o": 2, "c": 3, "h": 4.25, "l": 1, "t": 1795208400000, "n": 9}


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ({"c": "three"}, "close_usd|dtype"),
        ({"c": True}, "close_usd|dtype"),
        ({"c": [3]}, "close_usd|dtype"),
        ({"c": {"usd": 3}}, "close_usd|dtype"),
        ({"c": None}, "close_usd|nullability"),
        ({"c": -3}, "close_usd|min"),
        ({"c": 0}, "close_usd|min"),
        ({"c": 1e300}, "close_usd|max"),
        ({"h": 0.5}, "high_is_highest"),
        ({"v": -1}, "volume_shares|min"),
        ({"v": "1.5e3x"}, "volume_shares|dtype"),
        ({"n": 1.5}, "transaction_count|dtype"),
        ({"n": 2**64 - 1}, "transaction_count|dtype"),
        ({"vw": "x"}, "vwap_usd|dtype"),
        ({"T": None}, "symbol|nullability"),
        ({"T": 5}, "symbol|nullability"),
        ({"T": ""}, "symbol|regex"),
        ({"t": None}, "session_date|nullability"),
        ({"t": "yesterday"}, "session_date|dtype"),
        ({"t": 1795208400000.5}, "session_date|dtype"),
        ({"t": True}, "session_date|dtype"),
        ({"t": 1795208400}, "outside_slice"),
        ({"t": 2**64 - 1}, "session_date|nullability"),
        ({"t": -(2**63)}, "session_date|nullability"),
        ({"t": 9 * 10**15}, "session_date|nullability"),
        ({"t": -9 * 10**15}, "session_date|nullability"),
        ({"t": 1795208400000 * 1000}, "session_date|nullability"),
        ({"t": 7_258_118_400_000}, "session_date|nullability"),
        ({"t": 7_258_118_399_999}, "outside_slice"),
    ],
)
def test_a_row_of_the_wrong_type_is_named_and_spares_the_others(
    tmp_path: Path, members: dict[str, Any], rule: str
) -> None:
    body = grouped(GOOD, {**GOOD, "T": "BAD", **members}, {**GOOD, "T": "ALSO.GOOD", "v": 7, "x": [1]})
    assert verdict(body) == Verdict(D)
    found = market(tmp_path, body)
    assert found.column("symbol") == ["ALSO.GOOD", "GOOD"]
    assert found.column("volume_shares") == [7.0, 1500.0]
    assert rule in {name for name, _ in found.rejected}
    assert found.report.rows_rejected == 1


def test_numbers_as_text_are_still_numbers(tmp_path: Path) -> None:
    found = market(tmp_path, grouped(GOOD, {**GOOD, "T": "TEXT", "c": "3.00", "v": "1.5e3", "n": "9"}))
    good, text = found.rows
    assert [good[name] for name in BAR[1:]] == [text[name] for name in BAR[1:]]


def test_a_ticker_told_twice_is_one_row_and_two_different_ones_are_none(tmp_path: Path) -> None:
    found = market(tmp_path, grouped(GOOD, GOOD, {**GOOD, "T": "TWO"}, {**GOOD, "T": "TWO", "c": 2}))
    assert found.column("symbol") == ["GOOD"]
    assert (found.report.rows_duplicate, found.report.rows_rejected) == (1, 2)
    assert {rule for rule, _ in found.rejected} == {"conflicting_duplicate"}


def test_a_session_that_had_not_closed_is_no_bar(tmp_path: Path) -> None:
    request = asked(GROUPED)
    early = dt.datetime(2026, 11, 20, 20, 59, tzinfo=dt.UTC)
    found = silver(
        tmp_path, PROVIDER, GROUPED, part_of(GROUPED), [(request, sample("grouped_daily"))], fetched_at=early
    )
    assert (len(found.rows), {rule for rule, _ in found.rejected}) == (0, {"session_had_closed"})


# Reference


def roster(folder: Path, *, active: bytes | None = None, inactive: bytes | None = None) -> Silver:
    """Silver of a roster whose two answers came at the same time."""
    requests = TICKERS.plan(part_of(TICKERS), ())
    answers = [(request, body) for request, body in zip(requests, (active, inactive), strict=True) if body is not None]
    return silver(folder, PROVIDER, TICKERS, part_of(TICKERS), answers)


def test_the_roster(tmp_path: Path) -> None:
    found = roster(tmp_path, active=sample("tickers_active"), inactive=sample("tickers_inactive"))
    assert found.rejected == []
    columns = ("symbol", "identity", "listing", "is_active", "delisted_date", "cik", "currency")
    assert [tuple(row[name] for name in columns) for row in found.rows] == [
        ("OLD", "", "2021-06-30", False, dt.date(2021, 6, 30), None, "USD"),
        ("OLD", "BBG0000OLD01", "2018-01-02", False, dt.date(2018, 1, 2), "777", "USD"),
        ("OLDER", "cik:778", "undated", False, None, "778", "USD"),
        ("SMPL", "BBG0000SMPL1", "active", True, None, "12345", "USD"),
        ("SMPpA", "cik:12345", "active", True, None, "12345", "USD"),
        ("TWO.B", "", "active", True, None, None, "USD"),
    ]
    sample_works = found.rows[3]
    assert {name: sample_works[name] for name in ("name", "market", "locale", "primary_exchange", "ticker_type")} == {
        "name": "Sample Works Inc.",
        "market": "stocks",
        "locale": "us",
        "primary_exchange": "XNYS",
        "ticker_type": "CS",
    }
    assert (sample_works["share_class_figi"], sample_works["composite_figi"]) == ("BBG0001SMPL2", "BBG0000SMPL1")


def nanoseconds(text: str, fraction: int) -> int:
    """An instant of a whole second (UTC) and a fraction, since the epoch."""
    return int(dt.datetime.fromisoformat(text).timestamp()) * 10**9 + fraction


def test_nanoseconds_are_kept() -> None:
    frame = TICKERS.parse(sample("tickers_active"), asked(TICKERS))
    assert frame.get_column("last_updated_at").dt.timestamp("ns").to_list() == [
        nanoseconds("2026-11-20T07:06:20+00:00", 399_239_020),
        nanoseconds("2026-11-20T07:06:20+00:00", 399_240_483),
        nanoseconds("2026-04-27T00:00:00+00:00", 0),
    ]


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ({"ticker": None}, "symbol|nullability"),
        ({"name": ""}, "name|nullability"),
        ({"active": "yes"}, "is_active|dtype"),
        ({"active": None}, "is_active|nullability"),
        ({"currency_name": "us dollar"}, "currency|regex"),
        ({"composite_figi": "x"}, "composite_figi|regex"),
        ({"cik": "12a"}, "cik|regex"),
        ({"active": False, "delisted_utc": "soon"}, "delisted_date|dtype"),
        ({"active": False, "delisted_utc": "2018-01-02 or so"}, "delisted_date|dtype"),
    ],
)
def test_a_listing_that_breaks_a_rule_spares_the_others(tmp_path: Path, members: dict[str, Any], rule: str) -> None:
    body = json.loads(sample("tickers_active"))
    body["results"][1].update(members)
    found = roster(tmp_path, active=json.dumps(body).encode())
    assert found.column("symbol") == ["SMPL", "TWO.B"]
    assert rule in {name for name, _ in found.rejected}


@pytest.mark.parametrize("value", ["2026-11-20", "", None, 5, "x"])
def test_an_unreadable_time_of_the_row_is_null(tmp_path: Path, value: object) -> None:
    body = json.loads(sample("tickers_active"))
    body["results"][0]["last_updated_utc"] = value
    found = roster(tmp_path, active=json.dumps(body).encode())
    assert found.rejected == []
    assert found.column("last_updated_at")[0] is None


def test_the_next_page_is_followed_verbatim() -> None:
    address = "https://api.massive.com/v3/reference/tickers?cursor=c2FtcGxlLXBhZ2UtMg"
    assert TICKERS.follow is not None
    assert TICKERS.follow(asked(TICKERS), sample("tickers_active")) == address
    assert TICKERS.follow(asked(TICKERS), sample("tickers_inactive")) is None
    assert TICKERS.follow(asked(TICKERS), b'{"next_url": null}') is None
    assert {feed.dataset for feed in PROVIDER.feeds if feed.follow} == {"tickers", "dividends", "splits"}


def actions(folder: Path, feed: Feed, *bodies: bytes) -> Silver:
    """Silver of one month or week of actions, a page each."""
    request = asked(feed)
    requests = [request, *(request.next_page(request.path, (("cursor", str(n)),)) for n in range(1, len(bodies)))]
    return silver(folder, PROVIDER, feed, part_of(feed), list(zip(requests, bodies, strict=True)))


def test_dividends_of_the_market(tmp_path: Path) -> None:
    found = actions(tmp_path, DIVIDENDS, sample("dividends"))
    assert found.rejected == []
    columns = ("symbol", "effective_date", "kind", "cash_amount", "currency", "frequency_per_year", "action_id")
    assert [tuple(row[name] for name in columns) for row in found.rows] == [
        ("OVRC", dt.date(2026, 11, 12), "LT", Decimal("0.00001"), None, 12, None),
        ("SMPL", dt.date(2026, 11, 17), "CD", Decimal("0.301"), "USD", 4, "E01"),
        ("SMPL", dt.date(2026, 11, 17), "CD#2", Decimal("0.05"), "USD", 4, "E03"),
        ("SMPL", dt.date(2026, 11, 17), "SC", Decimal("1.5"), "USD", 0, "E02"),
        # One dividend under two ids is one dividend.
        ("TWO.B", dt.date(2026, 11, 10), "CD", Decimal("0.59375"), "USD", 4, "E04"),
    ]
    assert (found.report.rows_in, found.report.rows_duplicate) == (6, 1)
    first = found.rows[1]
    assert (first["declaration_date"], first["record_date"], first["pay_date"]) == (
        dt.date(2026, 10, 20),
        dt.date(2026, 11, 17),
        dt.date(2026, 12, 1),
    )
    assert found.rows[4]["declaration_date"] is None


def test_the_order_of_a_page_does_not_matter() -> None:
    body = json.loads(sample("dividends"))
    there, back = (
        {tuple(row) for row in DIVIDENDS.parse(json.dumps({**body, "results": rows}).encode(), asked(DIVIDENDS)).rows()}
        for rows in (body["results"], body["results"][::-1])
    )
    assert there == back


@pytest.mark.parametrize(
    ("literal", "amount"),
    [
        (b"0.1234567891", Decimal("0.1234567891")),
        (b"1234567.0000000001", Decimal("1234567.0000000001")),  # no double has it
        (b"2.5e-05", Decimal("0.000025")),
        (b"3", Decimal(3)),
    ],
)
def test_amounts_keep_the_digits_that_were_sent(tmp_path: Path, literal: bytes, amount: Decimal) -> None:
    body = sample("dividends").replace(b"0.301", literal)
    found = actions(tmp_path, DIVIDENDS, body)
    assert amount in found.column("cash_amount")


@pytest.mark.parametrize("literal", ["0.3010", "301e-3", "3.01E-1", "0.30100000000000"])
def test_a_dividend_in_two_spellings_is_one(tmp_path: Path, literal: str) -> None:
    one = {"ticker": "SMPL", "ex_dividend_date": "2026-11-17", "dividend_type": "CD", "frequency": 4}
    rows = [{**one, "id": "E01", "cash_amount": 0.301}, {**one, "id": "E00", "cash_amount": "@"}]
    body = json.dumps({"status": "OK", "results": rows}).replace('"@"', literal).encode()
    found = actions(tmp_path, DIVIDENDS, body)
    assert found.rejected == []
    assert [(row["kind"], row["cash_amount"], row["action_id"]) for row in found.rows] == [
        ("CD", Decimal("0.301"), "E00")
    ]
    assert found.report.rows_duplicate == 1


def test_a_stored_page_that_names_a_member_twice_is_set_aside_whole(tmp_path: Path) -> None:
    found = actions(tmp_path, DIVIDENDS, sample("dividends").replace(b'"ticker"', b'"ticker": "X", "ticker"', 1))
    assert ([rule for rule, _ in found.rejected], found.rows) == (["payload_unreadable"], [])


def test_splits_of_the_market(tmp_path: Path) -> None:
    found = actions(tmp_path, SPLITS, sample("splits"))
    assert found.rejected == []
    columns = ("symbol", "effective_date", "kind", "split_from", "split_to", "action_id")
    assert [tuple(row[name] for name in columns) for row in found.rows] == [
        ("OVRC", dt.date(2026, 11, 5), "split", 10.0, 1.0, "S2"),
        ("SMPL", dt.date(2026, 11, 18), "split", 1.0, 3.0, "S1"),
        ("TWO.B", dt.date(2026, 11, 5), "split", 3.0, 4.05, None),
    ]


@pytest.mark.parametrize(("member", "rule"), [("split_from", "split_from|min"), ("split_to", "split_to|min")])
def test_a_split_of_next_to_nothing_is_none(tmp_path: Path, member: str, rule: str) -> None:
    body = json.loads(sample("splits"))
    body["results"][0][member] = 1e-300
    found = actions(tmp_path, SPLITS, json.dumps(body).encode())
    assert [name for name, _ in found.rejected] == [rule]
    assert len(found.rows) == 2


def test_pages_are_one_slice_and_an_action_of_another_month_is_outside(tmp_path: Path) -> None:
    other = sample("splits").replace(b"2026-11-05", b"2026-12-05").replace(b"SMPL", b"LATE")
    found = actions(tmp_path, SPLITS, sample("splits"), other)
    assert found.column("symbol") == ["LATE", "OVRC", "SMPL", "TWO.B"]
    assert [rule for rule, _ in found.rejected] == ["outside_slice", "outside_slice"]


def test_ticker_events(tmp_path: Path) -> None:
    found = actions(tmp_path, EVENTS, sample("ticker_events"))
    assert found.rejected == []
    columns = ("symbol", "action_type", "effective_date", "new_symbol", "kind", "instrument_id")
    assert [tuple(row[name] for name in columns) for row in found.rows] == [
        ("SMPL", "ticker_change", dt.date(2012, 5, 18), "SPL", "ticker_change", "id-SMPL"),
        ("SMPL", "ticker_change", dt.date(2022, 6, 9), "SMPL", "ticker_change", "id-SMPL"),
    ]


@pytest.mark.parametrize(
    ("event", "rule"),
    [
        ({"type": "merger", "date": "2022-06-09"}, "action_type|dtype"),
        ({"type": "ticker_change", "date": "2022-06-09"}, "change_has_a_symbol"),
        ({"type": "ticker_change", "date": "2022-06-09", "ticker_change": "X"}, "change_has_a_symbol"),
        ({"type": "ticker_change", "date": "2022", "ticker_change": {"ticker": "X"}}, "effective_date|dtype"),
    ],
)
def test_an_event_of_another_kind_is_named(tmp_path: Path, event: dict[str, Any], rule: str) -> None:
    body = json.loads(sample("ticker_events"))
    body["results"]["events"][0] = event
    found = actions(tmp_path, EVENTS, json.dumps(body).encode())
    assert found.column("new_symbol") == ["SPL"]
    assert rule in {name for name, _ in found.rejected}


def test_our_samples_have_an_origin() -> None:
    origin = tomllib.loads((SAMPLES / "ORIGIN.toml").read_text(encoding="utf-8"))
    assert set(origin) == {path.name for path in SAMPLES.iterdir()} - {"ORIGIN.toml"}


# Requests


def test_requests_carry_no_key_and_whole_market_ones_no_symbol() -> None:
    (bars,) = GROUPED.plan(part_of(GROUPED), (instrument("A"), instrument("B")))
    assert bars.path == "/v2/aggs/grouped/locale/us/market/stocks/2026-11-20"
    assert bars.params == (("adjusted", "false"), ("include_otc", "false"))
    assert (bars.symbol, bars.instrument_id, bars.page) == (None, None, None)
    active, inactive = TICKERS.plan(part_of(TICKERS), ())
    assert [(r.name, r.chain, r.page, dict(r.params)["active"]) for r in (active, inactive)] == [
        ("active 0001", "active", 1, "true"),
        ("inactive 0001", "inactive", 1, "false"),
    ]
    assert dict(active.params) == {
        "market": "stocks",
        "active": "true",
        "order": "asc",
        "sort": "ticker",
        "limit": "1000",
    }
    dividends, splits = asked(DIVIDENDS), asked(SPLITS)
    assert dict(dividends.params)["ex_dividend_date.gte"] == "2026-11-01"
    assert dict(dividends.params)["ex_dividend_date.lt"] == "2026-12-01"
    assert dict(splits.params)["execution_date.gte"] == "2026-11-01"
    assert dict(splits.params)["execution_date.lt"] == "2026-12-01"
    assert (dividends.path, splits.path) == ("/v3/reference/dividends", "/v3/reference/splits")
    events = asked(EVENTS, "BRK.B")
    assert (events.path, events.symbol) == ("/vX/reference/tickers/BRK.B/events", "BRK.B")
    assert asked(EVENTS, "A/B").path == "/vX/reference/tickers/A%2FB/events"
    assert (GROUPED.grain, DIVIDENDS.grain, TICKERS.grain) == (Grain.SESSION, Grain.MONTH, Grain.WEEK)


def test_the_plans_are_what_the_provider_grants() -> None:
    assert providers.load()["polygon"] is PROVIDER
    assert PROVIDER.default_plan == "basic"
    assert 60 / PROVIDER.plans["basic"].interval_s < 5
    assert {pace.calls_per_day for pace in PROVIDER.plans.values()} == {None}
    assert all(60 / pace.interval_s <= 100 * 60 for pace in PROVIDER.plans.values())


def test_the_key_goes_into_the_header_as_a_bearer(tmp_path: Path) -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return reply(sample("grouped_daily"))

    with Client(
        PROVIDER,
        base_url=PROVIDER.base_url,
        key=KEY,
        pace=Pace(calls_per_day=None, interval_s=0.0),
        ledger=Ledger(tmp_path / "quota.sqlite"),
        now=lambda: NOW,
        sleep=lambda _seconds: None,
        transport=httpx2.MockTransport(answer),
    ) as client:
        assert client.fetch(GROUPED, asked(GROUPED)).verdict == Verdict(D)
        following = client.page_after(asked(TICKERS), "https://api.massive.com/v3/reference/tickers?cursor=abc")
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(seen[0].url)
    assert (following.name, following.params) == ("active 0002", (("cursor", "abc"),))


# Captured bodies

WRAPPED = "reference_tickers/rows-2025-12-20-nanosecond-last_updated_utc.json"
# Every captured file: the rows that our feeds take from it, or the status it came with and why none does.
CAPTURED: dict[str, dict[str, int] | tuple[int, Outcome, str]] = {
    # Bars of one symbol are another endpoint's, whatever their span; those of the previous day even have a `T`.
    "aggs_range/AAPL-1day-2023-01-03_10-recorded-2024-06-27.json": (200, F, "unknown_shape"),
    "aggs_range/AAPL-1minute-limit10-next_url-2023-07-31.json": (200, F, "unknown_shape"),
    "aggs_range/docs-example.csv": (200, F, "not_json"),
    "aggs_range/docs-example.json": (200, F, "unknown_shape"),
    "aggs_range/mock-v2_aggs_ticker_AAPL_prev.json": (200, F, "unknown_shape"),
    "aggs_range/mock-v2_aggs_ticker_AAPL_range_1_day_2005-04-01_2005-04-04.json": (200, F, "unknown_shape"),
    "aggs_range/mock-v2_aggs_ticker_AAPL_range_1_day_2005-04-02_2005-04-04.json": (200, F, "unknown_shape"),
    "dividends/mock-v3_reference_dividends.json": {"dividends": 10},
    "errors/401-unknown-key.json": (401, R, "invalid_key"),
    "errors/403-not-authorized.json": (403, R, "not_entitled"),
    "errors/404-ticker-not-found.json": (404, F, "http_404"),
    "errors/429-rate-limited.json": (429, F, "rate_limited"),
    # We ask for JSON, so a table is an answer to somebody else.
    "grouped_daily/docs-example.csv": (200, F, "not_json"),
    "grouped_daily/docs-example.json": {"grouped_daily": 3},
    "grouped_daily/mock-v2_aggs_grouped_locale_us_market_stocks_2005-04-04&adjusted=true.json": {"grouped_daily": 1},
    "reference_tickers/docs-example.csv": (200, F, "not_json"),
    "reference_tickers/docs-example.json": {"tickers": 1},
    "reference_tickers/mock-v3_reference_tickers&cursor=PAGE2.json": {"tickers": 2},
    "reference_tickers/mock-v3_reference_tickers.json": {"tickers": 2},
    "reference_tickers/mock-v3_reference_tickers_AAPL.json": (200, F, "unknown_shape"),
    "reference_tickers/mock-v3_reference_tickers_types.json": (200, F, "unknown_shape"),
    WRAPPED: (200, F, "unknown_status"),  # rows without their envelope
    "splits/docs-example.csv": (200, F, "not_json"),
    "splits/docs-example.json": {"splits": 2},
    "splits/mock-v3_reference_splits.json": {"splits": 10},
    "websocket/docs-examples-all-topics.json": (200, F, "unknown_status"),
    "websocket/status-frames-quoted.jsonl": (200, F, "json_invalid"),
}


def captured_bodies(captured: Path) -> dict[str, bytes]:
    """Every captured body of the provider; the headers of a recording are none."""
    folder = captured / "polygon"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "captured-http-headers" not in path.name
    }


def answered(feed: Feed) -> Request:
    """The request that the recordings answer."""
    return adjusted() if feed is GROUPED else asked(feed)


def test_every_captured_body_is_what_it_is(captured: Path) -> None:
    bodies = captured_bodies(captured)
    others = {name for name in bodies if name.startswith(("other/", "snapshot_options/"))}
    assert set(bodies) - others == set(CAPTURED)
    for name, body in bodies.items():
        expected = CAPTURED.get(name)
        status = expected[0] if isinstance(expected, tuple) else 200
        verdicts = {f.dataset: f.classify(answered(f), status, "", body) for f in PROVIDER.feeds}
        rows = {
            f.dataset: f.parse(body, answered(f)).height for f in PROVIDER.feeds if verdicts[f.dataset].outcome is D
        }
        if isinstance(expected, dict):
            assert rows == expected, name
            continue
        assert rows == {}, name
        found = {(verdict.outcome, verdict.reason) for verdict in verdicts.values()}
        if expected is None:  # an endpoint that we don't use: a failure for each feed, never an answer without rows
            assert {outcome for outcome, _ in found} == {F}, name
        elif name == "errors/404-ticker-not-found.json":
            assert found == {expected[1:], (E, "unknown_ticker")}
        else:
            assert found == {expected[1:]}, name


def test_captured_adjusted_bars_are_not_taken_for_raw_ones(captured: Path) -> None:
    body = (captured / "polygon" / "grouped_daily" / "docs-example.json").read_bytes()
    assert verdict(body) == Verdict(F, "other_adjustment")
    frame = GROUPED.parse(body, adjusted())
    assert set(frame.get_column("price_basis")) == {"split_adjusted"}
    assert frame.get_column("symbol").to_list() == ["KIMpL", "TANH", "VSAT"]
    assert frame.get_column("volume_shares").to_list() == [4369.0, 25933.6, 312583.0]
    assert set(frame.get_column("session_date")) == {dt.date(2020, 10, 14)}


def page_of(body: bytes) -> bytes:
    """Rows that were kept without their envelope, as the endpoint sends them."""
    return json.dumps({"results": json.loads(body), "status": "OK"}).encode()


def test_captured_rows_reach_silver(captured: Path, tmp_path: Path) -> None:
    folder = captured / "polygon"
    body = page_of((folder / WRAPPED).read_bytes())
    found = roster(tmp_path / "tickers", active=body)
    assert found.rejected == []
    assert [(row["symbol"], row["identity"]) for row in found.rows] == [
        ("A", "BBG000BWQYZ5"),
        ("AA", "BBG00B3T3HD3"),
        ("AAM", "cik:2012964"),
        ("AAM.U", "cik:2012964"),
        ("AAM.WS", "cik:2012964"),
        ("AAMI", "BBG00P2HLNY3"),
        ("AAP", "BBG000F7RCJ1"),
    ]
    times = TICKERS.parse(body, asked(TICKERS)).get_column("last_updated_at").dt.timestamp("ns").to_list()
    assert times[:2] == [
        nanoseconds("2025-12-20T07:06:20+00:00", 399_238_389),
        nanoseconds("2025-12-20T07:06:20+00:00", 399_239_020),
    ]
    body = (folder / "splits" / "mock-v3_reference_splits.json").read_bytes()
    july = Slice.at(dt.date(2022, 7, 1), grain=Grain.MONTH)
    found = silver(tmp_path / "splits", PROVIDER, SPLITS, july, [(asked(SPLITS, part=july), body)])
    assert [(row["symbol"], row["split_from"], row["split_to"]) for row in found.rows] == [
        ("CTO", 1.0, 3.0),
        ("GOOG", 1.0, 20.0),
        ("GOOGL", 1.0, 20.0),
    ]
    assert [rule for rule, _ in found.rejected] == ["outside_slice"] * 7
    body = (folder / "dividends" / "mock-v3_reference_dividends.json").read_bytes()
    month = Slice.at(dt.date(2025, 6, 1), grain=Grain.MONTH)
    found = silver(tmp_path / "dividends", PROVIDER, DIVIDENDS, month, [(asked(DIVIDENDS, part=month), body)])
    (row,) = found.rows
    assert (row["symbol"], row["cash_amount"], row["pay_date"]) == ("CSSEN", Decimal("0.59375"), dt.date(2025, 6, 30))


def test_captured_next_pages(captured: Path) -> None:
    folder = captured / "polygon" / "reference_tickers"
    first, second = (
        TICKERS.follow(asked(TICKERS), (folder / name).read_bytes()) if TICKERS.follow else None
        for name in ("mock-v3_reference_tickers.json", "mock-v3_reference_tickers&cursor=PAGE2.json")
    )
    assert first is not None
    assert first.startswith("https://api.massive.com/v3/reference/tickers?cursor=")
    assert second is None
