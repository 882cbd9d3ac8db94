"""Volatility: how much each instrument moves, whether that is much for it, and what was unusual this week."""

from __future__ import annotations

import datetime as dt
from typing import Any

import streamlit as st

import charts
import controls
import words
from cards import card, palette
from warehouse import Answer, answer
from zoom import HOW_TO_ZOOM, timeline

TITLE = "Volatility"
ICON = ":material/show_chart:"
ORDER = 4


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


def history(picked: controls.Instrument, span: controls.Span) -> None:
    """The picked volatility in time, beside its peers'."""
    colors = palette()
    asked: dict[str, Any] = {
        "instrument_id": picked.instrument_id,
        "sector": picked.sector or "",
        "since": span.since,
        "until": span.until,
    }
    rows = answer("volatility_history_days", **asked) if picked.has_days else answer("volatility_history", **asked)
    column, window = ("volatility_252d_ratio", "252-day") if picked.has_days else ("volatility_52w_ratio", "52-week")
    columns = {column: (picked.symbol, colors.up, "solid")}
    if picked.sector:
        columns["sector_ratio"] = (f"Average of {picked.sector}", colors.down, "dashed")
    columns["universe_ratio"] = ("Average of all followed stocks", colors.muted, "dotted")
    title = history_title(rows, picked, column=column, window=window)
    day = "session_date" if picked.has_days else "week_start_date"
    thinned, note = charts.thin(rows.table, column, limit=charts.share(len(columns)))
    if note:
        note += HOW_TO_ZOOM
    card(
        "history",
        title,
        rows,
        lambda: timeline(
            charts.lines(thinned, colors, columns, day=day),
            thinned[day].to_pylist(),
            key="history-chart",
            height=380,
            alt=title,
            is_thinned=bool(note),
        ),
        note=(
            "252-day realised volatility: sample deviation of daily log total returns, times √252."
            if picked.has_days
            else "52-week realised volatility: sample deviation of weekly returns on adjusted closes, times √52."
        )
        + f" {note}",
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


def unusual(picked: controls.Instrument) -> None:
    """Who moves more than usual for itself, on how much volume."""
    dates = answer("bar_dates").rows
    cadence = dates[0]["cadence"] if dates else "day"
    rows = answer(
        "volatility_scores",
        over="market_days" if cadence == "day" else "market_weeks",
        day=dates[0]["bar_date"] if dates else dt.date(1900, 1, 1),
        adjustment="total",
        is_followed=True,
        least_count=126 if cadence == "day" else 26,
    )
    window = "20-day" if cadence == "day" else "52-week"
    scored = [row for row in rows.rows if row["volatility_zscore"] is not None and row["volume_zscore"] is not None]
    far = [row["symbol"] for row in scored if abs(row["volatility_zscore"]) > 2]
    title = (
        f"{len(far)} of {words.count(len(scored), 'instrument')} have an unusual {window} volatility"
        if far
        else f"None of {words.count(len(scored), 'instrument')} has an unusual {window} volatility"
    )
    title += f": {words.names(far)}" if far else ""
    scores = charts.Scores(
        ("volatility_zscore", "Volatility z-score"),
        ("volume_zscore", "Volume z-score"),
        "return_ratio",
        "on the day" if cadence == "day" else "in the week",
    )
    card(
        "unusual",
        title,
        rows,
        lambda: st.echarts_chart(
            charts.zscores(scored, palette(), scores, picked=picked.symbol), height=400, key="unusual-chart", alt=title
        ),
        note=f"Newest {window} volatility against its own year, newest volume against its own "
        + ("20 sessions" if cadence == "day" else "52 weeks")
        + "; inside the grey square is usual.",
        empty="It needs half a year of volatilities: gold has too short a history yet.",
    )


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
        span = controls.span(picked.newest_session_date)
    latest = answer("latest")
    ranked = [row for row in latest.rows if row["volatility_52w_ratio"] is not None]
    near = sorted(
        (row for row in latest.rows if row["distance_to_high_52w_ratio"] is not None),
        key=lambda row: row["distance_to_high_52w_ratio"],
    )
    height = max(28 * len(ranked) + 60, 240)
    left, right = st.columns(2)
    with left:
        cone(picked)
    with right:
        history(picked, span)
    unusual(picked)
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
