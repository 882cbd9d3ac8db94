"""How one generation of gold is written: copy, read back, then move one pointer.

    warehouse/.lock                     one writer, flock, released when its process dies
    warehouse/gold-000003.duckdb        a generation: written under a temporary name, never changed afterwards
    warehouse/gold-000003.json          its record, written after the pointer; it marks a published generation
    warehouse/CURRENT                   the same record: which generation readers open

Each generation has a file name of its own because a second connection to a path within one process is served from the
first one's cache. A process killed at any point leaves either the old pointer or the new one; what it left besides is
cleaned by the next writer. What does not belong here: building gold, deciding whether it may be published, reading it.
Over 300 lines because the order of the steps is the protocol.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb

from market_pipeline.errors import Busy, ConfigurationError, HashMismatch, LakeError, ObjectMissing
from market_pipeline.records import Generation, Health, first_line, make_folder, read_record, sync, write_record

POINTER = "CURRENT"
HEALTH = "health.json"
GUARD: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",  # no file, no network, no extension
    "memory_limit": "1GB",
    "threads": "2",
    "temp_directory": "",  # a reader spills nothing beside the snapshot: the folder may be read-only
}
_OPENING = threading.Lock()
_FILE = re.compile(r"gold-(\d{6})\.duckdb\Z")
_LOG = logging.getLogger(__name__)


def published(folder: Path) -> tuple[Generation, ...]:
    """Every generation whose record and file are there, newest first. A record that can't be read names no
    generation anybody could go back to, so it is left out."""
    found: list[Generation] = []
    for path in folder.glob("gold-*.json"):
        with contextlib.suppress(LakeError):
            record = read_record(path, Generation)
            if record is not None and (folder / record.file).is_file():
                found.append(record)
    return tuple(sorted(found, key=lambda record: record.number, reverse=True))


@contextlib.contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's only writer's place; `Busy` names the process that has it."""
    make_folder(folder)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise Busy(f"Process {holder} is publishing to {folder}; wait for it to end and try again") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(handle)


