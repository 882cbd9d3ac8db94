"""The lake's buckets and the pipeline's own state as one stream, and back: `market-pipeline stack backup`, `restore`.

A tar file on standard output: every object of every layer, the state, and last a manifest with the SHA-256 and size of
each; a stream that was cut has no manifest and is none. Restored into an empty stack every object is read back and
compared. Gold is not in it: it is built again from silver. What does not belong here: Dagster's database, which its own
tools dump (`docker/stack backup`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import itertools
import json
import sqlite3
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from market_pipeline.cli.output import data, say
from market_pipeline.errors import ConfigurationError, HashMismatch, LakeError
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings
from market_pipeline.store import Store

FORMAT = 1
LAYERS = ("bronze/", "silver/", "quarantine/", "reference/")
_MANIFEST, _LAKE, _STATE = "manifest.json", "lake/", "state/"
_LEDGER = "quota.sqlite"
_NOT_KEPT = ("locks/", "runs/")
_AT_ONCE = 16  # payloads of 32 MiB at most: half of what the container may have
_MIB = 1 << 20


def backup() -> int:
    """Write the lake and the state as a tar stream to standard output."""
    if sys.stdout.isatty():
        raise ConfigurationError("A backup is a file: write it by `make backup`, or send standard output to one")
    started = time.monotonic()
    pipeline = Pipeline(load_settings())
    said: dict[str, Any] = {"format": FORMAT, "profile": pipeline.settings.profile, "objects": {}, "state": {}}
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for key, body in _bodies(pipeline.store, _keys(pipeline.store)):
            said["objects"][key] = _add(tar, _LAKE + key, body)
        for name, body in _state(pipeline.settings.state):
            said["state"][name] = _add(tar, _STATE + name, body)
        said["made_at"] = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        _add(tar, _MANIFEST, json.dumps(said, sort_keys=True).encode())
    size = sum(size for _, size in said["objects"].values())
    say(_figures("Backup", len(said["objects"]), size, time.monotonic() - started))
    return 0


def restore() -> int:
    """Read a backup from standard input into an empty lake, then read everything back and compare."""
    started = time.monotonic()
    pipeline = Pipeline(load_settings())
    if pipeline.store.list("bronze/"):
        raise ConfigurationError("The lake has evidence already; restore into an empty stack: make wipe, then again")
    written: dict[str, list[Any]] = {}
    said: Mapping[str, Any] | None = None
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        members = _members(tar)
        while batch := list(itertools.islice(members, _AT_ONCE)):
            objects = [(name.removeprefix(_LAKE), body) for name, body in batch if name.startswith(_LAKE)]
            pipeline.store.each(lambda pair: _put(pipeline.store, *pair), objects)
            written |= {key: _digest(body) for key, body in objects}
            for name, body in batch:
                if name == _MANIFEST:
                    said = json.loads(body)
                elif name.startswith(_STATE):
                    _restore_state(pipeline.settings.state, name.removeprefix(_STATE), body)
    if said is None:
        raise LakeError("The backup ends before its manifest: it was cut; take another one")
    if said["profile"] != pipeline.settings.profile:
        raise ConfigurationError(f"The backup is of profile {said['profile']}, not {pipeline.settings.profile}")
    _compare(said["objects"], written, "the backup")
    present = {key: _digest(body) for key, body in _bodies(pipeline.store, sorted(written))}
    _compare(said["objects"], present, "the store")
    size = sum(size for _, size in present.values())
    say(_figures("Restored, read back, equal hashes:", len(present), size, time.monotonic() - started))
    return 0


def manifest() -> int:
    """The hash of every object of the lake, of the bytes that are there now, as JSON."""
    pipeline = Pipeline(load_settings())
    data({key: _digest(body)[0] for key, body in _bodies(pipeline.store, _keys(pipeline.store))})
    return 0


def _keys(store: Store) -> list[str]:
    return sorted(key for layer in LAYERS for key in store.list(layer))


def _bodies(store: Store, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Each key with its bytes, some at once."""
    remaining = iter(keys)
    while batch := list(itertools.islice(remaining, _AT_ONCE)):
        yield from zip(batch, store.each(store.get, batch), strict=True)


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """What a stream holds, in its order."""
    for member in tar:
        source = tar.extractfile(member)
        yield member.name, b"" if source is None else source.read()


def _put(store: Store, key: str, body: bytes) -> None:
    if key.startswith("bronze/"):
        store.create(key, body)
    else:
        store.replace(key, body)


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> list[Any]:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(body), 0o600
    tar.addfile(entry, io.BytesIO(body))
    return _digest(body)


def _digest(body: bytes) -> list[Any]:
    return [hashlib.sha256(body).hexdigest(), len(body)]


def _state(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The state's files; the ledger of calls as of one moment, whoever writes to it meanwhile."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith((*_NOT_KEPT, f"{_LEDGER}-")):
            yield name, _copied(path) if name == _LEDGER else path.read_bytes()


def _copied(database: Path) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as copy:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy.name)) as made:
            source.backup(made)
        return Path(copy.name).read_bytes()


def _restore_state(folder: Path, name: str, body: bytes) -> None:
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise LakeError(f"The backup names {name}, which is no file of the state; it is not one of ours")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(body)
    temporary.replace(path)


def _compare(said: Mapping[str, list[Any]], found: Mapping[str, list[Any]], where: str) -> None:
    different = sorted(key for key in said.keys() | found.keys() if said.get(key) != found.get(key))
    if different:
        raise HashMismatch(
            f"{len(different)} objects of {where} are not what the manifest says, such as {different[0]}; "
            "take another backup"
        )


def _figures(what: str, count: int, size: int, seconds: float) -> str:
    mebibytes = size / _MIB
    return (
        f"{what} {count} objects, {mebibytes:,.1f} MiB, {seconds:.1f} s ({mebibytes / max(seconds, 0.001):,.0f} MiB/s)"
    )
