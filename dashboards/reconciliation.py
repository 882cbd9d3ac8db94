"""Several providers of one bar: who is off, where, and by what."""

from __future__ import annotations

import streamlit as st

import charts
import words
from cards import card, counted, palette
from warehouse import Answer, answer


def scores_title(rows: Answer) -> str:
    """Each provider's score. One that won all its sessions was compared with nobody but itself."""
    judged = [row for row in rows.rows if row["won_session_count"] < row["session_count"]]
    if not judged:
        return "No session has bars of two providers"
    values = max(row["value_count"] for row in judged)
    told = ", ".join(
        f"{row['provider']} in {words.share(row['agreeing_count'], row['value_count'])} %" for row in judged
    )
    text = f"Of up to {values:,} values a provider agrees with the winner: {told}"
    winners = [row["provider"] for row in rows.rows if row["won_session_count"] == row["session_count"]]
    return f"{text}; {' and '.join(winners)} won all its sessions" if winners else text


def differences_title(rows: Answer, causes: Answer) -> str:
    """How many values differ, and where most of them are."""
    if rows.is_empty:
        return "No value differs between providers"
    total, split_values = causes.first["difference_count"], causes.first["missed_split_count"]
    named: dict[str, list[str]] = {"missed_split": [], "differs": []}
    for row in causes.rows:
        ratio = f" {charts.split_text(row['likely_split_ratio'])}" if row["likely_split_ratio"] else ""
        text = f"{row['symbol']}{ratio} at {row['provider']}"
        if text not in named[row["verdict"]]:
            named[row["verdict"]].append(text)
    parts = []
    for verdict, count, what in (
        ("missed_split", split_values, "by a missed split"),
        ("differs", total - split_values, "otherwise"),
    ):
        if count:
            more = " …" if len(named[verdict]) > 3 else ""
            parts.append(f"{count:,} {what} ({', '.join(named[verdict][:3])}{more})")
    return f"{words.count(total, 'value')} beyond tolerance: {', '.join(parts)}"


def adjustments_title(counts: Answer) -> str:
    """Whether our factors are the vendors'."""
    if counts.is_empty:
        return "No vendor's adjusted close to compare with"
    total, equal = (sum(row[name] for row in counts.rows) for name in ("close_count", "equal_count"))
    worst = sorted({row["worst_symbol"] for row in counts.rows if row["worst_symbol"]})
    text = f"{equal:,} of {total:,} closes that vendors adjusted equal ours"
    return f"{text}; {', '.join(worst[:4])} furthest off" if worst else text


def reconciliation() -> None:
    """Several providers of one bar: who is off, where, and by what."""
    providers, worst = answer("provider_scores"), answer("instrument_scores")
    left, right = st.columns(2)
    with left:
        count = len({row["provider"] for row in worst.rows})
        card(
            "scores",
            scores_title(providers),
            worst,
            lambda: st.echarts_chart(
                charts.scores(worst.rows, palette()),
                height=46 * count + 60,
                key="scores-chart",
                alt=scores_title(providers),
            ),
            note="The instruments with the lowest scores first. ✓ all values agree, else per cent of them. Prices "
            "agree within 0.1 %, volumes within 2 %.",
            empty="Reconciliation needs a session that two providers have: a second daily feed gives one.",
        )
    with right:
        won = [row for row in providers.rows if row["won_session_count"]]
        card(
            "providers",
            "Winner of the sessions: "
            + ", ".join(f"{row['provider']} {row['won_session_count']:,} of {row['session_count']:,}" for row in won)
            if won
            else "No session was contested",
            providers,
            counted("providers", providers.rows, name="provider", measure="won_session_count", title="Sessions won"),
            is_list=True,
            note="The winner is whose close most providers share, then the preferred one. A winner agrees with itself; "
            "`confirmed_ratio` counts only what another provider shares.",
            empty="One provider a session: nothing to compare.",
        )
    rows, causes = answer("differences"), answer("difference_causes")
    card(
        "differences",
        differences_title(rows, causes),
        rows,
        counted(
            "differences",
            [{**row, "whose": f"{row['symbol']} at {row['provider']}"} for row in causes.rows[:20]],
            name="whose",
            measure="value_count",
            title="Values beyond tolerance",
        ),
        is_list=True,
        note="Each value beside that of the provider that gold chose for the session. A missed split differs by a "
        "ratio of shares.",
        empty="Every value that two providers have is within the tolerance, or only one provider has the bar.",
    )
    counts, unequal = answer("adjustment_counts"), answer("adjustments")
    card(
        "adjustments",
        adjustments_title(counts),
        unequal,
        counted(
            "adjustments", counts.rows, name="feed", measure="unequal_instrument_count", title="Instruments that differ"
        ),
        is_list=True,
        note="A vendor's adjusted close beside the raw one times our factor, made of splits and dividends alone. They "
        "differ when one of us lacks an action.",
        empty="No daily feed gives adjusted closes." if counts.is_empty else "Nothing differs by more than rounding.",
    )
