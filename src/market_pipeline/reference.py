"""What gold needs beside silver, as small Parquet files in the lake: calendar, universe, sources, outcomes, slices,
runs.

They are generated anew before each build from the code, the universe's files, the manifests, silver's files and
Dagster's storage, so they are never a source of truth.
"""

from __future__ import annotations

import datetime as dt
import io
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from market_pipeline import calendar, commit, history, layout, manifest
from market_pipeline.errors import LakeError
from market_pipeline.feed import Feed, Instrument, Outcome, Provider
from market_pipeline.manifest import PAST_THE_END, Entry, Manifest
from market_pipeline.partition import Slice
from market_pipeline.store import Store
from market_pipeline.universe import Universe, expected

MISSING = "missing"
# Whose spelling of a symbol the payloads of the whole market have, where it is not everybody's.
MARKET = "polygon"
_AT_ONCE = 16  # manifests in memory, each of a slice of thousands of symbols at the most
_STAMP = pl.Datetime("us", "UTC")

OUTCOMES: dict[str, pl.DataType] = {
    "provider": pl.String(),
    "dataset": pl.String(),
    "contract": pl.String(),
    "slice_start_date": pl.Date(),
    "slice_end_date": pl.Date(),
    "request": pl.String(),
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
SLICES: dict[str, pl.DataType] = {
    "contract": pl.String(),
    "provider": pl.String(),
    "dataset": pl.String(),
    "slice_start_date": pl.Date(),
    "object_key": pl.String(),
    "sha256": pl.String(),
    "bytes": pl.Int64(),
}


def outcomes(store: Store, feeds: Iterable[tuple[Provider, Feed]], members: Sequence[Instrument]) -> pl.DataFrame:
    """One row per feed, slice in bronze and expected request; in a feed's newest slice also the requests for followed
    instruments that no manifest names, as `missing`. Columns: `OUTCOMES`.

    A manifest is never changed, so a slice that has no newer one since the last time, and was not the newest slice
    then, is not read again: ten years of sessions are thousands of them.
    """
    known = _known_outcomes(store)
    frames = [pl.DataFrame(schema=OUTCOMES)]
    for provider, feed in feeds:
        before = known.filter(provider=provider.name, dataset=feed.dataset, contract=feed.contract)
        settled = before.filter(
            pl.col("slice_start_date") < pl.col("slice_start_date").max(), pl.col("outcome") != MISSING
        )
        parts = settled.partition_by("slice_start_date", "manifest_seq", as_dict=True)
        newest_seq: dict[str, int] = {}
        for key in store.list(layout.bronze_dataset(provider.name, feed.dataset)):
            slice_key, seq = layout.slice_key_of(key), layout.manifest_seq(key)
            if slice_key is not None and seq is not None:
                newest_seq[slice_key] = max(seq, newest_seq.get(slice_key, 0))
        unread = list[str]()
        for slice_key in sorted(newest_seq):
            same = parts.get((Slice.from_key(slice_key, grain=feed.grain).start, newest_seq[slice_key]))
            if same is not None and slice_key != max(newest_seq):
                frames.append(same)
            else:
                unread.append(slice_key)
        rows: list[dict[str, Any]] = []
        for committed in _committed(store, provider, feed, {key: newest_seq[key] for key in unread}):
            part = Slice.from_key(layout.slice_key_of(committed.key) or "", grain=feed.grain)
            is_newest = part.key == max(newest_seq)
            rows.extend(_slice_outcomes(committed, provider, feed, part, members if is_newest else None))
        frames.append(pl.DataFrame(rows, schema=OUTCOMES))
    return pl.concat(frames)


def _committed(store: Store, provider: Provider, feed: Feed, seqs: Mapping[str, int]) -> Iterator[Manifest]:
    """Manifests by their slices' keys, some read at once."""
    remaining = iter(seqs.items())
    while batch := list(itertools.islice(remaining, _AT_ONCE)):
        yield from store.each(
            lambda pair: manifest.read_seq(store, provider.name, feed.dataset, pair[0], seq=pair[1]), batch
        )


def _slice_outcomes(
    committed: Manifest, provider: Provider, feed: Feed, part: Slice, members: Sequence[Instrument] | None
) -> Iterator[dict[str, Any]]:
    """The rows of one slice; `members` are those that a newest slice is expected to name."""
    about = {
        "provider": provider.name,
        "dataset": feed.dataset,
        "contract": feed.contract,
        "slice_start_date": part.start,
        "slice_end_date": part.end,
    }
    prefix = layout.bronze_slice(provider.name, feed.dataset, part.key)
    wanted = () if members is None else expected(feed, part, members)
    followed = None if members is None else {member.instrument_id for member in members}
    for entry in _one_per_answer(committed.entries, {request.name for request in wanted}):
        asked_for = entry.request.instrument_id
        if followed is not None and not entry.outcome.is_final and asked_for and asked_for not in followed:
            continue  # nobody waits any more for what a symbol lacks that is no longer followed
        newest = entry.payloads[-1] if entry.payloads else None
        yield {
            **about,
            "request": entry.request.chain,
            "instrument_id": entry.request.instrument_id,
            "symbol": entry.request.symbol,
            "outcome": entry.outcome.value,
            "reason": entry.reason,
            "fetched_at": newest.fetched_at if newest else entry.asked_at,
            "object_key": layout.bronze_payload(prefix, newest.object) if newest else None,
            "object_sha256": newest.sha256 if newest else None,
            "object_bytes": newest.bytes if newest else None,
            "manifest_seq": committed.seq,
        }
    named = {entry.request.name for entry in committed.entries}
    for request in wanted:
        if request.name not in named:
            yield {
                **about,
                "request": request.chain,
                "instrument_id": request.instrument_id,
                "symbol": request.symbol,
                "outcome": MISSING,
                "reason": "",
            }


def _one_per_answer(entries: Iterable[Entry], wanted: Collection[str]) -> list[Entry]:
    """One entry per instrument, and one per answer of several pages.

    An instrument that was renamed within the slice was asked for under both symbols: the answer with data counts, then
    the symbol that is in force, then the later answer. Of several pages the first one that did not come stands for all,
    else the last one; pages of a time when the answer was longer stand for nothing.
    """
    best: dict[str, tuple[tuple[bool, bool, bool, str], Entry]] = {}
    for entry in entries:
        if entry.reason == PAST_THE_END:
            continue
        rank = _instrument_rank(entry, wanted) if entry.request.page is None else _page_rank(entry, entry.request.page)
        key = entry.request.instrument_id or entry.request.chain
        if key not in best or rank > best[key][0]:
            best[key] = (rank, entry)
    return [entry for _, entry in best.values()]


def _instrument_rank(entry: Entry, wanted: Collection[str]) -> tuple[bool, bool, bool, str]:
    asked_at = max([payload.fetched_at for payload in entry.payloads], default=entry.asked_at)
    return (
        entry.outcome is Outcome.FETCHED,
        entry.outcome.is_final,
        entry.request.name in wanted,
        asked_at.isoformat() if asked_at else "",
    )


def _page_rank(entry: Entry, page: int) -> tuple[bool, bool, bool, str]:
    if not entry.outcome.is_final:
        return (True, False, False, f"{10**9 - page:09d}")
    return (False, entry.outcome is Outcome.FETCHED, False, f"{page:09d}")


def _known_outcomes(store: Store) -> pl.DataFrame:
    """The outcomes as they were written last; empty when there are none that can be used."""
    nothing = pl.DataFrame(schema=OUTCOMES)
    try:
        found = pl.read_parquet(io.BytesIO(store.get(layout.reference("outcomes"))))
    except (LakeError, pl.exceptions.PolarsError):
        return nothing
    return found if dict(found.schema) == OUTCOMES else nothing


def silver_slices(store: Store, feeds: Iterable[tuple[Provider, Feed]]) -> pl.DataFrame:
    """One row per slice of silver, each file as it was committed. Columns: `SLICES`. HashMismatch for a file that is
    not what was written."""
    rows = []
    for provider, feed in feeds:
        names = list(commit.names(store, feed.contract, provider.name, feed.dataset))
        for name, committed, sha256 in commit.verified(store, names):
            start = dt.date.fromisoformat(name.slice_key)
            about = (feed.contract, provider.name, feed.dataset, start)
            rows.append((*about, name.silver_key, sha256, committed.bytes))
    return pl.DataFrame(rows, schema=SLICES, orient="row")


def tables(
    store: Store,
    providers: Mapping[str, Provider],
    universe: Universe,
    *,
    now: dt.datetime,
    profile: str,
    runs: pl.DataFrame | None = None,
) -> dict[str, pl.DataFrame]:
    """Every reference table by name; the columns are described in `dbt/models/staging/sources.yml`. `runs` is what
    Dagster remembers (`history.runs`), None where a build has no Dagster."""
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
    market = {i.instrument_id: i.spelling(MARKET) for i in universe.instruments if MARKET in dict(i.spellings)}
    symbols = pl.DataFrame(
        [
            (
                s.instrument_id,
                s.symbol,
                market.get(s.instrument_id, s.symbol) if s.valid_to is None else s.symbol,
                s.valid_from,
                s.valid_to,
            )
            for s in universe.spellings
        ],
        schema={
            "instrument_id": pl.String,
            "symbol": pl.String,
            "market_symbol": pl.String,
            "valid_from": pl.Date,
            "valid_to": pl.Date,
        },
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
        "silver_slices": silver_slices(store, feeds),
        "pipeline_runs": pl.DataFrame(schema=history.RUNS) if runs is None else runs,
        "build": pl.DataFrame({"as_of": [now], "profile": [profile]}, schema={"as_of": _STAMP, "profile": pl.String}),
    }


def write(store: Store, frames: Mapping[str, pl.DataFrame]) -> None:
    """Put the reference tables into the lake; unchanged ones are not written."""
    for name, frame in frames.items():
        buffer = io.BytesIO()
        # In one piece: pages end where the pieces do, and equal rows should be equal bytes.
        frame.rechunk().write_parquet(buffer, compression="zstd", compression_level=3)
        store.replace(layout.reference(name), buffer.getvalue())
