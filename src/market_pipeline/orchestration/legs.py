"""How a target becomes runs. All assets of one Dagster run share one range of slices, so a target is cut into legs:
feeds of one grain that are asked for the same slices, and gold once, after the last of them.

What does not belong here: how a leg is run (`runs`), which slices a backfill lacks (`cli.bill`).
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from market_pipeline import calendar
from market_pipeline.errors import ConfigurationError
from market_pipeline.feed import Feed, Provider
from market_pipeline.orchestration import bronze, silver
from market_pipeline.orchestration.resources import TAG
from market_pipeline.partition import Grain, Slice
from market_pipeline.pipeline import Pipeline

LAYERS = ("bronze", "silver", "gold")
GOLD = "gold"


@dataclass(frozen=True, slots=True)
class Leg:
    """One run: assets as `select` names them, and their slices, consecutive and oldest first; gold alone has none. With
    `trailing` the slices before the last one are there for corrections only."""

    selection: tuple[str, ...]
    slice_keys: tuple[str, ...] = ()
    trailing: bool = False

    def tags(self) -> dict[str, str]:
        """What tells Dagster, and the assets, which slices are meant."""
        trailing = {f"{TAG}trailing": "true"} if self.trailing else {}
        if len(self.slice_keys) < 2:
            return trailing
        return {
            "dagster/asset_partition_range_start": self.slice_keys[0],
            "dagster/asset_partition_range_end": self.slice_keys[-1],
            **trailing,
        }

    @property
    def slice_key(self) -> str | None:
        """The slice of a leg that has exactly one."""
        return self.slice_keys[0] if len(self.slice_keys) == 1 else None


def select(pipeline: Pipeline, target: str, *, layers: Collection[str] = LAYERS) -> tuple[str, ...]:
    """Asset keys (`bronze/<provider>/<dataset>`, ..., `gold`) behind a target, those downstream included.

    A target is `<provider>/<dataset>`, a provider, a layer, or `all`; `layers` narrows it, to replay for instance.
    With bronze among them only feeds that can be asked are meant: one that is named and can't is the error that says
    why. Unknown targets are a ConfigurationError that lists the known.
    """
    meant = [(p, f) for p, f in pipeline.feeds() if target in ("all", *LAYERS[:2], p.name, f"{p.name}/{f.dataset}")]
    is_asking = LAYERS[0] in layers and target != LAYERS[1]
    problems = [pipeline.why_inactive(p, f) if is_asking else None for p, f in meant]
    if meant and all(problems):
        raise next(problem for problem in problems if problem is not None)
    found: list[str] = []
    for (provider, feed), problem in zip(meant, problems, strict=True):
        if problem is None:
            if target != LAYERS[1]:
                found.append("/".join(bronze.key(provider, feed).path))
            found.append("/".join(silver.key(provider, feed).path))
    if found or target == GOLD:
        return tuple(key for key in (*found, GOLD) if key.split("/")[0] in layers)
    known = ["all", *LAYERS, *pipeline.providers, *(f"{p.name}/{f.dataset}" for p, f in pipeline.feeds())]
    raise ConfigurationError(f"There is no target {target}; known: {', '.join(known)}")


def feeds_of(pipeline: Pipeline, selection: Collection[str]) -> tuple[tuple[Provider, Feed], ...]:
    """The feeds whose bronze or silver is selected, in the pipeline's order."""
    names = {key.partition("/")[2] for key in selection}
    return tuple((p, f) for p, f in pipeline.feeds() if f"{p.name}/{f.dataset}" in names)


def present(pipeline: Pipeline, selection: Sequence[str], *, date: dt.date | None = None) -> tuple[Leg, ...]:
    """The legs of the slices that hold `date`, by default the newest that can be asked for. The newest session of a
    feed that is revised comes with the slices before it, in which corrections are looked for."""
    wanted: dict[tuple[Grain, tuple[str, ...]], list[str]] = {}
    is_asking = any(key.startswith("bronze/") for key in selection)
    for provider, feed in feeds_of(pipeline, selection):
        part = pipeline.current_slice(feed) if date is None else _holding(pipeline, feed, date)
        if not is_asking and part.key not in pipeline.bronze_slices(provider.name, feed.dataset):
            continue
        is_newest = part == pipeline.current_slice(feed)
        window = _window(pipeline, feed, part) if is_asking and is_newest else (part,)
        keys = tuple(found.key for found in window)
        wanted.setdefault((feed.grain, keys), []).extend(_assets(provider, feed, selection))
    return _with_gold(
        [Leg(tuple(assets), keys, trailing=len(keys) > 1) for (_, keys), assets in wanted.items()], selection
    )


