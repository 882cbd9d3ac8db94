"""A link that misbehaves: a TCP proxy on the loopback, with the faults of a bad network."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

KINDS = ("latency", "reset", "slow", "half_close", "slicer", "limit", "black_hole")


@dataclass(frozen=True)
class Fault:
    """What happens to an answer on its way: nothing before byte `after`, then the kind's own trouble."""

    kind: str
    after: int
    seconds: float = 0.0


class Link:
    """Listens on a port of its own and relays to `target`, one fault per connection; `fault(number)` says which, None
    for none. A connection carries one request."""

    def __init__(self, target: str, fault: Callable[[int], Fault | None]) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target, self._fault = (host, int(port)), fault
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._has_ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._relay, args=(near, self._fault(self.connections)), daemon=True).start()

    def _relay(self, near: socket.socket, fault: Fault | None) -> None:
        with near, contextlib.suppress(OSError):
            if fault is not None and fault.kind == "black_hole" and fault.after == 0:
                self._has_ended.wait(60)
                return
            with socket.create_connection(self._target, timeout=30) as far:
                far.settimeout(30)
                threading.Thread(target=_upstream, args=(near, far), daemon=True).start()
                self._downstream(near, far, fault)

    def _downstream(self, near: socket.socket, far: socket.socket, fault: Fault | None) -> None:
        if fault is not None and fault.kind == "latency":
            self._has_ended.wait(fault.seconds)
        passed = 0
        while data := far.recv(65_536):
            if fault is None or fault.kind == "latency":
                near.sendall(data)
                continue
            whole = data[: max(0, fault.after - passed)]
            near.sendall(whole)
            passed += len(whole)
            rest = data[len(whole) :]
            if not rest:
                continue
            if fault.kind in ("slow", "slicer"):
                for byte in range(0, len(rest), 1 if fault.kind == "slow" else 7):
                    near.sendall(rest[byte : byte + (1 if fault.kind == "slow" else 7)])
                    if self._has_ended.wait(fault.seconds):
                        return
                continue
            if fault.kind == "reset":
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif fault.kind == "half_close":
                near.shutdown(socket.SHUT_WR)
                self._has_ended.wait(60)
            elif fault.kind == "black_hole":
                self._has_ended.wait(60)
            return

    def close(self) -> None:
        """Stop listening and let go of what hangs."""
        self._has_ended.set()
        self._listener.close()


def _upstream(near: socket.socket, far: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := near.recv(65_536):
            far.sendall(data)


@contextmanager
def link(target: str, fault: Callable[[int], Fault | None]) -> Iterator[Link]:
    """A link while it is needed."""
    made = Link(target, fault)
    try:
        yield made
    finally:
        made.close()
        time.sleep(0)
