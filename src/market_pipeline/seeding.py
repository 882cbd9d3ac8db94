"""What a gold build continues from: the published generation, if it is of the same project, and copies of its tables.

The build file is private and fresh each time. Of the last generation it gets copies of the incremental tables, to which
dbt then adds what changed; everything else of that generation is read from the snapshot itself, attached read-only. A
ledger in the snapshot says which files of silver its rows come from. What does not belong here: what changed (the
models find out), building and publishing (`gold`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import duckdb

from market_pipeline import layout
from market_pipeline.dbt_project import project_files
from market_pipeline.errors import LakeError
from market_pipeline.records import Generation, first_line
from market_pipeline.snapshots import GUARD, quiet, quoted, text
from market_pipeline.store import Store

# The databases of dbt's profile, in the folder of a build: the private file, and what it continues.
BUILD, BEFORE = "build.duckdb", "before.duckdb"
# Stored rows depend on these as on the models: whose word counts, and which day is the session before.
_TABLES = ("sources", "calendar")
_ENGINES = ("dbt-core", "dbt-duckdb", "duckdb")


def project_sha256(project: Path, store: Store) -> str:
    """Hash of everything by which equal silver gives equal rows: models, macros, engines, priorities, sessions."""
    digest = hashlib.sha256("|".join(f"{name} {version(name)}" for name in _ENGINES).encode())
    for file in project_files(project):
        digest.update(file.relative_to(project).as_posix().encode() + b"\0" + file.read_bytes())
    for name in _TABLES:
        digest.update(hashlib.sha256(store.get(layout.reference(name))).digest())
    return digest.hexdigest()


def fitting(current: Generation | None, project: str) -> Generation | None:
    """The generation, if a build of the project with this hash can continue it."""
    if current is None or not current.incremental or current.project_sha256 != project:
        return None
    return current


def begin(folder: Path, store: Store) -> None:
    """Prepare a build from nothing: what it continues has no tables."""
    duckdb.connect(str(folder / BEFORE)).close()
    with _connected(folder) as con:
        _name_lake(con, store)


def seed(folder: Path, store: Store, snapshot: Path, tables: Iterable[str]) -> None:
    """Prepare a build that continues a snapshot: the build file begins with copies of these tables."""
    (folder / BEFORE).symlink_to(snapshot.resolve())
    with _connected(folder) as con:
        _name_lake(con, store)
        try:
            con.execute(f"attach {text(str(snapshot))} as before (read_only)")
            for name in tables:
                con.execute(f"create table {quoted(name)} as from before.{quoted(name)}")
        except duckdb.Error as error:
            raise LakeError(f"{snapshot.name} can't be continued: {first_line(error)}") from error


def _connected(folder: Path) -> duckdb.DuckDBPyConnection:
    limits = {key: GUARD[key] for key in ("memory_limit", "threads")}
    return quiet(duckdb.connect(str(folder / BUILD), config={**limits, "preserve_insertion_order": "false"}))


def _name_lake(con: duckdb.DuckDBPyConnection, store: Store) -> None:
    """A view for each table of the lake over the files that it has now: dbt reads just these, all models the same."""
    files: dict[tuple[str, str], list[str]] = {}
    for prefix in layout.TABLES:
        for key in store.list(prefix):
            if (table := layout.table_of(key)) is not None:
                files.setdefault(table, []).append(store.url(key))
    try:
        store.admit(con)
        for (schema, name), urls in files.items():
            listed = ", ".join(map(text, urls))
            con.execute(f"create schema if not exists {quoted(schema)}")
            con.execute(
                f"create or replace view {quoted(schema)}.{quoted(name)} as "  # noqa: S608 - names of ours, quoted
                f"select * from read_parquet([{listed}], hive_partitioning = false)"
            )
    except duckdb.Error as error:
        raise LakeError(f"The lake's files can't be read: {first_line(error)}") from error
