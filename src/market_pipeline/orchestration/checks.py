"""Reports as asset checks: what blocks, what only warns. Pure functions; the thresholds come from the settings."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import dagster as dg

from market_pipeline.errors import IncompleteSlice, MarketPipelineError, Refused, Unreachable
from market_pipeline.gold import NodeResult
from market_pipeline.normalize import NormalizeReport
from market_pipeline.slice_run import IngestReport

COMPLETE, CONTRACT, ROW_COUNT, COVERAGE = "complete", "contract", "row_count", "coverage"
_NAMED, _LISTED = 5, 200
# A session is held against the median of so many sessions before it; fewer than the least prove nothing.
SESSIONS_BEFORE, _SESSIONS_LEAST = 20, 3
# One absent instrument of two is not yet a market without data.
_EXPECTED_LEAST = 5


def blocked_ingest(reports: Iterable[IngestReport], *, allow_partial: bool) -> MarketPipelineError | None:
    """The error that keeps these slices from going on; None when they may. Deferred requests never block: they go on
    when the call budget does."""
    blocked = [report for report in reports if report.is_blocking]
    if not blocked or allow_partial:
        return None
    report = blocked[0]
    name = f"{report.provider}/{report.dataset} {report.slice_key}"
    if report.is_key_refused:
        return Refused(
            f"{name}: {report.provider} does not accept the key; mend it in .env, then run again",
            provider=report.provider,
            is_key=True,
        )
    lacking = [problem for problem in report.problems if problem.outcome != "deferred"]
    named = ", ".join(f"{p.symbol} ({p.outcome}: {p.reason})" for p in lacking[:_NAMED])
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    is_silent = all(p.reason.startswith(("unreachable", "provider_unreachable")) for p in lacking)
    if is_silent and report.fetched + report.empty == 0:
        return Unreachable(f"{name}: {report.provider} does not answer; nothing was fetched", provider=report.provider)
    return IncompleteSlice(
        f"{name}: {len(lacking)} of {report.planned} requests gave no data: {named}{more}; "
        "run again, or go on without them with --allow-partial",
        report=report,
    )


def complete(reports: Iterable[IngestReport], *, allow_partial: bool) -> dg.AssetCheckResult:
    """Every planned request has data or is known to have none."""
    reports = tuple(reports)
    blocked = blocked_ingest(reports, allow_partial=allow_partial)
    count = {
        outcome: sum(getattr(report, outcome) for report in reports)
        for outcome in ("planned", "fetched", "empty", "not_yet", "refused", "failed", "deferred")
    }
    resumes = [report.resumes_at for report in reports if report.resumes_at is not None]
    told = ", ".join(f"{number} {outcome}" for outcome, number in count.items() if number)
    if resumes:
        told += f"; the deferred ones go on at {min(resumes):%Y-%m-%d %H:%M} UTC"
    return dg.AssetCheckResult(
        passed=all(report.is_complete for report in reports),
        check_name=COMPLETE,
        severity=dg.AssetCheckSeverity.WARN if blocked is None else dg.AssetCheckSeverity.ERROR,
        description=told,
        metadata={**count, "problems": problem_table(reports)},
    )


def problem_table(reports: Iterable[IngestReport]) -> dg.TableMetadataValue:
    """Requests without data: slice, symbol, outcome, reason."""
    rows = ((report.slice_key, p.symbol, p.outcome, p.reason) for report in reports for p in report.problems)
    return _table(("slice", "symbol", "outcome", "reason"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str | int | float]]) -> dg.TableMetadataValue:
    """Text and numbers as the UI shows them: the first two hundred, because the whole goes into each event."""
    records = [dg.TableRecord(dict(zip(columns, row, strict=True))) for row in itertools.islice(rows, _LISTED)]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in columns]))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a silver slice may lack, as shares from 0 to 1: rows that are rejected, symbols of a usual session, expected
    instruments with a bar. With `allow_partial` nothing that is absent blocks, and unreadable payloads may pass."""

    max_rejected_ratio: float
    min_row_ratio: float
    min_coverage_ratio: float
    allow_partial: bool


def blocked_normalize(reports: Iterable[NormalizeReport], limits: Limits) -> MarketPipelineError | None:
    """The error that keeps these slices from gold: too many rows rejected, or a payload that can't be read at all,
    which is a whole symbol, so that a partial run may go on without it."""
    for report in reports:
        name = f"{report.provider}/{report.dataset} {report.slice_key}"
        if report.payload_failures and not limits.allow_partial:
            return IncompleteSlice(
                f"{name}: {report.payload_failures} payloads can't be read; see: market-pipeline quarantine "
                f"{report.contract}",
                report=report,
            )
        rejected = report.rows_rejected - report.payload_failures
        if rejected > limits.max_rejected_ratio * report.rows_in:
            return IncompleteSlice(
                f"{name}: {rejected} of {report.rows_in} rows break the contract, more than "
                f"{limits.max_rejected_ratio:.1%}; see: market-pipeline quarantine {report.contract}",
                report=report,
            )
    return None


