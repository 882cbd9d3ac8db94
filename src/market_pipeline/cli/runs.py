"""Commands that change the lake: run, backfill, replay. Each is a real Dagster run in the profile's instance.

Over 300 lines because the three share their plan, their bill, their report and the verdict that becomes an exit code.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from market_pipeline.cli.output import data, err, problem, say, table, unknown
from market_pipeline.errors import ConfigurationError, IncompleteSlice
from market_pipeline.settings import PREFIX, load_settings

if TYPE_CHECKING:
    from market_pipeline.feed import Feed, Provider
    from market_pipeline.orchestration.runs import RunOutcome
    from market_pipeline.pipeline import Pipeline

FAILED, QUOTA, CHECK, KEY, UNREACHABLE = 1, 5, 6, 4, 3


def run(
    *targets: str,
    date: dt.date | None = None,
    allow_partial: bool = False,
    refetch: bool = False,
    check_only: bool = False,
    json: bool = False,
) -> int:
    """Fetch, normalize and publish; everything downstream of a target is included.

    Parameters
    ----------
    targets
        `<provider>/<dataset>`, a provider, a layer (bronze, silver, gold) or all.
    date
        A day in the slice to run; by default today's.
    allow_partial
        Publish although symbols were refused or failed; the generation is marked as partial.
    refetch
        Ask again for what is there; the same bytes change nothing.
    check_only
        Build gold and run every check, publish nothing.
    json
        The reports as JSON on stdout.
    """
    from market_pipeline.pipeline import Pipeline  # noqa: PLC0415

    if not targets:
        raise ConfigurationError("There is no target; write: market-pipeline run all")
    pipeline = Pipeline(load_settings())
    _prepared(pipeline)
    if check_only:
        return _check_gold(pipeline)
    selection = _selection(pipeline, targets)
    slice_key = _slice_key(pipeline, date)
    if date is not None:
        _refuse_unknown_slice(pipeline, slice_key)
    _print_bill(pipeline, selection, slice_key, refetch=refetch)
    with _market(pipeline, selection):
        return execute(
            pipeline,
            " ".join(targets),
            selection=selection,
            slice_key=slice_key,
            allow_partial=allow_partial,
            refetch=refetch,
            as_json=json,
        )


def backfill(
    target: str,
    *,
    since: dt.date,
    until: dt.date | None = None,
    dry_run: bool = False,
    refetch: bool = False,
    allow_partial: bool = False,
) -> int:
    """Plan first (slices, calls, budget, minutes), then fetch what is missing and rebuild what follows.

    Parameters
    ----------
    target
        `<provider>/<dataset>`, a provider, or all.
    since
        First day.
    until
        Last day, inclusive; by default today.
    dry_run
        Print the plan and change nothing.
    refetch
        Ask again for what is there.
    allow_partial
        Publish although symbols were refused or failed; the generation is marked as partial.
    """
    from market_pipeline.partition import slices  # noqa: PLC0415
    from market_pipeline.pipeline import Pipeline  # noqa: PLC0415

    pipeline = Pipeline(load_settings())
    _prepared(pipeline)
    selection = _selection(pipeline, (target,))
    end = (until or pipeline.now().date()) + dt.timedelta(days=1)
    rows, askable = [], False
    for provider, feed in _feeds_of(pipeline, selection):
        present = pipeline.bronze_slices(provider.name, feed.dataset)
        wanted = [part.key for part in slices(since, end, grain=feed.grain)]
        current = pipeline.current_slice(feed).key
        lost = [key for key in wanted if key not in present and key != current] if feed.is_snapshot else []
        askable = askable or current in wanted
        calls = _calls(pipeline, provider, feed, current, refetch=refetch) if current in wanted else 0
        rows.append((f"{provider.name}/{feed.dataset}", len(wanted), len(set(wanted) & set(present)), len(lost), calls))
    table(("feed", "slices", "in bronze", "not to be had any more", "calls"), rows)
    _print_bill(pipeline, selection, pipeline.now().date().isoformat(), refetch=refetch)
    if any(row[3] for row in rows):
        say("A snapshot of a past week that was never taken can't be fetched: the API answers with its present state.")
    if dry_run:
        say("Nothing was changed.")
        return 0
    if not askable:
        say("No slice of the range can be fetched; what bronze has is normalized again by: market-pipeline replay")
        return 0
    with _market(pipeline, selection):
        return execute(
            pipeline,
            f"backfill {target}",
            selection=selection,
            slice_key=_slice_key(pipeline, None),
            allow_partial=allow_partial,
            refetch=refetch,
        )


def replay(target: str = "all", *, since: dt.date | None = None, allow_partial: bool = False) -> int:
    """Make silver and gold again from bronze, without a call to any provider.

    Parameters
    ----------
    target
        `<provider>/<dataset>`, a provider, or all.
    since
        First day; by default everything in bronze.
    allow_partial
        Publish although symbols were refused or failed; the generation is marked as partial.
    """
    from market_pipeline.orchestration import runs  # noqa: PLC0415
    from market_pipeline.pipeline import Pipeline  # noqa: PLC0415

    pipeline = Pipeline(load_settings())
    _prepared(pipeline)
    _refuse_unknown_target(pipeline, target)
    selection = runs.select(pipeline, target, layers=("silver", "gold"))
    keys = sorted({key for p, f in _feeds_of(pipeline, selection) for key in pipeline.bronze_slices(p.name, f.dataset)})
    keys = [key for key in keys if since is None or key >= since.isoformat()]
    if not keys:
        raise ConfigurationError(f"Bronze has nothing of {target}; fetch it first: market-pipeline run {target}")
    silver = tuple(key for key in selection if key != "gold")
    for key in keys:
        present = tuple(s for s in silver if key in _bronze_of(pipeline, s))
        code = execute(pipeline, f"replay {target}", selection=present, slice_key=key, allow_partial=allow_partial)
        if code != 0:
            return code
    return execute(pipeline, f"replay {target}", selection=("gold",), slice_key=None, allow_partial=allow_partial)


def execute(
    pipeline: Pipeline,
    target: str,
    *,
    selection: tuple[str, ...],
    slice_key: str | None,
    allow_partial: bool = False,
    refetch: bool = False,
    as_json: bool = False,
) -> int:
    """One Dagster run, its reports for people, `health.json`, and the exit code."""
    from market_pipeline.orchestration import runs  # noqa: PLC0415
    from market_pipeline.orchestration.resources import redact  # noqa: PLC0415

    started_at = dt.datetime.now(dt.UTC)
    with _bars() as on_progress:
        outcome = runs.start(
            pipeline,
            selection=selection,
            partition_key=slice_key if any(key != "gold" for key in selection) else None,
            allow_partial=allow_partial,
            refetch=refetch,
            on_progress=on_progress,
        )
    code, text = _verdict(pipeline, outcome)
    text = None if text is None else redact(text, pipeline)
    status = "success" if code == 0 else "refused" if code in (CHECK, QUOTA) else "failed"
    pipeline.record_run(target=target, started_at=started_at, status=status, exit_code=code, error=text)
    if as_json:
        from dataclasses import asdict  # noqa: PLC0415

        data({"run_id": outcome.run_id, "exit_code": code, "reports": [asdict(r) for r in outcome.reports]})
    else:
        _print_reports(outcome)
    if text is not None:
        problem(text)
    return code


def _verdict(pipeline: Pipeline, outcome: RunOutcome) -> tuple[int, str | None]:
    """Exit code and, when it is not 0, the sentence that says why."""
    from market_pipeline.cli import exit_code  # noqa: PLC0415
    from market_pipeline.ingest import IngestReport  # noqa: PLC0415

    ingests = [report for report in outcome.reports if isinstance(report, IngestReport)]
    if any(report.is_key_refused for report in ingests):  # also when --allow-partial let the run go on
        refused = next(report for report in ingests if report.is_key_refused)
        setting = pipeline.providers[refused.provider].auth.setting
        return KEY, f"{refused.provider} does not accept the key; check {setting} in .env"
    if not outcome.is_success:
        error = outcome.error
        unreachable = [
            p for r in ingests for p in r.problems if p.reason.startswith(("unreachable", "provider_unreach"))
        ]
        if unreachable and isinstance(error, IncompleteSlice):
            return UNREACHABLE, f"{error}; the provider does not answer, run the same command again later"
        if error is None:
            return CHECK, f"A blocking check failed: {', '.join(outcome.failed_checks) or 'see the run in Dagster'}"
        return exit_code(error), str(error)
    deferred = [report for report in ingests if report.deferred]
    if deferred:
        when = max((r.resumes_at for r in deferred if r.resumes_at), default=None)
        left = sum(report.deferred for report in deferred)
        is_asked = all(p.reason != "call_budget_spent" for r in deferred for p in r.problems)
        why = "The provider asks to wait" if is_asked else "The call budget is spent"
        return QUOTA, (
            f"{why}: {left} requests wait, and gold says so; the same command goes on "
            + (f"at {when:%Y-%m-%d %H:%M} UTC" if when else "later")
        )
    kept = [item for report in ingests for item in report.kept]
    if kept:
        reasons = {item.reason for item in kept}
        code = UNREACHABLE if any(r.startswith(("unreachable", "provider_unreach")) for r in reasons) else FAILED
        return QUOTA if "call_budget_spent" in reasons else code, (
            f"{len(kept)} requests were asked again without an answer ({', '.join(sorted(reasons))}); what was there "
            "is kept, the same command asks again"
        )
    return 0, None


def _prepared(pipeline: Pipeline) -> None:
    """Make what `init` makes when it is not there: a first run needs no ceremony."""
    from market_pipeline.cli.services import prepare  # noqa: PLC0415

    prepare(pipeline.settings)


@contextmanager
def _market(pipeline: Pipeline, selection: tuple[str, ...]) -> Iterator[None]:
    """The demo's provider for as long as a run asks it: `make demo` ends its own, and without `make dev` none is up."""
    from market_pipeline.cli.services import sandbox  # noqa: PLC0415

    is_asked = any(key.startswith("bronze/") for key in selection)
    if not is_asked or pipeline.settings.profile != "demo":
        yield
        return
    with sandbox(pipeline.settings):
        yield


