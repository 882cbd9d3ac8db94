"""Bytes in and out of the lake, by key: the interface, and its half for a local folder (`s3` has the other one).

Writing protocol on a disk: temporary file in the same directory, write, fsync, `link` (create) or `rename` (replace),
fsync the directory. No library's own writer is trusted with the final name. Temporary files start with `.tmp-` and
are never listed, so a killed writer leaves nothing that a reader could take for data.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypeVar

from market_pipeline import layout
from market_pipeline.errors import Busy, CreateConflict, HashMismatch, LakeError, ObjectMissing

if TYPE_CHECKING:
    import duckdb

_TEMPORARY = ".tmp-"
_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


class Store(Protocol):
    """What the steps need of a lake."""

    @property
    def root(self) -> Path | str:
        """What the addresses of silver, quarantine and reference files begin with."""

    def get(self, key: str, *, sha256: str | None = None) -> bytes:
        """All bytes of an object; with `sha256` they must hash to it."""

    def exists(self, key: str) -> bool:
        """True when the key holds an object."""

    def digests(self, keys: Iterable[str]) -> Mapping[str, str]:
        """SHA-256 of each object that is there, by key: of its bytes as they are in a folder, as they were when they
        were put in an S3 store, which checks its own."""

    def each(self, act: Callable[[_Item], _Found], items: Sequence[_Item]) -> Sequence[_Found]:
        """What `act` gives for each item, in their order; where a request takes long, several at once."""

    def create(self, key: str, data: bytes) -> bool:
        """Put if absent. True when written, False when the same bytes were there; other bytes are a CreateConflict."""

    def create_file(self, key: str, file: Path) -> bool:
        """`create` for a large file, in pieces; the key must hold the SHA-256 of its bytes."""

    def replace(self, key: str, data: bytes) -> bool:
        """Put whole, in one step. False when the same bytes were there already and nothing was written."""

    def delete(self, key: str) -> None:
        """Remove an object if it is there."""

    def list(self, prefix: str) -> tuple[str, ...]:
        """Keys below a prefix that ends in a slash, sorted."""

    def size(self, prefix: str) -> int:
        """Bytes of what `list` gives, without former versions."""

    def url(self, key: str) -> str:
        """Where DuckDB and people find the object."""

    def sweep(self, *, older_than_s: float) -> int:
        """Remove what killed writers left; younger files may belong to living ones. Returns how many."""

    def admit(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB connection read the addresses of `url`."""


def honours_create_only(store: Store) -> bool:
    """Whether a second put of one key fails and leaves the first one's bytes: evidence rests on it."""
    key = layout.probe(secrets.token_hex(8))
    try:
        store.create(key, b"first")
        try:
            store.create(key, b"second")
        except CreateConflict:
            return store.get(key) == b"first"
        return False
    finally:
        store.delete(key)


def verified(key: str, data: bytes, sha256: str | None) -> bytes:
    """The bytes of an object, which must hash to `sha256` where one is known."""
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise HashMismatch(f"{key} does not hash to what its manifest says; restore it from a backup")
    return data


def named_sha256(key: str, file: IO[bytes]) -> str:
    """The SHA-256 of a file, which the key of the object must hold; the file is at its beginning afterwards."""
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if sha256 not in key:
        raise LakeError(f"{key} does not hold the hash of the file that it shall name")
    file.seek(0)
    return sha256


class FolderStore:
    """A lake in a local folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        return self._root

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not key or "\0" in key or any(part in ("", ".", "..") or part.startswith(_TEMPORARY) for part in parts):
            raise LakeError(f"{key!r} is no key of a lake")
        return self.root.joinpath(*parts)

    def get(self, key: str, *, sha256: str | None = None) -> bytes:
        try:
            data = self._path(key).read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(f"{key} is not in the lake; restore it from a backup, or fetch it again") from None
        return verified(key, data, sha256)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def digests(self, keys: Iterable[str]) -> Mapping[str, str]:
        found = {}
        for key in keys:
            with contextlib.suppress(FileNotFoundError), self._path(key).open("rb") as file:
                found[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return found

    def each(self, act: Callable[[_Item], _Found], items: Sequence[_Item]) -> Sequence[_Found]:
        return [act(item) for item in items]

    def create_file(self, key: str, file: Path) -> bool:
        with file.open("rb") as opened:
            return self._create(key, opened, named_sha256(key, opened))

    def create(self, key: str, data: bytes) -> bool:
        return self._create(key, io.BytesIO(data), hashlib.sha256(data).hexdigest())

    def _create(self, key: str, data: IO[bytes], sha256: str) -> bool:
        path = self._path(key)
        with self._staged(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                if self.digests([key]).get(key) != sha256:
                    raise CreateConflict(f"{key} exists with other bytes; nothing was overwritten") from None
                _sync_folder(path.parent)
                return False
        _sync_folder(path.parent)
        return True

    def replace(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                return False
        with self._staged(path, io.BytesIO(data)) as temporary:
            temporary.rename(path)
        _sync_folder(path.parent)
        return True

    def delete(self, key: str) -> None:
        path = self._path(key)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            _sync_folder(path.parent)

    def list(self, prefix: str) -> tuple[str, ...]:
        folder = self._path(prefix.rstrip("/"))
        return tuple(
            sorted(
                path.relative_to(self.root).as_posix()
                for path in folder.rglob("*")
                if path.is_file() and not path.name.startswith(_TEMPORARY)
            )
        )

    def size(self, prefix: str) -> int:
        total = 0
        for folder, _, files in os.walk(self._path(prefix.rstrip("/"))):
            for name in files:
                if not name.startswith(_TEMPORARY):
                    with contextlib.suppress(FileNotFoundError):  # replaced or deleted meanwhile
                        total += os.stat(f"{folder}/{name}").st_size  # noqa: PTH116 - ten thousand paths made are seconds
        return total

    def url(self, key: str) -> str:
        return str(self._path(key))

    def sweep(self, *, older_than_s: float) -> int:
        limit, count = time.time() - older_than_s, 0
        for path in self.root.rglob(f"{_TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):  # a living writer has just taken its own away
                if path.stat().st_mtime < limit:
                    path.unlink()
                    count += 1
        return count

    def admit(self, connection: duckdb.DuckDBPyConnection) -> None:
        """A connection may read files."""

    @contextlib.contextmanager
    def _staged(self, path: Path, data: IO[bytes]) -> Iterator[Path]:
        """A synced temporary file beside `path`, gone afterwards."""
        _make_folders(path.parent)
        temporary = path.parent / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                shutil.copyfileobj(data, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _make_folders(folder: Path) -> None:
    """mkdir -p that makes each new name durable."""
    missing = [folder, *folder.parents]
    missing = missing[: next((i for i, path in enumerate(missing) if path.is_dir()), len(missing))]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def exclusive(path: Path, *, what: str) -> Iterator[None]:
    """Hold a lock that the system releases when this process dies; waiting is the caller's business (Busy)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{what} is being written by another process; wait until it has ended") from None
        yield
