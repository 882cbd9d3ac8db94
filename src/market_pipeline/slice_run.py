"""What one ingest knows of its slice: what is asked, what came, what stands from before, and the next manifest.

What does not belong here: the order of asking (`ingest`), how a manifest is read and written (`manifest`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from market_pipeline import layout, manifest
from market_pipeline.feed import Feed, Outcome, Provider, Request
from market_pipeline.fetch import Answer
from market_pipeline.manifest import Entry, Payload
from market_pipeline.partition import Slice
from market_pipeline.store import Store


@dataclass(frozen=True, slots=True)
class Problem:
    """One request without data, for people."""

    symbol: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class IngestReport:
    """State of the slice after the run; `calls_used`, `objects_new`, `bytes_new` and `kept` are this run's alone.

    `kept` are requests that have data and were asked again without an answer: the old data stands. An answer that
    covers several slices is counted in the one that holds its object."""

    provider: str
    dataset: str
    slice_key: str
    planned: int
    fetched: int
    empty: int
    not_yet: int
    refused: int
    failed: int
    deferred: int
    calls_used: int
    calls_left: int | None
    objects_new: int
    bytes_new: int
    manifest_key: str | None
    resumes_at: dt.datetime | None
    problems: tuple[Problem, ...]
    newest_fetched_at: dt.datetime | None
    is_key_refused: bool = False
    kept: tuple[Problem, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Every planned request has data, or is known to have none."""
        return self.fetched + self.empty == self.planned

    @property
    def is_blocking(self) -> bool:
        """Something failed that waiting for the call budget does not mend."""
        return self.refused + self.failed + self.not_yet > 0


