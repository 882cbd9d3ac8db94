"""The pages' only door to gold: named `.sql` files, answered once per generation.

An answer belongs to one generation. Should the pointer move while a page is drawn, the page starts again, so that no
page shows two generations. What does not belong here: how anything looks.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import streamlit as st

from market_pipeline import guests
from market_pipeline.settings import Settings, load_settings
from market_pipeline.warehouse import Generation, Health, Held, QueryError, QueryTimeout, Warehouse

QUERIES = Path(__file__).parent / "queries"
EXPLORE_ROWS = 5_000
EXPLORE_BYTES = 16 << 20
EXPLORE_SECONDS = 10.0
_PAGE_SECONDS = 20.0
_HELD = Held()  # this server's one: opened anew for each query, a file costs more than the query


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of one query, with what a reader needs to run it again."""

    name: str
    sql: str
    parameters: dict[str, Any]
    table: pa.Table
    origin: str = ""  # where rows come from that no SQL gave

    @property
    def source(self) -> str:
        """What was asked, as it runs wherever it is pasted."""
        return runnable(self.sql, self.parameters)

    @property
    def is_empty(self) -> bool:
        """True without rows."""
        return int(self.table.num_rows) == 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row as a dictionary; for small answers."""
        found: list[dict[str, Any]] = self.table.to_pylist()
        return found

    @property
    def last(self) -> dict[str, Any]:
        """The last row."""
        found: dict[str, Any] = self.table.slice(self.table.num_rows - 1).to_pylist()[0]
        return found

    @property
    def first(self) -> dict[str, Any]:
        """The first row."""
        found: dict[str, Any] = self.table.slice(0, 1).to_pylist()[0]
        return found


def settings() -> Settings:
    """This profile's settings. `.env` is read once: a server that runs keeps the one it started with."""
    return _settings(frozenset(item for item in os.environ.items() if item[0].startswith("MARKET_PIPELINE_")))


@functools.lru_cache(maxsize=4)
def _settings(variables: frozenset[tuple[str, str]]) -> Settings:  # noqa: ARG001 - the cache's key
    return load_settings()


def warehouse() -> Warehouse:
    """This profile's published gold."""
    return Warehouse(settings().warehouse, held=_HELD)


def generation() -> Generation | None:
    """The generation in force."""
    return warehouse().current()


def health() -> Health | None:
    """What the newest run left."""
    return warehouse().health()


def as_of() -> dt.datetime:
    """The time it was for the newest run: what lateness is measured against."""
    found = health()
    return dt.datetime.fromisoformat(found.as_of) if found else settings().now()


def answer(name: str, *, over: str = "", **parameters: Any) -> Answer:
    """Answer `queries/<name>.sql` from the generation in force; `over` names the query that gives it its `bars`."""
    door = warehouse()
    current = door.current()
    identity = "" if current is None else current.sha256
    sql = _text(name) if not over else joined(_text(name), bars=_text(over))
    parameters = {key: value for key, value in parameters.items() if re.search(rf"\${key}\b", sql)}
    try:
        table, seen = _ask(str(door.folder), identity, sql, tuple(sorted(parameters.items())))
    except QueryTimeout:
        raise
    except QueryError as error:
        which = "The published gold" if current is None else f"Generation {current.generation}"
        reason = str(error).splitlines()[0]
        raise QueryError(
            f"{which} was built by another version of the pipeline, this page can't read it ({reason}); "
            "`market-pipeline run gold` builds it again from what is stored"
        ) from error
    if identity and seen != identity:
        st.rerun()  # published in between: draw the page again, whole
    return Answer(name, sql, parameters, table)


def explore(sql: str) -> tuple[Answer, bool]:
    """Answer somebody's own SQL within limits, in a process of its own; the second value says whether rows were left
    out."""
    table, is_cut = guests.ask(
        warehouse().folder, sql, row_limit=EXPLORE_ROWS, byte_limit=EXPLORE_BYTES, timeout_s=EXPLORE_SECONDS
    )
    return Answer("query", sql, {}, table), is_cut


def sample(sql: str) -> Answer:
    """Answer SQL of ours on a table that the catalog names."""
    table, _ = warehouse().first(sql, row_limit=EXPLORE_ROWS, byte_limit=EXPLORE_BYTES, timeout_s=EXPLORE_SECONDS)
    return Answer("query", sql, {}, table)


def told(name: str, rows: pa.Table, *, origin: str) -> Answer:
    """Rows that are not from gold, such as what the newest run left; `origin` says where else they are found."""
    return Answer(name, "", {}, rows, origin)


def joined(sql: str, *, bars: str) -> str:
    """One query, with another's rows under the name `bars`."""
    notes = [line for line in sql.splitlines() if line.startswith("--")]
    body = sql.removeprefix("\n".join(notes)).lstrip()
    body = f",\n\n{body.removeprefix('with ')}" if body.startswith("with ") else f"\n\n{body}"
    said = "\n".join(notes)
    return f"{said}\nwith bars as not materialized (\n{bars.strip()}\n){body}"


def runnable(sql: str, parameters: Mapping[str, Any]) -> str:
    """The SQL with its parameters filled in."""
    for name in sorted(parameters, key=len, reverse=True):
        value = parameters[name]
        if value is None:
            text = "null"
        elif isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, (int, float)):
            text = str(value)
        else:
            text = "'" + str(value).replace("'", "''") + "'"
        sql = sql.replace(f"${name}", text)
    return sql.strip()


def _text(name: str) -> str:
    return (QUERIES / f"{name}.sql").read_text(encoding="utf-8")


@st.cache_data(max_entries=512, show_spinner="Reading gold")
def _ask(folder: str, identity: str, sql: str, parameters: tuple[tuple[str, Any], ...]) -> tuple[pa.Table, str]:  # noqa: ARG001 - `identity` is part of the cache's key
    table, seen = Warehouse(Path(folder), held=_HELD).query(sql, dict(parameters) or None, timeout_s=_PAGE_SECONDS)
    return table, seen.sha256
