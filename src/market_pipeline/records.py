"""The records beside the snapshots: what a generation is, and the health that the newest run left.

Both are JSON files that are replaced whole, and sealed. What does not belong here: which file is written when
(`snapshots`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from market_pipeline.errors import LakeError
from market_pipeline.seal import sealed, unsealed

_Record = TypeVar("_Record")
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


@dataclass(frozen=True, slots=True)
class Generation:
    """One published state of gold. `tables` counts rows, `newest` holds each dataset's newest data date (ISO),
    `missing` says who is absent when `is_partial` (provider, dataset, symbol, outcome, reason). A build of the project
    with `project_sha256` can continue it: `incremental` are the tables that it then adds to."""

    generation: str
    file: str
    sha256: str
    bytes: int
    published_at: str
    tables: dict[str, int]
    newest: dict[str, str]
    is_partial: bool
    missing: tuple[dict[str, str], ...]
    inputs_sha256: str
    profile: str
    project_sha256: str = ""
    incremental: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """The generation as a number, 1 and up."""
        return int(self.generation)


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the newest run ended; `status` is success, failed or refused. Times are ISO 8601 UTC here and below."""

    target: str
    started_at: str
    finished_at: str
    status: str
    exit_code: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check that did not pass; `failures` counts the offending rows, None where the check has none to count."""

    name: str
    model: str
    message: str
    failures: int | None
    severity: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A symbol without data and why."""

    symbol: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class DatasetHealth:
    """The newest slice of one feed: how many instruments it should have, what became of each, and the newest date in
    its data. `resumes_at` is when deferred ones can be asked again."""

    provider: str
    dataset: str
    slice: str
    expected: int
    fetched: int
    empty: int = 0
    deferred: int = 0
    refused: int = 0
    failed: int = 0
    not_yet: int = 0
    missing: int = 0
    newest_data_date: str | None = None
    resumes_at: str | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderQuota:
    """Calls of the current window; `calls_per_day` and `left` are None on a plan without a daily cap."""

    provider: str
    plan: str
    calls_per_day: int | None
    used: int
    left: int | None
    resets_at: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What the newest run left for people to see, whether it published or not. `as_of` is the profile's clock;
    `bytes_by_layer` is None in files from before it was counted."""

    written_at: str
    as_of: str
    profile: str
    generation: str | None
    last_run: LastRun | None = None
    failed_checks: tuple[FailedCheck, ...] = ()
    checks_passed: int = 0
    checks_warned: int = 0
    datasets: tuple[DatasetHealth, ...] = ()
    quota: tuple[ProviderQuota, ...] = ()
    quarantined: Mapping[str, int] | None = None
    rows_by_layer: Mapping[str, int] | None = None
    bytes_by_layer: Mapping[str, int] | None = None


def _adapter(record: type[Any]) -> TypeAdapter[Any]:
    """The reader and writer of a record, made once: it costs more than reading one."""
    if record not in _ADAPTERS:
        _ADAPTERS[record] = TypeAdapter(record)
    return _ADAPTERS[record]


def read_record(path: Path, record: type[_Record]) -> _Record | None:
    """The record in a JSON file; None when there is no file, `LakeError` when the file is no such record."""
    try:
        found: _Record = _adapter(record).validate_json(unsealed(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise LakeError(f"{path.name} in {path.parent} can't be read: {first_line(error)}") from error
    return found


def write_record(path: Path, record: object) -> None:
    """Replace a JSON file as a whole: a reader sees the old bytes or the new ones."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(sealed(_adapter(type(record)).dump_json(record, indent=2)))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def make_folder(folder: Path) -> None:
    """mkdir -p that makes each new name durable: what lies in a folder is lost with the folder's own name."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def first_line(error: BaseException) -> str:
    """What an error says, short enough for one sentence of ours."""
    return str(error).strip().splitlines()[0]
