"""What a run costs before its first call: slices, calls, minutes at the plan's pace, days at its daily budget.

What does not belong here: how slices become runs (`orchestration.legs`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from market_pipeline import commit, manifest
from market_pipeline.cli.output import out, say
from market_pipeline.feed import Feed, Instrument, Provider, Request
from market_pipeline.ingest import ranges
from market_pipeline.manifest import PAST_THE_END
from market_pipeline.partition import Grain, Slice
from market_pipeline.pipeline import Pipeline
from market_pipeline.universe import expected

_UNIT = {Grain.SESSION: "sessions", Grain.DAY: "days", Grain.WEEK: "weeks", Grain.MONTH: "months"}


@dataclass(frozen=True, slots=True)
class Item:
    """One feed's share: `lacking` are the slices that bronze or silver lack, `stored` those that both have, `lost` past
    snapshots that nobody took. With `is_least` the calls are at least so many: nobody knows the pages before."""

    provider: Provider
    feed: Feed
    lacking: tuple[str, ...]
    stored: tuple[str, ...]
    lost: tuple[str, ...]
    calls: int
    is_least: bool

    @property
    def name(self) -> str:
        """The feed as targets name it."""
        return f"{self.provider.name}/{self.feed.dataset}"


def of_range(
    pipeline: Pipeline,
    feeds: Iterable[tuple[Provider, Feed]],
    *,
    since: dt.date,
    until: dt.date,
    symbols: Collection[str] = (),
    refetch: bool = False,
) -> tuple[Item, ...]:
    """The bill of a backfill over the half-open range, as far as sessions have closed and periods have begun."""
    return tuple(
        _item(
            pipeline,
            provider,
            feed,
            [part for part in pipeline.slices(feed, since, until) if part <= pipeline.current_slice(feed)],
            symbols=symbols,
            is_again=refetch,
        )
        for provider, feed in feeds
    )


def of_slices(
    pipeline: Pipeline, wanted: Iterable[tuple[Provider, Feed, Sequence[str]]], *, refetch: bool
) -> tuple[Item, ...]:
    """The bill of a run of these slices; older ones are asked again for corrections where the newest one is new."""
    found = []
    for provider, feed, keys in wanted:
        parts = [Slice.from_key(key, grain=feed.grain) for key in keys]
        lacking = _unsettled(
            pipeline, provider, feed, parts[-1], pipeline.universe, is_again=refetch, now=pipeline.now()
        )
        again = {request.name for request in lacking} if feed.spans else set[str]()
        is_again = refetch or (not feed.spans and bool(lacking))
        found.append(_item(pipeline, provider, feed, parts, symbols=(), is_again=is_again, again=again))
    return tuple(found)


def _item(
    pipeline: Pipeline,
    provider: Provider,
    feed: Feed,
    parts: Sequence[Slice],
    *,
    symbols: Collection[str],
    is_again: bool,
    again: Collection[str] = (),
) -> Item:
    members = [i for i in pipeline.universe if not symbols or i.symbol in symbols]
    current, now = pipeline.current_slice(feed), pipeline.now()
    present = set(pipeline.bronze_slices(provider.name, feed.dataset))
    lacking: list[str] = []
    stored: list[str] = []
    lost: list[str] = []
    asked: dict[Slice, list[Request]] = {}
    for part in parts:
        if feed.is_snapshot and part != current:
            (stored if part.key in present else lost).append(part.key)
            continue
        requests = _unsettled(pipeline, provider, feed, part, members, is_again=is_again, again=again, now=now)
        name = commit.Name(feed.contract, provider.name, feed.dataset, part.key)
        is_there = not requests and commit.is_complete(pipeline.store, name)
        (stored if is_there else lacking).append(part.key)
        if requests:
            asked[part] = requests
    calls, is_least = _calls(pipeline, provider, feed, asked, present)
    return Item(provider, feed, tuple(lacking), tuple(stored), tuple(lost), calls, is_least)


def _unsettled(
    pipeline: Pipeline,
    provider: Provider,
    feed: Feed,
    part: Slice,
    members: Sequence[Instrument],
    *,
    is_again: bool,
    now: dt.datetime,
    again: Collection[str] = (),
) -> list[Request]:
    """The first requests of what a slice lacks, and of the names in `again`: a page after the first comes with its
    chain."""
    requests = expected(feed, part, members)
    committed = manifest.read(pipeline.store, provider.name, feed.dataset, part.key)
    if committed is None or is_again:
        return list(requests)
    closes_at = None if feed.spans else pipeline.closes_at(feed, part)
    open_chains = {
        entry.request.chain
        for entry in committed.entries
        if entry.reason != PAST_THE_END and not manifest.is_settled(entry, feed, closes_at=closes_at, now=now)
    }
    known = {entry.request.chain for entry in committed.entries}
    return [r for r in requests if r.chain not in known or r.chain in open_chains or r.name in again]


def _calls(
    pipeline: Pipeline, provider: Provider, feed: Feed, asked: Mapping[Slice, Sequence[Request]], present: set[str]
) -> tuple[int, bool]:
    """Calls for these requests, and whether there may be more: pages count as they did in the newest stored slice."""
    if feed.spans:
        slices_of: dict[str, list[Slice]] = {}
        for part, requests in asked.items():
            for request in requests:
                slices_of.setdefault(request.name, []).append(part)
        return sum(len(ranges(feed, parts)) for parts in slices_of.values()), False
    if feed.follow is None or not asked:
        return sum(len(requests) for requests in asked.values()), False
    newest = manifest.read(pipeline.store, provider.name, feed.dataset, max(present)) if present else None
    pages: dict[str, int] = {}
    for entry in newest.entries if newest else ():
        pages[entry.request.chain] = pages.get(entry.request.chain, 0) + (entry.reason != PAST_THE_END)
    return sum(pages.get(request.chain, 1) for requests in asked.values() for request in requests), True


def show(pipeline: Pipeline, items: Sequence[Item], *, runs: int, max_calls: int | None = None) -> None:
    """The plan of a backfill, on stdout."""
    for item in items:
        out.print(f"Plan   {item.name} -> silver/{item.feed.contract} -> gold", markup=False)
        keys = sorted((*item.lacking, *item.stored, *item.lost))
        span = f"{keys[0]} ... {keys[-1]}" if keys else "none in this range"
        exchange = ", XNYS" if item.feed.grain is Grain.SESSION else ""
        skipped = f"; {len(item.stored)} already stored, skipped" if item.stored else ""
        lost = f"; {len(item.lost)} not to be had any more" if item.lost else ""
        _line(_UNIT[item.feed.grain], f"{len(keys):,}", f"({span}{exchange}{skipped}{lost})")
        least = "or more: an answer may have further pages; " if item.is_least else ""
        _line("calls", f"{item.calls:,}", least + _pace(pipeline, item.provider, item.calls) if item.calls else "")
    if max_calls is not None:
        total = sum(item.calls for item in items)
        _line("limit", f"{max_calls:,}", f"calls this time; {max(0, total - max_calls):,} wait for the same command")
    what = "bronze, silver and gold in one" if runs == 1 else "bronze and silver, then gold once"
    _line("runs", str(runs), what if any(item.lacking for item in items) else "gold alone, if anything has changed")
    if any(item.lost for item in items):
        say("A snapshot of the past that was never taken can't be fetched: the API answers with its present state.")


def _line(what: str, number: str, more: str) -> None:
    out.print(f"  {what:<10}{number:>7}   {more}".rstrip(), markup=False)


def _pace(pipeline: Pipeline, provider: Provider, calls: int) -> str:
    """How long so many calls take."""
    plan, pace = pipeline.settings.pace(provider)
    left = pipeline.budget(provider).left
    rate = f"at {60 / pace.interval_s:,.0f} a minute: " if pace.interval_s else ""
    text = f"{rate}about {_duration(calls * pace.interval_s)}; "
    if left is None:
        return f"{text}no daily cap on the plan {plan}"
    text += f"{left} of {pace.calls_per_day} left today on the plan {plan}"
    if calls <= left:
        return text
    days = 1 + -(-(calls - left) // (pace.calls_per_day or 1))
    return f"{text}; {calls - left} wait, in all {days} days"


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def tell(pipeline: Pipeline, items: Sequence[Item]) -> None:
    """What a run costs, one line per provider, on stderr."""
    for provider in dict.fromkeys(item.provider.name for item in items):
        mine = [item for item in items if item.provider.name == provider]
        calls = sum(item.calls for item in mine)
        least = " or more" if any(item.is_least and item.calls for item in mine) else ""
        pace = f"; {_pace(pipeline, mine[0].provider, calls)}" if calls else ""
        say(f"{provider}: {calls} calls{least}{pace}")
