"""Published gold as Polars frames: what `import market_pipeline` offers to a program.

    import market_pipeline as mp

    mp.tables()                                                     what there is
    mp.read("fact_daily_price", symbols=["IBM"], since="2026-01-01")
    mp.sql("select * from prices_asof($day, $known_at)", {"day": "2026-11-12", "known_at": "2026-11-15"})

Everything is read from the generation in force, read-only and without access to anything else on the machine. In a
frame a calendar date is a Date, an instant is a Datetime in UTC, a price is in USD (`_usd`), and a `_ratio` of 0.01 is
1 %. What does not belong here: which rows a question means (`selection`), and anything that writes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from market_pipeline import selection
from market_pipeline.errors import ConfigurationError, unknown
from market_pipeline.settings import load_settings
from market_pipeline.warehouse import Generation, QueryError, Warehouse

_TABLES = """
    with relations as (
        select table_name, 'table' as kind, estimated_size as row_count, comment from duckdb_tables() where not internal
        union all
        select view_name, 'view', null, comment from duckdb_views() where not internal
    )
    select table_name as "table", kind, row_count::bigint as "rows", comment as description
    from relations
    order by "table"
"""
_COLUMNS = """
    select column_name as "column", lower(data_type) as type, comment as description
    from duckdb_columns()
    where table_name = $1 and not internal
    order by column_index
"""


def read(
    table: str,
    *,
    symbols: str | Sequence[str] | None = None,
    since: dt.date | str | None = None,
    until: dt.date | str | None = None,
    columns: Sequence[str] | None = None,
    as_of: dt.datetime | dt.date | str | None = None,
    profile: str | None = None,
) -> pl.DataFrame:
    """The rows of one published table or view, in the order they are published in.

    `symbols` are spellings as the table's `symbol` has them, one or several; None is everybody, an empty list nobody.
    `since` and `until` are calendar days of the exchange, both included, as date or ISO text; they apply to the table's
    calendar or session day, else to its week, effective or slice day. `columns` gives the frame's columns and their
    order. `as_of` is for tables that keep versions (`known_from`, `known_to`): the rows that were in force at that
    instant; a text without a zone is in UTC, a date is its midnight. `profile` is another lake than the settings say.

    Raises ConfigurationError for a table, column, symbol or profile that does not exist, with the closest that does;
    ObjectMissing when nothing is published; QueryError when the answer needs more memory than a reader may have.
    """
    found, _ = selection.select(
        _warehouse(profile),
        table,
        columns=None if columns is None else _texts(columns, "columns"),
        symbols=None if symbols is None else _texts(symbols, "symbols"),
        since=_day(since, "since"),
        until=_day(until, "until"),
        as_of=_instant(as_of),
    )
    return from_arrow(found)


def sql(
    query: str,
    parameters: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    row_limit: int | None = None,
    timeout_s: float = 3600.0,
    profile: str | None = None,
) -> pl.DataFrame:
    """The answer to one SELECT (or DESCRIBE, SUMMARIZE, EXPLAIN) in DuckDB's SQL, at most `row_limit` rows of it.

    `parameters` are values for `$name` (a mapping) or `$1`, `$2` (a sequence). Columns of one name become `a`, `a_1`; a
    span of months or days is text; a sum of whole numbers is a Decimal, as DuckDB has it.

    Raises QueryError with DuckDB's own words and did-you-mean, QueryTimeout after `timeout_s` seconds, ObjectMissing
    when nothing is published.
    """
    found, _ = _warehouse(profile).query(query, parameters, row_limit=row_limit, timeout_s=timeout_s)
    return from_arrow(found)


def tables(*, profile: str | None = None) -> pl.DataFrame:
    """What is published, one row per table or view: table, kind, rows (null for a view), description."""
    return sql(_TABLES, profile=profile)


def columns(table: str, *, profile: str | None = None) -> pl.DataFrame:
    """What a table or view holds, one row per column: column, type, description (with unit, window and basis)."""
    warehouse = _warehouse(profile)
    selection.column_names(warehouse, table)
    found, _ = warehouse.query(_COLUMNS, [table])
    return from_arrow(found)


def generation(*, profile: str | None = None) -> Generation | None:
    """The generation in force: its number, hash, time of publication, newest days, and who is missing; None before the
    first one. Write it down beside a result, and `market-pipeline rollback` can bring it back while it is kept."""
    return _warehouse(profile).current()


def from_arrow(answer: pa.Table) -> pl.DataFrame:
    """A frame of an Arrow table in what Polars can hold: each name once (`a`, `a_1`), an interval as text."""
    names: list[str] = []
    for name in answer.column_names:
        number, free = 0, name
        while free in names:
            number, free = number + 1, f"{name}_{number + 1}"
        names.append(free)
    answer = answer.rename_columns(names)
    for position, field in enumerate(answer.schema):
        if pa.types.is_interval(field.type):
            spans = [None if v is None else _span(*v) for v in answer.column(position).to_pylist()]
            answer = answer.set_column(position, field.name, pa.array(spans, pa.string()))
    try:
        return pl.DataFrame(pl.from_arrow(answer))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        kinds = ", ".join(f"{field.name} ({field.type})" for field in answer.schema if pa.types.is_nested(field.type))
        raise QueryError(f"Polars can't hold {kinds or 'this answer'}; cast it, to text for instance") from error


def _span(months: int, days: int, nanoseconds: int) -> str:
    parts = ((months, "months"), (days, "days"), (nanoseconds / 1e9, "seconds"))
    return " ".join(f"{number:g} {unit}" for number, unit in parts if number) or "0 days"


def _warehouse(profile: str | None) -> Warehouse:
    """The gold of the settings' profile, or of another one that has a warehouse."""
    settings = load_settings()
    if profile is None or profile == settings.profile:
        return Warehouse(settings.warehouse)
    known = sorted(folder.parent.name for folder in settings.home.glob("*/warehouse"))
    if profile not in known:
        raise unknown("profile", profile, known)
    return Warehouse(replace(settings, fields=settings.fields.model_copy(update={"profile": profile})).warehouse)


def _texts(given: str | Sequence[str], what: str) -> tuple[str, ...]:
    try:
        texts = (given,) if isinstance(given, str) else tuple(given)
    except TypeError:
        raise ConfigurationError(f"{what} is {given!r}; write one text or a list of them") from None
    if what == "columns" and not texts:
        raise ConfigurationError("columns is empty; leave it out for all of them")
    for text in texts:
        if not isinstance(text, str):
            raise ConfigurationError(f"{what} holds {text!r}, which is no text")
    return texts


def _day(given: dt.date | str | None, what: str) -> dt.date | None:
    if given is None or (isinstance(given, dt.date) and not isinstance(given, dt.datetime)):
        return given
    if isinstance(given, dt.datetime):
        raise ConfigurationError(
            f"{what} is a day of the exchange, not an instant; write a date, such as .date() of it"
        )
    try:
        return dt.date.fromisoformat(given)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{what} {given!r} is no date; write YYYY-MM-DD") from None


def _instant(given: dt.datetime | dt.date | str | None) -> dt.datetime | None:
    if given is None:
        return None
    if isinstance(given, dt.datetime):
        if given.tzinfo is None:
            raise ConfigurationError(f"as_of {given} has no time zone; write it with tzinfo=datetime.UTC")
        return given
    try:
        found = dt.datetime.fromisoformat(given.isoformat() if isinstance(given, dt.date) else given)
    except (TypeError, ValueError):
        raise ConfigurationError(f"as_of {given!r} is no instant; write 2026-11-15T21:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)
