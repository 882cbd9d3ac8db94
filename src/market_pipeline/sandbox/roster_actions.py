"""Dividends and splits of the whole market as columns: the members' and everybody else's.

A quarter of a million rows, so they stay columns until somebody asks for a page of them. What does not belong here: how
they are filtered, paged and written (`polygon_query`, `polygon_bodies`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_pipeline.sandbox import actions, noise
from market_pipeline.sandbox.horizon import Horizon
from market_pipeline.sandbox.prices import Floats
from market_pipeline.sandbox.roster import KINDS, Roster
from market_pipeline.sandbox.roster_prices import RosterPrices
from market_pipeline.sandbox.sessions import Sessions

Column = NDArray[Any]

_LAST_DAY = dt.date(9999, 12, 31)
# By kind, in the order of `KINDS`: share that pays at all, typical yield, payments a year of most and of the others.
_PAYERS = {
    "CS": (0.35, 0.022, 4, 12),
    "ETF": (0.6, 0.018, 4, 12),
    "ADRC": (0.5, 0.03, 2, 1),
    "PFD": (1.0, 0.06, 4, 4),
    "WARRANT": (0.0, 0.0, 4, 4),
    "UNIT": (0.0, 0.0, 4, 4),
}


@dataclass(frozen=True)
class Table:
    """Rows as columns of one length, the newest date first, then by ticker and kind. Days are ordinals; `date` is the
    ex-date or the first session after the split, `known` the day from which on the row is told."""

    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.columns["date"])


def dividends(horizon: Horizon, roster: Roster, prices: RosterPrices) -> Table:
    """Every dividend up to the horizon: amount as paid, kind (CD, SC, LT), payments a year."""
    parts = [_member_dividends(horizon), *_roster_dividends(horizon.calendar, roster, prices)]
    return _table(parts, ("date", "ticker", "kind", "amount", "frequency", "known", "record", "paid"))


def splits(horizon: Horizon, roster: Roster, prices: RosterPrices) -> Table:
    """Every split up to the horizon, as `ratio` new shares for one old."""
    dates = _ordinals(horizon.calendar)
    chosen = np.flatnonzero(prices.split_session < len(dates))
    session = prices.split_session[chosen]
    rest = {
        "date": dates[session],
        "ticker": _tickers(roster, chosen, session),
        "kind": np.full(len(chosen), "split"),
        "ratio": prices.split_ratio[chosen],
        "known": dates[session] - actions.SPLIT_NOTICE.days,
    }
    found = [
        (
            split.date.toordinal(),
            member.symbol_on(split.date) or member.symbol,
            split.ratio,
            split.announced.toordinal(),
        )
        for member in horizon.members
        for split in actions.splits(horizon, member, _LAST_DAY)
    ]
    own = (
        dict(zip(("date", "ticker", "ratio", "known"), map(np.array, zip(*found, strict=True)), strict=True))
        if found
        else None
    )
    parts = [rest] if own is None else [rest, {**own, "kind": np.full(len(found), "split")}]
    return _table(parts, ("date", "ticker", "kind", "ratio", "known"))


def _member_dividends(horizon: Horizon) -> dict[str, Column]:
    rows = [
        (
            one.ex.toordinal(),
            member.symbol_on(one.ex) or member.symbol,
            "SC" if one.is_special else "CD",
            one.amount,
            0 if one.is_special else 4,
            one.declared.toordinal(),
            one.record.toordinal(),
            one.paid.toordinal(),
        )
        for member in horizon.members
        for one in actions.dividends(horizon, member, _LAST_DAY)
    ]
    names = ("date", "ticker", "kind", "amount", "frequency", "known", "record", "paid")
    return dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True)) if rows else {}


def _roster_dividends(calendar: Sessions, roster: Roster, prices: RosterPrices) -> list[dict[str, Column]]:
    """Parts by month and kind: a year's first payment brings some a special one, its last month some funds' gains."""
    count = len(roster.instruments)
    if not count:
        return []
    places = np.arange(count)
    traits = np.array([_PAYERS[kind] for kind in KINDS])[roster.kind]

    def share(what: str) -> Floats:
        return noise.uniform(places, roster.seed, "roster dividend", what)

    frequency = np.where(share("often") < 0.85, traits[:, 2], traits[:, 3]).astype(np.int64)
    frequency = np.where(share("pays") < traits[:, 0], frequency, 0)
    yields = traits[:, 1] * (0.5 + share("yield"))
    usual = np.maximum(np.round(prices.base * yields / np.maximum(frequency, 1), 4), 0.01)
    every = 12 // np.maximum(frequency, 1)
    offset, day = (share("month") * every).astype(np.int64), 3 + (share("day") * 24).astype(np.int64)
    notice, until_paid = 10 + (share("notice") * 20).astype(np.int64), 10 + (share("payment") * 25).astype(np.int64)
    dates = _ordinals(calendar)
    records = np.where(np.arange(len(dates)) + 1 < len(dates), _records(calendar), dates)
    parts = []
    for year in range(calendar.dates[0].year, calendar.dates[-1].year + 1):
        for month in range(1, 13):
            sessions = np.array([calendar.from_day(dt.date(year, month, min(d, 28))) for d in range(29)[1:]])
            session = np.minimum(sessions[day - 1], len(dates) - 1)
            pays = (frequency > 0) & (month % every == offset) & (roster.listed < session) & (session < roster.ended)
            regular = np.flatnonzero(pays)
            extra = regular[((regular + year) % 60 < 1) & (month <= every[regular])]
            gains = regular[(roster.kind[regular] == KINDS.index("ETF")) & (month == 12) & (regular % 9 == 0)]
            for chosen, kind, times in ((regular, "CD", 1.0), (extra, "SC", 3.0), (gains, "LT", 0.7)):
                number = session[chosen]
                shares = np.where(prices.split_session[chosen] <= number, prices.split_ratio[chosen], 1.0)
                parts.append(
                    {
                        "date": dates[number],
                        "ticker": _tickers(roster, chosen, number),
                        "kind": np.full(len(chosen), kind),
                        "amount": np.maximum(np.round(usual[chosen] * times / shares, 6), 0.0001),
                        "frequency": frequency[chosen] if kind == "CD" else np.zeros(len(chosen), dtype=np.int64),
                        "known": dates[number] - notice[chosen],
                        "record": records[number],
                        "paid": dates[number] + until_paid[chosen],
                    }
                )
    return parts


def _tickers(roster: Roster, chosen: Column, session: Column) -> Column:
    """The ticker of each chosen instrument on its session."""
    found = [roster.instruments[i].symbol(s) for i, s in zip(chosen.tolist(), session.tolist(), strict=True)]
    return np.array(found, dtype="<U12")


def _ordinals(calendar: Sessions) -> Column:
    return np.array([day.toordinal() for day in calendar.dates])


def _records(calendar: Sessions) -> Column:
    return np.array([actions.record_date(calendar, number).toordinal() for number in range(len(calendar.dates))])


def _table(parts: Sequence[Mapping[str, Column]], names: Sequence[str]) -> Table:
    filled = [part for part in parts if part and len(part["date"])]
    columns = {name: np.concatenate([part[name] for part in filled]) if filled else np.array([]) for name in names}
    order = np.lexsort((columns["kind"], columns["ticker"], -columns["date"].astype(np.int64)))
    return Table({name: column[order] for name, column in columns.items()})
