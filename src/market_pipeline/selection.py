"""Which rows and columns of a published table somebody asks for: names checked, then one SELECT.

The command line's `export` and `market_pipeline.read` ask the same way, so they give the same rows and the same errors.
What does not belong here: reading arguments, printing, formats.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pyarrow as pa

from market_pipeline.errors import ConfigurationError, unknown
from market_pipeline.snapshots import quoted
from market_pipeline.warehouse import Generation, Warehouse

# A table's rows are of the first of these days that it has.
DATES = ("calendar_date", "session_date", "week_start_date", "effective_date", "slice_start_date")
VERSIONED = ("known_from", "known_to")
_SECONDS = 3600.0


def select(
    warehouse: Warehouse,
    table: str,
    *,
    columns: Sequence[str] | None = None,
    symbols: Sequence[str] | None = None,
    since: dt.date | None = None,
    until: dt.date | None = None,
    as_of: dt.datetime | None = None,
) -> tuple[pa.Table, Generation]:
    """The rows of a table or view in the order they are published in, and the generation they are of.

    `columns` and `symbols` None are all of them; no symbols are no rows. `since` and `until` are days, both included.
    `as_of` is an instant with a zone, for tables that keep versions: the rows that were in force then. A name that does
    not exist is a ConfigurationError with the closest one that does.
    """
    with warehouse.connect():  # keeps the file open, so that each query here opens it at no cost
        present = column_names(warehouse, table)
        for name in columns or ():
            if name not in present:
                raise unknown(f"column of {table}", name, present)
        where: list[str] = []
        values: dict[str, object] = {}
        if since is not None or until is not None:
            day = _day_column(table, present)
            if since is not None:
                where.append(f"{day} >= $since")
                values["since"] = since
            if until is not None:
                where.append(f"{day} <= $until")
                values["until"] = until
        if symbols is not None:
            _refuse_unknown_symbols(warehouse, table, present, symbols)
            where.append("symbol in (select unnest($symbols::varchar[]))")
            values["symbols"] = list(symbols)
        if as_of is not None:
            _refuse_without_versions(warehouse, table, present)
            where.append("known_from <= $as_of::timestamptz and (known_to is null or known_to > $as_of::timestamptz)")
            values["as_of"] = as_of.isoformat()
        wanted = "*" if columns is None else ", ".join(map(quoted, columns))
        clause = f" where {' and '.join(where)}" if where else ""
        return warehouse.query(f"select {wanted} from {quoted(table)}{clause}", values or None, timeout_s=_SECONDS)  # noqa: S608 - quoted


def column_names(warehouse: Warehouse, table: str) -> tuple[str, ...]:
    """The columns of a table or view, in its order."""
    sql = "select column_name from information_schema.columns where table_name = $1 order by ordinal_position"
    found, _ = warehouse.query(sql, [table])
    names = tuple(str(row["column_name"]) for row in found.to_pylist())
    if not names:
        raise unknown("table", table, _tables_with(warehouse))
    return names


def _tables_with(warehouse: Warehouse, *columns: str) -> tuple[str, ...]:
    """The tables and views that have these columns."""
    sql = """
        select table_name from information_schema.columns
        group by table_name
        having list_has_all(list(column_name), $1::varchar[])
        order by table_name
    """
    found, _ = warehouse.query(sql, [list(columns)])
    return tuple(str(row["table_name"]) for row in found.to_pylist())


def _day_column(table: str, present: Sequence[str]) -> str:
    column = next((name for name in DATES if name in present), None)
    if column is None:
        raise ConfigurationError(f"{table} has no day to select by; leave out since and until")
    return column


def _refuse_unknown_symbols(warehouse: Warehouse, table: str, present: Sequence[str], symbols: Sequence[str]) -> None:
    if "symbol" not in present:
        raise ConfigurationError(f"{table} has no symbol to select by; leave out the symbols")
    known, _ = warehouse.query(f"select distinct symbol from {quoted(table)} where symbol is not null order by 1")  # noqa: S608 - quoted
    names = [str(row["symbol"]) for row in known.to_pylist()]
    for symbol in sorted(set(symbols) - set(names)):
        raise unknown(f"symbol in {table}", symbol, names)


def _refuse_without_versions(warehouse: Warehouse, table: str, present: Sequence[str]) -> None:
    if set(VERSIONED) <= set(present):
        return
    kept = ", ".join(_tables_with(warehouse, *VERSIONED))
    raise ConfigurationError(
        f"{table} holds what is known now; versions are in {kept}, and in SQL "
        "price_history_asof(known_at) and prices_asof(day, known_at) choose among the providers as of an instant"
    )
