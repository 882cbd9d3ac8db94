"""Gold as others see it: the generation in force, its health, guarded queries, and the way back.

A reader opens the file that `CURRENT` names, read-only and without access to anything else on the machine. The writing
protocol is in `snapshots`. What does not belong here: any SQL about the market. Over 300 lines because what a
reader may do and what it is guarded against are one thing.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from market_pipeline import snapshots
from market_pipeline.errors import HashMismatch, LakeError, MarketPipelineError, ObjectMissing
from market_pipeline.held import Held
from market_pipeline.records import (
    DatasetHealth,
    FailedCheck,
    Generation,
    Health,
    LastRun,
    Problem,
    ProviderQuota,
    first_line,
    read_record,
)

__all__ = [
    "DatasetHealth",
    "FailedCheck",
    "Generation",
    "Health",
    "Held",
    "LastRun",
    "MarketPipelineError",
    "Problem",
    "ProviderQuota",
    "QueryError",
    "QueryTimeout",
    "Warehouse",
]

_TRIES = 5
_BATCH_ROWS = 20_000
_SMALL_BATCH_ROWS = 32  # at most so many rows are fetched beyond a limit of bytes
_ALLOWED = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
# DuckDB's table functions that change the instance, which all connections of a process to a file share.
_ACTS = frozenset(
    {
        *("ENABLE_LOGGING", "DISABLE_LOGGING", "TRUNCATE_DUCKDB_LOGS", "ENABLE_PROFILING", "DISABLE_PROFILING"),
        *("CHECKPOINT", "FORCE_CHECKPOINT"),
    }
)
_MAY_ACT = re.compile(r"log|profil|checkpoint|query", re.IGNORECASE)  # `query` runs a text that may be put together


class QueryError(MarketPipelineError):
    """The SQL can't be answered; the text is DuckDB's, with its did-you-mean."""


class QueryTimeout(QueryError):
    """The query ran longer than it may."""


class Warehouse:
    """One profile's published gold. Readers create nothing in the folder, so it may be mounted read-only. A process
    that reads again and again gives a `held`, which keeps the file open in between."""

    def __init__(self, folder: Path, *, held: Held | None = None) -> None:
        self.folder = folder
        self._held = held
        self._writer: int | None = None

    def current(self) -> Generation | None:
        """The generation readers open, None when nothing was ever published."""
        pointer = self.folder / snapshots.POINTER
        try:
            found = read_record(pointer, Generation)
        except LakeError as error:
            raise LakeError(f"{error}; {self._way_back()}") from error
        if found is None and snapshots.published(self.folder):
            raise LakeError(f"{pointer.name} is missing from {self.folder}; {self._way_back()}")
        return found

    def generations(self) -> tuple[Generation, ...]:
        """Published generations that are still on disk, newest first."""
        return snapshots.published(self.folder)

    def health(self) -> Health | None:
        """What the newest run left, None before the first run."""
        try:
            return read_record(self.folder / snapshots.HEALTH, Health)
        except LakeError as error:
            raise LakeError(f"{error}; the next `market-pipeline run all` writes it again") from error

    def stamp(self) -> str:
        """A text that changes with every publish, rollback and rewritten health: cheap enough to ask each second."""
        parts: list[str] = []
        for name in (snapshots.POINTER, snapshots.HEALTH):
            try:
                stat = (self.folder / name).stat()
            except FileNotFoundError:
                parts.append("none")
            else:
                parts.append(f"{stat.st_ino}.{stat.st_mtime_ns}.{stat.st_size}")
        return " ".join(parts)

    @contextlib.contextmanager
    def connect(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, Generation]]:
        """A guarded read-only connection and the generation it reads; the file stays whole for as long as the
        connection lives, even when it is pruned meanwhile."""
        con, generation = self._open()
        try:
            yield con, generation
        finally:
            con.close()

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        row_limit: int | None = None,
        timeout_s: float = 30.0,
    ) -> tuple[pa.Table, Generation]:
        """The answer to one SELECT (or DESCRIBE, SUMMARIZE, EXPLAIN), at most `row_limit` rows of it, and the
        generation it came from."""
        with self._guarded(timeout_s) as (con, generation):
            result = _run(con, sql, parameters)
            if row_limit is None:
                return result.to_arrow_table(), generation
            return _first(result, row_limit=row_limit, byte_limit=None)[0], generation

    def first(self, sql: str, *, row_limit: int, byte_limit: int, timeout_s: float) -> tuple[pa.Table, bool]:
        """The first rows of an answer, within both limits, and whether there are more. DuckDB makes rows 2,048 at a
        time, whatever their texts weigh: that many are in memory even when few of them are fetched."""
        with self._guarded(timeout_s) as (con, _):
            return _first(_run(con, sql, None), row_limit=row_limit, byte_limit=byte_limit)

    @contextlib.contextmanager
    def _guarded(self, timeout_s: float) -> Iterator[tuple[duckdb.DuckDBPyConnection, Generation]]:
        """A connection whose query is stopped in time, and whose errors are ours."""
        with self.connect() as (con, generation):
            has_expired = threading.Event()
            timer = threading.Timer(min(timeout_s, threading.TIMEOUT_MAX), _interrupt, (con, has_expired))
            timer.daemon = True
            timer.start()
            try:
                yield con, generation
            except duckdb.OutOfMemoryException as error:
                limit = snapshots.GUARD["memory_limit"]
                raise QueryError(f"The query needs over {limit} of memory; select fewer rows or columns") from error
            except (duckdb.FatalException, duckdb.InternalException, duckdb.IOException) as error:
                if self._held:
                    self._held.let_go()  # after a fatal error it answers nothing more
                raise LakeError(f"{generation.file} can't be read: {first_line(error)}; {self._way_back()}") from error
            except (duckdb.Error, pa.ArrowException, OSError) as error:  # what DuckDB meets while rows are fetched, too
                if has_expired.is_set():
                    raise QueryTimeout(
                        f"The query took longer than {timeout_s:g} s and was stopped; select less, or use "
                        "`market-pipeline query`, which has no such limit"
                    ) from error
                raise QueryError(str(error).strip()) from error
            finally:
                timer.cancel()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """The writer's place, for a build that ends in `publish`; `Busy` when another process or thread has it. Taken
        again by the thread that has it, it does nothing."""
        if self._writer == threading.get_ident():
            yield
            return
        with snapshots.writer_lock(self.folder):
            self._writer = threading.get_ident()
            try:
                yield
            finally:
                self._writer = None

    def publish(
        self,
        build_db: Path,
        *,
        tables: Sequence[str],
        statements: Sequence[str] = (),
        newest: Mapping[str, str],
        is_partial: bool,
        missing: Sequence[Mapping[str, str]],
        inputs_sha256: str,
        profile: str,
        now: dt.datetime,
        keep: int = 3,
        orders: Mapping[str, Sequence[str]] | None = None,
        project_sha256: str = "",
        incremental: Sequence[str] = (),
    ) -> Generation:
        """Copy `tables` of a private build file into a new generation, run `statements` in it (views and macros, names
        unqualified), read it back whole and move the pointer. Nothing may have the build file open."""
        with self.lock():
            return snapshots.publish(
                self.folder,
                build_db,
                tables=tables,
                statements=statements,
                newest=newest,
                is_partial=is_partial,
                missing=missing,
                inputs_sha256=inputs_sha256,
                profile=profile,
                now=now,
                keep=max(keep, 3),
                orders=orders,
                project_sha256=project_sha256,
                incremental=incremental,
            )

    def write_health(self, health: Health) -> None:
        """Replace what the newest run left, as a whole."""
        snapshots.write_health(self.folder, health)

    def verify(self) -> Generation:
        """The generation in force, after comparing its bytes with its hash."""
        found = self.current()
        if found is None:
            raise self._nothing()
        snapshots.check(self.folder, found)
        return found

    def rollback(self, generation: str | None = None) -> Generation:
        """Point readers at a named generation, or at the newest sound one before the present; with an unreadable
        pointer, at the newest sound one. Its bytes are compared with its hash first."""
        with self.lock():
            found = self.generations()
            try:
                present = read_record(self.folder / snapshots.POINTER, Generation)
            except LakeError:
                present = None  # that is what the caller is mending
            if generation is None:
                wanted = [g for g in found if present is None or g.number < present.number]
            else:
                wanted = [g for g in found if g.generation == generation.zfill(6)]
            if not wanted:
                known = ", ".join(g.generation for g in found) or "none"
                which = "an earlier generation" if generation is None else f"generation {generation}"
                raise ObjectMissing(f"There is no {which} in {self.folder}; on disk: {known}")
            sound = self._newest_sound(wanted)
            snapshots.point(self.folder, sound)
            return sound

    def _newest_sound(self, wanted: Sequence[Generation]) -> Generation:
        """The first of these whose bytes are the published ones; the first one's HashMismatch when there is none."""
        mismatch: HashMismatch | None = None
        for generation in wanted:
            try:
                snapshots.check(self.folder, generation)
            except HashMismatch as error:
                mismatch = mismatch or error
            else:
                return generation
        raise mismatch or AssertionError("somebody asks for one of none")

    def _open(self) -> tuple[duckdb.DuckDBPyConnection, Generation]:
        """Open what the pointer names. The pointer may move and the file be pruned in between: then look again."""
        name = ""
        for _ in range(_TRIES):
            found = self.current()
            if found is None:
                raise self._nothing()
            name = found.file
            path = self.folder / name
            if not path.is_file():
                continue
            try:
                return (self._held.open if self._held else snapshots.open_guarded)(path), found
            except (duckdb.Error, FileNotFoundError) as error:
                if path.is_file():
                    raise LakeError(f"{found.file} can't be opened: {first_line(error)}; {self._way_back()}") from error
        raise ObjectMissing(f"{name}, which CURRENT names, is not in {self.folder}; {self._way_back()}")

    def _nothing(self) -> ObjectMissing:
        return ObjectMissing(
            f"Nothing is published in {self.folder}; `make demo` fills it with sample data, "
            "`market-pipeline run all` with real data"
        )

    def _way_back(self) -> str:
        good = self.generations()
        if not good:
            return "`market-pipeline run gold` builds it again"
        return (
            f"`market-pipeline rollback {good[0].generation}` serves the last recorded generation "
            f"(published {good[0].published_at}), `market-pipeline run gold` builds a new one"
        )


