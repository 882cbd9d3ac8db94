"""The controls that pages share; each is bound to the address, so that a link reproduces what is seen."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import streamlit as st

from warehouse import answer, as_of

RANGES = {"1Y": 53, "3Y": 157, "5Y": 261, "All": None}


@dataclass(frozen=True, slots=True)
class Instrument:
    """The picked instrument."""

    instrument_id: str
    symbol: str
    name: str
    sector: str | None
    is_delisted: bool
    first_week_date: dt.date
    newest_session_date: dt.date


def symbol() -> Instrument | None:
    """Pick one instrument; None when gold holds none."""
    rows: dict[str, dict[str, Any]] = {row["label"]: row for row in answer("symbols").rows}
    if not rows:
        return None
    label = st.selectbox("Symbol", list(rows), key="symbol", bind="query-params", width=150)
    row = rows[label or next(iter(rows))]
    return Instrument(
        row["instrument_id"],
        row["symbol"],
        row["name"],
        row["sector"],
        row["is_delisted"],
        row["first_week_date"],
        row["newest_session_date"],
    )


def since(newest: dt.date | None = None) -> dt.date:
    """First week of the picked range, counted back from the newest data."""
    name = st.segmented_control("Range", list(RANGES), default="3Y", required=True, key="range", bind="query-params")
    weeks = RANGES[name or "3Y"]
    if weeks is None:
        return dt.date(1900, 1, 1)
    return (newest or as_of().date()) - dt.timedelta(weeks=weeks)


def is_adjusted() -> bool:
    """Whether prices are adjusted for splits and dividends, or as they were traded."""
    name = st.segmented_control(
        "Prices",
        ["Adjusted", "Raw"],
        default="Adjusted",
        required=True,
        key="prices",
        bind="query-params",
        help="Adjusted: splits and dividends are taken out of the history. Raw: as traded. Returns, volatility and "
        "z-scores are always computed on adjusted closes.",
    )
    return name != "Raw"


def known_at() -> dt.datetime | None:
    """End of the day up to which knowledge counts, UTC; None for everything known today."""
    day = st.date_input(
        "As known on",
        value=None,
        min_value=dt.date(1990, 1, 1),
        max_value=as_of().date(),
        format="YYYY-MM-DD",
        key="known",
        bind="query-params",
        width=150,
        help="Shows the values that we had by the end of that day (UTC), before later corrections.",
    )
    if not isinstance(day, dt.date):
        return None
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), tzinfo=dt.UTC)


def week() -> dt.date | None:
    """Monday of the week to show, the newest by default; None when gold holds no prices."""
    weeks = [row["week_start_date"].isoformat() for row in answer("weeks").rows]
    if not weeks:
        return None
    picked = st.selectbox("Week of", weeks, key="week", bind="query-params", width=150)
    return dt.date.fromisoformat(picked or weeks[0])
