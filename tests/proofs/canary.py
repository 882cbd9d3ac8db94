"""Promise 15: a key that is canary goes through faults that echo it in every way; then everything written is searched.

Each fault is a run of a feed in a process of its own making, with all loggers at DEBUG into a file, standard output and
error into files, and a traceback with every frame's variables for whatever is raised.
"""

from __future__ import annotations

import base64
import gzip
import html
import logging
import os
import random
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from urllib.parse import unquote

import stamina

from market_pipeline import providers
from market_pipeline.feed import Feed, Provider
from market_pipeline.ingest import ingest, ingest_span
from market_pipeline.normalize import normalize
from market_pipeline.partition import Slice
from market_pipeline.store import FolderStore
from proofs.cuts import chunked, head
from proofs.forks import environment
from proofs.proof import Proof, Result
from wire import HEADER, NOW, Wire, bar, client, instrument, response

# Assembled, so that this file is no finding when a test searches the repository.
KEY = "CANARY" + "7f3Kq" + "Zx9Lw2"
FEEDS = (
    ("alpha_vantage", "weekly_adjusted"),
    ("alpha_vantage", "overview"),
    ("fmp", "eod_raw"),
    ("fmp", "profile"),
    ("polygon", "tickers"),
    ("polygon", "ticker_events"),
)
SPELLINGS: dict[str, Callable[[str], bytes]] = {
    "as it is": lambda key: key.encode(),
    "small": lambda key: key.lower().encode(),
    "in capitals": lambda key: key.upper().encode(),
    "percent": lambda key: "".join(f"%{ord(c):02X}" for c in key).encode(),
    "percent, some": lambda key: "".join(f"%{ord(c):02x}" if n % 3 else c for n, c in enumerate(key)).encode(),
    "JSON escapes": lambda key: "".join(f"\\u{ord(c):04x}" for c in key).encode(),
    "HTML decimal": lambda key: "".join(f"&#{ord(c)};" for c in key).encode(),
    "HTML hexadecimal": lambda key: "".join(f"&#x{ord(c):X};" for c in key).encode(),
    "UTF-16": lambda key: key.encode("utf-16-le"),
    "UTF-16, big end first": lambda key: key.encode("utf-16-be"),
}
WORDS = (
    b'{"Information": "We have detected your API key as %s and our rate limit is 25 requests per day."}',
    b'{"Error Message": "the parameter apikey is invalid or missing: %s"}',
    b'{"status":"ERROR","request_id":"%s","error":"Unknown API Key %s"}',
    b"<html><body>No route for /query?apikey=%s</body></html>",
    b"Bearer %s is not valid",
    b'{"results": [{"ticker": "%s", "name": "%s", "market": "stocks", "active": true}], "status": "OK"}',
    b'{"results": [], "status": "OK", "next_url": "http://127.0.0.1:9/v3/reference/tickers?apiKey=%s&cursor=%s"}',
    b'{"Symbol": "IBM", "Name": "%s"}',
    HEADER.encode() + b"\n" + bar("2026-11-13").encode() + b"\n%s,1,1,1,1,1,1,1\n",
    b'[{"symbol": "IBM", "date": "2026-11-18", "adjOpen": "%s", "adjClose": 1, "volume": 1}]',
    b"%s",
)
PLACES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "body": lambda body, _key: response(body),
    "body of a 401": lambda body, _key: response(body, status="401 Unauthorized"),
    "body of a 500": lambda body, _key: response(body, status="500 Oops"),
    "reason phrase": lambda body, key: response(body, status=f"429 {key.decode('latin-1')}"),
    "type": lambda body, key: response(body, headers=[f"Content-Type: text/plain; key={_text(key)}"]),
    "location": lambda body, key: response(body, status="302 Found", headers=[f"Location: /query?apikey={_text(key)}"]),
    "cookie": lambda body, key: response(body, headers=[f"Set-Cookie: session={_text(key)}"]),
    "wait": lambda body, key: response(body, status="503 Busy", headers=[f"Retry-After: {_text(key)}"]),
    "length": lambda body, key: head(f"Content-Length: {_text(key)}") + body,
    "encoding": lambda body, key: head(f"Content-Encoding: {_text(key)}", f"Content-Length: {len(body)}") + body,
    "status line": lambda body, key: b"HTTP/1.1 " + key + b"\r\n\r\n" + body,
    "no HTTP": lambda body, key: key + b"\r\n" + body,
    "chunk": lambda body, key: head("Transfer-Encoding: chunked") + b"%x;key=" % len(body) + key + b"\r\n" + body,
    "trailer": lambda body, key: (
        head("Transfer-Encoding: chunked") + chunked(body)[:-2] + b"X-Key: " + key + b"\r\n\r\n"
    ),
    "broken gzip": lambda body, _key: response(b"\x1f\x8b\x08" + body, headers=["Content-Encoding: gzip"]),
    "gzip": lambda body, _key: response(gzip.compress(body), headers=["Content-Encoding: gzip"]),
    "cut": lambda body, _key: head(f"Content-Length: {len(body) + 9}") + body,
}


