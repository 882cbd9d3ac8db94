"""FMP's answers: what each is, whatever its status and content type say, and what data becomes."""

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
from market_pipeline.feed import Feed, Instrument, Outcome, Request, Verdict
from market_pipeline.fetch import Client
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.fmp import PROVIDER
from market_pipeline.quota import Ledger
from provider_silver import silver
from wire import KEY as KEY_TEXT
from wire import NOW, instrument, reply

RAW, SPLIT, DIVIDEND, PROFILE, DIVIDENDS, SPLITS = PROVIDER.feeds
SAMPLES = Path(__file__).parent / "payloads" / "fmp"
WEEK = Slice(dt.date(2026, 11, 16), dt.date(2026, 11, 23))
SAMPLE_OF = {
    "eod_raw": RAW,
    "eod_split_adjusted": SPLIT,
    "eod_dividend_adjusted": DIVIDEND,
    "profile": PROFILE,
    "dividends": DIVIDENDS,
    "splits": SPLITS,
}


def asked(feed: Feed, symbol: str = "SMPL", part: Slice = WEEK) -> Request:
    """The one request of a feed for a symbol."""
    (request,) = feed.plan(part, (instrument(symbol),))
    return request


def verdict(
    body: bytes, feed: Feed = SPLIT, *, symbol: str = "SMPL", status: int = 200, kind: str = "application/json"
) -> Verdict:
    """What an answer is."""
    return feed.classify(asked(feed, symbol), status, kind, body)


def sample(name: str) -> bytes:
    """One of our samples."""
    return (SAMPLES / f"{name}.json").read_bytes()


def changed(name: str, at: int = 0, **members: Any) -> bytes:
    """A sample with other values in one of its rows."""
    rows = json.loads(sample(name))
    rows[at].update(members)
    return json.dumps(rows).encode()


def message(text: str, **more: Any) -> bytes:
    """An error as the provider wraps it."""
    return json.dumps({"Error Message": text, **more}, indent=2).encode()


# Verdicts

KEY = Verdict(Outcome.REFUSED, "invalid_key", is_key=True)
QUOTA = Verdict(Outcome.DEFERRED, "daily_quota", exhausts_quota=True)
RATE = Verdict(Outcome.FAILED, "rate_limited", is_retryable=True)
F, E, R, D = Outcome.FAILED, Outcome.EMPTY, Outcome.REFUSED, Outcome.FETCHED
# Our own wording around the fragments that tell the classes apart.
ERRORS: dict[str, tuple[int, bytes, Verdict]] = {
    "key": (401, message("Invalid API KEY. Create one"), KEY),
    "key with another text": (401, message("Who are you"), KEY),
    "key without a body": (401, b"", KEY),
    "key under 200": (200, message("Invalid API KEY. Create one"), KEY),
    "symbol": (
        402,
        b"Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is not in your plan'",
        Verdict(R, "premium_symbol"),
    ),
    "symbol under 200": (
        200,
        b"Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is not in your plan'",
        Verdict(R, "premium_symbol"),
    ),
    "parameter": (
        402,
        b"Premium Query Parameter: 'Special Endpoint : This value set for 'limit' is not in your plan'",
        Verdict(R, "premium_parameter"),
    ),
    "endpoint": (402, b"Restricted Endpoint: not in your plan", Verdict(R, "restricted_endpoint")),
    "exclusive": (403, message("Exclusive Endpoint : not in your plan"), Verdict(R, "exclusive_endpoint")),
    "exclusive under 402": (402, message("Exclusive Endpoint : not in your plan"), Verdict(R, "exclusive_endpoint")),
    "legacy": (403, message("Legacy Endpoint : for old subscribers"), Verdict(R, "legacy_endpoint")),
    "payment": (402, b"Pay", Verdict(R, "payment_required")),
    "quota": (429, message("Limit Reach . Upgrade "), QUOTA),
    "quota under 200": (200, message("Limit Reach . Upgrade "), QUOTA),
    "rate": (
        429,
        message("Too Many Requests: write to us", **{"X-Rate-Limit-Retry-After-Milliseconds": 250}),
        Verdict(F, "rate_limited", is_retryable=True, retry_after_s=0.25),
    ),
    "rate without a wait": (429, message("Too Many Requests"), RATE),
    "rate with a strange wait": (
        429,
        message("Too Many Requests", **{"X-Rate-Limit-Retry-After-Milliseconds": "soon"}),
        RATE,
    ),
    "429 of another kind": (429, b"slow down", RATE),
    "429 without a body": (429, b"", RATE),
    "400": (400, b"Query Error: Invalid or missing query parameter - symbol", Verdict(R, "invalid_call")),
    "400 of another kind": (400, b"No", Verdict(F, "http_400")),
    "403 of another kind": (403, b"<html>blocked</html>", Verdict(F, "http_403")),
    "path": (404, b"[]", Verdict(F, "http_404")),
    "path with data": (404, sample("eod_split_adjusted"), Verdict(F, "http_404")),
    "503": (503, b"<html>", Verdict(F, "http_503", is_retryable=True)),
    "500 with data": (500, sample("eod_split_adjusted"), Verdict(F, "http_500", is_retryable=True)),
    "nothing": (200, b"", Verdict(F, "empty_body", is_retryable=True)),
    "blanks": (200, b" \r\n", Verdict(F, "empty_body", is_retryable=True)),
    "html": (200, b"<!DOCTYPE html>", Verdict(F, "html", is_retryable=True)),
    "text": (200, b"Come back tomorrow", Verdict(F, "not_json")),
    "new message": (200, message("Something that nobody has seen yet"), Verdict(F, "unknown_message")),
    "csv": (200, b'"symbol","date"\n', Verdict(F, "not_json")),
    "number": (200, b"1", Verdict(F, "unknown_shape")),
    "null": (200, b"null", Verdict(F, "unknown_shape")),
    "other object": (200, b'{"historical": []}', Verdict(F, "unknown_shape")),
    "list of text": (200, b'["SMPL"]', Verdict(F, "unknown_shape")),
    "list of lists": (200, b"[[]]", Verdict(F, "unknown_shape")),
    "row that is null": (200, b"[null]", Verdict(F, "unknown_shape")),
    "unknown symbol": (200, b"[]", Verdict(E, "no_data")),
    "unknown symbol as an object": (200, b" {}\n", Verdict(E, "no_data")),
}


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/html", ""])
@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_told_apart_whatever_was_asked(name: str, kind: str) -> None:
    status, body, expected = ERRORS[name]
    for feed in PROVIDER.feeds:
        assert verdict(body, feed, status=status, kind=kind) == expected


