"""Processes that die by SIGKILL, many of them: one interpreter imports everything and forks a worker per order.

The parent of a worker sends the signal, because only it knows that the process's number is still its own.
"""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
KILLED = -signal.SIGKILL
# What the interpreter imports before it forks for a worker, because it is slow; `test_ingest_span` runs Polars, whose
# threads do not survive a fork.
WARM = {"span": "test_ingest_span"}


def environment() -> dict[str, str]:
    """What a process needs to import the tests' helpers and ours; one thread each, as several share two cores."""
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "POLARS_MAX_THREADS": "1"}


class Forks:
    """Runs workers of `proofs.workers`, which end by themselves or by the signal."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proofs.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )

    def run(self, name: str, folder: Path, *rest: object, seconds: float) -> int:
        """Exit code of one worker that has so long to live, negative when it died by a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, (name, seconds, folder, *rest))) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def is_running(self) -> bool:
        """False when the interpreter has ended, which it should not."""
        return self._process.poll() is None

    def close(self) -> None:
        """Let the interpreter end."""
        self._process.communicate()


_shared: dict[str, Forks] = {}


def run(name: str, folder: Path, *rest: object, seconds: float) -> int:
    """Exit code of one worker; interpreters are started once, one for those that need nothing warmed up."""
    special = name if name in WARM else ""
    found = _shared.get(special)
    if found is None or not found.is_running():
        found = _shared[special] = Forks()
        atexit.register(found.close)
    return found.run(name, folder, *rest, seconds=seconds)


def main() -> None:
    """Take orders until standard input ends: `<worker> <seconds> <folder> <arguments>`, an exit code for each."""
    from proofs.workers import WORKERS

    for line in sys.stdin:
        name, seconds, folder, *rest = line.split()
        if name in WARM:
            importlib.import_module(WARM[name])
        worker = os.fork()
        if not worker:
            code = 9
            try:
                code = WORKERS[name](Path(folder), *rest)
            finally:
                os._exit(code)
        ends = time.monotonic() + float(seconds)
        done, status = 0, 0
        while not done and time.monotonic() < ends:
            time.sleep(0.002)
            done, status = os.waitpid(worker, os.WNOHANG)
        if not done:
            os.kill(worker, signal.SIGKILL)
            _, status = os.waitpid(worker, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
