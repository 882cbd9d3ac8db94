"""Figures and how they come about: contestants in turns, children that are watched, ratios of one run.

A machine that does other work beside makes every time longer, so contestants take turns within a round, every other
round backwards, and a ratio is the median of the rounds' ratios. What does not belong here: what is measured.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

FOLDER = Path(__file__).resolve().parent
_PAGE = os.sysconf("SC_PAGE_SIZE")
_Turn = TypeVar("_Turn")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the results: `how` names the peer or the floor, what was done, and over how much."""

    name: str
    value: float | int | str
    unit: str
    how: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took: wall seconds, and the largest resident set of it and its descendants."""

    seconds: float
    peak_bytes: int


def in_turns(contestants: Mapping[str, Callable[[], _Turn]], *, rounds: int) -> dict[str, list[_Turn]]:
    """What every contestant's turns gave, round by round."""
    found: dict[str, list[_Turn]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(contestants[name]())
    return found


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times theirs ours is: the median of the rounds' ratios."""
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2)


def middle(values: Sequence[float], digits: int = 3) -> float:
    """The median, rounded for people."""
    return round(statistics.median(values), digits)


def mib(count: float) -> int:
    """Bytes as whole MiB."""
    return round(count / 2**20)


def resident_bytes(root: int) -> int:
    """Resident bytes of a process and its descendants; shared pages count once per process (Linux)."""
    parents, resident = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        resident[int(folder.name)] = int(fields[21]) * _PAGE
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(resident.get(pid, 0) for pid in family)


@contextmanager
def watched_memory(root: int, *, without: int = 0) -> Iterator[Callable[[], int]]:
    """The largest resident set of a process and its descendants while the block runs, sampled ten times a second, less
    the bytes in `without`; asked by calling what the block is given."""
    peak, is_done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_done.wait(0.1):
            peak = max(peak, resident_bytes(root) - without)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: peak
    finally:
        is_done.set()
        watcher.join()


def watched(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a command to its end; one that fails ends the benchmark with what it said."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(command, env=dict(environment), stdout=said, stderr=subprocess.STDOUT)
        with watched_memory(process.pid) as peak:
            code = process.wait()
            seconds = time.monotonic() - started
        if code != 0:
            said.seek(0)
            sys.exit(f"{' '.join(command)} ended with {code}:\n{said.read()}")
    return Cost(seconds, peak())


def free_port() -> int:
    """A loopback port that nobody listens on: somebody else's sandbox must not answer for ours."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def child(module: str, *arguments: str) -> dict[str, float]:
    """What a module of this folder prints as JSON, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": f"{FOLDER}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{module} {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
