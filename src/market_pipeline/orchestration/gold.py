"""Gold: every dbt model as an asset, every dbt test as an asset check, one body that publishes.

The specs are read from dbt's manifest here and not by dagster-dbt, whose import costs each process two seconds
(measured); a test holds them against dagster-dbt's own reading.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
import orjson

from market_pipeline.errors import CheckFailed, ConfigurationError
from market_pipeline.gold import GoldReport
from market_pipeline.orchestration import bronze, checks, silver
from market_pipeline.orchestration.automation import follows_its_inputs
from market_pipeline.orchestration.resources import SESSION, Asked, Session
from market_pipeline.orchestration.schedules import Feeds
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

POOL = "duckdb_writer"
_LAYERS = {"staging": "staging", "intermediate": "intermediate", "marts": "core"}
Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What dbt knows of the project. `silver` are the keys of all silver assets."""

    nodes: Mapping[str, Node]
    sources: Mapping[str, Node]
    silver: tuple[dg.AssetKey, ...]

    def models(self) -> Iterator[tuple[str, Node]]:
        """Everything that becomes a table or a view, each after what it reads."""
        reads = {i: set(node["depends_on"].get("nodes", ())) for i, node in sorted(self.nodes.items())}
        for unique_id in TopologicalSorter(reads).static_order():
            node = self.nodes.get(unique_id)
            if node and node["resource_type"] in ("model", "seed", "snapshot") and not _is_ephemeral(node):
                yield unique_id, node

    def inputs(self, node: Node) -> Iterator[dg.AssetKey]:
        """Keys of what a node reads; ephemeral models are looked through."""
        for unique_id in node["depends_on"].get("nodes", ()):
            if unique_id in self.sources:
                yield from self._behind(self.sources[unique_id])
            elif _is_ephemeral(self.nodes[unique_id]):
                yield from self.inputs(self.nodes[unique_id])
            else:
                yield key(self.nodes[unique_id])

    def _behind(self, source: Node) -> Sequence[dg.AssetKey]:
        """A silver source names its asset in `meta`; quarantine is written by every silver asset; reference files are
        written by the build itself, so there is no asset behind them."""
        if source["source_name"] == "silver":
            return [dg.AssetKey(_meta(source)["dagster"]["asset_key"])]
        return self.silver if source["source_name"] == "quarantine" else ()

    def tests(self) -> Iterator[tuple[str, Node, dg.AssetKey]]:
        """Every test with the asset it is shown at: the model it is attached to, else the first model it reads or,
        for a test of a source, the first model that reads the source."""
        models = dict(self.models())
        for unique_id, node in sorted(self.nodes.items()):
            if node["resource_type"] != "test":
                continue
            read = [node.get("attached_node"), *node["depends_on"].get("nodes", ())]
            sources = set(read) & set(self.sources)
            read += [m for m, model in models.items() if sources & set(model["depends_on"].get("nodes", ()))]
            shown_at = next((model for model in read if model in models), None)
            if shown_at is not None:
                yield unique_id, node, key(models[shown_at])


def read_manifest(settings: Settings, feeds: Feeds) -> Manifest:
    """The project as `market-pipeline init` parsed it."""
    path = settings.dbt_target / "manifest.json"
    try:
        found = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        raise ConfigurationError(
            f"{path} is missing or cut short, so the gold assets are unknown; run: market-pipeline init"
        ) from None
    return Manifest(found["nodes"], found["sources"], tuple(silver.key(provider, feed) for provider, feed in feeds))


def key(node: Node) -> dg.AssetKey:
    """Asset key of a model or seed: names are unique in a dbt project."""
    return dg.AssetKey(["gold", node["name"]])


def spec(manifest: Manifest, node: Node, settings: Settings) -> dg.AssetSpec:
    """One model as an asset. Only those that read silver ask for a build: it is one body, so the rest come along."""
    inputs = sorted(set(manifest.inputs(node)))
    columns = [
        dg.TableColumn(name, type=column.get("data_type") or "string", description=column.get("description") or None)
        for name, column in node.get("columns", {}).items()
    ]
    layer = node["fqn"][1] if node["resource_type"] == "model" else "seeds"
    return dg.AssetSpec(
        key(node),
        deps=inputs,
        description=node.get("description") or f"dbt {node['resource_type']} {node['name']}.",
        group_name=node["config"].get("group") or f"gold_{_LAYERS.get(layer, layer)}",
        kinds={"dbt", "duckdb"},
        owners=list(bronze.OWNERS),
        tags={"layer": "gold", "materialized": node["config"].get("materialized", "table")},
        metadata={
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "file": node["original_file_path"],
            "dashboard": dg.MetadataValue.url(
                f"http://127.0.0.1:{settings.dashboard_port}/explorer?table={node['name']}"
            ),
        },
        automation_condition=follows_its_inputs() if any(i.path[0] == "silver" for i in inputs) else None,
    )


