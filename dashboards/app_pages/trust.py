"""Trust: what is fresh, what is missing, who disagrees, what was rejected, what changed, and what is left to spend.

Over 300 lines because a page is one file and this one has many small cards.
"""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

import charts
import warehouse
import words
from cards import card, check_rows, counted, palette, totals
from market_pipeline.warehouse import Health
from warehouse import Answer, answer, told

TITLE = "Trust"
ICON = ":material/verified_user:"
ORDER = 11
CADENCES = {"Any bars": "any", "Daily bars": "day", "Weekly bars": "week"}
TILE = 205
HEALTH_ORIGIN = "the newest run left it in health.json; `market-pipeline status --json` prints it."
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
            width=TILE,
        )
        st.metric(
            "Checks",
            f"{found.checks_passed:,} passed",
            f"{words.count(len(failed), 'failure')}, {words.count(found.checks_warned, 'warning')}",
            delta_arrow="off",
            delta_color="off",
            border=True,
            height="stretch",
            width=TILE,
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
            width=TILE,
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
            width=TILE,
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
                width=TILE,
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
    blocking = [check.name for check in found.failed_checks if check.severity == "error"]
    if blocking:
        title = f"{words.count(len(blocking), 'blocking check')} failed: {', '.join(blocking)}"
    elif found.failed_checks:
        title = f"No blocking check failed; {words.count(len(found.failed_checks), 'check')} warned"
    else:
        title = f"All {found.checks_passed:,} checks passed"
    card(
        "checks",
        title,
        check_rows(found),
        None,
        note="A failed blocking check publishes nothing: readers stay on the generation before it.",
        empty=f"{found.checks_passed:,} checks passed, none failed."
        + (f" {found.checks_warned:,} warned: the run's log and Dagster name them." if found.checks_warned else ""),
    )


def layers(found: Health) -> None:
    """Rows by layer, and the bytes of what is served."""
    held = {name.replace("_", " "): count for name, count in (found.rows_by_layer or {}).items()}
    current = warehouse.generation()
    size = f", {current.bytes / 1e6:,.1f} MB of gold served" if current else ""
    rows = told(
        "layers",
        pa.table(
            {"layer": pa.array(list(held), pa.string()), "row_count": pa.array(list(held.values()), pa.int64())},
        ),
        origin=HEALTH_ORIGIN,
    )
    card(
        "layers",
        ", ".join(f"{layer} {count:,}" for layer, count in held.items()).capitalize() + size
        if held
        else f"No layer was counted yet{size}",
        rows,
        lambda: st.echarts_chart(
            charts.counts(rows.rows, palette(), name="layer", measure="row_count", title="Rows"),
            height=44 * len(held) + 50,
            key="layers-chart",
            alt="Rows by layer",
        ),
        note="As the newest run counted them. Bronze keeps the evidence, silver every version, gold is what passed.",
        empty="The newest run counted no layer; `market-pipeline run all` does.",
    )


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
    resumes = sorted({item.resumes_at for item in found.datasets if item.resumes_at})
    card(
        "datasets",
        f"{words.count(len(late), 'dataset')} incomplete: {names}"
        if late
        else "Every dataset is complete for the newest slice",
        told("datasets", rows, origin=HEALTH_ORIGIN),
        None,
        note=f"Deferred instruments can be asked again from {words.moment(resumes[0])}; `market-pipeline run all` asks."
        if resumes
        else "By the dates inside the data, never by when a job ran.",
        empty="The newest run fetched nothing. `market-pipeline run all` does.",
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
        tiles(found)
        checks(found)
        datasets(found)
        layers(found)
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
    newest = kept[0].generation if kept else ""
    served = current.generation if current else ""
    title = f"Generation {served} is served; {words.count(len(kept), 'generation')} kept"
    if newest and served != newest:
        title += f" (rolled back from {newest})"
    rows = pa.Table.from_pylist(
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
    card(
        "generations",
        title,
        told(
            "generations",
            rows,
            origin="it is in the records beside the files; `market-pipeline generations` prints it.",
        ),
        None,
        note="`market-pipeline rollback` serves the one before; its bytes are compared with its hash first.",
    )


page()
