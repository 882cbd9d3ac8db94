"""Dagster's PostgreSQL database: made where it is not there yet.

The address holds no password; libpq takes it from the file that PGPASSFILE names. What does not belong here: what is
in the database (Dagster's own storage).
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT

from market_pipeline.errors import ConfigurationError, StoreUnavailable

_PATIENCE_S = 60.0
_MAINTENANCE = "postgres"  # a database that every server has


def make(url: str) -> bool:
    """Make the database of an address where the server lacks it; True when it was made. A server that starts is waited
    for. Raises StoreUnavailable when nobody answers, ConfigurationError when the server refuses."""
    name = urlsplit(url).path.lstrip("/")
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            psycopg2.connect(url, connect_timeout=5).close()
            return False
        except psycopg2.OperationalError as error:
            said = str(error)
            if f'database "{name}" does not exist' in said:
                return _create(url, name)
            if "authentication" in said or "no password" in said:
                raise ConfigurationError(
                    "Dagster's database refuses the password; PGPASSFILE must name a file of mode 600 with the line "
                    "host:port:*:user:password"
                ) from None
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"Dagster's database at {urlsplit(url).hostname} does not answer; start it and run again"
                ) from None
            time.sleep(0.5)


def _create(url: str, name: str) -> bool:
    place = urlsplit(url)
    connection = psycopg2.connect(place._replace(path=f"/{_MAINTENANCE}").geturl(), connect_timeout=5)
    try:
        connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    except psycopg2.errors.DuplicateDatabase:
        return False
    except psycopg2.errors.InsufficientPrivilege:
        raise ConfigurationError(
            f"Dagster's user may not make the database {name}; make it, with that user as its owner"
        ) from None
    finally:
        connection.close()
    return True