def write_health(folder: Path, health: Health) -> None:
    """Replace `health.json`. Runs that publish nothing write it too, so it has a lock of its own, held for
    milliseconds and waited for."""
    make_folder(folder)
    handle = os.open(folder / ".health.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        write_record(folder / HEALTH, health)
    finally:
        os.close(handle)


def publish(
    folder: Path,
    build_db: Path,
    *,
    tables: Sequence[str],
    statements: Sequence[str],
    newest: Mapping[str, str],
    is_partial: bool,
    missing: Sequence[Mapping[str, str]],
    inputs_sha256: str,
    profile: str,
    now: dt.datetime,
    keep: int,
    orders: Mapping[str, Sequence[str]] | None = None,
    project_sha256: str = "",
    incremental: Sequence[str] = (),
) -> Generation:
    """Copy `tables` out of the build, run `statements`, read everything back, then move the pointer. `orders` names the
    columns by which a table's rows are sorted, where all of them would be too many. The caller holds `writer_lock`."""
    files = [int(match[1]) for path in folder.iterdir() if (match := _FILE.match(path.name))]
    number = 1 + max(files, default=0)  # before cleaning: a number is used once, whatever became of it
    recover(folder)
    others = {record.profile for record in published(folder)} - {profile}
    if others:
        raise ConfigurationError(
            f"{folder} holds gold of profile {min(others)}; publish {profile} to a folder of its own"
        )
    path = folder / f"gold-{number:06d}.duckdb"
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        written = _copy(build_db, temporary, tables=tables, statements=statements, orders=orders or {})
    except duckdb.Error as error:
        raise LakeError(f"The build {build_db.name} can't be copied: {first_line(error)}") from error
    sync(temporary)
    temporary.replace(path)
    sync(folder)
    _read_back(path, written)
    record = Generation(
        generation=f"{number:06d}",
        file=path.name,
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        published_at=now.astimezone(dt.UTC).isoformat(timespec="milliseconds"),
        tables={name: rows for name, (rows, _) in written.items()},
        newest=dict(newest),
        is_partial=is_partial,
        missing=tuple(dict(row) for row in missing),
        inputs_sha256=inputs_sha256,
        profile=profile,
        project_sha256=project_sha256,
        incremental=tuple(incremental),
    )
    point(folder, record)
    _prune(folder, record, keep=keep)
    return record


def point(folder: Path, record: Generation) -> None:
    """Make this generation the one readers open."""
    write_record(folder / POINTER, record)
    write_record(_record_path(folder, record), record)


def recover(folder: Path) -> None:
    """Clean what a killed writer left. The caller holds `writer_lock`."""
    try:
        current = read_record(folder / POINTER, Generation)
    except LakeError as error:
        _LOG.warning("%s; the generation now published replaces it", error)
        current = None
    if current is not None and (folder / current.file).is_file():
        write_record(_record_path(folder, current), current)  # it is missing when killed right after the pointer
    known = {record.file for record in published(folder)}
    for path in folder.iterdir():
        is_orphan = _FILE.match(path.name) is not None and path.name not in known
        is_unfinished = path.name.startswith(("gold-", POINTER)) and ".tmp" in path.name
        if path.is_dir() and is_unfinished:
            shutil.rmtree(path)  # what a killed copy spilled
        elif is_orphan or is_unfinished:
            path.unlink()


def quiet(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A connection that draws no bar: DuckDB draws one on standard output, where data goes, in processes that it takes
    for somebody's own, such as Dagster's of a run."""
    con.execute("pragma disable_progress_bar")  # which works behind the guard too
    return con


def open_guarded(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a generation as every reader does: read-only, UTC, no access to anything else, and no way to change that.
    Connections of one process to one file share their settings, so only the first one makes them."""
    with _OPENING:
        con = quiet(duckdb.connect(str(path), read_only=True, config=GUARD))
        row = con.execute("select current_setting('lock_configuration')").fetchone()
        if row is None or not row[0]:
            con.execute("set global TimeZone = 'UTC'")  # no option of `connect`: it is known after the guard is up
            con.execute("set global lock_configuration = true")
        return con


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ObjectMissing(f"{path.name} is not in {path.parent}") from error


def check(folder: Path, record: Generation) -> None:
    """`HashMismatch` when a generation's bytes are not the published ones."""
    if sha256_of(folder / record.file) != record.sha256:
        raise HashMismatch(
            f"{record.file} in {folder} is not as it was published; "
            "`market-pipeline rollback` goes back to the generation before it, `market-pipeline run gold` rebuilds"
        )


def quoted(name: str) -> str:
    """A name as SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A value as SQL string."""
    return "'" + value.replace("'", "''") + "'"


def _copy(
    build_db: Path,
    target: Path,
    *,
    tables: Sequence[str],
    statements: Sequence[str],
    orders: Mapping[str, Sequence[str]],
) -> dict[str, tuple[int, int]]:
    """Rows and hash of each table as it was written to `target`. Rows go in sorted, so that equal input gives equal
    files' content whatever the build's threads did, and a reader of one instrument reads few blocks."""
    if not build_db.is_file():
        raise ObjectMissing(f"{build_db} is missing; `market-pipeline run gold` builds it")
    written: dict[str, tuple[int, int]] = {}
    limits = {key: GUARD[key] for key in ("memory_limit", "threads")}
    with quiet(duckdb.connect(str(target), config=limits)) as con:
        con.execute(f"attach {text(str(build_db))} as build (read_only)")
        schemas = dict(
            con.execute(
                """select table_name, schema_name from duckdb_tables() where database_name = 'build'
                   union all
                   select view_name, schema_name from duckdb_views() where database_name = 'build' and not internal"""
            ).fetchall()
        )
        for name in tables:
            if name not in schemas:
                raise ObjectMissing(
                    f"Table {name} is not in the build {build_db.name}; does a model of that name exist?"
                )
            source = f"build.{quoted(schemas[name])}.{quoted(name)}"
            order = ", ".join(map(quoted, orders.get(name, ()))) or "all"
            con.execute(f"create table {quoted(name)} as select * from {source} order by {order}")  # noqa: S608 - quoted
            written[name] = _fingerprint(con, name)
            if written[name] != _fingerprint(con, source, is_quoted=True):
                raise HashMismatch(f"{name} was not copied whole from {build_db.name}")
        for statement in statements:
            con.execute(statement)
        _copy_comments(con)
        con.execute("detach build")
        con.execute("checkpoint")
    return written


def _copy_comments(con: duckdb.DuckDBPyConnection) -> None:
    """Carry the models' descriptions over; `create table as` drops them."""
    here = dict(
        con.execute(
            """select table_name, 'table' from duckdb_tables() where database_name = current_database()
               union all
               select view_name, 'view' from duckdb_views()
               where database_name = current_database() and not internal"""
        ).fetchall()
    )
    relations = con.execute(
        """select table_name, comment from duckdb_tables() where database_name = 'build' and comment is not null
           union all
           select view_name, comment from duckdb_views() where database_name = 'build' and comment is not null"""
    ).fetchall()
    columns = con.execute(
        """select table_name, column_name, comment from duckdb_columns()
           where database_name = 'build' and comment is not null"""
    ).fetchall()
    for name, comment in relations:
        if name in here:
            con.execute(f"comment on {here[name]} {quoted(name)} is {text(comment)}")
    present = set(
        con.execute(
            "select table_name, column_name from duckdb_columns() where database_name = current_database()"
        ).fetchall()
    )
    for name, column, comment in columns:
        if (name, column) in present:
            con.execute(f"comment on column {quoted(name)}.{quoted(column)} is {text(comment)}")


def _fingerprint(con: duckdb.DuckDBPyConnection, name: str, *, is_quoted: bool = False) -> tuple[int, int]:
    """Rows of a table and the sum of their hashes, which no order changes and no lost row keeps."""
    relation = name if is_quoted else quoted(name)
    row = con.execute(f"select count(*), coalesce(sum(hash(t)), 0) from {relation} as t").fetchone()  # noqa: S608 - quoted
    assert row is not None  # noqa: S101 - an aggregate without groups has one row
    return int(row[0]), int(row[1])


def _read_back(path: Path, written: Mapping[str, tuple[int, int]]) -> None:
    """Open the file as a reader would and read every row."""
    with open_guarded(path) as con:
        for name, expected in written.items():
            if _fingerprint(con, name) != expected:
                raise HashMismatch(f"{name} read back from {path.name} differs from what was written; check the disk")


def _prune(folder: Path, current: Generation, *, keep: int) -> None:
    """Drop the oldest generations beyond `keep`. An open reader keeps its file's contents until it closes."""
    for record in published(folder)[keep:]:
        if record.generation != current.generation:
            _record_path(folder, record).unlink(missing_ok=True)
            (folder / record.file).unlink(missing_ok=True)


def _record_path(folder: Path, record: Generation) -> Path:
    return (folder / record.file).with_suffix(".json")
