"""The pipeline's turn in a silver contest: bronze to silver by `normalize`, with hashes, contract and fsync."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bronze import PROVIDERS, feed_of
from market_pipeline import calendar
from market_pipeline.normalize import normalize_slices
from market_pipeline.partition import Slice
from market_pipeline.store import FolderStore
from peers.turn import slices, take


def by_pipeline(dataset: str, lake: Path, out: Path) -> None:
    """Every slice of the lake's one feed, as a replay makes it."""
    provider, feed = feed_of(dataset)
    parts = [Slice.from_key(key, grain=feed.grain) for key, _ in slices(lake)]
    for report in normalize_slices(provider, feed, parts, store=FolderStore(lake)):
        (out / f"{report.slice_key}.parquet").hardlink_to(lake / report.silver_key)


CONTESTANTS = {dataset: (partial(by_pipeline, dataset), ("polars", "dataframely")) for dataset in PROVIDERS}

if __name__ == "__main__":
    calendar.session_dates()  # a second for whatever process needs the calendar, as the imports are
    take(CONTESTANTS)
