"""The lake's buckets and the pipeline's own state as one stream: `market-pipeline stack backup`, `manifest`.

A tar file on standard output: first what it is a backup of, then every object of every layer, the state, and last a
manifest with the SHA-256 and size of each; a stream that was cut has no manifest and is none. It is taken while runs go
on. Gold is not in it: it is built again from silver. What does not belong here: the way back (`restore`), Dagster's
database, which its own tools dump (`docker/stack backup`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import itertools
import json
import secrets
import sqlite3
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from market_pipeline import commit, layout
from market_pipeline.cli.output import data, say
from market_pipeline.errors import ConfigurationError, HashMismatch, LakeError, ObjectMissing
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings
from market_pipeline.store import Store

FORMAT = 2
LAYERS = ("bronze/", "silver/", "quarantine/", "reference/")
ABOUT, LAKE, STATE, MANIFEST = "backup.json", "lake/", "state/", "manifest.json"
_LEDGER = "quota.sqlite"
_NOT_KEPT = ("locks/", "runs/")
# So many objects at once, of 32 MiB at most: 800 MiB were measured of the gibibyte that the container may have.
AT_ONCE = 16
# How often the files of a slice that do not belong together are read again.
_LOOKS = 5
_MIB = 1 << 20
_Item = TypeVar("_Item")


def backup() -> int:
    """Write the lake and the state as a tar stream to standard output."""
    if sys.stdout.isatty():
        raise ConfigurationError("A backup is a file: write it by `make backup`, or send standard output to one")
    started = time.monotonic()
    pipeline = Pipeline(load_settings())
    if pipeline.settings.restoring.exists():
        raise LakeError("A restore into this lake has not ended; run it again, or make wipe, then take a backup")
    about = {"format": FORMAT, "profile": pipeline.settings.profile, "id": secrets.token_hex(16)}
    said: dict[str, Any] = {**about, "objects": {}, "state": {}}
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, ABOUT, json.dumps(about).encode())
        for key, body in _objects(pipeline.store):
            said["objects"][key] = _add(tar, LAKE + key, body)
        for name, body in _state(pipeline.settings.state):
            said["state"][name] = _add(tar, STATE + name, body)
        said["made_at"] = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        _add(tar, MANIFEST, json.dumps(said, sort_keys=True).encode())
    size = sum(size for _, size in said["objects"].values())
    say(figures("Backup", len(said["objects"]), size, time.monotonic() - started))
    return 0


def manifest() -> int:
    """The hash of every object of the lake, of the bytes that are there now, as JSON."""
    pipeline = Pipeline(load_settings())
    data({key: digest(body)[0] for key, body in bodies(pipeline.store, keys_of(pipeline.store))})
    return 0


def keys_of(store: Store) -> list[str]:
    """Every key of every layer, sorted."""
    return sorted(key for layer in LAYERS for key in store.list(layer))


def _objects(store: Store) -> Iterator[tuple[str, bytes]]:
    """Every object of the lake with its bytes, as a whole lake though others write to it meanwhile.

    Silver and reference files before bronze: what they were made of was in bronze already, and bronze only grows. Of
    bronze the manifests are listed before the payloads that they name, for payloads are written first.
    """
    slices: dict[commit.Name, None] = {}
    others: list[str] = []
    for key in (key for layer in LAYERS if layer != "bronze/" for key in store.list(layer)):
        named = layout.silver_slice_of(key)
        name = None if named is None else commit.Name(*named)
        if name is None or key not in _files_of(name):
            others.append(key)
        else:
            slices[name] = None
    for batch in _batches(slices):
        for files in store.each(lambda name: _slice(store, name), batch):
            yield from files.items()
    for keys in _batches(others):
        for key, body in zip(keys, store.each(lambda key: _there(store, key), keys), strict=True):
            if body is not None:
                yield key, body
    manifests = [key for key in store.list("bronze/") if layout.manifest_seq(key) is not None]
    payloads = [key for key in store.list("bronze/") if layout.manifest_seq(key) is None]
    yield from bodies(store, [*payloads, *manifests])


def _files_of(name: commit.Name) -> tuple[str, str, str]:
    return name.silver_key, name.quarantine_key, name.commit_key


def _slice(store: Store, name: commit.Name) -> dict[str, bytes]:
    """The files of a slice of silver that belong together; a writer may replace it while they are read."""
    for _ in range(_LOOKS):
        # The commit last: there is one before there are files, but in a lake from before slices had commits.
        files = {key: body for key in _files_of(name) if (body := _there(store, key)) is not None}
        if name.commit_key not in files:
            return files
        silver, quarantine = (
            None if (body := files.get(key)) is None else hashlib.sha256(body).hexdigest()
            for key in (name.silver_key, name.quarantine_key)
        )
        if commit.parsed(name, files[name.commit_key]).admits(commit.Files(silver, quarantine)):
            return files
    raise HashMismatch(f"{name.silver_key} is not what its commit says; make the slice anew: {name.remedy}")


def _there(store: Store, key: str) -> bytes | None:
    """The bytes of an object, None when it has gone since it was listed."""
    try:
        return store.get(key)
    except ObjectMissing:
        return None


def bodies(store: Store, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Each key with its bytes, some at once."""
    for batch in _batches(keys):
        yield from zip(batch, store.each(store.get, batch), strict=True)


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, AT_ONCE)):
        yield batch


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> list[Any]:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(body), 0o600
    tar.addfile(entry, io.BytesIO(body))
    tar.members.clear()  # type: ignore[attr-defined]  # else it holds every header
    return digest(body)


def digest(body: bytes) -> list[Any]:
    """SHA-256 and size of an object, as the manifest has them."""
    return [hashlib.sha256(body).hexdigest(), len(body)]


def _state(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The state's files; the ledger of calls as of one moment, whoever writes to it meanwhile."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith((*_NOT_KEPT, f"{_LEDGER}-")) or not path.is_file():
            continue
        if name == _LEDGER:
            yield name, _copied(path)
            continue
        with suppress(FileNotFoundError):  # a temporary name, which has become the file's own
            yield name, path.read_bytes()


def _copied(database: Path) -> bytes:
    """A database's bytes; a backup's container may only read it."""
    address = f"file:{quote(str(database))}?mode=ro"
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as copy:
        try:
            with (
                closing(sqlite3.connect(address, uri=True, timeout=60)) as source,
                closing(sqlite3.connect(copy.name)) as made,
            ):
                source.backup(made)
        except sqlite3.Error as error:  # such as a booking that a killed process left half written
            raise LakeError(
                f"The call ledger {database} can't be copied: {error}; let market-pipeline quota look at it, then "
                "take another backup"
            ) from error
        return Path(copy.name).read_bytes()


def figures(what: str, count: int, size: int, seconds: float) -> str:
    """How much it was, and how fast."""
    mebibytes = size / _MIB
    return (
        f"{what} {count} objects, {mebibytes:,.1f} MiB, {seconds:.1f} s ({mebibytes / max(seconds, 0.001):,.0f} MiB/s)"
    )
