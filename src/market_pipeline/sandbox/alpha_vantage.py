"""Alpha Vantage's wire format: the words, the shapes and the habits of its answers.

Every answer has HTTP status 200, errors too. Written from captured bodies; what does not belong here: limits
(`quota`), faults (`faults`) and the socket (`app`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from market_pipeline.sandbox.companies import Profile
from market_pipeline.sandbox.horizon import Bar

WEEKLY = "TIME_SERIES_WEEKLY_ADJUSTED"
OVERVIEW = "OVERVIEW"
PREMIUM = frozenset({"TIME_SERIES_DAILY_ADJUSTED", "TIME_SERIES_INTRADAY", "REALTIME_BULK_QUOTES"})

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

HEADER = "timestamp,open,high,low,close,adjusted close,volume,dividend amount"

# Companies of the fictional market whose bodies are as incomplete as those of real ones.
_ABSENT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "FNQR": frozenset(
            {
                "AnalystRatingStrongBuy",
                "AnalystRatingBuy",
                "AnalystRatingHold",
                "AnalystRatingSell",
                "AnalystRatingStrongSell",
            }
        ),
        "LQMR": frozenset({"OfficialSite", "SharesFloat", "PercentInsiders", "PercentInstitutions"}),
    }
)
_NONE: Mapping[str, frozenset[str]] = MappingProxyType({"BQLN": frozenset({"EBITDA", "GrossProfitTTM", "EVToEBITDA"})})


@dataclass(frozen=True, slots=True)
class Answer:
    """One response before compression: `outcome` is `data`, `empty` or the name of a message."""

    body: bytes
    content_type: str = "application/json"
    filename: str | None = None
    outcome: str = "data"

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Response headers that belong to the body."""
        found = [("content-type", self.content_type)]
        if self.filename is not None:
            found.append(("content-disposition", f"attachment; filename={self.filename}"))
        return found


def message(name: str, *, function: str, key: str = "") -> Answer:
    """An error body, indented by four as the real ones are."""
    member, text = MESSAGES[name]
    text = text.replace("{function}", function).replace("{key}", key)
    return Answer(_json({member: text}), outcome=name)


def recorded(body: bytes, *, symbol: str, extension: str) -> Answer:
    """A captured body as it is."""
    return _csv(body, symbol) if extension == "csv" else Answer(body)


def weekly(bars: Sequence[Bar], *, symbol: str, datatype: str) -> Answer:
    """TIME_SERIES_WEEKLY_ADJUSTED, newest week first; a symbol without a bar is an unknown one."""
    if not bars:
        return message("invalid_call", function=WEEKLY)
    if datatype == "csv":
        lines = [HEADER, *(",".join((bar.session.isoformat(), *_fields(bar))) for bar in bars)]
        return _csv("".join(f"{line}\r\n" for line in lines).encode(), symbol)
    names = ("1. open", "2. high", "3. low", "4. close", "5. adjusted close", "6. volume", "7. dividend amount")
    return Answer(
        _json(
            {
                "Meta Data": {
                    "1. Information": "Weekly Adjusted Prices and Volumes",
                    "2. Symbol": symbol,
                    "3. Last Refreshed": bars[0].session.isoformat(),
                    "4. Time Zone": "US/Eastern",
                },
                "Weekly Adjusted Time Series": {
                    bar.session.isoformat(): dict(zip(names, _fields(bar), strict=True)) for bar in bars
                },
            }
        )
    )


def overview(company: Profile | None) -> Answer:
    """OVERVIEW: a flat object of strings, `{}` for whatever has no fundamentals."""
    if company is None:
        return Answer(b"{}", outcome="empty")
    members = _overview(company)
    for name in _NONE.get(company.symbol, ()):
        members[name] = "None"
    absent = _ABSENT.get(company.symbol, frozenset())
    return Answer(_json({name: text for name, text in members.items() if name not in absent}))


def _fields(bar: Bar) -> tuple[str, ...]:
    prices = (f"{price:.4f}" for price in (bar.open, bar.high, bar.low, bar.close, bar.adjusted_close))
    return (*prices, str(bar.volume), f"{bar.dividend:.4f}")