def _selection(pipeline: Pipeline, targets: tuple[str, ...]) -> tuple[str, ...]:
    from market_pipeline.orchestration import runs  # noqa: PLC0415

    for target in targets:
        _refuse_unknown_target(pipeline, target)
    return tuple(dict.fromkeys(key for target in targets for key in runs.select(pipeline, target)))


def _refuse_unknown_target(pipeline: Pipeline, target: str) -> None:
    from market_pipeline.orchestration import runs  # noqa: PLC0415

    feeds = [f"{provider.name}/{feed.dataset}" for provider, feed in pipeline.feeds()]
    known = ("all", *runs.LAYERS, *pipeline.providers, *feeds)
    if target not in known:
        raise unknown("target", target, known)


def _refuse_unknown_slice(pipeline: Pipeline, slice_key: str) -> None:
    """A slice that has not begun, or that lies before the profile's history, is nothing that could be run."""
    from market_pipeline.orchestration.partitions import first_day  # noqa: PLC0415

    first, last = first_day(pipeline.settings).isoformat(), _slice_key(pipeline, None)
    if not first <= slice_key <= last:
        raise ConfigurationError(
            f"The slice {slice_key} can't be run: this profile's slices begin on {first}, and the running one on {last}"
        )


def _slice_key(pipeline: Pipeline, date: dt.date | None) -> str:
    """Key of the slice that holds a day; feeds of one run share a grain."""
    from market_pipeline.partition import Slice  # noqa: PLC0415

    _, feed = pipeline.feeds()[0]
    return Slice.at(date or pipeline.now().date(), grain=feed.grain).key


