"""What people should see after a run, published or not: `health.json` beside the pointer.

A failed check blocks publishing, so it can never be read from gold; this file is where it shows.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping

import polars as pl

from market_pipeline import commit
from market_pipeline.commit import Commit, Name
from market_pipeline.errors import LakeError
from market_pipeline.feed import Feed, Provider
from market_pipeline.gold import GoldReport
from market_pipeline.partition import Slice
from market_pipeline.quota import Budget
from market_pipeline.store import Store
from market_pipeline.warehouse import (
    DatasetHealth,
    FailedCheck,
    Health,
    LastRun,
    Problem,
    ProviderQuota,
    Warehouse,
)


def stamp(moment: dt.datetime) -> str:
    """ISO 8601 in UTC, to the second."""
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds")


def datasets(
    feeds: Iterable[tuple[Provider, Feed]],
    outcomes: pl.DataFrame,
    budgets: Mapping[str, Budget],
    slices: Mapping[Name, Commit],
) -> tuple[DatasetHealth, ...]:
    """The newest slice of each feed; a feed that was never fetched has an empty slice key and expects nothing yet."""
    found: list[DatasetHealth] = []
    for provider, feed in feeds:
        rows = outcomes.filter(provider=provider.name, dataset=feed.dataset)
        newest = rows.get_column("slice_start_date").max()
        if not isinstance(newest, dt.date):
            found.append(DatasetHealth(provider.name, feed.dataset, "", 0, 0))
            continue
        rows = rows.filter(slice_start_date=newest).sort("symbol")
        count = Counter(rows.get_column("outcome"))
        problems = rows.filter(~pl.col("outcome").is_in(["fetched", "empty"]))
        budget = budgets.get(provider.name)
        part = Slice.at(newest, grain=feed.grain)
        committed = slices.get(Name(feed.contract, provider.name, feed.dataset, part.key))
        found.append(
            DatasetHealth(
                provider.name,
                feed.dataset,
                part.key,
                rows.height,
                count["fetched"],
                empty=count["empty"],
                deferred=count["deferred"],
                refused=count["refused"],
                failed=count["failed"],
                not_yet=count["not_yet"],
                missing=count["missing"],
                newest_data_date=committed.newest_date if committed else None,
                resumes_at=stamp(budget.resets_at) if budget and budget.left == 0 and count["deferred"] else None,
                problems=tuple(
                    Problem(row["symbol"] or "", row["outcome"], row["reason"] or "")
                    for row in problems.iter_rows(named=True)
                ),
            )
        )
    return tuple(found)


def collect(
    store: Store,
    warehouse: Warehouse,
    feeds: tuple[tuple[Provider, Feed], ...],
    *,
    outcomes: pl.DataFrame,
    budgets: Mapping[str, Budget],
    plans: Mapping[str, str],
    gold: GoldReport | None,
    last_run: LastRun | None,
    profile: str,
    now: dt.datetime,
) -> Health:
    """The present state. `gold` is the run's report when it built; without one the last build's checks stand."""
    try:
        before = warehouse.health()
    except LakeError:
        before = None
    try:
        current = warehouse.current()
    except LakeError:
        current = None  # a damaged pointer must not hide why the run ended
    slices = _slices(store, feeds)
    quarantined = Counter[str]()
    for name, committed in slices.items():
        quarantined[name.contract] += committed.rows_quarantined
    failed = before.failed_checks if before else ()
    passed, warned = (before.checks_passed, before.checks_warned) if before else (0, 0)
    if gold is not None and gold.is_new:
        failed = tuple(
            FailedCheck(r.name, _model(r.unique_id), r.message, r.failures, "error" if r.is_failure else "warn")
            for r in gold.results
            if r.is_failure or r.status == "warn"
        )
        passed, warned = gold.tests_passed, gold.tests_warned
    return Health(
        written_at=stamp(dt.datetime.now(dt.UTC)),
        as_of=stamp(now),
        profile=profile,
        generation=None if current is None else current.generation,
        last_run=last_run or (before.last_run if before else None),
        failed_checks=failed,
        checks_passed=passed,
        checks_warned=warned,
        datasets=datasets(feeds, outcomes, budgets, slices),
        quota=tuple(
            ProviderQuota(name, plans[name], b.calls_per_day, b.used, b.left, stamp(b.resets_at))
            for name, b in sorted(budgets.items())
        ),
        quarantined=dict(+quarantined),
        rows_by_layer={
            "bronze_payloads": outcomes.filter(pl.col("object_key").is_not_null()).height,
            "silver_rows": sum(committed.rows for committed in slices.values()),
            "gold_rows": 0 if current is None else sum(current.tables.values()),
        },
        bytes_by_layer={
            **{layer: store.size(f"{layer}/") for layer in ("bronze", "silver", "quarantine")},
            "gold": 0 if current is None else current.bytes,
        },
    )


def _slices(store: Store, feeds: Iterable[tuple[Provider, Feed]]) -> dict[Name, Commit]:
    """Every slice of silver whose commit can be read: a damaged one must not hide why the run ended."""
    names = [n for provider, feed in feeds for n in commit.names(store, feed.contract, provider.name, feed.dataset)]
    read = zip(names, commit.read_many(store, names), strict=True)
    return {name: found for name, found in read if isinstance(found, Commit)}


def _model(unique_id: str) -> str:
    """The model a test belongs to, as far as its id says."""
    return unique_id.split(".")[2] if unique_id.startswith("unit_test") else ""
