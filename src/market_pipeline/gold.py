"""Silver -> gold: dbt builds and tests in a private file, and only an audited build is published.

The private file belongs to one build, so a killed one leaves a file that nobody reads and the next build removes. What
does not belong here: how dbt runs (`dbt_project`), what a build continues from (`seeding`), what a published generation
is (`warehouse`), the models (`dbt/`). Over 300 lines because build, audit and publication are one protocol whose order
is the point.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars as pl

from market_pipeline import layout, logs, seeding
from market_pipeline.dbt_project import DbtProject, project_files, tail
from market_pipeline.errors import CheckFailed, IncompleteSlice, LakeError
from market_pipeline.snapshots import quiet
from market_pipeline.store import Store
from market_pipeline.warehouse import Generation, Warehouse

_log = logging.getLogger(__name__)
_BUILD_PREFIX = "build-"
_BLOCKING = ("refused", "failed", "not_yet")
_FINAL = ("fetched", "empty")
# They differ from build to build of the same input: what only they would change is not built again.
_PASSING = frozenset(map(layout.reference, ("build", "pipeline_runs")))


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What dbt said of one model or test; `failures` counts the rows that a test found."""

    unique_id: str
    name: str
    resource_type: str
    status: str
    message: str
    failures: int
    seconds: float

    @property
    def is_failure(self) -> bool:
        """An error-level test that found rows, or a node that could not run."""
        return self.status in ("fail", "error", "runtime error")


@dataclass(frozen=True, slots=True)
class GoldReport:
    """One build. `is_new` is false when nothing had changed since the current generation, and nothing was written.
    `continued` is the generation that the build added to, None when it was made from nothing."""

    generation: str | None
    is_new: bool
    is_partial: bool
    missing: tuple[dict[str, str], ...]
    tables: Mapping[str, int]
    tests_passed: int
    tests_warned: int
    tests_failed: int
    results: tuple[NodeResult, ...]
    seconds: float
    continued: str | None = None


def partial_members(outcomes: pl.DataFrame) -> tuple[tuple[dict[str, str], ...], tuple[dict[str, str], ...]]:
    """Requests of each feed's newest slice without data: all of them, and those that more calls alone won't mend."""
    newest = outcomes.filter(
        pl.col("slice_start_date") == pl.col("slice_start_date").max().over("provider", "dataset"),
        ~pl.col("outcome").is_in(_FINAL),
    ).sort("provider", "dataset", "symbol")
    columns = ("provider", "dataset", "symbol", "outcome", "reason")
    missing = tuple({c: str(row[c] or "") for c in columns} for row in newest.iter_rows(named=True))
    return missing, tuple(item for item in missing if item["outcome"] in _BLOCKING)


def _missing_in_words(member: Mapping[str, str]) -> str:
    """Whom or, where a request asks for all, what there is no data for, and why."""
    feed, why = f"{member['provider']}/{member['dataset']}", f"{member['outcome']}, {member['reason']}"
    return f"{member['symbol']} ({feed}: {why})" if member["symbol"] else f"{feed} ({why})"


