"""Bronze -> silver: parse, judge by the contract, keep every distinct version, put the rest in quarantine.

`rows_in == rows_kept + rows_duplicate + rows_rejected` is asserted: no row leaves unnamed. The same input gives the
same bytes, and writes nothing when they are there already. What does not belong here: choosing between versions or
providers (gold does), rules over sets of rows (dbt tests).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections import Counter
from dataclasses import dataclass

import dataframely as dy
import polars as pl

from market_pipeline import contracts, layout, manifest
from market_pipeline.contracts import SilverRow
from market_pipeline.errors import LakeError, ObjectMissing, PayloadChanged
from market_pipeline.feed import Feed, Provider, Request
from market_pipeline.manifest import Payload
from market_pipeline.partition import Slice
from market_pipeline.store import Store

QUARANTINE: dict[str, pl.DataType] = {
    "provider": pl.String(),
    "dataset": pl.String(),
    "contract": pl.String(),
    "slice_start_date": pl.Date(),
    "instrument_id": pl.String(),
    "symbol": pl.String(),
    "rule": pl.String(),
    "row_json": pl.String(),
    "bronze_key": pl.String(),
    "known_at": pl.Datetime("us", "UTC"),
}
UNREADABLE = "payload_unreadable"
CONFLICTING = "conflicting_duplicate"
_ROW = "__row"


@dataclass(frozen=True, slots=True)
class NormalizeReport:
    """Rows of one silver slice; a payload that can't be read at all counts as one rejected row."""

    provider: str
    dataset: str
    contract: str
    slice_key: str
    rows_in: int
    rows_kept: int
    rows_duplicate: int
    rows_rejected: int
    rejected_by_rule: tuple[tuple[str, int], ...]
    payload_failures: int
    is_written: bool
    silver_key: str
    sha256: str
    bytes: int
    newest_date: dt.date | None


def normalize(provider: Provider, feed: Feed, part: Slice, *, store: Store) -> NormalizeReport:
    """Rebuild one silver slice from what its manifest names. Raises ObjectMissing without a manifest, HashMismatch
    when a payload is not what was stored."""
    committed = manifest.read(store, provider.name, feed.dataset, part.key)
    if committed is None:
        raise ObjectMissing(
            f"{provider.name}/{feed.dataset} {part.key} is not in bronze; fetch it: "
            f"market-pipeline run {provider.name}/{feed.dataset}"
        )
    slice_rows = _SliceRows(provider, feed, part, store)
    for entry in committed.entries:
        for payload in entry.payloads:
            slice_rows.add(entry.request, payload)
    return slice_rows.write()


def empty_silver(contract: str) -> bytes:
    """A Parquet file with the columns of a contract and no rows."""
    return _parquet(contracts.contract(contract).create_empty())


def empty_quarantine() -> bytes:
    """A Parquet file with the columns of the quarantine and no rows."""
    return _parquet(pl.DataFrame(schema=QUARANTINE))


