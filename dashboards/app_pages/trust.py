"""Trust: what is fresh, what is missing, who disagrees, what was rejected, what changed, and what is left to spend.

Over 300 lines because a page is one file and this one has many small cards.
"""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

import charts
import warehouse
import words
from cards import card, palette, table
from market_pipeline.warehouse import Health
from warehouse import Answer, answer

TITLE = "Trust"
ICON = ":material/verified_user:"
ORDER = 4
CADENCES = {"Any bars": "any", "Daily bars": "day", "Weekly bars": "week"}
LATE_SESSIONS = {"session": 0}  # a feed of another grain may be a week in progress


def tiles(found: Health) -> None:
    """The newest run in numbers."""
    run = found.last_run
    failed = [check for check in found.failed_checks if check.severity == "error"]
    with st.container(horizontal=True):
        st.metric(
            "Newest run",
            {"success": "✓ succeeded", "failed": "✗ failed", "refused": "✗ refused"}.get(run.status, run.status)
            if run
            else words.NONE,
            words.moment(run.finished_at) if run else None,
            delta_arrow="off",
            delta_color="off",
            border=True,
            height="stretch",
        )
        st.metric(
            "Checks",
            f"{found.checks_passed:,} passed",
            f"{words.count(len(failed), 'failure')}, {words.count(found.checks_warned, 'warning')}",
            delta_arrow="off",
            delta_color="off",
            border=True,
            height="stretch",
        )
        complete = sum(item.fetched + item.empty for item in found.datasets)
        expected = sum(item.expected for item in found.datasets)
        st.metric(
            "Newest slices",
            f"{complete} of {expected}",
            "instruments answered",
            delta_arrow="off",
            delta_color="off",
            border=True,
            height="stretch",
        )
        rejected = sum((found.quarantined or {}).values())
        st.metric(
            "Rows in quarantine",
            f"{rejected:,}",
            "kept, with the rule",
            delta_arrow="off",
            delta_color="off",
            border=True,
            height="stretch",
        )
        for quota in found.quota:
            left = "no daily cap" if quota.left is None else f"{quota.left} of {quota.calls_per_day} left"
            st.metric(
                f"Calls, {quota.provider}",
                left,
                f"plan {quota.plan}; resets {words.moment(quota.resets_at)}" if quota.left is not None else quota.plan,
                delta_arrow="off",
                delta_color="off",
                border=True,
                height="stretch",
            )


def checks(found: Health) -> None:
    """Failed and warned checks, or the sentence that there are none."""
    run = found.last_run
    if run is not None and run.status != "success":
        served = f" Generation {found.generation} is still served." if found.generation else ""
        st.error(
            f"The run of `{run.target}` at {words.moment(run.started_at)} {run.status} (exit code {run.exit_code}): "
            f"{run.error or 'no reason given'}.{served} Mend it, then `market-pipeline run {run.target}`.",
            icon=":material/gpp_bad:",
        )
    rows = pa.table(
        {
            "severity": [check.severity for check in found.failed_checks],
            "check": [check.name for check in found.failed_checks],
            "model": [check.model for check in found.failed_checks],
            "rows": pa.array([check.failures for check in found.failed_checks], pa.int64()),
            "message": [check.message for check in found.failed_checks],
        }
    )
    with st.container(border=True, key="card-checks"):
        blocking = sum(check.severity == "error" for check in found.failed_checks)
        if blocking:
            names = ", ".join(check.name for check in found.failed_checks if check.severity == "error")
            title = f"{words.count(blocking, 'blocking check')} failed: {names}"
        elif found.failed_checks:
            title = f"No blocking check failed; {words.count(len(found.failed_checks), 'check')} warned"
        else:
            title = f"All {found.checks_passed:,} checks passed"
        st.subheader(title, anchor="checks")
        if found.failed_checks:
            table(rows)
        else:
            st.caption("A failed blocking check publishes nothing: readers stay on the generation before it.")