@pytest.mark.parametrize("name", SAMPLE_OF)
def test_a_body_is_data_for_its_own_endpoint_only(name: str) -> None:
    taken = {feed.dataset for feed in PROVIDER.feeds if verdict(sample(name), feed).outcome is D}
    # Two series have the very same members: only the request tells them apart.
    twins = {"eod_raw", "eod_dividend_adjusted"}
    assert taken == (twins if name in twins else {name})


@pytest.mark.parametrize("name", SAMPLE_OF)
def test_a_body_cut_at_any_byte_is_not_data(name: str) -> None:
    body = sample(name).rstrip()
    assert {verdict(body[:n], SAMPLE_OF[name]).outcome for n in range(len(body))} == {F}
    assert verdict(body[:-1], SAMPLE_OF[name]).is_retryable


@pytest.mark.parametrize("name", SAMPLE_OF)
def test_a_byte_order_mark_changes_nothing(name: str) -> None:
    feed, body = SAMPLE_OF[name], sample(name)
    marked = b"\xef\xbb\xbf" + body
    assert verdict(marked, feed) == verdict(body, feed) == Verdict(D)
    assert feed.parse(marked, asked(feed)).equals(feed.parse(body, asked(feed)))
    assert verdict(b"\xef\xbb\xbf[]", feed) == Verdict(E, "no_data")


@pytest.mark.parametrize("name", SAMPLE_OF)
def test_rows_of_another_symbol_are_an_error(name: str) -> None:
    assert verdict(sample(name), SAMPLE_OF[name], symbol="OTHR") == Verdict(F, "other_symbol")
    assert verdict(changed(name, symbol="OTHR"), SAMPLE_OF[name]) == Verdict(F, "other_symbol")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("eod_raw", "adjClose", "close"),
        ("eod_split_adjusted", "volume", "vol"),
        ("profile", "marketCap", "mktCap"),
        ("dividends", "paymentDate", "payDate"),
        ("splits", "numerator", "to"),
    ],
)
def test_a_renamed_member_is_another_shape_and_no_row(name: str, old: str, new: str) -> None:
    body = sample(name).replace(f'"{old}"'.encode(), f'"{new}"'.encode())
    assert verdict(body, SAMPLE_OF[name]) == Verdict(F, "unknown_shape")
    with pytest.raises(PayloadChanged):
        SAMPLE_OF[name].parse(body, asked(SAMPLE_OF[name]))


