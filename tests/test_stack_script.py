"""docker/stack beside an engine that this file plays: which profile it takes, and what it says when nothing runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from market_pipeline.settings import REPOSITORY

BASH = shutil.which("bash") or "bash"
# What `docker` answers: `docker version`, and for Compose the containers, the services and what `inspect` says of them.
ENGINE = """#!/bin/sh
case "$*" in
version*) echo "${ENGINE_VERSION:-26.1.5}" ;;
*"ps --all --quiet"*) [ -z "$SEEN" ] || echo id ;;
*"config --services"*) printf 'code\\nstore\\n' ;;
inspect*) printf "$SEEN" ;;
*) echo "$*" >>"$ASKED" ;;
esac
"""


class Stack:
    """A clone's folder with docker/stack in it, and an engine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder / "a clone", folder / "asked"
        shutil.copytree(REPOSITORY / "docker", self.folder / "docker")
        shutil.copy(REPOSITORY / ".env.example", self.folder)
        engine = folder / "bin" / "docker"
        engine.parent.mkdir()
        engine.write_text(ENGINE)
        engine.chmod(0o755)

    def __call__(self, *words: str, seen: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
        said = {"PATH": path, "SEEN": seen, "ASKED": str(self.asked), "PATIENCE_S": "1", **variables}
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE", "MARKET"))}
        command = [BASH, "docker/stack", *words]
        return subprocess.run(
            command, cwd=self.folder, env={**environment, **said}, capture_output=True, text=True, check=False
        )


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


@pytest.mark.parametrize(
    ("lines", "profile"),
    [
        ((), "demo"),
        (("FMP_API_KEY=",), "demo"),
        (("FMP_API_KEY=abc",), "live"),
        (("export POLYGON_API_KEY='abc'",), "live"),
        (("# FMP_API_KEY=abc",), "demo"),
        (("COMPOSE_PROFILES=other-lake",), "other-lake"),
    ],
)
def test_real_data_is_taken_as_soon_as_a_key_is_there(stack: Stack, lines: tuple[str, ...], profile: str) -> None:
    (stack.folder / ".env").write_text("\n".join(["COMPOSE_PROFILES=demo", *lines]))
    assert stack("profile").stdout.strip() == profile
    assert stack("profile", COMPOSE_PROFILES="recorded").stdout.strip() == "recorded"


def test_two_profiles_at_once_are_refused(stack: Stack) -> None:
    done = stack("profile", COMPOSE_PROFILES="demo,live")
    assert done.returncode == 2
    assert "name one profile" in done.stderr


def test_nothing_that_runs_is_not_healthy(stack: Stack) -> None:
    done = stack("wait")
    assert done.returncode == 3
    assert "make up" in done.stderr


@pytest.mark.parametrize(
    ("seen", "named"),
    [
        ("code running healthy 0\\n", "store=missing"),
        ("code running starting 0\\nstore running healthy 0\\n", "code=running/starting/0"),
        ("code exited - 1\\nstore running healthy 0\\n", "code=exited/-/1"),
    ],
)
def test_what_is_not_ready_is_named(stack: Stack, seen: str, named: str) -> None:
    done = stack("wait", seen=seen)
    assert done.returncode == 1
    assert named in done.stderr


def test_a_stack_is_ready_when_every_service_is(stack: Stack) -> None:
    assert stack("wait", seen="code running healthy 0\\nstore exited - 0\\n").returncode == 0


def test_an_engine_that_is_too_old_is_named_before_anything_is_built(stack: Stack) -> None:
    done = stack("up", ENGINE_VERSION="24.0.7")
    assert done.returncode == 3
    assert "25 or newer" in done.stderr
    assert not stack.asked.exists()
    assert not (stack.folder / ".env").exists()


def test_the_first_start_of_a_fresh_clone_writes_the_settings_and_takes_the_fictional_market(stack: Stack) -> None:
    done = stack("up", seen="code running healthy 0\\nstore running healthy 0\\n")
    assert done.returncode == 0, done.stderr
    assert "Wrote .env" in done.stderr
    assert "Profile demo, every service healthy" in done.stderr
    assert (stack.folder / ".env").stat().st_mode & 0o777 == 0o600
    assert "compose up --build --detach" in stack.asked.read_text()


@pytest.mark.parametrize(("written", "folder"), [("~/my backup", "home/my backup"), ("it's here", "a clone/it's here")])
def test_make_hands_on_a_folder_as_it_was_written(stack: Stack, written: str, folder: str) -> None:
    shutil.copy(REPOSITORY / "Makefile", stack.folder)
    (stack.folder.parent / "home").mkdir()
    made = stack.folder.parent / folder
    made.mkdir()
    environment = {**os.environ, "HOME": str(stack.folder.parent / "home")}
    command = ["make", "-s", "backup", f"TO={written}"]
    done = subprocess.run(command, cwd=stack.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{made if written.startswith('~') else written} is there already" in done.stderr
