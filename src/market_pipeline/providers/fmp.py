"""Financial Modeling Prep, the `stable` endpoints: https://site.financialmodelingprep.com/developer/docs/stable

Data is a list, newest first. An object with `Error Message` is an error whatever its status; so is plain text, whose
content type says JSON. `[]` with status 200 is a symbol or a range without data. Three members are not what they are
called and are not read: `vwap` (the mean of open, high, low and close), `change` and `changePercent` (against the open
of the same day). The series that is not adjusted for splits has its raw prices under `adjOpen` to `adjClose`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import polars as pl

from market_pipeline import json_answers as answers
from market_pipeline.errors import PayloadChanged
from market_pipeline.feed import Auth, Feed, Instrument, Outcome, Pace, Provider, Request, Verdict, per_instrument
from market_pipeline.partition import Grain, Slice

NAME = "fmp"

# First match wins. The free plan names the parameter whose value it does not include.
_MESSAGES = (
    ("Invalid API KEY", Verdict(Outcome.REFUSED, "invalid_key", is_key=True)),
    ("Limit Reach", Verdict(Outcome.DEFERRED, "daily_quota", exhausts_quota=True)),
    ("Too Many Requests", Verdict(Outcome.FAILED, "rate_limited", is_retryable=True)),
    ("value set for 'symbol'", Verdict(Outcome.REFUSED, "premium_symbol")),
    ("Premium Query Parameter", Verdict(Outcome.REFUSED, "premium_parameter")),
    ("Special Endpoint", Verdict(Outcome.REFUSED, "premium_parameter")),
    ("Restricted Endpoint", Verdict(Outcome.REFUSED, "restricted_endpoint")),
    ("Exclusive Endpoint", Verdict(Outcome.REFUSED, "exclusive_endpoint")),
    ("Legacy Endpoint", Verdict(Outcome.REFUSED, "legacy_endpoint")),
    ("Query Error", Verdict(Outcome.REFUSED, "invalid_call")),
)
_WAIT_MEMBER = "X-Rate-Limit-Retry-After-Milliseconds"
# An answer of so many rows may lack its oldest ones, and does not say so.
_ROWS_MAX = 5000

_PLAIN = {"open_usd": "open", "high_usd": "high", "low_usd": "low", "close_usd": "close"}
_ADJ_NAMED = {"open_usd": "adjOpen", "high_usd": "adjHigh", "low_usd": "adjLow", "close_usd": "adjClose"}
_DAY = {"session_date": "date", "volume_shares": "volume"}

_PROFILE = {
    "name": "companyName",
    "exchange": "exchange",
    "currency": "currency",
    "country": "country",
    "sector": "sector",
    "industry": "industry",
    "cik": "cik",
    "market_capitalization": "marketCap",
    "beta": "beta",
    "isin": "isin",
    "ipo_date": "ipoDate",
    "is_actively_trading": "isActivelyTrading",
}
_CLASSES = {"etf": "isEtf", "fund": "isFund", "adr": "isAdr"}
_PROFILE_AND_CLASS = {**_PROFILE, **_CLASSES}

_DIVIDENDS = {
    "effective_date": "date",
    "cash_amount": "dividend",
    "adjusted_cash_amount": "adjDividend",
    "declaration_date": "declarationDate",
    "record_date": "recordDate",
    "pay_date": "paymentDate",
    "frequency_per_year": "frequency",
}
_PER_YEAR = {"Annual": "1", "Semi-Annual": "2", "Quarterly": "4", "Monthly": "12", "Weekly": "52"}
_SPLITS = {"effective_date": "date", "split_from": "denominator", "split_to": "numerator", "kind": "splitType"}
_OPTIONAL = frozenset({"splitType"})


def _request(
    path: str, instrument: Instrument, *, since: dt.date | None = None, until: dt.date | None = None
) -> Request:
    # Class shares have a hyphen here; a dot gives an empty list.
    symbol = instrument.spelling(NAME).replace(".", "-")
    days: tuple[tuple[str, str], ...] = ()
    if since is not None and until is not None:
        days = (("from", since.isoformat()), ("to", (until - dt.timedelta(days=1)).isoformat()))
    return Request(
        name=symbol,
        path=f"/stable/{path}",
        params=(("symbol", symbol), *days),
        extension="json",
        instrument_id=instrument.instrument_id,
        symbol=symbol,
        since=since,
        until=until,
    )


def _by_range(path: str) -> Callable[[Slice, Sequence[Instrument]], tuple[Request, ...]]:
    """One request per instrument, from the first to the last day of the range."""
    return lambda part, instruments: tuple(_request(path, i, since=part.start, until=part.end) for i in instruments)


def _error(status: int, parsed: object, body: bytes) -> Verdict | None:
    """The verdict on an answer that is no data, None when it may be some."""
    text = ""
    if isinstance(parsed, dict) and "Error Message" in parsed:
        text = str(parsed["Error Message"])
    elif isinstance(parsed, Verdict) and parsed.reason == "not_json":
        text = body[:1000].decode("utf-8", "replace")
    verdict = answers.of_message(text, _MESSAGES)
    if verdict is None:
        verdict = answers.of_status(status) or (parsed if isinstance(parsed, Verdict) else None)
        return Verdict(Outcome.FAILED, "unknown_message") if verdict is None and text else verdict
    wait = parsed.get(_WAIT_MEMBER) if isinstance(parsed, dict) else None
    return replace(verdict, retry_after_s=wait / 1000) if isinstance(wait, int) and verdict.is_retryable else verdict


def _classify(members: Mapping[str, str]) -> Callable[[Request, int, str, bytes], Verdict]:
    """A list of rows that have these members, all of the symbol that was asked for."""
    required = frozenset({"symbol", *members.values()}) - _OPTIONAL

    def classify(request: Request, status: int, content_type: str, body: bytes) -> Verdict:
        del content_type  # plain text is sent as JSON
        parsed = answers.read(body)
        if (verdict := _error(status, parsed, body)) is not None:
            return verdict
        if parsed in ([], {}):
            return Verdict(Outcome.EMPTY, "no_data")
        if not isinstance(parsed, list) or not answers.are_rows(parsed, required):
            return Verdict(Outcome.FAILED, "unknown_shape")
        if any(row.get("symbol") != request.symbol for row in parsed):
            return Verdict(Outcome.FAILED, "other_symbol")
        if len(parsed) >= _ROWS_MAX:
            return Verdict(Outcome.FAILED, "row_cap")
        return Verdict(Outcome.FETCHED)

    return classify


def _text(body: bytes, request: Request, members: Mapping[str, str]) -> pl.DataFrame:
    rows = answers.load_literally(body)
    if not answers.are_rows(rows, frozenset(members.values()) - _OPTIONAL):
        raise PayloadChanged(
            f"The answer for {request.name} has other members", provider=NAME, request=request.name, path="$[*]"
        )
    return answers.text_frame(rows, members)


def _parse_bars(price_basis: str, prices: Mapping[str, str]) -> Callable[[bytes, Request], pl.DataFrame]:
    """Every row as text, newest first, with the basis that the endpoint (not the members' names) stands for."""

    def parse(body: bytes, request: Request) -> pl.DataFrame:
        return _text(body, request, {**_DAY, **prices}).with_columns(price_basis=pl.lit(price_basis))

    return parse


def parse_profile(body: bytes, request: Request) -> pl.DataFrame:
    """One row of text; `asset_type` is the first class that the flags name, else stock."""
    frame = _text(body, request, _PROFILE_AND_CLASS)
    flags = [pl.when(pl.col(name) == "true").then(pl.lit(name)) for name in _CLASSES]
    return frame.select(
        *(name for name in _PROFILE if name != "cik"),
        asset_type=pl.coalesce(*flags, pl.lit("stock")),
        cik=pl.col("cik").str.strip_chars_start("0").replace("", None),
    )


def parse_dividends(body: bytes, request: Request) -> pl.DataFrame:
    """Dividends as text, announced ones too; a frequency that is no number of payments a year is null."""
    frame = _text(body, request, _DIVIDENDS).with_columns(
        pl.col("frequency_per_year").replace_strict(_PER_YEAR, default=None, return_dtype=pl.String),
        action_type=pl.lit("dividend"),
        kind=pl.lit("dividend"),
    )
    return answers.number_repeats(frame, "kind", within=["effective_date"])


def parse_splits(body: bytes, request: Request) -> pl.DataFrame:
    """Splits as text: `denominator` old shares become `numerator` new ones. A spin-off that is booked as a split keeps
    its name in `kind`."""
    frame = _text(body, request, _SPLITS).with_columns(
        pl.col("kind").replace("None", None).fill_null("split"), action_type=pl.lit("split")
    )
    return answers.number_repeats(frame, "kind", within=["effective_date"])


_endpoint = partial(
    Feed,
    asset_classes=frozenset({"stock", "etf"}),
    licence_note="Personal use under FMP's terms of service; display and redistribution need a data agreement.",
)


def _bars(dataset: str, path: str, price_basis: str, prices: Mapping[str, str], *, adjustment: str) -> Feed:
    return _endpoint(
        dataset=dataset,
        contract="bars_daily",
        grain=Grain.SESSION,
        is_snapshot=False,
        plan=_by_range(f"historical-price-eod/{path}"),
        classify=_classify({**_DAY, **prices}),
        parse=_parse_bars(price_basis, prices),
        endpoint=f"historical-price-eod/{path}",
        description=f"Daily bars of one symbol over a range of days ({price_basis.replace('_', ' ')}).",
        delay="End of day; the running session is present with the live price as its close.",
        adjustment=adjustment,
        spans=True,
        is_revised=True,
        date_column="session_date",
        priority=20,
    )


def _snapshot(
    dataset: str,
    contract: str,
    members: Mapping[str, str],
    parse: Callable[[bytes, Request], pl.DataFrame],
    *,
    description: str,
    adjustment: str,
    priority: int,
) -> Feed:
    return _endpoint(
        dataset=dataset,
        contract=contract,
        grain=Grain.WEEK,
        is_snapshot=True,
        plan=per_instrument(lambda instrument: _request(dataset, instrument)),
        classify=_classify(members),
        parse=parse,
        endpoint=dataset,
        description=description,
        delay="As the provider learns of it.",
        adjustment=adjustment,
        priority=priority,
    )


PROVIDER = Provider(
    name=NAME,
    title="Financial Modeling Prep",
    base_url="https://financialmodelingprep.com",
    base_url_setting="FMP_BASE_URL",
    auth=Auth(
        setting="FMP_API_KEY",
        place="header",
        name="apikey",
        obtain="https://site.financialmodelingprep.com/developer/docs",
    ),
    plans={
        "free": Pace(calls_per_day=250, interval_s=0.25),
        "starter": Pace(calls_per_day=None, interval_s=60 / 300),
        "premium": Pace(calls_per_day=None, interval_s=60 / 750),
        "ultimate": Pace(calls_per_day=None, interval_s=60 / 3000),
    },
    plan_setting="FMP_PLAN",
    default_plan="free",
    feeds=(
        _bars("eod_raw", "non-split-adjusted", "raw", _ADJ_NAMED, adjustment="None, whatever its members say."),
        _bars("eod_split_adjusted", "full", "split_adjusted", _PLAIN, adjustment="Splits up to the day of asking."),
        _bars(
            "eod_dividend_adjusted",
            "dividend-adjusted",
            "dividend_adjusted",
            _ADJ_NAMED,
            adjustment="Splits and dividends up to the day of asking.",
        ),
        _snapshot(
            "profile",
            "company_profile",
            _PROFILE_AND_CLASS,
            parse_profile,
            description="Company profile with CIK, ISIN and the state of the listing.",
            adjustment="None.",
            priority=200,  # Alpha Vantage's overview has the fundamentals too
        ),
        _snapshot(
            "dividends",
            "corporate_actions",
            _DIVIDENDS,
            parse_dividends,
            description="Dividends of one symbol, announced ones included.",
            adjustment="As paid, and beside it adjusted for later splits.",
            priority=20,
        ),
        _snapshot(
            "splits",
            "corporate_actions",
            _SPLITS,
            parse_splits,
            description="Splits of one symbol, with stock dividends and spin-offs that are booked as splits.",
            adjustment="None.",
            priority=20,
        ),
    ),
)
