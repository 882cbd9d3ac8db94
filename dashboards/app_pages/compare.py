"""Compare: several instruments on one scale, one against its peers, and how closely they move."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import streamlit as st

import charts
import controls
import words
from cards import card, palette
from controls import Instrument, Span
from warehouse import Answer, answer
from zoom import HOW_TO_ZOOM, timeline

TITLE = "Compare"
ICON = ":material/compare_arrows:"
ORDER = 2
MOST = 8
BASES = {
    "split": "without splits; a dividend is a fall",
    "total": "as total return: dividends are reinvested",
    "raw": "as traded: a split is a jump",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is compared, over what, and as known when."""

    members: tuple[Instrument, ...]
    subject: Instrument
    span: Span
    adjustment: str
    known: dt.datetime | None
    is_weekly: bool

    @property
    def source(self) -> str:
        """The query that gives the bars."""
        if self.is_weekly:
            return "compare_weeks"
        return "compare_days" if self.known is None else "compare_days_asof"

    @property
    def period(self) -> str:
        """What a bar is."""
        return "week" if self.is_weekly else "day"

    def answer(self, name: str, *, ids: list[str], **more: Any) -> Answer:
        """Answer a query over these instruments' bars."""
        return answer(
            name,
            over=self.source,
            instruments=",".join(ids),
            since=self.span.range_start,
            zoom_since=self.span.since,
            zoom_until=self.span.until,
            adjustment=self.adjustment,
            known_at=None if self.known is None else self.known.isoformat(),
            bars_a_year=52 if self.is_weekly else 252,
            **more,
        )


