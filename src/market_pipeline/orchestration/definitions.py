"""Everything Dagster sees, built from the feeds and dbt's manifest. Loading it opens no socket and runs no dbt."""

from __future__ import annotations

import os
import warnings

import dagster as dg

from market_pipeline import logs, providers
from market_pipeline.orchestration import alerts, bronze, gold, pruning, schedules, silver
from market_pipeline.orchestration.event_log import BATCH_SIZE, BATCH_SIZE_VARIABLE
from market_pipeline.orchestration.resources import SESSION, Session, session_resource
from market_pipeline.settings import Settings, load_settings


def build(settings: Settings, *, prepared: Session | None = None) -> dg.Definitions:
    """The definitions of one profile. `prepared` is the session of a run that the command line starts."""
    found = providers.load()
    feeds = tuple((provider, feed) for provider in found.values() for feed in provider.feeds)
    has_key = any(settings.key(p) is not None or p.auth.place == "none" for p in found.values())
    is_on = settings.is_automated(has_key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill_policy is beta in the pinned version, and meant
        bronze_assets = [bronze.asset(provider, feed, settings) for provider, feed in feeds]
        silver_assets = [silver.asset(provider, feed, settings) for provider, feed in feeds]
    gold_assets = gold.assets(feeds, settings)
    followers = [*(silver.key(provider, feed) for provider, feed in feeds), *gold_assets.keys]
    jobs = schedules.jobs(feeds)
    return dg.Definitions(
        assets=[*bronze_assets, *silver_assets, gold_assets],
        jobs=jobs,
        schedules=list(schedules.schedules(feeds, settings, is_on=is_on)),
        sensors=[
            *schedules.sensors(settings, made=jobs, followers=followers, is_on=is_on),
            alerts.sensor(settings),
            alerts.watcher(settings),
            pruning.sensor(settings),
        ],
        resources={SESSION: session_resource(settings, prepared)},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Entry point of every Dagster process: `-m market_pipeline.orchestration.definitions`."""
    logs.set_up()
    os.environ.setdefault(BATCH_SIZE_VARIABLE, BATCH_SIZE)
    return build(load_settings())
