"""What gold must say, computed a second time: loops over plain rows, exact sums, nothing of the pipeline imported.

Input rows are silver's: one mapping per bar with its provider, instrument, slice and `known_at`. Slow and literal on
purpose, so that agreement with the SQL means something.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]
WEEK = dt.timedelta(days=7)
WINDOW = 52
MEASURES = ("open", "high", "low", "close", "adjusted_close", "volume", "dividend")
COLUMNS = {m: f"{m}_usd" for m in MEASURES} | {"volume": "volume_shares"}
VALUES = ("session_date", *COLUMNS.values())


@dataclass(slots=True)
class Version:
    """One provider's word on one week, from `known_from` until `known_to`."""

    provider: str
    instrument_id: str
    week: dt.date
    number: int
    values: dict[str, Any]
    known_from: dt.datetime
    last_seen: dt.datetime
    known_to: dt.datetime | None = None
    is_withdrawn: bool = False
    is_partial: bool = False


def versions(
    rows: Iterable[Row],
    *,
    rejected: frozenset[tuple[str, dt.date, dt.date]] = frozenset(),
    closes_at: Callable[[dt.date], dt.datetime],
) -> list[Version]:
    """Walk each provider's answers for an instrument in the order in which they came.

    `rejected` names (instrument, slice, week) of rows in quarantine; `closes_at` gives the last close of a week.
    """
    answers: dict[tuple[str, str], dict[dt.date, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        answers[row["provider"], row["instrument_id"]][row["slice_start_date"]].append(row)
    found: list[Version] = []
    for (provider, instrument), slices in answers.items():
        open_versions: dict[dt.date, Version] = {}
        counts: dict[dt.date, int] = defaultdict(int)
        for slice_start in sorted(slices):
            bars = sorted(slices[slice_start], key=lambda bar: bar["known_at"])
            weeks = {bar["week_start_date"] for bar in bars}
            for week in [w for w in open_versions if min(weeks) <= w <= max(weeks) and w not in weeks]:
                if (instrument, slice_start, week) not in rejected:
                    gone = open_versions.pop(week)
                    gone.known_to, gone.is_withdrawn = bars[0]["known_at"], True
            for bar in bars:
                week, values = bar["week_start_date"], {name: bar[name] for name in VALUES}
                current = open_versions.get(week)
                if current is not None and current.values == values:
                    current.last_seen = bar["known_at"]
                    continue
                if current is not None:
                    current.known_to = bar["known_at"]
                counts[week] += 1
                fresh = Version(provider, instrument, week, counts[week], values, bar["known_at"], bar["known_at"])
                open_versions[week] = fresh
                found.append(fresh)
    for version in found:
        version.is_partial = version.last_seen < closes_at(version.week)
    return found


def winners(found: Iterable[Version], priority: Mapping[str, int]) -> list[Version]:
    """Current versions of the one provider that speaks for each instrument, by week."""
    current = [version for version in found if version.known_to is None]
    best: dict[str, tuple[int, str]] = {}
    for version in current:
        rank = (priority[version.provider], version.provider)
        best[version.instrument_id] = min(best.get(version.instrument_id, rank), rank)
    chosen = [version for version in current if best[version.instrument_id][1] == version.provider]
    return sorted(chosen, key=lambda version: (version.instrument_id, version.week))


def known(found: Iterable[Version], at: dt.datetime) -> list[Version]:
    """Versions that stood at an instant."""
    return [v for v in found if v.known_from <= at and (v.known_to is None or at < v.known_to)]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation in two passes with exact sums."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _still(values: Sequence[float]) -> bool:
    """True when the values differ by no more than the rounding of a ratio."""
    return max(values) - min(values) <= 1e-12 * max(1.0, abs(max(values)), abs(min(values)))


def _zscore(values: Sequence[float | None]) -> float | None:
    full = [value for value in values if value is not None]
    if len(values) < WINDOW or len(full) < WINDOW or _still(full):
        return None
    mean, deviation = mean_and_deviation(full)
    return (full[-1] - mean) / deviation


def weekly_measures(bars: Sequence[Version]) -> list[dict[str, Any]]:
    """Every derived column of one instrument's weeks, oldest first; sector and universe ratios are not among them."""
    close = [bar.values["close_usd"] for bar in bars]
    adjusted = [bar.values["adjusted_close_usd"] for bar in bars]
    volume = [float(bar.values["volume_shares"]) for bar in bars]
    highs = [bar.values["high_usd"] * a / c for bar, a, c in zip(bars, adjusted, close, strict=True)]
    lows = [bar.values["low_usd"] * a / c for bar, a, c in zip(bars, adjusted, close, strict=True)]
    returns: list[float | None] = []
    for i, bar in enumerate(bars):
        follows = i > 0 and bar.week - bars[i - 1].week == WEEK
        returns.append(adjusted[i] / adjusted[i - 1] - 1 if follows else None)
    measured = []
    for i, bar in enumerate(bars):
        window = slice(max(0, i - WINDOW + 1), i + 1)
        is_full = i + 1 >= WINDOW
        last = [value for value in returns[window] if value is not None]
        volatility = None
        if len(last) == WINDOW:
            volatility = 0.0 if _still(last) else mean_and_deviation(last)[1] * math.sqrt(52)
        high, low = (max(highs[window]), min(lows[window])) if is_full else (None, None)
        measured.append(
            {
                "instrument_id": bar.instrument_id,
                "week_start_date": bar.week,
                "session_date": bar.values["session_date"],
                "dollar_volume_usd": close[i] * volume[i],
                "weekly_return_ratio": returns[i],
                "volatility_52w_ratio": volatility,
                "high_52w_usd": high,
                "low_52w_usd": low,
                "distance_to_high_52w_ratio": None if high is None else adjusted[i] / high - 1,
                "distance_to_low_52w_ratio": None if low is None else adjusted[i] / low - 1,
                "return_zscore_52w": _zscore(returns[window]),
                "price_zscore_52w": _zscore(adjusted[window]),
                "volume_zscore_52w": _zscore(volume[window]),
                "is_partial_week": bar.is_partial,
                "version_number": bar.number,
                "known_at": bar.known_from,
            }
        )
    return measured


def add_benchmarks(rows: list[dict[str, Any]], sector_of: Callable[[str, dt.date], str | None]) -> None:
    """Own volatility over the mean of the sector's and of everybody's, week by week, in place."""
    by_week: dict[dt.date, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        row["sector"] = sector_of(row["instrument_id"], row["session_date"])
        by_week[row["week_start_date"]].append(row)
    for members in by_week.values():
        for row in members:
            everybody = [m["volatility_52w_ratio"] for m in members if m["volatility_52w_ratio"] is not None]
            peers = [
                m["volatility_52w_ratio"]
                for m in members
                if m["volatility_52w_ratio"] is not None and m["sector"] == row["sector"]
            ]
            own = row["volatility_52w_ratio"]
            row["volatility_to_universe_ratio"] = _ratio(own, everybody)
            row["volatility_to_sector_ratio"] = None if row["sector"] is None else _ratio(own, peers)


def _ratio(own: float | None, others: Sequence[float]) -> float | None:
    if own is None or not others or math.fsum(others) == 0:
        return None
    return own / (math.fsum(others) / len(others))


def sectors(
    rows: Iterable[Row], *, symbol_of: Callable[[str, dt.date], str], is_share: Callable[[str], bool]
) -> list[dict[str, Any]]:
    """One row per sector and week. `rows` come from `add_benchmarks`."""
    groups: dict[tuple[str, dt.date], list[Row]] = defaultdict(list)
    for row in rows:
        if row["sector"] is not None or is_share(row["instrument_id"]):
            groups[row["sector"] or "Unclassified", row["week_start_date"]].append(row)
    totals: dict[dt.date, float] = defaultdict(float)
    for (_, week), members in groups.items():
        totals[week] += math.fsum(m["dollar_volume_usd"] for m in members)
    found = []
    for (sector, week), members in groups.items():
        ranked = sorted(
            (m["weekly_return_ratio"], symbol_of(m["instrument_id"], m["session_date"]))
            for m in members
            if m["weekly_return_ratio"] is not None
        )
        returns = [value for value, _ in ranked]
        volatilities = [m["volatility_52w_ratio"] for m in members if m["volatility_52w_ratio"] is not None]
        dollars = math.fsum(m["dollar_volume_usd"] for m in members)
        found.append(
            {
                "sector": sector,
                "week_start_date": week,
                "instrument_count": len(members),
                "average_return_ratio": math.fsum(returns) / len(returns) if returns else None,
                "median_return_ratio": float(np.median(returns)) if returns else None,
                "dollar_volume_usd": dollars,
                "dollar_volume_share_ratio": dollars / totals[week],
                "average_volatility_52w_ratio": math.fsum(volatilities) / len(volatilities) if volatilities else None,
                "advancing_count": sum(value > 0 for value in returns),
                "declining_count": sum(value < 0 for value in returns),
                "best_symbol": min((-value, symbol) for value, symbol in ranked)[1] if ranked else None,
                "worst_symbol": min(ranked)[1] if ranked else None,
                "is_partial_week": any(m["is_partial_week"] for m in members),
            }
        )
    return found


def restatements(found: Iterable[Version]) -> set[tuple[Any, ...]]:
    """(provider, instrument, week, measure, old, new, first seen) of every change that is to be logged."""
    by_week: dict[tuple[str, str, dt.date], list[Version]] = defaultdict(list)
    for version in found:
        by_week[version.provider, version.instrument_id, version.week].append(version)
    logged: set[tuple[Any, ...]] = set()
    for key, chain in by_week.items():
        for old, new in zip(chain, [*chain[1:], None], strict=True):
            if old.is_partial:
                continue
            if old.is_withdrawn:
                logged.add((*key, "close", old.values["close_usd"], None, old.known_to))
                if new is not None:
                    logged.add((*key, "close", None, new.values["close_usd"], new.known_from))
            elif new is not None:
                logged |= {(*key, *change, new.known_from) for change in _changes(old.values, new.values)}
    return logged


def _changes(old: Row, new: Row) -> Iterable[tuple[str, float, float]]:
    for measure, column in COLUMNS.items():
        before, after = float(old[column]), float(new[column])
        if before == after:
            continue
        if measure == "adjusted_close" and old["close_usd"] != new["close_usd"]:
            # Both adjusted closes are rounded at the fourth decimal, and the factor carries that into the other price.
            growth = new["close_usd"] / old["close_usd"]
            if abs(after - before * growth) <= 0.0001 * (1 + growth):
                continue
        yield measure, before, after
