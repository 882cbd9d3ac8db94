"""A year of the whole market, from the sandbox to gold, in one command: calls, rows, time per layer, memory.

The sandbox is started beforehand and is not part of the memory. One session in the middle is fetched on its day; then
comes the year, the same command again, one session more, and the one in the middle again, of which the provider has
corrected three closes meanwhile. At the end gold is built from nothing beside it, and the price fact of both must be
the same rows. Memory is the largest sum of resident set sizes over a command and all its
descendants, sampled ten times a second from /proc (Linux), so shared pages count once per process.

    .venv/bin/python benchmarks/market_year.py [--sessions 252] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq
from demo import resident_bytes
from gold_incremental import same_prices

from market_pipeline import calendar, gold, reference
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings
from market_pipeline.warehouse import Warehouse

PORT = 18766
LAST = dt.date(2026, 11, 19)
TARGET = "polygon/grouped_daily"


def main() -> None:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=252)
    parser.add_argument("--keep", type=Path, help="a folder for the lake, left as it is at the end")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = given.keep or Path(scratch)
        environment = {
            **os.environ,
            "MARKET_PIPELINE_HOME": str(home),
            "MARKET_PIPELINE_PROFILE": "demo",
            "MARKET_PIPELINE_SANDBOX_PORT": str(PORT),
            "MARKET_PIPELINE_CLOCK": "2026-11-21T12:00:00Z",
            "MARKET_PIPELINE_NO_PROGRESS": "1",
        }
        sessions = calendar.sessions(LAST - dt.timedelta(days=2 * given.sessions + 10), LAST + dt.timedelta(days=1))
        since, until = sessions[-given.sessions], sessions[-1]
        more = calendar.session_after(until)
        middle = sessions[-given.sessions // 2]
        on_the_day = f"{middle}T23:30:00Z"
        with _sandbox({**environment, "MARKET_PIPELINE_CLOCK": on_the_day}):
            lake = home / "demo" / "lake"
            early = {**environment, "MARKET_PIPELINE_CLOCK": on_the_day}
            _step("one session, on its day", lake, early, "backfill", TARGET, *_range(middle, middle))
            _set_clock(environment["MARKET_PIPELINE_CLOCK"])
            _step(f"{given.sessions} sessions", lake, environment, "backfill", TARGET, *_range(since, until))
            _step("again", lake, environment, "backfill", TARGET, *_range(since, until))
            _step("one session more", lake, environment, "backfill", TARGET, *_range(since, more))
            _step("one asked again", lake, environment, "backfill", TARGET, *_range(middle, middle), "--refetch")
        rows, corrected = _same_rows(environment, middle)
        print(
            f"{rows:,} rows in the price fact, equal to a build from nothing; {corrected} closes restated on {middle}"
        )


def _same_rows(environment: Mapping[str, str], session: dt.date) -> tuple[int, int]:
    """Rows of the price fact, and restated closes of a session; ends with an error if a full build has other rows."""
    pipeline = Pipeline(load_settings(environment))
    frames = reference.tables(
        pipeline.store, pipeline.providers, pipeline.known, now=pipeline.now(), profile=pipeline.settings.profile
    )
    anew = Warehouse(pipeline.settings.root / "anew")
    gold.build(
        pipeline.dbt,
        pipeline.store,
        anew,
        outcomes=frames["outcomes"],
        silver_prefixes=("quarantine/", "reference/"),
        profile="benchmark",
        now=pipeline.now(),
        keep=1,
        is_full_refresh=True,
    )
    published = [(w.folder, w.verify().file) for w in (pipeline.warehouse, anew)]
    sql = "select count(*) as n from mart_restatement where session_date = $1 and measure = 'close'"
    restated, _ = pipeline.warehouse.query(sql, [session])
    return same_prices(*(folder / file for folder, file in published)), restated.to_pylist()[0]["n"]


def _range(since: dt.date, until: dt.date) -> tuple[str, ...]:
    return ("--since", since.isoformat(), "--until", until.isoformat())


@contextlib.contextmanager
def _sandbox(environment: Mapping[str, str]) -> Iterator[None]:
    """The fictional market in a process of its own, on a fixed clock."""
    seeds = Path(__file__).resolve().parents[1] / "dbt" / "seeds"
    command = [sys.executable, "-m", "market_pipeline.sandbox", "--universe", str(seeds), "--port", str(PORT)]
    command += ["--plan", "unlimited", "--clock", environment["MARKET_PIPELINE_CLOCK"]]
    with subprocess.Popen(command, env=dict(environment), stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{PORT}/_sandbox/state", timeout=1).close()
                    break
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def _set_clock(instant: str) -> None:
    """Move the fictional market to an instant."""
    body = json.dumps({"now": instant.replace("Z", "+00:00")}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/_sandbox/clock", data=body, headers=headers, method="PUT"
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - the sandbox on loopback


def _step(what: str, lake: Path, environment: Mapping[str, str], *arguments: str) -> None:
    """One command: its time in layers (the newest file of each tells when the layer ended), calls, rows, memory."""
    before = _calls(environment)
    files = _files(lake)
    started = time.time()
    log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - ends with the step
    command = [sys.executable, "-m", "market_pipeline.cli", *arguments]
    process = subprocess.Popen(command, env=dict(environment), stdout=log, stderr=subprocess.STDOUT)
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident_bytes(process.pid))
        time.sleep(0.1)
    log.seek(0)
    if process.returncode != 0:
        sys.exit(log.read())
    ended = time.time()
    new = {name: at for name, at in _files(lake).items() if files.get(name) != at}
    bronze = max([at for name, at in new.items() if name.startswith("bronze/")], default=started)
    silver = max([at for name, at in new.items() if name.startswith("silver/")], default=bronze)
    rows = sum(pq.read_metadata(path).num_rows for path in (lake / "silver" / "bars_daily").rglob("part.parquet"))
    print(
        f"{what}: {ended - started:.1f} s (bronze {bronze - started:.1f}, silver {silver - bronze:.1f}, "
        f"gold and the rest {ended - silver:.1f}); {_calls(environment) - before} calls; {rows:,} rows in silver; "
        f"peak memory {peak / 2**20:.0f} MiB"
    )


def _files(lake: Path) -> dict[str, float]:
    return {f"{path.relative_to(lake)}": path.stat().st_mtime for path in lake.rglob("*") if path.is_file()}


def _calls(environment: Mapping[str, str]) -> int:
    """Calls that the sandbox has answered."""
    url = f"http://127.0.0.1:{environment['MARKET_PIPELINE_SANDBOX_PORT']}/_sandbox/state"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return int(json.load(answer)["answered"])


if __name__ == "__main__":
    main()
