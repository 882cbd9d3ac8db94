"""Gold explorer: the tables, what their columns mean, how they join, and SQL of your own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

import charts
import words
from cards import card, counted, palette, shortened
from market_pipeline.warehouse import QueryError
from warehouse import EXPLORE_BYTES, EXPLORE_ROWS, EXPLORE_SECONDS, Answer, answer, explore, sample

TITLE = "Gold explorer"
ICON = ":material/database_search:"
ORDER = 10
STARTER = """select symbol, week_start_date, adjusted_close_usd, weekly_return_ratio
from fact_adjusted_prices
order by week_start_date desc, symbol
limit 20"""


def model(columns: Answer, tables: Answer) -> None:
    """The stars as a diagram."""
    names = [row["table_name"] for row in tables.rows if row["kind"] == "table"]
    drawn = charts.model_diagram(columns.rows, names)
    relations = drawn.count(" ||--o{ ")
    alone = [name for name in names if f"    {name} {{" not in drawn]
    card(
        "model",
        f"{words.count(relations, 'relation')} join {words.count(len(names) - len(alone), 'table')}",
        columns,
        lambda: st.mermaid_chart(drawn, alt="Entity diagram of the gold tables and their keys"),
        note="Keys only. A line joins a key column to the dimension whose first column it is."
        + (f" Alone: {', '.join(alone)}." if alone else ""),
    )


def describe(columns: Answer, tables: Answer) -> None:
    """One table's columns with their meaning, type and profile."""
    names = [row["table_name"] for row in tables.rows]
    start = names.index("fact_adjusted_prices") if "fact_adjusted_prices" in names else 0
    name = st.selectbox("Table", names, index=start, key="table", bind="query-params", width=320)
    chosen = next(row for row in tables.rows if row["table_name"] == name)
    view = st.segmented_control(
        "Show",
        ["Columns", "Profile", "Rows"],
        default="Columns",
        required=True,
        key="table-view",
        bind="query-params",
        label_visibility="collapsed",
    )
    if view == "Profile":
        rows = sample(f'summarize "{name}"')
    elif view == "Rows":
        rows = sample(f'select * from "{name}" limit 200')  # noqa: S608 - a name from the catalog
    else:
        mine = columns.table.filter(pc.equal(columns.table["table_name"], name))
        rows = replace(columns, table=mine.select(["column_name", "data_type", "description"]))
    size = "a view" if chosen["kind"] == "view" else words.count(chosen["row_count"] or 0, "row")
    card(
        "table",
        f"{name}: {size}, {words.count(chosen['column_count'], 'column')}",
        rows,
        None,  # what columns mean is text
        note=chosen["description"] or "",
        empty=f"{name} has no rows yet. `market-pipeline run all` fills what has a source.",
        height=420,
    )


def ask() -> None:
    """A reader's own SQL, read-only and limited."""
    sql = st.text_area("SQL", value=STARTER, height=150, key="sql", bind="query-params", label_visibility="collapsed")
    st.caption(
        f"One SELECT, read-only, at most {EXPLORE_ROWS:,} rows, {EXPLORE_BYTES >> 20} MB and {EXPLORE_SECONDS:.0f} s. "
        "No files, no network. Ctrl+Enter runs it; the address keeps it."
    )
    started = time.monotonic()
    try:
        found, is_cut = explore(sql or STARTER)
    except QueryError as error:
        st.error("The query can't be answered", icon=":material/error:")
        st.code(str(error), language=None)
        return
    took = time.monotonic() - started
    title = f"{words.count(found.table.num_rows, 'row')} in {took:.2f} s"
    card(
        "query",
        f"{title}, the first of more" if is_cut else title,
        found,
        quick(found),
        is_list=True,
        note=f"Cut at {EXPLORE_ROWS:,} rows or {EXPLORE_BYTES >> 20} MB; `market-pipeline query` has no such limit."
        if is_cut
        else "",
        empty="The query has no rows.",
    )


def quick(found: Answer) -> Callable[[], object] | None:
    """A first picture of somebody's rows: lines over their first date, or bars of their first text; else none."""
    kinds = {field.name: field.type for field in found.table.schema}
    numbers = [name for name, kind in kinds.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)]
    days = [name for name, kind in kinds.items() if pa.types.is_date(kind)]
    texts = [name for name, kind in kinds.items() if pa.types.is_string(kind)]
    if not numbers or found.table.num_rows < 2:
        return None
    alt = f"{numbers[0]} of the query's rows"
    if days and not texts:
        ordered = found.table.sort_by(days[0]).select([days[0], *numbers[:4]]).rename_columns(["day", *numbers[:4]])
        return lambda: st.echarts_chart(
            charts.indexed(ordered, palette(), height=380), height=380, key="query-chart", alt=alt
        )
    if texts:
        shown, _ = shortened(found.table.slice(0, 40).select([texts[0], numbers[0]]), limit=80)
        return counted("query", shown.to_pylist(), name=texts[0], measure=numbers[0], title=numbers[0])
    return None


def functions(macros: Answer) -> None:
    """The table functions that the snapshot brings."""
    with st.expander(f"{words.count(macros.table.num_rows, 'table function')}: what was known when"):
        for row in macros.rows:
            call = f"{row['function_name']}({', '.join(row['parameters'])})"
            st.code(f"{call}\n\n{row['macro_definition']}", language=None)


def page() -> None:
    """Draw the page."""
    tables, columns, macros = answer("tables"), answer("columns"), answer("macros")
    rows = sum(row["row_count"] or 0 for row in tables.rows)
    st.caption(
        f"{words.count(tables.table.num_rows, 'table')}, {words.count(columns.table.num_rows, 'column')}, {rows:,} rows"
    )
    query, dictionary, diagram = st.tabs(
        ["SQL", "Tables", "Model"],
        key="tab",
        bind="query-params",
        on_change="rerun",
    )
    if query.open:
        with query:
            ask()
    if dictionary.open:
        with dictionary:
            describe(columns, tables)
            functions(macros)
    if diagram.open:
        with diagram:
            model(columns, tables)


page()
