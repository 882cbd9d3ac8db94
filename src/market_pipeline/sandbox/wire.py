"""An answer on the wire, whole or broken as a fault wants it. What does not belong here: which answer, which fault."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from market_pipeline.sandbox import faults
from market_pipeline.sandbox.provider import Answer

_LARGE = 1 << 16
_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>503 Backend fetch failed</title></head><body><h1>Sorry</h1></body></html>\n"
)


def deliver(
    answer: Answer, fault: faults.Fault | None, *, accepts_gzip: bool
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The ASGI response for an answer, whole or broken."""
    headers = {"content-type": answer.content_type, **dict(answer.headers)}
    body = answer.body
    if accepts_gzip or (fault is not None and fault.kind == "gzip_cut"):
        # whole markets are packed at the lowest level: ten times faster, half as big again
        level = 9 if len(body) < _LARGE else 1
        body, headers["content-encoding"] = gzip.compress(body, level, mtime=0), "gzip"
    match fault:
        case None:
            return Response(body, answer.status, headers=headers)
        case faults.Fault(kind="status"):
            extra = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
            return Response(f"{fault.status}\n", fault.status, extra, "text/plain")
        case faults.Fault(kind="html"):
            return Response(_PAGE, media_type="text/html")
        case faults.Fault(kind="gzip_cut"):
            return Response(_cut(body, fault), headers=headers)
        case faults.Fault(kind="truncate") if not fault.keeps_length:
            # cut before compression, so that nothing but the body's own shape can tell
            headers.pop("content-encoding", None)
            return Response(_cut(answer.body, fault), headers=headers)
        case faults.Fault(kind="truncate"):
            return _ShortOf(body, _cut(body, fault), headers)
        case _:
            return _Reset()


def _cut(body: bytes, fault: faults.Fault) -> bytes:
    return body[: int(len(body) * fault.fraction)]


@dataclass(frozen=True)
class _ShortOf:
    """Announces the whole length, sends a part, closes the connection."""

    whole: bytes
    part: bytes
    headers: dict[str, str]

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        head = {**self.headers, "content-length": str(len(self.whole))}
        raw = [(name.encode(), value.encode()) for name, value in head.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": self.part, "more_body": True})
        _transport(receive).close()
        await _gone(receive)


@dataclass(frozen=True)
class _Reset:
    """Resets the connection: closing a socket that lingers for no time sends RST."""

    async def __call__(self, _scope: Scope, receive: Receive, _send: Send) -> None:
        transport = _transport(receive)
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        await _gone(receive)


def _transport(receive: Receive) -> asyncio.Transport:
    """The connection under a request: uvicorn's `receive` is a method of the object that holds it."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if not isinstance(transport, asyncio.Transport):
        raise RuntimeError("Faults of the connection need uvicorn")
    return transport


async def _gone(receive: Receive) -> None:
    """Wait until the server has noticed that the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass
