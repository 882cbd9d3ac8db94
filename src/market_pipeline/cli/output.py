"""How the command line speaks: data on stdout, progress and errors on stderr, no colour when NO_COLOR is set."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from market_pipeline import logs
from market_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger("market_pipeline.cli")

Format = Literal["table", "csv", "json", "parquet", "markdown"]

# What a terminal obeys or does not show; a provider may send it in a name.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")

# Off a terminal a table is as wide as its data, so that nothing is cut from what another program reads.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 400)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """A line for people, on stderr."""
    if logs.is_on():
        logs.tell(_log, text)
        return
    err.print(text, markup=False)


def problem(text: str) -> None:
    """An error for people: what, why and the remedy in one sentence, on stderr."""
    if logs.is_on():
        logs.tell(_log, text, level=logging.ERROR)
        return
    err.print("error: ", style="bold red", end="")
    err.print(text, markup=False)


def visible(text: str) -> str:
    """The text with control characters, and those without width, as the escapes that Python writes for them."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def data(value: Any) -> None:
    """JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A plain table on stdout."""
    grid = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in grid.columns:
        column.overflow = "fold"
    for row in rows:
        grid.add_row(*(Text("" if cell is None else visible(str(cell))) for cell in row))
    out.print(grid)


def arrow(answer: pa.Table, *, form: Format, to: Path | None) -> None:
    """An Arrow table in one of the formats, to stdout or a file."""
    from market_pipeline.frames import from_arrow  # noqa: PLC0415 - only commands that print data pay for it

    if to is not None and not to.parent.is_dir():
        raise ConfigurationError(f"There is no folder {to.parent}; make it, or choose another place for {to.name}")
    frame = from_arrow(answer)
    if form == "parquet":
        frame.write_parquet(to if to else sys.stdout.buffer)
        return
    text = _text(frame, form, is_cut=to is None and sys.stdout.isatty())
    if to is None:
        sys.stdout.write(text)
    else:
        to.write_text(text, encoding="utf-8")


def _text(frame: Any, form: Format, *, is_cut: bool) -> str:
    """The frame as text; only a person's terminal gets long cells cut."""
    import polars as pl  # noqa: PLC0415

    if form == "csv":
        nested = [name for name, kind in frame.schema.items() if kind.is_nested() or kind == pl.Binary]
        return str(frame.with_columns(*[_as_json(frame.get_column(name)) for name in nested]).write_csv())
    if form == "json":
        return json.dumps(_plain_numbers(frame.to_dicts()), indent=2, default=_plain, allow_nan=False) + "\n"
    if form == "markdown":
        breaks = pl.col(pl.String).str.replace_all("|", r"\|", literal=True).str.replace_all(r"\r?\n", " ")
        frame = frame.with_columns(breaks)
    frame = frame.with_columns(pl.col(pl.String).str.replace_all("\n", r"\n", literal=True))
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=200 if is_cut else 1_000_000,
        fmt_table_cell_list_len=10 if is_cut else -1,
        fmt_float="full",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_formatting="MARKDOWN" if form == "markdown" else "NOTHING",
    ):
        return "".join(f"{visible(line)}\n" for line in f"{frame}".split("\n"))


def _as_json(column: Any) -> Any:
    import polars as pl  # noqa: PLC0415

    cells = [
        None if v is None else json.dumps(_plain_numbers(v), default=_plain) if column.dtype.is_nested() else _plain(v)
        for v in column.to_list()
    ]
    return pl.Series(column.name, cells, dtype=pl.String)


def _plain_numbers(value: Any) -> Any:
    """What JSON has a word for: it has none for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(item) for item in value]
    return value


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
