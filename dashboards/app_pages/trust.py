"""Trust: what is fresh, what is missing, what failed, what was rejected, what changed, and what is left to spend."""

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


def coverage_title(rows: Answer) -> str:
    """Completeness of the newest slice."""
    if rows.is_empty:
        return "No slice is recorded yet"
    newest = rows.last["slice_start_date"]
    cells = [row for row in rows.rows if row["slice_start_date"] == newest]
    done, expected = (sum(row[name] for row in cells) for name in ("complete_count", "expected_count"))
    return f"Week of {words.day(newest)}: {done} of {expected} instrument-datasets complete"


def page() -> None:
    """Draw the page."""
    found = warehouse.health()
    if found is None:
        st.info("No run has left its health yet; `market-pipeline run all` writes it.", icon=":material/inbox:")
    else:
        tiles(found)
        checks(found)
        datasets(found)
    slices = answer("coverage")
    count = len({(row["provider"], row["dataset"]) for row in slices.rows})
    card(
        "coverage",
        coverage_title(slices),
        slices,
        lambda: st.echarts_chart(
            charts.coverage(slices.rows, palette()),
            height=52 * count + 60,
            key="coverage-chart",
            alt=coverage_title(slices),
        ),
        note="Answered of expected, by slice. ✓ is whole, hatched ! is not.",
        empty="The first run records what it expects and what it gets.",
    )
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
    left, right = st.columns(2)
    with left:
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
    with right:
        restated = answer("restatements")
        causes = answer("restatement_causes").rows
        card(
            "restatements",
            "Values restated by providers: " + ", ".join(f"{row['value_count']:,} {row['cause']}" for row in causes)
            if causes
            else "No published value was restated",
            restated,
            None,
            note="The old value stays; `prices_asof(day, known_at)` gives either.",
            empty="No provider has changed a value that we had.",
        )
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