@pytest.mark.parametrize(("count", "expected"), [(4999, Verdict(D)), (5000, Verdict(F, "row_cap"))])
def test_an_answer_at_the_cap_is_an_error_because_its_oldest_rows_may_be_missing(count: int, expected: Verdict) -> None:
    row = json.loads(sample("eod_split_adjusted"))[0]
    assert verdict(json.dumps([row] * count).encode()) == expected


def test_a_message_inside_data_is_data() -> None:
    assert verdict(changed("profile", description="Limit Reach. Invalid API KEY"), PROFILE) == Verdict(D)


# Rows


def slice_of(day: str) -> Slice:
    """The session of a day."""
    return Slice.at(dt.date.fromisoformat(day), grain=Grain.SESSION)


def bars(folder: Path, body: bytes, feed: Feed, day: str) -> Any:
    """One session of an answer that covers the week."""
    return silver(folder, PROVIDER, feed, slice_of(day), [(asked(feed), body)])


PRICES = ("open_usd", "high_usd", "low_usd", "close_usd", "volume_shares")


@pytest.mark.parametrize(
    ("feed", "basis", "before", "after"),
    [
        (RAW, "raw", (118.5, 121.2, 117.9, 118.8, 1210000.0), (40.0, 41.5, 39.75, 41.1, 2910700.0)),
        (SPLIT, "split_adjusted", (39.5, 40.4, 39.3, 39.6, 3630000.0), (40.0, 41.5, 39.75, 41.1, 2910700.0)),
        (DIVIDEND, "dividend_adjusted", (39.5, 40.4, 39.3, 39.6, 3630000.0), (40.0, 41.5, 39.75, 41.1, 2910700.0)),
    ],
)
def test_bars_keep_their_values_and_their_basis(
    tmp_path: Path, feed: Feed, basis: str, before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    body = sample(feed.dataset)
    assert feed.parse(body, asked(feed)).height == 5
    for day, values in (("2026-11-17", before), ("2026-11-19", after)):
        found = bars(tmp_path / day, body, feed, day)
        assert found.rejected == []
        (row,) = found.rows
        assert tuple(row[name] for name in PRICES) == values
        assert (row["price_basis"], row["symbol"], row["instrument_id"]) == (basis, "SMPL", "id-SMPL")
        assert row["session_date"] == dt.date.fromisoformat(day)
        assert {row[name] for name in ("vwap_usd", "adjusted_close_usd", "dividend_usd", "split_ratio")} == {None}


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ({"high": "n/a"}, "high_usd|dtype"),
        ({"close": None}, "close_usd|nullability"),
        ({"close": ""}, "close_usd|nullability"),
        ({"close": True}, "close_usd|dtype"),
        ({"open": [1]}, "open_usd|dtype"),
        ({"open": 0}, "open_usd|min"),
        ({"volume": -1}, "volume_shares|min"),
        ({"volume": 1e300}, "volume_shares|max"),
        ({"high": 1.0}, "high_is_highest"),
        ({"low": "Infinity"}, "low_is_lowest"),
    ],
)
def test_a_poisoned_value_spoils_its_own_row(tmp_path: Path, members: dict[str, Any], rule: str) -> None:
    body = changed("eod_split_adjusted", 3, **members)
    assert verdict(body) == Verdict(D)
    spoilt = bars(tmp_path / "a", body, SPLIT, "2026-11-17")
    assert spoilt.rows == []
    assert rule in {name for name, _ in spoilt.rejected}
    assert len(bars(tmp_path / "b", body, SPLIT, "2026-11-16").rows) == 1


