"""Alpha Vantage: one address, the function in the query, and HTTP status 200 whatever happens.

Written from captured bodies. What does not belong here: the shapes of data (`alpha_vantage_bodies`), faults (`faults`)
and the socket (`app`).
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from market_pipeline.sandbox import alpha_vantage_bodies as bodies
from market_pipeline.sandbox import daily, recorded
from market_pipeline.sandbox.market import Market
from market_pipeline.sandbox.provider import Answer, Call, Provider
from market_pipeline.sandbox.quota import UNLIMITED, Limits, Refusal

WEEKLY = "TIME_SERIES_WEEKLY_ADJUSTED"
OVERVIEW = "OVERVIEW"
DAILY = "TIME_SERIES_DAILY"
DAILY_ADJUSTED = "TIME_SERIES_DAILY_ADJUSTED"
PREMIUM = frozenset({DAILY_ADJUSTED, "TIME_SERIES_INTRADAY", "REALTIME_BULK_QUOTES"})

_SITE = "https://www.alphavantage.co"
_THANKS = "Thank you for using Alpha Vantage!"
_PLANS = f"any of the premium plans at {_SITE}/premium/"

# Name -> (member, text). {function} and {key} are filled in.
MESSAGES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "per_second": (
            "Information",
            (
                f"{_THANKS} Please consider spreading out your free API requests more sparingly (1 request per "
                f"second). You may subscribe to {_PLANS} to lift the free key rate limit (25 requests per day), raise "
                "the per-second burst limit, and instantly unlock all premium endpoints"
            ),
        ),
        "burst": (
            "Information",
            (
                "Burst pattern detected. Please consider spreading out your API requests more evenly across a 1-minute "
                "window and query no more than 30 requests per second."
            ),
        ),
        "per_minute": (
            "Information",
            (
                "Minute-level rate limit exceed. Please stay under the number of API requests per minute for your "
                "premium subscription plan."
            ),
        ),
        "per_day": (
            "Information",
            (
                f"{_THANKS} Our standard API rate limit is 25 requests per day. Please subscribe to {_PLANS} to "
                "instantly remove all daily rate limits."
            ),
        ),
        "per_day_echo": (
            "Information",
            (
                "We have detected your API key as {key} and our standard API rate limit is 25 requests per day. Please "
                f"subscribe to {_PLANS} to instantly remove all daily rate limits."
            ),
        ),
        "volume": (
            "Information",
            f"{_THANKS} Please contact premium@alphavantage.co if you are targeting a higher API call volume.",
        ),
        "old_minute": (
            "Note",
            (
                f"{_THANKS} Our standard API call frequency is 5 calls per minute and 500 calls per day. Please visit "
                f"{_SITE}/premium/ if you would like to target a higher API call frequency."
            ),
        ),
        "premium_endpoint": (
            "Information",
            (
                f"{_THANKS} This is a premium endpoint. You may subscribe to {_PLANS} to instantly unlock all premium "
                "endpoints"
            ),
        ),
        "premium_parameter": (
            "Information",
            (
                f"{_THANKS} The outputsize=full parameter value is a premium feature for the {{function}} endpoint. "
                f"You may subscribe to {_PLANS} to instantly unlock all premium features"
            ),
        ),
        "demo_key": (
            "Information",
            (
                "The **demo** API key is for demo purposes only. Please claim your free API key at "
                f"({_SITE}/support/#api-key) to explore our full API offerings. It takes fewer than 20 seconds."
            ),
        ),
        "bad_key": (
            "Error Message",
            (
                "the parameter apikey is invalid or missing. Please claim your free API key on "
                f"({_SITE}/support/#api-key). It should take less than 20 seconds."
            ),
        ),
        "invalid_call": (
            "Error Message",
            f"Invalid API call. Please retry or visit the documentation ({_SITE}/documentation/) for {{function}}.",
        ),
    }
)

_HEADERS = (("vary", "Cookie"), ("x-frame-options", "SAMEORIGIN"), ("via", "1.1 vegur"))


def limits(plan: str) -> Limits:
    """A plan's limits; unknown plans are an error."""
    match = re.fullmatch(r"premium-([1-9]\d{0,4})", plan)
    if match:
        return Limits(per_minute=int(match[1]), per_second=30)
    if plan == "free":  # calls that left a second apart may arrive a little closer
        return Limits(per_day=25, gap_s=0.95)
    if plan == "unlimited":
        return UNLIMITED
    raise ValueError(f"Unknown plan {plan!r} of alpha_vantage; one of: free, premium-<calls a minute>, unlimited")