class _SliceRows:
    """The rows of one slice on their way from payloads to two files."""

    def __init__(self, provider: Provider, feed: Feed, part: Slice, store: Store) -> None:
        self._provider, self._feed, self._part, self._store = provider, feed, part, store
        self._schema: type[SilverRow] = contracts.contract(feed.contract)
        self._prefix = layout.bronze_slice(provider.name, feed.dataset, part.key)
        self._good: list[pl.DataFrame] = []
        self._rejected: list[pl.DataFrame] = []
        self._judged: set[tuple[str, str]] = set()
        self._rows_in = self._rows_duplicate = self._rows_rejected = self._failures = 0

    def add(self, request: Request, payload: Payload) -> None:
        """Judge one payload. One that can't be read is quarantined whole, by its key; the others go on."""
        body = self._store.get(self._prefix + payload.object, sha256=payload.sha256)
        try:
            raw = self._feed.parse(body, request)
        except (PayloadChanged, pl.exceptions.PolarsError, ValueError) as error:
            self._failures += 1
            self._rows_in += 1
            self._reject(request, payload, rows=[(UNREADABLE, type(error).__name__)], count=1)
            self._judged.add((request.name, payload.object))
            return
        self._rows_in += raw.height
        unique = raw.unique(maintain_order=True)
        self._rows_duplicate += raw.height - unique.height
        unique = unique.with_row_index(_ROW)
        cast, cast_faults = _cast(unique, self._schema)
        faults: dict[int, list[str]] = {}
        for row, rule in cast_faults:
            faults.setdefault(row, []).append(rule)
        typed = cast.with_columns(
            instrument_id=pl.lit(request.instrument_id, dtype=pl.String),
            symbol=pl.lit(request.symbol, dtype=pl.String),
            provider=pl.lit(self._provider.name),
            slice_start_date=pl.lit(self._part.start),
            known_at=pl.lit(payload.fetched_at).cast(pl.Datetime("us", "UTC")),
            bronze_sha256=pl.lit(payload.sha256),
        )
        key = list(contracts.business_key(self._schema))
        is_conflict = pl.struct(key).is_duplicated()
        readable = typed.filter(~pl.col(_ROW).is_in(list(faults)))
        for row in readable.filter(is_conflict).get_column(_ROW):
            faults.setdefault(row, []).append(CONFLICTING)
        judged = typed.filter(~pl.col(_ROW).is_in(list(faults)))
        good, failed = _judge(judged, self._schema)
        for row, rules in failed.items():
            faults.setdefault(row, []).extend(rules)
        self._good.append(good)
        if faults:
            text = dict(unique.select(_ROW, pl.struct(pl.exclude(_ROW)).struct.json_encode()).iter_rows())
            rows = [(rule, text[row]) for row, rules in sorted(faults.items()) for rule in rules]
            self._reject(request, payload, rows=rows, count=len(faults))
        self._judged.add((request.name, payload.object))

    def _reject(self, request: Request, payload: Payload, *, rows: list[tuple[str, str]], count: int) -> None:
        if (request.name, payload.object) in self._judged:
            # The payload came back (A, B, A): what is wrong with it has been said.
            self._rows_duplicate += count
            return
        self._rows_rejected += count
        about = {
            "provider": self._provider.name,
            "dataset": self._feed.dataset,
            "contract": self._feed.contract,
            "slice_start_date": self._part.start,
            "instrument_id": request.instrument_id,
            "symbol": request.symbol,
            "bronze_key": self._prefix + payload.object,
            "known_at": payload.fetched_at,
        }
        self._rejected.append(
            pl.DataFrame([{**about, "rule": rule, "row_json": text} for rule, text in rows], schema=QUARANTINE)
        )

    def write(self) -> NormalizeReport:
        """Collapse what did not change, write both files, count."""
        frame = pl.concat([self._schema.create_empty(), *self._good])
        versions = _distinct_versions(frame, self._schema)
        self._rows_duplicate += frame.height - versions.height
        if self._rows_in != versions.height + self._rows_duplicate + self._rows_rejected:
            raise AssertionError(f"rows of {self._prefix} do not add up")
        silver_key = layout.silver_part(self._feed.contract, self._provider.name, self._part.key)
        quarantine_key = layout.quarantine_part(self._feed.contract, self._provider.name, self._part.key)
        rejected = pl.concat(self._rejected) if self._rejected else None
        if rejected is None:
            is_changed = self._store.exists(quarantine_key)
            self._store.delete(quarantine_key)
        else:
            is_changed = self._store.replace(quarantine_key, _parquet(rejected))
        data = _parquet(versions)
        is_written = self._store.replace(silver_key, data) or is_changed
        by_rule = Counter(rejected.get_column("rule")) if rejected is not None else Counter[str]()
        return NormalizeReport(
            provider=self._provider.name,
            dataset=self._feed.dataset,
            contract=self._feed.contract,
            slice_key=self._part.key,
            rows_in=self._rows_in,
            rows_kept=versions.height,
            rows_duplicate=self._rows_duplicate,
            rows_rejected=self._rows_rejected,
            rejected_by_rule=tuple(sorted(by_rule.items())),
            payload_failures=self._failures,
            is_written=is_written,
            silver_key=silver_key,
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            newest_date=_newest(versions),
        )