def _run(
    con: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None
) -> duckdb.DuckDBPyConnection:
    """Run one reading statement."""
    statements = con.extract_statements(sql)
    if len(statements) != 1 or statements[0].type not in _ALLOWED:
        raise QueryError("Write one SELECT (or DESCRIBE, SUMMARIZE, EXPLAIN); the published snapshot is read-only")
    given = parameters if parameters is None or isinstance(parameters, Mapping) else list(parameters)
    if _MAY_ACT.search(sql):
        _refuse_acts(con, sql, given, is_explain=statements[0].type == duckdb.StatementType.EXPLAIN)
    return con.execute(statements[0], given)


def _refuse_acts(
    con: duckdb.DuckDBPyConnection, sql: str, given: Mapping[str, Any] | list[Any] | None, *, is_explain: bool
) -> None:
    """QueryError for a statement whose plan has a function that acts. DuckDB's own plan tells, for a text can hide it;
    what EXPLAIN would explain can't be explained, so there nothing that looks like it passes."""
    if is_explain:
        raise QueryError("EXPLAIN of a query that names logs, profiles, checkpoints or query() is not answered")
    ((_, plan),) = con.execute(f"explain (format json) {sql}", given).fetchall()
    acts = set(re.findall(r'"Function": "(\w+)"', plan)) & _ACTS
    if acts:
        raise QueryError(f"{min(acts).lower()} changes what others see of this process; a query only reads")


def _first(result: duckdb.DuckDBPyConnection, *, row_limit: int, byte_limit: int | None) -> tuple[pa.Table, bool]:
    """Fetch until a limit is reached, and whether there was more."""
    reader = result.to_arrow_reader(min(row_limit, _BATCH_ROWS if byte_limit is None else _SMALL_BATCH_ROWS) or 1)
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        count = min(batch.num_rows, row_limit - rows)
        while byte_limit is not None and count and size + batch.slice(0, count).nbytes > byte_limit:
            count -= 1
        rows, size = rows + count, size + batch.slice(0, count).nbytes
        batches.append(batch.slice(0, count))
        if count < batch.num_rows:
            if not rows and row_limit:
                raise QueryError(f"One row has over {(byte_limit or 0) >> 20} MB; select a part of its texts")
            return pa.Table.from_batches(batches, schema=reader.schema), True
    return pa.Table.from_batches(batches, schema=reader.schema), False


def _interrupt(con: duckdb.DuckDBPyConnection, has_expired: threading.Event) -> None:
    """Stop a running query; a connection closed in the meantime has nothing to stop."""
    has_expired.set()
    with contextlib.suppress(duckdb.Error):
        con.interrupt()
