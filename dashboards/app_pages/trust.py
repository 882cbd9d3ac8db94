"""Trust: what is fresh, what is missing, who disagrees, what was rejected, what changed, and what is left to spend."""

from __future__ import annotations

import streamlit as st

import charts
import newest_run
import warehouse
import words
from cards import card, counted, palette, totals
from reconciliation import reconciliation
from warehouse import Answer, answer

TITLE = "Trust"
ICON = ":material/verified_user:"
ORDER = 11
CADENCES = {"Any bars": "any", "Daily bars": "day", "Weekly bars": "week"}
LATE_SESSIONS = {"session": 0}  # a feed of another grain may be a week in progress


def feeds() -> None:
    """How new each feed is, by the dates inside its data."""
    rows = answer("feeds", as_of=warehouse.as_of().isoformat())
    late = [row for row in rows.rows if (row["sessions_late"] or 0) > LATE_SESSIONS.get(row["grain"], 5)]
    behind = sum(row["behind_count"] for row in rows.rows)
    title = (
        f"{words.count(len(late), 'feed')} late: "
        + ", ".join(f"{row['feed']} by {words.count(row['sessions_late'], 'session')}" for row in late)
        if late
        else "No feed is late"
    )
    if behind:
        title += f"; {words.count(behind, 'instrument-feed')} behind the others"
    card(
        "feeds",
        title,
        rows,
        counted("feeds", rows.rows, name="feed", measure="sessions_late", title="Sessions late"),
        is_list=True,
        note="Sessions closed since the feed's newest one. A week in progress may be five late.",
        empty="The first run records what it expects of each feed.",
    )


def coverage_title(rows: Answer, *, of: str) -> str:
    """Completeness of the newest slice."""
    if rows.is_empty:
        return f"No {of} is recorded yet"
    newest = rows.last["slice_start_date"]
    cells = [row for row in rows.rows if row["slice_start_date"] == newest]
    done, expected = (sum(row[name] for row in cells) for name in ("complete_count", "expected_count"))
    return f"{of.capitalize()} of {words.day(newest)}: {done} of {expected} instrument-datasets complete"


def grid(key: str, rows: Answer, *, of: str, note: str) -> None:
    """Datasets by slices."""
    count = len({(row["provider"], row["dataset"]) for row in rows.rows})
    title = coverage_title(rows, of=of)
    card(
        key,
        title,
        rows,
        lambda: st.echarts_chart(
            charts.coverage(rows.rows, palette()), height=44 * count + 60, key=f"{key}-chart", alt=title
        ),
        note=note,
        empty="The first run records what it expects and what it gets.",
    )


def coverage() -> None:
    """What is there of what should be, and what is not, by name."""
    sessions = answer("coverage_sessions")
    grid(
        "sessions",
        sessions,
        of="session",
        note="Followed instruments that have a bar, by session feed and session of the exchange. ✓ is whole, hatched ! "
        "says how many are missing.",
    )
    grid(
        "coverage",
        answer("coverage"),
        of="slice",
        note="Answered of expected, by slice, of the feeds that are fetched whole. ✓ is whole, hatched ! is not.",
    )
    left, right = st.columns(2)
    with left:
        gaps = answer("coverage_gaps")
        count, lost = (0, 0) if gaps.is_empty else (gaps.first["gap_count"], gaps.first["missing_bar_count"])
        card(
            "gaps",
            f"{words.count(count, 'gap')} in the sessions, {words.count(lost, 'bar')} in all"
            if count
            else "No followed instrument lacks a session",
            gaps,
            counted(
                "gaps",
                totals(gaps.rows, name="symbol", measure="session_count"),
                name="symbol",
                measure="session_count",
                title="Bars missing",
            ),
            is_list=True,
            note="Sessions in a row that feeds lack of a followed instrument; open ones reach the newest session. "
            "`market-pipeline backfill` asks for what is missing.",
            empty="Every session feed has every followed instrument.",
        )
    with right:
        behind = answer("coverage_problems")
        card(
            "behind",
            f"{words.count(behind.table.num_rows, 'instrument-dataset')} missing from the newest slice or behind it"
            if not behind.is_empty
            else "Every instrument is in the newest slice",
            behind,
            counted(
                "behind", totals(behind.rows, name="dataset"), name="dataset", measure="count", title="Instruments"
            ),
            is_list=True,
            empty="Nothing is missing.",
        )


def changes() -> None:
    """What providers said otherwise later, and what was refused."""
    name = st.segmented_control(
        "Restatements of",
        list(CADENCES),
        default="Any bars",
        required=True,
        key="cadence",
        bind="query-params",
    )
    cadence = CADENCES[name or "Any bars"]
    left, right = st.columns(2)
    with left:
        restated = answer("restatements", cadence=cadence)
        causes = answer("restatement_causes", cadence=cadence).rows
        card(
            "restatements",
            "Values restated by providers: " + ", ".join(f"{row['value_count']:,} {row['cause']}" for row in causes)
            if causes
            else "No published value was restated",
            restated,
            counted("restatements", causes, name="cause", measure="value_count", title="Values restated"),
            is_list=True,
            note="The old value stays: `prices_asof(day, known_at)` gives either of a day, `weekly_prices_asof` of a "
            "week of the weekly feed.",
            empty="No provider has changed a value that we had.",
        )
    with right:
        rejected = answer("quarantine")
        rules = sorted({row["rule"] for row in rejected.rows})
        card(
            "quarantine",
            f"{words.count(rejected.table.num_rows, 'row')} rejected: {', '.join(rules)}"
            if rules
            else "No row was rejected",
            rejected,
            counted(
                "quarantine", answer("quarantine_rules").rows, name="rule", measure="row_count", title="Rows rejected"
            ),
            is_list=True,
            note="Rejected rows are kept as parsed, with the payload they came from.",
            empty="Every parsed row kept its contract.",
        )


def page() -> None:
    """Draw the page."""
    found = warehouse.health()
    if found is None:
        st.info("No run has left its health yet; `market-pipeline run all` writes it.", icon=":material/inbox:")
    else:
        newest_run.tiles(found)
        newest_run.checks(found)
        newest_run.datasets(found)
        newest_run.layers(found)
    feeds()
    coverage()
    reconciliation()
    changes()
    newest_run.generations()


page()
