"""Prices: one instrument's days, weeks or months, with what happened to it and what was known when."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import streamlit as st

import charts
import controls
import words
from bars import Bars, find
from cards import card, palette
from warehouse import Answer, answer
from zoom import HOW_TO_ZOOM, timeline

TITLE = "Prices"
ICON = ":material/candlestick_chart:"
ORDER = 1
KINDS = {"etf": "fund", "stock": "no sector", "unknown": "of no roster"}
BASES = {
    "split": "in today's shares: history is divided by the splits since then, dividends stay in the prices",
    "total": "as total return: splits and reinvested dividends are taken out of the history, so that the newest close "
    "is as traded and a ratio of two closes is what a holder earned",
    "raw": "as traded on the day: a split is a jump. Averages and band are stated in the shares of each day, and the "
    "return in the title is without the split",
}


def tile(name: str, value: str, below: str | None = None, *, hint: str = "") -> None:
    """One number."""
    st.metric(
        name, value, below, delta_arrow="off", delta_color="off", border=True, height="stretch", help=hint or None
    )


def tiles(found: Bars) -> None:
    """The newest bar in five numbers."""
    last = found.rows.last
    window, high, low = found.measures.band
    volatilities = [(name, last[column]) for column, name in found.measures.volatilities.items()]
    with st.container(horizontal=True):
        tile("Close, USD", words.price(last["close_usd"]), words.move(last["return_ratio"]))
        tile(
            "Return, z-score",
            words.score(last["return_zscore"]),
            hint=f"z-scores: {found.score_windows}. Returns are total returns.",
        )
        tile(
            f"Volatility, {volatilities[0][0]}",
            words.percent(volatilities[0][1]),
            " · ".join(f"{name} {words.percent(value)}" for name, value in volatilities[1:]) or None,
            hint="Sample deviation of total returns, annualised: log returns by √252, weekly ones by √52.",
        )
        tile(
            f"From {window} high",
            words.percent(last["close_usd"] / last[high] - 1 if last[high] else None),
            hint=f"As drawn, the high is {words.price(last[high])}, the low {words.price(last[low])}.",
        )
        tile("Volume, shares", words.compact(last["volume_shares"]), f"z {words.score(last['volume_zscore'])}")


def is_running(found: Bars, known: dt.datetime | None) -> bool:
    """Whether the newest bar's week or month goes on. One that lacks its last session may have ended early."""
    last = found.rows.last
    if not last["is_partial"]:
        return False
    left = answer(
        "sessions_left",
        interval=found.interval,
        session_date=last["session_date"],
        known_at=None if known is None else known.isoformat(),
    )
    return bool(left.first["session_count"])


def price_title(found: Bars, symbol: str, known: dt.datetime | None) -> str:
    """The newest close as a sentence."""
    last = found.rows.last
    when = words.day(last["session_date"], has_year=True)
    period = f"in the {found.interval} so far" if is_running(found, known) else f"on the {found.interval}"
    moved = words.change(last["return_ratio"])
    return f"{symbol} closed at {words.price(last['close_usd'])} on {when}, {moved} {period}"


def actions_title(rows: Answer, symbol: str, start: dt.date) -> str:
    """Splits and dividends of the range, counted."""
    splits = [row for row in rows.rows if row["action_type"] == "split"]
    paid = [row for row in rows.rows if row["action_type"] == "dividend"]
    text = f"{symbol}: {words.count(len(splits), 'split')}"
    if splits:
        text += f" ({', '.join(_split(row) for row in splits[:3])}{' …' if len(splits) > 3 else ''})"
    text += f", {words.count(len(paid), 'dividend')}"
    in_usd = [row["cash_amount"] for row in paid if row["currency"] in (None, "USD")]
    if in_usd:
        text += f" of {words.price(sum(in_usd))} USD in all"
    return text if start.year < 1901 else f"{text} since {words.day(start, has_year=True)}"


def _split(row: dict[str, Any]) -> str:
    """`2:1 on 21 Jul 2025`."""
    return f"{charts.split_text(row['split_ratio'])} on {words.day(row['effective_date'], has_year=True)}"


def about(picked: controls.Instrument, known: dt.datetime | None) -> str:
    """Whose prices these are."""
    parts = [picked.name or picked.symbol, picked.sector or KINDS.get(picked.asset_class, picked.asset_class)]
    if picked.is_delisted:
        parts.append(f"delisted, last session {words.day(picked.newest_session_date, has_year=True)}")
    if known is not None:
        parts.append(f"as known by {words.moment(known)}")
    return " · ".join(parts)


