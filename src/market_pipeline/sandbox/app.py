"""The sandbox as an HTTP application: providers under their names, controls under `/_sandbox`.

    GET  /alpha_vantage/query     the provider; its base address is http://<host>:<port>/alpha_vantage
    GET  /_sandbox/state          clock, plan, counted calls per key, answers per function and symbol, faults
    GET  /_sandbox/events         what had happened by the clock; ?since=<ISO instant>&kind=<kind>
    PUT  /_sandbox/clock          {"now": "2026-11-20T22:00:00Z"}, or null for the machine's clock
    PUT  /_sandbox/faults         a list of faults (see `faults`), which replaces the one in force
    POST /_sandbox/reset          counters, faults and clock as at the start

A call is judged in this order: key, quota, faults, answer; so a call that goes wrong has been counted. Nothing is
logged per request: the key is in the query.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from market_pipeline.sandbox import alpha_vantage, faults, quota, recorded
from market_pipeline.sandbox.events import EventKind
from market_pipeline.sandbox.market import DEFAULT_SEED, Market
from market_pipeline.sandbox.wire import deliver


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """`universe` is the folder of the fictional universe's seed files, `recorded` one of captured bodies (then the
    fictional market answers nothing). `clock` None is the machine's clock. `keys` None takes any key. With `echoes_key`
    the daily refusal repeats the caller's key. `documented_symbol` is the one that the key `demo` may ask for."""

    universe: Path | None = None
    recorded: Path | None = None
    clock: dt.datetime | None = None
    seed: int = DEFAULT_SEED
    plan: str = "free"
    keys: frozenset[str] | None = None
    echoes_key: bool = False
    documented_symbol: str = "IBM"
    faults: tuple[faults.Fault, ...] = ()
    monotonic: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if (self.universe is None) == (self.recorded is None):
            raise ValueError("Give the sandbox either a universe folder or a folder of recorded payloads")
        if self.clock is not None and self.clock.tzinfo is None:
            raise ValueError("The sandbox's clock needs a time zone")


class Sandbox:
    """The state behind the application: market, clock, counters, faults."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.market = None if config.universe is None else Market.load(config.universe, seed=config.seed)
        self.clock = config.clock
        self.quota = quota.Quota(config.plan, config.monotonic)
        self.faults = faults.Plan(config.faults, seed=config.seed)
        self.answers: Counter[tuple[str, str, str]] = Counter()

    def now(self) -> dt.datetime:
        """The sandbox's instant, UTC."""
        return self.clock or dt.datetime.now(dt.UTC)

    def reset(self) -> None:
        """Back to the start."""
        self.clock = self.config.clock
        self.quota.reset()
        self.faults.replace(self.config.faults)
        self.answers.clear()

    def refusal(self, params: dict[str, str]) -> alpha_vantage.Answer | None:
        """What key and plan have against a call; None when it is admitted, and then it has been counted."""
        function, key = params.get("function", "").upper(), params.get("apikey", "")
        keys = self.config.keys
        if key == "demo":
            allowed = {"function": function, "symbol": self.config.documented_symbol, "apikey": "demo"}
            is_documented = {**allowed, "datatype": "csv"} == {**params, "function": function, "datatype": "csv"}
            return None if is_documented else alpha_vantage.message("demo_key", function=function)
        if not key or (keys is not None and key not in keys):
            return alpha_vantage.message("bad_key", function=function)
        limit = self.quota.admit(key, self.now())
        if limit is None:
            return None
        name = "per_day_echo" if limit == "per_day" and self.config.echoes_key else limit
        return alpha_vantage.message(name, function=function, key=key)

    def answer(self, params: dict[str, str]) -> alpha_vantage.Answer:
        """The answer to an admitted call."""
        function, symbol = params.get("function", "").upper(), params.get("symbol", "").upper()
        datatype = params.get("datatype", "json")
        if self.config.recorded is not None:
            extension = "csv" if datatype == "csv" and function != alpha_vantage.OVERVIEW else "json"
            body = recorded.body(self.config.recorded / "alpha_vantage", function, symbol, extension)
            if body is not None:
                return alpha_vantage.recorded(body, symbol=symbol, extension=extension)
        elif self.market is not None and function == alpha_vantage.WEEKLY:
            return alpha_vantage.weekly(self.market.bars(symbol, self.now()), symbol=symbol, datatype=datatype)
        elif self.market is not None and function == alpha_vantage.OVERVIEW:
            return alpha_vantage.overview(self.market.profile(symbol, self.now()))
        if function == alpha_vantage.OVERVIEW and symbol:
            return alpha_vantage.overview(None)
        is_premium = function in alpha_vantage.PREMIUM and self.config.plan == "free"
        return alpha_vantage.message("premium_endpoint" if is_premium else "invalid_call", function=function)


class _AlphaVantage:
    """The provider's one address, as a bare ASGI endpoint: faults need the connection itself."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        params = dict(request.query_params)
        function, symbol = params.get("function", "").upper(), params.get("symbol", "").upper()
        answer = self._sandbox.refusal(params)
        broken: faults.Fault | None = None
        if answer is None:
            for fault in self._sandbox.faults.draw(function, symbol):
                if fault.kind == "latency":
                    await asyncio.sleep(fault.seconds)
                else:
                    broken = fault
            if broken is not None and broken.kind == "message":
                answer, broken = (
                    alpha_vantage.message(broken.message, function=function, key=params.get("apikey", "")),
                    None,
                )
            else:
                answer = self._sandbox.answer(params)
        self._sandbox.answers[function, symbol, answer.outcome if broken is None else broken.kind] += 1
        accepts_gzip = "gzip" in request.headers.get("accept-encoding", "")
        await deliver(answer, broken, accepts_gzip=accepts_gzip)(scope, receive, send)


def create_app(config: SandboxConfig) -> Starlette:
    """The application; its `state.sandbox` is the `Sandbox` behind it."""
    sandbox = Sandbox(config)

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
            sandbox.faults.replace(faults.parse(await request.json(), messages=alpha_vantage.MESSAGES))
        except (ValueError, TypeError) as error:
            return _wrong(error)
        return JSONResponse(_state(sandbox))

    async def reset(_request: Request) -> Response:
        sandbox.reset()
        return JSONResponse(_state(sandbox))

    app = Starlette(
        routes=[
            Mount("/alpha_vantage", routes=[Route("/query", _AlphaVantage(sandbox), methods=["GET"])]),
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
        {"function": function, "symbol": symbol, "outcome": outcome, "count": count}
        for (function, symbol, outcome), count in sorted(sandbox.answers.items())
    ]
    return {
        "now": now.isoformat(),
        "is_real_clock": sandbox.clock is None,
        "mode": "fictional" if sandbox.market is not None else "recorded",
        "seed": sandbox.config.seed,
        "plan": sandbox.config.plan,
        "calls": sandbox.quota.report(now),
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
