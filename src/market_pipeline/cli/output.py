"""How the command line speaks: data on stdout, progress and errors on stderr, no colour when NO_COLOR is set."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["table", "csv", "json", "parquet", "markdown"]

# Off a terminal a table is as wide as its data, so that nothing is cut from what another program reads.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 400)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """A line for people, on stderr."""
    err.print(text, markup=False)


def problem(text: str) -> None:
    """An error for people: what, why and the remedy in one sentence, on stderr."""
    err.print("error: ", style="bold red", end="")
    err.print(text, markup=False)


def data(value: Any) -> None:
    """JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A plain table on stdout."""
    grid = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in grid.columns:
        column.overflow = "fold"
    for row in rows:
        grid.add_row(*("" if cell is None else str(cell) for cell in row))
    out.print(grid)


def arrow(answer: pa.Table, *, form: Format, to: Path | None) -> None:
    """An Arrow table in one of the formats, to stdout or a file."""
    import polars as pl  # noqa: PLC0415 - only commands that print data pay for it

    frame = pl.DataFrame(pl.from_arrow(answer))
    if form == "parquet":
        frame.write_parquet(to if to else sys.stdout.buffer)
        return
    text = _text(frame, form)
    if to is None:
        sys.stdout.write(text)
    else:
        to.write_text(text, encoding="utf-8")


def _text(frame: Any, form: Format) -> str:
    import polars as pl  # noqa: PLC0415

    if form == "csv":
        return str(frame.write_csv())
    if form == "json":
        return json.dumps(frame.to_dicts(), indent=2, default=_plain) + "\n"
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=200,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_formatting="MARKDOWN" if form == "markdown" else "NOTHING",
    ):
        return f"{frame}\n"


def _plain(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
