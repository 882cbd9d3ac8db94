"""`market-pipeline demo` from nothing and again: the whole pipeline against a second run that has nothing to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from measure import Figure, free_port, mib, ratio, watched


def run(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """Both demos, in a home of their own."""
    command = [sys.executable, "-m", "market_pipeline.cli", "demo"]
    environment = {**os.environ, "MARKET_PIPELINE_HOME": str(scratch), "MARKET_PIPELINE_SANDBOX_PORT": f"{free_port()}"}
    if is_quick:
        return [Figure("time of --help", watched([*command, "--help"], environment).seconds, "s", "quick")]
    first, second = watched(command, environment), watched(command, environment)
    how = "a year of the fictional market, from three providers' formats to published gold; one run"
    return [
        Figure("first run", round(first.seconds, 1), "s", how),
        Figure("first run to a second one", ratio([first.seconds], [second.seconds]), "times", how),
        Figure("memory of the first run", mib(first.peak_bytes), "MiB", "the command and all its descendants"),
        Figure("memory of the second run", mib(second.peak_bytes), "MiB", "the command and all its descendants"),
    ]
