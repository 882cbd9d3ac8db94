"""The commit of a silver slice: what its files must hash to, and how many rows they hold.

It is written before the files, naming the bytes that were there as well, and once more after them: a slice that a
killed writer left half replaced is still one that was committed, and the next run completes it. Bytes that no commit
names are damage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import orjson

from market_pipeline import layout
from market_pipeline.errors import HashMismatch, LakeError, ObjectMissing, StoreUnavailable
from market_pipeline.seal import SEAL, sealed, unsealed
from market_pipeline.store import Store

# How often files that are not what their commit says are looked at again.
_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Files:
    """SHA-256 of a slice's rows and of its rejected rows; None where there is no such file."""

    silver: str | None
    quarantine: str | None


@dataclass(frozen=True, slots=True)
class Commit:
    """What a slice of silver is; `newest_date` is ISO, None for rows about no session. `rows_quarantined` counts a row
    once for each rule that it breaks. `before` is what its files may still be, while they are replaced."""

    files: Files
    bytes: int
    rows: int
    rows_quarantined: int
    newest_date: str | None
    before: Files | None = None

    def admits(self, there: Files) -> bool:
        """Whether files with these hashes are what was committed, or on their way to it."""
        known = [self.files, *([self.before] if self.before else [])]
        return there.silver in {f.silver for f in known} and there.quarantine in {f.quarantine for f in known}


@dataclass(frozen=True, slots=True)
class Name:
    """A slice of silver."""

    contract: str
    provider: str
    dataset: str
    slice_key: str

    @property
    def silver_key(self) -> str:
        """Key of its rows."""
        return layout.silver_part(self.contract, self.provider, self.dataset, self.slice_key)

    @property
    def quarantine_key(self) -> str:
        """Key of its rejected rows."""
        return layout.quarantine_part(self.contract, self.provider, self.dataset, self.slice_key)

    @property
    def commit_key(self) -> str:
        """Key of its commit."""
        return layout.silver_commit(self.contract, self.provider, self.dataset, self.slice_key)

    @property
    def remedy(self) -> str:
        """The command that makes the slice anew from bronze."""
        return f"market-pipeline replay {self.provider}/{self.dataset} --since {self.slice_key}"


def write(
    store: Store,
    name: Name,
    silver: bytes,
    quarantine: bytes | None,
    *,
    rows: int,
    rows_quarantined: int,
    newest_date: str | None,
) -> bool:
    """Replace the files of a slice under their commit. False when they were there already and nothing was written."""
    files = Files(_sha256(silver), None if quarantine is None else _sha256(quarantine))
    commit = Commit(files, len(silver), rows, rows_quarantined, newest_date)
    known, there = _read_if_whole(store, name), _there(store, name)
    if known == commit and there == files:
        return False
    is_sound = there == Files(None, None) if known is None else known.admits(there)
    store.replace(name.commit_key, _body(name, replace(commit, before=there if is_sound else None)))
    if quarantine is not None:
        store.replace(name.quarantine_key, quarantine)
    elif there.quarantine is not None:
        store.delete(name.quarantine_key)
    store.replace(name.silver_key, silver)
    store.replace(name.commit_key, _body(name, commit))
    return True


def withdraw(store: Store, name: Name, empty: bytes) -> bool:
    """Leave a slice without rows, under its commit; what is in quarantine stays. False when it had none already."""
    there = _there(store, name)
    quarantine = None if there.quarantine is None else store.get(name.quarantine_key, sha256=there.quarantine)
    count = read(store, name).rows_quarantined
    return write(store, name, empty, quarantine, rows=0, rows_quarantined=count, newest_date=None)


def is_complete(store: Store, name: Name) -> bool:
    """Whether a slice is there and no writer was killed while it was replaced."""
    commit = _read_if_whole(store, name)
    return commit is not None and commit.before is None and store.exists(name.silver_key)


def read(store: Store, name: Name) -> Commit:
    """The commit of a slice. LakeError when it is not there or not whole."""
    try:
        body = store.get(name.commit_key)
    except ObjectMissing as error:
        raise LakeError(
            f"{name.commit_key} is missing, as in a lake from before slices had commits; run once: "
            "market-pipeline replay all"
        ) from error
    return parsed(name, body)


def parsed(name: Name, body: bytes) -> Commit:
    """The commit of a slice from its bytes. LakeError when they are not whole."""
    try:
        item = orjson.loads(unsealed(body))
        del item[SEAL]
        if item.pop("slice") != name.silver_key:
            raise ValueError("it is the commit of another slice")
        before = item.pop("before")
        files = Files(**item.pop("files"))
        return Commit(**item, files=files, before=None if before is None else Files(**before))
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(f"{name.commit_key} is damaged; make the slice anew: {name.remedy}") from error


def read_many(store: Store, slices: Sequence[Name]) -> Sequence[Commit | LakeError]:
    """The commit of each slice, or why it can't be read: a thousand of them, each a request to an S3 store."""

    def attempt(name: Name) -> Commit | LakeError:
        try:
            return read(store, name)
        except LakeError as error:
            return error

    return store.each(attempt, slices)


def names(store: Store, contract: str, provider: str, dataset: str) -> Iterator[Name]:
    """Every slice of one feed's silver, oldest first."""
    keys = store.list(layout.silver_dataset(contract, provider, dataset))
    found = {slice_key for key in keys if (slice_key := layout.slice_key_of(key)) is not None}
    return (Name(contract, provider, dataset, slice_key) for slice_key in sorted(found))


def verified(store: Store, slices: Sequence[Name]) -> tuple[tuple[Name, Commit, str], ...]:
    """Each slice that has rows with its commit and the hash of its file. HashMismatch where files are not what was
    committed."""
    digests = store.digests([key for name in slices for key in (name.silver_key, name.quarantine_key)])
    found = []
    for name, commit in zip(slices, read_many(store, slices), strict=True):
        if isinstance(commit, LakeError):
            raise commit
        there = Files(digests.get(name.silver_key), digests.get(name.quarantine_key))
        for _ in range(_LOOKS):  # a writer may have replaced the slice between the two answers
            if commit.admits(there):
                break
            commit, there = read(store, name), _there(store, name)  # noqa: PLW2901 - the same slice's, looked at again
        if not commit.admits(there):
            is_silver = commit.admits(replace(there, silver=commit.files.silver))
            key = name.silver_key if is_silver else name.quarantine_key
            raise HashMismatch(f"{key} is not what was written there; make the slice anew: {name.remedy}")
        if there.silver is not None:
            found.append((name, commit, there.silver))
    return tuple(found)


def _read_if_whole(store: Store, name: Name) -> Commit | None:
    try:
        return read(store, name)
    except StoreUnavailable:
        raise
    except LakeError:
        return None


def _there(store: Store, name: Name) -> Files:
    digests = store.digests([name.silver_key, name.quarantine_key])
    return Files(digests.get(name.silver_key), digests.get(name.quarantine_key))


def _body(name: Name, commit: Commit) -> bytes:
    item = asdict(commit) | {"slice": name.silver_key}
    return sealed(orjson.dumps(item, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
