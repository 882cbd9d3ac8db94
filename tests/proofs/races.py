"""Promise 4, for a folder: of racing create-only puts one wins, and the others know it."""

from __future__ import annotations

import os
import random
import threading
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from market_pipeline.errors import CreateConflict
from market_pipeline.store import FolderStore
from proofs.proof import Proof, Result

PROCESSES, THREADS = 4, 4


def _race(store: FolderStore, key: str, who: int, is_same: bool) -> str:
    """What one racer learned: it won, the same bytes were there, or other bytes were."""
    data = b"same" if is_same else b"%d" % who
    try:
        return "won" if store.create(key, data) else "same"
    except CreateConflict:
        return "other"


def _racer(root: Path, number: int, ends: Connection) -> None:
    """Four threads of one process; each round begins when the parent says so."""
    store = FolderStore(root)
    while (order := ends.recv()) is not None:
        key, is_same = order
        told: dict[int, str] = {}
        barrier = threading.Barrier(THREADS)

        def put(who: int, key: str = key, is_same: bool = is_same, told: dict[int, str] = told) -> None:
            barrier.wait()  # noqa: B023 - all threads of a round end within it
            told[who] = _race(store, key, who, is_same)

        racers = [threading.Thread(target=put, args=(number * THREADS + n,)) for n in range(THREADS)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        ends.send(told)


def run(count: int, *, seed: int, folder: Path) -> Result:
    """Rounds of sixteen racers, four threads in each of four processes, for a new key, at times in a new folder."""
    rng, wrong = random.Random(f"races {seed}"), list[str]()
    pipes = [Pipe() for _ in range(PROCESSES)]
    children = []
    for number, (_, theirs) in enumerate(pipes):
        child = os.fork()
        if not child:
            code = 9
            try:
                _racer(folder, number, theirs)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for round_ in range(count):
        key, is_same = f"race/{rng.randrange(count)}/{round_}", rng.random() < 0.2
        for ours, _ in pipes:
            ours.send((key, is_same))
        told = {who: word for ours, _ in pipes for who, word in ours.recv().items()}
        winners = [who for who, word in told.items() if word == "won"]
        losers = {word for word in told.values() if word != "won"}
        if len(told) != PROCESSES * THREADS or len(winners) != 1 or losers != {"same" if is_same else "other"}:
            wrong.append(f"round {round_}: {sorted(told.items())}")
        elif (folder / key).read_bytes() != (b"same" if is_same else b"%d" % winners[0]):
            wrong.append(f"round {round_}: the bytes are not the winner's")
        (folder / key).unlink(missing_ok=True)
    for ours, _ in pipes:
        ours.send(None)
    for child in children:
        os.waitpid(child, 0)
    return Result(count, tuple(wrong), {"puts": count * PROCESSES * THREADS})


PROOFS = (Proof(4, "races", "rounds of 16 racing create-only puts", "rounds", 50, 1000, 500, run),)
