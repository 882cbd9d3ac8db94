"""The folder store: create-only, whole replacement, durable before acknowledged, nothing half after a kill."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from market_pipeline.errors import Busy, CreateConflict, HashMismatch, ObjectMissing
from market_pipeline.store import FolderStore, exclusive
from wire import KILLS

KEY = "bronze/vendor/bars/slice=2026-11-16/a.bin"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty lake in a folder that does not exist yet."""
    return FolderStore(tmp_path / "lake")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced: the path of every descriptor that was given to fsync, in order."""
    paths: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        paths.append(f"{path.name}/" if is_folder else path.name[:5])
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_create_is_create_only(store: FolderStore) -> None:
    assert store.create(KEY, b"one") is True
    assert store.create(KEY, b"one") is False
    with pytest.raises(CreateConflict, match=r"a\.bin"):
        store.create(KEY, b"two")
    assert store.get(KEY) == b"one"


def test_create_and_replace_leave_no_temporaries(store: FolderStore) -> None:
    store.create(KEY, b"one")
    store.replace(KEY, b"two")
    with pytest.raises(CreateConflict):
        store.create(KEY, b"three")
    assert [p.name for p in store.root.rglob("*") if p.is_file()] == ["a.bin"]


def test_replace_is_a_no_op_on_the_same_bytes(store: FolderStore) -> None:
    assert store.replace(KEY, b"one") is True
    before = Path(store.url(KEY)).stat()
    assert store.replace(KEY, b"one") is False
    after = Path(store.url(KEY)).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert store.replace(KEY, b"two") is True
    assert store.get(KEY) == b"two"


def test_empty_objects_are_objects(store: FolderStore) -> None:
    assert store.replace(KEY, b"") is True
    assert store.exists(KEY)
    assert store.get(KEY, sha256=hashlib.sha256(b"").hexdigest()) == b""


def test_missing_and_changed_objects_are_named(store: FolderStore) -> None:
    with pytest.raises(ObjectMissing, match=r"slice=2026-11-16/a\.bin"):
        store.get(KEY)
    store.create(KEY, b"one")
    good = hashlib.sha256(b"one").hexdigest()
    assert store.get(KEY, sha256=good) == b"one"
    Path(store.url(KEY)).write_bytes(b"onf")
    with pytest.raises(HashMismatch, match=r"slice=2026-11-16/a\.bin"):
        store.get(KEY, sha256=good)


def test_list_is_sorted_and_ignores_temporaries(store: FolderStore) -> None:
    for name in ("b", "a", "sub/c"):
        store.create(f"bronze/x/{name}", b"1")
    store.create("bronze/xy/d", b"1")
    (store.root / "bronze/x/.tmp-123-abc").write_bytes(b"half")
    assert store.list("bronze/x/") == ("bronze/x/a", "bronze/x/b", "bronze/x/sub/c")
    assert store.list("bronze/none/") == ()
    assert (store.size("bronze/x/"), store.size("bronze/"), store.size("bronze/none/")) == (3, 4, 0)
    assert not store.exists("bronze/x")


def test_delete_is_idempotent(store: FolderStore) -> None:
    store.create(KEY, b"1")
    store.delete(KEY)
    store.delete(KEY)
    assert not store.exists(KEY)


def test_everything_is_synced_before_it_is_acknowledged(store: FolderStore, synced: list[str]) -> None:
    store.root.mkdir()
    store.create("bronze/x/a", b"1")
    assert synced == ["lake/", "bronze/", ".tmp-", "x/"]
    synced.clear()
    store.create("bronze/x/a", b"1")
    assert synced == [".tmp-", "x/"]
    synced.clear()
    store.replace("bronze/x/a", b"2")
    assert synced == [".tmp-", "x/"]
    synced.clear()
    store.delete("bronze/x/a")
    assert synced == ["x/"]


def test_the_bytes_are_synced_before_they_get_their_name(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_sync, real_link, real_rename = os.fsync, os.link, Path.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), real_sync(fd))[1])
    monkeypatch.setattr(os, "link", lambda a, b: (order.append("name"), real_link(a, b))[1])
    monkeypatch.setattr(Path, "rename", lambda a, b: (order.append("name"), real_rename(a, b))[1])
    store.root.mkdir()
    store.create("a", b"1")
    store.replace("a", b"2")
    assert order == ["sync", "name", "sync"] * 2


def test_sixteen_racing_threads_have_one_winner(store: FolderStore) -> None:
    for round_ in range(25):
        barrier = threading.Barrier(16)

        def put(who: int, round_: int = round_, barrier: threading.Barrier = barrier) -> bool | None:
            barrier.wait()
            try:
                return store.create(f"race/{round_}", b"%d" % who)
            except CreateConflict:
                return None

        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(put, range(16)))
        assert results.count(True) == 1
        assert results.count(None) == 15
        assert store.get(f"race/{round_}") == b"%d" % results.index(True)


def _race(root: str, who: int, rounds: int, results: multiprocessing.Queue[tuple[int, int, bool | None]]) -> None:
    store = FolderStore(Path(root))
    for round_ in range(rounds):
        try:
            results.put((round_, who, store.create(f"race/{round_}", b"%d" % who)))
        except CreateConflict:
            results.put((round_, who, None))


def test_racing_processes_have_one_winner(store: FolderStore) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[int, int, bool | None]] = context.Queue()
    workers = [context.Process(target=_race, args=(str(store.root), who, 40, results)) for who in range(4)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=60) for _ in range(160)]
    for worker in workers:
        worker.join()
    for round_ in range(40):
        winners = [who for r, who, is_new in answers if r == round_ and is_new]
        assert len(winners) == 1
        assert store.get(f"race/{round_}") == b"%d" % winners[0]


def test_threads_that_replace_one_key_leave_one_whole_object(store: FolderStore) -> None:
    bodies = [bytes([n]) * 200_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: store.replace(KEY, body), bodies * 5))
    assert store.get(KEY) in bodies


WRITER = """
import sys
from pathlib import Path
from market_pipeline.store import FolderStore
store, n = FolderStore(Path(sys.argv[1])), int(sys.argv[2])
while True:
    n += 1
    body = n.to_bytes(8, "big") * 50_000
    store.replace("silver/part", body)
    store.create(f"bronze/{n:08d}", body[:80_000])
    print(n, flush=True)
