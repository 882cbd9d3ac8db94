"""One generation's file kept open between readers, for a process that opens it again and again.

Opening a file anew makes a DuckDB of its own, which costs about 20 ms of processor time before anything is read, and
reads the catalog again. Beside a connection that stays, another one costs a fraction of a millisecond. What does not
belong here: which file is in force, and how it is guarded.
"""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb

from market_pipeline.snapshots import open_guarded

__all__ = ["Held"]

_Identity = tuple[str, int, int, int]


class Held:
    """The file that was opened last. One that is pruned meanwhile stays whole for its readers, and its room is given
    back when the next file is opened."""

    def __init__(self) -> None:
        self._identity: _Identity | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._lock = threading.Lock()

    def open(self, path: Path) -> duckdb.DuckDBPyConnection:
        """A guarded connection of the caller's own to this file, which the caller closes."""
        with self._lock:
            identity = _identity(path)
            if self._connection is None or identity != self._identity:
                self._close()  # first: the same name may be another file by now
                self._connection = open_guarded(path)
                # Replaced while it was opened, it is opened again by the next reader.
                self._identity = identity if _identity(path) == identity else None
            return open_guarded(path)  # no cursor: it would be closed together with the connection it came from

    def let_go(self) -> None:
        """Open the file anew for the next reader."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        before, self._connection, self._identity = self._connection, None, None
        if before is not None:
            before.close()


def _identity(path: Path) -> _Identity:
    """Which file this is, told apart from others that had its name."""
    stat = path.stat()
    return str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size
