"""The dashboard's server: `streamlit run dashboards/app.py`. What a visit runs is `main.py`.

The first visitor finds what takes the longest already done: the code is loaded and the newest generation is open. What
does not belong here: anything that is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator

import streamlit as st

import warehouse
from market_pipeline.warehouse import MarketPipelineError

MODULES = ("bars", "cards", "controls", "market", "newest_run", "reconciliation", "zoom")
QUERIES = ("freshness", "bar_dates", "symbols")  # of which each page asks one or two


def warm_up() -> None:
    """Load what the pages import, open the generation in force and read it once."""
    for module in MODULES:
        importlib.import_module(module)
    with contextlib.suppress(MarketPipelineError):  # the pages say what is wrong, and how to mend it
        warehouse.warm_up(QUERIES)


@contextlib.asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    """Before the first visitor is served."""
    await asyncio.to_thread(warm_up)
    yield


app = st.App("main.py", lifespan=lifespan)
