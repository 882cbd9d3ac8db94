"""The sandbox's Polygon: the endpoints with pages, their filters and cursors, and faults of single pages."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient

from market_pipeline.sandbox.app import SandboxConfig, running
from sandbox_http import CAPTURED, NOW, SEEDS, at, client, grouped, needs_captures, pages, polygon, set_clock

TICKERS = "/v3/reference/tickers"
DIVIDENDS = "/v3/reference/dividends"
SPLITS = "/v3/reference/splits"


@pytest.fixture(scope="module")
def http() -> TestClient:
    return client()


# Tickers


def test_rows_of_the_roster(http: TestClient) -> None:
    found = {row["ticker"]: row for page in pages(http, TICKERS, limit="1000") for row in page}
    row = found["VEXQ"]
    assert list(row) == [
        "ticker",
        "name",
        "market",
        "locale",
        "primary_exchange",
        "type",
        "active",
        "currency_name",
        "cik",
        "composite_figi",
        "share_class_figi",
        "last_updated_utc",
    ]
    assert (row["name"], row["primary_exchange"], row["type"]) == ("Vexquill Devices Inc", "XNAS", "CS")
    assert re.fullmatch(r"000\d{7}", row["cik"])
    assert re.fullmatch(r"BBG00[0-9A-Z]{7}", row["composite_figi"])
    assert re.fullmatch(r"BBG001[0-9A-Z]{6}", row["share_class_figi"])
    assert all(re.fullmatch(r"2026-11-21T07:06:20\.\d{0,8}[1-9]Z", r["last_updated_utc"]) for r in found.values())
    assert found["MQXT"]["type"] == "ETF"
    assert not {"ZQBK", "EQWX", "VQXI"} & set(found)
    assert {"OXQN"} <= set(found)
    kinds = {r["type"] for r in found.values()}
    assert kinds == {"CS", "ETF", "ADRC", "PFD", "WARRANT", "UNIT"}
    assert any(re.fullmatch(r"[A-Z]+p[A-Z]", ticker) for ticker in found)
    assert all("composite_figi" not in r for r in found.values() if r["type"] in ("WARRANT", "UNIT"))


@needs_captures
def test_rows_have_the_members_of_captured_ones(http: TestClient) -> None:
    captured = json.loads((CAPTURED / "polygon/reference_tickers/mock-v3_reference_tickers.json").read_text())
    ours = polygon(http, TICKERS, limit="5").json()
    assert list(ours) == list(captured)
    allowed = list(next(row for row in captured["results"] if "cik" in row and "composite_figi" in row))
    for row in ours["results"]:
        assert list(row) == [name for name in allowed if name in row]


def test_pages_are_complete_in_order_and_without_repetition(http: TestClient) -> None:
    for active in ("true", "false"):
        whole = pages(http, TICKERS, active=active, limit="1000")
        assert len(whole) == 1
        parts = pages(http, TICKERS, active=active, limit="7")
        assert [row for part in parts for row in part] == whole[0]
        assert {len(part) for part in parts[:-1]} == {7}
        assert 1 <= len(parts[-1]) <= 7
        tickers = [row["ticker"] for row in whole[0]]
        assert tickers == sorted(tickers)
        assert all(row["active"] is (active == "true") for row in whole[0])


def test_descending_pages_are_the_ascending_ones_reversed(http: TestClient) -> None:
    down = [row["ticker"] for part in pages(http, TICKERS, order="desc", limit="60") for row in part]
    up = [row["ticker"] for part in pages(http, TICKERS, limit="60") for row in part]
    assert down == up[::-1]


def test_the_next_address_is_on_the_host_as_called_and_holds_no_key() -> None:
    with running(SandboxConfig(universe=SEEDS, clock=NOW, roster_size=50)) as url:
        called = url.replace("127.0.0.1", "localhost")
        response = httpx2.get(f"{called}/polygon{TICKERS}", params={"limit": "20", "apiKey": "CANARYKEY"})
        following = response.json()["next_url"]
        assert following.startswith(f"{called}/polygon{TICKERS}?cursor=")
        assert (
            "CANARYKEY"
            not in base64.urlsafe_b64decode(parse_qs(urlsplit(following).query)["cursor"][0] + "==").decode()
        )
        assert httpx2.get(following).status_code == 401
        page = httpx2.get(following, headers={"Authorization": "Bearer CANARYKEY"}).json()
        assert page["results"][0]["ticker"] > response.json()["results"][-1]["ticker"]


def test_a_cursor_is_a_query_in_base64(http: TestClient) -> None:
    following = polygon(http, TICKERS, limit="2", market="stocks").json()["next_url"]
    (cursor,) = parse_qs(urlsplit(following).query)["cursor"]
    assert "=" not in cursor
    text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    assert re.fullmatch(
        r"active=true&date=2026-11-21&limit=2&market=stocks&order=asc&page_marker=[A-Za-z.]+%7C[0-9a-f]{64}&sort=ticker",
        text,
    )


def test_the_default_page_has_100_tickers_and_10_actions(http: TestClient) -> None:
    assert polygon(http, TICKERS).json()["count"] == len(polygon(http, TICKERS).json()["results"]) == 100
    for path in (DIVIDENDS, SPLITS):
        body = polygon(http, path).json()
        assert len(body["results"]) == 10
        assert list(body) == ["results", "status", "request_id", "next_url"]


def test_filters_of_tickers(http: TestClient) -> None:
    assert [r["ticker"] for r in pages(http, TICKERS, ticker="VEXQ")[0]] == ["VEXQ"]
    assert pages(http, TICKERS, ticker="vexq") == [[]]
    assert {r["type"] for r in pages(http, TICKERS, type="ETF", limit="1000")[0]} == {"ETF"}
    between = [r["ticker"] for r in pages(http, TICKERS, limit="1000", **{"ticker.gte": "M", "ticker.lt": "N"})[0]]
    assert between
    assert all(ticker.startswith("M") for ticker in between)
    assert pages(http, TICKERS, market="crypto") == [[]]
    assert [r["ticker"] for r in pages(http, TICKERS, search="vexquill")[0]] == ["VEXQ"]


def test_the_roster_of_a_day_has_who_was_listed_then(http: TestClient) -> None:
    def named(day: str) -> set[str]:
        return {row["ticker"] for row in pages(http, TICKERS, date=day, limit="1000")[0]}

    assert {"ZQBK", "EQWX"} <= named("2026-10-02")
    assert not {"OXQN"} & named("2026-10-02")
    assert "NQTR" not in named("2026-05-13")
    assert "NQTR" in named("2026-05-14")


def test_the_delisted_have_a_date(http: TestClient) -> None:
    found = pages(http, TICKERS, active="false", limit="1000")[0]
    row = next(row for row in found if row["ticker"] == "EQWX")
    assert (row["delisted_utc"], row["active"]) == ("2026-10-17T00:00:00Z", False)
    assert list(row)[-2:] == ["last_updated_utc", "delisted_utc"]
    old = [r for r in found if r["delisted_utc"] < "2023"]
    assert old
    assert {r["delisted_utc"][10:] for r in old} == {"T04:00:00Z", "T05:00:00Z"}
    assert all(r["last_updated_utc"].endswith("T00:00:00Z") for r in old)


# Dividends, splits, events


def test_dividends_by_month_are_complete_and_descending(http: TestClient) -> None:
    month = {"ex_dividend_date.gte": "2026-08-01", "ex_dividend_date.lt": "2026-09-01"}
    whole = [row for page in pages(http, DIVIDENDS, limit="1000", **month) for row in page]
    parts = [row for page in pages(http, DIVIDENDS, limit="13", **month) for row in page]
    assert parts == whole
    assert len({row["id"] for row in whole}) == len(whole) > 13
    days = [row["ex_dividend_date"] for row in whole]
    assert days == sorted(days, reverse=True)
    assert all("2026-08-01" <= day < "2026-09-01" for day in days)
    up = [row for page in pages(http, DIVIDENDS, limit="13", order="asc", **month) for row in page]
    assert up == whole[::-1]


def test_rows_of_dividends(http: TestClient) -> None:
    (row,) = pages(http, DIVIDENDS, ticker="VEXQ", ex_dividend_date="2026-11-19")[0]
    assert list(row) == [
        "cash_amount",
        "currency",
        "declaration_date",
        "dividend_type",
        "ex_dividend_date",
        "frequency",
        "id",
        "pay_date",
        "record_date",
        "ticker",
    ]
    assert re.fullmatch(r"E[0-9a-f]{64}", row["id"])
    assert (row["dividend_type"], row["frequency"], row["record_date"]) == ("CD", 4, "2026-11-19")
    assert row["pay_date"] == "2026-12-22"


@needs_captures
@pytest.mark.parametrize(
    ("path", "captured"),
    [
        (DIVIDENDS, "dividends/mock-v3_reference_dividends.json"),
        (SPLITS, "splits/mock-v3_reference_splits.json"),
    ],
)
def test_actions_have_the_members_of_captured_ones(http: TestClient, path: str, captured: str) -> None:
    theirs = json.loads((CAPTURED / "polygon" / captured).read_text())
    ours = polygon(http, path).json()
    newer = {"id", "currency"}  # the captures are older
    assert [name for name in ours["results"][0] if name not in newer] == list(theirs["results"][0])
    assert list(theirs)[:3] == list(ours)[:3]


def test_future_dividends_come_first_and_none_is_told_before_it_is_declared() -> None:
    http = client(clock=at("2026-11-06 12:00"))
    newest = polygon(http, DIVIDENDS).json()["results"]
    assert newest[0]["ex_dividend_date"] > "2026-11-06"
    (row,) = pages(http, DIVIDENDS, ticker="VEXQ", **{"ex_dividend_date.gt": "2026-11-06"})[0]
    assert row["declaration_date"] <= "2026-11-06"
    day_before = dt.datetime.fromisoformat(row["declaration_date"] + "T04:00:00+00:00")
    set_clock(http, day_before)
    assert pages(http, DIVIDENDS, ticker="VEXQ", **{"ex_dividend_date.gt": "2026-11-06"}) == [[]]


def test_one_ex_date_has_a_regular_and_a_special_dividend(http: TestClient) -> None:
    rows = pages(http, DIVIDENDS, ticker="PLVQ", ex_dividend_date="2026-07-20")[0]
    assert [(r["dividend_type"], r["frequency"]) for r in rows] == [("CD", 4), ("SC", 0)]
    params = {"function": "TIME_SERIES_DAILY_ADJUSTED", "symbol": "PLVQ", "outputsize": "full", "apikey": "KEY"}
    series = http.get("/alpha_vantage/query", params=params).json()["Time Series (Daily)"]
    assert float(series["2026-07-20"]["7. dividend amount"]) == pytest.approx(sum(r["cash_amount"] for r in rows))
    listed = http.get("/fmp/stable/dividends", params={"symbol": "PLVQ", "apikey": "KEY"}).json()
    same = [r["dividend"] for r in listed if r["date"] == "2026-07-20"]
    assert same == [rows[1]["cash_amount"], rows[0]["cash_amount"]]


def test_life_of_a_renamed_member(http: TestClient) -> None:
    body = polygon(http, "/vX/reference/tickers/OXQN/events")
    assert re.sub(r"BBG00\w{7}|000\d{7}|[0-9a-f]{32}", "*", body.text) == (
        '{"results":{"name":"Oxaqun Voyages Inc","composite_figi":"*","cik":"*","events":['
        '{"ticker_change":{"ticker":"OXQN"},"type":"ticker_change","date":"2026-10-05"},'
        '{"ticker_change":{"ticker":"ZQBK"},"type":"ticker_change","date":"2018-10-03"}'
        ']},"status":"OK","request_id":"*"}'
    )
    figi = body.json()["results"]["composite_figi"]
    assert polygon(http, f"/vX/reference/tickers/{figi}/events").json()["results"] == body.json()["results"]
    lost = polygon(http, "/vX/reference/tickers/ZQBK/events")
    assert (lost.status_code, lost.json()["message"]) == (404, "Ticker not found.")


def test_a_rename_moves_the_bars_and_keeps_the_identity() -> None:
    http = client(clock=at("2026-10-05 21:00"))
    friday, monday = ({row["T"] for row in grouped(http, day)} for day in ("2026-10-02", "2026-10-05"))
    assert friday & {"ZQBK", "OXQN"} == {"ZQBK"}
    assert monday & {"ZQBK", "OXQN"} == {"OXQN"}
    (now,) = pages(http, TICKERS, ticker="OXQN")[0]
    (then,) = pages(http, TICKERS, ticker="ZQBK", date="2026-10-02")[0]
    assert now["composite_figi"] == then["composite_figi"]
    assert (then["name"], now["name"]) == ("Zaqbook Travel Inc", "Oxaqun Voyages Inc")


# Faults


def with_faults(http: TestClient, *faults: dict[str, object]) -> None:
    assert http.put("/_sandbox/faults", json=list(faults)).status_code == 200


def test_one_page_of_a_chain_may_fail() -> None:
    http = client()
    with_faults(
        http, {"kind": "status", "status": 503, "provider": "polygon", "endpoint": "tickers", "page": 3, "count": 1}
    )
    url, seen, statuses = f"/polygon{TICKERS}?limit=100", [], []
    while url:
        response = http.get(url, headers={"Authorization": "Bearer KEY"})
        statuses.append(response.status_code)
        if response.status_code == 503:
            continue
        seen += [row["ticker"] for row in response.json()["results"]]
        url = response.json().get("next_url", "")
    assert statuses[:4] == [200, 200, 503, 200]
    assert seen == [row["ticker"] for row in pages(http, TICKERS, limit="1000")[0]]


def test_some_symbols_may_be_refused() -> None:
    http = client()
    with_faults(
        http,
        {"kind": "message", "message": "ticker_not_found", "endpoint": "ticker_events", "symbol": "[ABC]*"},
        {"kind": "message", "message": "premium_symbol", "provider": "fmp", "symbol": "TYRQ"},
    )
    statuses = {s: polygon(http, f"/vX/reference/tickers/{s}/events").status_code for s in ("AQTZ", "CQXT", "VEXQ")}
    assert statuses == {"AQTZ": 404, "CQXT": 404, "VEXQ": 200}
    assert polygon(http, "/vX/reference/tickers/TYRQ/events").status_code == 200
    answers = http.get("/_sandbox/state").json()["answers"]
    assert {(a["provider"], a["symbol"], a["outcome"]) for a in answers} >= {
        ("polygon", "AQTZ", "ticker_not_found"),
        ("polygon", "VEXQ", "data"),
    }


@pytest.mark.parametrize(
    ("name", "status", "word"),
    [
        ("not_authorized_200", 200, "NOT_AUTHORIZED"),
        ("cursor_expired", 400, "ERROR"),
        ("timeframe", 403, "NOT_AUTHORIZED"),
    ],
)
def test_refusals_on_demand(http: TestClient, name: str, status: int, word: str) -> None:
    with_faults(http, {"kind": "message", "message": name, "provider": "polygon", "count": 1})
    response = polygon(http, TICKERS)
    assert (response.status_code, response.json()["status"]) == (status, word)
    assert polygon(http, TICKERS).status_code == 200


def test_429_may_be_empty(http: TestClient) -> None:
    with_faults(http, {"kind": "message", "message": "empty_429", "provider": "polygon", "count": 1})
    response = polygon(http, TICKERS)
    assert (response.status_code, response.content) == (429, b"")


def test_a_cursor_may_lead_back_or_away(http: TestClient) -> None:
    second = polygon(http, TICKERS, limit="100").json()["next_url"]
    with_faults(http, {"kind": "repeated_cursor", "page": 2, "count": 1})
    headers = {"Authorization": "Bearer KEY"}
    page = http.get(second, headers=headers).json()
    assert page["next_url"] == second
    assert http.get(second, headers=headers).json()["next_url"] != second
    with_faults(http, {"kind": "foreign_host", "endpoint": "tickers", "count": 1})
    away = polygon(http, TICKERS, limit="100").json()["next_url"]
    assert urlsplit(away).hostname == "api.elsewhere.example"
    assert urlsplit(away).query == urlsplit(second).query
