"""Every benchmark, or some sections of it: `make bench`, `make bench BENCH="silver gold"`.

A run of all sections writes `results.json` (a list of name, value, unit, how) and `results.md` beside this file; a run
of some prints theirs and leaves the files alone, so that these are always of one run at one commit.

    python benchmarks [SECTION...] [--quick] [--warehouse FOLDER] [--to FOLDER]
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cold_start
import dashboard
import demo
import gold_overhead
import market_year
import publish
import silver
import slices
from measure import FOLDER, Figure

SECTIONS: dict[str, Callable[..., list[Figure]]] = {
    "market_year": market_year.run,
    "dashboard": dashboard.run,
    "slices": slices.run,
    "gold": gold_overhead.run,
    "publish": publish.run,
    "weekly_adjusted": silver.weekly_adjusted,
    "overview": silver.overview,
    "grouped_daily": silver.grouped_daily,
    "cold_start": cold_start.run,
}
# Sections that a run of all leaves out: they say how long something takes, not against what.
ALONE = {"demo": demo.run}
TITLES = {
    "run": "The run",
    "weekly_adjusted": "Weekly-adjusted CSV to validated silver",
    "overview": "Company overview JSON to validated silver",
    "grouped_daily": "Grouped daily JSON to validated silver",
    "publish": "Publishing a generation",
    "cold_start": "Cold start",
    "gold": "Gold: what dbt costs over its SQL",
    "slices": "A year of sessions in one run",
    "demo": "The demo",
    "market_year": "A year of the whole market",
    "dashboard": "The dashboard's queries",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print, and write where that is due."""
    known: dict[str, Callable[..., list[Figure]]] = {**SECTIONS, **ALONE}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs; its figures mean nothing")
    parser.add_argument("--warehouse", type=Path, help="a published warehouse for the dashboard's queries")
    parser.add_argument("--to", type=Path, help="write the results here, whichever sections they are of")
    given = parser.parse_args(arguments)
    wanted = given.sections or list(SECTIONS)
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"there is no section {unknown[0]}; known: {', '.join(known)}")
    listed = [asdict(figure) for figure in about_this_run()]
    print(rendered(listed), flush=True)
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for name in wanted:
            folder = Path(scratch) / name
            folder.mkdir()
            more = {"warehouse": given.warehouse} if name == "dashboard" else {}
            started = time.monotonic()
            try:
                found = known[name](folder, is_quick=given.quick, **more)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the other sections' hour is not lost with this one
                failed[name] = f"{type(error).__name__}: {error}"
                continue
            figures = [asdict(replace(figure, name=f"{name}: {figure.name}")) for figure in found]
            listed += figures
            print("\n".join(_tables(figures)), flush=True)
            print(f"{name} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    is_whole = wanted == list(SECTIONS) and not given.quick and not failed
    to = given.to or (FOLDER if is_whole else None)
    if to is not None:
        (to / "results.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
        (to / "results.md").write_text(rendered(listed), encoding="utf-8")
    if failed:
        sys.exit("\n".join(f"{name} failed: {why}" for name, why in failed.items()))


def about_this_run() -> list[Figure]:
    """What was measured on what."""
    git = partial(subprocess.run, cwd=FOLDER, capture_output=True, text=True, check=False)
    commit = git(["git", "rev-parse", "HEAD"]).stdout.strip() or "unknown"
    changed = git(["git", "status", "--porcelain", "--", "../src", "../dbt", "../dashboards", "."]).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    engines = ", ".join(f"{name} {version(name)}" for name in ("polars", "pandas", "duckdb", "dbt-core", "dataframely"))
    return [
        Figure("commit", commit, "", "with changes that are not committed" if changed else "git rev-parse HEAD"),
        Figure("date", f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}", "UTC", "when the run began"),
        Figure("cores", os.cpu_count() or 0, "count", f"{platform.machine()}, Linux; other work may run beside"),
        Figure("memory", round(memory / 2**30), "GiB", "of the machine"),
        Figure("load", round(os.getloadavg()[0], 1), "processes", "one-minute average when the run began"),
        Figure("versions", platform.python_version(), "Python", engines),
    ]


def rendered(listed: Sequence[dict[str, object]]) -> str:
    """The results as a page: a table per section, in the order of the list."""
    lines = [
        "<!-- Written by `make bench`; a test fails when it differs from results.json. -->",
        "# Benchmarks",
        "",
        "Each figure is of one run, in which the contestants took turns; ratios are medians over the rounds. Above",
        "1, ours takes longer than what it is compared with. Times are wall seconds on a small machine that others",
        "use too: read the ratios. What is measured: `benchmarks/__main__.py`; the contestants: `benchmarks/peers/`.",
    ]
    return "\n".join([*lines, *_tables(listed)]) + "\n"


def _tables(listed: Sequence[dict[str, object]]) -> Iterator[str]:
    section = ""
    for item in listed:
        found, _, name = str(item["name"]).rpartition(": ")
        if (found or "run") != section:
            section = found or "run"
            yield from ("", f"## {TITLES[section]}", "", "| figure | value | how |", "| --- | ---: | --- |")
        value = f"{item['value']:,}" if isinstance(item["value"], int | float) else str(item["value"])
        yield f"| {name} | {' '.join((value, str(item['unit']))).strip()} | {item['how']} |"


if __name__ == "__main__":
    main()
