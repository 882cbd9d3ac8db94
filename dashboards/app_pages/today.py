"""Today: what the newest session changed, for the followed instruments or the whole market."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

import charts
import newest_run
import words
from cards import card, counted, palette
from market import LEAST_VALUES, Asked, picked
from warehouse import Answer, answer

TITLE = "Today"
ICON = ":material/today:"
ORDER = 0
PERIODS = {"day": "on the day", "week": "in the week"}
PATHS = 270
STRONGEST = {"day": 0.03, "week": 0.06}


def indices_title(rows: Answer, asked: Asked) -> str:
    """The most traded benchmark and the breadth of the stocks."""
    if rows.is_empty:
        return f"No followed instrument has a return on {asked.when}"
    parts = []
    for row in rows.rows:
        if row["asset_class"] == "mean":
            parts.append(
                f"{row['advancing_count']} of {words.count(row['instrument_count'], 'followed stock')} rose, "
                f"{words.change(row['return_ratio'])} on average"
            )
        elif not parts:
            parts.append(f"{row['symbol']} {words.change(row['return_ratio'])}")
    return "; ".join(parts)


def tile(row: Mapping[str, Any]) -> None:
    """One benchmark: where it stands, and its move."""
    is_mean = row["asset_class"] == "mean"
    ratio = row["return_ratio"]
    st.metric(
        f"{row['symbol']}, equal weight" if is_mean else f"{row['symbol']} {row['asset_class'].upper()}",
        f"{row['instrument_count']:,} stocks" if is_mean else words.price(row["close_usd"]),
        words.move(ratio, digits=2),
        delta_arrow="off",
        delta_color="gray" if not ratio else "blue" if ratio > 0 else "orange",
        border=True,
        help=f"{row['name']}. {words.change(row['path_return_ratio'])} over the newest {len(row['path'])} bars.",
    )


def indices(asked: Asked) -> None:
    """The benchmarks, each as what it is: a fund, an index, or a mean of stocks."""
    rows = asked.answer("today_indices", is_followed=True)

    found = rows.rows
    paths = charts.paths({row["symbol"]: (row["path_dates"], row["path"]) for row in found})
    mean = next((row["symbol"] for row in found if row["asset_class"] == "mean"), "")

    def tiles() -> None:
        left, right = st.columns([9, 11])
        with right:  # first: the browser loads what draws charts when it meets one
            st.echarts_chart(
                charts.indexed(paths, palette(), bold=mean, height=PATHS, has_slider=False),
                height=PATHS,
                key="indices-chart",
                alt=f"Paths of the newest {paths.num_rows} bars, 100 before the first of them",
            )
        with left, st.container(horizontal=True):
            for row in found:
                tile(row)

    has_benchmark = any(row["asset_class"] != "mean" for row in found)
    card(
        "indices",
        indices_title(rows, asked),
        rows,
        tiles,
        note=(
            "The followed funds that traded most stand for their indexes; an index itself is shown where it has bars. "
            if has_benchmark
            else "No fund or index is followed, so the stocks' mean stands alone; `market-pipeline symbols add` helps. "
        )
        + f"The mean gives each followed stock the same weight every day. Lines: the newest {paths.num_rows} bars, 100 "
        "before the first of them.",
        empty=f"No followed instrument has two bars in a row up to {asked.when}; `market-pipeline run all` gets more.",
    )


def sectors(asked: Asked) -> None:
    """Where the money was, by sector."""
    rows = asked.answer("today_map")
    by_sector = {row["sector"]: row["sector_return_ratio"] for row in rows.rows}
    ranked = sorted((name for name in by_sector if by_sector[name] is not None), key=lambda name: by_sector[name])
    if not ranked:
        title = f"No stock has a return on {asked.when}"
    elif len(ranked) == 1:
        title = f"{ranked[0]}: {words.change(by_sector[ranked[0]])} on average"
    else:
        best, worst = ranked[-1], ranked[0]
        title = (
            f"{best} did best, {words.change(by_sector[best])} on average; "
            f"{worst} worst, {words.change(by_sector[worst])}"
        )
    strongest = STRONGEST[asked.cadence]
    card(
        "map",
        title,
        rows,
        lambda: st.echarts_chart(
            charts.sector_map(rows.rows, palette(), move="return_ratio", strongest=strongest),
            height=400,
            key="map-chart",
            alt=title,
        ),
        note=f"Area: dollar volume. Blue ▲ rose, hatched orange ▼ fell, stronger towards {strongest * 100:.0f} %. "
        "Funds are left out"
        + (
            "."
            if asked.is_followed
            else "; stocks that no feed gives a sector are Unclassified. The 500 that traded most."
        ),
        empty=f"No stock of this choice traded on {asked.when}. Pick another session, or less in **Traded at least**.",
    )


def movers(asked: Asked, rows: Answer, *, height: int) -> None:
    """Who rose and who fell most."""
    title = f"Nothing moved on {asked.when}"
    if not rows.is_empty:
        first, last = rows.first, rows.last
        parts = [
            f"{row['symbol']} {words.change(row['return_ratio'])}"
            for row, is_one in ((last, last["return_ratio"] > 0), (first, first["return_ratio"] < 0))
            if is_one
        ]
        title = f"Furthest: {', '.join(parts)}; {last['advancing_count']:,} rose and {last['declining_count']:,} fell"
    card(
        "movers",
        title,
        rows,
        lambda: st.echarts_chart(
            charts.signed_bars(rows.rows, palette(), name="symbol", measure="return_ratio", title="Return"),
            height=height,
            key="movers-chart",
            alt=title,
        ),
        note=f"Up to ten each way, of {asked.whose}; returns "
        + ("with dividends." if asked.adjustment == "total" else "without splits, dividends are falls."),
        empty=f"No one of the {asked.whose} has a return on {asked.when}.",
    )


def scores(asked: Asked, *, height: int) -> None:
    """Who was furthest from their own usual."""
    rows = asked.answer("today_scores")
    title = f"No z-scores on {asked.when}"
    if not rows.is_empty:
        unusual = [row["symbol"] for row in rows.rows if row["is_unusual"]]
        count = rows.first["unusual_count"]
        title = f"{count:,} of {words.count(rows.first['scored_count'], 'instrument')} beyond two deviations"
        title += f": {words.names(unusual[:4], most=4)}{' …' if count > 4 else ''}" if unusual else ""
    spec = charts.Scores(
        ("return_zscore", "Return z-score"),
        ("volume_zscore", "Volume z-score"),
        "return_ratio",
        PERIODS[asked.cadence],
    )
    card(
        "scores",
        title,
        rows,
        lambda: st.echarts_chart(
            charts.zscores(rows.rows, palette(), spec, picked=""), height=height, key="scores-chart", alt=title
        ),
        note=(
            "Return and price against their own 252 sessions, volume against 20"
            if asked.cadence == "day"
            else "Each against its own 52 weeks"
        )
        + "; the table has the price's score too. Inside the grey square is usual. Up to 300, the furthest first.",
        empty="A z-score needs half of its window of bars: 126 sessions for a return, 10 for a volume."
        if asked.cadence == "day"
        else "A z-score needs 52 weeks of bars.",
    )


def breakouts(asked: Asked) -> None:
    """Whose volatility left its own range of the year before."""
    rows = asked.answer("today_breakouts")
    window = "20-day" if asked.cadence == "day" else "52-week"
    title = f"No {window} volatility to compare on {asked.when}"
    if not rows.is_empty:
        count, compared = rows.first["breakout_count"], rows.first["compared_count"]
        out = [row["symbol"] for row in rows.rows if row["is_breakout"]]
        title = (
            f"{window} volatility broke out in {count:,} of {compared:,}: {words.names(out[:4], most=4)}"
            f"{' …' if count > 4 else ''}"
            if count
            else f"No {window} volatility broke out; {rows.first['symbol']} is nearest, "
            f"{words.percent(-rows.first['above_highest_ratio'])} below its highest of a year"
        )
    card(
        "breakouts",
        title,
        rows,
        lambda: st.echarts_chart(
            charts.ranking(
                rows.rows,
                palette(),
                picked="",
                measure="volatility_ratio",
                mark=("highest_ratio", "Highest of the year before"),
            ),
            height=max(24 * rows.table.num_rows + 60, 240),
            key="breakouts-chart",
            alt=title,
        ),
        note=f"{window} volatility now, and its highest of the 365 days before, nearest first, 20 of them. A bar "
        "beyond its mark broke out.",
        empty=f"It needs {LEAST_VALUES[asked.cadence]} values of an instrument's volatility in the year before.",
    )


def events(asked: Asked) -> None:
    """Splits, dividends, listings, gaps and corrections of the session."""
    rows = answer("today_events", since=asked.day, until=asked.session_date)
    kinds: dict[str, int] = {}
    for row in rows.rows:
        kind = row["what"].split(":")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    title = (
        "Events: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        if kinds
        else f"No split, dividend, listing, gap or correction on {asked.when}"
    )
    card(
        "events",
        title,
        rows,
        counted(
            "events",
            [{"kind": kind, "count": count} for kind, count in sorted(kinds.items(), key=lambda item: -item[1])],
            name="kind",
            measure="count",
            title="Events",
        ),
        is_list=True,
        note="Of the followed instruments. A correction counts on the day on which we saw it.",
        empty="Nothing of the kind is known of a followed instrument.",
    )


def page() -> None:
    """Draw the page."""
    asked = picked()
    if asked is None:
        return
    indices(asked)
    sectors(asked)
    moved = asked.answer("today_movers")
    height = max(24 * moved.table.num_rows + 50, 340)
    left, right = st.columns(2)
    with left:
        movers(asked, moved, height=height)
    with right:
        scores(asked, height=height)
    breakouts(asked)
    left, right = st.columns(2)
    with left:
        newest_run.summary()
    with right:
        events(asked)


page()
