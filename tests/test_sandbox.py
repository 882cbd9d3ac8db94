"""The sandbox's API: shapes, words, limits, faults and captured bodies, over a real socket where that matters."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from market_pipeline.sandbox import alpha_vantage
from market_pipeline.sandbox.app import SandboxConfig, create_app, running
from market_pipeline.sandbox.faults import Fault
from market_pipeline.sandbox.market import Market
from market_pipeline.sandbox.quota import key_label

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "dbt" / "seeds"
SAMPLES = Path(__file__).parent / "payloads" / "alpha_vantage"
CAPTURED = ROOT.parent / "shared" / "payloads"
NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
WEEKLY = {"function": "TIME_SERIES_WEEKLY_ADJUSTED", "symbol": "TYRQ", "datatype": "csv", "apikey": "KEY"}
OVERVIEW = {"function": "OVERVIEW", "symbol": "TYRQ", "apikey": "KEY"}
CSV_LINE = re.compile(r"\d{4}-\d\d-\d\d(,\d+\.\d{4}){5},\d+,\d+\.\d{4}\Z")

needs_captures = pytest.mark.skipif(
    not (CAPTURED / "alpha_vantage").is_dir(), reason="captured payloads are not beside this clone"
)


class Ticker:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def client(**settings: Any) -> TestClient:
    given = {"universe": SEEDS, "clock": NOW, "plan": "unlimited", **settings}
    return TestClient(create_app(SandboxConfig(**given)))


@pytest.fixture(scope="module")
def plain() -> TestClient:
    return client()


@pytest.fixture(scope="module")
def served() -> Iterator[httpx2.Client]:
    config = SandboxConfig(universe=SEEDS, clock=NOW, plan="unlimited")
    with running(config) as url, httpx2.Client(base_url=url) as http:
        yield http


def ask(http: Any, params: dict[str, str], **changes: str) -> Any:
    return http.get("/alpha_vantage/query", params={**params, **changes})


def told(response: Any) -> str:
    """The one text of an error body."""
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    (text,) = response.json().values()
    assert isinstance(text, str)
    return text


# Shapes


def is_weekly_csv(body: bytes, *, newline: str) -> None:
    lines = body.decode().split(newline)
    assert lines[0] == "timestamp,open,high,low,close,adjusted close,volume,dividend amount"
    assert lines[-1] == ""
    assert all(CSV_LINE.match(line) for line in lines[1:-1])
    days = [line[:10] for line in lines[1:-1]]
    assert days == sorted(days, reverse=True)
    assert len(days) > 3


def test_weekly_csv_has_the_shape_of_our_sample(plain: TestClient) -> None:
    is_weekly_csv((SAMPLES / "weekly_adjusted.csv").read_bytes(), newline="\r\n")
    response = ask(plain, WEEKLY)
    is_weekly_csv(response.content, newline="\r\n")
    assert response.headers["content-type"] == "application/x-download"
    assert response.headers["content-disposition"] == "attachment; filename=weekly_adjusted_TYRQ.csv"


@needs_captures
def test_weekly_csv_has_the_shape_of_the_captured_body() -> None:
    folder = CAPTURED / "alpha_vantage" / "time_series_weekly_adjusted"
    is_weekly_csv((folder / "IBM-full-1999-2026.csv").read_bytes(), newline="\n")  # stored with LF, see providers 1.2


def test_weekly_json_says_what_the_csv_says(plain: TestClient) -> None:
    body = ask(plain, WEEKLY, datatype="json").json()
    assert body["Meta Data"] == {
        "1. Information": "Weekly Adjusted Prices and Volumes",
        "2. Symbol": "TYRQ",
        "3. Last Refreshed": "2026-11-20",
        "4. Time Zone": "US/Eastern",
    }
    rows = list(csv.reader(io.StringIO(ask(plain, WEEKLY).text)))[1:]
    series = body["Weekly Adjusted Time Series"]
    assert [[day, *values.values()] for day, values in series.items()] == rows
    assert list(next(iter(series.values()))) == [
        "1. open",
        "2. high",
        "3. low",
        "4. close",
        "5. adjusted close",
        "6. volume",
        "7. dividend amount",
    ]


@needs_captures
def test_weekly_json_has_the_shape_of_the_captured_body(plain: TestClient) -> None:
    folder = CAPTURED / "alpha_vantage" / "time_series_weekly_adjusted"
    captured = json.loads((folder / "crazzyghost-trimmed.json").read_text())
    body = ask(plain, WEEKLY, datatype="json").json()
    assert list(body) == list(captured)
    assert list(body["Meta Data"]) == list(captured["Meta Data"])
    ours, theirs = (next(iter(b["Weekly Adjusted Time Series"].values())) for b in (body, captured))
    assert list(ours) == list(theirs)


def is_like_overview(response: Any, sample: Path) -> None:
    expected = json.loads(sample.read_text())
    body = response.json()
    assert list(body) == list(expected)
    assert all(isinstance(value, str) for value in body.values())
    assert response.text == json.dumps(body, indent=4)
    assert sample.read_text() == json.dumps(expected, indent=4)
    for name, value in expected.items():
        if re.fullmatch(r"-?\d+(\.\d+)?", value) and body[name] not in ("None", "-"):
            assert re.fullmatch(r"-?\d+(\.\d+)?", body[name]), name


def test_overview_has_the_shape_of_our_sample(plain: TestClient) -> None:
    is_like_overview(ask(plain, OVERVIEW), SAMPLES / "overview.json")


@needs_captures
def test_overview_has_the_shape_of_the_captured_body(plain: TestClient) -> None:
    is_like_overview(ask(plain, OVERVIEW), CAPTURED / "alpha_vantage" / "overview" / "IBM-2026-05-17.json")


def test_samples_have_an_origin() -> None:
    origin = tomllib.loads((SAMPLES / "ORIGIN.toml").read_text())
    assert {"weekly_adjusted.csv", "overview.json"} <= set(origin)
    assert all({"endpoint", "date", "origin", "licence_note"} <= set(entry) for entry in origin.values())


def test_overviews_are_as_incomplete_as_in_the_wild(plain: TestClient) -> None:
    bodies = {s: ask(plain, OVERVIEW, symbol=s).json() for s in ("HLQV", "BQLN", "FNQR", "LQMR", "NQTR", "TYRQ")}
    assert (bodies["HLQV"]["PERatio"], bodies["HLQV"]["ForwardPE"]) == ("None", "-")
    assert (bodies["HLQV"]["DividendYield"], bodies["HLQV"]["ExDividendDate"]) == ("0", "None")
    assert bodies["HLQV"]["EPS"].startswith("-")
    assert bodies["BQLN"]["EBITDA"] == "None"
    assert "AnalystRatingBuy" not in bodies["FNQR"]
    assert not {"OfficialSite", "SharesFloat"} & set(bodies["LQMR"])
    assert bodies["NQTR"]["Beta"] == "None"
    assert "None" not in bodies["TYRQ"].values()


@pytest.mark.parametrize("symbol", ["MQXT", "VQXI", "NOSUCH", "ZQBK", "EQWX"])
def test_overview_of_anything_without_fundamentals_is_an_empty_object(plain: TestClient, symbol: str) -> None:
    response = ask(plain, OVERVIEW, symbol=symbol)
    assert (response.status_code, response.content) == (200, b"{}")


def test_sector_is_spelt_in_capitals(plain: TestClient) -> None:
    assert ask(plain, OVERVIEW).json()["Sector"] == "COMMUNICATION SERVICES"


def test_bodies_are_compressed_when_asked(served: httpx2.Client) -> None:
    packed = ask(served, WEEKLY)
    whole = served.get("/alpha_vantage/query", params=WEEKLY, headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in whole.headers
    assert int(packed.headers["content-length"]) < len(whole.content) / 2
    assert packed.content == whole.content


def test_bytes_depend_on_seed_and_clock_only(plain: TestClient) -> None:
    assert ask(client(), WEEKLY).content == ask(plain, WEEKLY).content
    assert ask(client(seed=7), WEEKLY).content != ask(plain, WEEKLY).content
    assert ask(client(clock=NOW - dt.timedelta(days=3)), WEEKLY).content != ask(plain, WEEKLY).content


# Words


@pytest.mark.parametrize("datatype", ["csv", "json"])
@pytest.mark.parametrize("symbol", ["NOSUCH", "ZQBK", "EQWX", "VQXI", ""])
def test_unknown_former_delisted_and_index_symbols_are_invalid_calls(
    plain: TestClient, symbol: str, datatype: str
) -> None:
    response = ask(plain, WEEKLY, symbol=symbol, datatype=datatype)
    assert response.json() == {
        "Error Message": "Invalid API call. Please retry or visit the documentation "
        "(https://www.alphavantage.co/documentation/) for TIME_SERIES_WEEKLY_ADJUSTED."
    }
    assert response.headers["content-type"] == "application/json"


def test_unknown_and_premium_functions(plain: TestClient) -> None:
    assert "Invalid API call" in told(ask(plain, WEEKLY, function="NO_SUCH"))
    assert "premium endpoint" in told(ask(client(plan="free"), WEEKLY, function="TIME_SERIES_DAILY_ADJUSTED"))


FRAGMENTS = {
    "per_second": "spreading out your free API requests",
    "burst": "Burst pattern",
    "per_minute": "Minute-level",
    "per_day": "rate limit is 25 requests per day",
    "per_day_echo": "We have detected your API key as KEY and",
    "volume": "API call volume",
    "old_minute": "5 calls per minute and 500 calls per day",
    "premium_endpoint": "premium endpoint",
    "premium_parameter": "premium feature",
    "demo_key": "**demo**",
    "bad_key": "apikey is invalid",
    "invalid_call": "Invalid API call",
}


def test_every_class_of_error_can_be_served(served: httpx2.Client) -> None:
    assert set(FRAGMENTS) == set(alpha_vantage.MESSAGES)
    for name, fragment in FRAGMENTS.items():
        served.put("/_sandbox/faults", json=[{"kind": "message", "message": name, "count": 1}]).raise_for_status()
        assert fragment in told(ask(served, WEEKLY)), name
        is_weekly_csv(ask(served, WEEKLY).content, newline="\r\n")


@needs_captures
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("per_second", "Information-1-per-second"),
        ("burst", "Information-burst-paid-plan"),
        ("per_day", "Information-25-per-day"),
        ("per_day_echo", "Information-echoes-the-key"),
        ("volume", "Information-higher-call-volume"),
        ("old_minute", "Note-5permin-on-overview"),
        ("premium_parameter", "Information-outputsize-full-premium"),
        ("bad_key", "Error-Message-invalid-key"),
        ("invalid_call", "Error-Message-invalid-call"),
    ],
)
def test_error_bodies_are_the_captured_ones(name: str, file: str) -> None:
    captured = (CAPTURED / "alpha_vantage" / "errors" / f"{file}.json").read_bytes()
    ours = alpha_vantage.message(name, function="TIME_SERIES_DAILY", key="XXXXXXXXXXXXXXXX").body
    assert ours == captured.rstrip(b"\n")


# Keys and quota


def test_key_is_needed_and_may_be_checked() -> None:
    assert "apikey is invalid" in told(ask(client(), {**WEEKLY, "apikey": ""}))
    http = client(keys=frozenset({"GOOD"}))
    assert "apikey is invalid" in told(ask(http, WEEKLY))
    assert ask(http, WEEKLY, apikey="GOOD").text.startswith("timestamp,")


def test_demo_key_serves_the_documented_calls_only() -> None:
    http = client(documented_symbol="TYRQ")
    assert ask(http, WEEKLY, apikey="demo").text.startswith("timestamp,")
    assert ask(http, OVERVIEW, apikey="demo").json()["Symbol"] == "TYRQ"
    assert "**demo**" in told(ask(http, WEEKLY, apikey="demo", symbol="QRVN"))
    assert "**demo**" in told(ask(http, WEEKLY, apikey="demo", outputsize="full"))


def test_free_plan_gives_25_calls_until_midnight_in_new_york() -> None:
    ticker = Ticker()
    http = client(plan="free", monotonic=ticker, clock=dt.datetime(2026, 11, 22, 2, tzinfo=dt.UTC))  # Saturday evening
    for _ in range(25):
        assert ask(http, WEEKLY).text.startswith("timestamp,")
        ticker.seconds += 1
    refused = told(ask(http, WEEKLY))
    assert "Our standard API rate limit is 25 requests per day" in refused
    assert "spreading out" not in refused
    assert ask(http, WEEKLY, apikey="OTHER").text.startswith("timestamp,")
    http.put("/_sandbox/clock", json={"now": "2026-11-22T04:59:59Z"})
    ticker.seconds += 1
    assert "25 requests per day" in told(ask(http, WEEKLY))
    http.put("/_sandbox/clock", json={"now": "2026-11-22T05:00:00Z"})
    assert ask(http, WEEKLY).text.startswith("timestamp,")
    assert http.get("/_sandbox/state").json()["providers"]["alpha_vantage"]["calls"][key_label("KEY")] == {
        "today": 1,
        "total": 26,
        "refused": {"per_day": 2},
    }


def test_free_plan_gives_one_call_a_second_and_refusals_are_free() -> None:
    ticker = Ticker()
    http = client(plan="free", monotonic=ticker)
    ask(http, WEEKLY)
    for _ in range(30):
        assert "1 request per second" in told(ask(http, WEEKLY))
    ticker.seconds += 1
    assert ask(http, WEEKLY).text.startswith("timestamp,")
    assert http.get("/_sandbox/state").json()["providers"]["alpha_vantage"]["calls"][key_label("KEY")]["today"] == 2


def test_an_error_answer_counts_as_a_call() -> None:
    http = client(plan="free")
    ask(http, WEEKLY, symbol="NOSUCH")
    assert http.get("/_sandbox/state").json()["providers"]["alpha_vantage"]["calls"][key_label("KEY")]["today"] == 1


def test_daily_refusal_may_echo_the_key() -> None:
    ticker = Ticker()
    http = client(plan="free", monotonic=ticker, echoes_key=True)
    for _ in range(25):
        ask(http, WEEKLY)
        ticker.seconds += 1
    assert told(ask(http, WEEKLY)).startswith("We have detected your API key as KEY and our standard API rate limit")


def test_premium_plan_counts_minutes_and_bursts() -> None:
    ticker = Ticker()
    http = client(plan="premium-75", monotonic=ticker)
    for _ in range(30):
        assert ask(http, WEEKLY).text.startswith("timestamp,")
    assert "Burst pattern" in told(ask(http, WEEKLY))
    ticker.seconds += 1
    for _ in range(45):
        ticker.seconds += 0.5
        assert ask(http, WEEKLY).text.startswith("timestamp,")
    assert "Minute-level" in told(ask(http, WEEKLY))
    ticker.seconds += 60
    assert ask(http, WEEKLY).text.startswith("timestamp,")


def test_unknown_plan_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="premium-<calls a minute>"):
        client(plan="gold")


# Faults


def with_fault(http: httpx2.Client, **fault: Any) -> None:
    http.put("/_sandbox/faults", json=[{"count": 1, **fault}]).raise_for_status()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_status_fault(served: httpx2.Client, status: int) -> None:
    with_fault(served, kind="status", status=status, retry_after=7)
    response = ask(served, WEEKLY)
    assert (response.status_code, response.headers["retry-after"]) == (status, "7")
    assert ask(served, WEEKLY).status_code == 200


def test_truncation_with_the_length_kept_breaks_the_connection(served: httpx2.Client) -> None:
    with_fault(served, kind="truncate")
    with pytest.raises(httpx2.RemoteProtocolError, match="without sending complete message body"):
        ask(served, WEEKLY)
    assert ask(served, WEEKLY).status_code == 200


def test_truncation_with_a_fitting_length_looks_whole(served: httpx2.Client) -> None:
    whole = ask(served, WEEKLY).content
    with_fault(served, kind="truncate", keeps_length=False, fraction=0.4)
    response = ask(served, WEEKLY)
    assert response.content == whole[: int(len(whole) * 0.4)]
    assert int(response.headers["content-length"]) == len(response.content)


def test_gzip_stream_may_end_early(served: httpx2.Client) -> None:
    whole = ask(served, WEEKLY).content
    with_fault(served, kind="gzip_cut")
    with served.stream("GET", "/alpha_vantage/query", params=WEEKLY) as response:
        packed = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip"
    assert packed[:2] == b"\x1f\x8b"
    assert int(response.headers["content-length"]) == len(packed) < len(whole) / 2


def test_reset_connection(served: httpx2.Client) -> None:
    with_fault(served, kind="reset")
    with pytest.raises(httpx2.ReadError):
        ask(served, WEEKLY)
    assert ask(served, WEEKLY).status_code == 200


def test_page_instead_of_data(served: httpx2.Client) -> None:
    with_fault(served, kind="html")
    response = ask(served, WEEKLY)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<!DOCTYPE html>")


def test_latency_delays_and_then_answers(served: httpx2.Client) -> None:
    with_fault(served, kind="latency", seconds=0.3)
    response = ask(served, WEEKLY)
    assert response.elapsed.total_seconds() >= 0.3
    is_weekly_csv(response.content, newline="\r\n")


def test_faults_strike_what_they_match_and_as_often_as_told() -> None:
    fault = Fault("message", endpoint="OVERVIEW", symbol="T*", count=2, message="volume")
    http = client(faults=(fault,))
    assert ask(http, WEEKLY).text.startswith("timestamp,")
    assert ask(http, OVERVIEW, symbol="QRVN").json()["Symbol"] == "QRVN"
    assert [len(ask(http, OVERVIEW).json()) for _ in range(3)] == [1, 1, 55]
    (report,) = http.get("/_sandbox/state").json()["faults"]
    assert (report["left"], report["hits"]) == (0, 2)


def test_probability_is_drawn_from_the_seed() -> None:
    def outcomes(seed: int) -> list[bool]:
        http = client(seed=seed, faults=(Fault("message", probability=0.5, message="volume"),))
        return [len(ask(http, OVERVIEW).json()) == 1 for _ in range(40)]

    assert outcomes(1) == outcomes(1) != outcomes(2)
    assert 8 < sum(outcomes(1)) < 32


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "status"}, [{"kind": "nonsense"}], [{"kind": "message", "message": "no such"}], [{"knd": "status"}], [1]],
)
def test_wrong_faults_are_refused(plain: TestClient, wrong: object) -> None:
    assert plain.put("/_sandbox/faults", json=wrong).status_code == 400
    assert plain.get("/_sandbox/state").json()["faults"] == []


# Controls


def test_clock_is_set_shown_and_reset() -> None:
    http = client()
    assert (
        http.put("/_sandbox/clock", json={"now": "2026-11-13T23:00:00+01:00"}).json()["now"]
        == "2026-11-13T22:00:00+00:00"
    )
    assert ask(http, WEEKLY).text.splitlines()[1].startswith("2026-11-13,")
    assert http.put("/_sandbox/clock", json={"now": "2026-11-13T23:00:00"}).status_code == 400
    assert http.put("/_sandbox/clock", json={"now": None}).json()["is_real_clock"] is True
    http.post("/_sandbox/reset")
    state = http.get("/_sandbox/state").json()
    calls = {provider["plan"]: provider["calls"] for provider in state["providers"].values()}
    assert (state["now"], state["answered"], calls) == (NOW.isoformat(), 0, {"unlimited": {}})


def test_state_counts_answers_and_never_shows_a_key() -> None:
    http = client()
    ask(http, WEEKLY, apikey="CANARYKEY")
    ask(http, WEEKLY, apikey="CANARYKEY", symbol="NOSUCH")
    text = http.get("/_sandbox/state").text
    assert "CANARYKEY" not in text
    assert {(a["symbol"], a["outcome"], a["count"]) for a in json.loads(text)["answers"]} == {
        ("TYRQ", "data", 1),
        ("NOSUCH", "invalid_call", 1),
    }


def test_events_are_served(plain: TestClient) -> None:
    found = plain.get("/_sandbox/events", params={"kind": "rename"}).json()
    assert [(e["symbol"], e["old"], e["new"], e["date"]) for e in found] == [("OXQN", "ZQBK", "OXQN", "2026-10-05")]
    assert plain.get("/_sandbox/events", params={"kind": "nonsense"}).status_code == 400
    every = plain.get("/_sandbox/events").json()
    assert len(every) == len(Market.load(SEEDS).events(NOW))


def test_config_needs_one_source_and_a_zoned_clock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either"):
        SandboxConfig()
    with pytest.raises(ValueError, match="either"):
        SandboxConfig(universe=SEEDS, recorded=tmp_path)
    with pytest.raises(ValueError, match="zone"):
        SandboxConfig(universe=SEEDS, clock=dt.datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake under test


# Recorded bodies


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    files = {
        "time_series_weekly_adjusted/IBM-full-2025.csv": b"timestamp,old\n",
        "time_series_weekly_adjusted/IBM-full-2026.csv": b"timestamp,new\r\n\x00\xff odd bytes",
        "time_series_weekly_adjusted/BRK-B-full.csv": b"class B",
        "overview/IBM-2026-05-17.json": b'{"Symbol": "IBM"}',
    }
    for name, body in files.items():
        path = tmp_path / "alpha_vantage" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return tmp_path


def test_recorded_bodies_are_served_byte_for_byte_newest_first(shelf: Path) -> None:
    http = client(universe=None, recorded=shelf)
    response = ask(http, WEEKLY, symbol="IBM")
    assert response.content == b"timestamp,new\r\n\x00\xff odd bytes"
    assert response.headers["content-type"] == "application/x-download"
    assert ask(http, OVERVIEW, symbol="IBM", datatype="csv").content == b'{"Symbol": "IBM"}'
    assert ask(http, WEEKLY, symbol="BRK-B").content == b"class B"


@pytest.mark.parametrize("symbol", ["BRK", "AAPL", "../IBM", "I", ""])
def test_recorded_mode_answers_for_the_rest_as_the_provider_would(shelf: Path, symbol: str) -> None:
    http = client(universe=None, recorded=shelf)
    assert "Invalid API call" in told(ask(http, WEEKLY, symbol=symbol))
    if symbol:
        assert ask(http, OVERVIEW, symbol=symbol).content == b"{}"


def test_recorded_mode_keeps_quota_and_faults(shelf: Path) -> None:
    http = client(universe=None, recorded=shelf, plan="free", faults=(Fault("message", message="volume", count=1),))
    assert "API call volume" in told(ask(http, WEEKLY, symbol="IBM"))
    assert "1 request per second" in told(ask(http, WEEKLY, symbol="IBM"))


@needs_captures
def test_captured_history_is_served_unchanged() -> None:
    with running(SandboxConfig(recorded=CAPTURED, plan="unlimited")) as url:
        body = httpx2.get(f"{url}/alpha_vantage/query", params={**WEEKLY, "symbol": "IBM"}).content
    captured = (CAPTURED / "alpha_vantage/time_series_weekly_adjusted/IBM-full-1999-2026.csv").read_bytes()
    assert hashlib.sha256(body).digest() == hashlib.sha256(captured).digest()
