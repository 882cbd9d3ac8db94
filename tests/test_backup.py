"""A backup is whole though others write while it is taken, and comes back into an empty lake or not at all."""

from __future__ import annotations

import datetime as dt
import io
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from market_pipeline import commit, layout
from market_pipeline.cli import backup as taking
from market_pipeline.cli import restore as restoring
from market_pipeline.errors import ConfigurationError, HashMismatch, LakeError
from market_pipeline.feed import Pace
from market_pipeline.quota import Ledger
from market_pipeline.settings import Settings, load_settings
from market_pipeline.store import FolderStore

SLICE = commit.Name("bars", "p", "d", "2026-01-05")
BRONZE = layout.bronze_slice("p", "d", "2026-01-05")
NOW = dt.datetime(2026, 1, 6, tzinfo=dt.UTC)
PACE = Pace(interval_s=0.0, calls_per_day=25, reset_zone="UTC")


class Stream:
    """Standard input or output with bytes behind it."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "recorded")
    for name in ("LAKE_URL", "DATABASE_URL", "WAREHOUSE_HOME"):
        monkeypatch.delenv(f"MARKET_PIPELINE_{name}", raising=False)
    return load_settings()


def committed(store: FolderStore, rows: bytes, rejected: bytes | None = None) -> None:
    commit.write(store, SLICE, rows, rejected, rows=1, rows_quarantined=0, newest_date=None)


def fetched(store: FolderStore, seq: int) -> None:
    store.create(f"{BRONZE}{seq}.json", b"payload")
    store.create(layout.manifest(BRONZE, seq), b"{}")


def filled(settings: Settings) -> FolderStore:
    store = FolderStore(settings.lake)
    for number in range(40):
        store.create(f"bronze/p/d/slice=2026-01-02/{number}.json", os.urandom(2_000))
    fetched(store, 1)
    committed(store, b"rows", b"rejected")
    store.replace(layout.quarantine_empty(), b"empty")
    settings.state.mkdir(parents=True)
    (settings.state / "first-day").write_text("2026-01-05\n")
    Ledger(settings.state / "quota.sqlite").book("p", "key", PACE, now=NOW)
    return store


def taken(monkeypatch: pytest.MonkeyPatch) -> bytes:
    out = Stream()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        assert taking.backup() == 0
    return out.buffer.getvalue()


def restored(monkeypatch: pytest.MonkeyPatch, stream: bytes, home: Path) -> Settings:
    with monkeypatch.context() as patch:
        patch.setenv("MARKET_PIPELINE_HOME", str(home))
        patch.setattr(sys, "stdin", Stream(stream))
        found = load_settings()
        assert restoring.restore() == 0
    return found


def hashes(store: FolderStore) -> dict[str, str]:
    return dict(store.digests(taking.keys_of(store)))


def everything(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_backup_restored_into_an_empty_lake_has_equal_hashes(
    profile: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = hashes(filled(profile))
    stream = taken(monkeypatch)
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        assert tar.getnames()[0] == "backup.json"
        assert tar.getnames()[-1] == "manifest.json"

    there = restored(monkeypatch, stream, tmp_path / "elsewhere")
    assert hashes(FolderStore(there.lake)) == before
    assert {path.name for path in there.state.iterdir()} == {"first-day", "quota.sqlite"}
    assert Ledger(there.state / "quota.sqlite").budget("p", "key", PACE, now=NOW).used == 1

    (there.state / "first-day").write_text("2025-01-05\n")
    FolderStore(there.lake).replace(layout.reference("build"), b"of a build of gold after the restore")
    restored(monkeypatch, stream, tmp_path / "elsewhere")
    assert "Was there already" in capfd.readouterr().err
    assert (there.state / "first-day").read_text() == "2025-01-05\n", "nothing is written where all is there"


@pytest.mark.parametrize("change", ["more evidence", "less evidence", "other silver"])
def test_a_lake_with_anything_else_in_it_is_left_as_it_is(
    profile: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    filled(profile)
    stream = taken(monkeypatch)
    there = FolderStore(restored(monkeypatch, stream, tmp_path / "elsewhere").lake)
    if change == "more evidence":
        fetched(there, 2)
    elif change == "less evidence":
        there.delete(f"{BRONZE}1.json")
    else:
        committed(there, b"newer rows")
    before = everything(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match=r"has evidence already, .* make wipe"):
        restored(monkeypatch, stream, tmp_path / "elsewhere")
    assert everything(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_a_restore_that_was_cut_is_refused_writes_no_state_and_can_be_run_again(
    profile: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    before = hashes(filled(profile))
    stream, other = taken(monkeypatch), taken(monkeypatch)
    with pytest.raises(LakeError, match="cut"):
        restored(monkeypatch, stream[: int(len(stream) * share)], tmp_path / "elsewhere")
    state = tmp_path / "elsewhere/recorded/state"
    assert not (state / "first-day").exists()
    if share > 0.1:
        with pytest.raises(ConfigurationError, match="another backup has not ended"):
            restored(monkeypatch, other, tmp_path / "elsewhere")
        monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path / "elsewhere"))
        with pytest.raises(LakeError, match="has not ended"):
            taken(monkeypatch)
    there = restored(monkeypatch, stream, tmp_path / "elsewhere")
    assert hashes(FolderStore(there.lake)) == before
    assert (state / "first-day").is_file()
    assert not (state / "restoring").exists()


@pytest.mark.parametrize(("text", "name"), [(b"rows", r"part\.parquet"), (b"2026-01-05\n", "first-day")])
def test_a_changed_byte_in_a_backup_is_named_and_no_state_written(
    profile: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, name: str
) -> None:
    filled(profile)
    stream = bytearray(taken(monkeypatch))
    place = stream.index(text + b"\0")
    stream[place : place + 4] = b"ROWS"
    with pytest.raises(HashMismatch, match=name):
        restored(monkeypatch, bytes(stream), tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere/recorded/state/first-day").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stream: stream.replace(b'"recorded"', b'"livelive"', 1), "of profile livelive, not recorded"),
        (lambda stream: stream[1024:], "of another release"),  # as it was before it began with what it is of
        (lambda stream: stream.replace(b'"format": 2', b'"format": 3', 1), "of another release"),
    ],
)
def test_what_is_no_backup_for_this_stack_is_refused_before_anything_is_written(
    profile: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[bytes], bytes],
    words: str,
) -> None:
    filled(profile)
    stream = change(taken(monkeypatch))
    with pytest.raises(ConfigurationError, match=words):
        restored(monkeypatch, stream, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_name_that_leads_out_of_the_state_is_refused(
    profile: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(profile)
    stream = taken(monkeypatch).replace(b"state/first-day", b"state/../../etc", 1)
    with pytest.raises(LakeError, match="nothing of a lake"):
        restored(monkeypatch, fixed(stream), tmp_path / "elsewhere")


def fixed(stream: bytes) -> bytes:
    """The same stream with the sum of each header made right."""
    blocks = bytearray(stream)
    at = blocks.index(b"state/../../etc")
    header = bytes(blocks[at : at + 148]) + b" " * 8 + bytes(blocks[at + 156 : at + 512])
    blocks[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    return bytes(blocks)


class Changing(FolderStore):
    """A lake to which another one writes at a moment of its being read."""

    def __init__(self, root: Path, *, when: tuple[str, str], write: Callable[[FolderStore], None]) -> None:
        super().__init__(root)
        self._when, self._write, self.times = when, write, 0

    def _tell(self, *moment: str) -> None:
        if moment == self._when:
            self.times += 1
            self._write(FolderStore(self.root))

    def get(self, key: str, *, sha256: str | None = None) -> bytes:
        found = super().get(key, sha256=sha256)
        self._tell("read", key)
        return found

    def list(self, prefix: str) -> tuple[str, ...]:
        found = super().list(prefix)
        self._tell("listed", prefix)
        return found


def replaced_once(store: FolderStore) -> None:
    committed(store, b"newer rows")


@pytest.mark.parametrize("key", [SLICE.silver_key, SLICE.quarantine_key, SLICE.commit_key])
def test_a_slice_that_is_replaced_while_it_is_read_is_whole(profile: Settings, key: str) -> None:
    filled(profile)
    store = Changing(profile.lake, when=("read", key), write=replaced_once)
    found = dict(taking._objects(store))
    assert store.times
    files = [found.get(name) for name in (SLICE.silver_key, SLICE.quarantine_key)]
    assert files in ([b"rows", b"rejected"], [b"newer rows", None])
    silver, quarantine = (None if body is None else taking.digest(body)[0] for body in files)
    assert commit.parsed(SLICE, found[SLICE.commit_key]).files == commit.Files(silver, quarantine)


def test_what_is_gone_before_it_is_read_is_left_out(profile: Settings) -> None:
    def gone(store: FolderStore) -> None:
        store.delete(layout.quarantine_empty())
        committed(store, b"rows")

    filled(profile)
    found = dict(taking._objects(Changing(profile.lake, when=("listed", "quarantine/"), write=gone)))
    assert SLICE.silver_key in found
    assert SLICE.quarantine_key not in found
    assert layout.quarantine_empty() not in found


def test_whatever_silver_was_made_of_is_in_the_backup(profile: Settings) -> None:
    def ran(store: FolderStore) -> None:
        fetched(store, 2)
        committed(store, b"rows of the second manifest")

    filled(profile)
    found = dict(taking._objects(Changing(profile.lake, when=("listed", "silver/"), write=ran)))
    assert found[SLICE.silver_key] == b"rows of the second manifest"
    assert layout.manifest(BRONZE, 2) in found


def test_no_manifest_is_without_its_payloads(profile: Settings) -> None:
    seqs = iter(range(2, 9))
    filled(profile)
    store = Changing(profile.lake, when=("listed", "bronze/"), write=lambda other: fetched(other, next(seqs)))
    found = dict(taking._objects(store))
    assert store.times
    for key in found:
        if (seq := layout.manifest_seq(key)) is not None:
            assert f"{BRONZE}{seq}.json" in found


def test_silver_that_no_writer_left_so_ends_the_backup_with_the_remedy(profile: Settings) -> None:
    store = filled(profile)
    store.replace(SLICE.silver_key, b"damage")
    with pytest.raises(HashMismatch, match=r"part\.parquet .* market-pipeline replay p/d --since 2026-01-05"):
        dict(taking._objects(store))
    store.delete(SLICE.commit_key)
    assert dict(taking._objects(store))[SLICE.silver_key] == b"damage", "as in a lake from before there were commits"