"""


@pytest.mark.kill
def test_a_killed_writer_leaves_the_old_bytes_or_the_new(store: FolderStore) -> None:
    """Acknowledged = printed. A kill may lose what was not acknowledged, and never shows a part of anything."""
    random_, acknowledged, mid_write = random.Random(7), 0, 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store.root), str(acknowledged)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random_.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL
        whole = [line for line in rest.split(b"\n")[:-1] if line]
        acknowledged = int(whole[-1]) if whole else acknowledged + 1
        body = store.get("silver/part")
        shown = int.from_bytes(body[:8], "big")
        assert body == shown.to_bytes(8, "big") * 50_000
        assert acknowledged <= shown <= acknowledged + 1
        names = store.list("bronze/")
        assert f"bronze/{acknowledged:08d}" in names
        for key in names[-3:]:
            assert store.get(key) == int(key[-8:]).to_bytes(8, "big") * 10_000
        left = list(store.root.rglob(".tmp-*"))
        mid_write += bool(left) or shown > acknowledged
        for path in left:
            path.unlink()
        acknowledged = shown
        if f"bronze/{shown:08d}" not in names:
            store.create(f"bronze/{shown:08d}", body[:80_000])
    assert mid_write >= KILLS // 4, f"only {mid_write} of {KILLS} died in mid-write"


def test_a_lock_is_held_once_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "x.lock"
    with exclusive(path, what="x"), pytest.raises(Busy, match="x is being written"), exclusive(path, what="x"):
        pass
    code = (
        "import sys, time; from pathlib import Path; from market_pipeline.store import exclusive\n"
        "with exclusive(Path(sys.argv[1]), what='x'):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(Busy), exclusive(path, what="x"):
        pass
    holder.kill()
    holder.communicate()
    with exclusive(path, what="x"):
        pass


def test_what_killed_writers_left_is_swept_once_it_is_old(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.create("bronze/x", b"data")
    old, young = tmp_path / "bronze/.tmp-1-a", tmp_path / "bronze/.tmp-2-b"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert store.sweep(older_than_s=3600) == 1
    assert not old.exists()
    assert young.exists()
    assert store.get("bronze/x") == b"data"
