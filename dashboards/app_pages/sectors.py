"""Sectors & volume: where the week's money was, how it moved, and how that compares."""

from __future__ import annotations

import streamlit as st

import charts
import controls
import words
from cards import card, palette
from warehouse import Answer, answer

TITLE = "Sectors & volume"
ICON = ":material/grid_view:"
ORDER = 3
AREAS = {"Dollar volume": "dollar_volume_usd", "Market cap": "market_capitalization"}


def map_title(rows: Answer, area: str) -> str:
    """Who traded most, or is worth most, and how it moved."""
    is_volume = area == "dollar_volume_usd"
    if rows.is_empty:
        return "No stock traded in this week" if is_volume else "No stock of this week has a market capitalisation"
    total = sum(row[area] or 0 for row in rows.rows)
    top = max(rows.rows, key=lambda row: row[area] or 0)
    share = words.percent((top[area] or 0) / total) if total else words.NONE
    moved = words.change(top["weekly_return_ratio"])
    if is_volume:
        return f"{words.compact(total, unit='$')} changed hands; {top['symbol']} took {share} of it, {moved}"
    return f"{top['symbol']} is worth most, {share} of {words.compact(total, unit='$')}, {moved}"


def week_title(rows: Answer) -> str:
    """The best sector and the breadth."""
    ranked = [row for row in rows.rows if row["average_return_ratio"] is not None]
    if not ranked:
        return "No sector has a return in this week"
    best = ranked[-1]
    rose = sum(row["average_return_ratio"] > 0 for row in ranked)
    moved = words.change(best["average_return_ratio"])
    return f"{best['sector']} led, {moved} on average; {rose} of {len(ranked)} sectors rose"


def share_title(rows: Answer) -> str:
    """How the biggest share moved over the range."""
    if rows.is_empty:
        return "No volume in this range"
    series: dict[str, list[float]] = {}
    for row in rows.rows:
        series.setdefault(row["sector"], []).append(row["dollar_volume_share_ratio"] or 0)
    top = max(series, key=lambda name: series[name][-1])
    return (
        f"{top} holds {words.percent(series[top][-1])} of the dollar volume, "
        f"{words.percent(series[top][0])} at the start of the range"
    )


def spread_title(rows: Answer) -> str:
    """The widest and the tightest sector."""
    wide = [row for row in rows.rows if row["observation_count"] > 1]
    if not wide:
        return "No returns in this range"
    most = max(wide, key=lambda row: row["p95_ratio"] - row["p05_ratio"])
    least = min(wide, key=lambda row: row["p95_ratio"] - row["p05_ratio"])
    reach = f"{words.percent(most['p05_ratio'])} to {words.percent(most['p95_ratio'])}"
    return f"{most['sector']} spread widest, {reach} in nine weeks of ten; {least['sector']} least"


def page() -> None:
    """Draw the page."""
    colors = palette()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        week = controls.week()
        if week is None:
            st.info("Gold holds no prices. `market-pipeline run all` fetches them.", icon=":material/inbox:")
            return
        name = st.segmented_control(
            "Area", list(AREAS), default="Dollar volume", required=True, key="area", bind="query-params"
        )
        start = controls.since(week)
    area = AREAS[name or "Dollar volume"]
    stocks = answer("sector_map", week=week, area=area)
    title = map_title(stocks, area)
    what = "dollar volume" if area == "dollar_volume_usd" else "market capitalisation as of the newest profile"
    card(
        "map",
        title,
        stocks,
        lambda: st.echarts_chart(
            charts.sector_map(stocks.rows, colors, area=area), height=430, key="map-chart", alt=title
        ),
        note=f"Week of {words.day(week, has_year=True)}. Area: {what}. Blue ▲ rose, hatched orange ▼ fell, "
        "stronger towards 6 %. Funds are left out.",
        empty="No stock has a bar in this week. Pick another one."
        if area == "dollar_volume_usd"
        else "A capitalisation comes with a company profile: `market-pipeline run alpha_vantage/overview` or "
        "`market-pipeline run fmp/profile` fetches them.",
    )
    left, right = st.columns(2)
    with left:
        sectors = answer("sector_week", week=week)
        spec = charts.signed_bars(
            sectors.rows, colors, name="sector", measure="average_return_ratio", title="Average return"
        )
        card(
            "sectors",
            week_title(sectors),
            sectors,
            lambda: st.echarts_chart(spec, height=380, key="sectors-chart", alt=week_title(sectors)),
            note="Average weekly return of a sector's stocks, each with the same weight.",
        )
    with right:
        spread = answer("return_distribution", since=start, week=week)
        card(
            "returns",
            spread_title(spread),
            spread,
            lambda: st.altair_chart(
                charts.distribution(spread.table, colors), width="stretch", height=380, key="returns-chart"
            ),
            note="Line: 5th to 95th percentile of weekly returns. Box: middle half. Tick: median. Diamond: this week.",
        )
    share = answer("sector_share", since=start)
    held: dict[str, float] = {}
    for row in share.rows:
        held[row["sector"]] = held.get(row["sector"], 0.0) + (row["dollar_volume_usd"] or 0.0)
    names = sorted(held, key=lambda name: -held[name])  # the biggest at the bottom, where it is easiest to read
    card(
        "share",
        share_title(share),
        share,
        lambda: st.echarts_chart(
            charts.shares(share.table, colors, order=names), height=380, key="share-chart", alt=share_title(share)
        ),
        note="Share of the followed stocks' dollar volume, week by week; the names stand in the areas' order.",
    )


page()
