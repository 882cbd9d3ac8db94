"""Below the HTTP client: a request gets the key, an answer must begin in time, and its body must be whole.

This is the one place where a key meets a URL. What does not belong here: what an answer means (`fetch`).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2

from market_pipeline.feed import Auth

DECODED_MAX = 32 * 1024 * 1024
RATIO_MAX = 200


class BadBody(Exception):
    """Bytes that can't be the whole answer; the text is a short stable word."""


class Signed(httpx2.BaseTransport):
    """Adds the key on the way out, below everything of the client that logs a URL or puts one into an error."""

    def __init__(self, inner: httpx2.BaseTransport, *, auth: Auth, key: str | None) -> None:
        self._inner, self._auth, self._key = inner, auth, key

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url, headers = request.url, request.headers.copy()
        if self._key and self._auth.place == "query":
            url = url.copy_set_param(self._auth.name, self._key)
        if self._key and self._auth.place == "header":
            headers[self._auth.name] = self._auth.prefix + self._key
        return self._inner.handle_request(
            httpx2.Request(request.method, url, headers=headers, stream=request.stream, extensions=request.extensions)
        )

    def close(self) -> None:
        self._inner.close()


class HeadWatch:
    """Cuts a connection whose answer does not begin in time: a time-out between two bytes starts anew with each byte.

    `trace` is called by the client with what it does, and so learns of each connection."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[Callable[[], None]]:
        """Gives the function to call when the answer has begun."""
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield timer.cancel
        finally:
            timer.cancel()

    def _cut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def read_body(response: httpx2.Response, *, limit: int, seconds: float) -> bytes:
    """The whole body within the limits. HTTP clients accept a body cut short in several framings, so the framing must
    vouch for the end: a length, chunks, or gzip's own trailer (RFC 1952)."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    is_framed = "content-length" in response.headers or "transfer-encoding" in response.headers
    if encoding not in ("identity", "gzip"):
        raise BadBody("unknown_encoding")
    if encoding == "identity" and not is_framed:
        raise BadBody("unframed")
    inflate = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    received, parts, total = 0, [], 0
    deadline = time.monotonic() + seconds
    for chunk in response.iter_raw():
        received += len(chunk)
        if received > limit:
            raise BadBody("too_large")
        if time.monotonic() > deadline:
            raise BadBody("too_slow")
        if inflate is not None:
            room = min(DECODED_MAX, max(received * RATIO_MAX, 1 << 16)) - total
            try:
                chunk = inflate.decompress(chunk, max(1, room + 1))  # noqa: PLW2901 - the decoded chunk
            except zlib.error:
                raise BadBody("gzip_broken") from None
            if len(chunk) > room or inflate.unconsumed_tail:
                raise BadBody("too_large")
        total += len(chunk)
        parts.append(chunk)
    if inflate is not None and (not inflate.eof or inflate.unused_data):
        raise BadBody("gzip_cut_short")
    return b"".join(parts)
