"""Every benchmark, or some sections of it: `make bench`, `make bench BENCH="publish gold"`.

A section that has run replaces its figures in `results.json` (a list of name, value, unit, how, commit) and in
`results.md` beside this file. All figures of a section are of one run at one commit, and its first one says which and
how busy the machine was; a run of all sections makes all of them so.

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

Entry = dict[str, object]

SECTIONS: dict[str, Callable[..., list[Figure]]] = {
    "market_year": market_year.run,
    "dashboard": dashboard.run,
    "slices": slices.run,
    "gold": gold_overhead.from_nothing,
    "gold_continued": gold_overhead.one_session_more,
    "publish": publish.run,
    "weekly_adjusted": silver.weekly_adjusted,
    "overview": silver.overview,
    "grouped_daily": silver.grouped_daily,
    "cold_start": cold_start.run,
}
# Sections that a run of all leaves out: they say how long something takes, not against what.
ALONE = {"demo": demo.run}
TITLES = {
    "weekly_adjusted": "Weekly-adjusted CSV to validated silver",
    "overview": "Company overview JSON to validated silver",
    "grouped_daily": "Grouped daily JSON to validated silver",
    "publish": "Publishing a generation",
    "cold_start": "Cold start",
    "gold": "Gold from nothing: what dbt costs over its SQL",
    "gold_continued": "Gold, a session more: what dbt costs over its SQL",
    "slices": "A year of sessions in one run",
    "demo": "The demo",
    "market_year": "A year of the whole market",
    "dashboard": "The dashboard's queries",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run section after section; one that fails leaves its old figures and the others theirs."""
    known: dict[str, Callable[..., list[Figure]]] = {**SECTIONS, **ALONE}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs; its figures mean nothing")
    parser.add_argument("--warehouse", type=Path, help="a published warehouse for the dashboard's queries")
    parser.add_argument("--to", type=Path, help="a folder for the results; by default this one, with --quick none")
    given = parser.parse_args(arguments)
    wanted = given.sections or list(SECTIONS)
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"there is no section {unknown[0]}; known: {', '.join(known)}")
    to = given.to or (None if given.quick else FOLDER)
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for name in wanted:
            folder = Path(scratch) / name
            folder.mkdir()
            more = {"warehouse": given.warehouse} if name == "dashboard" else {}
            began, commit = of_this_run(), commit_here()
            try:
                found = known[name](folder, is_quick=given.quick, **more)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the others go on
                failed[name] = f"{type(error).__name__}: {error}"
                continue
            entries = [
                {**asdict(replace(figure, name=f"{name}: {figure.name}")), "commit": commit}
                for figure in (began, *found)
            ]
            print("\n".join(tables(entries)), flush=True)
            if to is not None:
                write(to, entries)
    if failed:
        sys.exit("\n".join(f"{name} failed: {why}" for name, why in failed.items()))


def of_this_run() -> Figure:
    """When a section ran, on what, and beside how much."""
    memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    engines = ", ".join(f"{name} {version(name)}" for name in ("polars", "pandas", "duckdb", "dbt-core", "dataframely"))
    machine = f"{os.cpu_count()} cores ({platform.machine()}) and {memory} GiB"
    how = f"load {os.getloadavg()[0]:.1f} on {machine} when it began; Python {platform.python_version()}, {engines}"
    return Figure("run at", f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}", "UTC", how)


def commit_here() -> str:
    """The commit, with a plus where what is measured has changed since."""
    git = partial(subprocess.run, cwd=FOLDER, capture_output=True, text=True, check=False)
    commit = git(["git", "rev-parse", "HEAD"]).stdout.strip() or "unknown"
    measured = ("../src", "../dbt", "../dashboards", "*.py", "peers")
    return commit + ("+" if git(["git", "status", "--porcelain", "--", *measured]).stdout.strip() else "")


def write(folder: Path, entries: Sequence[Entry]) -> None:
    """Put the figures of one section in the place of its old ones."""
    file = folder / "results.json"
    listed: list[Entry] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    of_section = {name: [entry for entry in listed if section_of(entry) == name] for name in TITLES}
    of_section[section_of(entries[0])] = list(entries)
    listed = [entry for name in TITLES for entry in of_section[name]]
    file.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(rendered(listed), encoding="utf-8")


def section_of(entry: Entry) -> str:
    """The section that a figure's name begins with."""
    return str(entry["name"]).partition(": ")[0]


def rendered(listed: Sequence[Entry]) -> str:
    """The results as a page: a table per section."""
    lines = [
        "<!-- Written by `make bench`; a test fails when it differs from results.json. -->",
        "# Benchmarks",
        "",
        "The figures of a section are of one run, in which the contestants took turns; ratios are medians over the",
        "rounds. Above 1, ours takes longer than what it is compared with. Times are wall seconds on a small machine",
        "that others use too: read the ratios. What is measured: `benchmarks/__main__.py`; the contestants:",
        "`benchmarks/peers/`.",
    ]
    return "\n".join([*lines, *tables(listed)]) + "\n"


def tables(listed: Sequence[Entry]) -> Iterator[str]:
    """The lines of a table per section."""
    section = ""
    for entry in listed:
        if section_of(entry) != section:
            section = section_of(entry)
            yield from ("", f"## {TITLES[section]}", "", f"At commit `{str(entry['commit'])[:12]}`.", "")
            yield from ("| figure | value | how |", "| --- | ---: | --- |")
        name = str(entry["name"]).partition(": ")[2]
        value = f"{entry['value']:,}" if isinstance(entry["value"], int | float) else str(entry["value"])
        yield f"| {name} | {' '.join((value, str(entry['unit']))).strip()} | {entry['how']} |"


if __name__ == "__main__":
    main()
