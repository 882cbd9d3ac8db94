"""Time and memory of `market-pipeline demo`, first and second run, in a folder of its own.

Run: .venv/bin/python benchmarks/demo.py
Prints one JSON list of {name, value, unit, how}. Memory is the largest sum of resident set sizes over the command and
all its descendants, sampled ten times a second from /proc (Linux), so shared pages count once per process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(root: int) -> int:
    """Resident bytes of a process and its descendants."""
    parents, resident = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        resident[int(folder.name)] = int(fields[21]) * PAGE
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(resident.get(pid, 0) for pid in family)


def measure(environment: dict[str, str]) -> tuple[float, int]:
    """Seconds and peak bytes of one demo."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "market_pipeline.cli", "demo"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak, is_done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_done.wait(0.1):
            peak = max(peak, resident_bytes(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, told = process.communicate()
    is_done.set()
    watcher.join()
    if process.returncode != 0:
        sys.exit(told)
    return time.monotonic() - started, peak


def main() -> None:
    how = ".venv/bin/python benchmarks/demo.py"
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "MARKET_PIPELINE_HOME": home, "MARKET_PIPELINE_SANDBOX_PORT": "18765"}
        found = []
        for which in ("first", "second"):
            seconds, peak = measure(environment)
            found.append({"name": f"{which} demo", "value": round(seconds, 1), "unit": "s", "how": how})
            found.append(
                {"name": f"{which} demo, peak memory", "value": round(peak / 2**20), "unit": "MiB", "how": how}
            )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
