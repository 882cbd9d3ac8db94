"""The fictional market end to end: three past weeks and the present one, as if the pipeline had run each Saturday.

Past snapshots are taken with the sandbox's clock and the profile's clock set back, so that versions, restatements and
as-of queries have something to show. Sample profiles only.
"""

from __future__ import annotations

import datetime as dt
import json
import time
import urllib.request

from market_pipeline.cli.output import say
from market_pipeline.cli.runs import execute
from market_pipeline.cli.services import DEMO_WEEKS, sandbox
from market_pipeline.orchestration import runs
from market_pipeline.partition import Grain
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings


def moments(now: dt.datetime) -> tuple[dt.datetime, ...]:
    """When the snapshots are taken: Saturday noon UTC of the past weeks, then now."""
    monday = dt.datetime.combine(Grain.WEEK.floor(now.date()), dt.time(12), dt.UTC)
    past = [monday - dt.timedelta(weeks=weeks) + dt.timedelta(days=5) for weeks in range(DEMO_WEEKS, 0, -1)]
    return (*past, now)


def run_demo(settings: Settings) -> int:
    """Fill the demo's lake and publish; a second run in the same week finds everything there."""
    started = time.monotonic()
    before = _files(settings)
    with sandbox(settings) as state_url:
        clock_url = state_url.replace("/state", "/clock")
        try:
            for moment in moments(settings.now()):
                _set_clock(clock_url, moment)
                pipeline = Pipeline(settings, now=lambda moment=moment: moment)  # type: ignore[misc]
                slice_key = Grain.WEEK.floor(moment.date()).isoformat()
                selection = runs.select(pipeline, "all", layers=("bronze", "silver"))
                code = execute(pipeline, "demo", selection=selection, slice_key=slice_key)
                if code != 0:
                    return code
        finally:  # a sandbox that `make dev` serves must not stay in the past
            _set_clock(clock_url, None)
        pipeline = Pipeline(settings)
        code = execute(pipeline, "demo", selection=("gold",), slice_key=None)
    if code != 0:
        return code
    new = {layer: len(files - before[layer]) for layer, files in _files(settings).items()}
    if not any(new.values()):
        say("Nothing was fetched, and nothing written to bronze and silver: all of it was there.")
    else:
        say(f"New files: {new['bronze']} in bronze, {new['silver']} in silver.")
    generation = pipeline.warehouse.current()
    if generation is not None:
        say(f"Published: generation {generation.generation} with {len(generation.tables)} tables.")
    say(f"It took {time.monotonic() - started:.0f} s. Look at it: make dev")
    say('Or ask: .venv/bin/market-pipeline query "select * from dim_source"')
    return 0


def _files(settings: Settings) -> dict[str, set[str]]:
    """Name, size and time of change of every file of a layer."""
    return {
        layer: {
            f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}"
            for path in (settings.lake / layer).rglob("*")
            if path.is_file()
        }
        for layer in ("bronze", "silver")
    }


def _set_clock(url: str, moment: dt.datetime | None) -> None:
    body = json.dumps({"now": None if moment is None else moment.isoformat()}).encode()
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - the sandbox on loopback
        pass
