"""A year of sessions in one run against a run for each session, on the sandbox.

One backfill fetches and publishes them all; then single sessions are fetched, each by a command of its own. Running all
of them so is not measured but extrapolated from a few, and the figure says so. The floor is the same command over
what is there already: starting, planning, finding nothing.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path

from market_pipeline import calendar
from measure import Figure, free_port, mib, middle, watched

TARGET = "fmp/eod_raw"
LAST = dt.date(2026, 11, 19)


def command(since: dt.date, until: dt.date) -> list[str]:
    """What a person would type."""
    return ["backfill", TARGET, "--since", f"{since}", "--until", f"{until}"]


def run(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """One run, single runs, and one that has nothing to do."""
    count, singles = (5, 1) if is_quick else (252, 3)
    environment = {
        **os.environ,
        "MARKET_PIPELINE_HOME": str(scratch),
        "MARKET_PIPELINE_PROFILE": "demo",
        "MARKET_PIPELINE_SANDBOX_PORT": f"{free_port()}",
        "MARKET_PIPELINE_CLOCK": "2026-11-21T12:00:00Z",
    }
    sessions = calendar.sessions(LAST - dt.timedelta(days=2 * count + 30), LAST + dt.timedelta(days=1))
    year, before = sessions[-count:], sessions[-count - singles : -count]

    def backfill(since: dt.date, until: dt.date, *more: str) -> tuple[float, int]:
        arguments = [*command(since, until), *more, *(("--help",) if is_quick else ())]
        cost = watched([sys.executable, "-m", "market_pipeline.cli", *arguments], environment)
        return cost.seconds, cost.peak_bytes

    backfill(year[0], year[-1], "--dry-run")  # a profile is prepared once, by whatever comes first
    first = backfill(year[0], year[-1])
    alone = [backfill(day, day) for day in before]
    again = backfill(year[0], year[-1])
    each = middle([seconds for seconds, _ in alone])
    how = f"{TARGET} on the sandbox, bronze to published gold"
    return [
        Figure("one run", round(first[0], 1), "s", f"{count} sessions; {how}"),
        Figure(
            f"{count} runs to one run",
            round(each * count / first[0], 1),
            "times",
            f"EXTRAPOLATED from {singles} single runs (median {each:.1f} s each), not run {count} times; {how}",
        ),
        Figure("one run to floor", round(first[0] / again[0], 2), "times", "over the same command with nothing to do"),
        Figure("memory of one run", mib(first[1]), "MiB", "the command and all its descendants"),
        Figure("memory of a single run", mib(middle([peak for _, peak in alone])), "MiB", "the same, one session"),
    ]  # fmt: skip
