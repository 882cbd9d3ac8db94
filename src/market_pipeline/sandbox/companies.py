"""Fundamentals of fictional companies: plausible, seeded, and consistent with the prices of the day.

What does not belong here: how a provider spells a missing number (`alpha_vantage`); None means missing here.
"""

from __future__ import annotations

import calendar
import datetime as dt
import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from market_pipeline.sandbox import identifiers
from market_pipeline.sandbox.actions import PAYMENT_DAYS
from market_pipeline.sandbox.listing import Listing
from market_pipeline.sandbox.prices import Floats, Series
from market_pipeline.sandbox.script import draw, share

_REPORTING_DAYS = 40  # from a quarter's end to its report


@dataclass(frozen=True, slots=True)
class Profile:
    """A company as of a day; money in its currency, per-share numbers in shares of that day, None where unknown."""

    symbol: str
    name: str
    exchange: str
    currency: str
    sector: str
    industry: str
    cik: int
    fiscal_year_end: str
    latest_quarter: dt.date
    shares_outstanding: int
    shares_float: int
    market_capitalization: int
    revenue: int
    gross_profit: int
    ebitda: int
    earnings: int
    book_value: float
    revenue_growth: float
    earnings_growth: float
    return_on_assets: float
    price: float
    beta: float | None
    high_52w: float
    low_52w: float
    average_50d: float
    average_200d: float
    dividend_per_share: float
    dividend_date: dt.date | None
    ex_dividend_date: dt.date | None
    target_price: float | None
    ratings: tuple[int, int, int, int, int]
    insiders_pct: float
    institutions_pct: float

    @property
    def eps(self) -> float:
        """Earnings per share of the trailing twelve months; negative for a loss-maker."""
        return self.earnings / self.shares_outstanding


def profile(
    listing: Listing,
    daily: Series,
    closed: int,
    *,
    dates: tuple[dt.date, ...],
    today: dt.date,
    seed: int,
    is_loss_maker: bool,
) -> Profile:
    """The profile after `closed` sessions of the series. `listing` carries the name and the sector of the day."""
    name = listing.periods[0].symbol

    def between(low: float, high: float, what: str) -> float:
        return low + (high - low) * share(seed, name, what)

    quarter = _latest_quarter(today)
    reported = max(bisect_right(dates, quarter) - daily.first, 1)
    splits = np.cumprod(daily.ratio[:closed])
    prices = daily.close[:closed] * splits / splits[-1]
    first_shares = 4e7 * math.exp(between(0, 3, "shares outstanding"))
    shares = round(first_shares * float(splits[-1]) / 1000) * 1000
    # sales follow the price of the quarters before, so that no ratio runs away with it
    worth = shares * _mean(prices[:reported][-250:])
    growth = between(0.02, 0.12, "growth")
    cycle = between(-0.03, 0.03, f"quarter {quarter}")
    revenue = worth / between(0.8, 4, "price to sales") * (1 + cycle)
    margin = between(0.07, 0.22, "margin") * (-1.1 if is_loss_maker else 1) + cycle / 3
    ex_dates = np.flatnonzero(daily.dividend[:closed] > 0)
    year_ago = max(closed - 252, 0)
    paid = float((daily.dividend[year_ago:closed] * splits[year_ago:] / splits[-1]).sum())
    ex_date = dates[daily.first + int(ex_dates[-1])] if len(ex_dates) else None
    price = float(daily.close[closed - 1])
    return Profile(
        symbol=listing.symbol,
        name=listing.name,
        exchange=listing.exchange,
        currency=listing.currency,
        sector=listing.sector,
        industry=listing.industry,
        cik=identifiers.cik(seed, name),
        fiscal_year_end="December" if draw(seed, name, "fiscal year") % 4 else "June",
        latest_quarter=quarter,
        shares_outstanding=shares,
        shares_float=round(shares * between(0.8, 0.99, "float")),
        market_capitalization=round(shares * price / 1000) * 1000,
        revenue=round(revenue / 1000) * 1000,
        gross_profit=round(revenue * between(0.3, 0.6, "gross margin") / 1000) * 1000,
        ebitda=round(revenue * (margin * 1.35 + 0.04) / 1000) * 1000,
        earnings=round(revenue * margin / 1000) * 1000,
        book_value=worth / shares * between(0.15, 0.6, "book"),
        revenue_growth=growth + cycle,
        earnings_growth=growth + 3 * cycle,
        return_on_assets=margin * between(0.3, 0.6, "assets"),
        price=price,
        beta=between(0.6, 1.5, "beta") if closed > 250 else None,
        high_52w=float((daily.high[year_ago:closed] * splits[year_ago:] / splits[-1]).max()),
        low_52w=float((daily.low[year_ago:closed] * splits[year_ago:] / splits[-1]).min()),
        average_50d=_mean(prices[-50:]),
        average_200d=_mean(prices[-200:]),
        dividend_per_share=paid,
        dividend_date=None if ex_date is None else ex_date + dt.timedelta(days=PAYMENT_DAYS),
        ex_dividend_date=ex_date,
        target_price=price * between(0.95, 1.3, f"target {quarter}") if closed > 250 else None,
        ratings=(
            draw(seed, name, "strong buy") % 6,
            3 + draw(seed, name, "buy") % 9,
            2 + draw(seed, name, "hold") % 9,
            draw(seed, name, "sell") % 3,
            draw(seed, name, "strong sell") % 2,
        ),
        insiders_pct=between(0.05, 6, "insiders"),
        institutions_pct=between(40, 92, "institutions"),
    )


def _mean(values: Floats) -> float:
    return float(values.mean())


def _latest_quarter(today: dt.date) -> dt.date:
    """Last day of the newest calendar quarter that has been reported."""
    known = today - dt.timedelta(days=_REPORTING_DAYS)
    year, month = known.year, (known.month - 1) // 3 * 3
    if month == 0:
        year, month = year - 1, 12
    return dt.date(year, month, calendar.monthrange(year, month)[1])
