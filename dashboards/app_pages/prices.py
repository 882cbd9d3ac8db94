"""Prices: one instrument's weeks, with what happened to it and what was known when."""

from __future__ import annotations

import streamlit as st

import charts
import controls
import words
from cards import card, palette
from warehouse import Answer, answer

TITLE = "Prices"
ICON = ":material/candlestick_chart:"
ORDER = 1


def tiles(rows: Answer) -> None:
    """The newest week in five numbers."""
    last = rows.last
    with st.container(horizontal=True):
        st.metric(
            "Close, USD",
            words.price(last["close_usd"]),
            words.move(last["weekly_return_ratio"]),
            delta_arrow="off",
            delta_color="off",
            border=True,
            height="stretch",
        )
        st.metric(
            "Return, z-score",
            words.score(last["return_zscore_52w"]),
            border=True,
            height="stretch",
            help="Over 52 weeks.",
        )
        st.metric(
            "52-week volatility",
            words.percent(last["volatility_52w_ratio"]),
            border=True,
            height="stretch",
            help="Sample deviation of 52 weekly returns on adjusted closes, annualised by √52.",
        )
        st.metric(
            "From 52-week high",
            words.percent(last["distance_to_high_52w_ratio"]),
            border=True,
            height="stretch",
            help=f"On adjusted closes. As drawn, the high is {words.price(last['high_52w_usd'])}, "
            f"the low {words.price(last['low_52w_usd'])}.",
        )
        st.metric(
            "Volume, shares",
            words.compact(last["volume_shares"]),
            f"z {words.score(last['volume_zscore_52w'])}",
            delta_arrow="off",
            delta_color="off",
            border=True,
            height="stretch",
        )


def price_title(rows: Answer, picked: controls.Instrument) -> str:
    """The newest close as a sentence."""
    last = rows.last
    when = words.day(last["session_date"], has_year=True)
    week = "in the week so far" if last["is_partial_week"] else "on the week"
    moved = words.change(last["weekly_return_ratio"])
    return f"{picked.symbol} closed at {words.price(last['close_usd'])} on {when}, {moved} {week}"


def events_title(rows: Answer, restated: Answer, symbol: str) -> str:
    """What happened in the range, counted."""
    splits = sum(row["split_ratio"] is not None for row in rows.rows)
    paid = [row["dividend_usd"] for row in rows.rows if row["dividend_usd"]]
    text = f"{symbol}: {words.count(splits, 'split')}, {words.count(len(paid), 'dividend')}"
    if paid:
        text += f" of {words.price(sum(paid))} USD in all"
    corrected = 0 if restated.is_empty else restated.first["corrected_count"]
    return f"{text}; {words.count(corrected, 'value')} corrected by the provider"


def page() -> None:
    """Draw the page."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        picked = controls.symbol()
        if picked is None:
            st.info("Gold holds no prices. `market-pipeline run all` fetches them.", icon=":material/inbox:")
            return
        start = controls.since(picked.newest_session_date)
        adjusted = controls.is_adjusted()
        known = controls.known_at()
    parameters = {"instrument_id": picked.instrument_id, "since": start, "is_adjusted": adjusted}
    rows = (
        answer("prices", **parameters)
        if known is None
        else answer("prices_asof", known_at=known.isoformat(), **parameters)
    )
    about = [picked.name, picked.sector or "fund"]
    if picked.is_delisted:
        about.append(f"delisted, last session {words.day(picked.newest_session_date, has_year=True)}")
    if known is not None:
        about.append(f"as known by {words.moment(known)}")
    st.caption(" · ".join(about))
    if rows.is_empty:
        st.info(
            f"Nothing was known of {picked.symbol} in this range by {words.moment(known)}. Clear **As known on**, or "
            "pick a later day or a longer range."
            if known
            else f"{picked.symbol} has no week in this range; its first is {picked.first_week_date}.",
            icon=":material/inbox:",
        )
        return
    tiles(rows)
    thinned, note = charts.thin(rows.table, "adjusted_close_usd")
    spec = charts.candles(thinned, palette(), has_adjusted_line=not adjusted)
    basis = "adjusted for splits and dividends" if adjusted else "as traded"
    card(
        "price",
        price_title(rows, picked),
        rows,
        lambda: st.echarts_chart(spec, height=690, key="price-chart", alt=price_title(rows, picked)),
        note=f"Weekly bars {basis}; hollow rose, filled fell. Volume as traded. Ctrl and wheel zoom. {note}",
    )
    restated = answer("restated_values", instrument_id=picked.instrument_id)
    moved = 0 if restated.is_empty else restated.first["readjusted_count"]
    card(
        "events",
        events_title(rows, restated, picked.symbol),
        restated,
        None,
        note=""
        if restated.is_empty
        else "Splits are inferred from the adjustment factor. Each row is a value that changed after we had it, "
        f"{words.count(moved, 'adjusted close')} among them only because of a later dividend or split. Pick a day in "
        "**As known on** to see the chart as it was.",
        empty=f"No value of {picked.symbol} has changed since it was first fetched.",
    )


page()