def _cast(frame: pl.DataFrame, schema: type[SilverRow]) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    """Text to the contract's types. A value that does not fit becomes null and a fault `<column>|dtype`.

    A whole number in decimal or scientific notation is a whole number; one with a fraction is a fault.
    """
    columns = schema.columns()
    casts: list[pl.Expr] = []
    for name in contracts.own_columns(schema):
        if name not in frame.columns:
            raise LakeError(f"The parser gives no column {name}, which the contract {schema.__name__} has")
        casts.append(_cast_column(frame.schema[name], columns[name]).alias(name))
    cast = frame.select(_ROW, *casts)
    faults: list[tuple[int, str]] = []
    for name in contracts.own_columns(schema):
        lost = frame.get_column(name).is_not_null() & cast.get_column(name).is_null()
        faults.extend((row, f"{name}|dtype") for row in frame.get_column(_ROW).filter(lost))
    return cast, faults


def _cast_column(source: pl.DataType, column: dy.Column) -> pl.Expr:
    name, target = pl.col(column.name), column.dtype
    if source == target:
        return name
    if source == pl.String and isinstance(column, dy.Date):
        # The parser alone would also take signs, spaces and years of any length.
        return pl.when(name.str.contains(r"^(?:19|2\d)\d\d-\d\d-\d\d$")).then(
            name.str.to_date("%Y-%m-%d", strict=False)
        )
    if source == pl.String and target.is_integer():
        exact = name.cast(target, strict=False)
        number = name.cast(pl.Float64, strict=False)
        is_whole = (number == number.floor()) & (number.abs() < 2**53)
        return exact.fill_null(pl.when(is_whole).then(number).cast(target, strict=False))
    return name.cast(target, strict=False)


def _judge(frame: pl.DataFrame, schema: type[SilverRow]) -> tuple[pl.DataFrame, dict[int, list[str]]]:
    """Rows that satisfy the contract, and the broken rules of the others by row number."""
    ordered = frame.select(_ROW, *schema.column_names())
    good, failure = schema.filter(ordered.drop(_ROW))
    if not len(failure):
        return good, {}
    details = failure.details()
    rules = [column for column in details.columns if column not in schema.column_names()]
    # The key is unique here (conflicts are out), so it leads back to the row's number.
    key = list(contracts.business_key(schema))
    rows = details.join(ordered.select(_ROW, *key), on=key, how="left", nulls_equal=True)
    broken = {row[_ROW]: [rule for rule in rules if row[rule] == "invalid"] for row in rows.iter_rows(named=True)}
    return good, broken


def _distinct_versions(frame: pl.DataFrame, schema: type[SilverRow]) -> pl.DataFrame:
    """Sorted by key and `known_at`, without rows that repeat the previous version of their key."""
    key = list(contracts.business_key(schema))
    values = [column for column in contracts.own_columns(schema) if column not in key]
    ordered = frame.sort(*key, "known_at", maintain_order=True)
    if ordered.is_empty():
        return ordered
    is_same = pl.struct(key).eq_missing(pl.struct(key).shift(1)) & pl.struct(values).eq_missing(
        pl.struct(values).shift(1)
    )
    return ordered.filter(~is_same.fill_null(value=False) | (pl.int_range(pl.len()) == 0))


def _newest(frame: pl.DataFrame) -> dt.date | None:
    column = "session_date" if "session_date" in frame.columns else "known_at"
    newest = frame.get_column(column).max()
    if isinstance(newest, dt.datetime):
        return newest.date()
    return newest if isinstance(newest, dt.date) else None


def _parquet(frame: pl.DataFrame) -> bytes:
    """One file image; fixed options, so that equal rows give equal bytes."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=3, statistics=True, row_group_size=122_880)
    return buffer.getvalue()
