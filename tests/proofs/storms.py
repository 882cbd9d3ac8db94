"""Promise 11: requests through storms of 429 and 503 on a virtual clock. No window's budget is exceeded, and a request
costs at most 1.2 tries, counted over all runs until every request has its data.
"""

from __future__ import annotations

import datetime as dt
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2

from market_pipeline.brake import Brake
from market_pipeline.feed import Pace
from market_pipeline.fetch import Client
from market_pipeline.ingest import ingest
from market_pipeline.partition import Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.quota import Ledger
from market_pipeline.store import FolderStore
from proofs.proof import Proof, Result
from proofs.workers import WEEKLY
from wire import KEY, bar, csv, instrument, reply

TRIES_MAX = 1.2
BEGINS = dt.datetime(2026, 1, 5, 14, tzinfo=dt.UTC)
SYMBOLS = 50
# A run that could not complete is started again so much later, as a schedule would.
AGAIN_S = 3600.0


class World:
    """The one clock, moved by waiting and by a call's own 0.2 s, and a provider whose weather changes with it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self.seconds = rng, 0.0
        self.calls: Counter[str] = Counter()
        self.storms = 0
        self._from, self._until, self._next = 0.0, 0.0, rng.expovariate(1 / 60)
        self._answer = (503, "")

    def now(self) -> dt.datetime:
        return BEGINS + dt.timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.calls[self.now().astimezone(ZoneInfo("America/New_York")).date().isoformat()] += 1
        self.seconds += 0.2
        if self.seconds >= self._next:
            self._until = self.seconds + self._rng.choice((5.0, 30.0, 120.0, 600.0, 1800.0)) * self._rng.uniform(
                0.5, 1.5
            )
            self._next = self._until + self._rng.expovariate(1 / 60)
            self._answer = self._rng.choice(((503, ""), (429, ""), (429, "20"), (429, "90"), (503, "5"), (429, "1200")))
            self.storms += 1
        status, wait = self._answer
        if self.seconds < self._until:
            return reply(b"busy", status, **({"retry_after": wait} if wait else {}))
        if self._rng.random() < 0.01:
            return reply(b"", self._rng.choice((429, 500, 503)))
        return reply(csv(bar("2025-12-19", 10.0 + len(request.url.params["symbol"]))))


@contextmanager
def _machine(world: World) -> Iterator[None]:
    """The machine's clock is the world's: time-outs and waits cost nothing."""
    sleep, monotonic = time.sleep, time.monotonic
    time.sleep, time.monotonic = world.sleep, lambda: world.seconds
    try:
        yield
    finally:
        time.sleep, time.monotonic = sleep, monotonic


def run(count: int, *, seed: int, folder: Path) -> Result:
    """Slice after slice of fifty symbols, each run again until it has everything."""
    rng = random.Random(f"storms {seed}")
    random.seed(seed)  # the client's own jitter
    world = World(rng)
    pace = Pace(calls_per_day=rng.choice((400, 2000)), interval_s=0.25)
    asked = runs = week = 0
    members = [instrument(f"S{number:02d}") for number in range(SYMBOLS)]
    ledger = Ledger(folder / "quota.sqlite", wall=lambda: world.seconds)
    with _machine(world):
        while asked < count:
            day = world.now().date()
            part = Slice.at(day, grain=WEEKLY.grain)
            store = FolderStore(folder / f"lake-{week}")
            week += 1
            is_complete = False
            while not is_complete:
                with Client(
                    PROVIDER,
                    base_url="https://provider.test",
                    key=KEY,
                    pace=pace,
                    ledger=ledger,
                    now=world.now,
                    sleep=world.sleep,
                    transport=httpx2.MockTransport(world),
                ) as client:
                    report = ingest(
                        PROVIDER,
                        WEEKLY,
                        part,
                        members,
                        store=store,
                        client=client,
                        now=world.now,
                        is_current=True,
                        brake=Brake(),
                    )
                runs += 1
                is_complete = report.is_complete
                if not is_complete:
                    waits = 0.0 if report.resumes_at is None else (report.resumes_at - world.now()).total_seconds()
                    world.sleep(max(AGAIN_S, waits))
            asked += SYMBOLS
            shutil.rmtree(store.root)
    tries = world.calls.total() / asked
    wrong = [
        f"{calls} calls on {day}, the window has {pace.calls_per_day}"
        for day, calls in world.calls.items()
        if calls > (pace.calls_per_day or 0)
    ]
    if tries > TRIES_MAX:
        wrong.append(f"{tries:.3f} tries a request")
    counts = {"calls": world.calls.total(), "storms": world.storms, "runs": runs}
    return Result(asked, tuple(wrong), counts, {"tries a request": round(tries, 3)})


PROOFS = (Proof(11, "storms", "requests through storms of 429 and 503", "requests", 300, 10_000, 2000, run),)
