"""Commands that change the lake: run, backfill, replay. Each is one or a few real Dagster runs in the profile's
instance.

What does not belong here: what their arguments mean (`arguments`), what they cost (`bill`), how they are told
(`outcome`), what a run consists of (`orchestration.legs`).
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from market_pipeline.cli.output import data, err, problem, say
from market_pipeline.errors import ConfigurationError, StoreUnavailable
from market_pipeline.settings import PREFIX, load_settings

if TYPE_CHECKING:
    from market_pipeline.orchestration.legs import Leg
    from market_pipeline.orchestration.resources import Asked
    from market_pipeline.pipeline import Pipeline

QUOTA, CHECK, RESTART = 5, 6, 7


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
        A day in the slices to run; by default the last session that has closed, and today's week and month.
    allow_partial
        Publish although symbols were refused or failed; the generation is marked as partial.
    refetch
        Ask again for what is there; the same bytes change nothing.
    check_only
        Build gold and run every check, publish nothing.
    json
        The reports as JSON on stdout.
    """
    from market_pipeline.cli import arguments, bill  # noqa: PLC0415
    from market_pipeline.orchestration import legs  # noqa: PLC0415
    from market_pipeline.orchestration.resources import Asked  # noqa: PLC0415
    from market_pipeline.pipeline import Pipeline  # noqa: PLC0415

    if not targets:
        raise ConfigurationError("There is no target; write: market-pipeline run all")
    pipeline = Pipeline(load_settings())
    selection = arguments.selection(pipeline, targets)
    _prepared(pipeline)
    if check_only:
        return _check_gold(pipeline)
    if date is not None:
        arguments.refuse_impossible(pipeline, selection, date)
    plan = legs.present(pipeline, selection, date=date)
    if selection != (legs.GOLD,) and not any(leg.slice_keys for leg in plan):
        raise ConfigurationError("Bronze has nothing of it; fetch it first: market-pipeline run all")
    wanted = [
        (provider, feed, leg.slice_keys)
        for leg in plan
        for provider, feed in legs.feeds_of(pipeline, [key for key in leg.selection if key.startswith("bronze/")])
    ]
    bill.tell(pipeline, bill.of_slices(pipeline, wanted, refetch=refetch))
    with _market(pipeline, selection):
        asked = Asked(allow_partial=allow_partial, refetch=refetch)
        return execute(pipeline, " ".join(targets), plan, asked=asked, as_json=json)


def backfill(
    target: str,
    *,
    since: dt.date,
    until: dt.date | None = None,
    symbols: tuple[str, ...] = (),
    max_calls: int | None = None,
    dry_run: bool = False,
    refetch: bool = False,
    allow_partial: bool = False,
    detach: bool = False,
) -> int:
    """Plan first (slices, calls, minutes, days), then fetch what is missing and rebuild what follows.

    It can be stopped and started again: what was fetched is kept and not asked for again.

    Parameters
    ----------
    target
        `<provider>/<dataset>`, a provider, or all.
    since
        First day.
    until
        Last day, inclusive; by default the newest that can be had.
    symbols
        Ask for these only, comma separated; what is asked for the whole market stays whole.
    max_calls
        Stop asking after so many calls; the same command goes on from there.
    dry_run
        Print the plan and change nothing.
    refetch
        Ask again for what is there.
    allow_partial
        Publish although symbols were refused or failed; the generation is marked as partial.
    detach
        Hand the plan to Dagster's daemon, as a backfill that its UI shows, and come back: it goes on whatever becomes
        of this command. With 7 the code server has to start again first, because the history begins earlier now.
    """
    from market_pipeline.cli import arguments, bill  # noqa: PLC0415
    from market_pipeline.orchestration import legs  # noqa: PLC0415
    from market_pipeline.orchestration.partitions import first_day, note_first_day  # noqa: PLC0415
    from market_pipeline.orchestration.resources import Asked  # noqa: PLC0415
    from market_pipeline.pipeline import Pipeline  # noqa: PLC0415

    pipeline = Pipeline(load_settings())
    selection = arguments.selection(pipeline, (target,))
    feeds = legs.feeds_of(pipeline, selection)
    end = arguments.end_of(pipeline, since, until)
    names = arguments.symbols(pipeline, symbols)
    if max_calls is not None and max_calls < 1:
        raise ConfigurationError(f"--max-calls {max_calls} asks for nothing; write 1 or more")
    if not dry_run:
        _prepared(pipeline)
    items = bill.of_range(pipeline, feeds, since=since, until=end, symbols=names, refetch=refetch)
    lacking = {(item.provider.name, item.feed.dataset): item.lacking for item in items}
    plan = legs.over(pipeline, selection, lacking)
    bill.show(pipeline, items, runs=len(plan), max_calls=max_calls)
    if dry_run:
        say("Nothing was changed.")
        return 0
    if not any(lacking.values()):
        say("Nothing of the range is to be fetched; what bronze has is normalized again by: market-pipeline replay")
    asked = Asked(allow_partial=allow_partial, refetch=refetch, symbols=names, max_calls=max_calls)
    known_since = first_day(pipeline.settings)
    for keys in lacking.values():
        if keys:
            note_first_day(pipeline.settings, dt.date.fromisoformat(keys[0]))
    if detach:
        return _hand_over(pipeline, f"backfill {target}", plan, asked=asked, known_since=known_since)
    with _market(pipeline, tuple(key for leg in plan for key in leg.selection)):
        return execute(pipeline, f"backfill {target}", plan, asked=asked)


