"""Commands that look at what is there: status, query, export, quota, quarantine, generations, rollback.

Over 300 lines because seven commands carry their help as docstrings; none of them is long.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from market_pipeline.cli.output import Format, arrow, data, problem, say, table
from market_pipeline.errors import ConfigurationError, LakeError, unknown
from market_pipeline.settings import load_settings

if TYPE_CHECKING:
    from market_pipeline.pipeline import Pipeline
    from market_pipeline.records import Health
    from market_pipeline.warehouse import Warehouse

CHECK_FAILED = 6


def _pipeline() -> Pipeline:
    from market_pipeline.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline(load_settings())


def status(*, json: bool = False, check: bool = False) -> int:
    """Freshness by data date, completeness, checks, quota, last run.

    Parameters
    ----------
    json
        One JSON object instead of tables.
    check
        Exit with 6 when something is incomplete, failed or stale.
    """
    pipeline = _pipeline()
    current, found = pipeline.warehouse.current(), pipeline.health()
    active = {(p.name, f.dataset) for p, f in pipeline.active_feeds()}
    found = replace(found, datasets=tuple(d for d in found.datasets if d.slice or (d.provider, d.dataset) in active))
    stale = _stale(pipeline, found, dict(current.newest) if current else {})
    bad = [d for d in found.datasets if d.refused or d.failed or d.not_yet or d.deferred or d.missing or not d.slice]
    is_bad = bool(bad or stale or current is None or current.is_partial) or any(
        c.severity == "error" for c in found.failed_checks
    )
    if json:
        data({"generation": asdict(current) if current else None, "stale": stale, **asdict(found)})
        return CHECK_FAILED if check and is_bad else 0
    if current is None:
        say("Nothing is published yet; run: market-pipeline run all")
    else:
        partial = " PARTIAL" if current.is_partial else ""
        say(f"Profile {found.profile}, generation {current.generation}{partial}, published {current.published_at}")
    words = ("expected", "fetched", "empty", "deferred", "refused", "failed", "missing")
    table(
        ("feed", "slice", *words, "newest data", "fresh"),
        [
            (
                f"{d.provider}/{d.dataset}",
                d.slice or "never fetched",
                *(getattr(d, word) for word in words),
                d.newest_data_date,
                "NO" if f"{d.provider}/{d.dataset}" in stale else "yes",
            )
            for d in found.datasets
        ],
    )
    for d in found.datasets:
        for item in d.problems[:10]:
            say(f"  {d.provider}/{d.dataset} {item.symbol}: {item.outcome} ({item.reason})")
        if d.resumes_at:
            say(f"  {d.provider}/{d.dataset} goes on at {d.resumes_at}")
    for name, why in stale.items():
        say(f"stale: {name}: {why}")
    for failed in found.failed_checks:
        say(f"{failed.severity}: {failed.name}: {failed.message}")
    say(f"checks: {found.checks_passed} passed, {found.checks_warned} warned")
    for quota_line in (q for q in found.quota if q.used or any(name == q.provider for name, _ in active)):
        left = "no daily cap" if quota_line.left is None else f"{quota_line.left} of {quota_line.calls_per_day} left"
        say(f"quota {quota_line.provider} ({quota_line.plan}): {quota_line.used} used, {left}")
    return CHECK_FAILED if check and is_bad else 0


def _stale(pipeline: Pipeline, found: Health, tables: dict[str, str]) -> dict[str, str]:
    """Feeds and gold tables whose newest data is older than the calendar says it should be, and by how much. A feed
    that nobody can ask any more is as old as it is."""
    from market_pipeline import freshness  # noqa: PLC0415

    now, late = pipeline.now(), {}
    present = {(d.provider, d.dataset): d for d in found.datasets}
    for provider, feed in pipeline.active_feeds():
        d = present[provider.name, feed.dataset]
        late[f"{provider.name}/{feed.dataset}"] = freshness.of_feed(
            feed, slice_key=d.slice, newest_data_date=d.newest_data_date, now=now
        )
    late |= {name: freshness.of_table(name, day, now) for name, day in tables.items()}
    return {name: why for name, why in late.items() if why}


def query(
    sql: str | None = None,
    *,
    format: Format = "table",  # noqa: A002 - the option's name is the command's interface
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Run one SELECT on the published snapshot, read-only.

    Parameters
    ----------
    sql
        The query; without one it is read from standard input.
    format
        How rows are printed.
    output
        A file instead of stdout.
    """
    import sys  # noqa: PLC0415

    text = sql if sql is not None else sys.stdin.read()
    if not text.strip():
        raise ConfigurationError('There is no query; write: market-pipeline query "select * from dim_source"')
    answer, _ = _reader().query(text, timeout_s=3600.0)
    arrow(answer, form=format, to=output)


