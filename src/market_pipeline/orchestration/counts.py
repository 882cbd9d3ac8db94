"""What the checks before gold count: symbols of a session, and which of the expected instruments have rows.

Read from the silver files and the manifests, one or two columns each. What does not belong here: when a count is too
small (`checks`).
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from market_pipeline import commit, layout, manifest
from market_pipeline.feed import Feed, Provider
from market_pipeline.normalize import NormalizeReport
from market_pipeline.orchestration.checks import SESSIONS_BEFORE, Covered
from market_pipeline.partition import Grain, Slice
from market_pipeline.pipeline import Pipeline
from market_pipeline.store import Store

_SOME_DAY = dt.date(2026, 1, 5)


def is_whole_market(feed: Feed) -> bool:
    """Whether each slice is one session of every symbol there is."""
    return feed.grain is Grain.SESSION and not feed.is_snapshot and not _asks_by_instrument(feed)


def has_coverage(feed: Feed) -> bool:
    """Whether an instrument without rows is a gap: not where rows are events, of which a month may have none."""
    return feed.grain is Grain.SESSION or _asks_by_instrument(feed)


def _asks_by_instrument(feed: Feed) -> bool:
    """Without instruments a feed has nothing to ask for, unless it asks for the whole market."""
    return not feed.plan(Slice.at(_SOME_DAY, grain=feed.grain), ())


def symbols_by_session(
    store: Store, provider: Provider, feed: Feed, reports: Sequence[NormalizeReport]
) -> tuple[Mapping[str, int], tuple[int, ...]]:
    """How many symbols each of the run's sessions has, and the sessions before them, oldest first."""
    inside = {report.slice_key: _symbols(store, report.silver_key) for report in reports}
    first = min(inside)
    names = commit.names(store, feed.contract, provider.name, feed.dataset)
    there = set(store.list(layout.silver_dataset(feed.contract, provider.name, feed.dataset)))
    keys = (name.silver_key for name in names if name.slice_key < first)
    before = [key for key in keys if key in there][-SESSIONS_BEFORE:]  # a killed writer leaves a commit alone
    return dict(sorted(inside.items())), tuple(_symbols(store, key) for key in before)


def covered(
    pipeline: Pipeline, provider: Provider, feed: Feed, reports: Iterable[NormalizeReport]
) -> tuple[Covered, ...]:
    """Per slice: the instruments that should have rows, and the symbols of those that have none."""
    found = []
    for report in reports:
        part = Slice.from_key(report.slice_key, grain=feed.grain)
        if is_whole_market(feed):
            expected = {
                i.spelling(provider.name): i.symbol
                for i in pipeline.known.members(on=part.start)
                if i.asset_class in feed.asset_classes and i.is_listed(part.start, part.end)
            }
            present = _distinct(pipeline.store, report.silver_key, "symbol")
        else:
            expected = dict(_fetched(pipeline, report))
            present = _distinct(pipeline.store, report.silver_key, "instrument_id")
        absent = sorted(symbol for key, symbol in expected.items() if key not in present)
        found.append(Covered(report.slice_key, len(expected), tuple(absent)))
    return tuple(found)


def _fetched(pipeline: Pipeline, report: NormalizeReport) -> Iterator[tuple[str, str]]:
    """Id and symbol of each instrument for which the slice has an answer with data."""
    committed = manifest.read(pipeline.store, report.provider, report.dataset, report.slice_key)
    for entry in () if committed is None else committed.entries:
        if entry.payloads and entry.request.instrument_id is not None:
            yield entry.request.instrument_id, entry.request.symbol or entry.request.name


def _symbols(store: Store, key: str) -> int:
    return read_silver(store, key, ["symbol"]).get_column("symbol").n_unique()


def _distinct(store: Store, key: str, column: str) -> frozenset[str]:
    return frozenset(read_silver(store, key, [column]).get_column(column).drop_nulls().unique())


def read_silver(store: Store, key: str, columns: list[str] | None = None) -> pl.DataFrame:
    """The rows of one file of silver."""
    return pl.read_parquet(io.BytesIO(store.get(key)), columns=columns)
