"""What the newest run left, and the generations that there are: read from the records beside gold, not from gold.

What does not belong here: any query.
"""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

import charts
import warehouse
import words
from cards import card, counted, palette, totals
from market_pipeline.warehouse import Health
from warehouse import Answer, told

HEALTH_ORIGIN = "the newest run left it in health.json; `market-pipeline status --json` prints it."


def check_rows(found: Health) -> Answer:
    """The checks that the newest run's health names."""
    checks = found.failed_checks
    return told(
        "checks",
        pa.table(
            {
                "severity": pa.array([check.severity for check in checks], pa.string()),
                "check": pa.array([check.name for check in checks], pa.string()),
                "model": pa.array([check.model for check in checks], pa.string()),
                "rows": pa.array([check.failures for check in checks], pa.int64()),
                "message": pa.array([check.message for check in checks], pa.string()),
            }
        ),
        origin=HEALTH_ORIGIN,
    )


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
        None,  # names and sentences: nothing that a chart could show
        note="A failed blocking check publishes nothing: readers stay on the generation before it.",
        empty=f"{found.checks_passed:,} checks passed, none failed."
        + (f" {found.checks_warned:,} warned: the run's log and Dagster name them." if found.checks_warned else ""),
    )


def summary() -> None:
    """What the newest run's checks found, in one card."""
    found = warehouse.health()
    if found is None:
        st.info("No run has left its health yet; `market-pipeline run all` writes it.", icon=":material/inbox:")
        return
    rows = check_rows(found)
    blocking = [check.name for check in found.failed_checks if check.severity == "error"]
    run = found.last_run
    if blocking:
        title = f"{words.count(len(blocking), 'blocking check')} failed: {words.names(blocking)}"
    elif run is not None and run.status != "success":
        title = f"The newest run {run.status}: {run.error or 'no reason given'}"
    else:
        warned = f", {found.checks_warned:,} warned" if found.checks_warned else ""
        title = f"No blocking check failed: {found.checks_passed:,} passed{warned}"
    card(
        "checks",
        title,
        rows,
        None,  # names and sentences: nothing that a chart could show
        note="A failed blocking check publishes nothing: the generation before is served. **Trust** has the rest.",
        empty="Nothing to mend." if not found.checks_warned else "The warnings are in the run's log and in Dagster.",
    )


def layers(found: Health) -> None:
    """Rows and bytes by layer."""
    held = {name.replace("_", " "): count for name, count in (found.rows_by_layer or {}).items()}
    current = warehouse.generation()
    sizes = found.bytes_by_layer or ({"gold": current.bytes} if current else {})
    told_sizes = [f"{size / 1e6:,.1f} MB of {layer}" for layer, size in sizes.items()]
    size = f"; {', '.join(told_sizes)}" if told_sizes else ""
    of_layer = [sizes.get(layer.partition(" ")[0]) for layer in held]
    rows = told(
        "layers",
        pa.table(
            {
                "layer": pa.array(list(held), pa.string()),
                "row_count": pa.array(list(held.values()), pa.int64()),
                "megabytes": pa.array(
                    [None if size is None else round(size / 1e6, 1) for size in of_layer], pa.float64()
                ),
            },
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
    whole = [{"dataset": f"{item.provider}/{item.dataset}", "fetched": item.fetched} for item in found.datasets]
    resumes = sorted({item.resumes_at for item in found.datasets if item.resumes_at})
    card(
        "datasets",
        f"{words.count(len(late), 'dataset')} incomplete: {names}"
        if late
        else "Every dataset is complete for the newest slice",
        told("datasets", rows, origin=HEALTH_ORIGIN),
        counted(
            "datasets",
            totals(whole, name="dataset", measure="fetched"),
            name="dataset",
            measure="fetched",
            title="Instruments fetched",
        ),
        is_list=True,
        note=f"Deferred instruments can be asked again from {words.moment(resumes[0])}; `market-pipeline run all` asks."
        if resumes
        else "By the dates inside the data, never by when a job ran.",
        empty="The newest run fetched nothing. `market-pipeline run all` does.",
    )


def generations() -> None:
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
        counted("generations", rows.to_pylist(), name="generation", measure="rows", title="Rows"),
        is_list=True,
        note="`market-pipeline rollback` serves the one before; its bytes are compared with its hash first.",
    )