def _feeds_of(pipeline: Pipeline, selection: tuple[str, ...]) -> list[tuple[Provider, Feed]]:
    wanted = {key.partition("/")[2] for key in selection}
    return [(p, f) for p, f in pipeline.feeds() if {f"{p.name}/{f.dataset}", f"{p.name}/{f.contract}"} & wanted]


def _bronze_of(pipeline: Pipeline, silver: str) -> tuple[str, ...]:
    _, provider, contract = silver.split("/")
    feeds = [f for p, f in pipeline.feeds() if (p.name, f.contract) == (provider, contract)]
    return tuple(key for feed in feeds for key in pipeline.bronze_slices(provider, feed.dataset))


def _calls(pipeline: Pipeline, provider: Provider, feed: Feed, slice_key: str, *, refetch: bool) -> int:
    """Requests that a run would have to make."""
    from market_pipeline import manifest  # noqa: PLC0415
    from market_pipeline.partition import Slice  # noqa: PLC0415
    from market_pipeline.universe import expected  # noqa: PLC0415

    part = Slice.from_key(slice_key, grain=feed.grain)
    committed = manifest.read(pipeline.store, provider.name, feed.dataset, slice_key)
    entries = committed.entries if committed and not refetch else ()
    closes_at, now = pipeline.closes_at(feed, part), pipeline.now()
    done = {e.request.name for e in entries if manifest.is_settled(e, feed, closes_at=closes_at, now=now)}
    return sum(request.name not in done for request in expected(feed, part, pipeline.universe))


