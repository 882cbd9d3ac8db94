"""Somebody's own SQL, in a process that ends with it: the explorer of a server that others use too.

DuckDB's limit of memory leaves out the texts that it is making, its own functions can change the instance that all
connections of a process share, and a value of a gigabyte can't be interrupted. So a guest's query runs in a child
(`python -m market_pipeline.guests`) whose memory and time the system limits. The child gets its order on standard input
and answers with one byte and an Arrow stream, or with a word and a sentence. What does not belong here: what a reader
may do in general (`warehouse`).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pyarrow as pa

from market_pipeline.errors import MarketPipelineError
from market_pipeline.warehouse import QueryError, QueryTimeout, Warehouse

MEMORY_BYTES = 2 << 30
_GRACE_S = 5.0  # to import DuckDB and to send the rows
_WHOLE, _CUT = b"w", b"c"
_ERRORS: dict[str, type[MarketPipelineError]] = {kind.__name__: kind for kind in (QueryError, QueryTimeout)}


def ask(folder: Path, sql: str, *, row_limit: int, byte_limit: int, timeout_s: float) -> tuple[pa.Table, bool]:
    """The first rows of one SELECT (or DESCRIBE, SUMMARIZE, EXPLAIN) on the gold published in `folder`, within both
    limits, and whether there are more. Raises QueryError, QueryTimeout, or what opening the gold raises."""
    order = {"folder": str(folder), "sql": sql, "rows": row_limit, "bytes": byte_limit, "seconds": timeout_s}
    with subprocess.Popen(
        [sys.executable, "-m", "market_pipeline.guests"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            said, _ = child.communicate(json.dumps(order).encode(), timeout=timeout_s + 2 * _GRACE_S)
        except subprocess.TimeoutExpired:
            raise _timeout(timeout_s) from None
        finally:
            child.kill()
    if child.returncode == 0:
        return pa.ipc.open_stream(said[1:]).read_all(), said[:1] == _CUT
    if child.returncode == -signal.SIGALRM:
        raise _timeout(timeout_s)
    if child.returncode < 0 or not said:  # the allocator, or the system, ended it
        raise QueryError(
            f"The query needs over {MEMORY_BYTES >> 30} GB of memory, or ended the process that ran it; select fewer "
            "rows or shorter texts"
        )
    word, _, sentence = said.decode().partition("\n")
    raise _ERRORS.get(word, MarketPipelineError)(sentence)


def _timeout(seconds: float) -> QueryTimeout:
    return QueryTimeout(
        f"The query took longer than {seconds:g} s and was stopped; select less, or use `market-pipeline query`, which "
        "has no such limit"
    )


def _child(stdin: IO[bytes], out: IO[bytes]) -> int:
    """Read the order, run the query under its limits, write the answer."""
    order = json.load(stdin)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends us even while DuckDB holds the interpreter's lock
    signal.setitimer(signal.ITIMER_REAL, order["seconds"] + _GRACE_S)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not the address space: allocators reserve more of that per core than they ever use.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        found, is_cut = Warehouse(Path(order["folder"])).first(
            order["sql"], row_limit=order["rows"], byte_limit=order["bytes"], timeout_s=order["seconds"]
        )
        out.write(_CUT if is_cut else _WHOLE)
        with pa.ipc.new_stream(out, found.schema) as stream:
            stream.write_table(found)
    except MarketPipelineError as error:
        out.write(f"{type(error).__name__}\n{error}".encode())
        return 3
    except MemoryError:
        return 4
    return 0


if __name__ == "__main__":
    # Whatever a library prints is no answer: that has a descriptor of its own.
    kept = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with os.fdopen(kept, "wb") as answer:
        code = _child(sys.stdin.buffer, answer)
    os._exit(code)  # DuckDB's threads may still be at work
