"""Weeks and months of daily bars, computed a second time: loops over plain rows with the standard library, nothing of
the pipeline imported. Slow and literal on purpose, so that agreement with the SQL means something.
"""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

Row = dict[str, Any]


class Bar(Protocol):
    """One session as traded, with the dividend that went ex and the new shares for one old on it."""

    day: dt.date
    open: float
    high: float
    low: float
    close: float
    volume: float
    dividend: float
    split: float


def week_of(day: dt.date) -> dt.date:
    """Monday of the week."""
    return day - dt.timedelta(days=day.weekday())


def month_of(day: dt.date) -> dt.date:
    """First day of the month."""
    return day.replace(day=1)


def daily_returns(bars: Sequence[Bar], sessions: Sequence[dt.date]) -> list[float | None]:
    """Total return of each session over the one before it; None for the first bar and after a missing session."""
    follows = dict(zip(sessions[1:], sessions, strict=False))
    found: list[float | None] = [None]
    for old, bar in pairwise(bars):
        kept = old.close / bar.split - bar.dividend
        found.append(bar.close / kept - 1 if follows.get(bar.day) == old.day else None)
    return found


def periods(
    bars: Sequence[Bar],
    sessions: Sequence[dt.date],
    *,
    period_of: Callable[[dt.date], dt.date],
    listed: dt.date,
    minimum_returns: int,
    window: int,
    per_year: int,
) -> list[Row]:
    """Every measure of one instrument's periods, oldest first. `sessions` are those of the exchange."""
    returns = daily_returns(bars, sessions)
    numbers: dict[dt.date, list[int]] = defaultdict(list)
    for number, bar in enumerate(bars):
        numbers[period_of(bar.day)].append(number)
    calendar: dict[dt.date, list[dt.date]] = defaultdict(list)
    for day in sessions:
        calendar[period_of(day)].append(day)
    previous = dict(zip(sorted(calendar)[1:], sorted(calendar), strict=False))
    rows: list[Row] = []
    before: list[int] = []
    for key, inside in sorted(numbers.items()):
        last = bars[inside[-1]]
        scale = [math.prod(bars[n].split for n in inside if bars[n].day > bars[number].day) for number in inside]
        wanted = [day for day in calendar[key] if day >= listed]
        logs = [math.log1p(value) for number in inside if (value := returns[number]) is not None]
        follows = bool(before) and previous[key] == period_of(bars[before[-1]].day)
        split = math.prod(bars[number].split for number in inside)
        total = math.prod(_step(bars[n - 1], bars[n]) for n in inside) - 1 if follows else None
        rows.append(
            {
                "start_date": key,
                "first_session_date": bars[inside[0]].day,
                "session_date": last.day,
                "session_count": len(inside),
                "expected_session_count": len(wanted),
                "is_partial": last.day < wanted[-1],
                "has_gap": len(inside) < sum(day <= last.day for day in wanted),
                "open_usd": bars[inside[0]].open / scale[0],
                "high_usd": max(bars[n].high / s for n, s in zip(inside, scale, strict=True)),
                "low_usd": min(bars[n].low / s for n, s in zip(inside, scale, strict=True)),
                "close_usd": last.close,
                "volume_shares": math.fsum(bars[n].volume * s for n, s in zip(inside, scale, strict=True)),
                "dollar_volume_usd": math.fsum(bars[n].close * bars[n].volume for n in inside),
                "dividend_usd": math.fsum(bars[n].dividend / s for n, s in zip(inside, scale, strict=True)),
                "split_ratio": split,
                "split_return_ratio": last.close * split / bars[before[-1]].close - 1 if follows else None,
                "total_return_ratio": total,
                "realised_volatility_ratio": _deviation(logs, minimum_returns, 252),
            }
        )
        before = inside
    _add_windows(rows, window=window, per_year=per_year)
    return rows


def _step(old: Bar, bar: Bar) -> float:
    """What a holder of the old close has at the new one, dividend reinvested before the session."""
    return bar.close / (old.close / bar.split - bar.dividend)


def _add_windows(rows: list[Row], *, window: int, per_year: int) -> None:
    """Measures over the last `window` periods, which need half as many values."""
    shares = 1.0
    volumes: list[float] = []
    for number, row in enumerate(rows):
        shares *= row["split_ratio"]
        volumes.append(row["volume_shares"] / row["session_count"] / shares)
        last = rows[max(0, number - window + 1) : number + 1]
        totals = [each["total_return_ratio"] for each in last if each["total_return_ratio"] is not None]
        row["volatility"] = _deviation(totals, window // 2, per_year)
        row["return_zscore"] = _zscore(row["total_return_ratio"], totals, window // 2)
        row["volume_zscore"] = _zscore(volumes[-1], volumes[max(0, number - window + 1) :], window // 2)


def _deviation(values: Sequence[float], minimum: int, per_year: int) -> float | None:
    return statistics.stdev(values) * math.sqrt(per_year) if len(values) >= minimum else None


def _zscore(value: float | None, values: Sequence[float], minimum: int) -> float | None:
    if value is None or len(values) < minimum:
        return None
    return (value - statistics.fmean(values)) / statistics.stdev(values)
