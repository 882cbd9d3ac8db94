"""Silver assets: one per feed, its body is one normalize per slice of the run."""

from collections.abc import Iterable, Iterator

import dagster as dg
import polars as pl

from market_pipeline import contracts, manifest
from market_pipeline.feed import Feed, Provider
from market_pipeline.normalize import NormalizeReport
from market_pipeline.orchestration import bronze, checks
from market_pipeline.orchestration.partitions import first_day, partitions
from market_pipeline.orchestration.resources import ALLOW_PARTIAL_TAG, SESSION, Session, is_tagged
from market_pipeline.orchestration.schedules import follows_its_inputs
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

_DOMAINS = {"bars": "prices", "company": "companies"}
_PREVIEW_ROWS = 5


def key(provider: Provider, feed: Feed) -> dg.AssetKey:
    """Asset key of a feed's silver: it is named by what the rows are, not by the endpoint."""
    return dg.AssetKey(["silver", provider.name, feed.contract])


def domain(contract: str) -> str:
    """What a dataset is about: `prices`, `companies`, or the first word of its name."""
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
        check_specs=[
            dg.AssetCheckSpec(
                checks.CONTRACT,
                asset=name,
                blocking=True,
                description=f"At most {settings.max_rejected_ratio:.1%} of the rows break the contract.",
            ),
            dg.AssetCheckSpec(checks.COVERAGE, asset=name, description="Every fetched instrument has rows."),
        ],
    )
    def silver(context: dg.AssetExecutionContext) -> bronze.Results:
        session: Session = context.resources.session
        limits = checks.Limits(settings.max_rejected_ratio, is_tagged(context.run.tags, ALLOW_PARTIAL_TAG))
        with session.step() as pipeline:
            reports = []
            for slice_key in context.partition_keys:
                report = pipeline.normalize(provider.name, feed.dataset, slice_key)
                reports.append(report)
                session.reports.append(report)
            check = checks.contract(reports, limits)
            blocked = checks.blocked_normalize(reports, limits)
            if blocked is not None:
                yield check
                raise blocked
        for report in reports:
            context.add_asset_metadata(
                _metadata(report, settings, pipeline, schema=column_schema(schema)), partition_key=report.slice_key
            )
        yield dg.MaterializeResult(check_results=[check, _coverage(reports, pipeline)])

    return silver


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


def _coverage(reports: Iterable[NormalizeReport], pipeline: Pipeline) -> dg.AssetCheckResult:
    """Instruments with a payload against instruments with rows, over the run's slices."""
    fetched: dict[str, str] = {}
    present: set[str] = set()
    for report in reports:
        committed = manifest.read(pipeline.store, report.provider, report.dataset, report.slice_key)
        for entry in () if committed is None else committed.entries:
            if entry.payloads and entry.request.instrument_id is not None:
                fetched[entry.request.instrument_id] = entry.request.symbol or entry.request.name
        frame = pl.scan_parquet(pipeline.store.url(report.silver_key))
        present.update(frame.select(pl.col("instrument_id").unique()).collect().get_column("instrument_id"))
    return checks.coverage(fetched, present)


def _metadata(
    report: NormalizeReport, settings: Settings, pipeline: Pipeline, *, schema: dg.TableSchema
) -> dict[str, object]:
    """A report as the UI shows it."""
    location = pipeline.store.url(report.silver_key)
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
        "preview": dg.MetadataValue.table(list(_preview(location)), schema=schema),
        "object": dg.MetadataValue.path(location),
        "dashboard": dg.MetadataValue.url(f"http://127.0.0.1:{settings.dashboard_port}/trust"),
    }


def _preview(location: str) -> Iterator[dg.TableRecord]:
    """The last rows of a silver file, as the UI's tables hold them: numbers and text."""
    for row in pl.scan_parquet(location).tail(_PREVIEW_ROWS).collect().iter_rows(named=True):
        yield dg.TableRecord(
            {name: value if isinstance(value, int | float | str | None) else str(value) for name, value in row.items()}
        )
