"""Polygon.io, renamed Massive: https://massive.com/docs/rest/stocks

An answer is an object whose `status` counts, whatever the HTTP status: `OK` and `DELAYED` are data. An empty result has
no `results` (aggregates) or an empty list (reference). Tickers are case-sensitive and have dots in class shares.

A plan's window of history and a session that an end-of-day plan does not show yet are refused with one and the same
message. Without a clock they can't be told apart, so for grouped daily it means "not yet", which is the everyday case;
elsewhere it is a refusal. Over 300 lines because a provider is one file and this one has five endpoints of four shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import polars as pl

from market_pipeline import json_answers as answers
from market_pipeline.errors import PayloadChanged
from market_pipeline.feed import Auth, Feed, Instrument, Outcome, Pace, Provider, Request, Verdict, per_instrument
from market_pipeline.partition import Grain, Slice

NAME = "polygon"
PAGE = "1000"
Parse = Callable[[bytes, Request], pl.DataFrame]

# First match wins. Four waits of 15 s reach the next minute; the body asks to wait and does not say how long.
_MESSAGES = (
    ("Unknown API Key", Verdict(Outcome.REFUSED, "invalid_key", is_key=True)),
    ("API Key was not provided", Verdict(Outcome.REFUSED, "invalid_key", is_key=True)),
    ("maximum requests per minute", Verdict(Outcome.FAILED, "rate_limited", is_retryable=True, retry_after_s=15.0)),
    ("data timeframe", Verdict(Outcome.REFUSED, "outside_plan_timeframe")),
    ("not entitled", Verdict(Outcome.REFUSED, "not_entitled")),
)

_REAL: frozenset[type] = frozenset({float, int, type(None)})
_WHOLE: frozenset[type] = frozenset({int, type(None)})
# Column: member, and the types that its values may have.
_BARS = {
    "open_usd": ("o", _REAL),
    "high_usd": ("h", _REAL),
    "low_usd": ("l", _REAL),
    "close_usd": ("c", _REAL),
    "volume_shares": ("v", _REAL),
    "vwap_usd": ("vw", _REAL),
    "transaction_count": ("n", _WHOLE),
}
# Polars panics on instants that no calendar has.
_YEAR_1900_MS, _YEAR_2200_MS = -2_208_988_800_000, 7_258_118_400_000
_BAR_MEMBERS = frozenset({"T", "o", "h", "l", "c", "v", "t"})

_TICKERS = {
    "symbol": "ticker",
    "is_active": "active",
    "delisted_date": "delisted_utc",
    "name": "name",
    "market": "market",
    "locale": "locale",
    "primary_exchange": "primary_exchange",
    "ticker_type": "type",
    "currency": "currency_name",
    "cik": "cik",
    "composite_figi": "composite_figi",
    "share_class_figi": "share_class_figi",
    "last_updated_at": "last_updated_utc",
}
_TICKER_MEMBERS = frozenset({"ticker", "name", "market", "active"})

_DIVIDENDS = {
    "action_id": "id",
    "symbol": "ticker",
    "effective_date": "ex_dividend_date",
    "kind": "dividend_type",
    "cash_amount": "cash_amount",
    "currency": "currency",
    "declaration_date": "declaration_date",
    "record_date": "record_date",
    "pay_date": "pay_date",
    "frequency_per_year": "frequency",
}
_DIVIDEND_MEMBERS = frozenset({"ticker", "ex_dividend_date", "dividend_type", "cash_amount"})

_SPLITS = {
    "action_id": "id",
    "symbol": "ticker",
    "effective_date": "execution_date",
    "split_from": "split_from",
    "split_to": "split_to",
}
_SPLIT_MEMBERS = frozenset({"ticker", "execution_date", "split_from", "split_to"})

_EVENTS = {"action_type": "type", "effective_date": "date", "new_symbol": "ticker"}
_EVENT_MEMBERS = frozenset({"type", "date"})


def _error(status: int, parsed: object) -> Verdict | None:
    """The verdict on an answer that is no data, None when it may be some."""
    body = _object(parsed)
    text = " ".join(str(body[member]) for member in ("error", "message") if member in body)
    if (verdict := answers.of_message(text, _MESSAGES)) is not None:
        return verdict
    if body.get("status") == "NOT_AUTHORIZED":
        return Verdict(Outcome.REFUSED, "not_authorized")
    if (verdict := answers.of_status(status)) is not None:
        return verdict
    if isinstance(parsed, Verdict):
        return parsed
    return None if body.get("status") in ("OK", "DELAYED") else Verdict(Outcome.FAILED, "unknown_status")


def _is_adjusted(request: Request) -> bool:
    return dict(request.params).get("adjusted") == "true"


def classify_grouped_daily(request: Request, status: int, content_type: str, body: bytes) -> Verdict:
    """Bars of the whole market, in the basis that was asked for."""
    del content_type  # an unrouted path is text/plain, and its status says so
    parsed = answers.read(body)
    if (verdict := _error(status, parsed)) is not None:
        is_window = verdict.reason == "outside_plan_timeframe"
        return replace(verdict, outcome=Outcome.NOT_YET) if is_window else verdict
    found = _object(parsed)
    if "ticker" in found:  # only bars of one symbol name it up here
        return Verdict(Outcome.FAILED, "unknown_shape")
    rows = found.get("results", [])
    if rows == [] and found.get("resultsCount") == 0:
        return Verdict(Outcome.EMPTY, "no_results")
    if not answers.are_rows(rows, _BAR_MEMBERS):
        return Verdict(Outcome.FAILED, "unknown_shape")
    if found.get("resultsCount") != len(rows):
        return Verdict(Outcome.FAILED, "count_differs")
    if found.get("adjusted") is not _is_adjusted(request):
        return Verdict(Outcome.FAILED, "other_adjustment")
    return Verdict(Outcome.FETCHED)


def _classify(members: frozenset[str]) -> Callable[[Request, int, str, bytes], Verdict]:
    """A page of rows that have these members; one that names a next page by no text would pass for the last."""

    def classify(request: Request, status: int, content_type: str, body: bytes) -> Verdict:
        del request, content_type
        parsed = answers.read(body)
        if (verdict := _error(status, parsed)) is not None:
            return verdict
        found = _object(parsed)
        if not isinstance(found.get("next_url"), str | None):
            return Verdict(Outcome.FAILED, "unknown_next_page")
        rows = found.get("results")
        if rows == []:
            return Verdict(Outcome.EMPTY, "no_results")
        return Verdict(Outcome.FETCHED) if answers.are_rows(rows, members) else Verdict(Outcome.FAILED, "unknown_shape")

    return classify


def classify_ticker_events(request: Request, status: int, content_type: str, body: bytes) -> Verdict:
    """The events of one issuer; a ticker that is not known has none."""
    del request, content_type
    parsed = answers.read(body)
    if status == 404 and _object(parsed).get("status") == "NOT_FOUND":
        return Verdict(Outcome.EMPTY, "unknown_ticker")
    if (verdict := _error(status, parsed)) is not None:
        return verdict
    events = _object(_object(parsed).get("results")).get("events")
    if events == []:
        return Verdict(Outcome.EMPTY, "no_events")
    is_known = answers.are_rows(events, _EVENT_MEMBERS)
    return Verdict(Outcome.FETCHED) if is_known else Verdict(Outcome.FAILED, "unknown_shape")


def follow(request: Request, body: bytes) -> str | None:
    """Address of the next page; it carries no key."""
    del request
    address = answers.load(body).get("next_url")
    return address if isinstance(address, str) else None


def _object(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _rows(
    parsed: object, request: Request, members: frozenset[str], *, member: str = "results"
) -> list[dict[str, Any]]:
    found = _object(parsed).get(member)
    if not answers.are_rows(found, members):
        raise PayloadChanged(
            f"The rows of {request.name} have other members", provider=NAME, request=request.name, path=f"$.{member}"
        )
    return list(found or ())


def _numbers(values: Sequence[object], types: frozenset[type]) -> pl.Series:
    """Floats; text if any value is no number, so that the contract names that row and spares the others."""
    if types.issuperset(map(type, values)):
        return pl.Series(values, dtype=pl.Float64)
    return pl.Series([answers.as_text(value) for value in values], dtype=pl.String)


def _session_dates(times: Sequence[object]) -> pl.Series:
    """The New York date of instants in milliseconds, here the session's end; null for one of no century of ours, text
    if any is no instant."""
    instants = pl.Series(
        [time if type(time) is int and _YEAR_1900_MS <= time < _YEAR_2200_MS else None for time in times],
        dtype=pl.Int64,
    )
    dates = (
        pl.from_epoch(instants, time_unit="ms")
        .dt.replace_time_zone("UTC")
        .dt.convert_time_zone("America/New_York")
        .dt.date()
    )
    if _WHOLE.issuperset(map(type, times)):
        return dates
    return dates.cast(pl.String).fill_null(pl.Series([answers.as_text(time) for time in times], dtype=pl.String))


def parse_grouped_daily(body: bytes, request: Request) -> pl.DataFrame:
    """One row per ticker, unsorted, column by column: eleven thousand rows are too many to look at one by one."""
    rows = _rows(answers.load(body), request, _BAR_MEMBERS)
    tickers = [row.get("T") for row in rows]
    return pl.DataFrame(
        {
            "symbol": [ticker if isinstance(ticker, str) else None for ticker in tickers],
            "session_date": _session_dates([row.get("t") for row in rows]),
            **{column: _numbers([row.get(member) for row in rows], types) for column, (member, types) in _BARS.items()},
            "is_otc": [row.get("otc") is True for row in rows],
        },
        schema_overrides={"symbol": pl.String},
    ).with_columns(price_basis=pl.lit("split_adjusted" if _is_adjusted(request) else "raw"))


def parse_tickers(body: bytes, request: Request) -> pl.DataFrame:
    """One page of the roster, as text but for `last_updated_at`, which keeps its nanoseconds."""
    frame = answers.text_frame(_rows(answers.load(body), request, _TICKER_MEMBERS), _TICKERS)
    return frame.with_columns(
        # Midnight in UTC or in New York: either way the first ten characters are the day.
        pl.col("delisted_date").str.replace(r"^(\d{4}-\d\d-\d\d)T.*Z$", "$1"),
        pl.col("currency").str.to_uppercase(),
        pl.col("cik").str.strip_chars_start("0").replace("", None),
        pl.col("last_updated_at").str.to_datetime(
            format="%+", time_unit="ns", time_zone="UTC", strict=False, exact=True
        ),
    ).with_columns(
        identity=pl.coalesce("composite_figi", "cik:" + pl.col("cik"), pl.lit("")),
        # Some that are gone long since have no date.
        listing=pl.when(pl.col("is_active") == "true")
        .then(pl.lit("active"))
        .otherwise(pl.coalesce("delisted_date", pl.lit("undated"))),
    )


def _numbered(actions: pl.DataFrame) -> pl.DataFrame:
    """Actions of one ticker, day and class told apart. The provider has repeated one under another id: such rows become
    wholly alike, so that they count as one."""
    facts = answers.by_value(actions.drop("action_id"))
    alike = (
        actions.with_columns(pl.struct(facts).alias("__facts"))
        .with_columns(pl.col("action_id").min().over("__facts"))
        .drop("__facts")
    )
    return answers.number_repeats(alike, "kind", within=["symbol", "effective_date"])


def parse_dividends(body: bytes, request: Request) -> pl.DataFrame:
    """One page of dividends as text; `kind` is CD consistent, SC special, LT and ST capital gains."""
    frame = answers.text_frame(_rows(answers.load_literally(body), request, _DIVIDEND_MEMBERS), _DIVIDENDS)
    return _numbered(frame.with_columns(pl.col("currency").str.to_uppercase(), action_type=pl.lit("dividend")))


def parse_splits(body: bytes, request: Request) -> pl.DataFrame:
    """One page of splits as text."""
    frame = answers.text_frame(_rows(answers.load_literally(body), request, _SPLIT_MEMBERS), _SPLITS)
    return _numbered(frame.with_columns(action_type=pl.lit("split"), kind=pl.lit("split")))


def parse_ticker_events(body: bytes, request: Request) -> pl.DataFrame:
    """Changes of the ticker, the first listing included. An event of a type that is not known is a broken row."""
    events = _rows(_object(answers.load(body)).get("results"), request, _EVENT_MEMBERS, member="events")
    changes = [{**event, "ticker": _object(event.get("ticker_change")).get("ticker")} for event in events]
    frame = answers.text_frame(changes, _EVENTS)
    return answers.number_repeats(frame.with_columns(kind="action_type"), "kind", within=["effective_date"])


def _plan_grouped_daily(part: Slice, instruments: Sequence[Instrument]) -> tuple[Request, ...]:
    del instruments  # one answer holds the whole market
    return (
        Request(
            name="market",
            path=f"/v2/aggs/grouped/locale/us/market/stocks/{part.start}",
            params=(("adjusted", "false"), ("include_otc", "false")),
            extension="json",
        ),
    )


def _first_page(chain: str, path: str, params: Mapping[str, str]) -> Request:
    return Request(
        name=f"{chain} 0001",
        path=path,
        params=(*params.items(), ("order", "asc"), ("sort", "ticker"), ("limit", PAGE)),
        extension="json",
        page=1,
    )


def _plan_tickers(part: Slice, instruments: Sequence[Instrument]) -> tuple[Request, ...]:
    del part, instruments
    return tuple(
        _first_page(chain, "/v3/reference/tickers", {"market": "stocks", "active": active})
        for chain, active in (("active", "true"), ("inactive", "false"))
    )


def _plan_actions(path: str, date: str) -> Callable[[Slice, Sequence[Instrument]], tuple[Request, ...]]:
    """All actions of the slice. Sorted by ticker, so that two of one ticker and day hardly ever lie on two pages, where
    no number tells them apart: both are quarantined then."""
    return lambda part, _instruments: (
        _first_page("market", path, {f"{date}.gte": part.start.isoformat(), f"{date}.lt": part.end.isoformat()}),
    )


def _ticker_events(instrument: Instrument) -> Request:
    symbol = instrument.spelling(NAME)
    return Request(
        name=symbol,
        path=f"/vX/reference/tickers/{quote(symbol, safe='')}/events",
        params=(("types", "ticker_change"),),
        extension="json",
        instrument_id=instrument.instrument_id,
        symbol=symbol,
    )


_endpoint = partial(
    Feed,
    asset_classes=frozenset({"stock", "etf"}),
    adjustment="None.",
    licence_note="Personal use under Polygon's (Massive's) market data terms; redistribution needs an agreement.",
    priority=10,
)


def _actions(dataset: str, date: str, members: frozenset[str], parse: Parse, *, description: str) -> Feed:
    return _endpoint(
        dataset=dataset,
        contract="corporate_actions",
        grain=Grain.MONTH,
        is_snapshot=False,
        plan=_plan_actions(f"/v3/reference/{dataset}", date),
        classify=_classify(members),
        parse=parse,
        follow=follow,
        endpoint=f"/v3/reference/{dataset}",
        description=description,
        delay="Daily, announced ones included.",
        is_revised=True,
        date_column="effective_date",
    )


_GROUPED_DAILY = _endpoint(
    dataset="grouped_daily",
    contract="bars_daily",
    grain=Grain.SESSION,
    is_snapshot=False,
    plan=_plan_grouped_daily,
    classify=classify_grouped_daily,
    parse=parse_grouped_daily,
    endpoint="/v2/aggs/grouped/locale/us/market/stocks/{date}",
    description="Bars of one session for every stock and fund of the US market.",
    delay="End of day; plan basic shows a session some hours after its close, and two years of them.",
    is_revised=True,
    date_column="session_date",
)
_TICKER_ROSTER = _endpoint(
    dataset="tickers",
    contract="tickers",
    grain=Grain.WEEK,
    is_snapshot=True,
    plan=_plan_tickers,
    classify=_classify(_TICKER_MEMBERS),
    parse=parse_tickers,
    follow=follow,
    endpoint="/v3/reference/tickers",
    description="The roster of the US stock market: listed tickers, and those that were.",
    delay="Daily.",
)
_TICKER_EVENTS = _endpoint(
    dataset="ticker_events",
    contract="corporate_actions",
    grain=Grain.WEEK,
    is_snapshot=True,
    plan=per_instrument(_ticker_events),
    classify=classify_ticker_events,
    parse=parse_ticker_events,
    endpoint="/vX/reference/tickers/{ticker}/events",
    description="The tickers that one issuer has had, each with its first day.",
    delay="Daily; the provider calls the endpoint experimental.",
)

PROVIDER = Provider(
    name=NAME,
    title="Polygon.io (Massive)",
    base_url="https://api.massive.com",
    base_url_setting="POLYGON_BASE_URL",
    auth=Auth(
        setting="POLYGON_API_KEY",
        place="header",
        name="Authorization",
        obtain="https://massive.com/dashboard/keys",
        prefix="Bearer ",
    ),
    plans={
        "basic": Pace(calls_per_day=None, interval_s=12.05),
        **{name: Pace(calls_per_day=None, interval_s=0.02) for name in ("starter", "developer", "advanced")},
    },
    plan_setting="POLYGON_PLAN",
    default_plan="basic",
    feeds=(
        _GROUPED_DAILY,
        _TICKER_ROSTER,
        _actions(
            "dividends",
            "ex_dividend_date",
            _DIVIDEND_MEMBERS,
            parse_dividends,
            description="Dividends of the whole market by ex-date.",
        ),
        _actions(
            "splits",
            "execution_date",
            _SPLIT_MEMBERS,
            parse_splits,
            description="Splits of the whole market by the first session after them.",
        ),
        _TICKER_EVENTS,
    ),
)
