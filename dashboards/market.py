"""Which bar of the market is shown, and of whom: the newest session or an earlier one, followed instruments or all.

What does not belong here: cards.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import streamlit as st

import controls
import words
from warehouse import Answer, answer

SOURCES = {"day": "market_days", "week": "market_weeks"}
LEAST_VALUES = {"day": 126, "week": 26}  # half of a year's windows, as gold's own measures ask for
LEAST_TRADED = {"Any": 0, "$1 m": 1e6, "$10 m": 1e7, "$100 m": 1e8}


@dataclass(frozen=True, slots=True)
class Asked:
    """The bar that is shown, and of whom."""

    cadence: str
    day: dt.date  # the session, or the week's Monday
    session_date: dt.date
    adjustment: str
    is_followed: bool
    least_usd: float

    @property
    def when(self) -> str:
        """20 Nov, or week of 16 Nov."""
        return words.day(self.day) if self.cadence == "day" else f"week of {words.day(self.day)}"

    @property
    def whose(self) -> str:
        """Whose bars these are, for sentences."""
        if self.is_followed:
            return "followed instruments"
        return (
            f"instruments that traded {words.compact(self.least_usd, unit='$')} or more"
            if self.least_usd
            else "instruments"
        )

    def answer(self, name: str, **more: Any) -> Answer:
        """Answer a query over the market's bars."""
        return answer(
            name,
            over=SOURCES[self.cadence],
            **{
                "day": self.day,
                "adjustment": self.adjustment,
                "is_followed": self.is_followed,
                "least_usd": self.least_usd,
                "least_count": LEAST_VALUES[self.cadence],
                **more,
            },
        )


def picked() -> Asked | None:
    """The controls of the page; None when gold holds no prices, which is said."""
    dates = answer("bar_dates").rows
    if not dates:
        st.info("Gold holds no prices. `market-pipeline run all` fetches them.", icon=":material/inbox:")
        return None
    cadence = dates[0]["cadence"]
    by_name = {row["bar_date"].isoformat(): row for row in dates}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            "Session" if cadence == "day" else "Week of", list(by_name), key="session", bind="query-params", width=150
        )
        scope = st.segmented_control(
            "Instruments",
            ["Followed", "Whole market"],
            default="Followed",
            required=True,
            key="scope",
            bind="query-params",
            help="The tiles and the events are of the followed instruments in any case.",
        )
        least = "Any"
        if scope == "Whole market":
            least = st.segmented_control(
                "Traded at least",
                list(LEAST_TRADED),
                default="$10 m",
                required=True,
                key="traded",
                bind="query-params",
                help="Raw close times shares traded. Thin stocks move far on a few trades.",
            )
        adjustment = controls.adjustment(has_raw=False) if cadence == "day" else "total"
    row = by_name[name or dates[0]["bar_date"].isoformat()]
    return Asked(
        cadence,
        row["bar_date"],
        row["session_date"],
        adjustment,  # never raw: such a return would show a split as a crash
        scope != "Whole market",
        LEAST_TRADED[least or "Any"],
    )
