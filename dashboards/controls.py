"""The controls that pages share; each is bound to the address, so that a link reproduces what is seen."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import streamlit as st

from warehouse import answer, as_of

RANGES = {"3M": 13, "6M": 26, "1Y": 53, "3Y": 157, "5Y": 261, "All": None}
INTERVALS = {"Daily": "day", "Weekly": "week", "Monthly": "month"}
ADJUSTMENTS = {"Split-adjusted": "split", "Total return": "total", "Raw": "raw"}
AVERAGES = (20, 50, 120, 200)


@dataclass(frozen=True, slots=True)
class Instrument:
    """The picked instrument, and which bars gold has of it."""

    instrument_id: str
    symbol: str
    name: str
    asset_class: str
    sector: str | None
    is_delisted: bool
    session_count: int
    first_session_date: dt.date | None
    week_count: int
    first_week_date: dt.date | None
    newest_session_date: dt.date | None

    @property
    def has_days(self) -> bool:
        """Whether there are daily bars."""
        return self.session_count > 0

    @property
    def has_weeks(self) -> bool:
        """Whether the weekly feed has it."""
        return self.week_count > 0


def symbol() -> Instrument | None:
    """Pick one instrument. The box offers the followed ones and the most traded; any other of the market is typed.
    None when gold holds none, or when nothing is called so: both are said here."""
    offered: dict[str, str] = {row["label"]: row["instrument_id"] for row in answer("symbols").rows}
    if not offered:
        st.info("Gold holds no prices. `market-pipeline run all` fetches them.", icon=":material/inbox:")
        return None
    text = st.selectbox(
        "Symbol",
        list(offered),
        key="symbol",
        bind="query-params",
        width=170,
        accept_new_options=True,
        placeholder="Any symbol or name",
        help="Followed instruments first, then the most traded of the market. Type any other symbol, a former one, or "
        "a part of a name.",
    )
    wanted = (text or "").strip() or next(iter(offered))
    instrument_id = offered.get(wanted) or _search(wanted)
    if instrument_id is None:
        return None
    row = answer("instrument", instrument_id=instrument_id).first
    return Instrument(**{name: row[name] for name in Instrument.__dataclass_fields__})


def _search(text: str) -> str | None:
    """The instrument that somebody's text names, else what it may have meant."""
    found = answer("symbol_search", text=text).rows
    if found and found[0]["is_exact"]:
        best: dict[str, Any] = found[0]
        if best["is_former"]:
            st.caption(f"{text.upper()} is what {best['symbol']} was called before.")
        return str(best["instrument_id"])
    with st.container(width="stretch"):
        if found:
            st.info(f"Nothing is called **{_plain(text)}**. One of these?", icon=":material/search:")
        else:
            st.info(
                f"Nothing is called **{_plain(text)}**, and no name holds it. `market-pipeline symbols add` follows an "
                "instrument; the roster of the market comes with `market-pipeline run polygon/tickers`.",
                icon=":material/search_off:",
            )
        with st.container(horizontal=True):
            for row in found:
                st.button(
                    f"**{_plain(row['label'])}** {_plain(row['name'] or '')}",
                    key=f"found-{row['instrument_id']}",
                    on_click=_pick,
                    args=(row["label"],),
                )
    return None


def _pick(label: str) -> None:
    st.session_state["symbol"] = label


def _plain(text: str) -> str:
    """Text from outside, without what markdown would make of it."""
    return "".join(f"\\{char}" if char in r"\`*_{}[]()<>#+-.!|$:~" else char for char in text[:80])


def since(newest: dt.date | None = None) -> dt.date:
    """First day of the picked range, counted back from the newest data."""
    name = st.segmented_control("Range", list(RANGES), default="1Y", required=True, key="range", bind="query-params")
    weeks = RANGES[name or "1Y"]
    if weeks is None:
        return dt.date(1900, 1, 1)
    return (newest or as_of().date()) - dt.timedelta(weeks=weeks)


def interval() -> str:
    """How long a bar is: day, week or month."""
    name = st.segmented_control(
        "Bars", list(INTERVALS), default="Daily", required=True, key="bars", bind="query-params"
    )
    return INTERVALS[name or "Daily"]


def adjustment() -> str:
    """What is taken out of the history: split, total or raw."""
    name = st.segmented_control(
        "Prices",
        list(ADJUSTMENTS),
        default="Split-adjusted",
        required=True,
        key="prices",
        bind="query-params",
        help="Split-adjusted: in today's shares. Total return: dividends are reinvested too, so that a dividend is no "
        "fall. Raw: as traded on the day. Open, high, low and close are scaled alike.",
    )
    return ADJUSTMENTS[name or "Split-adjusted"]


def is_weekly_feed(picked: Instrument) -> bool:
    """Whether weeks come from the weekly feed, where both have them."""
    name = st.segmented_control(
        "Weeks from",
        ["Daily bars", "Weekly feed"],
        default="Daily bars",
        required=True,
        key="weeks",
        bind="query-params",
        help=f"Daily bars begin on {picked.first_session_date}, the weekly feed on {picked.first_week_date}.",
    )
    return name == "Weekly feed"


def averages() -> tuple[int, ...]:
    """The moving averages to draw, in sessions."""
    picked = st.pills(
        "Averages, sessions",
        AVERAGES,
        selection_mode="multi",
        default=(50, 200),
        key="averages",
        bind="query-params",
        help="Of the closes as drawn, by sessions also on weekly and monthly bars.",
    )
    return tuple(sorted(picked))


def known_at() -> dt.datetime | None:
    """The instant up to which knowledge counts, UTC: the end of a day, or a time in it. None for all that is known."""
    day = st.date_input(
        "As known on",
        value=None,
        min_value=dt.date(1990, 1, 1),
        max_value=as_of().date(),
        format="YYYY-MM-DD",
        key="known",
        bind="query-params",
        width=140,
        help="Shows the values that we had by the end of that day (UTC), or by a time in it, before later corrections.",
    )
    if not isinstance(day, dt.date):
        return None
    time = st.time_input(
        "at, UTC",
        value=None,
        step=60,
        key="known-at",
        bind="query-params",
        width=110,
        help="Empty: the end of the day.",
    )
    midnight = dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)
    if time is None:
        return midnight + dt.timedelta(days=1)
    return midnight.replace(hour=time.hour, minute=time.minute, second=time.second)


def week() -> dt.date | None:
    """Monday of the week to show, the newest by default; None when gold holds no prices."""
    weeks = [row["week_start_date"].isoformat() for row in answer("weeks").rows]
    if not weeks:
        return None
    picked = st.selectbox("Week of", weeks, key="week", bind="query-params", width=150)
    return dt.date.fromisoformat(picked or weeks[0])
