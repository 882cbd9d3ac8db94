"""What a body is: data, an error that came with status 200, or something cut; and what data becomes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from market_pipeline.errors import PayloadChanged
from market_pipeline.feed import Feed, Outcome, Request, Verdict
from market_pipeline.partition import Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from provider_silver import Silver, silver
from wire import HEADER, bar, csv, instrument, weeks

WEEKLY, OVERVIEW, DAILY = PROVIDER.feeds
SAMPLES = Path(__file__).parent / "payloads" / "alpha_vantage"
DAY = dt.date(2026, 11, 20)


def asked(feed: Feed, symbol: str = "IBM", **more: object) -> Request:
    """The one request of a feed for a symbol."""
    (request,) = feed.plan(Slice.at(DAY, grain=feed.grain), (instrument(symbol, **more),))
    return request


def weekly(body: bytes, *, status: int = 200, kind: str = "application/x-download") -> Verdict:
    """Verdict on an answer to TIME_SERIES_WEEKLY_ADJUSTED for IBM."""
    return WEEKLY.classify(asked(WEEKLY), status, kind, body)


def overview(body: bytes, *, symbol: str = "IBM", status: int = 200, kind: str = "application/json") -> Verdict:
    """Verdict on an answer to OVERVIEW."""
    return OVERVIEW.classify(asked(OVERVIEW, symbol), status, kind, body)


def daily(body: bytes, *, status: int = 200, kind: str = "application/x-download") -> Verdict:
    """Verdict on an answer to TIME_SERIES_DAILY_ADJUSTED for IBM."""
    return DAILY.classify(asked(DAILY), status, kind, body)


def message(text: str, key: str = "Information") -> bytes:
    """An error as the provider wraps it."""
    return json.dumps({key: text}, indent=4).encode()


PREMIUM = "You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to"
# Our own wording around the fragments that tell the classes apart; the last ones advertise on purpose.
MESSAGES: dict[str, tuple[bytes, str]] = {
    "second": (
        message(f"Consider spreading out your calls (1 a second). {PREMIUM} lift 25 requests per day"),
        "rate_limited_second",
    ),
    "burst": (
        message("Burst pattern detected: try spreading out; no more than 30 requests per second"),
        "rate_limited_burst",
    ),
    "minute": (message("Minute-level rate limit exceed"), "rate_limited_minute"),
    "old minute": (message("5 calls per minute and 500 calls per day is the frequency", "Note"), "rate_limited_minute"),
    "day": (message(f"The rate limit is 25 requests per day. {PREMIUM} remove all limits"), "daily_quota"),
    "day with key": (message("API key as [REDACTED] and the limit is 25 requests per day"), "daily_quota"),
    "day as note": (message("the limit is 500 requests per day", "Note"), "daily_quota"),
    "volume": (message("contact us for a higher API call volume"), "call_volume"),
    "premium": (message(f"This is a premium endpoint. {PREMIUM} unlock all premium endpoints"), "premium_endpoint"),
    "parameter": (message(f"outputsize=full is a premium feature. {PREMIUM} unlock it"), "premium_parameter"),
    "demo": (message("The **demo** API key is for demo purposes only"), "demo_key"),
    "key": (message("the parameter apikey is invalid or missing.", "Error Message"), "invalid_key"),
    "key as information": (message("the parameter apikey is invalid or missing."), "invalid_key"),
    "call": (message("Invalid API call. Please retry", "Error Message"), "invalid_call"),
    "call as information": (message("Invalid API call. Please retry"), "invalid_call"),
    "artificial": (
        message("premium endpoint. ***THE SAMPLE DATA SCHEMA BELOW IS ARTIFICIAL***", "message"),
        "premium_sample",
    ),
    "artificial with rows": (
        json.dumps({"endpoint": "x", "message": "IS ARTIFICIAL", "data": [{"date": "2049-99-99"}]}).encode(),
        "premium_sample",
    ),
    "new": (message("Something that nobody has seen yet"), "unknown_message"),
    "new note": (message("", "Note").replace(b'""', b'"x"'), "unknown_message"),
    "two members": (json.dumps({"Note": "x", "Information": "Burst pattern"}).encode(), "rate_limited_burst"),
    "compact": (b'{"Information":"Burst pattern"}', "rate_limited_burst"),
    "indented": (b'  \r\n{"Information":"Burst pattern"}\r\n', "rate_limited_burst"),
}
OUTCOMES = {
    "rate_limited_second": (Outcome.FAILED, True, False, False),
    "rate_limited_burst": (Outcome.FAILED, True, False, False),
    "rate_limited_minute": (Outcome.FAILED, True, False, False),
    "daily_quota": (Outcome.DEFERRED, False, False, True),
    "call_volume": (Outcome.DEFERRED, False, False, True),
    "premium_endpoint": (Outcome.REFUSED, False, False, False),
    "premium_parameter": (Outcome.REFUSED, False, False, False),
    "premium_sample": (Outcome.REFUSED, False, False, False),
    "demo_key": (Outcome.REFUSED, False, True, False),
    "invalid_key": (Outcome.REFUSED, False, True, False),
    "invalid_call": (Outcome.REFUSED, False, False, False),
    "unknown_message": (Outcome.FAILED, False, False, False),
}


@pytest.mark.parametrize("kind", ["application/json", "application/x-download", "text/plain", ""])
@pytest.mark.parametrize("name", MESSAGES)
def test_messages_are_told_apart_whatever_was_asked(name: str, kind: str) -> None:
    body, reason = MESSAGES[name]
    outcome, is_retryable, is_key, exhausts = OUTCOMES[reason]
    expected = Verdict(outcome, reason, is_retryable=is_retryable, is_key=is_key, exhausts_quota=exhausts)
    assert weekly(body, kind=kind) == expected
    assert daily(body, kind=kind) == expected
    assert overview(body, kind=kind) == expected


F, E, D = Outcome.FAILED, Outcome.EMPTY, Outcome.FETCHED
ROW = bar("2026-11-13").encode()
DAILY_HEADER = b"timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient"
WEEKLY_BODIES: dict[str, tuple[bytes, Outcome, str]] = {
    "crlf": (csv(bar("2026-11-13")), D, ""),
    "lf": (csv(bar("2026-11-13"), end="\n"), D, ""),
    "long": (weeks(1400), D, ""),
    "header only": (csv(), E, "no_rows"),
    "header only, lf": (csv(end="\n"), E, "no_rows"),
    "header and blank lines": (csv("", ""), E, "no_rows"),
    "header without an end": (HEADER.encode(), F, "csv_cut_short"),
    "half a header": (HEADER.encode()[:20], F, "csv_cut_short"),
    "header and half an end": (HEADER.encode() + b"\r", F, "csv_cut_short"),
    "last line without its end": (csv()[:-2] + b"\r\n" + ROW, F, "csv_cut_short"),
    "last line cut": (csv() + ROW[:20], F, "csv_cut_short"),
    "line feed missing": (csv() + ROW + b"\r", F, "csv_cut_short"),
    "daily": (csv(bar("2026-11-13")).replace(b"adjusted close", b"adjusted_close"), F, "unknown_header"),
    "reordered": (csv(bar("2026-11-13")).replace(b"low,close", b"close,low"), F, "unknown_header"),
    "extra column": (csv(bar("2026-11-13")).replace(b"amount\r", b"amount,split\r"), F, "unknown_header"),
    "missing column": (csv(bar("2026-11-13")).replace(b",dividend amount", b""), F, "unknown_header"),
    "other case": (csv(bar("2026-11-13")).replace(b"timestamp", b"Timestamp"), F, "unknown_header"),
    "semicolons": (csv(bar("2026-11-13")).replace(b",", b";"), F, "unknown_header"),
    "rows without a header": (ROW + b"\r\n", F, "unknown_header"),
    "byte order mark": (b"\xef\xbb\xbf" + csv(bar("2026-11-13")), F, "unknown_header"),
    "text": (b"Service temporarily unavailable\n", F, "unknown_header"),
    "binary": (bytes(range(256)), F, "unknown_header"),
    "nothing": (b"", F, "empty_body"),
    "blanks": (b" \r\n\t ", F, "empty_body"),
    "html": (b"<!DOCTYPE html><html>", F, "html"),
    "xml": (b"\xef\xbb\xbf<?xml version='1.0'?>", F, "html"),
    "empty object": (b"{}", F, "json_where_csv_was_asked"),
    "series as json": (b'{"Meta Data": {}, "Weekly Adjusted Time Series": {}}', F, "json_where_csv_was_asked"),
    "nested information": (b'{"Meta Data": {"Information": "Burst pattern"}}', F, "json_where_csv_was_asked"),
    "information that is no text": (b'{"Information": ["Burst pattern"]}', F, "json_where_csv_was_asked"),
    "list": (b"[]", F, "not_an_object"),
    "cut json": (b'{"Information": "Burst pat', F, "json_cut_short"),
    "json and more": (b'{"Information": "Burst pattern"} x', F, "json_cut_short"),
    "message behind a byte order mark": (b'\xef\xbb\xbf{"Information": "Burst pattern"}', F, "rate_limited_burst"),
    "deep json": (b"[" * 65 + b"]" * 65, F, "json_too_deep"),
    "broken letters in json": (b'{"Information": "\xff"}', F, "json_invalid"),
}
SYMBOL, NAME = '"Symbol": "IBM"', '"Name": "Sample Works"'
OVERVIEW_BODIES: dict[str, tuple[bytes, Outcome, str]] = {
    "small": (f"{{{SYMBOL}, {NAME}}}".encode(), D, ""),
    "empty": (b"{}", E, "no_fundamentals"),
    "empty with spaces": (b" {\n}\r\n", E, "no_fundamentals"),
    "behind a byte order mark": (f"\ufeff{{{SYMBOL}, {NAME}}}".encode(), D, ""),
    "deep": (b'{"Symbol": "IBM", "Name": "x", "more": ' + b"[" * 64 + b"]" * 64 + b"}", F, "json_too_deep"),
    "another symbol": (b'{"Symbol": "AAPL", "Name": "x"}', F, "other_symbol"),
    "no symbol": (f"{{{NAME}}}".encode(), F, "unknown_shape"),
    "no name": (f"{{{SYMBOL}}}".encode(), F, "unknown_shape"),
    "wrapped": (f'{{"data": {{{SYMBOL}, {NAME}}}}}'.encode(), F, "unknown_shape"),
    "list": (f"[{{{SYMBOL}, {NAME}}}]".encode(), F, "not_an_object"),
    "null": (b"null", F, "not_an_object"),
    "text": (b'"IBM"', F, "not_an_object"),
    "number": (b"1", F, "not_an_object"),
    "cut": (f"{{{SYMBOL}, {NAME}".encode(), F, "json_cut_short"),
    "csv": (csv(bar("2026-11-13")), F, "json_cut_short"),
    "not a number": (b'{"Symbol": NaN}', F, "json_invalid"),
    "html": (b"<html>", F, "html"),
    "nothing": (b"", F, "empty_body"),
}


@pytest.mark.parametrize("name", WEEKLY_BODIES)
def test_weekly_bodies(name: str) -> None:
    body, outcome, reason = WEEKLY_BODIES[name]
    verdict = weekly(body)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert not verdict.is_key
    assert verdict.is_retryable == (
        reason in ("csv_cut_short", "json_cut_short", "html", "empty_body", "rate_limited_burst")
    )


@pytest.mark.parametrize("name", WEEKLY_BODIES)
def test_daily_bodies_are_judged_alike_but_for_their_header(name: str) -> None:
    body, outcome, reason = WEEKLY_BODIES[name]
    as_daily = body.replace(HEADER.encode(), DAILY_HEADER)
    found = daily(as_daily)
    assert (found.outcome, found.reason) == (outcome, reason)
    if outcome in (D, E):
        assert daily(body) == Verdict(F, "unknown_header")
        assert weekly(as_daily) == Verdict(F, "unknown_header")


@pytest.mark.parametrize("name", OVERVIEW_BODIES)
def test_overview_bodies(name: str) -> None:
    body, outcome, reason = OVERVIEW_BODIES[name]
    verdict = overview(body)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert not verdict.is_key


@pytest.mark.parametrize("status", [201, 204, 301, 400, 401, 403, 404, 500])
def test_another_status_is_never_data(status: int) -> None:
    assert weekly(weeks(3), status=status) == Verdict(Outcome.FAILED, f"http_{status}")
    assert daily((SAMPLES / "daily_adjusted.csv").read_bytes(), status=status) == Verdict(F, f"http_{status}")
    assert overview(b"{}", status=status) == Verdict(Outcome.FAILED, f"http_{status}")


def test_a_byte_order_mark_changes_no_overview() -> None:
    body = json.dumps({"Symbol": "IBM", "Name": "Sample Works", "Beta": "0.7"}).encode()
    assert OVERVIEW.parse(b"\xef\xbb\xbf" + body, asked(OVERVIEW)).equals(OVERVIEW.parse(body, asked(OVERVIEW)))


def test_an_overview_cut_at_any_byte_is_not_data() -> None:
    body = (SAMPLES / "overview.json").read_bytes().rstrip()
    symbol = json.loads(body)["Symbol"]
    assert overview(body, symbol=symbol) == Verdict(Outcome.FETCHED)
    cuts = {overview(body[:n], symbol=symbol).outcome for n in range(len(body))}
    assert cuts == {Outcome.FAILED}


@pytest.mark.parametrize(("name", "judge"), [("weekly_adjusted", weekly), ("daily_adjusted", daily)])
def test_a_series_cut_inside_a_line_is_not_data(name: str, judge: Callable[[bytes], Verdict]) -> None:
    body = (SAMPLES / f"{name}.csv").read_bytes()
    assert judge(body) == Verdict(Outcome.FETCHED)
    for cut in range(len(body)):
        if not body[:cut].endswith(b"\n"):
            assert judge(body[:cut]).outcome is Outcome.FAILED, cut


# Captured bodies

CAPTURED_ERRORS = {
    "Error-Message-invalid-call": "invalid_call",
    "Error-Message-invalid-key": "invalid_key",
    "Information-1-per-second": "rate_limited_second",
    "Information-25-per-day": "daily_quota",
    "Information-burst-paid-plan": "rate_limited_burst",
    "Information-echoes-the-key": "daily_quota",
    "Information-higher-call-volume": "call_volume",
    "Information-outputsize-full-premium": "premium_parameter",
    "Information-premium-endpoint-on-time_series_daily_adjusted": "premium_endpoint",
    "Note-5permin-on-balance_sheet": "rate_limited_minute",
    "Note-5permin-on-income_statement": "rate_limited_minute",
    "Note-5permin-on-overview": "rate_limited_minute",
    "HISTORICAL_OPTIONS-no-data-for-date": "unknown_message",
}


def test_every_captured_error_is_what_its_name_says(captured: Path) -> None:
    paths = {path.stem: path for path in (captured / "alpha_vantage" / "errors").glob("*.json")}
    unknown_symbol = paths.pop("200-overview-unknown-symbol")
    assert overview(unknown_symbol.read_bytes()) == Verdict(Outcome.EMPTY, "no_fundamentals")
    assert weekly(unknown_symbol.read_bytes()).outcome is Outcome.FAILED
    assert daily(unknown_symbol.read_bytes()).outcome is Outcome.FAILED
    assert set(paths) == set(CAPTURED_ERRORS)
    for stem, path in paths.items():
        for verdict in (weekly(path.read_bytes()), daily(path.read_bytes()), overview(path.read_bytes())):
            assert verdict.reason == CAPTURED_ERRORS[stem], stem
            outcome, is_retryable, is_key, exhausts = OUTCOMES[verdict.reason]
            assert (verdict.outcome, verdict.is_retryable) == (outcome, is_retryable)
            assert (verdict.is_key, verdict.exhausts_quota) == (is_key, exhausts)


def test_no_captured_body_of_another_endpoint_is_taken_for_data(captured: Path) -> None:
    taken = set()
    folder = captured / "alpha_vantage"
    paths = [path for path in folder.rglob("*") if path.suffix in (".csv", ".json")]
    assert len(paths) > 40
    for path in paths:
        body = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        if weekly(body).outcome in (Outcome.FETCHED, Outcome.EMPTY):
            taken.add(f"weekly {name}")
        if daily(body).outcome in (Outcome.FETCHED, Outcome.EMPTY):
            taken.add(f"daily {name}")
        taken.update(
            f"overview {name}"
            for symbol in ("IBM", "AAPL", "TSLA")
            if overview(body, symbol=symbol).outcome is Outcome.FETCHED and name.split("/")[-1].startswith(symbol)
        )
        taken.update(
            f"overview of another {name}"
            for symbol in ("IBM", "AAPL", "TSLA", "MSFT")
            if overview(body, symbol=symbol).outcome is Outcome.FETCHED and not name.split("/")[-1].startswith(symbol)
        )
    assert taken == {
        # The monthly series has the weekly one's header: only the request tells them apart.
        "weekly other/IBM-time_series_monthly_adjusted-full.csv",
        "weekly time_series_weekly_adjusted/IBM-full-1999-2026.csv",
        "daily time_series_daily_adjusted/IBM-compact-2026-05-15.csv",
        "overview overview/AAPL-2022-Jan-10.json",
        "overview overview/IBM-2026-05-17.json",
        "overview overview/TSLA-2022-Mar-06.json",
    }


def test_the_captured_artificial_samples_are_refused(captured: Path) -> None:
    found = list((captured / "alpha_vantage").rglob("*ARTIFICIAL*.json"))
    assert len(found) == 2
    for path in found:
        assert weekly(path.read_bytes()) == Verdict(Outcome.REFUSED, "premium_sample")
        assert daily(path.read_bytes()) == Verdict(Outcome.REFUSED, "premium_sample")
        assert overview(path.read_bytes()) == Verdict(Outcome.REFUSED, "premium_sample")


# Parsing


def test_line_ends_do_not_matter() -> None:
    request = asked(WEEKLY)
    lines = (bar("2026-11-13"), bar("2026-11-05"))
    crlf, lf = (WEEKLY.parse(csv(*lines, end=end), request) for end in ("\r\n", "\n"))
    assert crlf.equals(lf)
    assert crlf.get_column("dividend_usd").to_list() == ["0.0000", "0.0000"]
    assert crlf.get_column("week_start_date").cast(pl.String).to_list() == ["2026-11-09", "2026-11-02"]


def test_values_stay_text_until_the_contract_casts_them() -> None:
    frame = WEEKLY.parse(csv("2026-11-13,50.00,51,49,50,299.83536210316964,1e3,0"), asked(WEEKLY))
    assert frame.row(0)[:8] == ("2026-11-13", "50.00", "51", "49", "50", "299.83536210316964", "1e3", "0")


@pytest.mark.parametrize("body", [b"", b"x\n", csv().replace(b"low,close", b"close,low"), b"\xff" + csv()])
def test_another_header_is_an_error_and_never_read_by_position(body: bytes) -> None:
    with pytest.raises(PayloadChanged):
        WEEKLY.parse(body, asked(WEEKLY))
    with pytest.raises(PayloadChanged):
        DAILY.parse(body, asked(DAILY))


def test_one_line_is_one_row_whatever_it_holds() -> None:
    body = csv(bar("2026-11-13"), '"a,b', 'c"', "", ",,,,,,,,,,", bar("2026-11-06"))
    assert WEEKLY.parse(body, asked(WEEKLY)).height == 6


def test_our_samples_parse_and_have_an_origin() -> None:
    import tomllib

    origin = tomllib.loads((SAMPLES / "ORIGIN.toml").read_text(encoding="utf-8"))
    assert set(origin) == {path.name for path in SAMPLES.iterdir()} - {"ORIGIN.toml"}
    body = (SAMPLES / "weekly_adjusted.csv").read_bytes()
    assert WEEKLY.parse(body, asked(WEEKLY, "SMPL")).height == body.count(b"\n") - 1
    row = OVERVIEW.parse((SAMPLES / "overview.json").read_bytes(), asked(OVERVIEW, "SMPL")).row(0, named=True)
    assert row["shares_outstanding"] == "100000000"
    assert row["ex_dividend_date"] is None


def sessions(folder: Path, body: bytes, symbol: str = "SMPL") -> Silver:
    """Silver of one snapshot of daily bars."""
    return silver(folder, PROVIDER, DAILY, Slice.at(DAY, grain=DAILY.grain), [(asked(DAILY, symbol), body)])


DAILY_COLUMNS = (
    "open_usd",
    "high_usd",
    "low_usd",
    "close_usd",
    "adjusted_close_usd",
    "volume_shares",
    "dividend_usd",
    "split_ratio",
)


def test_daily_bars_are_raw_with_the_action_of_their_day(tmp_path: Path) -> None:
    found = sessions(tmp_path, (SAMPLES / "daily_adjusted.csv").read_bytes())
    assert found.rejected == []
    assert [(row["session_date"], *(row[name] for name in DAILY_COLUMNS)) for row in found.rows] == [
        (dt.date(2026, 11, 16), 119.4, 120.0, 117.3, 119.1, 39.59966666666667, 998000.0, 0.0, 1.0),
        (dt.date(2026, 11, 17), 118.5, 121.2, 117.9, 118.8, 39.6, 1210000.0, 0.301, 1.0),
        (dt.date(2026, 11, 18), 39.6, 40.8, 39.0, 40.02, 40.02, 4100500.0, 0.0, 3.0),
        (dt.date(2026, 11, 19), 40.0, 41.5, 39.75, 41.1, 41.1, 2910700.0, 0.0, 1.0),
        (dt.date(2026, 11, 20), 41.2, 42.05, 40.9, 41.87, 41.87, 3300000.0, 0.0, 1.0),
    ]
    assert set(found.column("price_basis")) == {"raw"}
    assert {row["vwap_usd"] for row in found.rows} == {None}


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("2026-11-17,118.5,121.2,117.9,x,39.6,1210000,0.3010,1.0", "close_usd|dtype"),
        ("2026-11-17,118.5,121.2,117.9,118.8,39.6,1210000,0.3010,1.0,9", "split_ratio|dtype"),
        ("2026-11-17,118.5", "adjusted_close_usd|dtype"),
        ("2026-11-17,118.5,121.2,117.9,118.8,39.6,1210000,0.3010", "split_ratio|dtype"),
        ("2026-11-17,118.5,121.2,117.9,118.8,39.6,1210000", "dividend_usd|dtype"),
        ("2026-11-17,118.5,121.2,117.9,118.8,39.6,1210000,0.3010,", "split_ratio|dtype"),
        ("2026-11-15,118.5,121.2,117.9,118.8,39.6,1210000,0.3010,1.0", "exchange_was_open"),
        ("2026-11-17,118.5,121.2,117.9,118.8,39.6,1210000,0.3010,0", "split_ratio|min"),
        ("2026-11-17,118.5,121.2,117.9,118.8,1e-300,1210000,0.3010,1.0", "adjusted_close_usd|min"),
    ],
)
def test_a_daily_line_that_breaks_a_rule_spares_the_others(tmp_path: Path, line: str, rule: str) -> None:
    lines = (SAMPLES / "daily_adjusted.csv").read_bytes().split(b"\r\n")
    lines[4] = line.encode()
    found = sessions(tmp_path, b"\r\n".join(lines))
    assert [day.isoformat()[-2:] for day in found.column("session_date") if isinstance(day, dt.date)] == [
        "16",
        "18",
        "19",
        "20",
    ]
    assert rule in {name for name, _ in found.rejected}


def test_captured_daily_bars_reach_silver(captured: Path, tmp_path: Path) -> None:
    body = (captured / "alpha_vantage" / "time_series_daily_adjusted" / "IBM-compact-2026-05-15.csv").read_bytes()
    found = sessions(tmp_path, body, "IBM")
    assert (len(found.rows), found.rejected) == (100, [])
    assert {row["session_date"]: row["dividend_usd"] for row in found.rows if row["dividend_usd"]} == {
        dt.date(2026, 2, 10): 1.68,
        dt.date(2026, 5, 8): 1.69,
    }
    assert tuple(found.rows[1][name] for name in ("close_usd", "adjusted_close_usd")) == (303.78, 299.83536210316964)


def test_absent_members_and_absent_values_are_null() -> None:
    request = asked(OVERVIEW)
    members = {
        "Symbol": "IBM",
        "Name": "x",
        "PERatio": "None",
        "PEGRatio": "-",
        "Beta": " ",
        "EBITDA": None,
        "CIK": 51143,
        "Sector": "NONE",
    }
    row = OVERVIEW.parse(json.dumps(members).encode(), request).row(0, named=True)
    assert {row[name] for name in ("pe_ratio", "peg_ratio", "beta", "ebitda", "sector", "dividend_date")} == {None}
    assert (row["name"], row["cik"]) == ("x", "51143")


# Requests


def test_requests_carry_no_key_and_use_the_provider_spelling() -> None:
    weekly, overview, daily = (asked(feed, "BRK.B", spellings=(("alpha_vantage", "BRK-B"),)) for feed in PROVIDER.feeds)
    assert weekly.params == (
        ("function", "TIME_SERIES_WEEKLY_ADJUSTED"),
        ("symbol", "BRK-B"),
        ("datatype", "csv"),
    )
    assert overview.params == (("function", "OVERVIEW"), ("symbol", "BRK-B"))
    assert {weekly.name, overview.symbol, daily.symbol} == {"BRK-B"}
    assert daily.params == (
        ("function", "TIME_SERIES_DAILY_ADJUSTED"),
        ("symbol", "BRK-B"),
        ("outputsize", "compact"),
        ("datatype", "csv"),
    )


def test_the_free_plan_is_what_the_provider_grants() -> None:
    free = PROVIDER.plans["free"]
    assert (free.calls_per_day, free.reset_zone) == (25, "America/New_York")
    assert free.interval_s >= 1
    assert all(plan.calls_per_day is None for name, plan in PROVIDER.plans.items() if name != "free")
    assert PROVIDER.plans["premium-75"].interval_s == pytest.approx(0.8)
    # The daily series is a premium endpoint, so the free plan never asks for it.
    assert DAILY.plans == set(PROVIDER.plans) - {"free"}
    assert WEEKLY.plans is OVERVIEW.plans is None
    assert WEEKLY.asset_classes == {"stock", "etf"}
    assert OVERVIEW.asset_classes == {"stock"}