def contract(reports: Iterable[NormalizeReport], limits: Limits) -> dg.AssetCheckResult:
    """Rows keep the contract; a few rejected ones warn, many block."""
    reports = tuple(reports)
    blocked = blocked_normalize(reports, limits)
    rejected = sum(report.rows_rejected for report in reports)
    rows_in = sum(report.rows_in for report in reports)
    return dg.AssetCheckResult(
        passed=rejected == 0,
        check_name=CONTRACT,
        severity=dg.AssetCheckSeverity.WARN if blocked is None else dg.AssetCheckSeverity.ERROR,
        description=f"{rejected} of {rows_in} rows rejected" + (f": {blocked}" if blocked else ""),
        metadata={"rejected": rejected, **{f"rule {rule}": number for rule, number in rejections(reports).items()}},
    )


def rejections(reports: Iterable[NormalizeReport]) -> dict[str, int]:
    """Rejected rows by rule over several slices, sorted by rule."""
    found: dict[str, int] = {}
    for report in reports:
        for rule, number in report.rejected_by_rule:
            found[rule] = found.get(rule, 0) + number
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Thin:
    """A session with far fewer symbols than the ones before it."""

    slice_key: str
    symbols: int
    usual: float


def thin_sessions(counts: Mapping[str, int], former: Iterable[int], limits: Limits) -> tuple[Thin, ...]:
    """Sessions that look cut short. `counts` are the symbols of each slice, oldest first, `former` those of the
    sessions before them. A thin session is no measure for the next one."""
    before = [count for count in former if count]
    found = []
    for slice_key, count in counts.items():
        usual = median(before[-SESSIONS_BEFORE:]) if len(before) >= _SESSIONS_LEAST else 0
        if count < limits.min_row_ratio * usual:
            found.append(Thin(slice_key, count, usual))
        elif count:
            before.append(count)
    return tuple(found)


def row_count(counts: Mapping[str, int], thin: Collection[Thin], limits: Limits) -> dg.AssetCheckResult:
    """No session of the whole market is far smaller than the ones before it."""
    named = ", ".join(f"{t.slice_key} has {t.symbols} symbols of a usual {t.usual:.0f}" for t in list(thin)[:_NAMED])
    rows = [(t.slice_key, t.symbols, t.usual) for t in thin]
    return dg.AssetCheckResult(
        passed=not thin,
        check_name=ROW_COUNT,
        severity=_severity(is_blocking=bool(thin) and not limits.allow_partial),
        description=named or f"{min(counts.values(), default=0)} symbols or more in each of {len(counts)} sessions",
        metadata={"sessions": len(counts), "thin": _table(("session", "symbols", "usual"), rows)},
    )


def blocked_row_count(name: str, thin: Sequence[Thin], limits: Limits) -> MarketPipelineError | None:
    """The error that keeps thin sessions from gold."""
    if not thin or limits.allow_partial:
        return None
    first = thin[0]
    more = f", and {len(thin) - 1} more" if len(thin) > 1 else ""
    return IncompleteSlice(
        f"{name}: {first.slice_key} has {first.symbols} symbols where {first.usual:.0f} are usual{more}; ask again "
        "with --refetch, or take it as it is with --allow-partial",
        report=None,
    )


@dataclass(frozen=True, slots=True)
class Covered:
    """Instruments of one slice: how many should have rows, and the symbols of those that have none."""

    slice_key: str
    expected: int
    absent: tuple[str, ...]


def blocked_coverage(name: str, found: Iterable[Covered], limits: Limits) -> MarketPipelineError | None:
    """The error that keeps slices from gold in which most instruments have no rows; single gaps have names and warn."""
    for item in found:
        has = item.expected - len(item.absent)
        is_empty = item.expected >= _EXPECTED_LEAST and has < limits.min_coverage_ratio * item.expected
        if is_empty and not limits.allow_partial:
            return IncompleteSlice(
                f"{name}: only {has} of {item.expected} instruments have rows for {item.slice_key}; ask again with "
                "--refetch, or take it as it is with --allow-partial",
                report=None,
            )
    return None


def coverage(found: Iterable[Covered], *, is_blocked: bool = False) -> dg.AssetCheckResult:
    """Every expected instrument has rows in each slice; the gaps are named."""
    found = tuple(found)
    gaps = [(item.slice_key, symbol) for item in found for symbol in item.absent]
    expected = sum(item.expected for item in found)
    named = ", ".join(f"{symbol} in {slice_key}" for slice_key, symbol in gaps[:_NAMED])
    more = f" and {len(gaps) - _NAMED} more" if len(gaps) > _NAMED else ""
    return dg.AssetCheckResult(
        passed=not gaps,
        check_name=COVERAGE,
        severity=_severity(is_blocking=is_blocked),
        description=f"{expected - len(gaps)} of {expected} instruments and slices have rows"
        + (f"; without: {named}{more}" if gaps else ""),
        metadata={"expected": expected, "gaps": len(gaps), "named": _table(("slice", "symbol"), gaps)},
    )


def _severity(*, is_blocking: bool) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if is_blocking else dg.AssetCheckSeverity.WARN


def dbt_test(result: NodeResult, *, asset: dg.AssetKey, name: str) -> dg.AssetCheckResult:
    """One dbt test of a build."""
    is_error = result.is_failure or result.status == "skipped"
    return dg.AssetCheckResult(
        passed=result.status in ("pass", "success"),
        asset_key=asset,
        check_name=name,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=result.message or result.status,
        metadata={"status": result.status, "failures": result.failures, "seconds": result.seconds},
    )
