"""Promise 3: publishing and dbt killed at random, with readers in processes of their own.

No reader sees two generations at once, an older one than before, or an error; what is published is whole after each
kill. A kill counts when it left a publication or a build half done.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

import gold_lake
from market_pipeline import catalog
from market_pipeline.settings import REPOSITORY
from market_pipeline.warehouse import Warehouse
from proofs import forks, oracle
from proofs.forks import KILLED
from proofs.proof import Proof, Result
from proofs.readers import Readers, reading
from proofs.workers import publish_pair
from test_gold import second_provider

ROWS = 5_000
SQL_SUM = "select sum(v), sum(i), count(*) from (from a union all from b)"


def _is_half_done(warehouse: Path) -> bool:
    """A file is unfinished, or finished and not yet pointed at."""
    records = {path.stem for path in warehouse.glob("gold-*.json")}
    return any(".tmp" in p.name or (p.suffix == ".duckdb" and p.stem not in records) for p in warehouse.glob("gold-*"))


class _Publisher:
    """Kills the publishing loop and judges what is left."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.folder, self.wrong = folder, list[str]()
        self.killed = self.midway = self.newest = 0
        self._rng = random.Random(f"publish {seed}")
        publish_pair(Warehouse(folder / "warehouse"), folder / "build.duckdb", rows=ROWS)
        started = time.monotonic()
        assert forks.run("publish_once", folder, 0, seconds=240) == 0
        self._length = time.monotonic() - started

    def kill_once(self) -> None:
        code = forks.run("publish", self.folder, ROWS, seconds=self._rng.uniform(0.2, 1.2) * self._length)
        self.killed += code == KILLED
        if code != KILLED:
            self.wrong.append(f"the publisher ended with {code}")
        self.midway += code == KILLED and _is_half_done(self.folder / "warehouse")
        for leftover in self.folder.glob("build-*.duckdb*"):
            leftover.unlink()
        try:
            number = oracle.published(oracle.files(self.folder / "warehouse"))
        except oracle.Lost as error:
            self.wrong.append(str(error))
            return
        if number < self.newest:
            self.wrong.append(f"generation {number} after {self.newest}")
        self.newest = number

    def result(self, done: int, readers: Readers) -> Result:
        told = readers.wait()
        self.wrong += told["faults"]
        warehouse = Warehouse(self.folder / "warehouse")
        publish_pair(warehouse, self.folder / "last.duckdb", rows=ROWS)
        if _is_half_done(warehouse.folder) or len(list(warehouse.folder.glob("gold-*.duckdb"))) > 3:
            self.wrong.append("the next publication did not clean up")
        counts = {"kills": self.killed, "in mid-publish": self.midway, "reads": told["reads"]}
        return Result(
            done or told["reads"],
            tuple(self.wrong),
            counts,
            {"p99 of opening in ms, wanted below 250": round(told["p99_ms"])},
        )


def run_kills(count: int, *, seed: int, folder: Path) -> Result:
    """So many kills in mid-publish, with four readers that never pause."""
    publisher = _Publisher(folder, seed=seed)
    with reading(folder / "warehouse", count=1) as readers:
        while publisher.midway < count and publisher.killed < 6 * count + 20 and not publisher.wrong:
            publisher.kill_once()
        return publisher.result(publisher.midway, readers)


def run_reads(count: int, *, seed: int, folder: Path) -> Result:
    """So many reads by eight readers in two processes, which keep the file open in between as the dashboard does, while
    the publisher is killed all the time."""
    publisher = _Publisher(folder, seed=seed)
    with reading(folder / "warehouse", reads=count, is_held=True) as readers:
        while readers.are_running() and not publisher.wrong:
            publisher.kill_once()
        return publisher.result(0, readers)


def _newest(warehouse: Path) -> Path:
    return max(warehouse.glob("gold-*.duckdb"))


