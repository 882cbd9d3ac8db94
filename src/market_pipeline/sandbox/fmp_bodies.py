"""The shapes of Financial Modeling Prep's answers: price histories, profile, dividends, splits.

Members in the order of captured bodies, newest row first. What does not belong here: keys, plans and refusals (`fmp`).
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import orjson

from market_pipeline.sandbox import actions, daily, identifiers
from market_pipeline.sandbox.daily import Days
from market_pipeline.sandbox.listing import Listing
from market_pipeline.sandbox.market import Market
from market_pipeline.sandbox.sessions import new_york_date

HISTORY = "historical-price-eod/"
ENDPOINTS = frozenset(
    {
        f"{HISTORY}light",
        f"{HISTORY}full",
        f"{HISTORY}non-split-adjusted",
        f"{HISTORY}dividend-adjusted",
        "profile",
        "dividends",
        "splits",
    }
)
ROW_CAP = 5000
_YEARS = 5

Row = dict[str, object]

_EXCHANGES = {
    "NYSE": "New York Stock Exchange",
    "NASDAQ": "NASDAQ Global Select",
    "NYSE ARCA": "New York Stock Exchange Arca",
}


def pretty(document: object) -> bytes:
    """JSON with two spaces, as the real bodies are."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def rows(
    market: Market,
    member: Listing,
    endpoint: str,
    symbol: str,
    now: dt.datetime,
    *,
    since: dt.date | None,
    until: dt.date | None,
) -> list[Row]:
    """The rows of an endpoint for one member; only the histories know `since` <= date <= `until`."""
    today = new_york_date(now)
    if endpoint == "profile":
        return _profile(market, member, symbol, now)
    if endpoint == "dividends":
        return _dividends(market, member, symbol, now)
    if endpoint == "splits":
        found = actions.splits(market.horizon(now), member, today)
        return [
            {"symbol": symbol, "date": split.date.isoformat(), **_fraction(split.ratio), "splitType": "stock-split"}
            for split in reversed(list(found))
        ]
    until = until or today
    since = since or until.replace(year=until.year - _YEARS, day=min(until.day, 28))
    days = daily.fmp(market.horizon(now), market.oddities(now), member, now)
    dates = market.horizon(now).calendar.dates
    places = [place for place, number in enumerate(days.numbers.tolist()) if since <= dates[number] <= until]
    return capped(_history(days.kept(np.array(places, dtype=np.intp)), dates, endpoint.removeprefix(HISTORY), symbol))


def capped(found: list[Row]) -> list[Row]:
    """The newest rows, at most as many as a body may have."""
    return found[:ROW_CAP]


def _history(days: Days, dates: tuple[dt.date, ...], variant: str, symbol: str) -> list[Row]:
    if variant == "non-split-adjusted":
        price_factor, volume_factor = np.ones(len(days)), np.ones(len(days))
    elif variant == "dividend-adjusted":
        price_factor, volume_factor = days.total_factor, days.split_factor
    else:
        price_factor, volume_factor = 1 / days.split_factor, days.split_factor
    columns = [np.round(price * price_factor, 2) for price in (days.open, days.high, days.low, days.close)]
    columns.append(np.round(days.volume * volume_factor))
    found: list[Row] = []
    for number, *values in zip(days.numbers[::-1].tolist(), *(c[::-1].tolist() for c in columns), strict=True):
        opened, high, low, close, volume = values
        row: Row = {"symbol": symbol, "date": dates[number].isoformat()}
        if variant == "light":
            row |= {"price": number_of(close), "volume": number_of(volume)}
        elif variant == "full":
            change = round(close - opened, 2)
            row |= dict(zip(("open", "high", "low", "close", "volume"), map(number_of, values), strict=True))
            row["change"] = number_of(change)
            row["changePercent"] = number_of(round(change / opened * 100, 5))
            row["vwap"] = number_of(round((opened + high + low + close) / 4, 4))
        else:
            names = ("adjOpen", "adjHigh", "adjLow", "adjClose", "volume")
            row |= dict(zip(names, map(number_of, values), strict=True))
        found.append(row)
    return found


