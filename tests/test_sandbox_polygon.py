"""The sandbox's Polygon: numbers and envelopes as captured, plans, pages, cursors and their faults."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from market_pipeline.sandbox.__main__ import main
from market_pipeline.sandbox.market import Market
from market_pipeline.sandbox.polygon import Polygon
from market_pipeline.sandbox.polygon_bodies import fraction, go_text
from market_pipeline.sandbox.provider import Call
from sandbox_http import (
    CAPTURED,
    NOW,
    ROSTER,
    SEEDS,
    Ticker,
    at,
    client,
    grouped,
    needs_captures,
    pages,
    polygon,
    set_clock,
)

GROUPED = "/v2/aggs/grouped/locale/us/market/stocks"
TICKERS = "/v3/reference/tickers"
DIVIDENDS = "/v3/reference/dividends"
SPLITS = "/v3/reference/splits"


@pytest.fixture(scope="module")
def http() -> TestClient:
    return client()


def without_request_id(body: bytes) -> bytes:
    return re.sub(rb'"request_id":"[0-9a-f]{32}"', b"", body)


# Numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (18.0, "18"),
        (0.5, "0.5"),
        (130.28, "130.28"),
        (259249.0, "259249"),
        (25933.6, "25933.6"),
        (999999.0, "999999"),
        (1000000.0, "1e+06"),
        (1234567.5, "1.2345675e+06"),
        (18338786.0, "1.8338786e+07"),
        (89100633.0, "8.9100633e+07"),
        (112117471.0, "1.12117471e+08"),
        (1230000000.0, "1.23e+09"),
    ],
)
def test_numbers_are_written_as_go_writes_them(value: float, text: str) -> None:
    assert go_text(value) == text
    assert float(text) == value


@pytest.mark.parametrize(
    ("ratio", "shares"),
    [(4.0, (1, 4)), (1.5, (2, 3)), (1.25, (4, 5)), (0.1, (10, 1)), (0.05, (20, 1)), (1.1, (1, 1.1))],
)
def test_ratios_as_old_and_new_shares(ratio: float, shares: tuple[float, float]) -> None:
    assert fraction(ratio) == shares


# Aggregates


def test_a_session_of_the_whole_market(http: TestClient) -> None:
    response = polygon(http, f"{GROUPED}/2026-11-20", adjusted="false")
    body, text = response.json(), response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == body["request_id"]
    count = len(body["results"])
    assert list(body) == ["queryCount", "resultsCount", "adjusted", "results", "status", "request_id", "count"]
    assert (body["queryCount"], body["resultsCount"], body["count"], body["status"]) == (count, count, count, "OK")
    assert body["adjusted"] is False
    assert 0.9 * ROSTER < count < ROSTER + 40
    assert " " not in text
    assert not re.search(r"\.0[,}]", text)
    close = int(dt.datetime(2026, 11, 20, 21, tzinfo=dt.UTC).timestamp() * 1000)
    assert {row["t"] for row in body["results"]} == {close}
    volumes = re.findall(r'"v":([^,]+),', text)
    assert all(("e+0" in volume) == (float(volume) >= 1e6) for volume in volumes)
    assert any("e+0" in volume for volume in volumes)
    assert any("." in volume and "e" not in volume for volume in volumes)  # fractions of shares
    for row in body["results"]:
        assert list(row) == ["T", "v", "vw", "o", "c", "h", "l", "t", "n"]
        assert row["l"] <= min(row["o"], row["c"], row["vw"])
        assert row["h"] >= max(row["o"], row["c"], row["vw"])
        assert row["n"] >= 1
    assert [row["T"] for row in body["results"]] != sorted(row["T"] for row in body["results"])


@needs_captures
def test_rows_have_the_members_of_the_captured_ones(http: TestClient) -> None:
    name = "mock-v2_aggs_grouped_locale_us_market_stocks_2005-04-04&adjusted=true.json"
    theirs = json.loads((CAPTURED / "polygon" / "grouped_daily" / name).read_text())
    ours = polygon(http, f"{GROUPED}/2026-11-20").json()
    assert list(ours) == list(theirs)
    assert list(ours["results"][0]) == list(theirs["results"][0])
    captured = (CAPTURED / "polygon/aggs_range/AAPL-1day-2023-01-03_10-recorded-2024-06-27.json").read_text()
    ours_text = polygon(http, "/v2/aggs/ticker/VEXQ/range/1/day/2026-09-08/2026-09-15").text
    assert list(json.loads(ours_text)) == list(json.loads(captured))
    row = r'\{"v":[\d.]+e\+0\d,"vw":[\d.]+,"o":[\d.]+,"c":[\d.]+,"h":[\d.]+,"l":[\d.]+,"t":\d{13},"n":\d+\}'
    for text in (ours_text, captured.rstrip("\n")):
        assert re.fullmatch(
            rf'\{{"ticker":"[A-Z]+","queryCount":6,"resultsCount":6,"adjusted":true,"results":\[({row},?){{6}}\],'
            r'"status":"OK","request_id":"[0-9a-f]{32}","count":6\}',
            text,
        )


def test_half_days_end_at_one(http: TestClient) -> None:
    rows = grouped(http, "2025-11-28")
    assert {row["t"] for row in rows} == {int(dt.datetime(2025, 11, 28, 18, tzinfo=dt.UTC).timestamp() * 1000)}


@pytest.mark.parametrize("day", ["2026-11-14", "2026-09-07", "2026-11-21"])
def test_closed_days_have_no_results(http: TestClient, day: str) -> None:
    body = polygon(http, f"{GROUPED}/{day}").text
    assert re.fullmatch(
        r'\{"queryCount":0,"resultsCount":0,"adjusted":true,"status":"OK","request_id":"[0-9a-f]{32}"\}', body
    )


def test_range_bars_begin_at_midnight_in_new_york(http: TestClient) -> None:
    """The instants are those of captured bars: 2025-03-07 is in winter time, 2025-03-10 in summer time."""
    body = polygon(http, "/v2/aggs/ticker/TYRQ/range/1/day/2025-03-07/2025-03-10").json()
    assert [row["t"] for row in body["results"]] == [1741323600000, 1741579200000]
    reverse = polygon(http, "/v2/aggs/ticker/TYRQ/range/1/day/2025-03-07/2025-03-10", sort="desc").json()
    assert reverse["results"] == body["results"][::-1]
    nobody = polygon(http, "/v2/aggs/ticker/NOSUCH/range/1/day/2025-03-07/2025-03-10").json()
    assert (nobody["resultsCount"], "results" in nobody) == (0, False)


def test_range_and_grouped_agree(http: TestClient) -> None:
    day = "2026-11-12"
    session = {row["T"]: row for row in grouped(http, day, adjusted="true")}
    for ticker in itertools.islice(sorted(session), 0, None, 17):
        (row,) = polygon(http, f"/v2/aggs/ticker/{ticker}/range/1/day/{day}/{day}").json()["results"]
        ours = {name: value for name, value in session[ticker].items() if name not in ("T", "t")}
        assert {name: value for name, value in row.items() if name != "t"} == ours, ticker


def test_adjusted_is_for_splits_as_of_the_request() -> None:
    http = client(clock=at("2026-09-11 22:00"))

    def bar(adjusted: str) -> dict[str, Any]:
        return next(row for row in grouped(http, "2026-09-10", adjusted=adjusted) if row["T"] == "VEXQ")

    before = bar("true")
    assert before == bar("false")
    set_clock(http, at("2026-09-14 21:00"))
    after, raw = bar("true"), bar("false")
    assert raw == before
    for name in ("o", "h", "l", "c", "vw"):
        assert after[name] == pytest.approx(raw[name] / 4, abs=5.1e-5), name
    assert after["v"] == raw["v"] * 4
    (told,) = (r for r in pages(http, SPLITS, ticker="VEXQ")[0] if r["execution_date"] == "2026-09-14")
    assert (told["split_from"], told["split_to"]) == (1, 4)


def test_request_ids_differ_and_nothing_else_does(http: TestClient) -> None:
    one, two = (polygon(http, f"{GROUPED}/2026-11-19").content for _ in range(2))
    assert one != two
    assert without_request_id(one) == without_request_id(two)


def test_bytes_depend_on_seed_and_clock_and_not_on_the_order_of_calls(http: TestClient) -> None:
    days = ["2026-11-20", "2019-03-01", "2026-11-19", "2018-01-02", "2024-02-29"]
    forward = {day: without_request_id(polygon(client(), f"{GROUPED}/{day}").content) for day in days}
    other = client()
    backward = {day: without_request_id(polygon(other, f"{GROUPED}/{day}").content) for day in reversed(days)}
    assert forward == backward
    assert without_request_id(polygon(client(seed=7), f"{GROUPED}/2026-11-20").content) != forward["2026-11-20"]


# Plans and words


def test_days_to_come_and_today_before_the_close_are_outside_every_plan() -> None:
    http = client(clock=at("2026-11-18 20:59:59"))
    for day in ("2026-11-18", "2026-11-19", "2027-01-04"):
        response = polygon(http, f"{GROUPED}/{day}")
        assert response.status_code == 403
        assert response.json()["status"] == "NOT_AUTHORIZED"
        assert "doesn't include this data timeframe" in response.json()["message"]
    set_clock(http, at("2026-11-18 21:00"))
    assert len(grouped(http, "2026-11-18")) > 300


def test_basic_plan_gives_two_years_and_five_calls_a_minute() -> None:
    ticker = Ticker()
    http = client(plans={"polygon": "basic"}, monotonic=ticker)
    assert "timeframe" in polygon(http, f"{GROUPED}/2024-11-20").json()["message"]
    assert grouped(http, "2024-11-22")
    for _ in range(3):
        assert polygon(http, TICKERS).status_code == 200
    refused = polygon(http, TICKERS)
    assert (refused.status_code, refused.json()["status"]) == (429, "ERROR")
    assert refused.json()["error"].startswith("You've exceeded the maximum requests per minute, please wait")
    assert "retry-after" not in refused.headers
    ticker.seconds += 60
    assert polygon(http, TICKERS).status_code == 200


def test_delayed_plans_say_so() -> None:
    http = client(plans={"polygon": "starter"})
    assert polygon(http, f"{GROUPED}/2026-11-20").json()["status"] == "DELAYED"
    assert "timeframe" in polygon(http, f"{GROUPED}/2021-11-19").json()["message"]
    with pytest.raises(ValueError, match="basic, starter, developer, advanced, unlimited"):
        client(plans={"polygon": "gold"})


def test_keys_go_in_the_header_or_in_the_query() -> None:
    http = client(keys=frozenset({"GOOD"}))
    assert http.get(f"/polygon{TICKERS}").status_code == 401
    assert http.get(f"/polygon{TICKERS}").json()["error"] == "API Key was not provided"
    assert polygon(http, TICKERS).json()["error"] == "Unknown API Key"
    assert http.get(f"/polygon{TICKERS}", params={"apiKey": "GOOD"}).status_code == 200
    assert http.get(f"/polygon{TICKERS}", headers={"Authorization": "Bearer GOOD"}).status_code == 200


def test_paths_and_parameters_that_do_not_exist(http: TestClient) -> None:
    lost = polygon(http, "/v9/nothing")
    assert (lost.status_code, lost.text) == (404, "404 page not found\n")
    assert lost.headers["content-type"].startswith("text/plain")
    for path, params in (
        (f"{GROUPED}/yesterday", {}),
        (TICKERS, {"limit": "1001"}),
        (TICKERS, {"limit": "0"}),
        (TICKERS, {"date": "x"}),
        (TICKERS, {"cursor": "%%%"}),
        (DIVIDENDS, {"ex_dividend_date.gte": "x"}),
        (DIVIDENDS, {"ex_dividend_date.near": "2026-01-01"}),
        (SPLITS, {"sort": "colour"}),
    ):
        response = polygon(http, path, **params)
        assert (response.status_code, response.json()["status"]) == (400, "ERROR"), path
        assert response.json()["error"].startswith("Could not parse")


@needs_captures
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("bad_key", "401-unknown-key"),
        ("not_authorized", "403-not-authorized"),
        ("ticker_not_found", "404-ticker-not-found"),
        ("per_minute", "429-rate-limited"),
    ],
)
def test_refusals_are_the_captured_ones(name: str, file: str) -> None:
    captured = (CAPTURED / "polygon" / "errors" / f"{file}.json").read_bytes().rstrip(b"\n")
    answer = Polygon(None).message(name, Call(""))
    assert without_request_id(answer.body) == without_request_id(captured)
    assert answer.status == int(file[:3])


# Accounts of all providers


def test_state_counts_every_provider_alone() -> None:
    http = client(plan="free", plans={"polygon": "basic"})
    polygon(http, f"{GROUPED}/2026-11-20")
    http.get("/fmp/stable/splits", params={"symbol": "VEXQ", "apikey": "KEY"})
    http.get("/fmp/stable/splits", params={"symbol": "TYRQ", "apikey": "KEY"})
    state = http.get("/_sandbox/state").json()
    told = {name: (p["plan"], p["answered"], len(p["calls"])) for name, p in state["providers"].items()}
    assert told == {"alpha_vantage": ("free", 0, 0), "fmp": ("unlimited", 2, 1), "polygon": ("basic", 1, 1)}
    assert {(a["endpoint"], a["symbol"], a["outcome"]) for a in state["answers"]} == {
        ("grouped_daily", "2026-11-20", "data"),
        ("splits", "VEXQ", "data"),
        ("splits", "TYRQ", "empty"),
    }


def test_plans_of_unknown_providers_are_refused() -> None:
    with pytest.raises(ValueError, match="No provider yahoo"):
        client(plans={"yahoo": "free"})


def test_recorded_bodies_are_served_byte_for_byte(tmp_path: Path) -> None:
    shelf = tmp_path / "polygon" / "grouped_daily"
    shelf.mkdir(parents=True)
    (shelf / "2005-04-04-mock.json").write_bytes(b'{"odd":1}')
    http = client(universe=None, recorded=tmp_path)
    assert polygon(http, f"{GROUPED}/2005-04-04").content == b'{"odd":1}'
    assert polygon(http, f"{GROUPED}/2005-04-05").status_code == 404


@pytest.mark.parametrize("size", [-1, 15_001])
def test_the_roster_has_a_size_that_there_are_names_for(size: int) -> None:
    with pytest.raises(ValueError, match="0 to 15000 tickers"):
        client(roster_size=size)
    assert len(Market.load(SEEDS, roster_size=15_000).whole(NOW).tickers) > 18_000


def test_a_market_without_a_roster_has_the_members_alone() -> None:
    http = client(roster_size=0)
    assert {row["T"] for row in grouped(http, "2026-11-12")} <= set(Market.load(SEEDS).symbols(NOW))
    assert len(grouped(http, "2026-11-12")) >= 28
    assert len(pages(http, "/v3/reference/tickers", limit="1000")[0]) == 29
    assert pages(http, "/v3/reference/splits", ticker="VEXQ")[0][0]["execution_date"] == "2026-09-14"


def test_plans_are_given_on_the_command_line() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "market_pipeline.sandbox", "--universe", str(SEEDS), "--port", str(port)]
    command += ["--plan", "premium-75", "--plan", "fmp=free", "--roster-size", "20"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            state = None
            for _ in range(300):
                with contextlib.suppress(httpx2.TransportError):
                    state = httpx2.get(f"http://127.0.0.1:{port}/_sandbox/state").json()
                    break
                time.sleep(0.1)
        finally:
            process.terminate()
    assert state is not None
    plans = {name: provider["plan"] for name, provider in state["providers"].items()}
    assert plans == {"alpha_vantage": "premium-75", "fmp": "free", "polygon": "unlimited"}


@pytest.mark.parametrize(
    ("plan", "told"), [("gold", "of alpha_vantage"), ("fmp=gold", "of fmp"), ("yahoo=free", "No provider yahoo")]
)
def test_wrong_plans_are_told_on_the_command_line(plan: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--universe", str(SEEDS), "--plan", plan])
    assert told in capsys.readouterr().err