def test_a_row_without_one_of_the_members_spoils_itself_only(tmp_path: Path) -> None:
    rows = json.loads(sample("eod_raw"))
    del rows[4]["adjClose"]
    body = json.dumps(rows).encode()
    assert verdict(body, RAW) == Verdict(D)
    assert [rule for rule, _ in bars(tmp_path / "a", body, RAW, "2026-11-16").rejected] == ["close_usd|nullability"]
    assert len(bars(tmp_path / "b", body, RAW, "2026-11-17").rows) == 1


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_no_json_is_no_row(literal: bytes) -> None:
    body = sample("eod_split_adjusted").replace(b"41.87", literal)
    assert verdict(body) == Verdict(F, "json_invalid")
    with pytest.raises(ValueError, match="no JSON"):
        SPLIT.parse(body, asked(SPLIT))


@pytest.mark.parametrize(
    ("whole", "broken"),
    [
        (b"41.87", b"1e400"),
        (b"41.87", b"0x2A"),
        (b'"SMPL"', b'"SM\\ud800PL"'),
        (b'"SMPL"', b'"SM\xe9PL"'),
        (b"}]", b"},]"),
        (b"}]", b"}][]"),
    ],
)
def test_whole_but_invalid_json_is_not_asked_for_again(whole: bytes, broken: bytes) -> None:
    body = json.dumps(json.loads(sample("eod_split_adjusted"))).encode()
    assert whole in body
    assert verdict(body.replace(whole, broken)) == Verdict(F, "json_invalid")


def deep(member: str, depth: int) -> bytes:
    """Two dividends, the second one with a member of so many lists in each other."""
    return changed("dividends", 1, **{member: "@"}).replace(b'"@"', b"[" * depth + b"]" * depth)


@pytest.mark.parametrize("member", ["dividend", "more"])
@pytest.mark.parametrize(
    ("depth", "expected"), [(62, Verdict(D))] + [(n, Verdict(F, "json_too_deep")) for n in (63, 260, 1000, 1030, 9000)]
)
def test_a_body_nested_too_deep_is_no_data(member: str, depth: int, expected: Verdict) -> None:
    assert verdict(deep(member, depth), DIVIDENDS) == expected


@pytest.mark.parametrize("depth", [260, 1000, 9000])
def test_a_stored_body_nested_too_deep_is_set_aside_whole(tmp_path: Path, depth: int) -> None:
    found = silver(
        tmp_path,
        PROVIDER,
        DIVIDENDS,
        WEEK_OF,
        [(asked(DIVIDENDS), sample("dividends")), (asked(DIVIDENDS, "BAD"), deep("dividend", depth))],
    )
    assert [rule for rule, _ in found.rejected] == ["payload_unreadable"]
    assert (found.report.rows_kept, found.report.payload_failures) == (len(json.loads(sample("dividends"))), 1)


WEEK_OF = Slice.at(WEEK.start, grain=Grain.WEEK)


def test_a_profile_is_one_row(tmp_path: Path) -> None:
    found = silver(tmp_path, PROVIDER, PROFILE, WEEK_OF, [(asked(PROFILE), sample("profile"))])
    assert found.rejected == []
    (row,) = found.rows
    assert {name: row[name] for name in ("name", "exchange", "currency", "country", "sector", "industry")} == {
        "name": "Sample Works Inc.",
        "exchange": "NYSE",
        "currency": "USD",
        "country": "US",
        "sector": "Industrials",
        "industry": "Tools",
    }
    assert (row["cik"], row["isin"], row["asset_type"]) == ("12345", "US0000000017", "stock")
    assert (row["market_capitalization"], row["beta"]) == (4187000000.5, 0.93)
    assert (row["ipo_date"], row["is_actively_trading"]) == (dt.date(1999, 5, 3), True)
    assert row["dividend_per_share"] is None


@pytest.mark.parametrize(
    ("members", "column", "value"),
    [
        ({"isEtf": True, "isFund": True}, "asset_type", "etf"),
        ({"isFund": True}, "asset_type", "fund"),
        ({"isAdr": True}, "asset_type", "adr"),
        ({"cik": None}, "cik", None),
        ({"cik": ""}, "cik", None),
        ({"cik": "0000000000"}, "cik", None),
        ({"cik": "9999999999"}, "cik", "9999999999"),
        ({"sector": ""}, "sector", None),
        ({"ipoDate": None}, "ipo_date", None),
        ({"currency": "GBp"}, "currency", "GBp"),
        ({"isActivelyTrading": False}, "is_actively_trading", False),
        ({"isActivelyTrading": None}, "is_actively_trading", None),
    ],
)
def test_members_of_a_profile(tmp_path: Path, members: dict[str, Any], column: str, value: object) -> None:
    found = silver(tmp_path, PROVIDER, PROFILE, WEEK_OF, [(asked(PROFILE), changed("profile", **members))])
    assert found.column(column) == [value]