def message(name: str, *, function: str, key: str = "") -> Answer:
    """An error body, indented by four as the real ones are."""
    member, text = MESSAGES[name]
    text = text.replace("{function}", function).replace("{key}", key)
    return Answer(json.dumps({member: text}, indent=4, ensure_ascii=False).encode(), outcome=name)


class AlphaVantage(Provider):
    """`documented_symbol` is the one that the key `demo` may ask for; with `echoes_key` the daily refusal repeats the
    caller's key; `keys` None takes any key; `shelf` is the folder of captured bodies, whose market is None."""

    name = "alpha_vantage"
    messages = tuple(MESSAGES)

    def __init__(
        self,
        market: Market | None,
        *,
        plan: str = "free",
        shelf: Path | None = None,
        keys: frozenset[str] | None = None,
        echoes_key: bool = False,
        documented_symbol: str = "IBM",
    ) -> None:
        self.plan, self.limits = plan, limits(plan)
        self._market, self._shelf, self._keys = market, shelf, keys
        self._echoes_key, self._documented_symbol = echoes_key, documented_symbol

    def call(self, base: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]) -> Call:  # noqa: ARG002 - the key is in the query
        return Call(
            endpoint=params.get("function", "").upper(),
            symbol=params.get("symbol", "").upper(),
            key=params.get("apikey", ""),
            base=base,
            path=path,
            params=params,
        )

    def refusal(self, call: Call) -> Answer | None:
        if call.path != "/query":
            return Answer(b"Not Found", "text/plain; charset=utf-8", 404, outcome="not_found")
        if call.key == "demo":
            allowed = {"function": call.endpoint, "symbol": self._documented_symbol, "apikey": "demo"}
            asked = {**call.params, "function": call.endpoint}
            is_documented = {**allowed, "datatype": "csv"} == {**asked, "datatype": "csv"}
            return None if is_documented else self.message("demo_key", call)
        if not call.key or (self._keys is not None and call.key not in self._keys):
            return self.message("bad_key", call)
        return None

    def is_counted(self, call: Call) -> bool:
        return call.key != "demo"

    def limited(self, call: Call, limit: Refusal) -> Answer:
        return self.message("per_day_echo" if limit == "per_day" and self._echoes_key else limit, call)

    def message(self, name: str, call: Call) -> Answer:
        return replace(message(name, function=call.endpoint, key=call.key), headers=_HEADERS)

    def answer(self, call: Call, now: dt.datetime) -> Answer:
        answer = self._data(call, now)
        if answer is None:
            is_premium = call.endpoint in PREMIUM and self.plan == "free"
            return self.message("premium_endpoint" if is_premium else "invalid_call", call)
        return replace(answer, headers=(*_HEADERS, *answer.headers))

    def _data(self, call: Call, now: dt.datetime) -> Answer | None:
        """The body of a function and symbol that exist on this plan."""
        function, symbol, datatype = call.endpoint, call.symbol, call.params.get("datatype", "json")
        is_full = call.params.get("outputsize", "compact") == "full"
        if self._shelf is not None:
            extension = "csv" if datatype == "csv" and function != OVERVIEW else "json"
            body = recorded.body(self._shelf, function, symbol, extension)
            if body is not None:
                return bodies.recorded(body, function=function, symbol=symbol, extension=extension)
        if function == OVERVIEW and symbol:
            return bodies.overview(None if self._market is None else self._market.profile(symbol, now))
        if self._market is None:
            return None
        if function == WEEKLY:
            return bodies.weekly(self._market.bars(symbol, now), symbol=symbol, datatype=datatype)
        if function in (DAILY, DAILY_ADJUSTED):
            if self.plan == "free" and function == DAILY_ADJUSTED:
                return None
            if self.plan == "free" and is_full:
                return message("premium_parameter", function=function)
            member = self._market.member(symbol, now)
            if member is None or member.asset_class == "index":
                return None
            horizon = self._market.horizon(now)
            found = daily.alpha_vantage(horizon, member, now)
            return bodies.daily(
                found,
                dates=horizon.calendar.dates,
                function=function,
                symbol=symbol,
                datatype=datatype,
                is_full=is_full,
                now=now,
            )
        return None
