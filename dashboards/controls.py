"""The controls that pages share; each is bound to the address, so that a link reproduces what is seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

import charts
from cards import palette
from warehouse import answer, as_of

RANGES = {"3M": 13, "6M": 26, "1Y": 53, "3Y": 157, "5Y": 261, "All": None}
INTERVALS = {"Daily": "day", "Weekly": "week", "Monthly": "month"}
ADJUSTMENTS = {"Split-adjusted": "split", "Total return": "total", "Raw": "raw"}
AVERAGES = (20, 50, 120, 200)


@dataclass(frozen=True, slots=True)
class Span:
    """The days to show, both included: those of the picked range, or the part of it that was zoomed to."""

    since: dt.date
    until: dt.date
    range_start: dt.date
    is_zoomed: bool


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
    instrument_id = offered.get(wanted) or _search(wanted, _pick)
    if instrument_id is None:
        return None
    row = answer("instrument", instrument_id=instrument_id).first
    return Instrument(**{name: row[name] for name in Instrument.__dataclass_fields__})


def symbols(*, most: int) -> tuple[Instrument, ...]:
    """Pick several instruments, in the order of their picking; at first the first followed one and its peers."""
    offered: dict[str, str] = {row["label"]: row["instrument_id"] for row in answer("symbols").rows}
    if not offered:
        st.info("Gold holds no prices. `market-pipeline run all` fetches them.", icon=":material/inbox:")
        return ()
    texts = st.multiselect(
        "Symbols",
        list(offered),
        default=_peers(offered),
        key="symbols",
        bind="query-params",
        max_selections=most,
        accept_new_options=True,
        placeholder="Any symbols or names",
        help=f"Up to {most}. Followed instruments first, then the most traded of the market. Type any other symbol, a "
        "former one, or a part of a name.",
    )
    ink = charts.ink_on(palette().up)  # the tags' ground; white on it is too faint in the dark
    st.html(f"<style>[data-testid=stMultiSelect] [data-tag] {{color: {ink}}}</style>")
    found: dict[str, Instrument] = {}
    for text in texts:
        instrument_id = offered.get(text) or _search(text.strip(), partial(_swap, text))
        if instrument_id is not None:
            row = answer("instrument", instrument_id=instrument_id).first
            found[instrument_id] = Instrument(**{name: row[name] for name in Instrument.__dataclass_fields__})
    if not texts:
        st.info("Pick at least one symbol to compare.", icon=":material/compare_arrows:")
    return tuple(found.values())


def _peers(offered: Mapping[str, str], *, count: int = 5) -> list[str]:
    """Labels of the first offered instrument, of some of its peers, and of others where it has few."""
    first = next(iter(offered))
    labels = {instrument_id: label for label, instrument_id in offered.items()}
    peers = [labels.get(row["instrument_id"]) for row in answer("peers", instrument_id=offered[first]).rows]
    found = dict.fromkeys([first, *filter(None, peers[: count - 2]), *offered])
    return list(found)[:count]


def _search(text: str, pick: Callable[[str], None]) -> str | None:
    """The instrument that somebody's text names, else what it may have meant, each as a button that picks it."""
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
                    key=f"found-{text}-{row['instrument_id']}",
                    on_click=pick,
                    args=(row["label"],),
                )
    return None


def _pick(label: str) -> None:
    st.session_state["symbol"] = label


def _swap(text: str, label: str) -> None:
    """Put an offered label in the place of a text that named nothing."""
    st.session_state["symbols"] = [label if one == text else one for one in st.session_state["symbols"]]


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


def span(newest: dt.date | None = None) -> Span:
    """The picked range, or the part of the time axis that was zoomed to, by dragging or by its dates."""
    start = since(newest)
    # The dates' own controls are inside of what is named after them: before their first run only the address has them.
    ends = [st.session_state.get(name) or st.query_params.get(name) for name in ("from", "to")]
    label = " to ".join(str(end) if end else "…" for end in ends) if any(ends) else "Zoom"
    with st.popover(label, icon=":material/zoom_in:", help="Show a part of the time axis, with all of its points"):
        first, last = (
            st.date_input(
                name,
                value=None,
                min_value=dt.date(1900, 1, 1),
                max_value=as_of().date() + dt.timedelta(days=366),
                format="YYYY-MM-DD",
                key=name.lower(),
                bind="query-params",
            )
            for name in ("From", "To")
        )
        st.button("Whole range", on_click=zoom_to, args=(None, None), disabled=first is None and last is None)
    is_zoomed = first is not None or last is not None
    return Span(first or start, last or dt.date(9999, 12, 31), start, is_zoomed)


def zoom_to(first: dt.date | None, last: dt.date | None) -> None:
    """Zoom to a part of the time axis; without dates, back to the range."""
    st.session_state["from"] = first
    st.session_state["to"] = last


def interval() -> str:
    """How long a bar is: day, week or month."""
    name = st.segmented_control(
        "Bars", list(INTERVALS), default="Daily", required=True, key="bars", bind="query-params"
    )
    return INTERVALS[name or "Daily"]


def adjustment(*, default: str = "Split-adjusted", has_raw: bool = True) -> str:
    """What is taken out of the history: split, total or raw."""
    name = st.segmented_control(
        "Prices",
        [name for name in ADJUSTMENTS if has_raw or name != "Raw"],
        default=default,
        required=True,
        key="prices",
        bind="query-params",
        help="Split-adjusted: in today's shares. Total return: dividends are reinvested too, so that a dividend is no "
        "fall." + (" Raw: as traded on the day. Open, high, low and close are scaled alike." if has_raw else ""),
    )
    return ADJUSTMENTS[name or default]


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