def test_dividends_keep_every_digit(tmp_path: Path) -> None:
    found = silver(tmp_path, PROVIDER, DIVIDENDS, WEEK_OF, [(asked(DIVIDENDS), sample("dividends"))])
    assert found.rejected == []
    columns = ("effective_date", "kind", "cash_amount", "adjusted_cash_amount", "frequency_per_year")
    assert [tuple(row[name] for name in columns) for row in found.rows] == [
        (dt.date(1999, 8, 11), "dividend", Decimal("0.00003"), Decimal("0.00001"), None),
        (dt.date(2026, 11, 17), "dividend", Decimal("0.301"), Decimal("0.1003333333"), 4),
        (dt.date(2026, 11, 17), "dividend#2", Decimal("1.5"), Decimal("0.5"), None),
        (dt.date(2027, 2, 16), "dividend", Decimal("0.105"), Decimal("0.105"), 4),
    ]
    announced = found.rows[-1]
    assert announced["declaration_date"] == dt.date(2026, 11, 2)
    assert {announced[name] for name in ("record_date", "pay_date", "currency", "split_from", "action_id")} == {None}
    assert set(found.column("action_type")) == {"dividend"}


def test_an_amount_that_no_double_has_is_kept(tmp_path: Path) -> None:
    body = sample("dividends").replace(b"0.1003333333", b"1234567.0000000001")
    found = silver(tmp_path, PROVIDER, DIVIDENDS, WEEK_OF, [(asked(DIVIDENDS), body)])
    assert found.rows[1]["adjusted_cash_amount"] == Decimal("1234567.0000000001")


def test_a_dividend_in_two_spellings_is_one(tmp_path: Path) -> None:
    row = json.loads(sample("dividends"))[0]
    rows = [{**row, "dividend": 1.67}, {**row, "dividend": "@"}, {**row, "dividend": 1.68}]
    body = json.dumps(rows).replace('"@"', "1.670").encode()
    found = silver(tmp_path, PROVIDER, DIVIDENDS, WEEK_OF, [(asked(DIVIDENDS), body)])
    assert [(row["kind"], row["cash_amount"]) for row in found.rows] == [
        ("dividend", Decimal("1.67")),
        ("dividend#2", Decimal("1.68")),
    ]
    assert (found.report.rows_duplicate, found.rejected) == (1, [])


def test_the_order_of_an_answer_does_not_matter() -> None:
    rows = json.loads(sample("dividends"))
    there, back = (
        {tuple(row) for row in DIVIDENDS.parse(json.dumps(order).encode(), asked(DIVIDENDS)).iter_rows()}
        for order in (rows, rows[::-1])
    )
    assert there == back


@pytest.mark.parametrize(
    ("word", "times"),
    [("Annual", 1), ("Semi-Annual", 2), ("Monthly", 12), ("Irregular", None), ("", None), (None, None)],
)
def test_frequencies(tmp_path: Path, word: str | None, times: int | None) -> None:
    body = json.dumps([{**json.loads(sample("dividends"))[0], "frequency": word}]).encode()
    found = silver(tmp_path, PROVIDER, DIVIDENDS, WEEK_OF, [(asked(DIVIDENDS), body)])
    assert found.column("frequency_per_year") == [times]


def test_a_dividend_told_twice_is_one_and_one_without_an_amount_is_none(tmp_path: Path) -> None:
    rows = json.loads(sample("dividends"))
    body = json.dumps([rows[0], rows[0], {**rows[3], "dividend": ""}]).encode()
    found = silver(tmp_path, PROVIDER, DIVIDENDS, WEEK_OF, [(asked(DIVIDENDS), body)])
    assert found.column("kind") == ["dividend"]
    assert found.report.rows_duplicate == 1
    assert [rule for rule, _ in found.rejected] == ["dividend_has_an_amount"]


