"""Promise 9: answers made to fill memory or time are refused; 128 MiB and 5 seconds of processor
time are never reached.

Each is answered to the real client in a process of its own, fetched, judged and, should it be kept, normalized. Zip
bombs come as bodies only: nothing here opens an archive.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import stamina

from market_pipeline import providers
from market_pipeline.ingest import ingest
from market_pipeline.normalize import normalize
from market_pipeline.partition import Slice
from market_pipeline.store import FolderStore
from proofs import forks
from proofs.proof import Proof, Result
from wire import HEADER, NOW, Parts, bar, client, instrument

MEMORY_MAX_MIB = 128.0
SECONDS_MAX = 5.0
MIB = 1 << 20


def _deflated(count: int, unit: bytes, *, before: bytes = b"", after: bytes = b"") -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return b"".join(
        [
            packer.compress(before),
            *(packer.compress(unit) for _ in range(count)),
            packer.compress(after),
            packer.flush(),
        ]
    )


def _zip(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(f"{number}.csv", bytes(16 * MIB))
    return buffer.getvalue()


def _keys(count: int, *, start: int = 0) -> bytes:
    return b"{" + b",".join(b'"%x":1' % n for n in range(start, start + count)) + b"}"


def _numbered(count: int) -> Iterator[bytes]:
    for first in range(0, count, 100_000):
        yield b",".join(b'"%08x":1' % n for n in range(first, first + 100_000)) + b","


def _ten_million_keys() -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(
        [
            packer.compress(b"{"),
            *map(packer.compress, _numbered(10_000_000)),
            packer.compress(b'"z":1}'),
            packer.flush(),
        ]
    )


HEAD = HEADER.encode() + b"\n"
LINE = (bar("2026-11-13") + "\n").encode()
# Name: the body on the wire, whether it is gzip, and the feed that it is an answer to.
BOMBS: dict[str, tuple[Callable[[], bytes], bool, str]] = {
    "gzip of zeros": (lambda: _deflated(300, bytes(MIB)), True, "weekly_adjusted"),
    "header, then zeros": (lambda: _deflated(128, bytes(MIB), before=HEAD), True, "weekly_adjusted"),
    "rows without end": (lambda: _deflated(2000, LINE * 400, before=HEAD), True, "weekly_adjusted"),
    "rows of random text, low ratio": (
        lambda: gzip.compress(HEAD + os.urandom(40 * MIB).hex().encode(), 1), True, "weekly_adjusted",
    ),
    "gzip in gzip": (lambda: gzip.compress(_deflated(300, bytes(MIB))), True, "weekly_adjusted"),
    "gzip members without end": (lambda: gzip.compress(bytes(MIB)) * 2000, True, "weekly_adjusted"),
    "a zip of zeros": (lambda: _zip(8), False, "overview"),
    "a zip of zeros where CSV was asked": (lambda: _zip(8), False, "weekly_adjusted"),
    "newlines": (lambda: HEAD + b"\n" * (30 * MIB) + b"x\n", False, "weekly_adjusted"),
    "one long line": (lambda: HEAD + b"1" * (30 * MIB) + b"\n", False, "weekly_adjusted"),
    "commas": (lambda: HEAD + b"," * (30 * MIB) + b"\n", False, "weekly_adjusted"),
    "deep arrays": (lambda: b"[" * (20 * MIB), False, "overview"),
    "deep objects": (lambda: b'{"a":' * (4 * MIB), False, "overview"),
    "deep arrays, closed": (lambda: b"[" * 1000 + b"]" * 1000, False, "overview"),
    "deep objects in gzip": (lambda: _deflated(100, b'{"a":' * 200_000), True, "overview"),
    "ten million keys": (_ten_million_keys, True, "overview"),
    "two million keys": (lambda: _keys(2_000_000), False, "overview"),
    "empty arrays": (lambda: b"[" + b"[]," * (10 * MIB) + b"[]]", False, "overview"),
    "empty objects": (lambda: b"[" + b"{}," * (10 * MIB) + b"{}]", False, "eod_raw"),
    "a number of a million digits": (lambda: b'{"Symbol":"IBM","Name":' + b"9" * 1_000_000 + b"}", False, "overview"),
    "a number of thirty million digits": (lambda: b'{"Symbol":' + b"9" * (30 * MIB) + b"}", False, "overview"),
    "exponents": (lambda: b"[" + b"1e99999999," * (2 * MIB) + b"1]", False, "eod_raw"),
    "a long text of wide characters": (
        lambda: b'{"Symbol":"IBM","Name":"' + b"a" * (30 * MIB) + "\U0001f4a3".encode() + b'"}', False, "overview",
    ),
    "rows with one member more each": (
        lambda: json.dumps([{f"m{n}": n, "symbol": "IBM"} for n in range(260_000)]).encode(), False, "eod_raw",
    ),
    "one more byte than the limit": (lambda: b" " * (32 * MIB + 1), False, "overview"),
}  # fmt: skip


def _status(name: str) -> int:
    """A figure of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def answer(folder: Path, number: str) -> int:
    """Fetch one bomb here, and leave beside the lake what it cost."""
    _, is_gzip, dataset = list(BOMBS.values())[int(number)]
    body = (folder / "body").read_bytes()  # made elsewhere: what making it costs must not hide what judging it costs
    provider = next(p for p in providers.load().values() if p.feed(dataset) is not None)
    feed = provider.feed(dataset)
    assert feed is not None

    def respond(_request: httpx2.Request) -> httpx2.Response:
        pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
        headers = {"Content-Length": str(len(body)), **({"Content-Encoding": "gzip"} if is_gzip else {})}
        return httpx2.Response(200, headers=headers, stream=Parts(*pieces) if len(body) < MIB else _Lazy(body))

    store, part = FolderStore(folder / "lake"), Slice.at(NOW.date(), grain=feed.grain)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = _status("VmHWM"), time.process_time()
    with stamina.set_testing(True, attempts=1), client(folder, answer=respond, provider=provider) as made:
        request, *_ = feed.plan(part, (instrument("IBM"),))
        verdict = made.fetch(feed, request).verdict
        seconds = time.process_time() - started
        if not feed.spans:
            ingest(provider, feed, part, [instrument("IBM")], store=store, client=made, now=lambda: NOW)
    rows = None
    if verdict.outcome.is_final and not feed.spans:
        rows = normalize(provider, feed, part, store=store).rows_kept
    told = {
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "rows": rows,
        "mib": (_status("VmHWM") - before) / 1024,
        "seconds": seconds,
    }
    (folder / "told").write_text(json.dumps(told))
    return 0


