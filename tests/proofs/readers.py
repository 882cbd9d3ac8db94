"""A reader of gold in a process of its own, which notes what a reader must never see.

    python -m proofs.readers WAREHOUSE READS

It opens what is published, compares both tables, closes, and begins again, READS times (0: until standard input ends);
then it says in JSON what it saw. `v` is the instant of a generation, the same in every row of both tables.
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

from market_pipeline.warehouse import Warehouse
from proofs.forks import environment

SQL = """
select
    (select count(*) from a), (select count(*) from b), (select min(v) from a), (select max(v) from a),
    (select min(v) from b), (select max(v) from b)
"""


def look(folder: Path, reads: int) -> dict[str, Any]:
    """Read so many times, or until standard input ends."""
    has_ended = threading.Event()

    def wait() -> None:
        os.read(0, 1)
        has_ended.set()

    threading.Thread(target=wait, daemon=True).start()
    warehouse, newest, done = Warehouse(folder), 0, 0
    opened: list[float] = []
    faults: list[str] = []
    generations: set[str] = set()
    while not (done >= reads if reads else has_ended.is_set()):
        started = time.perf_counter()
        try:
            with warehouse.connect() as (con, generation):
                opened.append((time.perf_counter() - started) * 1000)
                ((rows_a, rows_b, *instants),) = con.execute(SQL).fetchall()
        except Exception as error:  # noqa: BLE001 - any error of a reader is the finding
            faults.append(f"{type(error).__name__}: {error}")
            done += 1
            continue
        done += 1
        generations.add(generation.generation)
        if rows_a != rows_b or len(set(instants)) != 1:
            faults.append(f"torn: {rows_a} and {rows_b} rows of {instants}")
        if instants[0] < newest:
            faults.append(f"backwards: {instants[0]} after {newest}")
        newest = max(newest, instants[0])
    return {"reads": done, "faults": faults[:20], "opened": opened, "generations": len(generations)}


class Readers:
    """Several readers; `wait` gives what they saw together."""

    def __init__(self, folder: Path, *, count: int, reads: Sequence[int]) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "proofs.readers", str(folder), str(reads[number])],
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
            "generations": max(found["generations"] for found in told),
        }

    def kill(self) -> None:
        """End those that are left after an error."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()


@contextmanager
def reading(folder: Path, *, count: int = 4, reads: int = 0) -> Iterator[Readers]:
    """`count` readers that share so many reads (0: until waited for)."""
    shares = [reads // count + (number < reads % count) for number in range(count)]
    made = Readers(folder, count=count, reads=shares)
    try:
        yield made
    finally:
        made.kill()


def main() -> None:
    """One reader."""
    print(json.dumps(look(Path(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