def test_splits_take_the_denominator_and_give_the_numerator(tmp_path: Path) -> None:
    found = silver(tmp_path, PROVIDER, SPLITS, WEEK_OF, [(asked(SPLITS), sample("splits"))])
    assert found.rejected == []
    columns = ("effective_date", "kind", "split_from", "split_to", "cash_amount")
    assert [tuple(row[name] for name in columns) for row in found.rows] == [
        (dt.date(2004, 1, 5), "split", 20.0, 21.0, None),
        (dt.date(2009, 7, 6), "split", 10.0, 1.0, None),
        (dt.date(2016, 3, 1), "spin-off", 1.0, 1.0475, None),
        (dt.date(2026, 11, 18), "stock-split", 1.0, 3.0, None),
    ]


def test_our_samples_have_an_origin_and_agree_with_each_other() -> None:
    origin = tomllib.loads((SAMPLES / "ORIGIN.toml").read_text(encoding="utf-8"))
    assert set(origin) == {path.name for path in SAMPLES.iterdir()} - {"ORIGIN.toml"}
    assert raw_and_split_give_the_adjusted_series(sample("eod_raw"), sample("eod_split_adjusted"), "SMPL", 3) == 5


# Requests


def test_requests_carry_no_key_and_the_days_inclusive() -> None:
    berkshire: Instrument = instrument("BRK.B")
    (request,) = RAW.plan(Slice(dt.date(2021, 11, 22), dt.date(2026, 11, 21)), (berkshire,))
    assert request.path == "/stable/historical-price-eod/non-split-adjusted"
    assert request.params == (("symbol", "BRK-B"), ("from", "2021-11-22"), ("to", "2026-11-20"))
    assert (request.since, request.until) == (dt.date(2021, 11, 22), dt.date(2026, 11, 21))
    assert (request.name, request.symbol, request.instrument_id) == ("BRK-B", "BRK-B", "id-BRK.B")
    paths = {feed.dataset: asked(feed).path for feed in PROVIDER.feeds}
    assert paths == {
        "eod_raw": "/stable/historical-price-eod/non-split-adjusted",
        "eod_split_adjusted": "/stable/historical-price-eod/full",
        "eod_dividend_adjusted": "/stable/historical-price-eod/dividend-adjusted",
        "profile": "/stable/profile",
        "dividends": "/stable/dividends",
        "splits": "/stable/splits",
    }
    assert asked(PROFILE).params == (("symbol", "SMPL"),)
    assert [request.name for request in SPLIT.plan(WEEK, (instrument("A"), instrument("B")))] == ["A", "B"]


def test_the_plans_are_what_the_provider_grants() -> None:
    assert providers.load()["fmp"] is PROVIDER
    assert (PROVIDER.auth.place, PROVIDER.auth.name) == ("header", "apikey")
    assert PROVIDER.plans["free"].calls_per_day == 250
    per_minute = {name: round(60 / pace.interval_s) for name, pace in PROVIDER.plans.items() if name != "free"}
    assert per_minute == {"starter": 300, "premium": 750, "ultimate": 3000}
    # 1,250 sessions are some five years, a quarter of the rows after which the oldest are dropped.
    assert {feed.span_slices for feed in (RAW, SPLIT, DIVIDEND)} == {1250}


def test_a_spent_quota_ends_the_day_although_its_status_says_to_come_back(tmp_path: Path) -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return reply(message("Limit Reach . Upgrade "), status=429, Retry_After="1")

    with Client(
        PROVIDER,
        base_url=PROVIDER.base_url,
        key=KEY_TEXT,
        pace=PROVIDER.plans["free"],
        ledger=Ledger(tmp_path / "quota.sqlite"),
        now=lambda: NOW,
        sleep=lambda _seconds: None,
        transport=httpx2.MockTransport(answer),
    ) as client:
        found = client.fetch(RAW, asked(RAW))
        left = client.budget().left
    assert (found.verdict, found.calls, left) == (QUOTA, 1, 0)
    assert found.resumes_at == dt.datetime(2026, 11, 19, 5, 0, tzinfo=dt.UTC)  # midnight in New York
    assert len(seen) == 1
    assert seen[0].headers["apikey"] == KEY_TEXT
    assert KEY_TEXT not in str(seen[0].url)


# Captured bodies