def build(
    project: DbtProject,
    store: Store,
    warehouse: Warehouse,
    *,
    outcomes: pl.DataFrame,
    prefixes: Iterable[str],
    profile: str,
    now: dt.datetime,
    keep: int,
    is_rebuild: bool = False,
    is_full_refresh: bool = False,
    allow_partial: bool = False,
) -> GoldReport:
    """Build, audit and publish a generation. With the input of the present one nothing is done, unless `is_rebuild` or
    `is_full_refresh`. The build adds to the present one what changed since, unless the project changed or
    `is_full_refresh`: then it is made from nothing. Silver's files are in the reference table `silver_slices`, so
    `prefixes` names what else is read.

    Raises IncompleteSlice when symbols were refused or failed and `allow_partial` is not set, CheckFailed (with the
    report) when an error-level test fails: both leave the published generation as it was.
    """
    started = time.monotonic()
    missing, blocking = partial_members(outcomes)
    if blocking and not allow_partial:
        named = ", ".join(map(_missing_in_words, blocking[:5]))
        more = f" and {len(blocking) - 5} more" if len(blocking) > 5 else ""
        raise IncompleteSlice(
            f"Gold was not published: no data for {named}{more}; run again, or publish what is there: --allow-partial",
            report=missing,
        )
    with warehouse.lock():
        inputs = _inputs_sha256(project.folder, store, prefixes, now=now, missing=missing)
        current = _whole(warehouse)
        if current is not None and current.inputs_sha256 == inputs and not (is_rebuild or is_full_refresh):
            return GoldReport(
                current.generation, False, current.is_partial, missing, current.tables, 0, 0, 0, (), _since(started)
            )
        folder = _fresh_folder(warehouse.folder)
        try:
            version = seeding.project_sha256(project.folder, store)
            before = None if is_full_refresh else seeding.fitting(current, version)
            if before is None:
                seeding.begin(folder, store)
            else:
                seeding.seed(folder, store, warehouse.folder / before.file, before.incremental)
            results = _dbt_build(project, folder)
            continued = before.generation if before else None
            failed = tuple(result for result in results if result.is_failure)
            report = GoldReport(
                None,
                True,
                bool(missing),
                missing,
                {},
                *_count(results),
                results=results,
                seconds=_since(started),
                continued=continued,
            )
            if any(result.status in ("error", "runtime error") for result in failed):
                store.exists(layout.reference("build"))  # a lake that does not answer is no failed check
            if failed:
                names = tuple(result.name for result in failed)
                raise CheckFailed(
                    f"Gold failed {len(failed)} of its checks and was not published: {', '.join(names[:5])}; "
                    f"{failed[0].message or 'see the run'}",
                    failures=names,
                    report=report,
                )
            generation = _publish(
                project,
                folder / seeding.BUILD,
                warehouse,
                missing=missing,
                inputs=inputs,
                version=version,
                profile=profile,
                now=now,
                keep=keep,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    logs.tell(_log, f"Generation {generation.generation} is published", generation=generation.generation)
    return GoldReport(
        generation.generation,
        True,
        generation.is_partial,
        missing,
        generation.tables,
        *_count(results),
        results=results,
        seconds=_since(started),
        continued=continued,
    )


def audit(project: DbtProject, store: Store, warehouse: Warehouse) -> GoldReport:
    """Build from nothing and test in a private file that is thrown away; failures are in the report, not raised."""
    started = time.monotonic()
    with warehouse.lock():
        folder = _fresh_folder(warehouse.folder)
        try:
            seeding.begin(folder, store)
            results = _dbt_build(project, folder, with_unit_tests=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return GoldReport(None, False, False, (), {}, *_count(results), results=results, seconds=_since(started))


def _whole(warehouse: Warehouse) -> Generation | None:
    """The published generation, None when there is none or its bytes are not what was published: then it is built
    again."""
    try:
        return warehouse.verify()
    except LakeError:
        return None


def _dbt_build(project: DbtProject, folder: Path, *, with_unit_tests: bool = False) -> tuple[NodeResult, ...]:
    results_file = project.target / "run_results.json"
    results_file.unlink(missing_ok=True)
    # Unit tests judge the SQL, not the data: they belong to `audit` and to the test suite, and cost a third of a build.
    arguments = ("build",) if with_unit_tests else ("build", "--exclude-resource-type", "unit_test")
    done = project.run(*arguments, folder=folder)
    if not results_file.is_file():
        raise LakeError(f"dbt ended with code {done.returncode} and no results: {tail(done.stdout)}")
    return tuple(
        NodeResult(
            unique_id=item["unique_id"],
            name=_node_name(item["unique_id"]),
            resource_type=item["unique_id"].split(".", 1)[0],
            status=item["status"],
            message=" ".join(str(item.get("message") or "").split())[:500],
            failures=int(item.get("failures") or 0),
            seconds=float(item.get("execution_time") or 0.0),
        )
        for item in orjson.loads(results_file.read_bytes())["results"]
    )


def _publish(
    project: DbtProject,
    build_db: Path,
    warehouse: Warehouse,
    *,
    missing: Sequence[dict[str, str]],
    inputs: str,
    version: str,
    profile: str,
    now: dt.datetime,
    keep: int,
) -> Generation:
    manifest = orjson.loads((project.target / "manifest.json").read_bytes())
    marts = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and "marts" in node["fqn"] and node["config"]["materialized"] != "ephemeral"
    ]
    tables = sorted(node["name"] for node in marts if node["config"]["materialized"] != "view")
    files = sorted((project.folder / "published").rglob("*.sql"), key=lambda f: (f.parent.name != "views", f.name))
    statements = [file.read_text(encoding="utf-8") for file in files] + _comments(marts)
    return warehouse.publish(
        build_db,
        tables=tables,
        statements=statements,
        newest=_newest_dates(build_db, tables),
        is_partial=bool(missing),
        missing=list(missing),
        inputs_sha256=inputs,
        profile=profile,
        now=now,
        keep=keep,
        orders={node["name"]: order for node in marts if (order := _meta(node).get("published_order"))},
        project_sha256=version,
        incremental=sorted(node["name"] for node in marts if node["config"]["materialized"] == "incremental"),
    )


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = node["config"].get("meta") or {}
    return found


def _comments(marts: Iterable[Mapping[str, Any]]) -> list[str]:
    """`comment on` statements, so that the snapshot explains itself."""
    found: list[str] = []
    for node in sorted(marts, key=lambda node: str(node["name"])):
        kind = "view" if node["config"]["materialized"] == "view" else "table"
        found.append(f"comment on {kind} {node['name']} is {_literal(node['description'])}")
        found.extend(
            f"comment on column {node['name']}.{column['name']} is {_literal(column['description'])}"
            for column in node["columns"].values()
            if column["description"]
        )
    return found


def _literal(text: str) -> str:
    return "'" + " ".join(text.split()).replace("'", "''") + "'"


def _newest_dates(build_db: Path, tables: Iterable[str]) -> dict[str, str]:
    """Newest `session_date` of each table that has one, ISO."""
    with quiet(duckdb.connect(str(build_db), read_only=True)) as connection:
        dated = connection.execute(
            "select table_name from information_schema.columns where column_name = 'session_date'"
        ).fetchall()
        newest = {}
        for (name,) in sorted(dated):
            if name in tables:
                row = connection.execute(f'select max(session_date) from "{name}"').fetchone()  # noqa: S608 - own name
                if row and row[0] is not None:
                    newest[name] = row[0].isoformat()
    return newest


def _inputs_sha256(
    project: Path, store: Store, prefixes: Iterable[str], *, now: dt.datetime, missing: Sequence[Mapping[str, str]]
) -> str:
    """Hash of everything a build depends on: lake files, the dbt project, the day, and who is missing."""
    digest = hashlib.sha256(f"{now.date()}|{orjson.dumps(list(missing)).decode()}".encode())
    for prefix in prefixes:
        keys = [key for key in store.list(prefix) if key not in _PASSING]
        for key, sha256 in sorted(store.digests(keys).items()):
            digest.update(f"{key}\0{sha256}".encode())
    for file in project_files(project):
        digest.update(file.relative_to(project).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _fresh_folder(warehouse: Path) -> Path:
    """A private folder for one build; those of killed builds are removed first (the writer's lock is held)."""
    for leftover in warehouse.glob(f"{_BUILD_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = warehouse / f"{_BUILD_PREFIX}{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


def _count(results: Iterable[NodeResult]) -> tuple[int, int, int]:
    tests = [result for result in results if result.resource_type in ("test", "unit_test")]
    passed = sum(result.status in ("pass", "success") for result in tests)
    warned = sum(result.status == "warn" for result in tests)
    return passed, warned, sum(result.is_failure for result in tests)


def _node_name(unique_id: str) -> str:
    """The readable part of dbt's id: tests end in a hash, unit tests begin with their model."""
    kind, _, *rest = unique_id.split(".")
    return ".".join(rest) if kind == "unit_test" else rest[0]


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
