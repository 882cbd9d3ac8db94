"""Financial Modeling Prep: flat arrays, newest first, and refusals in four spellings.

Written from captured bodies and quoted texts. It knows the members of the universe only; the rest of the market is
unknown to it. What does not belong here: the shapes of data (`fmp_bodies`), faults (`faults`) and the socket (`app`).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import orjson

from market_pipeline.sandbox import fmp_bodies as bodies
from market_pipeline.sandbox import recorded
from market_pipeline.sandbox.listing import Listing
from market_pipeline.sandbox.market import Market
from market_pipeline.sandbox.provider import Answer, Call, Provider
from market_pipeline.sandbox.quota import UNLIMITED, Limits, Refusal

JSON = "application/json; charset=utf-8"
_SITE = "https://site.financialmodelingprep.com"
_UPGRADE = "please visit our subscription page to upgrade your plan at"

PLANS: Mapping[str, Limits] = MappingProxyType(
    {
        "free": Limits(per_day=250),
        "starter": Limits(per_minute=300),
        "premium": Limits(per_minute=750),
        "ultimate": Limits(per_minute=3000),
        "unlimited": UNLIMITED,
    }
)

# Name -> (status, text or the value of the member "Error Message"). Texts go under application/json all the same.
_TEXTS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "premium_symbol": (
            402,
            (
                "Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is not available under your "
                f"current subscription {_UPGRADE} {_SITE}/developer/docs/pricing'"
            ),
        ),
        "restricted_endpoint": (
            402,
            (
                "Restricted Endpoint: This endpoint is not available under your current subscription "
                f"{_UPGRADE} https://financialmodelingprep.com/"
            ),
        ),
        "missing_parameter": (400, "Query Error: Invalid or missing query parameter - {parameter}"),
    }
)
_ERRORS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "bad_key": (
            401,
            (
                "Invalid API KEY. Feel free to create a Free API Key or visit "
                f"{_SITE}/faqs?search=why-is-my-api-key-invalid for more information."
            ),
        ),
        "legacy_endpoint": (
            403,
            (
                "Legacy Endpoint : Due to Legacy endpoints being no longer supported - This endpoint is only available "
                "for legacy users who have valid subscriptions prior August 31, 2025. Please visit our documentation "
                f"page {_SITE}/developer/docs for our current APIs."
            ),
        ),
        "exclusive_endpoint": (
            403,
            (
                "Exclusive Endpoint : This endpoint is not available under your current subscription agreement, "
                f"{_UPGRADE} {_SITE}/developer/docs/pricing"
            ),
        ),
        "per_day": (429, "{limit}"),
        "per_day_200": (200, "{limit}"),
    }
)
_LIMIT = (
    "Limit Reach . Please upgrade your plan or visit our documentation for more details at "
    f"{_SITE}/developer/docs/pricing "
)
_TOO_MANY = {
    "Error Message": (
        "Too Many Requests contact us at info@financialmodelingprep.com if you need to increase your limit rate per "
        "millisecond"
    ),
    "X-Rate-Limit-Retry-After-Seconds": 0,
    "X-Rate-Limit-Retry-After-Milliseconds": 174,
}
MESSAGES = (*_TEXTS, *_ERRORS, "per_minute", "not_found", "empty")
_V3 = re.compile(r"/api/v[34]/")


def message(name: str, *, parameter: str = "symbol") -> Answer:
    """A refusal; `parameter` is the one that is missing."""
    if name in _TEXTS:
        status, text = _TEXTS[name]
        return Answer(text.replace("{parameter}", parameter).encode(), JSON, status, outcome=name)
    if name == "per_minute":  # the header says 100 seconds, the body 174 milliseconds; the body is right
        headers = (("retry-after", "100"), ("x-rate-limit-retry-after-milliseconds", "174"))
        return Answer(orjson.dumps(_TOO_MANY), JSON, 429, headers, outcome=name)
    if name in ("not_found", "empty"):
        return Answer(b"[]", JSON, 404 if name == "not_found" else 200, outcome=name)
    status, text = _ERRORS[name]
    return Answer(bodies.pretty({"Error Message": text.replace("{limit}", _LIMIT)}), JSON, status, outcome=name)


class Fmp(Provider):
    """The free plan serves the symbols that the universe follows and refuses all others."""

    name = "fmp"
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
            raise ValueError(f"Unknown plan {plan!r} of fmp; one of: {', '.join(PLANS)}")
        self.plan, self.limits = plan, PLANS[plan]
        self._market, self._shelf, self._keys = market, shelf, keys

    def call(self, base: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]) -> Call:
        return Call(
            endpoint=path.removeprefix("/stable/").strip("/"),
            symbol=params.get("symbol", ""),
            key=headers.get("apikey", "") or params.get("apikey", ""),
            base=base,
            path=path,
            params=params,
        )

    def refusal(self, call: Call) -> Answer | None:
        if not call.key or (self._keys is not None and call.key not in self._keys):
            return message("bad_key")
        return None

    def limited(self, call: Call, limit: Refusal) -> Answer:
        return self.message("per_day" if limit == "per_day" else "per_minute", call)

    def message(self, name: str, call: Call) -> Answer:  # noqa: ARG002 - no word of it depends on the call
        return message(name)

    def answer(self, call: Call, now: dt.datetime) -> Answer:
        if _V3.match(call.path):
            return message("legacy_endpoint")
        if not call.path.startswith("/stable/") or call.endpoint not in bodies.ENDPOINTS:
            return message("not_found")
        if not call.symbol:
            return message("missing_parameter")
        if self._shelf is not None:
            body = recorded.body(self._shelf, call.endpoint.replace("/", "-"), call.symbol, "json")
            return message("empty") if body is None else Answer(body, JSON)
        if self._market is None:
            return message("empty")
        if self.plan == "free" and call.symbol not in self._free_symbols(self._market):
            return message("premium_symbol")
        since, until = _date(call.params.get("from")), _date(call.params.get("to"))
        for name, value in (("from", since), ("to", until)):
            if value is None and call.params.get(name):
                return message("missing_parameter", parameter=name)
        member = self._member(self._market, call.symbol, now)
        rows: list[dict[str, object]] = []
        if member is not None and member.asset_class != "index":
            rows = bodies.rows(self._market, member, call.endpoint, call.symbol, now, since=since, until=until)
        return Answer(bodies.pretty(rows), JSON, outcome="data" if rows else "empty")

    @staticmethod
    def _member(market: Market, symbol: str, now: dt.datetime) -> Listing | None:
        """Class shares are written with a hyphen, and with nothing else; the delisted keep their history."""
        return None if "." in symbol else market.past_member(symbol.replace("-", "."), now)

    @staticmethod
    def _free_symbols(market: Market) -> frozenset[str]:
        spellings = (period.symbol for member in market.members if member.is_followed for period in member.periods)
        return frozenset(symbol.replace(".", "-") for symbol in spellings)


def _date(text: str | None) -> dt.date | None:
    """A calendar date, None where it is none."""
    try:
        return dt.date.fromisoformat(text or "")
    except ValueError:
        return None
