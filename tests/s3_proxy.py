"""A server between a client and an S3 store that loses answers, as networks do, or ignores conditions, as stores do."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Faults:
    """What goes wrong with PUTs, as shares of them; `lost` counts the answers that nobody got. `overwrites` removes the
    object of a path before it is created: so a store behaves that ignores the condition, which is signed."""

    lose_answer: float = 0.0
    lose_request: float = 0.0
    overwrites: Callable[[str], None] | None = None
    seed: int = 7
    lost: int = 0
    _random: random.Random = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def choose(self) -> str:
        """What becomes of the next PUT."""
        with self._lock:
            drawn = self._random.random()
            if drawn < self.lose_answer:
                self.lost += 1
                return "lose answer"
            return "lose request" if drawn < self.lose_answer + self.lose_request else "pass"


@contextlib.contextmanager
def proxy(endpoint: str, faults: Faults) -> Iterator[str]:
    """Address of a proxy to `endpoint` for as long as the block lasts."""
    target = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            if faults.overwrites is not None and "If-None-Match" in self.headers:
                faults.overwrites(urlsplit(self.path).path)
            fate = faults.choose() if self.command == "PUT" else "pass"
            if fate == "lose request":
                self._hang_up()
                return
            upstream = http.client.HTTPConnection(target, timeout=30)
            try:
                upstream.request(self.command, self.path, body=body or None, headers=headers)
                answer = upstream.getresponse()
                content = answer.read()
            except OSError:
                self._hang_up()
                return
            finally:
                upstream.close()
            if fate == "lose answer":
                self._hang_up()
                return
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP | {"content-length"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            with contextlib.suppress(OSError):  # a client that has gone
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _forward  # noqa: N815 - the names that http.server wants

        def _hang_up(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parameter's name there
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
