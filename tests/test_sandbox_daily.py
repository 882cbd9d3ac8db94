"""Daily bars of the universe's members: Alpha Vantage's shape, and where three providers differ and why."""

from __future__ import annotations

import csv
import datetime as dt
import io
import itertools
import json
import re

import pytest
from starlette.testclient import TestClient

from market_pipeline.sandbox import daily
from market_pipeline.sandbox.events import Event, EventKind
from market_pipeline.sandbox.market import Market
from sandbox_http import CAPTURED, NOW, SEEDS, at, client, fmp, grouped, needs_captures, polygon, set_clock

SECOND = dt.timedelta(seconds=1)
ADJUSTED = "TIME_SERIES_DAILY_ADJUSTED"
ROW = re.compile(r"\d{4}-\d\d-\d\d(,\d+\.\d+){5},\d+,\d+\.\d{4},\d+\.\d+\Z")  # a real low is 236.13099999999997


@pytest.fixture(scope="module")
def http() -> TestClient:
    return client()


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.load(SEEDS, roster_size=0)


def ask(http: TestClient, function: str = ADJUSTED, **params: str) -> str:
    given = {"function": function, "symbol": "TYRQ", "datatype": "csv", "apikey": "KEY", **params}
    return str(http.get("/alpha_vantage/query", params=given).text)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# Alpha Vantage


def is_daily_adjusted(lines: list[str]) -> None:
    assert lines[0] == "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient"
    assert all(ROW.match(line) for line in lines[1:-1])
    assert (len(lines), lines[-1]) == (102, "")
    days = [line[:10] for line in lines[1:-1]]
    assert days == sorted(set(days), reverse=True)


def test_daily_csv_has_a_hundred_rows_of_the_real_shape(http: TestClient) -> None:
    is_daily_adjusted(ask(http, symbol="VEXQ").split("\r\n"))
    response = http.get(
        "/alpha_vantage/query", params={"function": ADJUSTED, "symbol": "VEXQ", "datatype": "csv", "apikey": "K"}
    )
    assert response.headers["content-type"] == "application/x-download"
    assert response.headers["content-disposition"] == "attachment; filename=daily_adjusted_VEXQ.csv"


@needs_captures
def test_the_captured_csv_has_that_shape_too() -> None:
    folder = CAPTURED / "alpha_vantage" / "time_series_daily_adjusted"
    is_daily_adjusted((folder / "IBM-compact-2026-05-15.csv").read_text().split("\n"))


@needs_captures
def test_daily_json_has_the_shape_of_the_captured_one(http: TestClient) -> None:
    captured = (CAPTURED / "alpha_vantage/time_series_daily_adjusted/IBM-compact-2024-06-07.json").read_text()
    text = ask(http, datatype="json")
    body, theirs = json.loads(text), json.loads(captured)
    assert text == json.dumps(body, indent=4)
    assert list(body) == list(theirs)
    assert next(iter(body["Meta Data"].items())) == next(iter(theirs["Meta Data"].items()))
    assert {k: v for k, v in body["Meta Data"].items() if k[0] in "45"} == {
        k: v for k, v in theirs["Meta Data"].items() if k[0] in "45"
    }
    ours, real = (next(iter(b["Time Series (Daily)"].values())) for b in (body, theirs))
    assert list(ours) == list(real)
    assert (real["7. dividend amount"], real["8. split coefficient"]) == ("0.0000", "1.0")
    assert re.fullmatch(r"1\.0", ours["8. split coefficient"])


def test_json_says_what_the_csv_says(http: TestClient) -> None:
    for function in (ADJUSTED, "TIME_SERIES_DAILY"):
        series = json.loads(ask(http, function, datatype="json"))["Time Series (Daily)"]
        rows = list(csv.reader(io.StringIO(ask(http, function))))[1:]
        assert [[day, *values.values()] for day, values in series.items()] == rows


