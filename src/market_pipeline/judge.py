"""Rows against their contract: types, rules, keys, and what makes a version. Frames in, frames out.

Rows keep the numbers of themselves, their slice and their payload in columns whose names no contract uses. What does
not belong here: where rows come from and what becomes of the broken ones (`normalize`).
"""

from __future__ import annotations

from collections.abc import Sequence

import dataframely as dy
import polars as pl

from market_pipeline import contracts
from market_pipeline.contracts import SilverRow
from market_pipeline.errors import LakeError

# Columns of a frame on its way: the row's number, its slice's and its payload's.
AT, SLICE, PAYLOAD = "__at", "__slice", "__payload"


def cast(frame: pl.DataFrame, schema: type[SilverRow]) -> tuple[pl.DataFrame, dict[int, list[str]]]:
    """Text to the contract's types. A value that does not fit becomes null and a fault `<column>|dtype`.

    A whole number in decimal or scientific notation is a whole number; one with a fraction is a fault. A column that
    the provider lacks is null, if it may be. Truth is written `true` or `false`.
    """
    columns = schema.columns()
    casts: list[pl.Expr] = []
    absent: list[str] = []
    for name in contracts.own_columns(schema):
        if name in frame.columns:
            casts.append(_cast_column(frame.schema[name], columns[name]).alias(name))
        elif columns[name].nullable:
            absent.append(name)
            casts.append(pl.lit(None, dtype=columns[name].dtype).alias(name))
        else:
            raise LakeError(f"The parser gives no column {name}, which the contract {schema.__name__} has")
    if "symbol" in frame.columns:
        casts.append(pl.col("symbol"))
    found = frame.select(AT, SLICE, PAYLOAD, *casts)
    faults: dict[int, list[str]] = {}
    for name in contracts.own_columns(schema):
        if name in absent:
            continue
        lost = frame.get_column(name).is_not_null() & found.get_column(name).is_null()
        for at in frame.get_column(AT).filter(lost):
            faults.setdefault(at, []).append(f"{name}|dtype")
    return found, faults


def _cast_column(source: pl.DataType, column: dy.Column) -> pl.Expr:
    name, target = pl.col(column.name), column.dtype
    if source == target:
        return name
    if source == pl.String and isinstance(column, dy.Date):
        return to_date(name)
    if source == pl.String and target.is_integer():
        exact = name.cast(target, strict=False)
        number = name.cast(pl.Float64, strict=False)
        is_whole = (number == number.floor()) & (number.abs() < 2**53)
        return exact.fill_null(pl.when(is_whole).then(number).cast(target, strict=False))
    if source == pl.String and target == pl.Boolean:  # Polars has no such cast
        return name.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    if source.is_float() and target.is_decimal():
        # By the digits that the number is written with: from a float Polars rounds in binary, and raises far outside.
        return name.cast(pl.String).cast(target, strict=False)
    return name.cast(target, strict=False)


def to_date(text: pl.Expr) -> pl.Expr:
    """The dates of text, null for what is none: the parser alone would also take signs, spaces and years of any
    length, which no calendar of Python has."""
    return pl.when(text.str.contains(r"^(?:19|2\d)\d\d-\d\d-\d\d$")).then(text.str.to_date("%Y-%m-%d", strict=False))


def judge(frame: pl.DataFrame, schema: type[SilverRow]) -> tuple[pl.DataFrame, dict[int, list[str]]]:
    """Rows that satisfy the contract, and the broken rules of the others by row number."""
    ordered = frame.select(AT, SLICE, *schema.column_names())
    _, failure = schema.filter(ordered.drop(AT, SLICE))
    if not len(failure):
        return ordered.drop(AT), {}
    details = failure.details()
    rules = [column for column in details.columns if column not in schema.column_names()]
    # The key is unique here (conflicts are out), so it leads back to the row's number.
    key = schema.primary_key()
    rows = details.join(ordered.select(AT, *key), on=key, how="left", nulls_equal=True)
    broken: dict[int, list[str]] = {}
    for row in rows.iter_rows(named=True):
        broken[row[AT]] = [rule for rule in rules if row[rule] == "invalid"]
    return ordered.filter(~pl.col(AT).is_in(list(broken))).drop(AT), broken


def is_key(frame: pl.DataFrame, columns: Sequence[str]) -> bool:
    """Whether no two rows share these columns' values."""
    return bool(frame.select(pl.struct(columns).n_unique() == pl.len()).item())


def distinct_versions(frame: pl.DataFrame, schema: type[SilverRow]) -> pl.DataFrame:
    """Sorted by key and `known_at`, without rows that repeat the previous version of their key."""
    key = list(contracts.business_key(schema))
    values = list(contracts.version_columns(schema))
    ordered = frame.sort(*key, "known_at", maintain_order=True)
    if ordered.is_empty() or is_key(ordered, key):
        return ordered
    is_same = pl.struct(key).eq_missing(pl.struct(key).shift(1)) & pl.struct(values).eq_missing(
        pl.struct(values).shift(1)
    )
    return ordered.filter(~is_same.fill_null(value=False) | (pl.int_range(pl.len()) == 0))
