"""Bronze -> silver: parse, judge by the contract, keep every distinct version, put the rest in quarantine.

`rows_in == rows_kept + rows_duplicate + rows_rejected` is asserted: no row of a slice leaves unnamed. An answer that
covers several slices also holds rows of slices in between that were not asked for, since they had theirs: those count
nowhere and stay in bronze. The same input gives the same bytes, and writes nothing when they are there already. What
does not belong here: what a sound row is (`judge`), choosing between versions or providers (gold does), rules over sets
of rows (dbt tests). Over 300 lines because reading, counting and writing a slice are one account that must balance.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from market_pipeline import calendar, commit, contracts, layout, manifest
from market_pipeline.commit import Name
from market_pipeline.contracts import SilverRow
from market_pipeline.errors import ObjectMissing, PayloadChanged
from market_pipeline.feed import Feed, Provider, Request
from market_pipeline.judge import AT, PAYLOAD, SLICE, cast, distinct_versions, is_key, judge, to_date
from market_pipeline.manifest import Payload
from market_pipeline.pages import clashes
from market_pipeline.partition import Grain, Slice
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
OUTSIDE = "outside_slice"
# What parsers, ours and others, raise at bytes that are no answer: too deep ones and too large numbers too.
_UNREADABLE_ERRORS = (
    PayloadChanged,
    pl.exceptions.PolarsError,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
)
# More columns of a frame on its way: its date, whether nobody asked for it, the symbol of its request.
_DATE, _STRAY, _SYMBOL = "__date", "__stray", "__symbol"
# So many slices of few rows are judged together: a contract costs 10 ms, however few the rows.
BATCH = 64


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
    return next(normalize_slices(provider, feed, [part], store=store))


def normalize_slices(
    provider: Provider, feed: Feed, parts: Sequence[Slice], *, store: Store
) -> Iterator[NormalizeReport]:
    """The same for slices of one feed, each as it would be alone. Where answers cover several slices, each is read
    once and slices are judged many at a time."""
    answers = _Answers()
    size = BATCH if feed.spans else 1
    for first in range(0, len(parts), size):
        batch = [_SliceRows(provider, feed, part, store, answers) for part in parts[first : first + size]]
        for rows in batch:
            rows.read()
        for rows, good in zip(batch, _judge_slices(batch, contracts.contract(feed.contract)), strict=True):
            yield rows.write(good)


def empty_silver(contract: str) -> bytes:
    """A Parquet file with the columns of a contract and no rows."""
    return _parquet(contracts.contract(contract).create_empty())


def empty_quarantine() -> bytes:
    """A Parquet file with the columns of the quarantine and no rows."""
    return _parquet(pl.DataFrame(schema=QUARANTINE))


class _Answers:
    """Parsed answers that cover several slices, cut by day: a backfill reads each of them once."""

    def __init__(self) -> None:
        self._found: dict[str, dict[dt.date | None, pl.DataFrame]] = {}

    def rows(self, key: str, part: Slice, parse: Callable[[], pl.DataFrame], *, column: str) -> list[pl.DataFrame]:
        """The rows of an answer whose `column` lies in the slice; those without a date are under None."""
        if key not in self._found:
            frame = parse()
            dated = frame.with_columns(_date_of(frame, column).alias(_DATE))
            cuts = dated.partition_by(_DATE, as_dict=True, maintain_order=True, include_key=False)
            self._found[key] = {day: rows for (day,), rows in cuts.items()}
        days = (part.start + dt.timedelta(days=n) for n in range((part.end - part.start).days))
        return [rows for day in days if (rows := self._found[key].get(day)) is not None]

    def closed(self, key: str, payload: Payload) -> list[pl.DataFrame]:
        """The rows of an answer on days that it was asked for and on which the exchange was closed: no session takes
        them, and their contract names them."""
        if payload.since is None or payload.until is None:
            return []
        sessions = set(calendar.sessions(payload.since, payload.until))
        return [
            rows
            for day, rows in self._found[key].items()
            if day is not None and payload.since <= day < payload.until and day not in sessions
        ]

    def strays(self, key: str, payload: Payload) -> list[pl.DataFrame]:
        """The rows of an answer outside of what was asked, which no slice would take."""
        since, until = payload.since or dt.date.min, payload.until or dt.date.max
        return [rows for day, rows in self._found[key].items() if day is None or not since <= day < until]


class _SliceRows:
    """The rows of one slice on their way from payloads to two files.

    Payloads are read one by one and judged together: a slice may hold thousands of small answers.
    """

    def __init__(self, provider: Provider, feed: Feed, part: Slice, store: Store, answers: _Answers) -> None:
        self._provider, self._feed, self._part, self._store = provider, feed, part, store
        self._answers = answers
        self._schema: type[SilverRow] = contracts.contract(feed.contract)
        self._prefix = layout.bronze_slice(provider.name, feed.dataset, part.key)
        self.payloads: list[tuple[Request, Payload, bool]] = []
        self.past_the_end: set[str] = set()
        self.frames: dict[tuple[object, ...], list[tuple[int, bool, pl.DataFrame]]] = {}
        self._rejected: list[pl.DataFrame] = []
        self._seen: set[tuple[str, str]] = set()
        self.rows_duplicate = 0
        self._rows_in = self._rows_rejected = self._failures = 0

    def read(self) -> None:
        """Read every payload that the newest manifest names."""
        provider, dataset = self._provider.name, self._feed.dataset
        committed = manifest.read(self._store, provider, dataset, self._part.key)
        if committed is None:
            raise ObjectMissing(
                f"{provider}/{dataset} {self._part.key} is not in bronze; fetch it: market-pipeline run "
                f"{provider}/{dataset}"
            )
        for entry in committed.entries:
            if entry.reason == manifest.PAST_THE_END:
                self.past_the_end.add(entry.request.name)
            for payload in entry.payloads:
                self._add(entry.request, payload)

    def _add(self, request: Request, payload: Payload) -> None:
        """Read one payload. One that can't be read is quarantined whole, by its key; the others go on."""
        is_repeat = (request.name, payload.object) in self._seen
        self._seen.add((request.name, payload.object))
        number = len(self.payloads)
        self.payloads.append((request, payload, is_repeat))
        try:
            rows, strays = self._rows(request, payload)
        except _UNREADABLE_ERRORS as error:
            self._failures += 1
            self._rows_in += 1
            self._reject({(number, 0): [UNREADABLE]}, {(number, 0): type(error).__name__})
            return
        for frames, is_stray in ((rows, False), (strays, True)):
            for frame in frames:
                self._rows_in += frame.height
                self.frames.setdefault((*frame.columns, *frame.dtypes), []).append((number, is_stray, frame))

    def _rows(self, request: Request, payload: Payload) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
        """The rows of a payload that belong to this slice, and those that belong to none."""
        key = layout.bronze_payload(self._prefix, payload.object)

        def parse() -> pl.DataFrame:
            return self._feed.parse(self._store.get(key, sha256=payload.sha256), request)

        column = self._feed.date_column
        if not self._feed.spans or column is None:
            frame = parse()
            if self._feed.is_snapshot or column is None:
                return [frame], []
            is_inside = _date_of(frame, column).is_between(self._part.start, self._part.end, closed="left")
            is_stray = ~is_inside.fill_null(value=True)  # a date that can't be read is the contract's business
            return [frame.filter(~is_stray)], [frame.filter(is_stray)]
        rows = self._answers.rows(key, self._part, parse, column=column)
        if "/" in payload.object:  # what no slice takes is told where the bytes are
            return rows, []
        closed = self._answers.closed(key, payload) if self._feed.grain is Grain.SESSION else []
        return [*rows, *closed], self._answers.strays(key, payload)

    def origins(self) -> pl.DataFrame:
        """The columns of `SilverRow`, by the payload's number."""
        return pl.DataFrame(
            [
                (number, request.instrument_id, request.symbol, payload.fetched_at, payload.sha256)
                for number, (request, payload, _) in enumerate(self.payloads)
            ],
            schema={
                PAYLOAD: pl.Int64,
                "instrument_id": pl.String,
                _SYMBOL: pl.String,
                "known_at": pl.Datetime("us", "UTC"),
                "bronze_sha256": pl.String,
            },
            orient="row",
        ).with_columns(
            provider=pl.lit(self._provider.name),
            dataset=pl.lit(self._feed.dataset),
            slice_start_date=pl.lit(self._part.start),
        )

    def quarantine(self, frame: pl.DataFrame, faults: Mapping[int, list[str]]) -> None:
        names = [name for name in frame.columns if not name.startswith("__")]
        texts = frame.select(AT, PAYLOAD, pl.struct(names).struct.json_encode().alias("text"))
        where = {at: (number, at) for at, number, _ in texts.iter_rows()}
        symbols = dict(frame.select(AT, "symbol").iter_rows()) if "symbol" in names else {}
        self._reject(
            {where[at]: rules for at, rules in sorted(faults.items())},
            {where[at]: text for at, _, text in texts.iter_rows()},
            {where[at]: str(symbol) for at, symbol in symbols.items() if symbol is not None},
        )

    def _reject(
        self,
        faults: Mapping[tuple[int, int], Sequence[str]],
        texts: Mapping[tuple[int, int], str],
        symbols: Mapping[tuple[int, int], str] | None = None,
    ) -> None:
        """Rows that break a rule, by payload and place. A payload that came back (A, B, A) has been judged before."""
        rows: list[dict[str, object]] = []
        for (number, at), rules in faults.items():
            request, payload, is_repeat = self.payloads[number]
            if is_repeat:
                self.rows_duplicate += 1
                continue
            self._rows_rejected += 1
            about = {
                "provider": self._provider.name,
                "dataset": self._feed.dataset,
                "contract": self._feed.contract,
                "slice_start_date": self._part.start,
                "instrument_id": request.instrument_id,
                "symbol": request.symbol or (symbols or {}).get((number, at)),
                "bronze_key": layout.bronze_payload(self._prefix, payload.object),
                "known_at": payload.fetched_at,
                "row_json": texts[number, at],
            }
            rows.extend({**about, "rule": rule} for rule in rules)
        if rows:
            self._rejected.append(pl.DataFrame(rows, schema=QUARANTINE))

    def write(self, good: Sequence[pl.DataFrame]) -> NormalizeReport:
        """Collapse what did not change, write both files, count."""
        frame = pl.concat([self._schema.create_empty(), *good])
        versions = distinct_versions(frame, self._schema)
        self.rows_duplicate += frame.height - versions.height
        if self._rows_in != versions.height + self.rows_duplicate + self._rows_rejected:
            raise AssertionError(f"rows of {self._prefix} do not add up")
        name = Name(self._feed.contract, self._provider.name, self._feed.dataset, self._part.key)
        rejected = pl.concat(self._rejected) if self._rejected else None
        data, newest = _parquet(versions), _newest(versions, self._feed)
        is_written = commit.write(
            self._store,
            name,
            data,
            None if rejected is None else _parquet(rejected),
            rows=versions.height,
            rows_quarantined=0 if rejected is None else rejected.height,
            newest_date=None if newest is None or "session_date" not in versions.columns else f"{newest}",
        )
        by_rule = Counter(rejected.get_column("rule")) if rejected is not None else Counter[str]()
        return NormalizeReport(
            provider=self._provider.name,
            dataset=self._feed.dataset,
            contract=self._feed.contract,
            slice_key=self._part.key,
            rows_in=self._rows_in,
            rows_kept=versions.height,
            rows_duplicate=self.rows_duplicate,
            rows_rejected=self._rows_rejected,
            rejected_by_rule=tuple(sorted(by_rule.items())),
            payload_failures=self._failures,
            is_written=is_written,
            silver_key=name.silver_key,
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            newest_date=newest,
        )