def test_the_raw_series_is_padded(http: TestClient) -> None:
    lines = ask(http, "TIME_SERIES_DAILY").split("\r\n")
    assert lines[0] == "timestamp,open,high,low,close,volume"
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d(,\d+\.\d{4}){4},\d+", line) for line in lines[1:-1])


def test_full_goes_back_to_the_listing(http: TestClient) -> None:
    rows = table(ask(http, outputsize="full"))
    assert (rows[0]["timestamp"], rows[-1]["timestamp"]) == ("2026-11-20", "2018-01-16")


def test_free_plan_has_the_raw_compact_series_only() -> None:
    def told(**params: str) -> str:
        return ask(client(plan="free"), **params)

    assert "This is a premium endpoint" in told()
    assert told(function="TIME_SERIES_DAILY").startswith("timestamp,")
    assert "outputsize=full parameter value is a premium feature" in told(
        function="TIME_SERIES_DAILY", outputsize="full"
    )


@pytest.mark.parametrize("symbol", ["NOSUCH", "ZQBK", "EQWX", "VQXI"])
def test_unknown_symbols_are_invalid_calls(http: TestClient, symbol: str) -> None:
    assert "Invalid API call" in ask(http, symbol=symbol)


def test_adjusted_closes_follow_from_the_rows_own_dividends_and_splits(http: TestClient) -> None:
    """Chain of (1 - dividend / close before) / coefficient over the rows of the body."""
    for symbol in ("VEXQ", "PLVQ", "QRVN"):
        rows = table(ask(http, symbol=symbol, outputsize="full"))
        factor = 1.0
        for row, older in itertools.pairwise(rows):
            assert float(row["adjusted_close"]) == pytest.approx(float(row["close"]) * factor, rel=2e-4), row
            factor *= (1 - float(row["dividend_amount"]) / float(older["close"])) / float(row["split_coefficient"])
    splits = {
        r["timestamp"]: r["split_coefficient"]
        for r in table(ask(http, symbol="VEXQ"))
        if r["split_coefficient"] != "1.0"
    }
    assert splits == {"2026-09-14": "4.0"}


def test_the_running_session_is_partial_until_its_close() -> None:
    http = client(clock=at("2026-11-27 16:15"))  # a half day: New York 11:15, half of it
    body = json.loads(ask(http, datatype="json"))
    assert body["Meta Data"]["3. Last Refreshed"] == "2026-11-27 11:15:00"
    live = table(ask(http))[0]
    set_clock(http, at("2026-11-27 18:00"))
    final = table(ask(http))[0]
    assert json.loads(ask(http, datatype="json"))["Meta Data"]["3. Last Refreshed"] == "2026-11-27"
    assert live["timestamp"] == final["timestamp"] == "2026-11-27"
    assert live["open"] == final["open"]
    assert int(live["volume"]) == pytest.approx(int(final["volume"]) / 2, abs=1)
    for name, other in (("low", "low"), ("close", "low")):
        assert float(live[name]) >= float(final[other])
    set_clock(http, at("2026-11-27 14:29:59"))
    assert table(ask(http))[0]["timestamp"] == "2026-11-25"


def test_daily_and_weekly_tell_the_same_restatement_and_the_same_late_week(http: TestClient, market: Market) -> None:
    restated = market.events(NOW, kinds=[EventKind.RESTATEMENT])[-1]
    moved = client()
    for instant, close in ((restated.at - SECOND, restated.old), (restated.at, restated.new)):
        set_clock(moved, instant)
        row = next(r for r in table(ask(moved, symbol=restated.symbol)) if r["timestamp"] == restated.date.isoformat())
        assert float(row["close"]) == close
    late = market.events(NOW, kinds=[EventKind.LATE])[-1]
    assert late.until is not None
    set_clock(moved, late.until - SECOND)
    assert table(ask(moved, symbol=late.symbol))[0]["timestamp"] < late.week_start.isoformat()
    set_clock(moved, late.until)
    assert table(ask(moved, symbol=late.symbol))[0]["timestamp"] == late.date.isoformat()


