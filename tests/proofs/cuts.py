"""Promise 8: a body cut at every byte, in every framing that HTTP has, is never taken for a whole one.

A plain body whose length header matches the cut has nothing that tells: that limit is in docs/limits.md.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import stamina

from market_pipeline import providers
from market_pipeline.feed import Feed, Outcome, Provider
from market_pipeline.partition import Slice
from proofs.proof import Proof, Result
from wire import NOW, Wire, bar, client, csv, instrument


def chunked(body: bytes, *, size: int = 50) -> bytes:
    """RFC 9112 section 7.1."""
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def head(*lines: str) -> bytes:
    """Start of an answer."""
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "Connection: close", "", ""]).encode()


MEMORY = Path("/dev/shm")
# The whole body on the wire, and what is sent of it up to a byte.
Framing = tuple[Callable[[bytes], bytes], Callable[[bytes, int], bytes]]
GZIP, CHUNKS = "Content-Encoding: gzip", "Transfer-Encoding: chunked"


def _pack(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


FRAMINGS: dict[str, Framing] = {
    "length": (lambda b: b, lambda b, n: head(f"Content-Length: {len(b)}") + b[:n]),
    "chunks": (chunked, lambda b, n: head(CHUNKS) + b[:n]),
    "close": (lambda b: b, lambda b, n: head() + b[:n]),
    "gzip, length of the whole": (_pack, lambda b, n: head(GZIP, f"Content-Length: {len(b)}") + b[:n]),
    "gzip, length of the cut": (_pack, lambda b, n: head(GZIP, f"Content-Length: {n}") + b[:n]),
    "gzip, chunks cut": (lambda b: chunked(_pack(b)), lambda b, n: head(GZIP, CHUNKS) + b[:n]),
    "gzip, chunks of the cut": (_pack, lambda b, n: head(GZIP, CHUNKS) + chunked(b[:n])),
    "gzip, close": (_pack, lambda b, n: head(GZIP) + b[:n]),
}


def _bodies(rng: random.Random) -> Iterator[tuple[Provider, Feed, bytes]]:
    """Small whole answers of each provider, with random numbers."""
    loaded = providers.load()

    def of(name: str, dataset: str, body: bytes) -> tuple[Provider, Feed, bytes]:
        feed = loaded[name].feed(dataset)
        assert feed is not None
        return loaded[name], feed, body

    while True:
        days = [f"2026-11-{day:02d}" for day in rng.sample(range(2, 21), rng.randrange(1, 4))]
        yield of("alpha_vantage", "weekly_adjusted", csv(*(bar(day, rng.uniform(1, 900)) for day in days)))
        overview = {"Symbol": "IBM", "Name": "x" * rng.randrange(1, 60), "PERatio": f"{rng.uniform(1, 50):.2f}"}
        yield of("alpha_vantage", "overview", json.dumps(overview, indent=rng.choice((None, 4))).encode())
        row = {"symbol": "IBM", "volume": rng.randrange(10**9)}
        row |= {f"adj{name}": round(rng.uniform(1, 900), 2) for name in ("Open", "High", "Low", "Close")}
        yield of("fmp", "eod_raw", json.dumps([{**row, "date": day} for day in days]).encode())
        page = {"status": "OK", "results": [{"ticker": "A", "name": "A", "market": "stocks", "active": True}]}
        yield of("polygon", "tickers", json.dumps(page).encode())


def run(count: int, *, seed: int, folder: Path) -> Result:
    """Answers over real sockets, each cut at every byte, one framing after the other, until so many cuts."""
    rng = random.Random(f"cuts {seed}")
    # The ledger's syncs are not what is proved here, and they would take most of the time.
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else folder))
    try:
        return _cut(count, rng, folder)
    finally:
        shutil.rmtree(folder)


def _cut(count: int, rng: random.Random, folder: Path) -> Result:
    done, wrong, whole = 0, list[str](), 0
    sent = {"bytes": b""}
    with Wire(lambda _head, _number: sent["bytes"]) as server, stamina.set_testing(True, attempts=1):
        for provider, feed, body in _bodies(rng):
            with client(folder, url=server.url, provider=provider) as made:
                (request, *_) = feed.plan(Slice.at(NOW.date(), grain=feed.grain), (instrument("IBM"),))
                for name, (wrap, cut) in FRAMINGS.items():
                    on_wire = wrap(body)
                    for length in range(len(on_wire) + 1):
                        sent["bytes"] = cut(on_wire, length)
                        answer = made.fetch(feed, request)
                        is_taken = answer.verdict.outcome in (Outcome.FETCHED, Outcome.EMPTY)
                        # Nothing vouches for the end of a plain body that ends with the connection.
                        if length == len(on_wire) and name != "close":
                            whole += 1
                            if not is_taken or answer.body != body:
                                wrong.append(f"{provider.name}, {name}: the whole body was refused")
                        elif is_taken:
                            wrong.append(f"{provider.name}, {name}: cut at {length} of {len(on_wire)} and taken")
                        done += length < len(on_wire)
                    if done >= count:
                        return Result(done, tuple(wrong), {"whole bodies, all taken": whole})
    raise AssertionError("there is always another body")


PROOFS = (Proof(8, "cuts", "bodies cut at every byte, eight framings", "cuts", 800, 50_000, 2500, run),)
