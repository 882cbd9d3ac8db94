"""What a profile needs before its first run: folders, empty files, Dagster's instance, dbt's manifest.

Where no profile has run yet, dbt reads its project in a process of its own, for ten seconds. Meanwhile this one imports
Dagster, which is why these imports stand in the functions.
"""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

from market_pipeline.partition import Grain
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings

# How many past weeks the demo takes.
DEMO_WEEKS = 3


def prepare(settings: Settings) -> None:
    """Folders or buckets, empty files, Dagster's instance, and dbt's manifest when the project has changed since."""
    if settings.s3 is not None:
        from market_pipeline.buckets import make_buckets  # noqa: PLC0415 - minio, which a folder does not need

        make_buckets(settings.s3)
    pipeline = Pipeline(settings)
    pipeline.initialize()
    with ThreadPoolExecutor(1) as beside:
        parsed = beside.submit(pipeline.dbt.parse)
        from market_pipeline.orchestration.partitions import note_first_day  # noqa: PLC0415
        from market_pipeline.orchestration.runs import create_instance  # noqa: PLC0415

        create_instance(settings)
        note_first_day(settings, _first_day(pipeline))
        parsed.result()


def _first_day(pipeline: Pipeline) -> dt.date:
    """Where the profile's history begins: with what bronze has, with the sessions that are asked for corrections, or
    with the demo's first snapshot."""
    feeds = pipeline.feeds()
    days = [dt.date.fromisoformat(key) for p, f in feeds for key in pipeline.bronze_slices(p.name, f.dataset)]
    days += [pipeline.window(feed, pipeline.current_slice(feed))[0].start for _, feed in feeds]
    today = pipeline.now().date()
    days.append(Grain.WEEK.floor(today - dt.timedelta(weeks=DEMO_WEEKS if pipeline.settings.is_demo else 0)))
    return min(days)
