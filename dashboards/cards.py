"""One card: a sentence with its numbers, the chart or its table, downloads, a link, and the SQL behind it.

Also the states a page can be in without data: what is missing and the command that mends it, never a trace.
"""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import streamlit as st

import charts
from charts import DARK, LIGHT, Palette
from market_pipeline.warehouse import MarketPipelineError
from warehouse import Answer

FIRST_CARD_S = 1.1
LONGEST = 2_000  # characters of a text in a table


def palette() -> Palette:
    """The colours for the theme this browser shows."""
    return LIGHT if st.context.theme.type == "light" else DARK


def card(
    key: str,
    title: str,
    answer: Answer,
    draw: Callable[[], object] | None,
    *,
    note: str = "",
    empty: str = "",
    is_list: bool = False,
    height: int | None = None,
) -> None:
    """Show an answer. `key` names the card in links; without `draw` it is a table, a list shows its table first;
    `empty` stands in for no rows."""
    with st.container(border=True, key=f"card-{key}"):
        with st.container(
            horizontal=True,
            vertical_alignment="center",
            horizontal_alignment="distribute",
            wrap=False,
            key=f"head-{key}",
        ):
            st.subheader(title, anchor=key, width="stretch")
            is_table = draw is None
            if draw is not None and not answer.is_empty:
                view = st.segmented_control(
                    f"Show {key} as",
                    ["Chart", "Table"],
                    default="Table" if is_list else "Chart",
                    required=True,
                    key=f"{key}-view",
                    bind="query-params",
                    label_visibility="collapsed",
                )
                is_table = view == "Table"
            _menu(key, answer)
        if answer.is_empty:
            st.info(empty or "No rows.", icon=":material/inbox:")
        elif is_table or draw is None:
            table(answer.table, height=height)
        else:
            draw()
        if note:
            st.caption(note)
    _let_it_draw()


def counted(
    key: str, rows: Sequence[Mapping[str, Any]], *, name: str, measure: str, title: str
) -> Callable[[], object] | None:
    """What draws counts as bars; None when there is nothing to count."""
    shown = [row for row in rows if row[measure] is not None]
    if not shown:
        return None
    spec = charts.counts(shown, palette(), name=name, measure=measure, title=title)
    return lambda: st.echarts_chart(spec, height=max(30 * len(shown) + 50, 160), key=f"{key}-chart", alt=title)


