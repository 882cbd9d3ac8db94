"""Bronze assets: one per feed, its body is one ingest of all slices of the run."""

import logging
from collections.abc import Iterator
from functools import partial

import dagster as dg

from market_pipeline import logs
from market_pipeline.feed import Feed, Provider
from market_pipeline.orchestration import checks
from market_pipeline.orchestration.partitions import first_day, partitions
from market_pipeline.orchestration.resources import SESSION, Asked, Session
from market_pipeline.settings import Settings
from market_pipeline.slice_run import IngestReport

_log = logging.getLogger(__name__)
OWNERS = ("team:data",)
Results = Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]


def key(provider: Provider, feed: Feed) -> dg.AssetKey:
    """Asset key of a feed's bronze."""
    return dg.AssetKey(["bronze", provider.name, feed.dataset])


def asset(provider: Provider, feed: Feed, settings: Settings) -> dg.AssetsDefinition:
    """The bronze asset of a feed. It is materialized only when its slices may go on: a slice with refused or failed
    requests fails the run after its manifest is written, so nothing downstream ever follows it by itself."""
    name = key(provider, feed)

    @dg.asset(
        key=name,
        group_name=f"bronze_{provider.name}",
        description=f"{feed.description} Bytes as {provider.title} sent them, with a manifest per slice.",
        kinds={"python", "file"},
        owners=list(OWNERS),
        tags={"provider": provider.name, "layer": "bronze", "grain": feed.grain.value},
        metadata={"endpoint": feed.endpoint, "delay": feed.delay, "licence": feed.licence_note},
        partitions_def=partitions(feed.grain, clock=settings.clock, first=first_day(settings)),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=provider.name,
        # A provider lists its feeds by importance: that is the order in which they spend the call budget.
        op_tags={"dagster/priority": str(-provider.feeds.index(feed))},
        required_resource_keys={SESSION},
        check_specs=[
            dg.AssetCheckSpec(
                checks.COMPLETE,
                asset=name,
                blocking=True,
                description="Every planned request has data, or is known to have none; deferred ones only warn.",
            )
        ],
    )
    def bronze(context: dg.AssetExecutionContext) -> Results:
        session: Session = context.resources.session
        asked = Asked.of(context.run.tags)
        keys = " ... ".join(dict.fromkeys([context.partition_keys[0], context.partition_keys[-1]]))
        with session.step() as pipeline, logs.about({"provider": provider.name, "slice": keys}):
            reports = pipeline.ingest(
                provider.name,
                feed.dataset,
                context.partition_keys,
                symbols=asked.symbols,
                refetch=asked.refetch,
                trailing=asked.trailing,
                max_calls=session.calls_left(asked),
                on_progress=partial(session.on_progress, "/".join(name.path)),
            )
            session.reports.extend(reports)
            for report in reports:
                if report.deferred:
                    until = "" if report.resumes_at is None else report.resumes_at.isoformat(timespec="seconds")
                    words = f"{report.deferred} of {report.planned} requests of {feed.dataset} are deferred"
                    logs.tell(_log, words, level=logging.WARNING, slice=report.slice_key, resumes_at=until)
            check = checks.complete(reports, allow_partial=asked.allow_partial)
            blocked = checks.blocked_ingest(reports, allow_partial=asked.allow_partial)
            if blocked is not None:
                yield check
                raise blocked
        for report in reports:
            location = pipeline.store.url(report.manifest_key) if report.manifest_key else ""
            found = _metadata(report, settings, location=location)
            context.add_asset_metadata(found, partition_key=report.slice_key)
        yield dg.MaterializeResult(check_results=[check])

    return bronze


def _metadata(report: IngestReport, settings: Settings, *, location: str) -> dict[str, object]:
    """A report as the UI shows it. A run of a year writes hundreds, so what is not there is left out."""
    return {
        **{
            outcome: getattr(report, outcome)
            for outcome in ("planned", "fetched", "empty", "not_yet", "refused", "failed", "deferred")
        },
        "bytes_new": report.bytes_new,
        "objects_new": report.objects_new,
        "calls_used": report.calls_used,
        "calls_left": "no daily cap" if report.calls_left is None else report.calls_left,
        "newest_fetched_at": str(report.newest_fetched_at or ""),
        "resumes_at": "" if report.resumes_at is None else report.resumes_at.isoformat(),
        **({"problems": checks.problem_table([report])} if report.problems else {}),
        "manifest": dg.MetadataValue.path(location),
        "dashboard": dg.MetadataValue.url(f"http://127.0.0.1:{settings.dashboard_port}/trust"),
    }
