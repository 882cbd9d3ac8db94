"""The shapes of Alpha Vantage's answers: weekly and daily series as CSV and JSON, and the overview.

Written from captured bodies. What does not belong here: its words, keys and plans (`alpha_vantage`).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from market_pipeline.sandbox.companies import Profile
from market_pipeline.sandbox.daily import Days
from market_pipeline.sandbox.horizon import Bar
from market_pipeline.sandbox.provider import Answer
from market_pipeline.sandbox.sessions import NEW_YORK

_WEEKLY_HEADER = "timestamp,open,high,low,close,adjusted close,volume,dividend amount"
_DAILY_HEADER = "timestamp,open,high,low,close,volume"
_ADJUSTED_HEADER = "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient"
_DAILY_TITLE = "Daily Prices (open, high, low, close) and Volumes"
_ADJUSTED_TITLE = "Daily Time Series with Splits and Dividend Events"
_DAILY_NAMES = ("1. open", "2. high", "3. low", "4. close", "5. volume")
_ADJUSTED_NAMES = (
    *_DAILY_NAMES[:4],
    "5. adjusted close",
    "6. volume",
    "7. dividend amount",
    "8. split coefficient",
)

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


def recorded(body: bytes, *, function: str, symbol: str, extension: str) -> Answer:
    """A captured body as it is."""
    if extension != "csv":
        return Answer(body)
    return _attached(body, f"{function.lower().removeprefix('time_series_')}_{symbol}")


def weekly(bars: Sequence[Bar], *, symbol: str, datatype: str) -> Answer | None:
    """TIME_SERIES_WEEKLY_ADJUSTED, newest week first; None for a symbol without a bar, which is an unknown one."""
    if not bars:
        return None
    if datatype == "csv":
        lines = [_WEEKLY_HEADER, *(",".join((bar.session.isoformat(), *_fields(bar))) for bar in bars)]
        return _csv(lines, f"weekly_adjusted_{symbol}")
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


def daily(
    days: Days,
    *,
    dates: Sequence[dt.date],
    function: str,
    symbol: str,
    datatype: str,
    is_full: bool,
    now: dt.datetime,
) -> Answer | None:
    """TIME_SERIES_DAILY and TIME_SERIES_DAILY_ADJUSTED, newest session first, the running one included."""
    if not len(days):
        return None
    is_adjusted = function.endswith("_ADJUSTED")
    shown = days if is_full else days.kept(slice(-100, None))
    rows = [(dates[number].isoformat(), *fields) for number, fields in _daily_fields(shown, is_adjusted=is_adjusted)]
    if datatype == "csv":
        header = _ADJUSTED_HEADER if is_adjusted else _DAILY_HEADER
        return _csv([header, *map(",".join, rows)], f"{function.lower().removeprefix('time_series_')}_{symbol}")
    refreshed = now.astimezone(NEW_YORK).strftime("%Y-%m-%d %H:%M:%S") if shown.is_running else rows[0][0]
    names = _ADJUSTED_NAMES if is_adjusted else _DAILY_NAMES
    return Answer(
        _json(
            {
                "Meta Data": {
                    "1. Information": _ADJUSTED_TITLE if is_adjusted else _DAILY_TITLE,
                    "2. Symbol": symbol,
                    "3. Last Refreshed": refreshed,
                    "4. Output Size": "Full size" if is_full else "Compact",
                    "5. Time Zone": "US/Eastern",
                },
                "Time Series (Daily)": {day: dict(zip(names, fields, strict=True)) for day, *fields in rows},
            }
        )
    )


def _daily_fields(days: Days, *, is_adjusted: bool) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Session number and the row's texts, newest first. Only the adjusted series does without padding."""
    columns = (days.numbers, days.open, days.high, days.low, days.close, days.total_factor, days.volume)
    events = (days.dividend, days.ratio)
    for number, *prices, factor, volume, dividend, ratio in zip(
        *(column[::-1].tolist() for column in (*columns, *events)), strict=True
    ):
        if is_adjusted:
            adjusted = repr(prices[-1] * factor)
            yield number, (*map(repr, prices), adjusted, f"{volume:.0f}", f"{dividend:.4f}", repr(ratio))
        else:
            yield number, (*(f"{price:.4f}" for price in prices), f"{volume:.0f}")


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


def _csv(lines: Sequence[str], name: str) -> Answer:
    return _attached("".join(f"{line}\r\n" for line in lines).encode(), name)


def _attached(body: bytes, name: str) -> Answer:
    name = "".join(letter for letter in name if letter.isalnum() or letter in "_.-")
    headers = (("content-disposition", f"attachment; filename={name}.csv"),)
    return Answer(body, content_type="application/x-download", headers=headers)


def _json(document: object) -> bytes:
    return json.dumps(document, indent=4, ensure_ascii=False).encode()
