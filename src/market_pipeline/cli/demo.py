"""The fictional market end to end: a year of sessions, three past weeks and the present one, as if the pipeline had run
each Saturday.

The past is fetched with the sandbox's clock and the profile's clock set back, so that versions, restatements and as-of
queries have something to show: what a provider has corrected since is found by the window of the last run. Sample
profiles only.
"""

from __future__ import annotations

import datetime as dt
import json
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from market_pipeline import calendar
from market_pipeline.cli import bill
from market_pipeline.cli.output import say
from market_pipeline.cli.prepare import DEMO_WEEKS
from market_pipeline.cli.runs import execute
from market_pipeline.cli.services import sandbox
from market_pipeline.orchestration import legs
from market_pipeline.orchestration.legs import Leg
from market_pipeline.orchestration.partitions import note_first_day
from market_pipeline.orchestration.resources import Asked
from market_pipeline.partition import Grain
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

# Sessions of the universe, of the whole market, and of the whole market around a split that one provider missed.
YEAR, MARKET, AROUND_A_SPLIT = 255, 5, 4
WEEKLY = ("alpha_vantage/weekly_adjusted", "alpha_vantage/overview")
DAILY, WHOLE_MARKET = ("fmp/eod_raw",), ("polygon/grouped_daily",)
ACTIONS = ("polygon/dividends", "polygon/splits")


@dataclass(frozen=True, slots=True)
class Part:
    """A range of targets of one grain, as a backfill would fetch it: inclusive days."""

    targets: tuple[str, ...]
    since: dt.date
    until: dt.date


def moments(now: dt.datetime) -> tuple[dt.datetime, ...]:
    """When the snapshots are taken: Saturday noon UTC of the past weeks, then now."""
    monday = dt.datetime.combine(Grain.WEEK.floor(now.date()), dt.time(12), dt.UTC)
    past = [monday - dt.timedelta(weeks=weeks) + dt.timedelta(days=5) for weeks in range(DEMO_WEEKS, 0, -1)]
    return (*past, now)


def history(saturday: dt.date, splits: Iterable[dt.date]) -> tuple[Part, ...]:
    """What is backfilled on the last past Saturday. `splits` are days on which a provider missed a split."""
    newest = calendar.session_before(saturday)
    year = calendar.session_before(newest, count=YEAR - 1)
    parts = [Part(DAILY, year, newest)]
    missed = [day for day in sorted(splits) if year < day < calendar.session_before(newest, count=MARKET)]
    if missed:
        first = calendar.session_before(missed[-1], count=AROUND_A_SPLIT - 1)
        parts.append(Part(WHOLE_MARKET, first, missed[-1]))
        parts.append(Part(ACTIONS, first, newest))
    parts.append(Part(WHOLE_MARKET, calendar.session_before(newest, count=MARKET - 1), newest))
    return tuple(parts)


def run_demo(settings: Settings) -> int:
    """Fill the demo's lake and publish; a second run in the same week finds everything there."""
    started = time.monotonic()
    before = _files(Pipeline(settings))
    with sandbox(settings) as state_url:
        clock_url, events_url = (state_url.replace("/state", f"/{name}") for name in ("clock", "events"))
        *past, now = moments(settings.now())
        try:
            for moment in past:
                _set_clock(clock_url, moment)
                pipeline = Pipeline(settings, now=lambda moment=moment: moment)  # type: ignore[misc]
                plan = list(legs.present(pipeline, _selection(pipeline, WEEKLY)))
                if moment == past[-1]:
                    plan += _backfills(pipeline, history(moment.date(), _missed_splits(events_url)))
                code = _do(pipeline, plan)
                if code != 0:
                    return code
            _set_clock(clock_url, now)
            pipeline = Pipeline(settings, now=lambda: now)
            code = _do(pipeline, legs.present(pipeline, (*_selection(pipeline, ("all",)), legs.GOLD)))
        finally:  # a sandbox that `make dev` serves must not stay in the past
            _set_clock(clock_url, None)
    if code != 0:
        return code
    new = {layer: len(files.items() - before[layer].items()) for layer, files in _files(Pipeline(settings)).items()}
    if not any(new.values()):
        say("Nothing was fetched, and nothing written to bronze and silver: all of it was there.")
    else:
        say(f"New files: {new['bronze']} in bronze, {new['silver']} in silver.")
    generation = Pipeline(settings).warehouse.current()
    if generation is not None:
        say(f"Published: generation {generation.generation} with {len(generation.tables)} tables.")
    say(f"It took {time.monotonic() - started:.0f} s. Look at it: make dev")
    say('Or ask: .venv/bin/market-pipeline query "select * from dim_source"')
    return 0


def _do(pipeline: Pipeline, plan: Sequence[Leg]) -> int:
    return execute(pipeline, "demo", plan, asked=Asked()) if plan else 0


def _selection(pipeline: Pipeline, targets: Iterable[str]) -> tuple[str, ...]:
    """Bronze and silver of some targets."""
    layers = ("bronze", "silver")
    return tuple(dict.fromkeys(key for target in targets for key in legs.select(pipeline, target, layers=layers)))


def _backfills(pipeline: Pipeline, parts: Iterable[Part]) -> list[Leg]:
    """The runs of what the parts lack."""
    found: list[Leg] = []
    for part in parts:
        selection = _selection(pipeline, part.targets)
        feeds = legs.feeds_of(pipeline, selection)
        note_first_day(pipeline.settings, feeds[0][1].grain.floor(part.since))
        items = bill.of_range(pipeline, feeds, since=part.since, until=part.until + dt.timedelta(days=1))
        found += legs.over(pipeline, selection, {(i.provider.name, i.feed.dataset): i.lacking for i in items})
    return found


def _missed_splits(url: str) -> tuple[dt.date, ...]:
    """Sessions on which a provider of the fictional market served prices from before a split."""
    with urllib.request.urlopen(f"{url}?kind=missed_split", timeout=30) as response:  # noqa: S310 - on loopback
        return tuple(dt.date.fromisoformat(event["date"]) for event in json.load(response))


def _files(pipeline: Pipeline) -> dict[str, Mapping[str, str]]:
    """Name and hash of every file, by layer."""
    return {layer: pipeline.store.digests(pipeline.store.list(f"{layer}/")) for layer in ("bronze", "silver")}


def _set_clock(url: str, moment: dt.datetime | None) -> None:
    body = json.dumps({"now": None if moment is None else moment.isoformat()}).encode()
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - the sandbox on loopback
        pass
