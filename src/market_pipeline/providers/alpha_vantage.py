"""Alpha Vantage: https://www.alphavantage.co/documentation/ (adjusted series, company overview).

Every error comes with HTTP 200, as one member of a JSON object, also where CSV was asked for. Messages vary, so they
are told apart by fragments, and the order matters: the per-second message quotes the daily limit, and nearly every
message advertises the premium plans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from market_pipeline import json_answers as answers
from market_pipeline.errors import PayloadChanged
from market_pipeline.feed import Auth, Feed, Instrument, Outcome, Pace, Provider, Request, Verdict, per_instrument
from market_pipeline.partition import Grain

NAME = "alpha_vantage"

_RATE = {"outcome": Outcome.FAILED, "is_retryable": True}
_DAY = {"outcome": Outcome.DEFERRED, "exhausts_quota": True}
_REFUSED = {"outcome": Outcome.REFUSED}
_KEY = {"outcome": Outcome.REFUSED, "is_key": True}

# First match wins.
_MESSAGES: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("apikey is invalid", "invalid_key", _KEY),
    ("Invalid API call", "invalid_call", _REFUSED),
    ("ARTIFICIAL", "premium_sample", _REFUSED),
    ("Burst pattern", "rate_limited_burst", _RATE),
    ("spreading out", "rate_limited_second", _RATE),
    ("Minute-level", "rate_limited_minute", _RATE),
    ("calls per minute", "rate_limited_minute", _RATE),
    ("requests per day", "daily_quota", _DAY),
    ("API call volume", "call_volume", _DAY),
    ("premium endpoint", "premium_endpoint", _REFUSED),
    ("premium feature", "premium_parameter", _REFUSED),
    ("demo", "demo_key", _KEY),
)
_MESSAGE_KEYS = ("Error Message", "Information", "Note", "message")

_WEEKLY_COLUMNS = {
    "timestamp": "session_date",
    "open": "open_usd",
    "high": "high_usd",
    "low": "low_usd",
    "close": "close_usd",
    "adjusted close": "adjusted_close_usd",
    "volume": "volume_shares",
    "dividend amount": "dividend_usd",
}
_DAILY_COLUMNS = {
    "timestamp": "session_date",
    "open": "open_usd",
    "high": "high_usd",
    "low": "low_usd",
    "close": "close_usd",
    "adjusted_close": "adjusted_close_usd",
    "volume": "volume_shares",
    "dividend_amount": "dividend_usd",
    "split_coefficient": "split_ratio",
}

_OVERVIEW_MEMBERS = {
    "name": "Name",
    "asset_type": "AssetType",
    "exchange": "Exchange",
    "currency": "Currency",
    "country": "Country",
    "sector": "Sector",
    "industry": "Industry",
    "cik": "CIK",
    "fiscal_year_end": "FiscalYearEnd",
    "latest_quarter_date": "LatestQuarter",
    "market_capitalization": "MarketCapitalization",
    "ebitda": "EBITDA",
    "pe_ratio": "PERatio",
    "peg_ratio": "PEGRatio",
    "book_value_per_share": "BookValue",
    "dividend_per_share": "DividendPerShare",
    "dividend_yield_ratio": "DividendYield",
    "eps_diluted_ttm": "DilutedEPSTTM",
    "revenue_ttm": "RevenueTTM",
    "profit_margin_ratio": "ProfitMargin",
    "beta": "Beta",
    "shares_outstanding": "SharesOutstanding",
    "dividend_date": "DividendDate",
    "ex_dividend_date": "ExDividendDate",
}
# Compared in small letters: the vendor writes classifications in capitals at times, `NONE` too.
_MISSING = frozenset({"", "none", "-", "n/a", "0000-00-00"})


def _request(function: str, extension: str, instrument: Instrument, **more: str) -> Request:
    symbol = instrument.spelling(NAME)
    return Request(
        name=symbol,
        path="/query",
        params=(("function", function), ("symbol", symbol), *more.items()),
        extension=extension,
        instrument_id=instrument.instrument_id,
        symbol=symbol,
    )


def _message(body: Mapping[str, Any]) -> str | None:
    """The error text of a JSON body, looked for at the top level only: inner objects may hold `Information` too."""
    texts = [body[key] for key in _MESSAGE_KEYS if isinstance(body.get(key), str)]
    return " ".join(texts) or None


def _classify_object(body: object) -> Verdict | None:
    """Verdict of a JSON object that is an error, None when it is none."""
    if not isinstance(body, dict):
        return Verdict(Outcome.FAILED, "not_an_object")
    text = _message(body)
    if text is None:
        return None
    for fragment, reason, verdict in _MESSAGES:
        if fragment in text:
            return Verdict(reason=reason, **verdict)
    return Verdict(Outcome.FAILED, "unknown_message")


def _classify_transport(status: int, body: bytes) -> Verdict | None:
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if status != 200:
        return Verdict(Outcome.FAILED, f"http_{status}")
    if not text:
        return Verdict(Outcome.FAILED, "empty_body", is_retryable=True)
    if text.startswith(b"<"):
        return Verdict(Outcome.FAILED, "html", is_retryable=True)
    return None


def _classify_series(columns: Mapping[str, str]) -> Callable[[Request, int, str, bytes], Verdict]:
    """CSV with exactly this header is data; JSON is an error; a last line without its end was cut."""
    expected = ",".join(columns)

    def classify(request: Request, status: int, content_type: str, body: bytes) -> Verdict:
        del request, content_type  # the symbol is not in the body, and the content type of errors lies
        if (verdict := _classify_transport(status, body)) is not None:
            return verdict
        parsed = answers.read(body)
        if isinstance(parsed, Verdict) and parsed.reason != "not_json":
            return parsed
        if isinstance(parsed, dict | list):
            return _classify_object(parsed) or Verdict(Outcome.FAILED, "json_where_csv_was_asked")
        header, newline, rows = body.partition(b"\n")
        if not newline and expected.encode().startswith(header.rstrip(b"\r")):
            return Verdict(Outcome.FAILED, "csv_cut_short", is_retryable=True)
        if header.strip().decode("utf-8", "replace") != expected:
            return Verdict(Outcome.FAILED, "unknown_header")
        if not body.endswith(b"\n"):
            return Verdict(Outcome.FAILED, "csv_cut_short", is_retryable=True)
        return Verdict(Outcome.FETCHED) if rows.strip() else Verdict(Outcome.EMPTY, "no_rows")

    return classify


def _series(body: bytes, request: Request, columns: Mapping[str, str]) -> pl.DataFrame:
    """All rows of one symbol as text, newest first."""
    header, *lines = body.decode("utf-8", "replace").removesuffix("\n").split("\n")
    if header.strip() != ",".join(columns):
        raise PayloadChanged(
            f"The CSV of {request.name} has other columns", provider=NAME, request=request.name, path="$[0]"
        )
    # No value is ever quoted, so a line is a row: one with too many fields spoils its last value and no other row.
    values = pl.Series([line.removesuffix("\r") for line in lines], dtype=pl.String).str.splitn(",", len(columns))
    return values.struct.rename_fields(tuple(columns.values())).struct.unnest()


def parse_weekly_adjusted(body: bytes, request: Request) -> pl.DataFrame:
    """The columns of `bars_weekly_adjusted`; `week_start_date`, a date, is the Monday of `session_date`."""
    monday = pl.col("session_date").str.to_date("%Y-%m-%d", strict=False).dt.truncate("1w")
    return _series(body, request, _WEEKLY_COLUMNS).with_columns(week_start_date=monday)


def parse_daily_adjusted(body: bytes, request: Request) -> pl.DataFrame:
    """Raw bars, each with the vendor's adjusted close and with the dividend and the split of its day."""
    # Every line has every value, though the contract takes bars without: in a short one they are text of no type.
    return _series(body, request, _DAILY_COLUMNS).with_columns(
        pl.col("adjusted_close_usd", "dividend_usd", "split_ratio").fill_null(""), price_basis=pl.lit("raw")
    )


def classify_overview(request: Request, status: int, content_type: str, body: bytes) -> Verdict:
    """`{}` is an instrument without fundamentals; data names the symbol that was asked for."""
    del content_type  # JSON is sent under several
    if (verdict := _classify_transport(status, body)) is not None:
        return verdict
    parsed = answers.read(body)
    if isinstance(parsed, Verdict):
        return replace(parsed, reason="json_cut_short", is_retryable=True) if parsed.reason == "not_json" else parsed
    if (verdict := _classify_object(parsed)) is not None:
        return verdict
    if not parsed:
        return Verdict(Outcome.EMPTY, "no_fundamentals")
    if not isinstance(parsed, dict) or not {"Symbol", "Name"} <= parsed.keys():
        return Verdict(Outcome.FAILED, "unknown_shape")
    if parsed["Symbol"] != request.symbol:
        return Verdict(Outcome.FAILED, "other_symbol")
    return Verdict(Outcome.FETCHED)


def parse_overview(body: bytes, request: Request) -> pl.DataFrame:
    """One row of text; absent members and the provider's spellings of `missing` are null."""
    parsed = answers.load(body)
    if not isinstance(parsed, dict) or "Symbol" not in parsed:
        raise PayloadChanged(
            f"The overview of {request.name} is no company", provider=NAME, request=request.name, path="$.Symbol"
        )
    values = {column: parsed.get(member) for column, member in _OVERVIEW_MEMBERS.items()}
    if any(isinstance(value, dict | list) for value in values.values()):
        raise PayloadChanged(
            f"The overview of {request.name} is not flat", provider=NAME, request=request.name, path="$.*"
        )
    row = {
        column: None if value is None or str(value).strip().lower() in _MISSING else str(value)
        for column, value in values.items()
    }
    # As a row: 24 columns of one value each take Polars five times as long, which was most of a slice's time.
    return pl.DataFrame([row], schema=dict.fromkeys(values, pl.String))