def _overview(c: Profile) -> dict[str, str]:
    """All 55 members in the order of the real body. `None` and `-` stand where the real ones have them."""
    shares, eps, is_earning = c.shares_outstanding, c.eps, c.earnings > 0
    pays = c.dividend_per_share > 0
    enterprise = c.market_capitalization * 1.08
    site = "".join(letter for letter in c.name.split()[0].lower() if letter.isalpha())
    quarterly = c.latest_quarter.isoformat()
    trailing = _ratio(c.price / eps) if is_earning else "-"
    return {
        "Symbol": c.symbol,
        "AssetType": "Common Stock",
        "Name": c.name,
        "Description": f"{c.name} is a fictional company of the sandbox's market. Its shares trade as {c.symbol}.",
        "CIK": str(c.cik),
        "Exchange": c.exchange,
        "Currency": c.currency,
        "Country": "USA",
        "Sector": c.sector.upper(),
        "Industry": c.industry.upper(),
        "Address": "1 SAMPLE STREET, NOWHERE, NY, UNITED STATES, 00000",
        "OfficialSite": f"https://www.{site}.example",
        "FiscalYearEnd": c.fiscal_year_end,
        "LatestQuarter": quarterly,
        "MarketCapitalization": str(c.market_capitalization),
        "EBITDA": str(c.ebitda),
        "PERatio": trailing if is_earning else "None",
        "PEGRatio": _ratio(c.price / eps / (100 * c.revenue_growth)) if is_earning and c.revenue_growth > 0 else "None",
        "BookValue": _ratio(c.book_value),
        "DividendPerShare": _cents(c.dividend_per_share) if pays else "0",
        "DividendYield": _ratio(c.dividend_per_share / c.price) if pays else "0",
        "EPS": _cents(eps),
        "RevenuePerShareTTM": _cents(c.revenue / shares),
        "ProfitMargin": _ratio(c.earnings / c.revenue),
        "OperatingMarginTTM": _ratio(c.earnings / c.revenue * 1.2),
        "ReturnOnAssetsTTM": _ratio(c.return_on_assets),
        "ReturnOnEquityTTM": _ratio(eps / c.book_value),
        "RevenueTTM": str(c.revenue),
        "GrossProfitTTM": str(c.gross_profit),
        "DilutedEPSTTM": _cents(eps),
        "QuarterlyEarningsGrowthYOY": _ratio(c.earnings_growth),
        "QuarterlyRevenueGrowthYOY": _ratio(c.revenue_growth),
        "AnalystTargetPrice": "None" if c.target_price is None else _cents(c.target_price),
        "AnalystRatingStrongBuy": str(c.ratings[0]),
        "AnalystRatingBuy": str(c.ratings[1]),
        "AnalystRatingHold": str(c.ratings[2]),
        "AnalystRatingSell": str(c.ratings[3]),
        "AnalystRatingStrongSell": str(c.ratings[4]),
        "TrailingPE": trailing,
        "ForwardPE": _ratio(c.price / eps * 0.93) if is_earning else "-",
        "PriceToSalesRatioTTM": _ratio(c.market_capitalization / c.revenue),
        "PriceToBookRatio": _ratio(c.price / c.book_value),
        "EVToRevenue": _ratio(enterprise / c.revenue),
        "EVToEBITDA": _ratio(enterprise / c.ebitda) if c.ebitda > 0 else "-",
        "Beta": "None" if c.beta is None else _ratio(c.beta),
        "52WeekHigh": _cents(c.high_52w),
        "52WeekLow": _cents(c.low_52w),
        "50DayMovingAverage": _cents(c.average_50d),
        "200DayMovingAverage": _cents(c.average_200d),
        "SharesOutstanding": str(c.shares_outstanding),
        "SharesFloat": str(c.shares_float),
        "PercentInsiders": _ratio(c.insiders_pct),
        "PercentInstitutions": _ratio(c.institutions_pct),
        "DividendDate": "None" if c.dividend_date is None else c.dividend_date.isoformat(),
        "ExDividendDate": "None" if c.ex_dividend_date is None else c.ex_dividend_date.isoformat(),
    }


def _ratio(value: float) -> str:
    """Three decimals, four below a tenth, no trailing zeros."""
    return _trimmed(f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}")


def _cents(value: float) -> str:
    return _trimmed(f"{value:.2f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".")


def _csv(body: bytes, symbol: str) -> Answer:
    name = "".join(letter for letter in symbol if letter.isalnum() or letter in ".-")
    return Answer(body, content_type="application/x-download", filename=f"weekly_adjusted_{name}.csv")


def _json(document: object) -> bytes:
    return json.dumps(document, indent=4, ensure_ascii=False).encode()
