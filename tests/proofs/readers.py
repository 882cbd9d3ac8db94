"""Readers of gold in a process of their own, four threads each, which note what a reader must never see.

    python -m proofs.readers WAREHOUSE READS [held]

Each opens what is published, compares both tables, closes, and begins again, READS times in all (0: without end), or
until standard input ends. With `held` a process keeps the file open in between, as the dashboard's server does. Then
the process says in JSON what they saw. `v` is the instant of a generation, the same in every row of both tables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from market_pipeline.warehouse import Held, Warehouse
from proofs.forks import environment

THREADS = 4
SQL = """
select
    (select count(*) from a), (select count(*) from b), (select min(v) from a), (select max(v) from a),
    (select min(v) from b), (select max(v) from b)
"""


class Reader:
    """One thread's reads and what it noted."""

    def __init__(self, warehouse: Warehouse, reads: int, has_ended: threading.Event) -> None:
        self._warehouse, self._reads, self._has_ended = warehouse, reads, has_ended
        self.done = self._newest = 0
        self.opened: list[float] = []
        self.faults: list[str] = []

    def look(self) -> None:
        """Read so many times, or until it is told to end."""
        while not self._has_ended.is_set() and not (self._reads and self.done >= self._reads):
            self.done += 1
            try:
                self._read()
            except Exception as error:  # noqa: BLE001 - any error of a reader is the finding
                self.faults.append(f"{type(error).__name__}: {error}")

    def _read(self) -> None:
        started = time.perf_counter()
        with self._warehouse.connect() as (con, _):
            self.opened.append((time.perf_counter() - started) * 1000)
            ((rows_a, rows_b, *instants),) = con.execute(SQL).fetchall()
        if rows_a != rows_b or len(set(instants)) != 1:
            self.faults.append(f"torn: {rows_a} and {rows_b} rows of {instants}")
        if instants[0] < self._newest:
            self.faults.append(f"backwards: {instants[0]} after {self._newest}")
        self._newest = max(self._newest, instants[0])


def look(warehouse: Warehouse, reads: int) -> dict[str, Any]:
    """Four readers in this process, which share so many reads; 0 means until standard input ends."""
    has_ended = threading.Event()

    def wait() -> None:
        os.read(0, 1)
        has_ended.set()

    threading.Thread(target=wait, daemon=True).start()
    readers = [Reader(warehouse, -(-reads // THREADS), has_ended) for _ in range(THREADS)]
    threads = [threading.Thread(target=reader.look) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "reads": sum(reader.done for reader in readers),
        "faults": [fault for reader in readers for fault in reader.faults[:5]],
        "opened": [ms for reader in readers for ms in reader.opened],
    }


class Readers:
    """Several such processes; `wait` gives what they saw together."""

    def __init__(self, folder: Path, *, count: int, reads: Sequence[int], is_held: bool = False) -> None:
        self._processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "proofs.readers",
                    str(folder),
                    str(reads[number]),
                    *(["held"] if is_held else []),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment(),
                text=True,
            )
            for number in range(count)
        ]

    def are_running(self) -> bool:
        """True until the last one has read enough."""
        return any(process.poll() is None for process in self._processes)

    def wait(self) -> dict[str, Any]:
        """Let them end, and add up."""
        told = [json.loads(process.communicate()[0]) for process in self._processes]
        opened = sorted(ms for found in told for ms in found["opened"])
        return {
            "reads": sum(found["reads"] for found in told),
            "faults": [fault for found in told for fault in found["faults"]],
            "p99_ms": opened[int(len(opened) * 0.99)] if opened else 0.0,
        }

    def kill(self) -> None:
        """End those that are left after an error."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()


@contextmanager
def reading(folder: Path, *, count: int = 2, reads: int = 0, is_held: bool = False) -> Iterator[Readers]:
    """`count` processes of readers that share so many reads (0: until waited for)."""
    shares = [reads // count + (number < reads % count) for number in range(count)]
    made = Readers(folder, count=count, reads=shares, is_held=is_held)
    try:
        yield made
    finally:
        made.kill()


def main() -> None:
    """One process of readers."""
    held = Held() if "held" in sys.argv[3:] else None
    print(json.dumps(look(Warehouse(Path(sys.argv[1]), held=held), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
