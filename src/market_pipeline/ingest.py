"""Provider -> bronze: bytes as received, committed by numbered manifests that are written last.

A run writes a manifest when it ends and, so that a killed run costs few calls, every `CHECKPOINT_S` seconds on the way.
What does not belong here: what a manifest says (`manifest`), how a body is asked for (`fetch`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from market_pipeline import layout, manifest
from market_pipeline.errors import IncompleteSlice, QuotaExhausted
from market_pipeline.feed import Feed, Instrument, Outcome, Provider, Request
from market_pipeline.fetch import Answer, Client
from market_pipeline.manifest import Entry, Payload
from market_pipeline.partition import Slice
from market_pipeline.store import Store
from market_pipeline.universe import expected

CHECKPOINT_S = 2.0
# After so many requests in a row without any answer the rest of the slice is not asked: each costs minutes of retries.
BREAKER = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One request without data, for people."""

    symbol: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class IngestReport:
    """State of the slice after the run; `calls_used`, `objects_new`, `bytes_new` and `kept` are this run's alone.

    `kept` are requests that have data and were asked again without an answer: the old data stands."""

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


def ingest(
    provider: Provider,
    feed: Feed,
    part: Slice,
    instruments: Iterable[Instrument],
    *,
    store: Store,
    client: Client,
    now: Callable[[], dt.datetime],
    closes_at: dt.datetime | None = None,
    refetch: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> IngestReport:
    """Ask for what the slice is missing and commit what came.

    `closes_at` is when the slice's last session closes: a snapshot that moves until then, taken before, is asked for
    again after it. With `refetch` everything is asked again; the same bytes change nothing, other bytes become a
    further payload.
    Symbols that fail are in the report, not raised. A snapshot feed's past slice that was never taken raises
    IncompleteSlice, because today's answer is not last week's.
    """
    before = manifest.read(store, provider.name, feed.dataset, part.key)
    is_open = part.start <= now().date() < part.end
    if now().date() < part.start:
        raise IncompleteSlice(
            f"{provider.name}/{feed.dataset} {part.key} has not begun; come back on {part.start}", report=None
        )
    if feed.is_snapshot and not is_open and before is None:
        raise IncompleteSlice(
            f"{provider.name}/{feed.dataset} answers with its present state only, and no snapshot of {part.key} was "
            "taken that week; ask for the current week",
            report=None,
        )
    run = _Run(provider, feed, part, store, before)
    requests = expected(feed, part, instruments)
    is_askable = is_open or not feed.is_snapshot
    if not is_askable:  # nothing can be asked any more: the slice stays as its manifest left it
        requests = tuple(request for request in requests if run.knows(request))
    todo = [r for r in requests if is_askable and (refetch or not run.is_settled(r, closes_at, now()))]
    run.expect(requests)
    is_key_refused = False
    resumes_at: dt.datetime | None = None
    unanswered = 0
    stop: tuple[Outcome, str] | None = None  # why the rest of the slice is not asked
    committed_at = time.monotonic()
    for done, request in enumerate(todo):
        on_progress(done, len(todo))
        if stop is not None:
            run.skip(request, *stop)
            continue
        try:
            answer = client.fetch(feed, request)
        except QuotaExhausted as error:
            resumes_at, stop = error.resets_at, (Outcome.DEFERRED, "call_budget_spent")
            run.skip(request, *stop)
            continue
        run.record(request, answer)
        verdict = answer.verdict
        unanswered = unanswered + 1 if verdict.reason.startswith("unreachable") else 0
        if verdict.is_key:
            is_key_refused, stop = True, (Outcome.REFUSED, "key_refused")
        elif verdict.outcome is Outcome.DEFERRED:
            resumes_at = answer.resumes_at or client.budget().resets_at
            stop = (Outcome.DEFERRED, "call_budget_spent" if verdict.exhausts_quota else "provider_asked_to_wait")
        elif unanswered >= BREAKER:
            stop = (Outcome.FAILED, "provider_unreachable")
        if time.monotonic() - committed_at >= CHECKPOINT_S:
            run.commit(now())
            committed_at = time.monotonic()
    on_progress(len(todo), len(todo))
    run.commit(now())
    if resumes_at is None and is_askable and run.has_deferred():
        resumes_at = client.budget().resets_at
    return run.report(client.budget().left, resumes_at, is_key_refused=is_key_refused)


class _Run:
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
        self._planned: list[str] = []
        self._calls = self._objects = self._bytes = 0
        self._kept: list[Problem] = []

    def knows(self, request: Request) -> bool:
        return request.name in self._entries

    def is_settled(self, request: Request, closes_at: dt.datetime | None, now: dt.datetime) -> bool:
        entry = self._entries.get(request.name)
        return entry is not None and manifest.is_settled(entry, self._feed, closes_at=closes_at, now=now)

    def expect(self, requests: Iterable[Request]) -> None:
        """Every planned request has an entry before the first is asked: an interrupted run shows what it lacks."""
        self._planned = sorted(request.name for request in requests)
        for request in requests:
            self._entries.setdefault(request.name, Entry(request, Outcome.DEFERRED, "not_asked"))

    def skip(self, request: Request, outcome: Outcome, reason: str) -> None:
        entry = self._entries[request.name]
        if entry.outcome.is_final:
            self._keep(request, outcome, reason)
        else:
            self._entries[request.name] = replace(entry, outcome=outcome, reason=reason)

    def record(self, request: Request, answer: Answer) -> None:
        """Keep the bytes, then the outcome. An answer without data never replaces one that had some."""
        self._calls += answer.calls
        entry, verdict = self._entries[request.name], answer.verdict
        payload = None if answer.body is None else self._put(request, answer)
        asked_at = answer.fetched_at
        if verdict.outcome is Outcome.FETCHED and payload is not None:
            if entry.payloads and payload.fetched_at <= entry.payloads[-1].fetched_at:
                # A clock that stands still or was set back: the order of arrival is the order of knowing.
                after = entry.payloads[-1].fetched_at + dt.timedelta(microseconds=1)
                payload = replace(payload, fetched_at=after)
            is_same = bool(entry.payloads) and entry.payloads[-1].sha256 == payload.sha256
            payloads = entry.payloads if is_same else (*entry.payloads, payload)
            asked_at = entry.asked_at if is_same and entry.asked_at else asked_at
            self._entries[request.name] = Entry(request, Outcome.FETCHED, "", asked_at, payloads, None)
        elif entry.outcome.is_final:
            if not verdict.outcome.is_final:
                self._keep(request, verdict.outcome, verdict.reason)
        else:
            self._entries[request.name] = replace(
                entry, outcome=verdict.outcome, reason=verdict.reason, asked_at=asked_at, evidence=payload
            )

    def _keep(self, request: Request, outcome: Outcome, reason: str) -> None:
        self._kept.append(Problem(request.symbol or request.name, outcome.value, reason))

    def _put(self, request: Request, answer: Answer) -> Payload:
        body = answer.body or b""
        sha256 = hashlib.sha256(body).hexdigest()
        extension = request.extension if answer.verdict.outcome is Outcome.FETCHED else _extension(body)
        key = layout.bronze_object(self._prefix, request.name, sha256, extension)
        if self._store.create(key, body):
            self._objects += 1
            self._bytes += len(body)
        name = key.removeprefix(self._prefix)
        return Payload(name, sha256, len(body), answer.fetched_at, answer.is_redacted)

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

    def report(self, calls_left: int | None, resumes_at: dt.datetime | None, *, is_key_refused: bool) -> IngestReport:
        entries = [self._entries[name] for name in self._planned]
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
