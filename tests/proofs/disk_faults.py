"""Promise 19, the failing disk: full, broken or read-only under a fetch, a normalization or a publication.

The failure is said in a sentence, what was acknowledged is still there, readers open the last good generation, and the
same work on a sound disk ends as if nothing had been. Full and broken disks are errors of the system that begin at the
n-th operation and stay, and a real limit on the size of files; read-only is a folder without the right to write.
"""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from market_pipeline.store import FolderStore
from market_pipeline.warehouse import Warehouse
from proofs import forks, oracle
from proofs.kills_gold import SQL_SUM
from proofs.kills_ingest import SYMBOLS, body
from proofs.proof import Proof, Result
from proofs.workers import PART, REACHED_NO_FAULT, SAID, WEEKLY, publish_pair
from wire import NOW, Wire, bar, commit, csv, response

ERRORS = {
    "disk full": errno.ENOSPC,
    "I/O error": errno.EIO,
    "read-only file system": errno.EROFS,
    "quota": errno.EDQUOT,
}
FETCHED = SYMBOLS[:5]


@dataclass(frozen=True)
class Work:
    """A piece of work in a folder: how it is prepared, the worker that does it, and its largest file."""

    worker: str
    prepare: Callable[[Path], None]
    bytes: int


def _bronze(home: Path) -> None:
    """Nothing is there yet."""
    (home / "lake").mkdir(parents=True)


def _silver(home: Path) -> None:
    broken = csv(bar("2026-11-13"), "2026-11-06,x,1,1,1,1,1,1")
    commit(
        FolderStore(home / "lake"), WEEKLY, PART, {s: [(body(s), NOW), (broken, NOW.replace(hour=20))] for s in FETCHED}
    )


def _gold(home: Path) -> None:
    for _ in range(2):
        publish_pair(Warehouse(home / "warehouse"), home / "build.duckdb", rows=500)


WORKS = {
    "fetch": Work("fetch", _bronze, 4000),
    "normalize": Work("once", _silver, 12_000),
    "publish": Work("publish_once", _gold, 1_500_000),
}


def run(count: int, *, seed: int, folder: Path) -> Result:
    """`count` faults: each kind of work in turn, each kind of fault at a random place."""
    del folder  # another user must be able to read it, which pytest's own folders forbid
    rng, wrong = random.Random(f"disk {seed}"), list[str]()
    kinds: dict[str, int] = {}
    root = Path(tempfile.mkdtemp(prefix="disk-"))
    root.chmod(0o755)
    try:
        with Wire(_answer) as server:
            arguments = {
                "fetch": (server.url, ",".join(FETCHED), 0.0),
                "normalize": (),
                "publish": (0,),
            }
            done = 0
            for number in range(4 * count):
                if done == count or wrong:
                    break
                name = list(WORKS)[number % len(WORKS)]
                kind = rng.choice([*ERRORS, "limit", "read-only"])
                came, faults = _fail(root / f"{number}", name, kind, arguments=arguments[name], rng=rng)
                wrong += faults
                done += came
                kinds[kind] = kinds.get(kind, 0) + came
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return Result(done, tuple(wrong), kinds)


def _answer(received: bytes, _number: int) -> bytes:
    return response(body(received.split(b"symbol=")[1].split(b"&")[0].decode()))


def _fail(
    home: Path, name: str, kind: str, *, arguments: tuple[object, ...], rng: random.Random
) -> tuple[bool, list[str]]:
    """One fault. Whether it came about, and what was wrong."""
    work, about = WORKS[name], f"{kind} under {name}"
    home.mkdir()
    home.chmod(0o755)
    work.prepare(home)
    before, served = oracle.files(home), _served(home)
    if kind in ERRORS:
        code = forks.run("fail_at", home, rng.randint(1, 60), ERRORS[kind], work.worker, *arguments, seconds=240)
    elif kind == "limit":
        code = forks.run("limited", home, rng.randrange(work.bytes), work.worker, *arguments, seconds=240)
    else:
        _allow_writing(home, is_allowed=False)
        code = forks.run("read_only", home, work.worker, *arguments, seconds=240)
        _allow_writing(home, is_allowed=True)
    wrong = []
    if code not in (0, 7, SAID, REACHED_NO_FAULT):
        wrong.append(f"{about}: ended with {code}")
    after = oracle.files(home)
    try:
        kept = oracle.committed(_below(after, "lake")).keys()
        if not oracle.committed(_below(before, "lake")).keys() <= kept:
            wrong.append(f"{about}: something committed is gone")
        oracle.published(_below(after, "warehouse"))
        if _served(home) != served:
            wrong.append(f"{about}: readers see something else")
    except oracle.Lost as error:
        wrong.append(f"{about}: {error}")
    if code == SAID:
        again = forks.run(work.worker, home, *arguments, seconds=240)
        if again != 0:
            wrong.append(f"{about}: on a sound disk it ended with {again}")
        elif not _is_done(home, name):
            wrong.append(f"{about}: on a sound disk it was not done")
    shutil.rmtree(home)
    return code == SAID, wrong


def _below(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    return {key.removeprefix(f"{folder}/"): data for key, data in files.items() if key.startswith(f"{folder}/")}


def _served(home: Path) -> object:
    """What a reader of gold sees, None where nothing is published; the publication under way has the same rows."""
    if not (home / "warehouse" / "CURRENT").exists():
        return None
    with Warehouse(home / "warehouse").connect() as (con, _):
        return con.execute(SQL_SUM).fetchall()


def _is_done(home: Path, name: str) -> bool:
    files = oracle.files(home)
    if name == "fetch":
        return len(oracle.committed(_below(files, "lake"))) == len(FETCHED)
    if name == "normalize":
        return any(key.startswith("lake/silver/") for key in files) and any(
            k.startswith("lake/quarantine/") for k in files
        )
    return oracle.published(_below(files, "warehouse")) >= 3


def _allow_writing(home: Path, *, is_allowed: bool) -> None:
    for path in (home, *home.rglob("*")):
        path.chmod((0o755 if path.is_dir() else 0o644) if is_allowed else (0o555 if path.is_dir() else 0o444))


PROOFS = (Proof(19, "disk", "full, broken and read-only disks under each step", "faults", 8, 300, 20, run),)