def _judge_slices(slices: Sequence[_SliceRows], schema: type[SilverRow]) -> list[list[pl.DataFrame]]:
    """The good rows of each slice; the others go to its quarantine with every rule that they break."""
    origins = pl.concat(
        [rows.origins().with_columns(pl.lit(number, pl.Int64).alias(SLICE)) for number, rows in enumerate(slices)]
    )
    shapes = dict.fromkeys(shape for rows in slices for shape in rows.frames)
    good: list[list[pl.DataFrame]] = [[] for _ in slices]
    key = [SLICE, *contracts.business_key(schema), "known_at"]
    for shape in shapes:
        frame = _concat([(n, *found) for n, rows in enumerate(slices) for found in rows.frames.get(shape, ())])
        typed, faults = _typed(frame, origins, schema)
        if not is_key(typed, key):  # most answers repeat nothing, and looking closer costs more than the rest
            unique = frame.drop(AT).unique(maintain_order=True).with_columns(pl.int_range(pl.len()).alias(AT))
            _count_duplicates(slices, frame, unique)
            frame = unique
            typed, faults = _typed(frame, origins, schema)
        readable = typed.filter(~pl.col(AT).is_in(list(faults))) if faults else typed
        if not is_key(readable, key):
            readable = _without_conflicts(slices, readable, key, faults, schema=schema)
        readable = _without_clashes(slices, readable, faults, schema=schema)
        kept, failed = judge(readable, schema)
        for at, rules in failed.items():
            faults.setdefault(at, []).extend(rules)
        for (number,), rows in kept.partition_by(SLICE, as_dict=True, include_key=False).items():
            good[number].append(rows)
        if faults:
            broken = frame.filter(pl.col(AT).is_in(list(faults)))
            for (number,), rows in broken.partition_by(SLICE, as_dict=True, maintain_order=True).items():
                slices[number].quarantine(rows, {at: faults[at] for at in rows.get_column(AT)})
    return good