# Three providers


ODD = [EventKind.CORRECTION, EventKind.PRICE_OFF, EventKind.MISSING_ROW, EventKind.MISSED_SPLIT]


def closes(market: Market, provider: str, clock: dt.datetime) -> dict[tuple[str, dt.date], float]:
    """Raw closes of every member since 2026."""
    horizon, oddities = market.horizon(clock), market.oddities(clock)
    found: dict[tuple[str, dt.date], float] = {}
    for member in market.members:
        if member.asset_class == "index":
            continue
        if provider == "fmp":
            days = daily.fmp(horizon, oddities, member, clock)
        elif provider == "polygon":
            days = daily.polygon(horizon, oddities, member, clock)
        else:
            days = daily.alpha_vantage(horizon, member, clock)
        for number, close in zip(days.numbers.tolist(), days.close.tolist(), strict=True):
            if horizon.calendar.dates[number].year == 2026:
                found[member.symbol, horizon.calendar.dates[number]] = close
    return found


@pytest.mark.parametrize("provider", ["fmp", "polygon"])
def test_providers_differ_where_the_events_say_and_nowhere_else(market: Market, provider: str) -> None:
    """Against Alpha Vantage a month later, when all its restatements have come."""
    truth = closes(market, "alpha_vantage", NOW + dt.timedelta(days=30))
    events = [e for e in market.events(NOW + dt.timedelta(days=30), kinds=ODD) if e.provider == provider]
    told = closes(market, provider, NOW)
    expected: dict[tuple[str, dt.date], float | None] = {}
    for event in events:
        if event.kind is EventKind.CORRECTION:
            if event.at > NOW:
                expected[event.symbol, event.date] = float(event.old or 0)
        else:
            expected[event.symbol, event.date] = None if event.new is None else float(event.new)
    differing = {
        place: told.get(place)
        for place, close in truth.items()
        if place[1] <= dt.date(2026, 11, 20) and told.get(place) != close
    }
    assert differing == {
        place: close for place, close in expected.items() if place in truth and place[1] <= dt.date(2026, 11, 20)
    }
    assert len(differing) > 20


def test_every_kind_of_difference_is_in_the_last_weeks(market: Market) -> None:
    recent = {(e.provider, e.kind) for e in market.events(NOW, kinds=ODD, since=NOW - dt.timedelta(days=15))}
    assert recent == {
        ("polygon", EventKind.CORRECTION),
        ("polygon", EventKind.PRICE_OFF),
        ("polygon", EventKind.MISSING_ROW),
        ("fmp", EventKind.CORRECTION),
        ("fmp", EventKind.MISSING_ROW),
    }
    missed = [e for e in market.events(NOW, kinds=[EventKind.MISSED_SPLIT]) if e.symbol == "VEXQ"]
    assert [e.date for e in missed] == [dt.date(2026, 9, 14), dt.date(2026, 9, 15), dt.date(2026, 9, 16)]
    assert all(float(e.new or 0) == pytest.approx(4 * float(e.old or 0)) for e in missed)


def latest(market: Market, kind: EventKind, provider: str) -> Event:
    return [e for e in market.events(NOW, kinds=[kind]) if e.provider == provider][-1]


def test_polygon_corrects_a_close_when_the_next_session_has_closed(market: Market) -> None:
    event = latest(market, EventKind.CORRECTION, "polygon")
    assert (event.date, event.at) == (dt.date(2026, 11, 19), at("2026-11-20 21:00"))
    http = client(clock=event.at - SECOND)

    def told() -> float:
        rows = grouped(http, event.date.isoformat())
        return float(next(row["c"] for row in rows if row["T"] == event.symbol))

    assert told() == event.old
    set_clock(http, event.at)
    assert told() == event.new != event.old