def differences(left: Path, right: Path) -> Iterator[str]:
    """Where two generations differ, but for the last digits of floats, which depend on the order of adding."""
    with duckdb.connect() as con:
        for name, file in (("a", left), ("b", right)):
            con.execute(f"attach '{file}' as {name} (read_only)")
        tables: dict[str, dict[str, list[str]]] = {"a": {}, "b": {}}
        columns = "select database_name, table_name, column_name, data_type from duckdb_columns() order by column_index"
        for database, table, column, kind in con.execute(columns).fetchall():
            if database in tables:
                ordered = f'round("{column}", 9)' if kind == "DOUBLE" else f'"{column}"'
                tables[database].setdefault(table, []).append(ordered)
        if tables["a"] != tables["b"]:
            yield "other tables or columns"
            return
        for table, names in tables["a"].items():
            order = ", ".join(sorted(names, key=lambda name: name.startswith("round")))
            mine, other = (con.execute(f"select * from {d}.{table} order by {order}").fetchall() for d in "ab")
            if len(mine) != len(other) or not all(map(_is_same, mine, other)):
                yield f"{table}, {len(mine)} rows against {len(other)}"


def _is_same(left: tuple[object, ...], right: tuple[object, ...]) -> bool:
    return all(
        math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-15)
        if isinstance(a, float) and isinstance(b, float) and not math.isnan(a)
        else a == b or a is b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))
        for a, b in zip(left, right, strict=True)
    )


def run_builds(count: int, *, seed: int, folder: Path) -> Result:
    """gold.build killed in mid-dbt (or, at times, later); what was published stays, and the build that is left alone
    makes the tables that an undisturbed one makes."""
    rng = random.Random(f"dbt {seed}")
    shutil.copytree(REPOSITORY / "dbt", folder / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    catalog.write(second_provider(), folder / "dbt", folder / "docs")
    gold_lake.write(folder / "lake", gold_lake.silver_bars(), second_provider())
    warehouse, wrong = folder / "warehouse", list[str]()
    killed = in_dbt = in_publish = 0
    for _ in range(2):  # the first one also reads the project
        started = time.monotonic()
        assert forks.run("build", folder, seconds=300) == 0
    length, undisturbed = time.monotonic() - started, folder / "undisturbed.duckdb"
    shutil.copy(_newest(warehouse), undisturbed)
    number = oracle.published(oracle.files(warehouse))
    while in_dbt < count and killed < 3 * count + 5 and not wrong:
        code = forks.run("build", folder, seconds=rng.uniform(0.15, 0.95) * length)
        killed += code == KILLED
        in_publish += code == KILLED and _is_half_done(warehouse)
        in_dbt += code == KILLED and any(warehouse.glob("build-*/build.duckdb")) and not _is_half_done(warehouse)
        if code not in (0, KILLED):
            wrong.append(f"a build ended with {code}")
        try:
            now = oracle.published(oracle.files(warehouse))
        except oracle.Lost as error:
            wrong.append(str(error))
            break
        if now < number or (now > number + 1 and code == KILLED):
            wrong.append(f"generation {now} after {number}")
        number = now
    if forks.run("build", folder, seconds=300) != 0:
        wrong.append("the build after the kills failed")
    wrong += [f"not as in an undisturbed build: {found}" for found in differences(undisturbed, _newest(warehouse))]
    if any(warehouse.glob("build-*")) or _is_half_done(warehouse):
        wrong.append("the build after the kills did not clean up")
    return Result(in_dbt, tuple(wrong), {"kills": killed, "in mid-publish": in_publish})


PROOFS = (
    Proof(3, "publish", "publishing killed, four readers beside it", "kills", 4, 300, 25, run_kills),
    Proof(3, "reads", "reads while publishing is killed all the time", "reads", 400, 100_000, 5000, run_reads),
    Proof(3, "dbt", "a build of gold killed in mid-dbt", "kills", 0, 40, 20, run_builds),
)
