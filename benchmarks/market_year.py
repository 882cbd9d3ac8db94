"""A year of the whole market, from the sandbox to gold: calls, rows, time per layer, memory.

The sandbox is started beforehand and is not part of the memory. One session in the middle is fetched on its day; then
comes the year, the same command again, one session more, and the one in the middle again, of which the provider has
corrected three closes meanwhile. At the end gold is built from nothing beside it, and the price fact of both must be
the same rows. Beside bronze, some sessions before the year are fetched by a bare client, for the sandbox has to make
them too; beside silver, the year's payloads are read and written by hand (`peers.grouped_daily`).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from gold_incremental import same_prices
from market_pipeline import calendar, gold, reference
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import REPOSITORY, load_settings
from market_pipeline.warehouse import Warehouse
from measure import Figure, child, free_port, mib, timed, watched

LAST = dt.date(2026, 11, 19)
TARGET = "polygon/grouped_daily"
CLOCK = "2026-11-21T12:00:00Z"
BARE = 20


@dataclass(frozen=True, slots=True)
class Step:
    """What one command took, in layers: the newest file of each tells when the layer ended."""

    seconds: float
    bronze: float
    silver: float
    gold: float
    calls: int
    peak_bytes: int


def run(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """Every step on one lake, which stays in `scratch` for the dashboard's queries."""
    count = 3 if is_quick else 252
    environment = {
        **os.environ,
        "MARKET_PIPELINE_HOME": str(scratch),
        "MARKET_PIPELINE_PROFILE": "demo",
        "MARKET_PIPELINE_SANDBOX_PORT": f"{free_port()}",
        "MARKET_PIPELINE_CLOCK": CLOCK,
        "MARKET_PIPELINE_NO_PROGRESS": "1",
    }
    lake = scratch / "demo" / "lake"
    sessions = calendar.sessions(LAST - dt.timedelta(days=2 * count + 10), LAST + dt.timedelta(days=1))
    since, until = sessions[-count], sessions[-1]
    more, middle = calendar.session_after(until), sessions[-count // 2]
    early = {**environment, "MARKET_PIPELINE_CLOCK": f"{middle}T23:30:00Z"}
    with _sandbox(early):
        if is_quick:
            told = _step(lake, early, *command(middle, middle), "--help")
            return [Figure("time of --help", told.seconds, "s", "quick")]
        _step(lake, early, *command(middle, middle))
        _set_clock(environment, CLOCK)
        year = _step(lake, environment, *command(since, until))
        bare = timed(lambda: _fetch_bare(environment, sessions[-count - BARE : -count], scratch)) / BARE * count
        by_hand = _by_hand(lake, scratch)
        rows = _rows(lake)
        again = _step(lake, environment, *command(since, until))
        added = _step(lake, environment, *command(since, more))
        asked_again = _step(lake, environment, *command(middle, middle), "--refetch")
    equal, corrected, anew = _same_rows(environment, middle)
    took = f"(bronze {added.bronze:.1f}, silver {added.silver:.1f}, gold and the rest {added.gold:.1f})"
    memory = "the command and all its descendants, dbt too"
    figures = [
        ("one backfill", round(year.seconds, 1), "s",
         f"{count} sessions, {rows:,} rows in silver, {year.calls + 1} calls, sandbox to published gold; one run"),
        ("bronze to floor", round(year.bronze / bare, 2), "times",
         f"{year.bronze:.1f} s over a bare client that syncs the same answers, EXTRAPOLATED from {BARE} sessions"),
        *((f"silver to {name}", round(year.silver / seconds, 2), "times",
           f"{year.silver:.1f} s over {what} of the same payloads, right after") for name, seconds, what in by_hand),
        ("gold and the rest", round(year.gold, 1), "s", "dbt with its checks, publication, the end of Dagster's run"),
        ("gold from nothing", round(anew, 1), "s",
         f"build, checks and publication beside it; {equal:,} rows in the price fact, equal in both"),
        ("one session more to one backfill", round(added.seconds / year.seconds, 3), "times",
         f"{added.seconds:.1f} s {took}, {added.calls} calls"),
        ("the same command again", round(again.seconds, 1), "s", f"{again.calls} calls; it finds nothing to do"),
        ("a corrected session asked again", round(asked_again.seconds, 1), "s",
         f"{corrected} closes restated on {middle}; incremental gold"),
        ("memory of the backfill", mib(year.peak_bytes), "MiB", memory),
        ("memory of one session more", mib(added.peak_bytes), "MiB", memory),
    ]  # fmt: skip
    return [Figure(*figure) for figure in figures]


def _by_hand(lake: Path, scratch: Path) -> list[tuple[str, float, str]]:
    """Seconds of the bronze payloads' way to Parquet without us: with the rules in plain Polars, and without any."""
    (lake / "sessions.txt").write_text("\n".join(map(str, calendar.session_dates())), encoding="ascii")
    found = []
    for name, what in (("polars", "the same rules in plain Polars"), ("floor", "reading and writing without any rule")):
        out = scratch / name
        out.mkdir()
        found.append((name, child("peers.grouped_daily", name, str(lake), str(out))["seconds"], what))
    return found


def _fetch_bare(environment: Mapping[str, str], sessions: tuple[dt.date, ...], scratch: Path) -> None:
    """The least that brings answers to the disk."""
    url = f"{_address(environment)}/polygon/v2/aggs/grouped/locale/us/market/stocks"
    for session in sessions:
        request = urllib.request.Request(  # noqa: S310 - the sandbox on loopback
            f"{url}/{session}?adjusted=false&include_otc=false",
            headers={"Authorization": "Bearer fictional-market-key"},
        )
        with (
            urllib.request.urlopen(request, timeout=60) as answer,  # noqa: S310
            (scratch / f"{session}.json").open("wb") as file,
        ):
            file.write(answer.read())
            file.flush()
            os.fsync(file.fileno())


def _same_rows(environment: Mapping[str, str], session: dt.date) -> tuple[int, int, float]:
    """Rows of the price fact, restated closes of a session, and seconds of a build from nothing; ends with an error if
    that build has other rows."""
    pipeline = Pipeline(load_settings(environment))
    frames = reference.tables(
        pipeline.store, pipeline.providers, pipeline.known, now=pipeline.now(), profile=pipeline.settings.profile
    )
    anew = Warehouse(pipeline.settings.root / "anew")
    seconds = timed(
        lambda: gold.build(
            pipeline.dbt,
            pipeline.store,
            anew,
            outcomes=frames["outcomes"],
            prefixes=("quarantine/", "reference/"),
            profile="benchmark",
            now=pipeline.now(),
            keep=1,
            is_full_refresh=True,
        )
    )
    published = [(w.folder, w.verify().file) for w in (pipeline.warehouse, anew)]
    sql = "select count(*) as n from mart_restatement where session_date = $1 and measure = 'close'"
    restated, _ = pipeline.warehouse.query(sql, [session])
    return same_prices(*(folder / file for folder, file in published)), restated.to_pylist()[0]["n"], seconds


def command(since: dt.date, until: dt.date) -> list[str]:
    """What a person would type."""
    return ["backfill", TARGET, "--since", f"{since}", "--until", f"{until}"]


@contextlib.contextmanager
def _sandbox(environment: Mapping[str, str]) -> Iterator[None]:
    """The fictional market in a process of its own, on a clock that is set."""
    seeds = REPOSITORY / "dbt" / "seeds"
    command = [
        sys.executable,
        "-m",
        "market_pipeline.sandbox",
        "--universe",
        str(seeds),
        "--port",
        environment["MARKET_PIPELINE_SANDBOX_PORT"],
    ]
    command += ["--plan", "unlimited", "--clock", environment["MARKET_PIPELINE_CLOCK"]]
    with subprocess.Popen(command, env=dict(environment), stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    _calls(environment)
                    break
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def _set_clock(environment: Mapping[str, str], instant: str) -> None:
    """Move the fictional market to an instant."""
    body = json.dumps({"now": instant.replace("Z", "+00:00")}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(  # noqa: S310 - the sandbox on loopback
        f"{_address(environment)}/_sandbox/clock", data=body, headers=headers, method="PUT"
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - the sandbox on loopback


def _step(lake: Path, environment: Mapping[str, str], *arguments: str) -> Step:
    """One command."""
    before, files = _calls(environment), _files(lake)
    started = time.time()
    cost = watched([sys.executable, "-m", "market_pipeline.cli", *arguments], environment)
    ended = time.time()
    new = {name: at for name, at in _files(lake).items() if files.get(name) != at}
    bronze = max([at for name, at in new.items() if name.startswith("bronze/")], default=started)
    silver = max([at for name, at in new.items() if name.startswith("silver/")], default=bronze)
    return Step(
        cost.seconds, bronze - started, silver - bronze, ended - silver, _calls(environment) - before, cost.peak_bytes
    )


def _rows(lake: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in (lake / "silver" / "bars_daily").rglob("part.parquet"))


def _files(lake: Path) -> dict[str, float]:
    return {f"{path.relative_to(lake)}": path.stat().st_mtime for path in lake.rglob("*") if path.is_file()}


def _address(environment: Mapping[str, str]) -> str:
    return f"http://127.0.0.1:{environment['MARKET_PIPELINE_SANDBOX_PORT']}"


def _calls(environment: Mapping[str, str]) -> int:
    """Calls that the sandbox has answered."""
    url = f"{_address(environment)}/_sandbox/state"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the sandbox on loopback
        return int(json.load(answer)["answered"])


def main() -> None:
    """The same, in a folder that stays: for `first_canvas.py`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help="where the profile is left")
    folder = parser.parse_args().keep
    folder.mkdir(parents=True)
    for figure in run(folder.resolve()):
        print(figure)


if __name__ == "__main__":
    main()
