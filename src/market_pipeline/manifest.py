"""The commit of a bronze slice: every planned request with its outcome, and for fetched ones each distinct payload.

Manifests are numbered and create-only; the newest one is the whole truth of its slice, so a reader needs no other.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from market_pipeline import layout
from market_pipeline.errors import LakeError
from market_pipeline.feed import Feed, Outcome, Request
from market_pipeline.partition import Slice
from market_pipeline.seal import sealed, unsealed
from market_pipeline.store import Store

# The reason of a page with data that its answer has no more: nothing is asked of it.
PAST_THE_END = "past_the_end"


@dataclass(frozen=True, slots=True)
class Payload:
    """One object of bronze; `fetched_at` is UTC. `object` is its name in the slice, or `slice=<key>/<name>` when it
    lies in another slice of the feed because one answer covers several: those from `since` to before `until`."""

    object: str
    sha256: str
    bytes: int
    fetched_at: dt.datetime
    redacted: bool = False
    since: dt.date | None = None
    until: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One planned request and what became of it; `payloads` are its distinct answers with data, oldest first, and
    `evidence` the last answer that was none."""

    request: Request
    outcome: Outcome
    reason: str = ""
    asked_at: dt.datetime | None = None
    payloads: tuple[Payload, ...] = ()
    evidence: Payload | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """State of one bronze slice; `seq` counts from 1."""

    key: str
    seq: int
    entries: tuple[Entry, ...]


def is_settled(entry: Entry, feed: Feed, *, closes_at: dt.datetime | None, now: dt.datetime) -> bool:
    """True when a rerun has nothing to ask: the outcome is final, and not from before the instant up to which the
    slice moves. `closes_at` is that instant: the close of the slice's last session or, for a feed that is revised, of
    the last session so far; None when it has none."""
    if not entry.outcome.is_final:
        return False
    if not (feed.moves_until_close or feed.is_revised) or closes_at is None or now < closes_at:
        return True
    asked_at = entry.payloads[-1].fetched_at if entry.payloads else entry.asked_at
    return asked_at is not None and asked_at >= closes_at


def read(store: Store, provider: str, dataset: str, slice_key: str) -> Manifest | None:
    """The newest manifest of a bronze slice, None when the slice was never fetched."""
    prefix = layout.bronze_slice(provider, dataset, slice_key)
    seqs = [seq for key in store.list(prefix) if (seq := layout.manifest_seq(key)) is not None]
    return read_seq(store, provider, dataset, slice_key, seq=max(seqs)) if seqs else None


def read_seq(store: Store, provider: str, dataset: str, slice_key: str, *, seq: int) -> Manifest:
    """The manifest of that number, which is there."""
    key = layout.manifest(layout.bronze_slice(provider, dataset, slice_key), seq)
    try:
        body = orjson.loads(unsealed(store.get(key)))
        entries = tuple(_entry(item) for item in body["requests"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise LakeError(
            f"{key} is no manifest, or not as it was written; restore it from a backup, or delete it to use the one "
            "before"
        ) from error
    return Manifest(key, seq, entries)


def write(
    store: Store,
    provider: str,
    feed: Feed,
    part: Slice,
    *,
    seq: int,
    entries: tuple[Entry, ...],
    written_at: dt.datetime,
) -> str:
    """Commit manifest number `seq` and return its key. CreateConflict when another run committed that number."""
    key = layout.manifest(layout.bronze_slice(provider, feed.dataset, part.key), seq)
    body = {
        "format": 1,
        "provider": provider,
        "dataset": feed.dataset,
        "slice": {"start": part.start, "end": part.end, "grain": feed.grain},
        "seq": seq,
        "written_at": written_at,
        "requests": [asdict(entry) for entry in entries],
    }
    store.create(key, sealed(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)))
    return key


def _entry(item: dict[str, Any]) -> Entry:
    request = item["request"]
    return Entry(
        request=Request(
            **{
                **request,
                "params": tuple((k, v) for k, v in request["params"]),
                "since": _day(request.get("since")),
                "until": _day(request.get("until")),
            }
        ),
        outcome=Outcome(item["outcome"]),
        reason=item["reason"],
        asked_at=_moment(item["asked_at"]),
        payloads=tuple(_payload(payload) for payload in item["payloads"]),
        evidence=None if item["evidence"] is None else _payload(item["evidence"]),
    )


def _payload(item: dict[str, Any]) -> Payload:
    fetched_at = dt.datetime.fromisoformat(item["fetched_at"])
    return Payload(
        item["object"],
        item["sha256"],
        item["bytes"],
        fetched_at,
        item["redacted"],
        _day(item.get("since")),
        _day(item.get("until")),
    )


def _moment(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)


def _day(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)