def _window(pipeline: Pipeline, feed: Feed, part: Slice) -> tuple[Slice, ...]:
    """The slices that a run of the newest one asks for. In the first sessions of a month the month before is among
    them: what was announced on its last day would else never be heard of."""
    if feed.grain is not Grain.MONTH or not feed.is_revised:
        return pipeline.window(feed, part)
    newest = calendar.last_closed_session(pipeline.now())
    first = calendar.session_before(newest, count=pipeline.settings.trailing_sessions)
    return pipeline.slices(feed, min(first, part.start), part.end)


def _holding(pipeline: Pipeline, feed: Feed, date: dt.date) -> Slice:
    start = feed.grain.floor(date)
    return pipeline.slice(feed, start.isoformat())


def over(
    pipeline: Pipeline, selection: Sequence[str], lacking: Mapping[tuple[str, str], Sequence[str]]
) -> tuple[Leg, ...]:
    """The legs of a backfill. `lacking` are the slices each feed (provider, dataset) lacks. Feeds of one grain share a
    run from the oldest to the newest of them: what is there already costs no call."""
    wanted: dict[tuple[Grain, bool], list[tuple[Provider, Feed]]] = {}
    for provider, feed in feeds_of(pipeline, selection):
        if lacking.get((provider.name, feed.dataset)):
            wanted.setdefault((feed.grain, feed.is_snapshot), []).append((provider, feed))
    found = []
    for feeds in wanted.values():
        keys = sorted(key for p, f in feeds for key in lacking[p.name, f.dataset])
        first, last = dt.date.fromisoformat(keys[0]), dt.date.fromisoformat(keys[-1])
        parts = pipeline.slices(feeds[0][1], first, last + dt.timedelta(days=1))
        assets = tuple(asset for p, f in feeds for asset in _assets(p, f, selection))
        found.append(Leg(assets, tuple(part.key for part in parts)))
    return _with_gold(found, selection)


def stored(
    pipeline: Pipeline, selection: Sequence[str], *, since: dt.date | None = None, until: dt.date | None = None
) -> tuple[Leg, ...]:
    """The legs of a replay: what bronze has, in as few runs as there are unbroken ranges. A range with holes would mark
    slices as made that nobody has."""
    wanted: dict[tuple[Grain, tuple[str, ...]], list[str]] = {}
    for provider, feed in feeds_of(pipeline, selection):
        keys = [
            key
            for key in pipeline.bronze_slices(provider.name, feed.dataset)
            if (since is None or feed.grain.next(dt.date.fromisoformat(key)) > since)
            and (until is None or dt.date.fromisoformat(key) <= until)
        ]
        for run in _unbroken(pipeline, feed, keys):
            wanted.setdefault((feed.grain, run), []).extend(_assets(provider, feed, selection))
    return _with_gold([Leg(tuple(assets), keys) for (_, keys), assets in wanted.items()], selection)


def _unbroken(pipeline: Pipeline, feed: Feed, keys: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """Sorted keys cut where a slice is absent between two of them."""
    if not keys:
        return
    days = [dt.date.fromisoformat(key) for key in keys]
    all_keys = [part.key for part in pipeline.slices(feed, days[0], days[-1] + dt.timedelta(days=1))]
    present_keys = set(keys)
    for is_there, group in itertools.groupby(all_keys, key=present_keys.__contains__):
        if is_there:
            yield tuple(group)


def _assets(provider: Provider, feed: Feed, selection: Collection[str]) -> list[str]:
    keys = ("/".join(layer.key(provider, feed).path) for layer in (bronze, silver))
    return [key for key in keys if key in selection]


def _with_gold(found: list[Leg], selection: Collection[str]) -> tuple[Leg, ...]:
    """Gold goes with the only leg, or after all of them."""
    if GOLD not in selection:
        return tuple(found)
    if len(found) == 1:
        return (replace(found[0], selection=(*found[0].selection, GOLD)),)
    return (*found, Leg((GOLD,)))