def _print_bill(pipeline: Pipeline, selection: tuple[str, ...], slice_key: str, *, refetch: bool) -> None:
    """What the run costs in calls and what the budget allows, before the first call."""
    from market_pipeline.partition import Slice  # noqa: PLC0415

    bronze = tuple(key for key in selection if key.startswith("bronze/"))
    bill: dict[str, int] = {}
    for provider, feed in _feeds_of(pipeline, bronze):
        part = Slice.at(dt.date.fromisoformat(slice_key), grain=feed.grain)
        calls = _calls(pipeline, provider, feed, part.key, refetch=refetch)
        bill[provider.name] = bill.get(provider.name, 0) + calls
    for name, calls in bill.items():
        provider = pipeline.providers[name]
        plan, pace = pipeline.settings.pace(provider)
        left = pipeline.budget(provider).left
        budget = "no daily cap" if left is None else f"{left} of {pace.calls_per_day} left today"
        days = 1 if left is None or calls <= left else 1 + -(-(calls - left) // (pace.calls_per_day or 1))
        minutes = calls * pace.interval_s / 60
        later = "" if days == 1 else f"; {calls - (left or 0)} wait, in all {days} days"
        say(f"{name} ({plan}): {calls} calls, {budget}, about {minutes:.1f} min{later}")


def _check_gold(pipeline: Pipeline) -> int:
    report = pipeline.audit()
    say(f"{report.tests_passed} checks passed, {report.tests_warned} warned, {report.tests_failed} failed")
    for result in report.results:
        if result.is_failure or result.status == "warn":
            say(f"{result.status}: {result.name}: {result.message}")
    return CHECK if any(result.is_failure for result in report.results) else 0


def _print_reports(outcome: RunOutcome) -> None:
    from market_pipeline.gold import GoldReport  # noqa: PLC0415
    from market_pipeline.ingest import IngestReport  # noqa: PLC0415

    for report in outcome.reports:
        if isinstance(report, IngestReport):
            state = f"{report.fetched} fetched, {report.empty} empty"
            for word in ("deferred", "refused", "failed", "not_yet"):
                count: Any = getattr(report, word)
                state += f", {count} {word}" if count else ""
            say(
                f"bronze {report.provider}/{report.dataset} {report.slice_key}: {state}; {report.calls_used} calls, "
                f"{report.objects_new} new objects"
            )
            for item in report.problems[:8]:
                say(f"  {item.symbol}: {item.outcome} ({item.reason})")
            for item in report.kept[:8]:
                say(f"  {item.symbol}: kept as it was, because asking again brought nothing ({item.reason})")
        elif isinstance(report, GoldReport) and report.tests_failed:
            say(
                f"gold: not published; {report.tests_failed} checks failed, {report.tests_passed} passed, "
                f"{report.tests_warned} warned, {report.seconds:.1f} s"
            )
        elif isinstance(report, GoldReport):
            new = "published" if report.is_new else "unchanged"
            partial = " PARTIAL" if report.is_partial else ""
            checks = f"{report.tests_passed} checks passed, {report.tests_warned} warned, " if report.is_new else ""
            say(
                f"gold: generation {report.generation}{partial} {new}; {checks}{len(report.tables)} tables, "
                f"{sum(report.tables.values())} rows, {report.seconds:.1f} s"
            )
        else:
            written = "written" if report.is_written else "unchanged"
            say(
                f"silver {report.contract} {report.slice_key}: {report.rows_kept} rows of {report.rows_in}, "
                f"{report.rows_duplicate} duplicate, {report.rows_rejected} rejected; {written}"
            )


@contextmanager
def _bars() -> Iterator[Any]:
    """A progress bar per feed on a terminal, silence elsewhere."""
    if not sys.stderr.isatty() or os.environ.get(f"{PREFIX}NO_PROGRESS"):
        yield lambda _what, _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield advance