def test_fmp_corrects_a_close_on_the_next_wednesday(market: Market) -> None:
    event = latest(market, EventKind.CORRECTION, "fmp")
    assert (event.date, event.at) == (dt.date(2026, 11, 13), at("2026-11-18 12:00"))
    http = client(clock=event.at - SECOND)
    span = {"from": event.date.isoformat(), "to": event.date.isoformat()}
    assert fmp(http, "historical-price-eod/light", symbol=event.symbol, **span).json()[0]["price"] == event.old
    set_clock(http, event.at)
    assert fmp(http, "historical-price-eod/light", symbol=event.symbol, **span).json()[0]["price"] == event.new


def test_a_missing_row_is_missing_at_one_provider_only(http: TestClient, market: Market) -> None:
    for provider in ("polygon", "fmp"):
        event = latest(market, EventKind.MISSING_ROW, provider)
        day = event.date.isoformat()
        at_polygon = any(row["T"] == event.symbol for row in grouped(http, day))
        at_fmp = bool(fmp(http, "historical-price-eod/light", symbol=event.symbol, **{"from": day, "to": day}).json())
        assert (at_polygon, at_fmp) == (provider != "polygon", provider != "fmp")
        assert any(row["timestamp"] == day for row in table(ask(http, symbol=event.symbol)))


def test_documented_differences_of_one_session(http: TestClient, market: Market) -> None:
    """Cents at FMP, fractions of a cent at Polygon, volumes within a thousandth."""
    day = "2026-11-12"
    odd = {e.symbol for e in market.events(NOW, kinds=ODD) if e.date.isoformat() == day}
    theirs = {row["T"]: row for row in grouped(http, day)}
    fractions = 0
    for symbol in sorted({"TYRQ", "QRVN", "VEXQ", "PLVQ", "MQXT", "DRQX", "OMZQ", "SQND", "BQLN", "AQTZ"} - odd):
        mine = next(row for row in table(ask(http, symbol=symbol)) if row["timestamp"] == day)
        (row,) = fmp(http, "historical-price-eod/full", symbol=symbol, **{"from": day, "to": day}).json()
        bar = theirs[symbol]
        assert bar["o"] == row["open"] == float(mine["open"])
        assert bar["c"] == row["close"] == float(mine["close"])
        for short, name in (("h", "high"), ("l", "low")):
            assert row[name] == pytest.approx(float(mine[name]), abs=0.00501)
            assert bar[short] == pytest.approx(float(mine[name]), abs=0.005)
        assert bar["h"] >= float(mine["high"])
        assert bar["l"] <= float(mine["low"])
        fractions += bar["h"] != round(bar["h"], 2)
        volume = int(mine["volume"])
        assert row["volume"] % 100 == 0
        assert abs(row["volume"] - volume) <= 50
        assert 0.9991 * volume - 1 <= bar["v"] <= volume
    assert fractions > 0


def test_raw_prices_are_continuous_over_splits(http: TestClient) -> None:
    for symbol, day, ratio in (("VEXQ", "2026-09-14", 4), ("QRVN", "2021-08-16", 2)):
        rows = table(ask(http, symbol=symbol, outputsize="full"))
        place = next(number for number, row in enumerate(rows) if row["timestamp"] == day)
        assert float(rows[place + 1]["close"]) / float(rows[place]["open"]) == pytest.approx(ratio, rel=0.05)


def test_members_have_one_identity_everywhere(http: TestClient) -> None:
    rows = polygon(http, "/v3/reference/tickers", ticker="TYRQ").json()["results"]
    (profile,) = fmp(http, "profile", symbol="TYRQ").json()
    overview = json.loads(ask(http, "OVERVIEW", datatype="json"))
    assert rows[0]["cik"] == profile["cik"] == overview["CIK"].zfill(10)
    assert rows[0]["name"] == profile["companyName"] == overview["Name"]
