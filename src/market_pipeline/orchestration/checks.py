"""Reports as asset checks: what blocks, what only warns. Pure functions; the thresholds come from the settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from market_pipeline.errors import IncompleteSlice, MarketPipelineError, Refused, Unreachable
from market_pipeline.gold import NodeResult
from market_pipeline.ingest import IngestReport
from market_pipeline.normalize import NormalizeReport

COMPLETE, CONTRACT, COVERAGE = "complete", "contract", "coverage"
_NAMED = 5


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
    """Every request without data: slice, symbol, outcome, reason."""
    columns = ("slice", "symbol", "outcome", "reason")
    records = [
        dg.TableRecord(dict(zip(columns, (report.slice_key, p.symbol, p.outcome, p.reason), strict=True)))
        for report in reports
        for p in report.problems
    ]
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in columns])
    return dg.MetadataValue.table(records, schema=schema)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a silver slice may lack: a share of rejected rows (0 to 1), and whether unreadable payloads may pass."""

    max_rejected_ratio: float
    allow_partial: bool


def blocked_normalize(reports: Iterable[NormalizeReport], limits: Limits) -> MarketPipelineError | None:
    """The error that keeps these slices from gold: too many rows rejected, or a payload that can't be read at all,
    which is a whole symbol, so that a partial run may go on without it."""
    for report in reports:
        name = f"{report.provider}/{report.contract} {report.slice_key}"
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


def coverage(fetched: Mapping[str, str], present: Iterable[str]) -> dg.AssetCheckResult:
    """Every fetched instrument has rows in silver. `fetched` maps instrument ids to symbols; `present` are the ids in
    silver."""
    absent = sorted(symbol for identity, symbol in fetched.items() if identity not in set(present))
    return dg.AssetCheckResult(
        passed=not absent,
        check_name=COVERAGE,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(fetched) - len(absent)} of {len(fetched)} fetched instruments have rows"
        + (f"; without: {', '.join(absent[:_NAMED])}" if absent else ""),
        metadata={"instruments_fetched": len(fetched), "instruments_without_rows": len(absent)},
    )


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
