"""Dagster's storage in PostgreSQL, whose processes keep a connection.

Dagster's own opens one for each question, an event of an asset asks several, and each costs milliseconds where the
server wants a password by SCRAM. Here the three storages of a process share an engine that keeps what it opened, and
asks whether it lives before it is used: a server that was away in between is no error. The web server replaces the
engines by its own, as it does with Dagster's storage. What does not belong here: which database, and that it exists
(`database`).
"""

from __future__ import annotations

from typing import Any, Self

from dagster._core.storage.sql import create_engine
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage

_KEPT, _MORE_AT_ONCE = 1, 20
# Before routers and balancers forget a silent connection; one that died without a word is given up in a minute.
_KEPT_S = 120
_WATCHED = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class KeptConnections(DagsterPostgresStorage):
    """The same tables as Dagster's own. It is for addresses that carry no password: no token is put into them."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        self._event_log_storage = _Events(postgres_url, should_autocreate_tables=False)
        engine = create_engine(
            postgres_url,
            isolation_level="AUTOCOMMIT",
            pool_size=_KEPT,
            max_overflow=_MORE_AT_ONCE,
            pool_recycle=_KEPT_S,
            pool_pre_ping=True,
            connect_args=_WATCHED,
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine  # as its own `optimize_for_webserver` does

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """How Dagster makes it from `dagster.yaml`."""
        return cls(config_value["postgres_url"], inst_data=inst_data)


class _Events(PostgresEventLogStorage):
    """The one of the three that an instance always disposes of; the others have the same engine."""

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()
