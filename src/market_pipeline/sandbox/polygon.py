"""Polygon.io, renamed Massive: envelopes, cursors, and refusals that say why in one of two members.

Written from captured bodies, its specification and quoted texts. It knows the whole market, without over-the-counter
tickers. What does not belong here: the shapes of data (`polygon_bodies`), queries (`polygon_query`), faults (`faults`)
and the socket (`app`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlencode

import orjson

from market_pipeline.sandbox import polygon_bodies as bodies
from market_pipeline.sandbox import polygon_query as queries
from market_pipeline.sandbox import recorded
from market_pipeline.sandbox.faults import Fault
from market_pipeline.sandbox.market import Market
from market_pipeline.sandbox.provider import Answer, Call, Provider
from market_pipeline.sandbox.quota import UNLIMITED, Limits, Refusal
from market_pipeline.sandbox.sessions import new_york_date

PLANS: Mapping[str, Limits] = MappingProxyType(
    {
        "basic": Limits(per_minute=5),
        "starter": UNLIMITED,
        "developer": UNLIMITED,
        "advanced": UNLIMITED,
        "unlimited": UNLIMITED,
    }
)
_HISTORY_YEARS = {"basic": 2, "starter": 5, "developer": 10}
_DELAYED = frozenset({"starter", "developer"})
_PRICING = "https://polygon.io/pricing"

# Name -> (HTTP status, `status`, the member that says why, why).
_REFUSALS: Mapping[str, tuple[int, str, str, str]] = MappingProxyType(
    {
        "bad_key": (401, "ERROR", "error", "Unknown API Key"),
        "no_key": (401, "ERROR", "error", "API Key was not provided"),
        "not_authorized": (
            403,
            "NOT_AUTHORIZED",
            "message",
            f"You are not entitled to this data. Please upgrade your plan at {_PRICING}",
        ),
        "not_authorized_200": (
            200,
            "NOT_AUTHORIZED",
            "message",
            f"You are not entitled to this data. Please upgrade your plan at {_PRICING}",
        ),
        "timeframe": (
            403,
            "NOT_AUTHORIZED",
            "message",
            f"Your plan doesn't include this data timeframe. Please upgrade your plan at {_PRICING}",
        ),
        "per_minute": (
            429,
            "ERROR",
            "error",
            (
                "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to "
                f"continue. {_PRICING}"
            ),
        ),
        "ticker_not_found": (404, "NOT_FOUND", "message", "Ticker not found."),
        "bad_request": (400, "ERROR", "error", "{why}"),
        "cursor_expired": (400, "ERROR", "error", "The cursor has expired"),
    }
)
MESSAGES = (*_REFUSALS, "not_found", "empty_429")
_FOREIGN = "https://api.elsewhere.example"

_ROUTES = {
    "grouped_daily": re.compile(r"/v2/aggs/grouped/locale/us/market/stocks/(?P<symbol>[^/]+)\Z"),
    "aggs_range": re.compile(r"/v2/aggs/ticker/(?P<symbol>[^/]+)/range/1/day/(?P<since>[^/]+)/(?P<until>[^/]+)\Z"),
    "tickers": re.compile(r"/v3/reference/tickers\Z"),
    "dividends": re.compile(r"/v3/reference/dividends\Z"),
    "splits": re.compile(r"/v3/reference/splits\Z"),
    "ticker_events": re.compile(r"/vX/reference/tickers/(?P<symbol>[^/]+)/events\Z"),
}
_DATES = {"pay_date": "paid", "record_date": "record", "declaration_date": "known"}
_DIVIDEND = {
    "ticker": "ticker",
    "ex_dividend_date": "date",
    "dividend_type": "kind",
    "cash_amount": "amount",
    "frequency": "frequency",
    **_DATES,
}
_SPLIT = {"ticker": "ticker", "execution_date": "date"}


class Polygon(Provider):
    """`request_id` is made from the count of answers, so no two of them are the same bytes."""

    name = "polygon"
    messages = MESSAGES

    def __init__(
        self,
        market: Market | None,
        *,
        plan: str = "unlimited",
        shelf: Path | None = None,
        keys: frozenset[str] | None = None,
    ) -> None:
        if plan not in PLANS:
            raise ValueError(f"Unknown plan {plan!r} of polygon; one of: {', '.join(PLANS)}")
        self.plan, self.limits = plan, PLANS[plan]
        self._market, self._shelf, self._keys = market, shelf, keys
        self._answered = 0

    def call(self, base: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]) -> Call:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        endpoint, symbol = path.strip("/"), params.get("ticker", "")
        for name, route in _ROUTES.items():
            match = route.match(path)
            if match:
                endpoint, symbol = name, match.groupdict().get("symbol", symbol)
        return Call(
            endpoint=endpoint,
            symbol=symbol,
            page=queries.page_of(params),
            key=bearer.strip() if scheme.lower() == "bearer" else params.get("apiKey", ""),
            base=base,
            path=path,
            params=params,
        )

    def refusal(self, call: Call) -> Answer | None:
        if not call.key:
            return self.message("no_key", call)
        if self._keys is not None and call.key not in self._keys:
            return self.message("bad_key", call)
        return None

    def limited(self, call: Call, limit: Refusal) -> Answer:  # noqa: ARG002 - there is one limit
        return self.message("per_minute", call)

    def message(self, name: str, call: Call, why: str = "") -> Answer:  # noqa: ARG002 - no word depends on the call
        if name == "not_found":
            return Answer(b"404 page not found\n", "text/plain; charset=utf-8", 404, outcome=name)
        if name == "empty_429":
            return Answer(b"", "text/plain", 429, outcome=name)
        status, word, member, text = _REFUSALS[name]
        identifier = self._request_id()
        document = {"status": word, "request_id": identifier, member: text.replace("{why}", why)}
        return Answer(bodies.compact(document), status=status, headers=_headers(identifier), outcome=name)

    def answer(self, call: Call, now: dt.datetime) -> Answer:
        route = _ROUTES.get(call.endpoint)
        match = None if route is None else route.match(call.path)
        if match is None:
            return self.message("not_found", call)
        if self._shelf is not None:
            body = recorded.body(self._shelf, call.endpoint, call.symbol, "json")
            return self.message("ticker_not_found", call) if body is None else Answer(body)
        if self._market is None:
            return self.message("not_found", call)
        try:
            if call.endpoint in ("grouped_daily", "aggs_range"):
                return self._aggregates(self._market, call, match.groupdict(), now)
            if call.endpoint == "ticker_events":
                return self._ticker_events(self._market, call, now)
            return self._reference(self._market, call, now)
        except queries.BadQueryError as error:
            return self.message("bad_request", call, str(error))

    def spoiled(self, answer: Answer, fault: Fault, call: Call) -> Answer:
        """A page whose next one is itself, or elsewhere."""
        document = orjson.loads(answer.body) if answer.outcome == "data" else {}
        if "next_url" not in document:
            return answer
        if fault.kind == "repeated_cursor":
            own = urlencode({name: value for name, value in call.params.items() if name != "apiKey"})
            document["next_url"] = f"{call.base}{call.path}?{own}"
        else:
            document["next_url"] = document["next_url"].replace(call.base, _FOREIGN)
        return Answer(bodies.compact(document), headers=answer.headers, outcome=answer.outcome)

    def _aggregates(self, market: Market, call: Call, place: Mapping[str, str], now: dt.datetime) -> Answer:
        query = queries.read(call.params)
        is_adjusted = query.is_("adjusted", default=True)
        is_grouped = call.endpoint == "grouped_daily"
        texts = (call.symbol, call.symbol) if is_grouped else (place["since"], place["until"])
        since, until = (_day(text) for text in texts)
        calendar, whole = market.horizon(now).calendar, market.whole(now)
        if self._is_outside_plan(since, now) or (is_grouped and self._is_not_over(market, until, now)):
            return self.message("timeframe", call)
        if is_grouped:
            number = calendar.number(until)
            head: bodies.Row = {}
            columns = None if number is None else whole.session(number, now, is_adjusted=is_adjusted)
        else:
            first, end = calendar.from_day(since), calendar.from_day(until + dt.timedelta(days=1))
            head = {"ticker": call.symbol}
            columns = whole.history(call.symbol, first, end, now, is_adjusted=is_adjusted)
            columns = columns.reversed() if query.params.get("sort") == "desc" else columns
        count = 0 if columns is None else len(columns.tickers)
        head |= {"queryCount": count, "resultsCount": count, "adjusted": is_adjusted}
        identifier = self._request_id()
        tail: bodies.Row = {"status": "DELAYED" if self.plan in _DELAYED else "OK", "request_id": identifier}
        if columns is None or not count:
            return Answer(bodies.compact({**head, **tail}), headers=_headers(identifier), outcome="empty")
        rows = bodies.bars(columns, with_ticker=is_grouped)
        document = {**head, "results": rows, **tail, "count": count}
        return Answer(bodies.compact(document), headers=_headers(identifier))

    def _reference(self, market: Market, call: Call, now: dt.datetime) -> Answer:
        """Tickers, dividends and splits: the three that have pages."""
        query, whole, today = queries.read(call.params), market.whole(now), new_york_date(now)
        kept: dict[str, str] = {}
        if call.endpoint == "tickers":
            limit, day = query.limit(100), query.day("date") or today
            found = queries.tickers_of(whole.tickers, query, today=day)
            start, page, mark = queries.after(found, query, limit)
            rows = [bodies.ticker(one, today=day, place=start + number) for number, one in enumerate(page)]
            kept = {"active": "true", "date": day.isoformat(), "limit": str(limit), "order": "asc", "sort": "ticker"}
        else:
            is_split = call.endpoint == "splits"
            table, members = (whole.splits, _SPLIT) if is_split else (whole.dividends, _DIVIDEND)
            sort, limit = "execution_date" if is_split else "ex_dividend_date", query.limit(10)
            places, mark = queries.rows_of(table, query, known=today, members=members, sort=sort, limit=limit)
            rows = list((bodies.splits if is_split else bodies.dividends)(table, places))
            kept = {"limit": str(limit)}
        identifier = self._request_id()
        document: bodies.Row = {"results": rows, "status": "OK", "request_id": identifier}
        if call.endpoint == "tickers":
            document["count"] = len(rows)
        if mark is not None:
            document["next_url"] = f"{call.base}{call.path}?cursor={query.cursor(mark, **kept)}"
        return Answer(bodies.compact(document), headers=_headers(identifier), outcome="data" if rows else "empty")

    def _ticker_events(self, market: Market, call: Call, now: dt.datetime) -> Answer:
        """By ticker or FIGI: of whoever bears the ticker today, else of the last one that was delisted with it."""
        whole, today = market.whole(now), new_york_date(now)
        named = [one for one in whole.tickers if call.symbol in (one.symbol, one.composite_figi)]
        bearers = [one for one in named if one.holds(today)]
        bearers = bearers or sorted((o for o in named if o.is_delisted(today)), key=lambda one: one.valid_from)
        if not bearers:
            return self.message("ticker_not_found", call)
        records = [one for one in whole.bearers[bearers[-1].instrument] if one.valid_from <= today]
        identifier = self._request_id()
        document = {"results": bodies.events(records), "status": "OK", "request_id": identifier}
        return Answer(bodies.compact(document), headers=_headers(identifier))

    def _is_outside_plan(self, day: dt.date, now: dt.datetime) -> bool:
        """Older than the plan's years."""
        years, today = _HISTORY_YEARS.get(self.plan), new_york_date(now)
        return years is not None and day < today.replace(year=today.year - years, day=min(today.day, 28))

    @staticmethod
    def _is_not_over(market: Market, day: dt.date, now: dt.datetime) -> bool:
        """A day to come, or today before the close."""
        calendar = market.horizon(now).calendar
        number = calendar.number(day)
        is_open = number is not None and now < calendar.closes[number]
        return day > new_york_date(now) or is_open

    def _request_id(self) -> str:
        self._answered += 1
        seed = 0 if self._market is None else self._market.seed
        return hashlib.sha256(f"{seed}|request|{self._answered}".encode()).hexdigest()[:32]


def _headers(identifier: str) -> tuple[tuple[str, str], ...]:
    return (("x-request-id", identifier), ("vary", "Accept-Encoding"))


def _day(text: str) -> dt.date:
    """A day of an address: ISO, or milliseconds since 1970."""
    try:
        if text.isdecimal():
            return dt.datetime.fromtimestamp(int(text) / 1000, dt.UTC).date()
        return dt.date.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise queries.BadQueryError(
            f"Could not parse the time parameter: '{text}'. Use YYYY-MM-DD format or Unix MS Timestamp"
        ) from None
