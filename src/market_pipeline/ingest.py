"""Provider -> bronze: bytes as received, committed by numbered manifests that are written last.

A run writes a manifest when it ends and, so that a killed run costs few calls, every `CHECKPOINT_S` seconds on the way.
An endpoint is asked in one of three ways: once per request (`ingest`), page by page (`ingest`, for a feed that has
`follow`), or once per instrument for a range of slices (`ingest_span`). What does not belong here: what a manifest says
(`manifest`), what a run knows of its slice (`slice_run`), when it stops asking (`brake`), how a body is asked for
(`fetch`).
"""

from __future__ import annotations

import datetime as dt
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from market_pipeline import calendar, manifest
from market_pipeline.brake import Brake
from market_pipeline.errors import IncompleteSlice, PayloadChanged
from market_pipeline.feed import Feed, Instrument, Outcome, Provider, Request, Verdict
from market_pipeline.fetch import Answer, Client
from market_pipeline.partition import Grain, Slice, slices
from market_pipeline.slice_run import IngestReport, SliceRun
from market_pipeline.store import Store
from market_pipeline.universe import expected

CHECKPOINT_S = 2.0
PAGES_MAX = 10_000


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
    run = SliceRun(provider, feed, part, store, before)
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
    range's last slice. A range may have a hole of slices that are not lacking: the answer has their rows too, and they
    stay in bronze alone, since no manifest of these slices names it.
    """
    brake = brake or Brake()
    members = tuple(instruments)
    runs = {
        part: SliceRun(provider, feed, part, store, manifest.read(store, provider.name, feed.dataset, part.key))
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
    run: SliceRun,
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
    run: SliceRun,
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

    def __init__(
        self, runs: Iterable[SliceRun], now: Callable[[], dt.datetime], *, seconds: float | None = None
    ) -> None:
        self._runs, self._now = tuple(runs), now
        self._seconds = seconds
        self._committed_at = time.monotonic()

    def tick(self) -> None:
        """Commit when it is time."""
        if time.monotonic() - self._committed_at >= (CHECKPOINT_S if self._seconds is None else self._seconds):
            for run in self._runs:
                run.commit(self._now())
            self._committed_at = time.monotonic()