_LICENCE = "Personal use under Alpha Vantage's terms of service; redistribution needs their consent."

_PREMIUM = {f"premium-{n}": Pace(calls_per_day=None, interval_s=60 / n) for n in (75, 150, 300, 600, 1200)}

PROVIDER = Provider(
    name=NAME,
    title="Alpha Vantage",
    base_url="https://www.alphavantage.co",
    base_url_setting="ALPHA_VANTAGE_BASE_URL",
    auth=Auth(
        setting="ALPHA_VANTAGE_API_KEY",
        place="query",
        name="apikey",
        obtain="https://www.alphavantage.co/support/#api-key",
    ),
    plans={"free": Pace(calls_per_day=25, interval_s=1.05), **_PREMIUM},
    plan_setting="ALPHA_VANTAGE_PLAN",
    default_plan="free",
    feeds=(
        Feed(
            dataset="weekly_adjusted",
            contract="bars_weekly_adjusted",
            grain=Grain.WEEK,
            is_snapshot=True,
            asset_classes=frozenset({"stock", "etf"}),
            plan=per_instrument(lambda i: _request("TIME_SERIES_WEEKLY_ADJUSTED", "csv", i, datatype="csv")),
            classify=_classify_series(_WEEKLY_COLUMNS),
            parse=parse_weekly_adjusted,
            endpoint="TIME_SERIES_WEEKLY_ADJUSTED",
            description="Weekly bars of the whole listing, with the vendor's adjusted close.",
            delay="End of day; the running week is present and moves.",
            moves_until_close=True,
            adjustment="Open to close as traded; adjusted close for splits and dividends, anchored at the newest week.",
            licence_note=_LICENCE,
        ),
        Feed(
            dataset="overview",
            contract="company_profile",
            grain=Grain.WEEK,
            is_snapshot=True,
            asset_classes=frozenset({"stock"}),
            plan=per_instrument(lambda i: _request("OVERVIEW", "json", i)),
            classify=classify_overview,
            parse=parse_overview,
            endpoint="OVERVIEW",
            description="Company profile and trailing fundamentals.",
            delay="Refreshed on the day a company reports.",
            adjustment="None.",
            licence_note=_LICENCE,
        ),
        Feed(
            dataset="daily_adjusted",
            contract="bars_daily",
            grain=Grain.SESSION,
            is_snapshot=True,
            asset_classes=frozenset({"stock", "etf"}),
            plan=per_instrument(
                lambda i: _request("TIME_SERIES_DAILY_ADJUSTED", "csv", i, outputsize="compact", datatype="csv")
            ),
            classify=_classify_series(_DAILY_COLUMNS),
            parse=parse_daily_adjusted,
            endpoint="TIME_SERIES_DAILY_ADJUSTED",
            description="Daily bars of the last hundred sessions, with dividends, splits and adjusted closes.",
            delay="End of day; a running session is present and moves.",
            moves_until_close=True,
            adjustment="Open to close as traded; adjusted close for splits and dividends, anchored at the newest day.",
            licence_note=_LICENCE,
            plans=frozenset(_PREMIUM),
            priority=30,
        ),
    ),
)
