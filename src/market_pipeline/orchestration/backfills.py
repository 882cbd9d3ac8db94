"""A plan as one backfill of Dagster's own, which its daemon drives: it is in the database, so that it goes on after the
death of any process, and the UI shows it as a whole.

What does not belong here: which slices are lacking (`cli.bill`), runs in this process (`runs`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.selector import PartitionRangeSelector, PartitionsByAssetSelector, PartitionsSelector
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.utils import make_new_backfill_id

from market_pipeline.orchestration.definitions import build
from market_pipeline.orchestration.legs import GOLD, Leg
from market_pipeline.orchestration.resources import TAG, Asked
from market_pipeline.orchestration.runs import open_instance
from market_pipeline.pipeline import Pipeline


def hand_over(pipeline: Pipeline, title: str, plan: Sequence[Leg], *, asked: Asked) -> str:
    """Request a backfill of every leg, gold after all of them; returns its id. The daemon starts it within seconds."""
    definitions = build(pipeline.settings)
    graph = definitions.resolve_asset_graph()
    backfill_id = str(make_new_backfill_id())
    gold = [key for key in graph.materializable_asset_keys if key.path[0] == GOLD]
    with open_instance(pipeline.settings) as instance:
        instance.add_backfill(
            PartitionBackfill.from_partitions_by_assets(
                backfill_id=backfill_id,
                asset_graph=graph,
                backfill_timestamp=time.time(),
                tags={f"{TAG}started_by": "backfill", **asked.tags()},
                dynamic_partitions_store=instance,
                partitions_by_assets=list(_wanted(plan, gold)),
                title=title,
                description=None,
                run_config=None,
            )
        )
    return backfill_id


def _wanted(plan: Sequence[Leg], gold: Sequence[dg.AssetKey]) -> Iterator[PartitionsByAssetSelector]:
    """Each asset with its range of slices; gold has none."""
    for leg in plan:
        for name in leg.selection:
            if name != GOLD:
                span = PartitionRangeSelector(start=leg.slice_keys[0], end=leg.slice_keys[-1])
                key = dg.AssetKey(name.split("/"))
                yield PartitionsByAssetSelector(asset_key=key, partitions=PartitionsSelector(ranges=[span]))
    if any(GOLD in leg.selection for leg in plan):
        yield from (PartitionsByAssetSelector(asset_key=key) for key in gold)
