"""Volatility: how much each instrument moves, whether that is much for it, and what was unusual this week."""

from __future__ import annotations

import datetime as dt

import streamlit as st

import charts
import controls
import words
from cards import card, palette
from warehouse import Answer, answer

TITLE = "Volatility"
ICON = ":material/show_chart:"
ORDER = 3


def cone_title(rows: Answer, symbol: str) -> str:
    """Where the present stands in its own history."""
    if rows.is_empty:
        return f"{symbol} has too short a history for a cone"
    row = rows.first
    return (
        f"{symbol} moved at {words.percent(row['current_ratio'])} a year over the last {row['window_name']}, "
        f"more than in {words.percent(row['current_rank_ratio'], digits=0)} of its history"
    )


def history_title(rows: Answer, picked: controls.Instrument, *, column: str, window: str) -> str:
    """The picked volatility beside its peers'."""
    if rows.is_empty:
        return f"{picked.symbol} has no {window} volatility in this range"
    last = rows.last
    peers = f"{picked.sector} {words.percent(last['sector_ratio'])}, " if last["sector_ratio"] is not None else ""
    return (
        f"{picked.symbol} at {words.percent(last[column])}, {window}; "
        f"{peers}all stocks {words.percent(last['universe_ratio'])}"
    )


def cone(picked: controls.Instrument) -> None:
    """The spread of the picked volatility by window: of days where there are any, else of weeks."""
    rows = (
        answer("volatility_cone_days", instrument_id=picked.instrument_id)
        if picked.has_days
        else answer("volatility_cone", instrument_id=picked.instrument_id)
    )
    windows = "20, 60, 120 and 252 sessions" if picked.has_days else "4, 13, 26 and 52 weeks"
    card(
        "cone",
        cone_title(rows, picked.symbol),
        rows,
        lambda: st.echarts_chart(
            charts.cone(rows.table, palette(), symbol=picked.symbol),
            height=380,
            key="cone-chart",
            alt=cone_title(rows, picked.symbol),
        ),
        note=f"Realised volatility over {windows}: its percentiles since the first bar, and now.",
        empty=f"{picked.symbol} needs at least {'21 sessions' if picked.has_days else 'five weeks'} of prices.",
    )


def history(picked: controls.Instrument, start: dt.date) -> None:
    """The picked volatility in time, beside its peers'."""
    colors = palette()
    asked = {"instrument_id": picked.instrument_id, "sector": picked.sector or "", "since": start}
    rows = answer("volatility_history_days", **asked) if picked.has_days else answer("volatility_history", **asked)
    column, window = ("volatility_252d_ratio", "252-day") if picked.has_days else ("volatility_52w_ratio", "52-week")
    columns = {column: (picked.symbol, colors.up, "solid")}
    if picked.sector:
        columns["sector_ratio"] = (f"Average of {picked.sector}", colors.down, "dashed")
    columns["universe_ratio"] = ("Average of all followed stocks", colors.muted, "dotted")
    title = history_title(rows, picked, column=column, window=window)
    card(
        "history",
        title,
        rows,
        lambda: st.echarts_chart(
            charts.lines(rows.table, colors, columns, day="session_date" if picked.has_days else "week_start_date"),
            height=380,
            key="history-chart",
            alt=title,
        ),
        note="252-day realised volatility: sample deviation of daily log total returns, times √252."
        if picked.has_days
        else "52-week realised volatility: sample deviation of weekly returns on adjusted closes, times √52.",
        empty=f"{picked.symbol} needs "
        + ("half of 252 sessions" if picked.has_days else "53 weeks")
        + f" of prices for a {window} volatility; pick a longer range otherwise.",
    )


def ranking_title(ranked: list[dict[str, object]]) -> str:
    """The most and the least volatile."""
    if not ranked:
        return "No instrument has a 52-week volatility yet"
    top, low = ranked[0], ranked[-1]
    return (
        f"{top['symbol']} is the most volatile at {words.percent(_number(top))}, "
        f"{low['symbol']} the least at {words.percent(_number(low))}"
    )


def _number(row: dict[str, object]) -> float | None:
    value = row["volatility_52w_ratio"]
    return value if isinstance(value, float) else None


def unusual_title(scored: list[dict[str, float]]) -> str:
    """How many left the usual range."""
    unusual = [row for row in scored if abs(row["return_zscore_52w"]) > 2 or abs(row["volume_zscore_52w"]) > 2]
    if not unusual:
        return f"None of {words.count(len(scored), 'instrument')} had an unusual week"
    names = ", ".join(str(row["symbol"]) for row in unusual[:4]) + (" …" if len(unusual) > 4 else "")
    return f"{len(unusual)} of {words.count(len(scored), 'instrument')} had an unusual week: {names}"


def distance_title(near: list[dict[str, float]]) -> str:
    """Who is at a high."""
    if not near:
        return "No instrument has a 52-week high yet"
    close = sum(row["distance_to_high_52w_ratio"] > -0.05 for row in near)
    return f"{close} of {words.count(len(near), 'instrument')} stand within 5 % of their 52-week high"


def page() -> None:
    """Draw the page."""
    colors = palette()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        picked = controls.symbol()
        if picked is None:
            return
        start = controls.since(picked.newest_session_date)
    latest = answer("latest")
    ranked = [row for row in latest.rows if row["volatility_52w_ratio"] is not None]
    scored = [
        row for row in latest.rows if row["return_zscore_52w"] is not None and row["volume_zscore_52w"] is not None
    ]
    near = sorted(
        (row for row in latest.rows if row["distance_to_high_52w_ratio"] is not None),
        key=lambda row: row["distance_to_high_52w_ratio"],
    )
    height = max(28 * len(ranked) + 60, 240)
    left, right = st.columns(2)
    with left:
        cone(picked)
    with right:
        history(picked, start)
    card(
        "unusual",
        unusual_title(scored),
        latest,
        lambda: st.echarts_chart(
            charts.zscores(scored, colors, picked=picked.symbol),
            height=400,
            key="unusual-chart",
            alt=unusual_title(scored),
        ),
        note="Each instrument's newest week against its own 52 weeks; inside the grey square is usual. Triangles point "
        "up for a rise, down for a fall.",
    )
    left, right = st.columns(2)
    with left:
        card(
            "ranking",
            ranking_title(ranked),
            latest,
            lambda: st.echarts_chart(
                charts.ranking(ranked, colors, picked=picked.symbol),
                height=height,
                key="ranking-chart",
                alt=ranking_title(ranked),
            ),
            note="52-week volatility of listed instruments. The mark is the value 13 weeks before.",
        )
    with right:
        card(
            "distance",
            distance_title(near),
            latest,
            lambda: st.echarts_chart(
                charts.distances(near, colors, picked=picked.symbol),
                height=height,
                key="distance-chart",
                alt=distance_title(near),
            ),
            note="Newest adjusted close against the highest of 52 weeks.",
        )


page()
