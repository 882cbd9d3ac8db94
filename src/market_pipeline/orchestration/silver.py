"""Silver assets: one per feed, its body is one normalize of all slices of the run, then the checks that keep what is
cut short from gold. What does not belong here: when a check fails (`checks`), what is counted (`counts`)."""

from collections.abc import Iterator
from functools import partial

import dagster as dg
import polars as pl

from market_pipeline import contracts
from market_pipeline.commit import Name, withdraw
from market_pipeline.errors import MarketPipelineError
from market_pipeline.feed import Feed, Provider
from market_pipeline.normalize import NormalizeReport, empty_silver
from market_pipeline.orchestration import bronze, checks, counts
from market_pipeline.orchestration.automation import follows_its_inputs
from market_pipeline.orchestration.partitions import first_day, partitions
from market_pipeline.orchestration.resources import SESSION, Asked, Session
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

_DOMAINS = {"bars": "prices", "company": "companies", "corporate": "actions", "tickers": "instruments"}
_PREVIEW_ROWS = 5


def key(provider: Provider, feed: Feed) -> dg.AssetKey:
    """Asset key of a feed's silver; the contract says what its rows are."""
    return dg.AssetKey(["silver", provider.name, feed.dataset])


def domain(contract: str) -> str:
    """What a contract is about: `prices`, `companies`, or the first word of its name."""
    word = contract.partition("_")[0]
    return _DOMAINS.get(word, word)


def asset(provider: Provider, feed: Feed, settings: Settings) -> dg.AssetsDefinition:
    """The silver asset of a feed. Like bronze it is materialized only when gold may read it."""
    name = key(provider, feed)
    schema = contracts.contract(feed.contract)

    @dg.asset(
        key=name,
        deps=[bronze.key(provider, feed)],
        group_name=f"silver_{domain(feed.contract)}",
        description=f"{(schema.__doc__ or feed.contract).strip()} From {provider.title}, judged by its contract.",
        kinds={"polars", "parquet"},
        owners=list(bronze.OWNERS),
        tags={"provider": provider.name, "layer": "silver", "grain": feed.grain.value},
        metadata={"dagster/column_schema": column_schema(schema), "contract": feed.contract},
        partitions_def=partitions(feed.grain, clock=settings.clock, first=first_day(settings)),
        backfill_policy=dg.BackfillPolicy.single_run(),
        automation_condition=follows_its_inputs(),
        required_resource_keys={SESSION},
        check_specs=list(_check_specs(name, feed, settings)),
    )
    def silver(context: dg.AssetExecutionContext) -> bronze.Results:
        session: Session = context.resources.session
        limits = _limits(settings, Asked.of(context.run.tags))
        with session.step() as pipeline:
            reports = pipeline.normalize(
                provider.name,
                feed.dataset,
                context.partition_keys,
                on_progress=partial(session.on_progress, "/".join(name.path)),
            )
            session.reports.extend(reports)
            results, blocked = _judge(pipeline, provider, feed, reports, limits=limits)
            if blocked is not None:
                yield from results
                raise blocked
        columns = column_schema(schema)
        for report in reports:
            found = _metadata(report, settings, location=pipeline.store.url(report.silver_key))
            if report is reports[-1]:  # rows and columns of each of hundreds would cost more than the slices
                found["preview"] = dg.MetadataValue.table(
                    list(_preview(counts.read_silver(pipeline.store, report.silver_key))), schema=columns
                )
            context.add_asset_metadata(found, partition_key=report.slice_key)
        yield dg.MaterializeResult(check_results=results)

    return silver


def _check_specs(name: dg.AssetKey, feed: Feed, settings: Settings) -> Iterator[dg.AssetCheckSpec]:
    """What is judged before gold may read a slice."""
    yield dg.AssetCheckSpec(
        checks.CONTRACT,
        asset=name,
        blocking=True,
        description="Columns, types, nulls and ranges are the contract's; at most "
        f"{settings.max_rejected_ratio:.1%} of the rows break it.",
    )
    if counts.is_whole_market(feed):
        yield dg.AssetCheckSpec(
            checks.ROW_COUNT,
            asset=name,
            blocking=True,
            description=f"At least {settings.min_row_ratio:.0%} of the symbols that the sessions before it had.",
        )
    if counts.has_coverage(feed):
        yield dg.AssetCheckSpec(
            checks.COVERAGE,
            asset=name,
            blocking=True,
            description="Every expected instrument has rows; gaps are named, and less than "
            f"{settings.min_coverage_ratio:.0%} of the instruments block.",
        )


def _limits(settings: Settings, asked: Asked) -> checks.Limits:
    return checks.Limits(
        max_rejected_ratio=settings.max_rejected_ratio,
        min_row_ratio=settings.min_row_ratio,
        min_coverage_ratio=settings.min_coverage_ratio,
        allow_partial=asked.allow_partial,
    )


def _judge(
    pipeline: Pipeline, provider: Provider, feed: Feed, reports: tuple[NormalizeReport, ...], *, limits: checks.Limits
) -> tuple[list[dg.AssetCheckResult], MarketPipelineError | None]:
    """Every check of the run's slices, and the error of the first that blocks. A session that is cut short is taken
    out of silver again: gold reads whatever lies there, whoever asked for it."""
    name = f"{provider.name}/{feed.dataset}"
    results, errors = [checks.contract(reports, limits)], [checks.blocked_normalize(reports, limits)]
    thin: tuple[checks.Thin, ...] = ()
    if counts.is_whole_market(feed):
        symbols, former = counts.symbols_by_session(pipeline.store, provider, feed, reports)
        thin = checks.thin_sessions(symbols, former, limits)
        results.append(checks.row_count(symbols, thin, limits))
        errors.append(checks.blocked_row_count(name, thin, limits))
    if counts.has_coverage(feed):
        covered = counts.covered(pipeline, provider, feed, reports)
        errors.append(checks.blocked_coverage(name, covered, limits))
        results.append(checks.coverage(covered, is_blocked=errors[-1] is not None))
    if not limits.allow_partial:
        for slice_key in sorted({t.slice_key for t in thin} & {report.slice_key for report in reports}):
            slice_ = Name(feed.contract, provider.name, feed.dataset, slice_key)
            withdraw(pipeline.store, slice_, empty_silver(feed.contract))
    return results, next((error for error in errors if error is not None), None)


def column_schema(schema: type[contracts.SilverRow]) -> dg.TableSchema:
    """A contract as Dagster shows columns."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=str(column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for name, column in schema.columns().items()
        ]
    )


def _metadata(report: NormalizeReport, settings: Settings, *, location: str) -> dict[str, object]:
    """A report as the UI shows it."""
    return {
        "dagster/row_count": report.rows_kept,
        "rows_in": report.rows_in,
        "rows_duplicate": report.rows_duplicate,
        "rows_rejected": report.rows_rejected,
        "rejected_by_rule": dict(report.rejected_by_rule),
        "bytes": report.bytes,
        "newest_date": "" if report.newest_date is None else report.newest_date.isoformat(),
        "is_written": report.is_written,
        "sha256": report.sha256,
        "object": dg.MetadataValue.path(location),
        "dashboard": dg.MetadataValue.url(f"http://127.0.0.1:{settings.dashboard_port}/trust"),
    }


def _preview(rows: pl.DataFrame) -> Iterator[dg.TableRecord]:
    """The last rows of a silver file, as the UI's tables hold them: numbers and text."""
    for row in rows.tail(_PREVIEW_ROWS).iter_rows(named=True):
        yield dg.TableRecord(
            {name: value if isinstance(value, int | float | str | None) else str(value) for name, value in row.items()}
        )