def _text(key: bytes) -> str:
    """A header's value on one line."""
    return key.decode("latin-1").replace("\0", "").replace("\n", " ")


def _faults(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Answers without end: a place, a spelling and a sentence each, every place and spelling about as often."""
    number = 0
    while True:
        place, spelling = list(PLACES)[number % len(PLACES)], rng.choice(list(SPELLINGS))
        number += 1
        key = SPELLINGS[spelling](KEY)
        sentence = rng.choice(WORDS)
        body = sentence.replace(b"%s", key)
        if spelling.startswith("UTF-16"):
            body = (
                sentence.replace(b"%s", KEY.encode())
                .decode()
                .encode("utf-16-le" if "big" not in spelling else "utf-16-be")
            )
        yield f"{place}, {spelling}", PLACES[place](body, key.replace(b"\r", b""))


def _one(folder: Path, url: str, provider: Provider, feed: Feed) -> None:
    """A run of a feed, and its silver; what it raises goes into a file with every variable of every frame of ours."""
    store, part = FolderStore(folder / "lake"), Slice.at(NOW.date(), grain=feed.grain)
    members = [instrument("IBM")]
    try:
        with client(folder, url=url, key=KEY, provider=provider) as made:
            given = {"store": store, "client": made, "now": lambda: NOW}
            if feed.spans:
                print(ingest_span(provider, feed, [part], members, **given))
            else:
                print(ingest(provider, feed, part, members, is_current=True, **given))
        print(normalize(provider, feed, part, store=store))
    except Exception as error:  # noqa: BLE001 - whatever is raised is written down and searched
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        (folder / "traceback.txt").write_text("".join(told.format()), encoding="utf-8")


def suffer(folder: Path, count: int, seed: int) -> int:
    """So many faults, everything that is said and written below the folder. The number that raised."""
    logging.basicConfig(filename=folder / "all.log", level=logging.DEBUG)
    for name in ("httpx2", "httpcore2", "httpcore2.http11", "httpcore2.connection", "stamina"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    loaded, sent = providers.load(), {"bytes": b""}
    faults = _faults(random.Random(f"canary {seed}"))
    with Wire(lambda _head, _number: sent["bytes"]) as server, stamina.set_testing(True, attempts=2):
        for number in range(count):
            about, sent["bytes"] = next(faults)
            name, dataset = FEEDS[number % len(FEEDS)]
            feed = loaded[name].feed(dataset)
            assert feed is not None
            home = folder / f"{number}"
            home.mkdir()
            (home / "fault.about").write_text(about)
            with (
                (home / "out").open("w") as out,
                (home / "err").open("w") as err,
                redirect_stdout(out),
                redirect_stderr(err),
            ):
                _one(home, server.url, loaded[name], feed)
        if not all(KEY.encode() in request for request in server.requests):
            return 3  # the key never went out: the search would prove nothing
    return 0


def sightings(data: bytes) -> bool:
    """Whether the key can be read in some bytes, however it is spelled."""
    plain = data.decode("latin-1")
    texts = [plain, plain.replace("\0", "")]
    texts += [unquote(plain), html.unescape(plain), plain.encode("latin-1").decode("unicode_escape", "replace")]
    texts += [unquote(unquote(plain)), plain.replace("\\", "").replace("\n", "")]
    if any(KEY.casefold() in text.casefold() for text in texts):
        return True
    return base64.b64encode(KEY.encode())[:-4].decode() in plain


def run(count: int, *, seed: int, folder: Path) -> Result:
    """The faults in a process of their own, then the search of every byte that it left and said."""
    done = subprocess.run(
        [sys.executable, "-m", "proofs.canary", str(folder), str(count), str(seed)],
        env={**environment(), "ALPHA_VANTAGE_API_KEY": KEY},
        capture_output=True,
        timeout=1200,
        check=False,
    )
    (folder / "process.out").write_bytes(done.stdout + done.stderr)
    wrong = [] if done.returncode == 0 else [f"the process ended with {done.returncode}: {done.stderr[-300:]!r}"]
    written = [path for path in folder.rglob("*") if path.is_file()]
    for path in written:
        if sightings(path.read_bytes()) or sightings(os.fsencode(path.name)):
            about = next((p.read_text() for p in path.parents[:6] for p in [p / "fault.about"] if p.is_file()), "")
            wrong.append(f"{path.relative_to(folder)}: {about}")
    redacted = sum(b'"redacted": true' in path.read_bytes() for path in written if path.name.startswith("manifest-"))
    if not redacted:
        wrong.append("no fault was kept as redacted evidence, so nothing was tried")
    size = sum(path.stat().st_size for path in written)
    return Result(
        count, tuple(wrong), {"files searched": len(written), "bytes searched": size, "kept redacted": redacted}
    )


PROOFS = (Proof(15, "canary", "faults that echo the key; all files searched", "faults", 68, 500, 85, run),)

if __name__ == "__main__":
    sys.exit(suffer(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