def assets(feeds: Feeds, settings: Settings) -> dg.AssetsDefinition:
    """All of gold: built, tested and published as one, or not at all."""
    manifest = read_manifest(settings, feeds)
    specs = [spec(manifest, node, settings) for _, node in manifest.models()]
    shown = {unique_id: (node, asset, check_name(node)) for unique_id, node, asset in manifest.tests()}

    @dg.multi_asset(
        name="gold",
        specs=specs,
        check_specs=[
            dg.AssetCheckSpec(name, asset=asset, blocking=is_blocking(node), description=node["description"] or None)
            for node, asset, name in shown.values()
        ],
        can_subset=False,
        pool=POOL,
        required_resource_keys={SESSION},
    )
    def gold(context: dg.AssetExecutionContext) -> bronze.Results:
        session: Session = context.resources.session
        with session.step() as pipeline:
            try:
                report = pipeline.publish(allow_partial=Asked.of(context.run.tags).allow_partial)
            except CheckFailed as error:
                session.reports.append(error.report)
                yield from _check_results(error.report, shown, {})
                raise
            session.reports.append(report)
        yield from (dg.MaterializeResult(asset_key=s.key, metadata=_metadata(report, s.key)) for s in specs)
        yield from _check_results(report, shown, _warned(pipeline))

    return gold


def check_name(node: Node) -> str:
    """A test's name in the characters that Dagster allows."""
    return re.sub(r"\W", "_", node["name"], flags=re.ASCII)


def is_blocking(node: Node) -> bool:
    """Whether a test keeps gold from being published when it fails."""
    return str(node["config"].get("severity") or "error").lower() == "error"


def _check_results(
    report: GoldReport, shown: Mapping[str, tuple[Node, dg.AssetKey, str]], warned: Mapping[str, str]
) -> Iterator[dg.AssetCheckResult]:
    """What the build said of each test; Dagster wants a word on every one. When nothing had changed nothing was built:
    then the tests stand as they were when the generation was published (`warned`: name to message)."""
    results = {result.unique_id: result for result in report.results}
    for unique_id, (node, asset, name) in shown.items():
        if unique_id in results:
            yield checks.dbt_test(results[unique_id], asset=asset, name=name)
            continue
        is_standing = not report.results and node["name"] not in warned
        yield dg.AssetCheckResult(
            passed=is_standing,
            asset_key=asset,
            check_name=name,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"As generation {report.generation} was published; nothing has changed since."
            if is_standing
            else warned.get(node["name"], "dbt did not run this test; its manifest is stale: market-pipeline init"),
        )


def _warned(pipeline: Pipeline) -> Mapping[str, str]:
    """Tests that only warned in the newest build, from `health.json`."""
    health = pipeline.warehouse.health()
    return {c.name: c.message for c in health.failed_checks if c.severity == "warn"} if health else {}


def _metadata(report: GoldReport, asset: dg.AssetKey) -> dict[str, Any]:
    """A report as the UI shows it at one model; only published tables have rows to count."""
    rows = report.tables.get(asset.path[-1])
    return {
        **({} if rows is None else {"dagster/row_count": rows}),
        "generation": report.generation or "",
        "is_new": report.is_new,
        "is_partial": report.is_partial,
        "instruments_missing": len(report.missing),
        "tests_passed": report.tests_passed,
        "tests_warned": report.tests_warned,
        "seconds": report.seconds,
    }


def _is_ephemeral(node: Node) -> bool:
    return bool(node["resource_type"] == "model" and node["config"].get("materialized") == "ephemeral")


def _meta(node: Node) -> Mapping[str, Any]:
    """dbt keeps `meta` at the node and, newer, in its configuration."""
    found: Mapping[str, Any] = node.get("meta") or node.get("config", {}).get("meta") or {}
    return found