def raw_and_split_give_the_adjusted_series(raw: bytes, adjusted: bytes, symbol: str, split_to: int) -> int:
    """Divide the raw prices before a split and compare to the cent; the number of sessions compared."""
    ours, theirs = (
        {row["session_date"]: row for row in feed.parse(body, asked(feed, symbol)).iter_rows(named=True)}
        for feed, body in ((RAW, raw), (SPLIT, adjusted))
    )
    assert set(ours) == set(theirs)
    split_day = {"AAPL": "2020-08-31", "SMPL": "2026-11-18"}[symbol]
    for day, row in ours.items():
        factor = split_to if day < split_day else 1
        for name in ("open_usd", "high_usd", "low_usd", "close_usd"):
            assert (Decimal(row[name]) / factor).quantize(Decimal("0.01")) == Decimal(theirs[day][name]).quantize(
                Decimal("0.01")
            ), (day, name)
        assert Decimal(row["volume_shares"]) * factor == Decimal(theirs[day]["volume_shares"])
    return len(ours)


def test_the_split_of_2020_08_31_in_its_three_forms(captured: Path) -> None:
    folder = captured / "fmp"
    raw = (folder / "historical-price-eod-other" / "AAPL-non-split-adjusted-across-split.json").read_bytes()
    adjusted = (folder / "historical-price-eod-full" / "AAPL-across-2020-08-31-split.json").read_bytes()
    dividend = (folder / "historical-price-eod-other" / "AAPL-dividend-adjusted-across-split.json").read_bytes()
    actions = SPLITS.parse((folder / "splits" / "stable-AAPL-all.json").read_bytes(), asked(SPLITS, "AAPL"))
    (split,) = (row for row in actions.iter_rows(named=True) if row["effective_date"] == "2020-08-31")
    assert (split["split_from"], split["split_to"]) == ("1", "4")
    assert raw_and_split_give_the_adjusted_series(raw, adjusted, "AAPL", int(split["split_to"])) == 5
    # Without the split the same comparison fails: it is the split that explains the difference.
    with pytest.raises(AssertionError):
        raw_and_split_give_the_adjusted_series(raw, adjusted, "AAPL", 1)
    # The dividend-adjusted form lies below by one ratio throughout: no ex-date is between these sessions.
    closes = [
        [Decimal(value) for value in feed.parse(body, asked(feed, "AAPL")).get_column("close_usd")]
        for feed, body in ((SPLIT, adjusted), (DIVIDEND, dividend))
    ]
    ratios = [low / high for high, low in zip(*closes, strict=True)]
    assert max(ratios) - min(ratios) < Decimal("0.0001")
    assert max(ratios) < Decimal("0.98")


FULL = {"eod_split_adjusted": 5}
# Every captured file: the rows that our feeds take from it (asked for the symbol of the file), or why none does.
CAPTURED: dict[str, dict[str, int] | tuple[int, Outcome, str]] = {
    "dividends/stable-AAPL-2024-11_2025-08.json": {"dividends": 4},
    "dividends/stable-dividends-calendar-excerpt-2025-08.json": (200, F, "other_symbol"),
    "dividends/stable-dividends-calendar-head-2026-08.json": (200, F, "other_symbol"),
    "errors/200-unknown-symbol.json": (200, E, "no_data"),
    "errors/400-missing-parameter.txt": (400, R, "invalid_call"),
    "errors/401-invalid-key.json": (401, R, "invalid_key"),
    "errors/402-premium-symbol.txt": (402, R, "premium_symbol"),
    "errors/402-restricted-endpoint.txt": (402, R, "restricted_endpoint"),
    "errors/403-legacy-endpoint.json": (403, R, "legacy_endpoint"),
    "errors/404-unknown-path.json": (404, F, "http_404"),
    "errors/429-limit-reach.json": (429, Outcome.DEFERRED, "daily_quota"),
    "errors/429-too-many-requests-discounted-cash-flow_PM.json": (429, F, "rate_limited"),
    "errors/429-too-many-requests-financials_balance-sheet-statement_PM.json": (429, F, "rate_limited"),
    "historical-price-eod-full/AAPL-2024-02-22_28.json": FULL,
    "historical-price-eod-full/AAPL-across-2020-08-31-split.json": FULL,
    "historical-price-eod-light/AAPL-2024-02-22_28.json": (200, F, "unknown_shape"),
    "historical-price-eod-other/AAPL-dividend-adjusted-across-split.json": {"eod_raw": 5, "eod_dividend_adjusted": 5},
    "historical-price-eod-other/AAPL-non-split-adjusted-across-split.json": {"eod_raw": 5, "eod_dividend_adjusted": 5},
    "historical-price-full-v3/AAPL-2021-05-scientific-volume.json": (200, F, "unknown_shape"),
    "other/stable-historical-chart-1hour-AAPL.json": (200, F, "unknown_shape"),
    "other/stable-historical-chart-1min-AAPL.json": (200, F, "unknown_shape"),
    "other/stable-quote-AAPL.json": (200, F, "unknown_shape"),
    "other/stable-quote-short-AAPL.json": (200, F, "unknown_shape"),
    "other/v3-discounted-cash-flow_PM-2022-Mar-06.json": (200, F, "unknown_shape"),
    "other/v3-historical-discounted-cash-flow_PM-2022-Mar-06.json": (200, F, "unknown_shape"),
    "other/v3-quote_PM-2022-Mar-06.json": (200, F, "unknown_shape"),
    "profile/stable-AAPL-2025-02.json": {"profile": 1},
    "profile/v3-company_profile_PM-2022-Mar-06.json": (200, F, "unknown_shape"),
    "profile/v3-profile_AAPL-2021-Aug-19.json": (200, F, "unknown_shape"),
    "splits/stable-AAPL-all.json": {"splits": 5},
}


