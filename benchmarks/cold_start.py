"""Cold start of the command line and of the package, against an empty program and against importing its peers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from measure import Figure, in_turns, middle, ratio, timed

FLOOR = "python -c pass"
_CLI = "import sys; sys.argv[1:] = {arguments}; from market_pipeline.cli import main; main()"
CODE = {
    FLOOR: "pass",
    **{f"market-pipeline {word}": _CLI.format(arguments=[word]) for word in ("--version", "--help", "status")},
    "import market_pipeline": "import market_pipeline",
    "market_pipeline.tables()": "import market_pipeline as mp\ntry: mp.tables()\nexcept Exception: pass",
    "import polars": "import polars",
    "import pandas": "import pandas",
    "import dagster": "import dagster",
    "dbt --version": "from dbt.cli.main import dbtRunner; dbtRunner().invoke(['--version'])",
}
_TELL = "import atexit, sys; atexit.register(lambda: sys.stderr.write(open('/proc/self/status').read()))\n"


def run(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """Each command in turns with the others, in an empty demo profile."""
    names = list(CODE)[:3] if is_quick else list(CODE)
    rounds = 1 if is_quick else 7
    environment = {**os.environ, "MARKET_PIPELINE_HOME": str(scratch), "MARKET_PIPELINE_PROFILE": "demo"}
    peaks = {name: _peak_mib(CODE[name], environment) for name in names}  # the first start compiles modules
    turns = in_turns({name: partial(timed, partial(_start, CODE[name], environment)) for name in names}, rounds=rounds)
    how = f"over `{FLOOR}` ({middle(turns[FLOOR])} s, {peaks[FLOOR]} MiB); median of {rounds} rounds in turns"
    return [
        Figure(
            f"{name} to floor",
            ratio(turns[name], turns[FLOOR]),
            "times",
            f"{middle(turns[name], 2)} s and {peaks[name]} MiB; {how}",
        )
        for name in names[1:]
    ]


def _start(code: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(environment), capture_output=True, text=True, check=True
    )
    return done.stderr


def _peak_mib(code: str, environment: Mapping[str, str]) -> int:
    """What the program itself saw as its largest resident set."""
    found = re.search(r"VmHWM:\s+(\d+)", _start(_TELL + code, environment))
    return round(int(found[1]) / 1024) if found else 0
