"""Dividends and splits of the members, with the days on which they are announced, recorded and paid.

What does not belong here: who is told what (a provider lists what has been announced), and the rest of the market's
(`roster_actions`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from market_pipeline.sandbox.horizon import Horizon
from market_pipeline.sandbox.listing import Listing
from market_pipeline.sandbox.script import draw
from market_pipeline.sandbox.sessions import Sessions

PAYMENT_DAYS = 33  # from ex-date to payment
SPLIT_NOTICE = dt.timedelta(days=12)
_ONE_DAY_SETTLEMENT = dt.date(2024, 5, 28)  # since then the record date is the ex-date


@dataclass(frozen=True, slots=True)
class Dividend:
    """A dividend per share as paid, in USD; `number` is the session on which it goes ex."""

    number: int
    ex: dt.date
    amount: float
    is_special: bool
    declared: dt.date
    record: dt.date
    paid: dt.date


@dataclass(frozen=True, slots=True)
class Split:
    """`ratio` new shares for one old from a session on."""

    number: int
    date: dt.date
    ratio: float
    announced: dt.date


def dividends(horizon: Horizon, member: Listing, known: dt.date) -> Iterator[Dividend]:
    """Dividends declared by a day, oldest first; on one ex-date the regular one comes before the special one."""
    if member.asset_class == "index":
        return
    daily, dates = horizon.truth(member), horizon.calendar.dates
    name = member.periods[0].symbol
    for position in np.flatnonzero(daily.dividend > 0).tolist():
        ex = dates[daily.first + position]
        declared = ex - dt.timedelta(days=14 + draw(horizon.seed, name, "declared", ex) % 14)
        if declared > known:
            continue
        record, paid = record_date(horizon.calendar, daily.first + position), ex + dt.timedelta(days=PAYMENT_DAYS)
        special = float(daily.special[position])
        regular = round(float(daily.dividend[position]) - special, 4)
        for amount, is_special in ((regular, False), (special, True)):
            if amount > 0:
                yield Dividend(daily.first + position, ex, amount, is_special, declared, record, paid)


def splits(horizon: Horizon, member: Listing, known: dt.date) -> Iterator[Split]:
    """Splits announced by a day, oldest first."""
    if member.asset_class == "index":
        return
    daily, dates = horizon.truth(member), horizon.calendar.dates
    for position in np.flatnonzero(daily.ratio != 1).tolist():
        date = dates[daily.first + position]
        if date - SPLIT_NOTICE <= known:
            yield Split(daily.first + position, date, float(daily.ratio[position]), date - SPLIT_NOTICE)


def record_date(calendar: Sessions, number: int) -> dt.date:
    """The day whose holders are paid: a session after the ex-date, the same day since settlement takes one day."""
    day = calendar.dates[number]
    return day if day >= _ONE_DAY_SETTLEMENT or number + 1 == len(calendar.dates) else calendar.dates[number + 1]
