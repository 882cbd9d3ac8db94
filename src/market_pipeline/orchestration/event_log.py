"""Dagster's event log on SQLite, with events stored in batches.

A run has a file of its own. Dagster makes each by Alembic, which reads every migration twice for it: half a second.
Here the first file is kept as a model while it is empty, and the others are copies of it.

Dagster's own storage opens two databases and commits to each, event by event: 19 s for two assets of 252 slices, of
which batches leave 1 s (measured). It stores events in batches only where DAGSTER_EVENT_BATCH_SIZE says so.
What does not belong here: which events there are.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, CursorResult, Engine, create_engine
from sqlalchemy.pool import NullPool

BATCH_SIZE_VARIABLE, BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE", "1000"
_ENGINES_MAX = 16


class BatchedEventLog(SqliteEventLogStorage):
    """The same files and tables as Dagster's own. An engine is kept per file, so that statements are compiled once;
    connections are not, because processes fork."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """How Dagster makes it from `dagster.yaml`."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engines.pop(shard, None) or create_engine(
                self.conn_string_for_shard(shard),
                poolclass=NullPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
            self._engines[shard] = engine  # the newest last: the first is the one that was not used for longest
            if len(self._engines) > _ENGINES_MAX:
                self._engines.pop(next(iter(self._engines))).dispose()
            if shard not in self._initialized_dbs:
                is_new = not self._file(shard).exists()
                if not (is_new and self._copy_model(shard)):
                    self._initdb(engine)
                    if is_new and shard != INDEX_SHARD_NAME:
                        self._keep_model(shard)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _file(self, shard: str) -> Path:
        return Path(self.path_for_shard(shard))

    @property
    def _model(self) -> Path:
        """An empty run's file of this version of Dagster; its name is none of a run's file."""
        return Path(self._base_dir) / f"empty-{version('dagster')}.sqlite"

    def _copy_model(self, shard: str) -> bool:
        """Make a run's file from the model, whole or not at all. False without a model, or when another was faster."""
        if shard == INDEX_SHARD_NAME or not self._model.is_file():
            return False
        copy = self._file(shard).with_suffix(f".{os.getpid()}")
        shutil.copyfile(self._model, copy)
        try:
            os.link(copy, self._file(shard))
        except FileExistsError:
            return False
        finally:
            copy.unlink()
        return True

    def _keep_model(self, shard: str) -> None:
        temporary = self._model.with_suffix(f".{os.getpid()}")
        with closing(sqlite3.connect(self._file(shard))) as made, closing(sqlite3.connect(temporary)) as model:
            made.backup(model)
        temporary.replace(self._model)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the events of one run: those about assets in one commit per file, the others one by one."""
        about_assets = [event for event in events if event.dagster_event_type in ASSET_EVENTS]
        if about_assets:
            self._store_asset_events(about_assets)
        for event in events:
            if event.dagster_event_type not in ASSET_EVENTS:
                self.store_event(event)

    def _store_asset_events(self, events: Sequence[EventLogEntry]) -> None:
        """What `store_event` does, for many. An asset's own row is about its last event of a kind: it is noted."""
        rows = [self._event_to_row(event) for event in events]
        insert = SqlEventLogStorageTable.insert()
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(insert, rows)
        with self.index_transaction() as connection:
            ids = [_inserted(connection.execute(insert, row)) for row in rows]
            self._store_asset_event_tags(connection, events, ids)
            newest = {(e.get_dagster_event().asset_key, e.dagster_event_type): n for n, e in enumerate(events)}
            for number in newest.values():
                self._store_asset_event(connection, events[number], ids[number])


def _inserted(result: CursorResult[Any]) -> int:
    """The number that the database gave to an inserted event."""
    if result.inserted_primary_key is None:
        raise AssertionError("an inserted event has a number")
    return int(result.inserted_primary_key[0])
