"""Provider -> bronze: bytes as received, committed by numbered manifests that are written last.

A run writes a manifest when it ends and, so that a killed run costs few calls, every `CHECKPOINT_S` seconds on the way.
An endpoint is asked in one of three ways: once per request (`ingest`), page by page (`ingest`, for a feed that has
`follow`), or once per instrument for a range of slices (`ingest_span`). What does not belong here: what a manifest says
(`manifest`), how a body is asked for (`fetch`). Over 300 lines because the three ways share one protocol of committing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from market_pipeline import calendar, layout, manifest
from market_pipeline.errors import IncompleteSlice, PayloadChanged, QuotaExhausted
from market_pipeline.feed import Feed, Instrument, Outcome, Provider, Request, Verdict
from market_pipeline.fetch import Answer, Client
from market_pipeline.manifest import Entry, Payload
from market_pipeline.partition import Grain, Slice, slices
from market_pipeline.store import Store
from market_pipeline.universe import expected

CHECKPOINT_S = 2.0
# After so many requests in a row without any answer the rest is not asked: each costs minutes of retries. The same
# after so many that were answered by nothing but "busy" or "later": asking on only prolongs a storm.
BREAKER = 2
STORM = 5
PAGES_MAX = 10_000


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


@dataclass
class Brake:
    """Why the rest of a run is not asked, shared by all its slices: a spent budget, a refused key, a silent provider,
    or `max_calls` that somebody set."""

    max_calls: int | None = None
    stop: tuple[Outcome, str] | None = None
    resumes_at: dt.datetime | None = None
    is_key_refused: bool = False
    _unanswered: int = field(default=0, init=False)
    _put_off: int = field(default=0, init=False)
    _calls: int = field(default=0, init=False)

    def ask(self, client: Client, feed: Feed, request: Request) -> Answer | None:
        """The answer to a request, None when it is not asked; then `stop` says why."""
        left = None if self.max_calls is None else self.max_calls - self._calls
        if left is not None and left <= 0 and self.stop is None:
            self.stop = (Outcome.DEFERRED, "call_limit")
        if self.stop is not None:
            return None
        try:
            answer = client.fetch(feed, request, max_calls=left)
        except QuotaExhausted as error:
            self.resumes_at, self.stop = error.resets_at, (Outcome.DEFERRED, "call_budget_spent")
            return None
        verdict = answer.verdict
        self._calls += answer.calls
        self._unanswered = self._unanswered + 1 if verdict.reason.startswith("unreachable") else 0
        self._put_off = self._put_off + 1 if verdict.is_retryable else 0
        if verdict.is_key:
            self.is_key_refused, self.stop = True, (Outcome.REFUSED, "key_refused")
        elif verdict.outcome is Outcome.DEFERRED:
            self.resumes_at = answer.resumes_at or client.budget().resets_at
            self.stop = (
                Outcome.DEFERRED,
                "call_budget_spent" if verdict.exhausts_quota else "provider_asked_to_wait",
            )
        elif self._unanswered >= BREAKER or self._put_off >= STORM:
            self.stop = (Outcome.FAILED, "provider_unreachable")
        return answer


def ingest(
    provider: Provider,
    feed: Feed,
    part: Slice,
    instruments: Iterable[Instrument],
    *,
    store: Store,
    client: Client,
    now: Callable[[], dt.datetime],
    is_current: bool | None = None,
    closes_at: dt.datetime | None = None,
    refetch: bool = False,
    brake: Brake | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> IngestReport:
    """Ask for what the slice is missing and commit what came.

    `is_current` says that the slice is the one that a snapshot taken now belongs to; None means that it holds today
    (UTC). `closes_at` is the instant up to which the slice moves: what was taken before is asked for again after it.
    With `refetch` everything is asked again; the same bytes change nothing, other bytes become a further payload.
    Symbols that fail are in the report, not raised. A snapshot feed's past slice that was never taken raises
    IncompleteSlice, because today's answer is not last week's.
    """
    before = manifest.read(store, provider.name, feed.dataset, part.key)
    is_open = part.start <= now().date() < part.end if is_current is None else is_current
    if now().date() < part.start:
        raise IncompleteSlice(
            f"{provider.name}/{feed.dataset} {part.key} has not begun; come back on {part.start}", report=None
        )
    if feed.is_snapshot and not is_open and before is None:
        raise IncompleteSlice(
            f"{provider.name}/{feed.dataset} answers with its present state only, and no snapshot of {part.key} was "
            f"taken that {feed.grain}; ask for the current {feed.grain}",
            report=None,
        )
    brake = brake or Brake()
    run = _Run(provider, feed, part, store, before)
    requests = expected(feed, part, instruments)
    is_askable = is_open or not feed.is_snapshot
    if not is_askable:  # nothing can be asked any more: the slice stays as its manifest left it
        requests = tuple(request for request in requests if run.knows(request))
    run.expect(requests)
    checkpoint = _Checkpoint([run], now)

    def is_settled(request: Request) -> bool:
        return not is_askable or (not refetch and run.is_settled(request, closes_at, now()))

    def ask(request: Request) -> bytes | None:
        """Ask, commit now and then, and give the body of a final answer: a page without rows may have a next one."""
        answer = brake.ask(client, feed, request)
        if answer is None and brake.stop is not None:
            run.skip(request, *brake.stop)
            return None
        if answer is None:
            raise AssertionError("a request that is not asked has a reason")
        answer = _judged(feed, request, answer)
        run.record(request, answer, run.put(request, answer))
        checkpoint.tick()
        return answer.body if answer.verdict.outcome.is_final else None

    if feed.follow is None:
        todo = [request for request in requests if not is_settled(request)]
        for done, request in enumerate(todo):
            on_progress(done, len(todo))
            ask(request)
    else:
        todo = list(requests)
        for request in requests:
            if is_askable:
                _follow(run, feed, client, request, ask=ask, is_settled=is_settled, on_page=on_progress)
    on_progress(len(todo), len(todo))
    run.commit(now())
    if brake.resumes_at is None and is_askable and run.has_deferred():
        brake.resumes_at = client.budget().resets_at
    resumes_at = brake.resumes_at if run.has_deferred() else None
    return run.report(client.budget().left, resumes_at, is_key_refused=brake.is_key_refused)


def ingest_span(
    provider: Provider,
    feed: Feed,
    parts: Sequence[Slice],
    instruments: Iterable[Instrument],
    *,
    store: Store,
    client: Client,
    now: Callable[[], dt.datetime],
    refetch: Collection[Slice] = (),
    trailing: bool = False,
    brake: Brake | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[IngestReport, ...]:
    """Ask once per instrument for the range of slices that it lacks; every slice's manifest names the answer.

    `parts` are in order. Those in `refetch` are asked again; with `trailing` all of them are, for the instruments that
    lack the last one, and for those that were not listed any more if any does. The bytes are stored once, in the
    range's last slice.
    """
    brake = brake or Brake()
    members = tuple(instruments)
    runs = {
        part: _Run(provider, feed, part, store, manifest.read(store, provider.name, feed.dataset, part.key))
        for part in parts
    }
    lacking: dict[str, list[Slice]] = {}
    asked: dict[str, Instrument] = {}
    listed = {part: {request.name: request for request in expected(feed, part, members)} for part in parts}
    newest = listed[parts[-1]]
    is_open = {name: not runs[parts[-1]].is_settled(request, None, now()) for name, request in newest.items()}
    is_any_open = any(is_open.values())
    for part, run in runs.items():
        run.expect(listed[part].values())
        for name, request in listed[part].items():
            is_again = part in refetch or (trailing and is_open.get(name, is_any_open))
            if is_again or not run.is_settled(request, None, now()):
                lacking.setdefault(name, []).append(part)
                asked[name] = next(i for i in members if i.instrument_id == request.instrument_id)
    todo = [(asked[name], wanted) for name, found in sorted(lacking.items()) for wanted in ranges(feed, found)]
    # A checkpoint writes a manifest per slice, so the more slices, the rarer.
    checkpoint = _Checkpoint(list(runs.values()), now, seconds=CHECKPOINT_S * max(1.0, len(parts) / 10))
    for done, (instrument, wanted) in enumerate(todo):
        on_progress(done, len(todo))
        (request,) = feed.plan(Slice(wanted[0].start, wanted[-1].end), (instrument,))
        answer = brake.ask(client, feed, request)
        home = runs[wanted[-1]]
        key = None if answer is None else home.put(request, answer)
        for part in wanted:
            if answer is not None:
                runs[part].record(request, answer, key, is_home=part == wanted[-1])
            elif brake.stop is not None:
                runs[part].skip(request, *brake.stop)
        checkpoint.tick()
    on_progress(len(todo), len(todo))
    reports = []
    for run in runs.values():
        run.commit(now())
        resumes_at = (brake.resumes_at or client.budget().resets_at) if run.has_deferred() else None
        reports.append(run.report(client.budget().left, resumes_at, is_key_refused=brake.is_key_refused))
    return tuple(reports)


def ranges(feed: Feed, wanted: Iterable[Slice]) -> list[list[Slice]]:
    """Slices of a spanning feed, oldest first, as its requests cover them: from the first to the last of each are at
    most `span_slices` of the calendar. A hole of slices that nobody lacks is in the answer too, so it counts."""
    parts = sorted(wanted)
    if not parts:
        return []
    since, until = parts[0].start, parts[-1].end
    starts: Sequence[dt.date]
    if feed.grain is Grain.SESSION:
        starts = calendar.sessions(since, until)
    else:
        starts = [part.start for part in slices(since, until, grain=feed.grain)]
    found: list[list[Slice]] = []
    first = 0
    for part in parts:
        place = bisect_left(starts, part.start)
        if not found or place - first >= feed.span_slices:
            found.append([])
            first = place
        found[-1].append(part)
    return found


def _judged(feed: Feed, request: Request, answer: Answer) -> Answer:
    """A session on which no instrument of the whole market traded is one that the provider has not published yet."""
    if answer.verdict.outcome is Outcome.EMPTY and feed.grain is Grain.SESSION and request.instrument_id is None:
        return replace(answer, verdict=Verdict(Outcome.NOT_YET, answer.verdict.reason))
    return answer


def _follow(
    run: _Run,
    feed: Feed,
    client: Client,
    first: Request,
    *,
    ask: Callable[[Request], bytes | None],
    is_settled: Callable[[Request], bool],
    on_page: Callable[[int, int], None],
) -> None:
    """All pages of one answer. Stored pages are not asked again; when a page after a stored one is refused (a cursor
    lives for a while only), the answer is asked anew from its first page."""
    is_anew = False
    while True:
        is_stored, request, seen = False, first, set[tuple[str, tuple[tuple[str, str], ...]]]()
        while True:
            before_is_stored, is_stored = is_stored, not is_anew and is_settled(request)
            body = run.stored(request) if is_stored else ask(request)
            if body is None:
                break
            seen.add((request.path, request.params))
            on_page(request.page or 1, (request.page or 1) + 1)
            following = _next(run, feed, client, request, body, seen=seen)
            if following is None:
                return
            request = following
        if not before_is_stored or is_anew or not run.is_refused_page(request):
            return
        is_anew = True


def _next(
    run: _Run,
    feed: Feed,
    client: Client,
    request: Request,
    body: bytes,
    *,
    seen: Collection[tuple[str, tuple[tuple[str, str], ...]]],
) -> Request | None:
    """The request of the page after a body, None after the last one. A page that can't be asked for is an entry of its
    own, so that the slice shows what it lacks."""
    address = None if feed.follow is None else feed.follow(request, body)
    if address is None:
        run.end_chain(request)
        return None
    try:
        following, reason = client.page_after(request, address), ""
    except PayloadChanged:
        following, reason = request.next_page(request.path, ()), "foreign_next_page"
    if (following.path, following.params) in seen:
        reason = "repeated_next_page"
    elif (following.page or 0) > PAGES_MAX:
        reason = "too_many_pages"
    run.expect([following])
    if reason:
        run.skip(following, Outcome.FAILED, reason)
        return None
    return following


class _Checkpoint:
    """Commits runs every so many seconds of work."""

    def __init__(self, runs: Iterable[_Run], now: Callable[[], dt.datetime], *, seconds: float | None = None) -> None:
        self._runs, self._now = tuple(runs), now
        self._seconds = seconds
        self._committed_at = time.monotonic()

    def tick(self) -> None:
        """Commit when it is time."""
        if time.monotonic() - self._committed_at >= (CHECKPOINT_S if self._seconds is None else self._seconds):
            for run in self._runs:
                run.commit(self._now())
            self._committed_at = time.monotonic()


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
