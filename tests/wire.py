"""The other end of the wire, for tests: a loopback server that sends exact bytes, and clients that talk to it or to a
function. Also bodies in Alpha Vantage's shape, made of invented numbers."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from market_pipeline import layout, manifest
from market_pipeline.feed import Feed, Instrument, Outcome, Pace, Provider
from market_pipeline.fetch import PATIENCE, Client, Patience
from market_pipeline.manifest import Entry, Payload
from market_pipeline.partition import Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.quota import Ledger
from market_pipeline.store import FolderStore

NOW = dt.datetime(2026, 11, 18, 15, 0, tzinfo=dt.UTC)
HEADER = "timestamp,open,high,low,close,adjusted close,volume,dividend amount"
FAST = Pace(calls_per_day=None, interval_s=0.0)
KEY = "CANARYKEY0123456"
KILLS = int(os.environ.get("MARKET_PIPELINE_TEST_KILLS", "10"))


class Wire:
    """Answers each connection with the bytes that `respond(request, number)` gives, then closes it."""

    def __init__(self, respond: Callable[[bytes, int], bytes | Iterator[bytes]]) -> None:
        self._respond = respond
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(65_536)
                if not part:
                    return
                head += part
            with self._lock:
                self.requests.append(head)
                number = len(self.requests)
            answer = self._respond(head, number)
            for part in (answer,) if isinstance(answer, bytes) else answer:
                connection.sendall(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def response(body: bytes, *, status: str = "200 OK", headers: Sequence[str] = ()) -> bytes:
    """A whole answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@contextmanager
def client(
    folder: Path,
    *,
    answer: Callable[[httpx2.Request], httpx2.Response] | None = None,
    url: str = "http://127.0.0.1:9",
    key: str | None = KEY,
    pace: Pace = FAST,
    now: Callable[[], dt.datetime] = lambda: NOW,
    sleep: Callable[[float], None] = lambda _seconds: None,
    provider: Provider = PROVIDER,
    patience: Patience = PATIENCE,
) -> Iterator[Client]:
    """A client of ours: over real sockets, or with a function in the place of the network."""
    with Client(
        provider,
        base_url=url,
        key=key,
        pace=pace,
        ledger=Ledger(folder / "quota.sqlite"),
        now=now,
        sleep=sleep,
        transport=None if answer is None else httpx2.MockTransport(answer),
        patience=patience,
    ) as made:
        yield made


class Parts(httpx2.SyncByteStream):
    """A body in pieces, as a socket would give it."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts


def reply(body: bytes, status: int = 200, **headers: str) -> httpx2.Response:
    """What a function in the place of the network returns; header names with _ for -."""
    names = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    names.append((b"content-length", str(len(body)).encode()))
    return httpx2.Response(status, headers=names, stream=Parts(body))


def instrument(symbol: str, *, asset_class: str = "stock", listed: str = "2000-01-03", **more: object) -> Instrument:
    """An instrument of which only the symbol matters."""
    fields: dict[str, object] = {
        "instrument_id": f"id-{symbol}",
        "symbol": symbol,
        "name": f"{symbol} Inc",
        "asset_class": asset_class,
        "exchange": "NYSE",
        "currency": "USD",
        "sector": None,
        "industry": None,
        "listed_date": dt.date.fromisoformat(listed),
        **more,
    }
    return Instrument(**fields)  # type: ignore[arg-type]


def bar(day: str, close: float = 50.0, *, volume: int = 1000) -> str:
    """One line of a weekly series whose numbers satisfy the contract."""
    return f"{day},{close:.4f},{close + 1:.4f},{close - 1:.4f},{close:.4f},{close:.4f},{volume},0.0000"


def csv(*lines: str, end: str = "\r\n") -> bytes:
    """A weekly series with its header."""
    return "".join(line + end for line in (HEADER, *lines)).encode()


def weeks(count: int, *, close: float = 50.0, last: str = "2026-11-13") -> bytes:
    """A series of `count` Fridays, newest first."""
    friday = dt.date.fromisoformat(last)
    return csv(*(bar((friday - dt.timedelta(weeks=n)).isoformat(), close + n / 100) for n in range(count)))


class Api:
    """Alpha Vantage's endpoint as a function: one answer per symbol, and a list of who was asked for."""

    def __init__(self, answers: Mapping[str, bytes | Callable[[], httpx2.Response]] | None = None) -> None:
        self.answers = dict(answers or {})
        self.asked: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        symbol = request.url.params["symbol"]
        self.asked.append(symbol)
        answer = self.answers[symbol]
        return reply(answer) if isinstance(answer, bytes) else answer()


def commit(
    store: FolderStore, feed: Feed, part: Slice, payloads: Mapping[str, Sequence[tuple[bytes, dt.datetime]]]
) -> None:
    """A bronze slice as an ingest would leave it, with these payloads of each symbol, oldest first."""
    prefix = layout.bronze_slice(PROVIDER.name, feed.dataset, part.key)
    entries = []
    for symbol, versions in sorted(payloads.items()):
        (request,) = feed.plan(part, (instrument(symbol),))
        kept = []
        for body, fetched_at in versions:
            sha256 = hashlib.sha256(body).hexdigest()
            key = layout.bronze_object(prefix, request.name, sha256, request.extension)
            store.create(key, body)
            kept.append(Payload(key.removeprefix(prefix), sha256, len(body), fetched_at))
        entries.append(Entry(request, Outcome.FETCHED, "", versions[-1][1], tuple(kept)))
    before = manifest.read(store, PROVIDER.name, feed.dataset, part.key)
    seq = 1 if before is None else before.seq + 1
    manifest.write(store, PROVIDER.name, feed, part, seq=seq, entries=tuple(entries), written_at=NOW)


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Every file below a folder with its time and its hash: equal trees mean that nothing was written."""
    return {
        path.relative_to(root).as_posix(): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