class SliceRun:
    """What one ingest knows of its slice; `commit` writes the next manifest if anything differs from the last."""

    def __init__(
        self, provider: Provider, feed: Feed, part: Slice, store: Store, before: manifest.Manifest | None
    ) -> None:
        self._provider, self._feed, self._part, self._store = provider, feed, part, store
        self._prefix = layout.bronze_slice(provider.name, feed.dataset, part.key)
        self._seq = 0 if before is None else before.seq
        self._key = None if before is None else before.key
        self._entries = {} if before is None else {entry.request.name: entry for entry in before.entries}
        self._committed = None if before is None else before.entries
        self._planned: set[str] = set()
        self._calls = self._objects = self._bytes = 0
        self._kept: list[Problem] = []

    def knows(self, request: Request) -> bool:
        return request.name in self._entries

    def is_settled(self, request: Request, closes_at: dt.datetime | None, now: dt.datetime) -> bool:
        entry = self._entries.get(request.name)
        if entry is not None and self._feed.query_setting is not None and entry.request.params != request.params:
            return False  # a database was asked another query
        return entry is not None and manifest.is_settled(entry, self._feed, closes_at=closes_at, now=now)

    def is_refused_page(self, request: Request) -> bool:
        """True when a page got an answer, and one that asking again would not mend."""
        entry = self._entries[request.name]
        return (
            entry.outcome in (Outcome.FAILED, Outcome.REFUSED) and entry.reason.startswith("http_4")
        ) or entry.reason.startswith("cursor")

    def stored(self, request: Request) -> bytes | None:
        """The newest stored answer to a request that is settled: its data, or the body that told of none."""
        entry = self._entries[request.name]
        payload = entry.payloads[-1] if entry.payloads else entry.evidence
        if payload is None:
            return None
        return self._store.get(layout.bronze_payload(self._prefix, payload.object), sha256=payload.sha256)

    def expect(self, requests: Iterable[Request]) -> None:
        """Every planned request has an entry before the first is asked: an interrupted run shows what it lacks. Pages
        that an earlier run found are planned too."""
        for request in requests:
            self._planned.add(request.name)
            entry = self._entries.setdefault(request.name, Entry(request, Outcome.DEFERRED, "not_asked"))
            if entry.reason == manifest.PAST_THE_END:  # the answer has grown again
                self._entries[request.name] = replace(entry, reason="")
            if request.page == 1:
                self._planned.update(n for n, e in self._entries.items() if e.request.chain == request.chain)

    def end_chain(self, last: Request) -> None:
        """Of the pages after the last one, which an earlier and longer answer had, those with data stay, and there is
        nothing to ask of them; the others are no part of the answer any more."""
        for name, entry in list(self._entries.items()):
            if entry.request.chain != last.chain or (entry.request.page or 1) <= (last.page or 1):
                continue
            if entry.outcome.is_final:
                self._entries[name] = replace(entry, reason=manifest.PAST_THE_END)
            else:
                del self._entries[name]
                self._planned.discard(name)

    def skip(self, request: Request, outcome: Outcome, reason: str) -> None:
        entry = self._entries[request.name]
        if entry.outcome.is_final:
            self._keep(request, outcome, reason)
        else:
            self._entries[request.name] = replace(entry, outcome=outcome, reason=reason)

    def put(self, request: Request, answer: Answer) -> str | None:
        """Keep the bytes of an answer and return their key, None when there are none."""
        if answer.body is None:
            return None
        sha256 = hashlib.sha256(answer.body).hexdigest()
        extension = request.extension if answer.verdict.outcome is Outcome.FETCHED else _extension(answer.body)
        key = layout.bronze_object(self._prefix, request.name, sha256, extension)
        if self._store.create(key, answer.body):
            self._objects += 1
            self._bytes += len(answer.body)
        return key

    def record(self, request: Request, answer: Answer, key: str | None, *, is_home: bool = True) -> None:
        """Note the outcome, with the stored bytes. An answer without data never replaces one that had some."""
        self._calls += answer.calls if is_home else 0
        entry, verdict = self._entries[request.name], answer.verdict
        payload = None if key is None else self._payload(request, answer, key)
        asked_at = answer.fetched_at
        if verdict.outcome is Outcome.FETCHED and payload is not None:
            if entry.payloads and payload.fetched_at <= entry.payloads[-1].fetched_at:
                # A clock that stands still or was set back: the order of arrival is the order of knowing.
                after = entry.payloads[-1].fetched_at + dt.timedelta(microseconds=1)
                payload = replace(payload, fetched_at=after)
            is_same = bool(entry.payloads) and entry.payloads[-1].sha256 == payload.sha256
            payloads = entry.payloads if is_same else (*entry.payloads, payload)
            asked_at = entry.asked_at if is_same and entry.asked_at else asked_at
            request = entry.request if is_same else request
            self._entries[request.name] = Entry(request, Outcome.FETCHED, "", asked_at, payloads, None)
        elif entry.outcome.is_final:
            if not verdict.outcome.is_final:
                self._keep(request, verdict.outcome, verdict.reason)
        else:
            self._entries[request.name] = replace(
                entry,
                request=request,
                outcome=verdict.outcome,
                reason=verdict.reason,
                asked_at=asked_at,
                evidence=payload,
            )

    def _keep(self, request: Request, outcome: Outcome, reason: str) -> None:
        self._kept.append(Problem(request.symbol or request.name, outcome.value, reason))

    def _payload(self, request: Request, answer: Answer, key: str) -> Payload:
        body = answer.body or b""
        name = layout.payload_name(self._prefix, key)
        sha256 = hashlib.sha256(body).hexdigest()
        return Payload(
            name, sha256, len(body), answer.fetched_at, answer.is_redacted, since=request.since, until=request.until
        )

    def commit(self, now: dt.datetime) -> None:
        entries = tuple(self._entries[name] for name in sorted(self._entries))
        if not entries or entries == self._committed:
            return
        self._seq += 1
        self._key = manifest.write(
            self._store, self._provider.name, self._feed, self._part, seq=self._seq, entries=entries, written_at=now
        )
        self._committed = entries

    def has_deferred(self) -> bool:
        return any(self._entries[name].outcome is Outcome.DEFERRED for name in self._planned)

    def _planned_entries(self) -> Iterator[Entry]:
        yield from (self._entries[name] for name in sorted(self._planned))

    def report(self, calls_left: int | None, resumes_at: dt.datetime | None, *, is_key_refused: bool) -> IngestReport:
        entries = list(self._planned_entries())
        count = Counter(entry.outcome for entry in entries)
        times = [payload.fetched_at for entry in entries for payload in entry.payloads]
        return IngestReport(
            provider=self._provider.name,
            dataset=self._feed.dataset,
            slice_key=self._part.key,
            planned=len(entries),
            **{outcome.value: count[outcome] for outcome in Outcome},
            calls_used=self._calls,
            calls_left=calls_left,
            objects_new=self._objects,
            bytes_new=self._bytes,
            manifest_key=self._key,
            resumes_at=resumes_at,
            problems=tuple(
                Problem(entry.request.symbol or entry.request.name, entry.outcome.value, entry.reason)
                for entry in entries
                if not entry.outcome.is_final
            ),
            newest_fetched_at=max(times, default=None),
            is_key_refused=is_key_refused,
            kept=tuple(self._kept),
        )


def _extension(body: bytes) -> str:
    head = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return {b"{": "json", b"[": "json", b"<": "html"}.get(head, "txt")
