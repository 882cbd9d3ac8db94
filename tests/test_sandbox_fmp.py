"""The sandbox's Financial Modeling Prep: shapes as captured, its words, limits and habits."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from market_pipeline.sandbox import fmp as provider
from market_pipeline.sandbox.fmp_bodies import ROW_CAP, capped
from market_pipeline.sandbox.quota import key_label
from sandbox_http import CAPTURED, Ticker, at, client, fmp, needs_captures, set_clock

EOD = "historical-price-eod"
JSON = "application/json; charset=utf-8"


@pytest.fixture(scope="module")
def http() -> TestClient:
    return client()


def rows(http: TestClient, path: str, **params: str) -> list[dict[str, Any]]:
    response = fmp(http, path, **params)
    assert (response.status_code, response.headers["content-type"]) == (200, JSON)
    found: list[dict[str, Any]] = response.json()
    return found


# Shapes


def is_like_a_script_wrote_it(text: str) -> None:
    """Two spaces, and no number that ends in .0."""
    assert text == json.dumps(json.loads(text), indent=2)
    assert not re.search(r"\d\.0+[,\n]", text)


@needs_captures
@pytest.mark.parametrize(
    ("path", "captured"),
    [
        (f"{EOD}/full", "historical-price-eod-full/AAPL-2024-02-22_28.json"),
        (f"{EOD}/light", "historical-price-eod-light/AAPL-2024-02-22_28.json"),
        (f"{EOD}/non-split-adjusted", "historical-price-eod-other/AAPL-non-split-adjusted-across-split.json"),
        (f"{EOD}/dividend-adjusted", "historical-price-eod-other/AAPL-dividend-adjusted-across-split.json"),
        ("profile", "profile/stable-AAPL-2025-02.json"),
        ("dividends", "dividends/stable-AAPL-2024-11_2025-08.json"),
        ("splits", "splits/stable-AAPL-all.json"),
    ],
)
def test_bodies_have_the_shape_of_the_captured_ones(http: TestClient, path: str, captured: str) -> None:
    theirs = (CAPTURED / "fmp" / captured).read_text().rstrip("\n")
    ours = fmp(http, path, symbol="VEXQ").text
    is_like_a_script_wrote_it(ours)
    is_like_a_script_wrote_it(theirs)
    mine, real = json.loads(ours)[0], json.loads(theirs)[0]
    assert list(mine) == list(real)
    for name, value in real.items():
        if not isinstance(value, bool | int | float):
            assert mine[name] is None or isinstance(mine[name], str), name
        elif not isinstance(value, bool):
            assert isinstance(mine[name], int | float), name


def test_a_row_of_the_full_history_is_written_out() -> None:
    """The whole body for one session, from the bar that Alpha Vantage tells for it."""
    http = client()
    params = {"function": "TIME_SERIES_DAILY", "symbol": "TYRQ", "datatype": "csv", "apikey": "KEY"}
    line = http.get("/alpha_vantage/query", params=params).text.splitlines()[1]
    day, opened, high, low, close, volume = line.split(",")
    assert day == "2026-11-20"
    o, h, l, c = (round(float(text) + 1e-9, 2) for text in (opened, high, low, close))  # noqa: E741
    shares = int((int(volume) + 50) // 100 * 100)

    def js(value: float) -> str:
        return str(int(value)) if value == int(value) else repr(value)

    assert fmp(http, f"{EOD}/full", symbol="TYRQ", **{"from": day, "to": day}).text == (
        "[\n  {\n"
        f'    "symbol": "TYRQ",\n    "date": "{day}",\n'
        f'    "open": {js(o)},\n    "high": {js(h)},\n    "low": {js(l)},\n    "close": {js(c)},\n'
        f'    "volume": {shares},\n    "change": {js(round(c - o, 2))},\n'
        f'    "changePercent": {js(round(round(c - o, 2) / o * 100, 5))},\n'
        f'    "vwap": {js(round((o + h + l + c) / 4, 4))}\n'
        "  }\n]"
    )


def test_histories_are_newest_first_and_light_says_the_same_close(http: TestClient) -> None:
    full, light = (rows(http, f"{EOD}/{variant}", symbol="QRVN") for variant in ("full", "light"))
    days = [row["date"] for row in full]
    assert days == sorted(set(days), reverse=True)
    assert [(row["date"], row["price"], row["volume"]) for row in light] == [
        (row["date"], row["close"], row["volume"]) for row in full
    ]


def test_ranges_are_inclusive_and_five_years_by_default(http: TestClient) -> None:
    week = rows(http, f"{EOD}/light", symbol="TYRQ", **{"from": "2026-11-02", "to": "2026-11-06"})
    assert [row["date"][-2:] for row in week] == ["06", "05", "04", "03", "02"]
    known = rows(http, f"{EOD}/light", symbol="TYRQ")
    assert known[0]["date"] == "2026-11-20"
    assert "2021-11-21" <= known[-1]["date"] < "2021-12-01"
    old = rows(http, f"{EOD}/light", symbol="TYRQ", **{"from": "2018-01-01"})
    assert old[-1]["date"] == "2018-01-16"


@pytest.mark.parametrize(
    "params",
    [
        {"symbol": "NOSUCH"},
        {"symbol": "TYRQ,VEXQ"},
        {"symbol": "VQXI"},
        {"symbol": "ZQBK"},
        {"symbol": "TYRQ", "from": "2026-11-06", "to": "2026-11-02"},
        {"symbol": "TYRQ", "from": "2026-11-14", "to": "2026-11-15"},
    ],
)
def test_nothing_to_tell_is_an_empty_array(http: TestClient, params: dict[str, str]) -> None:
    response = fmp(http, f"{EOD}/full", **params)
    assert (response.status_code, response.content, response.headers["content-type"]) == (200, b"[]", JSON)


def test_a_body_has_five_thousand_rows_at_most_and_drops_the_oldest() -> None:
    newest_first = [{"date": str(number)} for number in range(ROW_CAP + 3, 0, -1)]
    assert capped(newest_first) == newest_first[:5000]


def test_split_in_the_three_forms() -> None:
    """4 for 1 on 2026-09-14, and raw rows that miss it until the 16th."""
    http = client()
    span = {"from": "2026-09-10", "to": "2026-09-17"}
    raw, full, both = (
        {row["date"]: row for row in rows(http, f"{EOD}/{variant}", symbol="VEXQ", **span)}
        for variant in ("non-split-adjusted", "full", "dividend-adjusted")
    )
    for day in ("2026-09-10", "2026-09-11", "2026-09-14", "2026-09-15", "2026-09-16"):
        assert full[day]["close"] == pytest.approx(raw[day]["adjClose"] / 4, abs=0.005), day
        assert full[day]["volume"] == 4 * raw[day]["volume"], day
    assert full["2026-09-17"]["close"] == raw["2026-09-17"]["adjClose"]
    assert all(0.95 < both[day]["adjClose"] / full[day]["close"] <= 1 for day in full)
    assert all(100 < row["close"] < 200 for row in full.values())


def test_the_running_session_is_there_with_its_price_so_far() -> None:
    http = client(clock=at("2026-11-18 17:45"))  # New York 12:45, half of the session
    live = rows(http, f"{EOD}/full", symbol="TYRQ")[0]
    set_clock(http, at("2026-11-18 21:00"))
    final = rows(http, f"{EOD}/full", symbol="TYRQ")[0]
    assert live["date"] == final["date"] == "2026-11-18"
    assert live["open"] == final["open"]
    assert live["volume"] == pytest.approx(final["volume"] / 2, abs=100)
    assert final["low"] <= live["low"] <= live["close"] <= live["high"] <= final["high"]
    set_clock(http, at("2026-11-18 14:29"))  # before the opening
    assert rows(http, f"{EOD}/full", symbol="TYRQ")[0]["date"] == "2026-11-17"


def test_profile_of_companies_funds_and_the_delisted(http: TestClient) -> None:
    (company,), (fund,), (gone,) = (rows(http, "profile", symbol=s) for s in ("TYRQ", "MQXT", "EQWX"))
    assert company["companyName"] == "Tyrquist Telecom Inc"
    assert (company["sector"], company["isEtf"], company["isActivelyTrading"]) == (
        "Communication Services",
        False,
        True,
    )
    assert re.fullmatch(r"000\d{7}", company["cik"])
    assert re.fullmatch(r"[\d.]+-[\d.]+", company["range"])
    assert (fund["isEtf"], fund["beta"], fund["fullTimeEmployees"]) == (True, None, None)
    assert (gone["companyName"], gone["isActivelyTrading"]) == ("Eqwix Stores Inc", False)
    overview = {"function": "OVERVIEW", "symbol": "TYRQ", "apikey": "KEY"}
    other = http.get("/alpha_vantage/query", params=overview).json()
    assert int(company["cik"]) == int(other["CIK"])
    assert company["lastDividend"] == pytest.approx(float(other["DividendPerShare"]), abs=0.01)


def test_the_delisted_keep_their_history(http: TestClient) -> None:
    assert rows(http, f"{EOD}/light", symbol="EQWX")[0]["date"] == "2026-10-16"


def test_dividends_are_declared_ahead_and_adjusted_for_splits() -> None:
    http = client(clock=at("2026-09-11 22:00"))  # Friday before the split
    before = {row["date"]: row for row in rows(http, "dividends", symbol="VEXQ")}
    set_clock(http, at("2026-11-06 12:00"))
    after = {row["date"]: row for row in rows(http, "dividends", symbol="VEXQ")}
    assert next(iter(after)) == "2026-11-19"  # declared and still to come
    assert after["2026-11-19"]["declarationDate"] <= "2026-11-06"
    old = "2026-08-19"
    assert before[old]["adjDividend"] == before[old]["dividend"] == after[old]["dividend"]
    assert after[old]["adjDividend"] == after[old]["dividend"] / 4
    assert all(row["declarationDate"] == "" for row in after.values() if row["date"] < "2020")
    assert [row["date"] for row in rows(http, "dividends", symbol="HLQV")] == []


def test_splits_newest_first(http: TestClient) -> None:
    assert fmp(http, "splits", symbol="VEXQ").text == (
        '[\n  {\n    "symbol": "VEXQ",\n    "date": "2026-09-14",\n    "numerator": 4,\n    "denominator": 1,\n'
        '    "splitType": "stock-split"\n  }\n]'
    )


# Words


def test_keys_go_in_the_header_or_in_the_query() -> None:
    http = client(keys=frozenset({"GOOD"}))
    url = "/fmp/stable/splits"
    for response in (http.get(url, params={"symbol": "TYRQ"}), fmp(http, "splits", symbol="TYRQ")):
        assert response.status_code == 401
        assert response.json()["Error Message"].startswith("Invalid API KEY. Feel free to create")
    assert http.get(url, params={"symbol": "VEXQ", "apikey": "GOOD"}).json()
    assert http.get(url, params={"symbol": "VEXQ"}, headers={"apikey": "GOOD"}).json()


def test_paths_that_do_not_exist(http: TestClient) -> None:
    for path in ("historical-price-eod", "historical-price-full", "quote-short"):
        response = fmp(http, path, symbol="TYRQ")
        assert (response.status_code, response.content) == (404, b"[]"), path
    legacy = http.get("/fmp/api/v3/historical-price-full/TYRQ", headers={"apikey": "KEY"})
    assert legacy.status_code == 403
    assert legacy.json()["Error Message"].startswith("Legacy Endpoint : ")


@pytest.mark.parametrize(("params", "missing"), [({}, "symbol"), ({"symbol": "TYRQ", "from": "yesterday"}, "from")])
def test_missing_parameters_are_told_as_text_under_json(http: TestClient, params: dict[str, str], missing: str) -> None:
    response = fmp(http, f"{EOD}/full", **params)
    assert (response.status_code, response.headers["content-type"]) == (400, JSON)
    assert response.text == f"Query Error: Invalid or missing query parameter - {missing}"


@needs_captures
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("bad_key", "401-invalid-key.json"),
        ("premium_symbol", "402-premium-symbol.txt"),
        ("restricted_endpoint", "402-restricted-endpoint.txt"),
        ("legacy_endpoint", "403-legacy-endpoint.json"),
        ("per_day", "429-limit-reach.json"),
        ("per_minute", "429-too-many-requests-discounted-cash-flow_PM.json"),
        ("missing_parameter", "400-missing-parameter.txt"),
        ("not_found", "404-unknown-path.json"),
        ("empty", "200-unknown-symbol.json"),
    ],
)
def test_refusals_are_the_captured_ones(name: str, file: str) -> None:
    answer = provider.message(name)
    assert answer.body == (CAPTURED / "fmp" / "errors" / file).read_bytes().rstrip(b"\n")
    assert answer.status == int(file[:3])


def test_an_error_object_may_come_with_status_200() -> None:
    http = client()
    fault = {"kind": "message", "message": "per_day_200", "provider": "fmp", "endpoint": "profile", "count": 1}
    assert http.put("/_sandbox/faults", json=[fault]).status_code == 200
    assert len(rows(http, f"{EOD}/light", symbol="TYRQ")) > 1000
    response = fmp(http, "profile", symbol="TYRQ")
    assert (response.status_code, list(response.json())) == (200, ["Error Message"])
    assert response.json()["Error Message"].startswith("Limit Reach . ")
    assert len(rows(http, "profile", symbol="TYRQ")) == 1


# Plans


def test_free_plan_gives_250_calls_a_day_and_the_followed_symbols(tmp_path: Path) -> None:
    http = client(plans={"fmp": "free"})
    refused = fmp(http, "profile", symbol="NOSUCH")
    assert (refused.status_code, refused.headers["content-type"]) == (402, JSON)
    assert refused.text.startswith("Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is not")
    for symbol in ("TYRQ", "ZQBK", "VQXI"):
        assert fmp(http, "splits", symbol=symbol).status_code == 200
    for _ in range(246):
        fmp(http, "splits", symbol="TYRQ")
    assert fmp(http, "splits", symbol="TYRQ").status_code == 429
    refused = fmp(http, "splits", symbol="TYRQ")
    assert refused.json()["Error Message"].startswith("Limit Reach . Please upgrade")
    set_clock(http, at("2026-11-22 05:00"))  # midnight in New York
    assert fmp(http, "splits", symbol="TYRQ").status_code == 200
    calls = http.get("/_sandbox/state").json()["providers"]["fmp"]["calls"][key_label("KEY")]
    assert calls == {"today": 1, "total": 251, "refused": {"per_day": 2}}


def test_paid_plans_count_minutes_and_the_header_lies() -> None:
    ticker = Ticker()
    http = client(plans={"fmp": "starter"}, monotonic=ticker)
    for _ in range(300):
        assert fmp(http, "splits", symbol="TYRQ").status_code == 200
    refused = fmp(http, "splits", symbol="TYRQ")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "100")
    assert refused.json()["X-Rate-Limit-Retry-After-Milliseconds"] == 174
    ticker.seconds += 60
    assert fmp(http, "splits", symbol="TYRQ").status_code == 200


def test_unknown_plan_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="free, starter, premium, ultimate, unlimited"):
        client(plans={"fmp": "gold"})


def test_recorded_bodies_are_served_byte_for_byte(tmp_path: Path) -> None:
    shelf = tmp_path / "fmp" / "historical-price-eod-full"
    shelf.mkdir(parents=True)
    (shelf / "AAPL-2024.json").write_bytes(b"[ odd ]")
    http = client(universe=None, recorded=tmp_path)
    assert fmp(http, f"{EOD}/full", symbol="AAPL").content == b"[ odd ]"
    assert fmp(http, f"{EOD}/full", symbol="TYRQ").content == b"[]"


def test_bytes_depend_on_seed_and_clock_only(http: TestClient) -> None:
    asked = {"symbol": "PLVQ", "from": "2026-01-01"}
    body = fmp(http, f"{EOD}/full", **asked).content
    assert fmp(client(), f"{EOD}/full", **asked).content == body
    assert fmp(client(seed=7), f"{EOD}/full", **asked).content != body
    later = client(clock=dt.datetime(2026, 11, 25, tzinfo=dt.UTC))
    assert fmp(later, f"{EOD}/full", **asked).content != body