def nothing(picked: controls.Instrument, known: dt.datetime | None) -> str:
    """Why there is no bar to show, and what would help."""
    if known is not None:
        return (
            f"Nothing was known of {picked.symbol} in this range by {words.moment(known)}. Clear **As known on**, or "
            "pick a later day or a longer range."
        )
    first = picked.first_session_date or picked.first_week_date
    if first is None:
        return f"Gold holds no bar of {picked.symbol} yet. `market-pipeline run all` fetches what is followed."
    return f"{picked.symbol} has no bar in this range; its first is of {first}. Pick a longer one, or end the zoom."


def price(
    found: Bars, picked: controls.Instrument, *, adjustment: str, averages: tuple[int, ...], known: dt.datetime | None
) -> None:
    """The bars with everything that belongs on their axis."""
    title = price_title(found, picked.symbol, known)
    overlays = {} if found.is_feed else {f"average_{days}d_usd": f"{days}-day average" for days in averages}
    if found.is_feed and adjustment == "raw":
        overlays = {"adjusted_close_usd": "Adjusted close"}
    thinned, note = charts.thin(found.rows.table, "close_usd")
    if note:
        note += HOW_TO_ZOOM
    spec = charts.candles(thinned, palette(), replace(found.measures, overlays=overlays))
    source = "of the weekly feed" if found.is_feed else "by their last session"
    kind = {"day": "Daily bars", "week": f"Weekly bars {source}", "month": f"Monthly bars {source}"}[found.interval]
    card(
        "price",
        title,
        found.rows,
        lambda: timeline(
            spec,
            thinned["session_date"].to_pylist(),
            key="price-chart",
            height=758,
            alt=title,
            is_thinned=bool(note),
            axes=4,
        ),
        note=f"{kind} {BASES[adjustment]}. Hollow rose, filled fell; ◆ split, ▲ dividend, ■ corrected. z-scores: "
        f"{found.score_windows}. Ctrl and wheel zoom. {note}",
    )


def page() -> None:
    """Draw the page."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        picked = controls.symbol()
        if picked is None:
            return
        interval = controls.interval()
        adjustment = controls.adjustment()
        span = controls.span(picked.newest_session_date)
        known = controls.known_at()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        averages = controls.averages() if picked.has_days else ()
        has_choice = interval == "week" and picked.has_days and picked.has_weeks
        is_feed_wanted = has_choice and controls.is_weekly_feed(picked)
    found = find(
        picked,
        interval=interval,
        adjustment=adjustment,
        span=span,
        known=known,
        is_feed_wanted=is_feed_wanted,
    )
    st.caption(about(picked, known))
    if found.notice:
        st.info(found.notice, icon=":material/info:")
    if found.rows.is_empty:
        st.info(nothing(picked, known), icon=":material/inbox:")
        return
    tiles(found)
    price(found, picked, adjustment=adjustment, averages=averages, known=known)
    left, right = st.columns(2)
    with left:
        actions = answer(
            "actions",
            instrument_id=picked.instrument_id,
            since=span.since,
            until=found.rows.last["session_date"],
            known_at=None if known is None else known.isoformat(),
        )
        card(
            "actions",
            actions_title(actions, picked.symbol, span.since),
            actions,
            None,  # the chart above has them as marks on their days
            note="The marks of the weekly feed are its own dividends, and splits inferred from its adjustment factor."
            if found.is_feed
            else "",
            empty=f"No split or dividend of {picked.symbol} is known in this range. `market-pipeline run all` asks the "
            "feeds of corporate actions that have a key.",
        )
    with right:
        restated = answer("restated_values", instrument_id=picked.instrument_id)
        corrected, moved = (
            (0, 0) if restated.is_empty else (restated.first["corrected_count"], restated.first["readjusted_count"])
        )
        card(
            "events",
            f"{words.count(corrected, 'value')} of {picked.symbol} corrected by a provider"
            if corrected
            else f"No value of {picked.symbol} was corrected by a provider",
            restated,
            None,  # the chart above has them as marks on their days
            note=""
            if restated.is_empty
            else f"Values that changed after we had them, {words.count(moved, 'adjusted close')} among them only "
            "because of a later dividend or split. Pick a day in **As known on** to see the chart as it was.",
            empty=f"No value of {picked.symbol} has changed since it was first fetched.",
        )


page()
