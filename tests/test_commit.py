"""A slice of silver and its commit: whole before and after each cut, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from market_pipeline import commit
from market_pipeline.commit import Name
from market_pipeline.errors import HashMismatch, LakeError
from market_pipeline.store import FolderStore

NAME = Name("bars_daily", "vendor", "bars", "2026-11-16")
OTHER = Name("bars_daily", "vendor", "bars", "2026-11-17")


class Cut(Exception):
    """The power is gone."""


class Weak(FolderStore):
    """A folder whose writer dies after so many writes."""

    def __init__(self, root: Path, writes: int) -> None:
        super().__init__(root)
        self.left = writes

    def _spend(self) -> None:
        if self.left == 0:
            raise Cut
        self.left -= 1

    def replace(self, key: str, data: bytes) -> bool:
        self._spend()
        return super().replace(key, data)

    def delete(self, key: str) -> None:
        self._spend()
        super().delete(key)


def put(store: FolderStore, silver: bytes, quarantine: bytes | None = None, name: Name = NAME) -> bool:
    return commit.write(
        store, name, silver, quarantine, rows=1, rows_quarantined=int(quarantine is not None), newest_date="2026-11-16"
    )


def test_the_same_files_again_write_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert put(store, b"rows", b"bad") is True
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert put(store, b"rows", b"bad") is False
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert put(store, b"rows") is True
    assert not store.exists(NAME.quarantine_key)


@pytest.mark.parametrize("quarantines", [(None, None), (b"bad", None), (None, b"bad"), (b"bad", b"worse")])
@pytest.mark.parametrize("first", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("second", [0, 1, 2, 3, 4])
def test_a_writer_cut_twice_leaves_a_slice_that_the_next_one_completes(
    tmp_path: Path, quarantines: tuple[bytes | None, bytes | None], first: int, second: int
) -> None:
    store = FolderStore(tmp_path)
    put(store, b"one", quarantines[0])
    for writes, body in ((first, b"two"), (second, b"three")):
        with contextlib.suppress(Cut):
            put(Weak(tmp_path, writes), body, quarantines[1])
        assert len(commit.verified(store, [NAME])) == 1, "what a kill leaves is never damage"
    put(store, b"three", quarantines[1])
    assert commit.is_complete(store, NAME)
    ((_, found, sha256),) = commit.verified(store, [NAME])
    assert found.files.silver == sha256
    assert found.before is None
    assert store.get(NAME.silver_key) == b"three"


def test_a_first_write_that_was_cut_is_no_slice_yet_and_no_damage(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(Cut):
        put(Weak(tmp_path, 1), b"one")
    assert commit.verified(store, [NAME]) == ()
    assert not commit.is_complete(store, NAME)


def test_a_slice_without_its_rows_is_damage(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    put(store, b"one")
    store.delete(NAME.silver_key)
    with pytest.raises(HashMismatch, match="replay vendor/bars --since 2026-11-16"):
        commit.verified(store, [NAME])


def test_the_commit_of_another_slice_is_none(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    put(store, b"one")
    for here, there in ((NAME.silver_key, OTHER.silver_key), (NAME.commit_key, OTHER.commit_key)):
        store.replace(there, store.get(here))
    with pytest.raises(LakeError, match="replay vendor/bars --since 2026-11-17"):
        commit.verified(store, [OTHER])


def test_a_lake_from_before_commits_is_told_what_to_run(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.replace(NAME.silver_key, b"one")
    with pytest.raises(LakeError, match="run once: market-pipeline replay all"):
        commit.verified(store, [NAME])
    put(store, b"one")
    assert len(commit.verified(store, [NAME])) == 1


def test_a_withdrawn_slice_has_no_rows_a_commit_and_its_quarantine(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    put(store, b"one", b"bad")
    assert commit.withdraw(store, NAME, b"") is True
    assert commit.withdraw(store, NAME, b"") is False
    ((_, found, _),) = commit.verified(store, [NAME])
    assert (found.rows, found.rows_quarantined) == (0, 1)
    assert store.get(NAME.quarantine_key) == b"bad"