def captured_bodies(captured: Path) -> dict[str, bytes]:
    """Every captured body of the provider; the headers of a recording are none."""
    folder = captured / "fmp"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "captured-http-headers" not in path.name
    }


def test_every_captured_body_is_what_it_is(captured: Path) -> None:
    bodies = captured_bodies(captured)
    assert set(bodies) == set(CAPTURED)
    for name, body in bodies.items():
        symbol = "PM" if "PM" in name else "AAPL"
        expected = CAPTURED[name]
        status = expected[0] if isinstance(expected, tuple) else 200
        verdicts = {feed.dataset: verdict(body, feed, symbol=symbol, status=status) for feed in PROVIDER.feeds}
        rows = {
            feed.dataset: feed.parse(body, asked(feed, symbol)).height
            for feed in PROVIDER.feeds
            if verdicts[feed.dataset].outcome is D
        }
        if isinstance(expected, dict):
            assert rows == expected, name
        else:
            assert rows == {}, name
            _, outcome, reason = expected
            # A calendar has a dividend's members: another symbol's for one feed, another shape for the rest.
            own = [found for found in verdicts.values() if found.reason == reason]
            assert own, (name, verdicts)
            assert {found.outcome for found in own} == {outcome}, name
            assert len(own) == len(verdicts) or reason == "other_symbol", (name, verdicts)


def test_the_captured_throttle_says_how_long_to_wait(captured: Path) -> None:
    waits = {
        path.name: verdict(path.read_bytes(), status=429).retry_after_s
        for path in (captured / "fmp" / "errors").glob("429-too-many*")
    }
    assert sorted(value or 0 for value in waits.values()) == [0.174, 0.334]


def test_captured_rows_reach_silver(captured: Path, tmp_path: Path) -> None:
    folder = captured / "fmp"
    full = (folder / "historical-price-eod-full" / "AAPL-2024-02-22_28.json").read_bytes()
    part = slice_of("2024-02-28")
    (row,) = silver(tmp_path, PROVIDER, SPLIT, part, [(asked(SPLIT, "AAPL"), full)]).rows
    assert tuple(row[name] for name in PRICES) == (182.51, 183.12, 180.13, 181.42, 48953939.0)
    profile = (folder / "profile" / "stable-AAPL-2025-02.json").read_bytes()
    (row,) = silver(tmp_path, PROVIDER, PROFILE, WEEK_OF, [(asked(PROFILE, "AAPL"), profile)]).rows
    assert (row["name"], row["cik"], row["isin"]) == ("Apple Inc.", "320193", "US0378331005")
    assert (row["ipo_date"], row["market_capitalization"]) == (dt.date(1980, 12, 12), 3500823120000.0)
    dividends = (folder / "dividends" / "stable-AAPL-2024-11_2025-08.json").read_bytes()
    found = silver(tmp_path, PROVIDER, DIVIDENDS, WEEK_OF, [(asked(DIVIDENDS, "AAPL"), dividends)])
    assert found.column("cash_amount") == [Decimal("0.25"), Decimal("0.25"), Decimal("0.26"), Decimal("0.26")]
    assert found.column("frequency_per_year") == [4, 4, 4, 4]
    assert found.rows[0]["record_date"] == dt.date(2024, 11, 11)
    assert found.rejected == []