def _concat(frames: Sequence[tuple[int, int, bool, pl.DataFrame]]) -> pl.DataFrame:
    """Rows of many payloads in one frame, each with the numbers of its slice and its payload."""
    heights = pl.Series([frame.height for *_, frame in frames])
    slices = pl.Series(SLICE, [found[0] for found in frames], dtype=pl.Int64)
    numbers = pl.Series(PAYLOAD, [found[1] for found in frames], dtype=pl.Int64)
    are_strays = pl.Series(_STRAY, [found[2] for found in frames], dtype=pl.Boolean)
    return pl.concat([frame for *_, frame in frames]).with_columns(
        slices.repeat_by(heights).explode(),
        numbers.repeat_by(heights).explode(),
        are_strays.repeat_by(heights).explode(),
        pl.int_range(pl.len()).alias(AT),
    )


def _typed(
    frame: pl.DataFrame, origins: pl.DataFrame, schema: type[SilverRow]
) -> tuple[pl.DataFrame, dict[int, list[str]]]:
    """The rows in the contract's types and with their origin, and what is wrong with them so far."""
    typed, faults = cast(frame, schema)
    for at in frame.get_column(AT).filter(frame.get_column(_STRAY)):
        faults.setdefault(at, []).append(OUTSIDE)
    symbol = pl.col("symbol") if "symbol" in typed.columns else pl.col(_SYMBOL)
    joined = typed.join(origins, on=[SLICE, PAYLOAD], how="left", maintain_order="left")
    return joined.with_columns(symbol=symbol), faults