class _Lazy(httpx2.SyncByteStream):
    """A body in pieces that are made one at a time."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._body), 65_536):
            yield self._body[at : at + 65_536]


def run(count: int, *, seed: int, folder: Path) -> Result:
    """The first `count` bombs, each in a process of its own."""
    del seed
    wrong, most, longest = list[str](), 0.0, 0.0
    chosen = list(BOMBS)[:count] if count < len(BOMBS) else list(BOMBS)
    for number, name in enumerate(chosen):
        home = folder / f"bomb-{number}"
        home.mkdir()
        (home / "body").write_bytes(BOMBS[name][0]())
        if (code := forks.run("bomb", home, list(BOMBS).index(name), seconds=120)) != 0:
            wrong.append(f"{name}: ended with {code}")
            continue
        (home / "body").unlink()
        told = json.loads((home / "told").read_text())
        most, longest = max(most, told["mib"]), max(longest, told["seconds"])
        if told["outcome"] != "failed" and told["rows"] != 0:
            wrong.append(f"{name}: {told}")
        if told["mib"] > MEMORY_MAX_MIB or told["seconds"] > SECONDS_MAX:
            wrong.append(f"{name}: {told['mib']:.0f} MiB, {told['seconds']:.1f} s")
    return Result(
        len(chosen), tuple(wrong), {}, {"memory growth, MiB": round(most, 1), "processor seconds": round(longest, 2)}
    )


PROOFS = (
    Proof(9, "bombs", "bodies made to fill memory or time", "bombs", 3, len(BOMBS), len(BOMBS), run, is_finite=True),
)
