"""docker/stack with an engine that notes what it is asked: the order of a restore, and what is never begun."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from market_pipeline.settings import REPOSITORY

ENGINE = """#!/bin/sh
echo "$@" >>"$ENGINE_LOG"
case "$*" in
*"$ENGINE_FAILS"*) exit 1 ;;
*"ps --all --quiet"*) echo id ;;
*"config --services"*) echo code ;;
inspect*) echo "code running healthy 0" ;;
esac
"""
Stack = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """Runs `docker/stack`; gives its exit code, what it said, and what the engine was asked."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "docker").mkdir()
    shutil.copy(REPOSITORY / "docker/stack", tmp_path / "docker/stack")
    (tmp_path / ".env").touch()
    engine = tmp_path / "bin/docker"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    log = tmp_path / "log"

    def run(*arguments: str, fails: str = "nothing fails") -> tuple[int, str, list[str]]:
        log.write_text("")
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        variables = {"PATH": path, "ENGINE_LOG": str(log), "ENGINE_FAILS": fails, "COMPOSE_PROFILES": "demo-two"}
        done = subprocess.run(
            [tmp_path / "docker/stack", *arguments], env=variables, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr, log.read_text().splitlines()

    return run


def kept(folder: Path, first: str, about: dict[str, object]) -> str:
    """A backup's folder, with a lake that begins so."""
    folder.mkdir()
    with tarfile.open(folder / "lake.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, body in ((first, json.dumps(about).encode()), ("lake/bronze/a", bytes(100_000))):
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    (folder / "dagster.dump").write_bytes(b"dump")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("dagster.dump", "lake.tar")}
    (folder / "SHA256SUMS").write_text("".join(f"{value}  {name}\n" for name, value in sums.items()))
    return str(folder)


ABOUT: dict[str, object] = {"format": 2, "profile": "demo-two", "id": "0" * 32}


def test_what_writes_is_stopped_before_anything_is_restored(tmp_path: Path, stack: Stack) -> None:
    folder = kept(tmp_path / "backup", "backup.json", ABOUT)
    code, said, calls = stack("restore", folder)
    assert code == 0, said
    order = ["stop code daemon webserver metrics dashboard", "up --build --detach init", "run --rm -T"]
    order += ["pg_restore", "market-pipeline run gold", "up --build --detach --remove-orphans"]
    places = [next(n for n, call in enumerate(calls) if words in call) for words in order]
    assert places == sorted(places)
    assert places[0] == 0, "nothing is started before"


def test_the_database_is_left_alone_when_the_lake_is_not_restored(tmp_path: Path, stack: Stack) -> None:
    folder = kept(tmp_path / "backup", "backup.json", ABOUT)
    code, said, calls = stack("restore", folder, fails="MARKET_PIPELINE_LOG_FORMAT=text restore")
    assert code == 1
    assert "Dagster's database is as it was" in said
    assert not [call for call in calls if "pg_restore" in call or "run gold" in call]


@pytest.mark.parametrize(
    ("first", "profile", "words"),
    [
        ("backup.json", "live", "is of profile live, not demo-two"),
        ("lake/bronze/b", "demo-two", "restore it with the release that made it"),
        ("backup.json", "demo-two", "are not what was backed up"),
    ],
    ids=["another profile", "an older format", "a changed byte"],
)
def test_the_engine_is_asked_nothing_for_a_backup_that_is_refused(
    tmp_path: Path, stack: Stack, first: str, profile: str, words: str
) -> None:
    folder = kept(tmp_path / "backup", first, {**ABOUT, "profile": profile})
    with (tmp_path / "backup/lake.tar").open("r+b") as file:
        file.seek(50_000)
        file.write(b"x")
    code, said, calls = stack("restore", folder)
    assert code == 1
    assert words in said
    assert calls == []
    assert stack("restore", str(tmp_path / "nowhere"))[0] == 1
