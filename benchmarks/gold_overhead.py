"""What dbt costs: a build of gold against the same SQL sent straight to DuckDB.

One build writes down every statement that dbt sends; then builds and replays of those statements take turns, each from
the same start and in a process of its own. A replay runs them one after another on one connection, with the limits of
dbt's profile, and leaves out what dbt asks about the database and the types of a query. The floor leaves out the checks
too. At the end the price fact of both files must be the same rows. Silver is invented: years of the universe's daily
bars, with splits and dividends (`gold_incremental`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson

from gold_incremental import UNTIL, Lake, same_prices
from market_pipeline import calendar, seeding, universe
from market_pipeline.dbt_project import DbtProject
from market_pipeline.settings import REPOSITORY
from market_pipeline.warehouse import Warehouse
from measure import Cost, Figure, child, in_turns, mib, middle, ratio, resident_bytes, timed, watched_memory

NOT_SQL_OF_OURS = re.compile(
    r"information_schema|duckdb_(?:databases|tables|views|columns|schemas)\(|pragma|where false and current_date|"
    r"^\s*(?:begin|commit|rollback|create schema)\b",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"^\s*/\*.*?\*/\s*", re.DOTALL)
BUILD = ("build", "--exclude-resource-type", "unit_test")


@dataclass(frozen=True, slots=True)
class Start:
    """What a build begins from: a folder with the two databases of dbt's profile as they are before it."""

    folder: Path

    def copy(self, to: Path) -> Path:
        """The same start again."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder, to, symlinks=True)
        return to


def from_nothing(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """A build of everything."""
    lake = _lake(scratch, is_quick=is_quick)
    start = Start(scratch / "start")
    start.folder.mkdir()
    lake.refer(on=lake.sessions[-2])
    seeding.begin(start.folder, lake.store)
    return [_sound_check(start, scratch)] if is_quick else _contest(lake, start, scratch)


def one_session_more(scratch: Path, *, is_quick: bool = False) -> list[Figure]:
    """A build that continues a published one by a session."""
    lake = _lake(scratch, is_quick=is_quick)
    start = Start(scratch / "start")
    start.folder.mkdir()
    if is_quick:
        seeding.begin(start.folder, lake.store)
        return [_sound_check(start, scratch)]
    lake.publish(on=lake.sessions[-2], warehouse="warehouse")
    warehouse = Warehouse(scratch / "warehouse")
    before = warehouse.verify()
    lake.add(len(lake.sessions) - 1)
    lake.refer(on=lake.sessions[-1])
    seeding.seed(start.folder, lake.store, warehouse.folder / before.file, before.incremental)
    return _contest(lake, start, scratch)


def _lake(scratch: Path, *, is_quick: bool) -> Lake:
    """Ten years of the universe but for the last session."""
    sessions = [day for day in calendar.session_dates() if day <= UNTIL][-40 if is_quick else -2521 :]
    known = universe.load(REPOSITORY / "dbt" / "seeds", is_demo=False)
    members = [instrument for instrument in known.members(on=UNTIL) if instrument.asset_class != "index"]
    lake = Lake(scratch, members[:3] if is_quick else members, sessions)
    lake.add_actions()
    for number in range(len(sessions) - 1):
        lake.add(number)
    return lake


def _sound_check(start: Start, scratch: Path) -> Figure:
    """What quick runs do instead: dbt is in every other test of gold."""
    statements, work = scratch / "statements.json", start.copy(scratch / "sql")
    bars = f"from read_parquet('{scratch}/lake/silver/bars_daily/**/part.parquet', union_by_name = true)"
    sql = [(False, f"create table bars as {bars}"), (True, "select count(*) from bars")]
    statements.write_text(json.dumps(sql), encoding="utf-8")
    return Figure("two statements", child("gold_overhead", str(statements), str(work), "sql")["seconds"], "s", "quick")


def _contest(lake: Lake, start: Start, folder: Path) -> list[Figure]:
    rounds, project = 3, lake.project()
    statements = folder / "statements.json"
    told = DbtProject(
        project.folder,
        project.target,
        project.lake,
        {**project.environment, "DBT_LOG_FORMAT_FILE": "json", "DBT_LOG_LEVEL_FILE": "debug"},
    )
    log = project.target / "dbt.log"
    log.unlink(missing_ok=True)
    _dbt(told, start.copy(folder / "first"))
    sent = statements_of(log)
    statements.write_text(json.dumps(sent), encoding="utf-8")

    def build() -> Cost:
        work = start.copy(folder / "ours")
        own = resident_bytes(os.getpid())
        with watched_memory(os.getpid(), without=own) as peak:
            seconds = timed(lambda: _dbt(project, work))
        return Cost(seconds, peak())

    def replay(kind: str) -> Callable[[], Cost]:
        def turn() -> Cost:
            work = start.copy(folder / kind)
            found = child("gold_overhead", str(statements), str(work), kind)
            return Cost(found["seconds"], round(found["peak_mib"] * 2**20))

        return turn

    turns = in_turns({"ours": build, "sql": replay("sql"), "floor": replay("floor")}, rounds=rounds)
    rows = same_prices(folder / "ours" / seeding.BUILD, folder / "sql" / seeding.BUILD)
    seconds = {name: [cost.seconds for cost in costs] for name, costs in turns.items()}
    how = f"{rows:,} rows in the price fact, equal in both; {len(sent)} statements; median of {rounds} rounds in turns"
    took = f"{middle(seconds['ours'], 1)} s over {middle(seconds['sql'], 1)} s"
    to_sql, to_floor = (ratio(seconds["ours"], seconds[name]) for name in ("sql", "floor"))
    figures = [
        Figure("time to sql", to_sql, "times", f"dbt over the same SQL straight in DuckDB, {took}; {how}"),
        Figure("time to floor", to_floor, "times", "dbt with its checks over the SQL of the models alone"),
    ]
    for name, said in (("ours", "dbt and its descendants"), ("sql", "the process that runs the SQL")):
        peak = mib(middle([cost.peak_bytes for cost in turns[name]]))
        figures.append(Figure(f"memory of {name}", peak, "MiB", f"peak resident set of {said}"))
    return figures


def _dbt(project: DbtProject, work: Path) -> None:
    done = project.run(*BUILD, folder=work)
    if done.returncode != 0:
        sys.exit(done.stdout)


def statements_of(log: Path) -> list[tuple[bool, str]]:
    """The SQL of models and checks in dbt's log, in its order; the first of a pair says whether it is a check's."""
    found = []
    for line in log.read_bytes().splitlines():
        event = orjson.loads(line)
        node = event.get("data", {}).get("node_info") or {}
        if event["info"]["name"] != "SQLQuery" or not node.get("unique_id"):
            continue
        sql = _COMMENT.sub("", event["data"]["sql"]).strip()
        if sql and not NOT_SQL_OF_OURS.search(sql):
            found.append((node["unique_id"].startswith("test."), sql))
    return found


def _replay(statements: Path, work: Path, kind: str) -> None:
    """Run the statements, in this process."""
    from peers.turn import peak_kib

    os.chdir(work)
    sent = [sql for is_check, sql in json.loads(statements.read_text("utf-8")) if kind == "sql" or not is_check]
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": "600MB",
        "preserve_insertion_order": "false",
        "enable_external_file_cache": "false",
    }

    def everything() -> None:
        with duckdb.connect(seeding.BUILD, config=settings) as con:
            con.execute("set TimeZone = 'UTC'")
            con.execute(f"attach '{seeding.BEFORE}' as before (read_only)")
            for sql in sent:
                con.execute(sql).fetchall()

    seconds = timed(everything)
    print(json.dumps({"seconds": seconds, "peak_mib": peak_kib() / 1024}))


if __name__ == "__main__":
    _replay(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
