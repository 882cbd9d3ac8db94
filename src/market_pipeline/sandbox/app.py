"""The sandbox as an HTTP application: providers under their names, controls under `/_sandbox`.

    GET  /<provider>/...          the provider; its base address is http://<host>:<port>/<provider>
    GET  /_sandbox/state          clock; plan, counted calls per key and answers per provider; faults
    GET  /_sandbox/events         what had happened by the clock; ?since=<ISO instant>&kind=<kind>
    PUT  /_sandbox/clock          {"now": "2026-11-20T22:00:00Z"}, or null for the machine's clock
    PUT  /_sandbox/faults         a list of faults (see `faults`), which replaces the one in force
    POST /_sandbox/reset          counters, faults and clock as at the start

A call is judged in this order: key, quota, faults, answer; so a call that goes wrong has been counted. Nothing is
logged per request: a key may be in the query.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from market_pipeline import logs
from market_pipeline.sandbox import faults
from market_pipeline.sandbox.events import EventKind
from market_pipeline.sandbox.provider import Provider
from market_pipeline.sandbox.state import Sandbox, SandboxConfig
from market_pipeline.sandbox.wire import deliver

__all__ = ["SandboxConfig", "create_app", "running", "serve"]


class _Endpoint:
    """Everything below a provider's address, as a bare ASGI endpoint: faults need the connection itself."""

    def __init__(self, sandbox: Sandbox, provider: Provider) -> None:
        self._sandbox, self._provider = sandbox, provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, sandbox, provider = Request(scope), self._sandbox, self._provider
        base = f"{request.url.scheme}://{request.url.netloc}/{provider.name}"
        path = "/" + request.path_params["path"]
        call = provider.call(base, path, dict(request.query_params), request.headers)
        answer = sandbox.refusal(provider, call)
        broken: faults.Fault | None = None
        if answer is None:
            drawn = sandbox.faults.draw(
                provider=provider.name,
                endpoint=call.endpoint,
                symbol=call.symbol,
                page=call.page,
                messages=provider.messages,
            )
            for fault in drawn:
                if fault.kind == "latency":
                    await asyncio.sleep(fault.seconds)
                else:
                    broken = fault
            answer = sandbox.answer(provider, call, broken)
        outcome = answer.outcome if broken is None or broken.kind == "message" else broken.kind
        sandbox.answers[provider.name, call.endpoint, call.symbol, outcome] += 1
        on_wire = None if broken is None or broken.kind in faults.ANSWERED else broken
        accepts_gzip = "gzip" in request.headers.get("accept-encoding", "")
        await deliver(answer, on_wire, accepts_gzip=accepts_gzip)(scope, receive, send)


def create_app(config: SandboxConfig) -> Starlette:
    """The application; its `state.sandbox` is the `Sandbox` behind it."""
    sandbox = Sandbox(config)
    messages = {provider.name: provider.messages for provider in sandbox.providers.values()}

    async def state(_request: Request) -> Response:
        return JSONResponse(_state(sandbox))

    async def events(request: Request) -> Response:
        if sandbox.market is None:
            return JSONResponse([])
        try:
            since = _instant(request.query_params.get("since"))
            kinds = [EventKind(kind) for kind in request.query_params.getlist("kind")] or list(EventKind)
        except ValueError as error:
            return _wrong(error)
        found = sandbox.market.events(sandbox.now(), kinds=kinds, since=since)
        return Response(json.dumps([asdict(event) for event in found], default=_iso), media_type="application/json")

    async def set_clock(request: Request) -> Response:
        try:
            sandbox.clock = _instant((await request.json())["now"])
        except (ValueError, KeyError, TypeError) as error:
            return _wrong(error)
        return JSONResponse(_state(sandbox))

    async def set_faults(request: Request) -> Response:
        try:
            sandbox.faults.replace(faults.parse(await request.json(), messages=messages))
        except (ValueError, TypeError) as error:
            return _wrong(error)
        return JSONResponse(_state(sandbox))

    async def reset(_request: Request) -> Response:
        sandbox.reset()
        return JSONResponse(_state(sandbox))

    served: list[BaseRoute] = [
        Mount(f"/{name}", routes=[Route("/{path:path}", _Endpoint(sandbox, provider), methods=["GET"])])
        for name, provider in sandbox.providers.items()
    ]
    app = Starlette(
        routes=[
            *served,
            Route("/_sandbox/state", state),
            Route("/_sandbox/events", events),
            Route("/_sandbox/clock", set_clock, methods=["PUT"]),
            Route("/_sandbox/faults", set_faults, methods=["PUT"]),
            Route("/_sandbox/reset", reset, methods=["POST"]),
        ]
    )
    app.state.sandbox = sandbox
    return app


def _state(sandbox: Sandbox) -> dict[str, Any]:
    now = sandbox.now()
    answers = [
        {"provider": provider, "endpoint": endpoint, "symbol": symbol, "outcome": outcome, "count": count}
        for (provider, endpoint, symbol, outcome), count in sorted(sandbox.answers.items())
    ]
    return {
        "now": now.isoformat(),
        "is_real_clock": sandbox.clock is None,
        "mode": "fictional" if sandbox.market is not None else "recorded",
        "seed": sandbox.config.seed,
        "providers": {
            name: {
                "plan": provider.plan,
                "calls": sandbox.quotas[name].report(now),
                "answered": sum(row["count"] for row in answers if row["provider"] == name),
            }
            for name, provider in sandbox.providers.items()
        },
        "answers": answers,
        "answered": sum(sandbox.answers.values()),
        "faults": sandbox.faults.report(),
    }


def _instant(text: str | None) -> dt.datetime | None:
    """An ISO instant with its zone, as UTC; None for null."""
    if text is None:
        return None
    instant = dt.datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it as 2026-11-20T22:00:00Z")
    return instant.astimezone(dt.UTC)


def _iso(value: object) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _wrong(error: Exception) -> Response:
    return JSONResponse({"error": str(error) or type(error).__name__}, status_code=400)


def _server(config: SandboxConfig, *, host: str, port: int, log_level: str) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            create_app(config),
            host=host,
            port=port,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_level=log_level,
            access_log=False,
            log_config=None if logs.is_on() else uvicorn.config.LOGGING_CONFIG,
            server_header=False,
        )
    )


def serve(config: SandboxConfig, *, port: int, host: str = "127.0.0.1", log_level: str = "warning") -> None:
    """Serve until interrupted."""
    _server(config, host=host, port=port, log_level=log_level).run()


@contextmanager
def running(config: SandboxConfig, *, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve from a thread on a free port; gives the address, without a provider's path. For tests and the demo."""
    server = _server(config, host=host, port=0, log_level="critical")
    # the protocol is named so that asyncio switches Nagle's algorithm off, which costs 40 ms an answer
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((host, 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("The sandbox did not start")
            time.sleep(0.005)
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