def totals(rows: Iterable[Mapping[str, Any]], *, name: str, measure: str = "") -> list[dict[str, Any]]:
    """The measure summed up by a name, or the rows counted, the largest 20 first."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row[name]] += row[measure] if measure else 1
    return [{name: key, measure or "count": count} for key, count in sums.most_common(20)]


def table(rows: pa.Table, *, height: int | None = None) -> None:
    """A table whose columns are formatted by the unit in their name."""
    shown, is_shortened = shortened(rows)
    st.dataframe(shown, hide_index=True, height=height or "auto", placeholder="—", column_config=_formats(rows))
    if is_shortened:
        st.caption(f"Texts of over {LONGEST:,} characters are cut here; the downloads have them whole.")


def shortened(rows: pa.Table, *, limit: int = LONGEST) -> tuple[pa.Table, bool]:
    """The rows with their texts cut, and whether any was: a browser stands still over a text of a megabyte."""
    is_shortened = False
    for index, field in enumerate(rows.schema):
        if pa.types.is_string(field.type) and (pc.max(pc.utf8_length(rows[index])).as_py() or 0) > limit:
            texts = pc.utf8_replace_slice(rows[index], start=limit, stop=1 << 31, replacement="…")
            is_long = pc.greater(pc.utf8_length(rows[index]), limit)
            rows = rows.set_column(index, field.name, pc.if_else(is_long, texts, rows[index]))
            is_shortened = True
    return rows, is_shortened


def problem(error: MarketPipelineError) -> None:
    """An error of ours: its text already says what, why and which command mends it."""
    st.error(str(error), icon=":material/error:")


def nothing_yet(folder: str) -> None:
    """Before the first publish."""
    st.info(
        f"**Nothing is published yet.** `{folder}` holds no generation.\n\n"
        "- `make demo` fills it with a fictional market: no key, no network, about a minute.\n"
        "- `market-pipeline init --with alpha_vantage`, then `market-pipeline run all`, fills it with real data.\n\n"
        "This page shows the first generation within two seconds of its publishing.",
        icon=":material/rocket_launch:",
    )


def link(key: str) -> str:
    """The address of a card as it is now."""
    query = urlencode(st.query_params.to_dict(), doseq=True)
    address = (st.context.url or "").split("?")[0]
    if address.count("/") == 2:
        address += "/"  # the home page
    return f"{address}{'?' + query if query else ''}#{key}"


def _let_it_draw() -> None:
    """Hold the rest of the page back for a moment after a visit's first card. A browser puts off drawing for as long as
    more arrives: with all cards at once the first one is seen later, and the last one no sooner."""
    if "is_first_card_drawn" not in st.session_state:
        st.session_state["is_first_card_drawn"] = True
        if st.context.url:  # a test has no browser that draws
            time.sleep(FIRST_CARD_S)


def _menu(key: str, answer: Answer) -> None:
    with st.popover("Data", icon=":material/download:", help="Download, link, SQL", type="tertiary"):
        st.markdown(f"**{answer.table.num_rows:,} rows**, {answer.table.num_columns} columns")
        with st.container(horizontal=True):
            st.download_button(
                "CSV",
                lambda: _csv(answer.table),
                file_name=f"{key}.csv",
                mime="text/csv",
                icon=":material/download:",
                on_click="ignore",
                key=f"{key}-csv",
            )
            st.download_button(
                "Parquet",
                lambda: _parquet(answer.table),
                file_name=f"{key}.parquet",
                mime="application/vnd.apache.parquet",
                icon=":material/download:",
                on_click="ignore",
                key=f"{key}-parquet",
            )
        st.caption("Link to this card")
        st.code(link(key), language=None, wrap_lines=True)
        if answer.sql:
            st.caption("The SQL behind it")
            st.code(answer.source, language="sql")
        else:
            st.caption(f"No SQL is behind it: {answer.origin}")


def _csv(rows: pa.Table) -> bytes:
    for index, field in enumerate(rows.schema):
        if pa.types.is_nested(field.type):  # a cell holds no list: it gets the list's text
            texts = [None if value is None else json.dumps(value, default=str) for value in rows[index].to_pylist()]
            rows = rows.set_column(index, field.name, pa.array(texts, pa.string()))
    buffer = io.BytesIO()
    pa_csv.write_csv(rows, buffer)
    return buffer.getvalue()


def _parquet(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pa_parquet.write_table(rows, buffer)
    return buffer.getvalue()


def _formats(rows: pa.Table) -> dict[str, Any]:
    formats: dict[str, Any] = {}
    for name in rows.column_names:
        if (name.endswith("_ratio") and not name.endswith("split_ratio")) or name == "provider_score":
            formats[name] = st.column_config.NumberColumn(name, format="percent")
        elif name.endswith(("dollar_volume_usd", "market_capitalization", "_shares")):
            formats[name] = st.column_config.NumberColumn(name, format="compact")
        elif name.endswith(("_usd", "_value")):
            formats[name] = st.column_config.NumberColumn(name, format="%.4f")
        elif "zscore" in name:
            formats[name] = st.column_config.NumberColumn(name, format="%+.2f")
        elif name.endswith("_at"):
            formats[name] = st.column_config.DatetimeColumn(name, format="YYYY-MM-DD HH:mm", timezone="UTC")
        elif name in ("description", "row_json", "bronze_key", "macro_definition", "absent"):
            formats[name] = st.column_config.TextColumn(name, width="large")
    return formats
