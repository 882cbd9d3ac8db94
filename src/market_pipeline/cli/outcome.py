"""How runs are told: what each step reported, and the verdict that becomes the exit code."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from market_pipeline.cli.output import say
from market_pipeline.errors import IncompleteSlice
from market_pipeline.gold import GoldReport
from market_pipeline.normalize import NormalizeReport
from market_pipeline.orchestration.resources import Report
from market_pipeline.orchestration.runs import RunOutcome
from market_pipeline.pipeline import Pipeline
from market_pipeline.slice_run import IngestReport, Problem

FAILED, UNREACHABLE, KEY, QUOTA, CHECK = 1, 3, 4, 5, 6
_NAMED = 8


def merged(outcomes: Sequence[RunOutcome]) -> RunOutcome:
    """The runs of one command as one: it succeeded if all of them did."""
    last = outcomes[-1]
    return RunOutcome(
        run_id=last.run_id,
        is_success=all(outcome.is_success for outcome in outcomes),
        errors=tuple(error for outcome in outcomes for error in outcome.errors),
        reports=tuple(report for outcome in outcomes for report in outcome.reports),
        failed_checks=tuple(name for outcome in outcomes for name in outcome.failed_checks),
        warned_checks=tuple(name for outcome in outcomes for name in outcome.warned_checks),
        seconds=sum(outcome.seconds for outcome in outcomes),
    )


def verdict(pipeline: Pipeline, outcome: RunOutcome) -> tuple[int, str | None]:
    """Exit code and, when it is not 0, the sentence that says why."""
    from market_pipeline.cli import exit_code  # noqa: PLC0415 - the package imports its commands by name only

    ingests = [report for report in outcome.reports if isinstance(report, IngestReport)]
    if any(report.is_key_refused for report in ingests):  # also when --allow-partial let the run go on
        refused = next(report for report in ingests if report.is_key_refused)
        setting = pipeline.providers[refused.provider].auth.setting
        return KEY, f"{refused.provider} does not accept the key; check {setting} in .env"
    if not outcome.is_success:
        error = outcome.error
        if isinstance(error, IncompleteSlice) and any(_is_silence(p.reason) for r in ingests for p in r.problems):
            return UNREACHABLE, f"{error}; the provider does not answer, run the same command again later"
        if error is None:
            return CHECK, f"A blocking check failed: {', '.join(outcome.failed_checks) or 'see the run in Dagster'}"
        return exit_code(error), str(error)
    if any(report.deferred for report in ingests):
        return QUOTA, _deferred(ingests)
    kept = [item for report in ingests for item in report.kept]
    if kept:
        reasons = {item.reason for item in kept}
        code = UNREACHABLE if any(map(_is_silence, reasons)) else FAILED
        return QUOTA if {"call_budget_spent", "call_limit"} & reasons else code, (
            f"{len(kept)} requests were asked again without an answer ({', '.join(sorted(reasons))}); what was there "
            "is kept, the same command asks again"
        )
    return 0, None


def _deferred(ingests: Iterable[IngestReport]) -> str:
    """What waits, why, and until when."""
    deferred = [report for report in ingests if report.deferred]
    left = sum(report.deferred for report in deferred)
    reasons = {p.reason for r in deferred for p in r.problems if p.outcome == "deferred"}
    if reasons == {"call_limit"}:
        return f"The calls of --max-calls are spent: {left} requests wait, and gold says so; the same command goes on"
    when = max((report.resumes_at for report in deferred if report.resumes_at), default=None)
    why = "The provider asks to wait" if "call_budget_spent" not in reasons else "The call budget is spent"
    return f"{why}: {left} requests wait, and gold says so; the same command goes on " + (
        f"at {when:%Y-%m-%d %H:%M} UTC" if when else "later"
    )


def _is_silence(reason: str) -> bool:
    return reason.startswith(("unreachable", "provider_unreach"))


def tell(outcome: RunOutcome) -> None:
    """What each step did, on stderr: a line per feed and layer, whatever the number of slices."""
    for _, group in itertools.groupby(outcome.reports, key=_step):
        reports = list(group)
        if isinstance(reports[0], IngestReport):
            _tell_bronze([report for report in reports if isinstance(report, IngestReport)])
        elif isinstance(reports[0], NormalizeReport):
            _tell_silver([report for report in reports if isinstance(report, NormalizeReport)])
        else:
            for report in reports:
                _tell_gold(report)


def _step(report: Report) -> tuple[str, str, str]:
    if isinstance(report, GoldReport):
        return "gold", "", ""
    return type(report).__name__, report.provider, report.dataset


def _slices(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} ... {keys[-1]} ({len(keys)} slices)"


def _tell_bronze(reports: Sequence[IngestReport]) -> None:
    first = reports[0]
    count = {
        word: sum(getattr(report, word) for report in reports)
        for word in ("fetched", "empty", "deferred", "refused", "failed", "not_yet")
    }
    state = f"{count['fetched']} fetched, {count['empty']} empty"
    state += "".join(f", {number} {word}" for word, number in count.items() if number and word not in state)
    say(
        f"bronze {first.provider}/{first.dataset} {_slices([report.slice_key for report in reports])}: {state}; "
        f"{sum(report.calls_used for report in reports)} calls, {sum(r.objects_new for r in reports)} new objects"
    )
    for item, number in _most(problem for report in reports for problem in report.problems):
        say(f"  {item.symbol}: {item.outcome} ({item.reason}){_times(number)}")
    for item, number in _most(kept for report in reports for kept in report.kept):
        say(f"  {item.symbol}: kept as it was, because asking again brought nothing ({item.reason}){_times(number)}")


def _most(problems: Iterable[Problem]) -> list[tuple[Problem, int]]:
    """The first few distinct problems, and in how many slices each is."""
    return list(Counter(problems).items())[:_NAMED]


def _times(number: int) -> str:
    return f" in {number} slices" if number > 1 else ""


def _tell_silver(reports: Sequence[NormalizeReport]) -> None:
    first = reports[0]
    written = sum(report.is_written for report in reports)
    state = "unchanged" if not written else "written" if written == len(reports) else f"{written} written"
    say(
        f"silver {first.provider}/{first.dataset} {_slices([report.slice_key for report in reports])}: "
        f"{sum(r.rows_kept for r in reports)} rows of {sum(r.rows_in for r in reports)}, "
        f"{sum(r.rows_duplicate for r in reports)} duplicate, {sum(r.rows_rejected for r in reports)} rejected; {state}"
    )


def _tell_gold(report: Report) -> None:
    if not isinstance(report, GoldReport):
        return
    if report.tests_failed:
        say(
            f"gold: not published; {report.tests_failed} checks failed, {report.tests_passed} passed, "
            f"{report.tests_warned} warned, {report.seconds:.1f} s"
        )
        return
    new = "published" if report.is_new else "unchanged"
    partial = " PARTIAL" if report.is_partial else ""
    checks = f"{report.tests_passed} checks passed, {report.tests_warned} warned, " if report.is_new else ""
    say(
        f"gold: generation {report.generation}{partial} {new}; {checks}{len(report.tables)} tables, "
        f"{sum(report.tables.values())} rows, {report.seconds:.1f} s"
    )
