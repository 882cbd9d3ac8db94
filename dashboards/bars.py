"""Which bars answer what is asked of an instrument: of which star, of which clock, and what has to be said about it.

What does not belong here: controls and cards.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from charts import Measures
from controls import Instrument, Span
from warehouse import Answer, answer

DAYS = Measures(
    band=("252-day", "high_252d_usd", "low_252d_usd"),
    scores={"return_zscore": "Return", "price_zscore_252d": "Price", "volume_zscore": "Volume"},
    volatilities={
        "volatility_20d_ratio": "20 days",
        "volatility_60d_ratio": "60 days",
        "volatility_252d_ratio": "252 days",
    },
)
FEED = Measures(
    band=("52-week", "high_52w_usd", "low_52w_usd"),
    scores={"return_zscore": "Return", "price_zscore_52w": "Price", "volume_zscore": "Volume"},
    volatilities={"volatility_52w_ratio": "52 weeks"},
)
SCORE_WINDOWS = {
    "day": "return and price over 252 sessions, volume over 20",
    "week": "return and volume over 52 weeks, price over 252 sessions",
    "month": "return and volume over 36 months, price over 252 sessions",
    "feed": "all over 52 weeks",
}


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars that are shown, which may be others than those that were asked for."""

    rows: Answer
    interval: str
    is_feed: bool
    notice: str

    @property
    def measures(self) -> Measures:
        """What is drawn beside them."""
        return FEED if self.is_feed else DAYS

    @property
    def score_windows(self) -> str:
        """Over what the z-scores are taken."""
        return SCORE_WINDOWS["feed" if self.is_feed else self.interval]


def find(
    picked: Instrument,
    *,
    interval: str,
    adjustment: str,
    span: Span,
    known: dt.datetime | None,
    is_feed_wanted: bool,
) -> Bars:
    """Bars of the daily star where the instrument has any, else of the weekly feed; with `known`, as they were known
    at that instant: days from the star, weeks from the feed."""
    is_feed = not picked.has_days or (interval == "week" and picked.has_weeks and (is_feed_wanted or known is not None))
    notice = ""
    if not picked.has_days:
        notice = (
            f"{picked.symbol} has no daily bars: these are the weekly ones of the weekly feed. A daily feed "
            "(`market-pipeline run fmp/eod_raw` or `market-pipeline run polygon/grouped_daily`) fetches them."
        )
    elif known is not None and is_feed and not is_feed_wanted:
        notice = "Weeks made of days are not kept by version: these are the weekly feed's, as known then."
    elif known is not None and not is_feed and interval != "day":
        notice = f"{interval.capitalize()}s are not kept by version: these are the days, as known then."
        interval = "day"
    interval = "week" if is_feed else interval
    asked: dict[str, Any] = {
        "instrument_id": picked.instrument_id,
        "since": span.since,
        "until": span.until,
        "adjustment": adjustment,
    }
    if known is None:
        rows = answer("feed_weeks", **asked) if is_feed else answer("prices", interval=interval, **asked)
    else:
        instant = known.isoformat()
        rows = (
            answer("feed_weeks_asof", known_at=instant, **asked)
            if is_feed
            else answer("prices_asof", known_at=instant, **asked)
        )
    return Bars(rows, interval, is_feed, notice)