def _without_conflicts(
    slices: Sequence[_SliceRows],
    readable: pl.DataFrame,
    key: Sequence[str],
    faults: dict[int, list[str]],
    *,
    schema: type[SilverRow],
) -> pl.DataFrame:
    """The rows whose key is theirs alone; the others become faults. A row whose values a payload has twice, however
    they are spelled, is one row, and so is one that several payloads of one instant hold alike."""
    told = readable
    values = contracts.version_columns(schema)
    readable = told.unique([PAYLOAD, *key, *values], keep="first", maintain_order=True)
    _count_duplicates(slices, told, readable)
    is_alone = ~pl.struct(PAYLOAD, *key).is_duplicated()
    alone = readable.filter(is_alone)
    unique = alone.unique([*key, *values], keep="first", maintain_order=True)
    _count_duplicates(slices, alone, unique)
    is_lonely = ~pl.struct(key).is_duplicated()
    for at in (*readable.filter(~is_alone)[AT], *unique.filter(~is_lonely)[AT]):
        faults.setdefault(at, []).append(CONFLICTING)
    return unique.filter(is_lonely)


def _without_clashes(
    slices: Sequence[_SliceRows], readable: pl.DataFrame, faults: dict[int, list[str]], *, schema: type[SilverRow]
) -> pl.DataFrame:
    """The rows that no other page of their answer contradicts; the others become faults."""
    found: set[int] = set()
    for number, rows in enumerate(slices):
        answers = [(request, payload) for request, payload, _ in rows.payloads]
        if len(answers) > 1 and any(request.page for request, _ in answers):
            found |= clashes(
                readable.filter(pl.col(SLICE) == number),
                answers,
                rows.past_the_end,
                key=contracts.business_key(schema),
                values=contracts.fact_columns(schema),
            )
    for at in sorted(found):
        faults.setdefault(at, []).append(CONFLICTING)
    return readable.filter(~pl.col(AT).is_in(list(found))) if found else readable


def _count_duplicates(slices: Sequence[_SliceRows], before: pl.DataFrame, after: pl.DataFrame) -> None:
    left = dict(after.get_column(SLICE).value_counts().iter_rows())
    for number, count in before.get_column(SLICE).value_counts().iter_rows():
        slices[number].rows_duplicate += count - left.get(number, 0)


def _date_of(frame: pl.DataFrame, column: str) -> pl.Series:
    """A column's dates, null where it has none."""
    values = frame.get_column(column)
    return values if values.dtype == pl.Date else frame.select(to_date(pl.col(column).cast(pl.String))).to_series()


def _newest(frame: pl.DataFrame, feed: Feed) -> dt.date | None:
    column = "session_date" if "session_date" in frame.columns else feed.date_column or "known_at"
    newest = frame.get_column(column).max()
    if isinstance(newest, dt.datetime):
        return newest.date()
    return newest if isinstance(newest, dt.date) else None


def _parquet(frame: pl.DataFrame) -> bytes:
    """One file image; fixed options and one chunk, so that equal rows give equal bytes."""
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(
        buffer, compression="zstd", compression_level=3, statistics=True, row_group_size=122_880
    )
    return buffer.getvalue()