def datasets(found: Health) -> None:
    """Each feed's newest slice, by what became of its instruments."""
    late = [item for item in found.datasets if item.fetched + item.empty < item.expected]
    names = ", ".join(f"{item.provider}/{item.dataset}" for item in late)
    rows = pa.Table.from_pylist(
        [
            {
                "dataset": f"{item.provider}/{item.dataset}",
                "newest_data_date": item.newest_data_date,
                "slice": item.slice,
                "expected": item.expected,
                "fetched": item.fetched,
                "empty": item.empty,
                "deferred": item.deferred,
                "refused": item.refused,
                "failed": item.failed,
                "not_yet": item.not_yet,
                "missing": item.missing,
                "resumes_at": item.resumes_at,
                "problems": ", ".join(f"{p.symbol} {p.outcome} ({p.reason})" for p in item.problems),
            }
            for item in found.datasets
        ]
    )
    with st.container(border=True, key="card-datasets"):
        st.subheader(
            f"{words.count(len(late), 'dataset')} incomplete: {names}"
            if late
            else "Every dataset is complete for the newest slice",
            anchor="datasets",
        )
        if rows.num_rows:
            table(rows)
        resumes = sorted({item.resumes_at for item in found.datasets if item.resumes_at})
        st.caption(
            f"Deferred instruments can be asked again from {words.moment(resumes[0])}; `market-pipeline run all` asks."
            if resumes
            else "By the dates inside the data, never by when a job ran."
        )


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
        None,
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
            None,
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
            None,
            empty="Nothing is missing.",
        )


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
            None,
            note="The winner is whose close most providers share, then the preferred one. A winner agrees with itself; "
            "`confirmed_ratio` counts only what another provider shares.",
            empty="One provider a session: nothing to compare.",
        )
    rows, causes = answer("differences"), answer("difference_causes")
    card(
        "differences",
        differences_title(rows, causes),
        rows,
        None,
        note="Each value beside that of the provider that gold chose for the session. A missed split differs by a "
        "ratio of shares.",
        empty="Every value that two providers have is within the tolerance, or only one provider has the bar.",
    )
    counts, unequal = answer("adjustment_counts"), answer("adjustments")
    card(
        "adjustments",
        adjustments_title(counts),
        unequal,
        None,
        note="A vendor's adjusted close beside the raw one times our factor, made of splits and dividends alone. They "
        "differ when one of us lacks an action.",
        empty="No daily feed gives adjusted closes." if counts.is_empty else "Nothing differs by more than rounding.",
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
            None,
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
            None,
            note="Rejected rows are kept as parsed, with the payload they came from.",
            empty="Every parsed row kept its contract.",
        )


def page() -> None:
    """Draw the page."""
    found = warehouse.health()
    if found is None:
        st.info("No run has left its health yet; `market-pipeline run all` writes it.", icon=":material/inbox:")
    else:
        tiles(found)
        checks(found)
        datasets(found)
    feeds()
    coverage()
    reconciliation()
    changes()
    history()


def history() -> None:
    """Generations that can be gone back to."""
    door = warehouse.warehouse()
    kept = door.generations()
    current = door.current()
    with st.container(border=True, key="card-generations"):
        newest = kept[0].generation if kept else ""
        served = current.generation if current else ""
        title = f"Generation {served} is served; {words.count(len(kept), 'generation')} kept"
        if newest and served != newest:
            title += f" (rolled back from {newest})"
        st.subheader(title, anchor="generations")
        table(
            pa.Table.from_pylist(
                [
                    {
                        "generation": item.generation,
                        "served": "◀" if item.generation == served else "",
                        "published_at": words.moment(item.published_at),
                        "rows": sum(item.tables.values()),
                        "megabytes": round(item.bytes / 1e6, 1),
                        "partial": "yes" if item.is_partial else "no",
                        "sha256": item.sha256,
                    }
                    for item in kept
                ]
            )
        )
        st.caption("`market-pipeline rollback` serves the one before; its bytes are compared with its hash first.")


page()