def _hand_over(pipeline: Pipeline, title: str, plan: Sequence[Leg], *, asked: Asked, known_since: dt.date) -> int:
    """Leave the plan to the daemon, whose processes must know every slice of it."""
    from market_pipeline.orchestration.backfills import hand_over  # noqa: PLC0415
    from market_pipeline.orchestration.partitions import first_day  # noqa: PLC0415

    if not any(leg.slice_keys for leg in plan):
        return 0
    begins = first_day(pipeline.settings)
    if begins < known_since:
        problem(
            f"The history begins on {begins} now: start the code server again (docker compose restart code), then run "
            "the same command"
        )
        return RESTART
    backfill_id = hand_over(pipeline, title, plan, asked=asked)
    say(
        f"Backfill {backfill_id} is Dagster's now: http://127.0.0.1:{pipeline.settings.dagster_port}/runs/b/{backfill_id}"
    )
    return 0


def replay(
    target: str = "all",
    *,
    since: dt.date | None = None,
    until: dt.date | None = None,
    allow_partial: bool = False,
) -> int:
    """Make silver and gold again from bronze, without a call to any provider.

    Parameters
    ----------
    target
        `<provider>/<dataset>`, a provider, or all.
    since
        First day; by default everything in bronze.
    until
        Last day, inclusive.
    allow_partial
        Publish although symbols were refused or failed; the generation is marked as partial.
    """
    from market_pipeline.cli import arguments  # noqa: PLC0415
    from market_pipeline.orchestration import legs  # noqa: PLC0415
    from market_pipeline.orchestration.resources import Asked  # noqa: PLC0415
    from market_pipeline.pipeline import Pipeline  # noqa: PLC0415

    pipeline = Pipeline(load_settings())
    arguments.refuse_unknown_target(pipeline, target)
    _prepared(pipeline)
    selection = legs.select(pipeline, target, layers=("silver", "gold"))
    plan = legs.stored(pipeline, selection, since=since, until=until)
    if not any(leg.slice_keys for leg in plan) and target != "gold":
        raise ConfigurationError(f"Bronze has nothing of {target}; fetch it first: market-pipeline run {target}")
    return execute(pipeline, f"replay {target}", plan, asked=Asked(allow_partial=allow_partial))


def execute(pipeline: Pipeline, target: str, plan: Sequence[Leg], *, asked: Asked, as_json: bool = False) -> int:
    """The Dagster runs of a plan, their reports for people, `health.json`, and the exit code. A leg that fails does not
    keep the others from fetching, but gold is then left as it is."""
    from market_pipeline.cli import outcome as told  # noqa: PLC0415
    from market_pipeline.orchestration import runs  # noqa: PLC0415
    from market_pipeline.orchestration.legs import GOLD  # noqa: PLC0415
    from market_pipeline.orchestration.resources import redact  # noqa: PLC0415
    from market_pipeline.slice_run import IngestReport  # noqa: PLC0415

    started_at = dt.datetime.now(dt.UTC)
    outcomes: list[runs.RunOutcome] = []
    left = asked.max_calls
    with runs.open_instance(pipeline.settings) as instance, _bars() as on_progress:
        for leg in plan:
            if leg.selection == (GOLD,) and not all(outcome.is_success for outcome in outcomes):
                say("gold: not built, because what it is made of is not complete")
                break
            found = runs.start(
                pipeline, leg, instance=instance, asked=replace(asked, max_calls=left), on_progress=on_progress
            )
            outcomes.append(found)
            if left is not None:
                left = max(0, left - sum(r.calls_used for r in found.reports if isinstance(r, IngestReport)))
    whole = told.merged(outcomes)
    code, text = told.verdict(pipeline, whole)
    text = None if text is None else redact(text, pipeline)
    status = "success" if code == 0 else "refused" if code in (CHECK, QUOTA) else "failed"
    with suppress(StoreUnavailable):  # then the verdict says so, and there is nothing to count
        pipeline.record_run(target=target, started_at=started_at, status=status, exit_code=code, error=text)
    if as_json:
        run_ids = [outcome.run_id for outcome in outcomes]
        data({"run_ids": run_ids, "exit_code": code, "reports": [asdict(report) for report in whole.reports]})
    else:
        told.tell(whole)
    if text is not None:
        problem(text)
    return code


def _prepared(pipeline: Pipeline) -> None:
    """Make what `init` makes when it is not there: a first run needs no ceremony."""
    from market_pipeline.cli.prepare import prepare  # noqa: PLC0415

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


def _check_gold(pipeline: Pipeline) -> int:
    report = pipeline.audit()
    say(f"{report.tests_passed} checks passed, {report.tests_warned} warned, {report.tests_failed} failed")
    for result in report.results:
        if result.is_failure or result.status == "warn":
            say(f"{result.status}: {result.name}: {result.message}")
    return CHECK if any(result.is_failure for result in report.results) else 0


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