def picked() -> Asked | None:
    """The controls of the page; None when there is nothing to compare, which is said."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        members = controls.symbols(most=MOST)
    if not members:
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            "Against its peers",
            [item.symbol for item in members],
            key="subject",
            bind="query-params",
            width=150,
            help="Held against the mean of the followed stocks of its sector.",
        )
        adjustment = controls.adjustment(default="Total return")
        newest = max((item.newest_session_date for item in members if item.newest_session_date), default=None)
        span = controls.span(newest)
        known = controls.known_at()
    subject = next((item for item in members if item.symbol == name), members[0])
    is_weekly = any(item.has_weeks and not item.has_days for item in members)
    return Asked(members, subject, span, adjustment, known, is_weekly)


def lines_title(rows: Answer) -> str:
    """Who gained most and least since the common day."""
    last: dict[str, dict[str, Any]] = {}
    for row in rows.table.select(["symbol", "bar_date", "level", "base_date"]).to_pylist():
        last[row["symbol"]] = row
    if not last:
        return "No bars to compare"
    ranked = sorted(last.values(), key=lambda row: -row["level"])
    since = words.day(ranked[0]["base_date"], has_year=True)
    text = f"{ranked[0]['symbol']} {words.change(ranked[0]['level'] / 100 - 1)} since {since}"
    if len(ranked) == 1:
        return text
    return f"{text}, the most of {len(ranked)}; {ranked[-1]['symbol']} {words.change(ranked[-1]['level'] / 100 - 1)}"


def about(asked: Asked) -> str:
    """What the levels are made of."""
    known = f", as known by {words.moment(asked.known)}" if asked.known else ""
    return f"{'Weeks' if asked.is_weekly else 'Sessions'} {BASES[asked.adjustment]}{known}"


def lines(asked: Asked) -> None:
    """All of them, 100 on the first day by which each has begun."""
    rows = asked.answer("compare_lines", ids=[item.instrument_id for item in asked.members])
    title = lines_title(rows)
    wide, note = charts.spread(rows.table, name="symbol", day="bar_date", measure="level")
    if note:
        note += HOW_TO_ZOOM
    absent = [item.symbol for item in asked.members if item.symbol not in wide.column_names]
    lacking = f" {words.names(absent)} {'has' if len(absent) == 1 else 'have'} no bar in this range." if absent else ""
    card(
        "lines",
        title,
        rows,
        lambda: timeline(
            charts.indexed(wide, palette(), bold=asked.subject.symbol),
            wide["day"].to_pylist(),
            key="lines-chart",
            height=430,
            alt=title,
            is_thinned=bool(note),
        ),
        note=f"{about(asked)}; 100 on the first day by which all have begun.{lacking} {note}",
        empty=nothing(asked),
    )


def nothing(asked: Asked) -> str:
    """Why there is nothing to draw, and what would help."""
    if asked.known is not None:
        return (
            f"Nothing was known of these in this range by {words.moment(asked.known)}. Clear **As known on**, or pick "
            "a later day or a longer range."
        )
    return (
        "None of these has a bar in this range. Pick a longer one, or end the zoom; `market-pipeline run all` fetches "
        "what is followed."
    )


def peers(asked: Asked) -> None:
    """One of them against the mean of its sector."""
    subject = asked.subject
    found = answer("peers", instrument_id=subject.instrument_id)
    group = f"the other {subject.sector} stocks" if subject.sector else "the stocks"
    ids = [subject.instrument_id, *(row["instrument_id"] for row in found.rows)]
    rows = asked.answer("compare_peers", ids=ids, subject=subject.instrument_id)
    count = found.table.num_rows
    title = f"{subject.symbol} has no peers to be held against"
    if count and not rows.is_empty:
        last = rows.last
        lead = (last["subject_level"] - last["peers_level"]) / 100
        side = "ahead of" if lead >= 0 else "behind"
        title = (
            f"{subject.symbol} is {words.percent(abs(lead))[:-2]} points {side} the mean of "
            f"{words.count(count, 'peer')}: {words.change(last['subject_level'] / 100 - 1)} against "
            f"{words.change(last['peers_level'] / 100 - 1)}"
        )
    shown = rows if count else Answer(rows.name, rows.sql, rows.parameters, rows.table.slice(0, 0))
    wide = shown.table.select(["bar_date", "subject_level", "peers_level"]).rename_columns(
        ["day", subject.symbol, "Peers' mean"]
    )
    thinned, note = charts.thin(wide, subject.symbol, limit=charts.share(2))
    if note:
        note += HOW_TO_ZOOM
    card(
        "peers",
        title,
        shown,
        lambda: timeline(
            charts.indexed(thinned, palette(), bold=subject.symbol, height=380),
            thinned["day"].to_pylist(),
            key="peers-chart",
            height=380,
            alt=title,
            is_thinned=bool(note),
        ),
        note=f"Peers: {group} that are followed and listed today"
        + (f" ({words.names([row['symbol'] for row in found.rows], most=6)})" if count else "")
        + f", each with the same weight every {asked.period}. Both 100 on the first one. {note}",
        empty=nothing(asked)
        if count
        else f"No other followed stock is in {subject.sector}. `market-pipeline symbols add` follows one.",
    )


def correlation(asked: Asked) -> None:
    """How closely each pair moves."""
    rows = asked.answer("compare_correlation", ids=[item.instrument_id for item in asked.members])
    pairs = [
        row for row in rows.rows if row["instrument_id"] < row["other_instrument_id"] and row["correlation"] is not None
    ]
    title = "No pair has 20 returns in common in this range"
    if pairs:
        most = max(pairs, key=lambda row: row["correlation"])
        title = f"{most['symbol']} and {most['other_symbol']} correlate by {words.score(most['correlation'])}"
        if len(pairs) > 1:
            title = (
                f"{most['symbol']} and {most['other_symbol']} move together most, {words.score(most['correlation'])}"
            )
            least = min(pairs, key=lambda row: row["correlation"])
            title += f"; {least['symbol']} and {least['other_symbol']} least, {words.score(least['correlation'])}"
    count = len({row["symbol"] for row in rows.rows})
    card(
        "correlation",
        title,
        rows,
        lambda: st.echarts_chart(
            charts.correlations(rows.rows, palette()),
            height=max(46 * count + 60, 240),
            key="correlation-chart",
            alt=title,
        ),
        note=f"Of log returns on {asked.period}s that both have. Blue moves together, hatched orange moves apart.",
        empty=nothing(asked),
    )


def measures(asked: Asked) -> None:
    """Return against volatility."""
    rows = asked.answer("compare_measures", ids=[item.instrument_id for item in asked.members])
    found = [row for row in rows.rows if row["volatility_ratio"] is not None]
    title = "Too few bars for a volatility in this range"
    if found:
        deepest = min(found, key=lambda row: row["deepest_fall_ratio"])
        calm = min(found, key=lambda row: row["volatility_ratio"])
        title = (
            f"{deepest['symbol']} fell deepest, {words.percent(-deepest['deepest_fall_ratio'])} from its high; "
            f"{calm['symbol']} moved least, {words.percent(calm['volatility_ratio'])} a year"
        )
    card(
        "measures",
        title,
        rows,
        lambda: st.echarts_chart(
            charts.earned(found, palette(), bold=asked.subject.symbol),
            height=max(46 * len(found) + 60, 300),
            key="measures-chart",
            alt=title,
        ),
        note="Return over the range, each from its own first bar; volatility is the deviation of log returns, a year.",
        empty=nothing(asked),
    )


def page() -> None:
    """Draw the page."""
    asked = picked()
    if asked is None:
        return
    if asked.is_weekly:
        without = [item.symbol for item in asked.members if not item.has_days]
        st.info(
            f"{words.names(without)} {'has' if len(without) == 1 else 'have'} no daily bars: these are weeks of the "
            "weekly feed. A daily feed (`market-pipeline run fmp/eod_raw` or `market-pipeline run "
            "polygon/grouped_daily`) fetches them.",
            icon=":material/info:",
        )
    lines(asked)
    peers(asked)
    left, right = st.columns(2)
    with left:
        correlation(asked)
    with right:
        measures(asked)


page()
