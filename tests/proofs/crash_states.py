"""Promise 2: the writing protocols, replayed up to every step with every loss that a power cut could cause there.

The judge knows what had been acknowledged, and reads the files that are left with the standard library.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

import warehouse_fixture as fixture
from market_pipeline import ingest
from market_pipeline.errors import CreateConflict
from market_pipeline.store import FolderStore
from market_pipeline.warehouse import Warehouse
from proofs import oracle
from proofs.proof import Proof, Result
from proofs.tape import Tape
from proofs.workers import PART, PROVIDER, WEEKLY, publish_pair
from wire import NOW, client, instrument, reply, weeks

Image = dict[str, bytes]
Judge = Callable[[list[Any], Image], str | None]


@dataclass(frozen=True)
class Put:
    """A key has at least this version of its bytes."""

    key: str
    version: int


def store(tape: Tape, rng: random.Random, _aside: Path) -> Judge:
    """Objects created, created again, replaced and deleted, in old folders and new ones."""
    lake = FolderStore(tape.root)
    versions: dict[str, list[bytes | None]] = {}
    with tape.recording():
        for step in range(14):
            key = f"{rng.choice('ab')}/{rng.choice('xyz')}/{rng.randrange(3)}"
            data = rng.choice((b"", rng.randbytes(rng.randrange(1, 90))))
            known = versions.setdefault(key, [None])
            act = rng.choice(("create", "create", "replace", "delete"))
            if act == "delete":
                known.append(None)
                lake.delete(key)
            elif act == "replace":
                known.append(data)
                lake.replace(key, data)
            else:
                if known[-1] is None:
                    known.append(data)
                try:
                    lake.create(key, data)
                except CreateConflict:
                    continue
            tape.acknowledge(Put(key, len(known) - 1))
            del step

    def judge(told: list[Any], image: Image) -> str | None:
        least: dict[str, int] = {}
        for put in told:
            least[put.key] = max(put.version, least.get(put.key, 0))
        for key, data in image.items():
            if "/.tmp-" not in f"/{key}" and data not in versions[key]:
                return f"{key} holds what nobody put there"
        for key, version in least.items():
            if image.get(key) not in versions[key][version:]:
                return f"{key} lost its version {version}"
        return None

    return judge


def bronze(tape: Tape, rng: random.Random, aside: Path) -> Judge:
    """An ingest with a manifest after each answer, and another one that finds other bytes."""
    symbols = [f"S{rng.randrange(10_000):04d}" for _ in range(rng.randrange(2, 5))]
    lake, shift = FolderStore(tape.root), 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        return reply(weeks(3, close=20 + shift + int(request.url.params["symbol"][1:])))

    before = ingest.CHECKPOINT_S
    ingest.CHECKPOINT_S = 0.0
    try:
        with client(aside, answer=answer) as made, tape.recording():
            for shift in (0, 1):  # noqa: B007 - `answer` reads it
                report = ingest.ingest(
                    PROVIDER,
                    WEEKLY,
                    PART,
                    [instrument(symbol) for symbol in symbols],
                    store=lake,
                    client=made,
                    now=lambda: NOW,
                    refetch=True,
                )
                assert report.is_complete
                tape.acknowledge(frozenset(oracle.committed(oracle.files(tape.root))))
    finally:
        ingest.CHECKPOINT_S = before

    def judge(told: list[Any], image: Image) -> str | None:
        found = oracle.committed({k: v for k, v in image.items() if "/.tmp-" not in k})
        for committed in told:
            if lost := committed - found.keys():
                return f"{len(lost)} committed answers are not named any more"
        return None

    return judge


def warehouse(tape: Tape, rng: random.Random, aside: Path) -> Judge:
    """Generations published, pruned and rolled back, health rewritten, in a folder that is not there at first."""
    gold = Warehouse(tape.root / "profile" / "warehouse")
    healths: list[bytes] = []
    with tape.recording():
        for number in range(5):
            publish_pair(gold, aside / "build.duckdb", rows=rng.randrange(1, 50))
            tape.acknowledge(("generation", number + 1))
            gold.write_health(replace(fixture.health(f"{number + 1:06d}"), checks_passed=number))
            healths.append((gold.folder / "health.json").read_bytes())
            tape.acknowledge(("health", number))
        gold.rollback("000004")
        tape.acknowledge(("rolled back", 4))

    def judge(told: list[Any], image: Image) -> str | None:
        inside = {k.removeprefix("profile/warehouse/"): v for k, v in image.items() if ".tmp" not in k}
        generation = max((n for what, n in told if what == "generation"), default=0)
        health = max((n for what, n in told if what == "health"), default=-1)
        found = oracle.published(inside)
        if found != 4 and ("rolled back", 4) in told:
            return f"generation {found} is published after rolling back to 4"
        if not generation <= found <= generation + 1 and found != 4:
            return f"generation {found} is published, {generation} was acknowledged"
        if "health.json" in inside or health >= 0:
            data = inside.get("health.json")
            json.loads(data or b"")
            if data not in healths[max(health, 0) :]:
                return "health.json is older than what was acknowledged"
        return None

    return judge


PROTOCOLS = (store, bronze, warehouse)


def run(count: int, *, seed: int, folder: Path) -> Result:
    """Record protocols with random content, replay them, until so many distinct states were judged."""
    rng = random.Random(f"crash {seed}")
    done, tapes, wrong = 0, 0, list[str]()
    while done < count and not wrong:
        protocol = PROTOCOLS[tapes % len(PROTOCOLS)]
        root, aside = folder / f"tape-{tapes}", folder / f"aside-{tapes}"
        root.mkdir()
        aside.mkdir()
        tapes += 1
        tape, seen = Tape(root), set[tuple[object, ...]]()
        judge = protocol(tape, rng, aside)
        for told, image in tape.states(rng):
            state = (len(told), *sorted((path, hash(data)) for path, data in image.items()))
            if state in seen:
                continue
            seen.add(state)
            try:
                fault = judge(told, image)
            except (oracle.Lost, ValueError) as error:
                fault = str(error)
            if fault is not None:
                wrong.append(f"{protocol.__name__}: {fault}")
        done += len(seen)
    return Result(done, tuple(dict.fromkeys(wrong)), {"recordings": tapes})


PROOFS = (
    Proof(2, "crash-states", "states after a power cut in a writing protocol", "states", 1000, 10_000, 2500, run),
)
