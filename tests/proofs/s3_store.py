"""Promises 4, 5 and 6 for an S3 store: races, answers that are lost, a server that is killed, all on a real one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from minio import Minio

from market_pipeline.buckets import make_buckets
from market_pipeline.errors import CreateConflict
from market_pipeline.s3 import S3Store
from market_pipeline.settings import S3, load_settings
from market_pipeline.store import honours_create_only
from proofs.proof import Proof, Result
from s3_proxy import Faults, proxy
from s3_server import S3Server, running_s3

RACERS, ROUNDS_AT_ONCE, WRITERS, PUTS_A_KILL = 16, 16, 4, 400


@contextmanager
def _bucket(folder: Path) -> Iterator[tuple[S3Server, S3]]:
    with running_s3(folder / "server") as server:
        place = load_settings(server.variables).s3
        if place is None:
            raise AssertionError("the server's variables name a place")
        make_buckets(place)
        yield server, place


def races(count: int, *, seed: int, folder: Path) -> Result:
    """Rounds of sixteen writers of one key, each with bytes of its own; at times all with the same. Many rounds go on
    at once, because this server lets the losers of each wait for seconds."""
    rng = random.Random(f"s3 races {seed}")
    with _bucket(folder) as (_, place), ThreadPoolExecutor(ROUNDS_AT_ONCE) as rounds:
        stores = [S3Store(place, patience_s=60) for _ in range(RACERS)]
        are_same = [rng.random() < 0.2 for _ in range(count)]
        told = rounds.map(lambda number: _race(stores, number, is_same=are_same[number]), range(count))
        return Result(count, tuple(filter(None, told)), {"puts": count * RACERS})


def _race(stores: list[S3Store], number: int, *, is_same: bool) -> str:
    """One round, and what was wrong with it."""
    start, key = threading.Barrier(RACERS), f"bronze/race/{number}"

    def put(who: int) -> str:
        start.wait()
        try:
            return "won" if stores[who].create(key, b"same" if is_same else b"%d" % who) else "same"
        except CreateConflict:
            return "other"

    with ThreadPoolExecutor(RACERS) as threads:
        told = list(threads.map(put, range(RACERS)))
    if told.count("won") != 1 or set(told) - {"won"} != {"same" if is_same else "other"}:
        return f"round {number}: {told}"
    is_winners = stores[0].get(key) == (b"same" if is_same else b"%d" % told.index("won"))
    return "" if is_winners else f"round {number}: the bytes are not the winner's"


def careless(count: int, *, seed: int, folder: Path) -> Result:
    """A store that overwrites what should only be created: the probe must say so each time."""
    wrong = []
    with _bucket(folder) as (_, place):
        plain = S3Store(place)
        faults = Faults(overwrites=lambda path: plain.delete(path.removeprefix(f"/{place.lake_bucket}/")))
        with proxy(place.endpoint, faults) as address:
            store = S3Store(replace(place, endpoint=address), patience_s=60)
            wrong = [f"probe {n}: taken for honest" for n in range(count) if honours_create_only(store)]
        wrong += [] if honours_create_only(plain) else ["an honest store was taken for careless"]
    return Result(count, tuple(wrong))


def lost_answers(count: int, *, seed: int, folder: Path) -> Result:
    """Puts whose answer, or request, is lost: each counts as its caller's, no name is taken, nothing is there twice."""
    wrong, done = list[str](), 0
    with _bucket(folder) as (_, place):
        faults = Faults(lose_answer=0.5, lose_request=0.1, seed=seed)
        plain = S3Store(place)
        with proxy(place.endpoint, faults) as address, ThreadPoolExecutor(8) as threads:
            store = S3Store(replace(place, endpoint=address), patience_s=900)

            def put(number: int) -> str:
                try:
                    return "" if store.create(f"bronze/lost/{number:06d}", b"%d" % number) else "said to be another's"
                except CreateConflict:
                    return "a false conflict"

            while faults.lost < count:
                told = list(threads.map(put, range(done, done + 200)))
                wrong += [f"put {done + n}: {text}" for n, text in enumerate(told) if text]
                done += 200
        names = plain.list("bronze/lost/")
        if names != tuple(f"bronze/lost/{n:06d}" for n in range(done)):
            wrong.append(f"{len(names)} objects of {done} puts")
        twice = {key: n for key, n in versions(place, "bronze/lost/").items() if n != 1}
        wrong += [f"{key} was written {n} times" for key, n in twice.items()]
    return Result(faults.lost, tuple(wrong), {"puts": done})


def versions(place: S3, prefix: str) -> dict[str, int]:
    """How many versions of each object of bronze there are."""
    client = Minio(
        endpoint=place.endpoint.partition("://")[2],
        access_key=place.access_key,
        secret_key=place.secret_key,
        secure=False,
    )
    count: dict[str, int] = {}
    for found in client.list_objects(place.bronze_bucket, prefix=prefix, recursive=True, include_version=True):
        count[str(found.object_name)] = count.get(str(found.object_name), 0) + 1
    return count


def kills(count: int, *, seed: int, folder: Path) -> Result:
    """SIGKILL of the server under load; clients wait and go on by themselves, and what was acknowledged is there."""
    rng, acknowledged, stop = random.Random(f"s3 kills {seed}"), list[int](), threading.Event()
    with _bucket(folder) as (server, place), ThreadPoolExecutor(WRITERS) as threads:
        store = S3Store(place, patience_s=120)

        def write(number: int) -> None:
            while not stop.is_set():
                store.create(f"bronze/kept/{number:08d}", b"%d" % number * 200)
                acknowledged.append(number)
                number += WRITERS

        writers = [threads.submit(write, first) for first in range(WRITERS)]
        longest, died_writing = 0.0, 0
        for _ in range(count):
            _wait_until(len(acknowledged) + PUTS_A_KILL, acknowledged)
            time.sleep(rng.uniform(0, 0.05))
            server.kill()
            at_kill = len(acknowledged)
            time.sleep(rng.uniform(0.2, 2.0))
            server.start()
            up_at = time.monotonic()
            _wait_until(at_kill + WRITERS, acknowledged)
            died_writing += len(acknowledged) > at_kill
            longest = max(longest, time.monotonic() - up_at)
        stop.set()
        for writer in writers:
            writer.result(timeout=120)
        there = set(store.list("bronze/kept/"))
        wrong = [f"put {n} was lost" for n in acknowledged if f"bronze/kept/{n:08d}" not in there]
        sample = rng.sample(acknowledged, min(2000, len(acknowledged)))
        wrong += [f"put {n} is not whole" for n in sample if store.get(f"bronze/kept/{n:08d}") != b"%d" % n * 200]
    return Result(died_writing, tuple(wrong), {"acknowledged puts": len(acknowledged)}, {"s to recover": longest})


def _wait_until(number: int, acknowledged: list[int], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while len(acknowledged) < number:
        if time.monotonic() > deadline:
            raise AssertionError(f"the writers did not go on: {len(acknowledged)} puts in {timeout_s} s")
        time.sleep(0.01)


PROOFS = (
    Proof(4, "races-s3", "sixteen racing puts on S3: one winner", "rounds", 2, 1_000, 100, races),
    Proof(4, "careless-s3", "a store that ignores the condition is found out", "probes", 5, 200, 200, careless),
    Proof(
        5, "lost-answers", "a put whose answer is lost: no conflict, none twice", "puts", 30, 2_000, 500, lost_answers
    ),
    Proof(
        6, "server-kills", "the S3 server killed under load: nothing acknowledged is lost", "kills", 1, 50, 10, kills
    ),
)
