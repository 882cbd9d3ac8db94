"""Promise 1: ingest killed at random and at every operation on a file. Nothing acknowledged is lost, the rerun asks for
what is missing and writes nothing else.

Acknowledged means that a manifest names it. A kill counts when the process died with some data and without the rest.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

import test_ingest_pages as pages
import test_ingest_span as spans
from proofs import forks, oracle
from proofs.forks import KILLED
from proofs.proof import Proof, Result
from wire import KEY, Wire, response, weeks

SYMBOLS = tuple(f"S{n:02d}" for n in range(60))
CHECKPOINT_S = 0.04
PAUSE_S = 0.004


def body(symbol: str) -> bytes:
    """The answer for a symbol."""
    return weeks(40, close=50 + int(symbol[1:]))


def _weekly(received: bytes) -> bytes:
    match = re.search(rb"symbol=(S\d\d)", received)
    assert match is not None
    return body(match[1].decode())


def _of_url(answer: Callable[[httpx2.URL], bytes]) -> Callable[[bytes], bytes]:
    def found(received: bytes) -> bytes:
        host = re.search(rb"Host: (\S+)", received, re.IGNORECASE)
        assert host is not None
        return answer(httpx2.URL(f"http://{host[1].decode()}{received.split(b' ')[1].decode()}"))

    return found


@dataclass(frozen=True)
class Way:
    """A way of asking: the worker, its arguments after the address, what the server answers, how many answers are named
    in the end, and how many calls are made in all when none is killed."""

    worker: str
    arguments: tuple[object, ...]
    answer: Callable[[bytes], bytes]
    named: int
    calls: int


WAYS = {
    "once": Way("fetch", (",".join(SYMBOLS), CHECKPOINT_S), _weekly, len(SYMBOLS), len(SYMBOLS)),
    "range": Way(
        "span",
        (0.01,),
        _of_url(lambda url: spans.Bars().rows(url)),
        len(spans.SYMBOLS) * len(spans.PARTS),
        len(spans.SYMBOLS),
    ),
    "pages": Way("chain", (0.01,), _of_url(lambda url: pages.Roster().page(url)), pages.PAGES, pages.PAGES),
}


class _Server:
    """An endpoint that takes its time, so that a kill often falls between two halves of a body."""

    def __init__(self, way: Way) -> None:
        self._way, self.asked = way, 0

    def __call__(self, received: bytes, _number: int) -> Iterator[bytes]:
        self.asked += 1
        answer = response(self._way.answer(received))
        time.sleep(PAUSE_S)
        yield answer[: len(answer) // 2]
        time.sleep(PAUSE_S)
        yield answer[len(answer) // 2 :]


def _random_kills(name: str) -> Callable[..., Result]:
    """Workers of one way, each killed after a random time; when one completes the next lake begins."""
    way = WAYS[name]

    def run(count: int, *, seed: int, folder: Path) -> Result:
        rng, server = random.Random(f"{name} {seed}"), _Server(way)
        killed = midway = lakes = 0
        wrong: list[str] = []
        with Wire(server) as wire:
            longest = _length(way, wire.url, folder / "undisturbed")
            while midway < count and killed < 6 * count + 20 and not wrong:
                home = folder / f"{name}-{lakes}"
                lakes += 1
                asked, kills, code = server.asked, 0, -1
                known: dict[tuple[str, str, str], str] = {}
                while code != 0 and not wrong:
                    is_enough = midway >= count or killed >= 6 * count + 20
                    seconds = 240.0 if is_enough else longest * rng.uniform(0.05, 0.5)
                    code = forks.run(way.worker, home, wire.url, *way.arguments, seconds=seconds)
                    try:
                        found = oracle.committed(oracle.files(home / "lake"))
                    except oracle.Lost as error:
                        wrong.append(str(error))
                        break
                    if code not in (0, KILLED):
                        wrong.append(f"a worker ended with {code}")
                    wrong += [f"{key[1]} was committed and is not named any more" for key in known.keys() - found]
                    midway += code == KILLED and 0 < len(found) < way.named
                    killed += code == KILLED
                    kills += code == KILLED
                    known = found
                if not wrong:
                    wrong += _after(wire.url, way, home, server, asked=asked, kills=kills)
                shutil.rmtree(home)
        return Result(midway, tuple(wrong), {"kills": killed, "lakes": lakes, "calls": server.asked})

    return run


def _length(way: Way, url: str, home: Path) -> float:
    """Seconds that a worker takes which nobody kills, the second time: the first one warms things up."""
    for number in (1, 2):
        started = time.monotonic()
        assert forks.run(way.worker, home / f"{number}", url, *way.arguments, seconds=240) == 0
    return time.monotonic() - started


def _after(url: str, way: Way, home: Path, server: _Server, *, asked: int, kills: int) -> list[str]:
    """What is wrong with a lake that was completed: too few answers or too many calls, a rerun that asks or writes, a
    key on the disk."""
    wrong = []
    found = oracle.committed(oracle.files(home / "lake"))
    if len(found) != way.named:
        wrong.append(f"{len(found)} answers are named instead of {way.named}")
    if way.worker == "fetch":
        expected = {oracle.sha256(body(symbol)) for symbol in SYMBOLS}
        if {sha256 for _, _, sha256 in found} != expected:
            wrong.append("the payloads are not what the server sent")
        # A kill costs what was fetched since the last checkpoint, and the call in flight.
        most = way.calls + kills * (CHECKPOINT_S / (2 * PAUSE_S) + 2)
        if server.asked - asked > most:
            wrong.append(f"{server.asked - asked} calls, at most {most:.0f} were needed")
    before, calls = oracle.hashes(home / "lake"), server.asked
    if forks.run(way.worker, home, url, *way.arguments, seconds=240) != 0:
        wrong.append("the rerun of a complete lake failed")
    if server.asked != calls or oracle.hashes(home / "lake") != before:
        wrong.append("the rerun of a complete lake asked or wrote something")
    if any(KEY.encode() in data for data in oracle.files(home).values()):
        wrong.append("the key is in a file")
    return wrong


def every_point(count: int, *, seed: int, folder: Path) -> Result:
    """The worker ends itself before each of its operations on files in turn (a sample of them when `count` is less);
    the next one completes and the lake is what an undisturbed one leaves."""
    rng = random.Random(f"points {seed}")
    symbols = ",".join(SYMBOLS[:6])
    done, wrong, most = 0, list[str](), 0
    with Wire(lambda received, _number: response(_weekly(received))) as wire:

        def take(home: Path, point: int) -> int:
            return forks.run("die_at", home, point, "fetch", wire.url, symbols, 0.0, seconds=240)

        assert take(folder / "whole", 0) == 0
        whole = oracle.committed(oracle.files(folder / "whole" / "lake"))
        most = int((folder / "whole" / "points").read_text())
        points = list(range(1, most + 1))
        for point in points if count >= most else sorted(rng.sample(points, count)):
            home = folder / f"point-{point}"
            code = take(home, point)
            done += code == KILLED
            try:
                found = oracle.committed(oracle.files(home / "lake"))
                again = take(home, 0)
                after = oracle.committed(oracle.files(home / "lake"))
            except oracle.Lost as error:
                wrong.append(f"point {point}: {error}")
                continue
            if code != KILLED or again != 0:
                wrong.append(f"point {point}: ended with {code}, the next one with {again}")
            if not found.keys() <= after.keys() or after.keys() != whole.keys():
                wrong.append(f"point {point}: a lake differs from an undisturbed one")
            shutil.rmtree(home)
    return Result(done, tuple(wrong), {}, {"points in all": most})


PROOFS = (
    *(
        Proof(
            1,
            f"ingest-{name}",
            f"ingest killed in mid-work, asked {how}",
            "kills",
            short,
            full,
            20,
            _random_kills(name),
        )
        for name, how, short, full in (
            ("once", "once per symbol", 4, 300),
            ("range", "for a range of sessions", 2, 100),
            ("pages", "page by page", 2, 100),
        )
    ),
    Proof(
        1,
        "ingest-points",
        "ingest killed before every file operation",
        "points",
        8,
        100,
        100,
        every_point,
        is_finite=True,
    ),
)