def _dividends(market: Market, member: Listing, symbol: str, now: dt.datetime) -> list[Row]:
    """Declared ones too. `yield` is what a year paid, in percent of the close on the ex-date (or the newest one)."""
    horizon = market.horizon(now)
    days = daily.fmp(horizon, market.oddities(now), member, now)
    factor = dict(zip(days.numbers.tolist(), days.split_factor.tolist(), strict=True))
    close = dict(zip(days.numbers.tolist(), days.close.tolist(), strict=True))
    found: list[Row] = []
    paid: list[tuple[dt.date, float]] = []
    for dividend in actions.dividends(horizon, member, new_york_date(now)):
        adjusted = round(dividend.amount / factor.get(dividend.number, 1.0), 6)
        paid.append((dividend.ex, adjusted))
        year = sum(amount for ex, amount in paid if (dividend.ex - ex).days < 360)
        price = close.get(dividend.number, float(days.close[-1]) if len(days) else 0.0)
        price /= factor.get(dividend.number, 1.0)
        found.append(
            {
                "symbol": symbol,
                "date": dividend.ex.isoformat(),
                "recordDate": dividend.record.isoformat(),
                "paymentDate": dividend.paid.isoformat(),
                # old declarations are blank, as they are in the wild
                "declarationDate": dividend.declared.isoformat() if dividend.ex.year > 2019 else "",
                "adjDividend": number_of(adjusted),
                "dividend": number_of(dividend.amount),
                "yield": number_of(year / price * 100 if price else 0.0),
                "frequency": "Special" if dividend.is_special else "Quarterly",
            }
        )
    return found[::-1]


def _profile(market: Market, member: Listing, symbol: str, now: dt.datetime) -> list[Row]:
    """One object for a company or a fund; a delisted one is there and does not trade."""
    days = daily.fmp(market.horizon(now), market.oddities(now), member, now)
    company, is_fund = market.company(member, now), member.asset_class == "etf"
    if not len(days) or (company is None and not is_fund):
        return []
    known = market.as_known(member, now)
    name, seed = member.periods[0].symbol, market.seed
    year = days.kept(slice(-252, None))
    high, low = float((year.high / year.split_factor).max()), float((year.low / year.split_factor).min())
    close = float(days.close[-1])
    before = float((days.close / days.split_factor)[-2]) if len(days) > 1 else close
    shares = market.shares_outstanding(member, now)
    site = "".join(letter for letter in known.name.split()[0].lower() if letter.isalpha())
    row: Row = {
        "symbol": symbol,
        "price": number_of(close),
        "marketCap": number_of(round(shares * close)),
        "beta": None if company is None or company.beta is None else number_of(round(company.beta, 3)),
        "lastDividend": number_of(round(_trailing(year), 4)),
        "range": f"{number_of(round(low, 2))}-{number_of(round(high, 2))}",
        "change": number_of(round(close - before, 2)),
        "changePercentage": number_of(round((close / before - 1) * 100, 5)),
        "volume": int(days.volume[-1]) if days.is_running else 0,
        "averageVolume": int(year.volume.mean()),
        "companyName": known.name,
        "currency": member.currency,
        "cik": f"{identifiers.cik(seed, name):010d}",
        "isin": identifiers.isin(seed, name),
        "cusip": identifiers.cusip(seed, name),
        "exchangeFullName": _EXCHANGES.get(member.exchange, member.exchange),
        "exchange": "AMEX" if member.exchange == "NYSE ARCA" else member.exchange,
        "industry": "Asset Management" if is_fund else known.industry,
        "website": f"https://www.{site}.example",
        "description": f"{known.name} is fictional and belongs to the sandbox's market, where it trades as {symbol}.",
        "ceo": "" if is_fund else None,
        "sector": "Financial Services" if is_fund else known.sector,
        "country": "US",
        "fullTimeEmployees": None if is_fund else str(max(round(shares / 9e4), 12) * 10),
        "phone": None if is_fund else "555 555 0100",
        "address": "1 Sample Street",
        "city": "Nowhere",
        "state": "NY",
        "zip": "00000",
        "image": f"https://images.example/symbol/{symbol}.png",
        "ipoDate": member.listed.isoformat(),
        "defaultImage": is_fund,
        "isEtf": is_fund,
        "isActivelyTrading": member.delisted is None or member.delisted >= new_york_date(now),
        "isAdr": False,
        "isFund": False,
    }
    return [row]


def _trailing(year: Days) -> float:
    """Dividends of the last year in shares of today."""
    return float((year.dividend / year.split_factor).sum())


def _fraction(ratio: float) -> Row:
    """A ratio as numerator and denominator, which are whole for all but odd ones."""
    if ratio >= 1:
        return {"numerator": number_of(ratio), "denominator": 1}
    return {"numerator": 1, "denominator": number_of(round(1 / ratio, 6))}


def number_of(value: float) -> int | float:
    """A number as JSON from a script has it: whole ones without a point."""
    return int(value) if float(value).is_integer() else value
