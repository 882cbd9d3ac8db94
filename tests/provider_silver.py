"""Bodies of any provider on their way to silver, for tests: committed as an ingest would, then normalized."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from market_pipeline import layout, manifest
from market_pipeline.feed import Feed, Outcome, Provider, Request
from market_pipeline.manifest import Entry, Payload
from market_pipeline.normalize import NormalizeReport, normalize
from market_pipeline.partition import Slice
from market_pipeline.store import FolderStore

FETCHED_AT = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Silver:
    """What one slice became: rows by their column names, and the rules that the others broke with their texts."""

    rows: list[dict[str, object]]
    rejected: list[tuple[str, str]]
    report: NormalizeReport

    def column(self, name: str) -> list[object]:
        """One column, in the order of the rows."""
        return [row[name] for row in self.rows]


def silver(
    folder: Path,
    provider: Provider,
    feed: Feed,
    part: Slice,
    answers: Sequence[tuple[Request, bytes]],
    *,
    fetched_at: dt.datetime = FETCHED_AT,
) -> Silver:
    """The slice after normalizing these answers."""
    store = FolderStore(folder)
    prefix = layout.bronze_slice(provider.name, feed.dataset, part.key)
    entries = []
    for request, body in answers:
        sha256 = hashlib.sha256(body).hexdigest()
        key = layout.bronze_object(prefix, request.name, sha256, request.extension)
        store.create(key, body)
        payload = Payload(
            layout.payload_name(prefix, key), sha256, len(body), fetched_at, since=request.since, until=request.until
        )
        entries.append(Entry(request, Outcome.FETCHED, "", fetched_at, (payload,)))
    manifest.write(store, provider.name, feed, part, seq=1, entries=tuple(entries), written_at=fetched_at)
    report = normalize(provider, feed, part, store=store)
    rows = pl.read_parquet(io.BytesIO(store.get(report.silver_key)))
    key = layout.quarantine_part(feed.contract, provider.name, feed.dataset, part.key)
    rejected = pl.read_parquet(io.BytesIO(store.get(key))) if store.exists(key) else None
    return Silver(
        rows.rows(named=True),
        [] if rejected is None else sorted(rejected.select("rule", "row_json").iter_rows()),
        report,
    )