def _reader() -> Warehouse:
    from market_pipeline.warehouse import Warehouse  # noqa: PLC0415

    return Warehouse(load_settings().warehouse)


def export(
    name: str,
    *,
    since: dt.date | None = None,
    until: dt.date | None = None,
    symbols: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
    format: Format = "parquet",  # noqa: A002
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Write a gold table to a file and print its rows, bytes and sha256.

    Parameters
    ----------
    name
        The table, such as fact_daily_price.
    since
        Only rows whose session, week, effective, calendar or slice date is not before this day.
    until
        Nor after this one.
    symbols
        Only these symbols, comma separated.
    columns
        Only these columns, comma separated, in this order.
    format
        File format.
    output
        The file; by default the table's name in the current folder.
    """
    from market_pipeline.selection import select  # noqa: PLC0415
    from market_pipeline.universe import symbols_in  # noqa: PLC0415

    answer, generation = select(
        _reader(),
        name,
        columns=[part.strip() for text in columns for part in text.split(",")] or None,
        symbols=symbols_in(symbols) or None,
        since=since,
        until=until,
    )
    to = output or Path(f"{name}.{'md' if format == 'markdown' else 'txt' if format == 'table' else format}")
    arrow(answer, form=format, to=to)
    body = to.read_bytes()
    say(
        f"{to}: {answer.num_rows} rows, {len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}, "
        f"generation {generation.generation}"
    )


def quota(provider: str | None = None, *, json: bool = False) -> None:
    """Calls used and left in each provider's present window.

    Parameters
    ----------
    provider
        Only this one.
    json
        JSON on stdout.
    """
    pipeline = _pipeline()
    if provider is not None and provider not in pipeline.providers:
        raise unknown("provider", provider, pipeline.providers)
    budgets = [pipeline.budget(p) for p in pipeline.providers.values() if provider in (None, p.name)]
    if json:
        data([asdict(budget) for budget in budgets])
        return
    table(
        ("provider", "used", "left", "per day", "resets at (UTC)"),
        [
            (
                b.provider,
                b.used,
                "no cap" if b.left is None else b.left,
                b.calls_per_day or "no cap",
                f"{b.resets_at:%F %R}",
            )
            for b in budgets
        ],
    )


def quarantine(dataset: str | None = None, *, json: bool = False, limit: int = 20) -> None:
    """Rejected rows with the rule they broke, straight from the lake.

    Parameters
    ----------
    dataset
        A contract's name, such as bars_weekly_adjusted.
    json
        JSON on stdout.
    limit
        How many rows at most.
    """
    import polars as pl  # noqa: PLC0415

    from market_pipeline import layout  # noqa: PLC0415

    pipeline = _pipeline()
    known = tuple(dict.fromkeys(feed.contract for _, feed in pipeline.feeds()))
    if dataset is not None and dataset not in known:
        raise unknown("dataset", dataset, known)
    if limit < 1:
        raise ConfigurationError(f"--limit {limit} shows nothing; write 1 or more")
    keys = [
        key for key in pipeline.store.list("quarantine/") if layout.table_of(key) and key != layout.quarantine_empty()
    ]
    frames = [pl.read_parquet(io.BytesIO(pipeline.store.get(key))) for key in keys]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema={"contract": pl.String})
    if dataset is not None:
        rows = rows.filter(contract=dataset)
    if json:
        data(rows.head(limit).to_dicts())
        return
    if rows.is_empty():
        say("Nothing is in quarantine.")
        return
    shown = rows.sort("slice_start_date", "symbol", descending=[True, False]).head(limit)
    table(
        ("contract", "slice", "symbol", "rule", "row"),
        shown.select("contract", "slice_start_date", "symbol", "rule", "row_json").iter_rows(),
    )
    say(f"{shown.height} of {rows.height} rows")


def generations(*, json: bool = False) -> None:
    """Published generations on disk, newest first; the star is what readers see."""
    warehouse = _reader()
    found = warehouse.generations()
    try:
        current = warehouse.current()
    except LakeError as error:  # the list is what mends it: market-pipeline rollback GENERATION
        current = None
        problem(str(error))
    if json:
        data([asdict(g) | {"is_current": current is not None and g.generation == current.generation} for g in found])
        return
    if not found:
        say("Nothing is published yet; run: market-pipeline run all")
        return
    table(
        ("", "generation", "published", "partial", "rows", "bytes"),
        [
            (
                "*" if current is not None and g.generation == current.generation else "",
                g.generation,
                g.published_at,
                "yes" if g.is_partial else "no",
                sum(g.tables.values()),
                g.bytes,
            )
            for g in found
        ],
    )


def rollback(generation: str | None = None) -> None:
    """Point readers at an earlier generation.

    Parameters
    ----------
    generation
        Its number; by default the one before the present one.
    """
    found = _reader().rollback(generation)
    say(f"Generation {found.generation} is in force, published {found.published_at}")
