"""What gold needs beside silver, as small Parquet files in the lake: calendar, universe, sources, outcomes.

They are generated anew before each build from the code, the universe's files and the manifests, so they are never a
source of truth.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from market_pipeline import calendar, layout, manifest
from market_pipeline.feed import Feed, Instrument, Outcome, Provider
from market_pipeline.manifest import Entry
from market_pipeline.partition import Slice
from market_pipeline.store import Store
from market_pipeline.universe import Universe, expected

MISSING = "missing"
_STAMP = pl.Datetime("us", "UTC")

OUTCOMES: dict[str, pl.DataType] = {
    "provider": pl.String(),
    "dataset": pl.String(),
    "contract": pl.String(),
    "slice_start_date": pl.Date(),
    "slice_end_date": pl.Date(),
    "instrument_id": pl.String(),
    "symbol": pl.String(),
    "outcome": pl.String(),
    "reason": pl.String(),
    "fetched_at": _STAMP,
    "object_key": pl.String(),
    "object_sha256": pl.String(),
    "object_bytes": pl.Int64(),
    "manifest_seq": pl.Int64(),
}


def outcomes(store: Store, feeds: Iterable[tuple[Provider, Feed]], members: Sequence[Instrument]) -> pl.DataFrame:
    """One row per feed, slice in bronze and expected instrument; in a feed's newest slice also the followed
    instruments that no manifest names, as `missing`. Columns: `OUTCOMES`."""
    rows: list[dict[str, Any]] = []
    for provider, feed in feeds:
        keys = store.list(layout.bronze_dataset(provider.name, feed.dataset))
        slice_keys = sorted({key for key in map(layout.slice_key_of, keys) if key is not None})
        for slice_key in slice_keys:
            part = Slice.from_key(slice_key, grain=feed.grain)
            committed = manifest.read(store, provider.name, feed.dataset, slice_key)
            if committed is None:
                continue
            about = {
                "provider": provider.name,
                "dataset": feed.dataset,
                "contract": feed.contract,
                "slice_start_date": part.start,
                "slice_end_date": part.end,
            }
            prefix = layout.bronze_slice(provider.name, feed.dataset, slice_key)
            wanted = {request.name for request in expected(feed, part, members)}
            for entry in _one_per_instrument(committed.entries, wanted):
                newest = entry.payloads[-1] if entry.payloads else None
                rows.append(
                    {
                        **about,
                        "instrument_id": entry.request.instrument_id,
                        "symbol": entry.request.symbol,
                        "outcome": entry.outcome.value,
                        "reason": entry.reason,
                        "fetched_at": newest.fetched_at if newest else entry.asked_at,
                        "object_key": prefix + newest.object if newest else None,
                        "object_sha256": newest.sha256 if newest else None,
                        "object_bytes": newest.bytes if newest else None,
                        "manifest_seq": committed.seq,
                    }
                )
            if slice_key == slice_keys[-1]:
                named = {entry.request.name for entry in committed.entries}
                rows.extend(
                    {**about, "instrument_id": r.instrument_id, "symbol": r.symbol, "outcome": MISSING, "reason": ""}
                    for r in expected(feed, part, members)
                    if r.name not in named
                )
    return pl.DataFrame(rows, schema=OUTCOMES)


def _one_per_instrument(entries: Iterable[Entry], wanted: Collection[str]) -> list[Entry]:
    """An instrument that was renamed within the slice was asked for under both symbols: the answer with data counts,
    then the symbol that is in force, then the later answer."""
    best: dict[str, tuple[tuple[bool, bool, bool, str], Entry]] = {}
    for entry in entries:
        name = entry.request.name
        asked_at = max([payload.fetched_at for payload in entry.payloads], default=entry.asked_at)
        rank = (
            entry.outcome is Outcome.FETCHED,
            entry.outcome.is_final,
            name in wanted,
            asked_at.isoformat() if asked_at else "",
        )
        key = entry.request.instrument_id or name
        if key not in best or rank > best[key][0]:
            best[key] = (rank, entry)
    return [entry for _, entry in best.values()]


def tables(
    store: Store, providers: Mapping[str, Provider], universe: Universe, *, now: dt.datetime, profile: str
) -> dict[str, pl.DataFrame]:
    """Every reference table by name; the columns are described in `dbt/models/staging/sources.yml`."""
    feeds = [(provider, feed) for provider in providers.values() for feed in provider.feeds]
    instruments = pl.DataFrame(
        [
            {
                "instrument_id": i.instrument_id,
                "symbol": i.symbol,
                "name": i.name,
                "asset_class": i.asset_class,
                "exchange": i.exchange,
                "currency": i.currency,
                "sector": i.sector,
                "industry": i.industry,
                "listed_date": i.listed_date,
                "delisted_date": i.delisted_date,
                "is_followed": i.instrument_id in universe.followed,
            }
            for i in universe.instruments
        ],
        schema_overrides={"sector": pl.String, "industry": pl.String, "delisted_date": pl.Date},
    )
    symbols = pl.DataFrame(
        [(s.instrument_id, s.symbol, s.valid_from, s.valid_to) for s in universe.spellings],
        schema={"instrument_id": pl.String, "symbol": pl.String, "valid_from": pl.Date, "valid_to": pl.Date},
        orient="row",
    )
    sources = pl.DataFrame(
        [
            {
                "provider": provider.name,
                "dataset": feed.dataset,
                "contract": feed.contract,
                "endpoint": feed.endpoint,
                "title": provider.title,
                "description": feed.description,
                "delay": feed.delay,
                "adjustment": feed.adjustment,
                "licence_note": feed.licence_note,
                "grain": feed.grain.value,
                "is_snapshot": feed.is_snapshot,
                "priority": feed.priority,
            }
            for provider, feed in feeds
        ]
    )
    return {
        "calendar": calendar.days(now.year + 1),
        "instruments": instruments,
        "symbols": symbols,
        "sources": sources,
        "outcomes": outcomes(store, feeds, universe.members(on=now.date())),
        "build": pl.DataFrame({"as_of": [now], "profile": [profile]}, schema={"as_of": _STAMP, "profile": pl.String}),
    }


def write(store: Store, frames: Mapping[str, pl.DataFrame]) -> None:
    """Put the reference tables into the lake; unchanged ones are not written."""
    for name, frame in frames.items():
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd", compression_level=3)
        store.replace(layout.reference(name), buffer.getvalue())
