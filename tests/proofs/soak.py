"""Promise 20: runs, backfills, open pages and queries on a lake in an S3 store, while something is killed each round;
then a backup, everything wiped, and the backup restored into an empty store.

A round is a week: its run and a backfill of an older week, about a minute. What is killed in it, and when, the seed
says: the run, the run that publishes, the store's server, or the daemon in the middle of a backfill. A kill counts only
in mid-work. What was restored has equal hashes, and gold made of it equal rows, floats within 1e-12 of each other.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import duckdb
import httpx2
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES

from market_pipeline.buckets import make_buckets
from market_pipeline.cli.services import Service, dagster_commands, dagster_environment, service
from market_pipeline.orchestration import runs
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.settings import load_settings
from market_pipeline.warehouse import Warehouse
from proofs import oracle
from proofs.dashboard_sessions import served
from proofs.kills_gold import differences
from proofs.kills_run import FIRST, PROFILE, SEEDS, TARGETS, Readers, kill_inside
from proofs.open_pages import Session
from proofs.outage import RemoteVictim, twice
from proofs.proof import Proof, Result
from s3_server import S3Server, running_s3

KINDS = ("run", "publisher", "server", "daemon")
PHASES = {
    "run": (("is_fetching", 0.2), ("is_normalizing", 0.02)),
    "publisher": (("is_in_dbt", 5.0), ("is_publishing", 0.05)),
}
LAYERS = ("bronze/", "silver/", "quarantine/", "reference/")
# Which runs there were is in Dagster's instance, which the wipe takes too: these rows are not of the lake.
OF_THE_INSTANCE = "mart_pipeline_run"
OLDEST, PATIENCE_S = dt.date(2026, 1, 5), 600.0


@dataclass
class Soak:
    """The profile under load, and what was found."""

    victim: RemoteVictim
    stack: contextlib.ExitStack
    rng: random.Random
    week: dt.date = OLDEST
    daemon: Service | None = None
    counted: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def command(self, *words: str, **files: object) -> subprocess.Popen[bytes]:
        """The command line in a process of its own."""
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **files}
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [sys.executable, "-m", "market_pipeline.cli", *words], env=self.victim.variables, **pipes
        )

    def succeed(self, *words: str, **files: object) -> None:
        """The same, to its end, which has to be a good one."""
        process = self.command(*words, **files)
        try:
            _, told = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
        if process.returncode != 0:
            said = (told or b"").decode(errors="replace")[-600:]
            self.wrong.append(f"`{' '.join(words)}` ended with {process.returncode}: {said}")

    def backfill(self, *more: str) -> None:
        """Sessions of an older week."""
        until = self.week + dt.timedelta(days=4)
        words = ("backfill", "polygon/grouped_daily", "--since", self.week.isoformat(), "--until", until.isoformat())
        self.succeed(*words, *more)

    def start_daemon(self) -> None:
        """Start the daemon as `market-pipeline dev` does."""
        settings = load_settings(self.victim.variables)
        environment = {**self.victim.variables, **dagster_environment(settings)}
        command = dagster_commands(settings)["daemon"]
        self.daemon = self.stack.enter_context(service(settings, "daemon", command, url=None, environment=environment))

    # Rounds: each kills something and leaves everything whole again.
    def run_killed(self, kind: str) -> None:
        """The week's run dies in a phase; the next one completes."""
        phase, longest_s = self.rng.choice(PHASES[kind])
        self.counted[kind] += kill_inside(self.victim, getattr(self.victim, phase), longest_s=longest_s, rng=self.rng)

    def server_killed(self) -> None:
        """The store's server dies while the week's run needs it, and comes back: the run goes on by itself."""
        phase = self.rng.choice((self.victim.is_fetching, self.victim.is_normalizing, self.victim.is_in_dbt))
        process = self.victim.start()
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not phase() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            is_at_work = process.poll() is None
            self.victim.server.kill()
            time.sleep(self.rng.uniform(2, 15))
            is_at_work = is_at_work and process.poll() is None
            self.victim.server.start()
            _, told = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
        self.counted["server"] += is_at_work
        if process.returncode != 0:
            self.wrong.append(f"a run whose server was away ended with {process.returncode}: {told[-600:]}")

    def daemon_killed(self) -> None:
        """The daemon dies in the middle of a backfill that was handed to it; started again, it brings it to an end."""
        assert self.daemon is not None
        settings = load_settings(self.victim.variables)
        self.backfill("--detach")
        with runs.open_instance(settings) as instance:
            deadline = time.monotonic() + PATIENCE_S
            while not any(run.status.value == "STARTED" for run in instance.get_runs(limit=5)):
                if time.monotonic() > deadline:
                    self.wrong.append("the daemon did not start a backfill that was handed to it")
                    return
                time.sleep(0.5)
            time.sleep(self.rng.uniform(0, 2))
            is_at_work = any(not run.is_finished for run in instance.get_runs(limit=5))
            self.daemon.process.send_signal(signal.SIGKILL)
            self.counted["daemon"] += self.daemon.process.wait(30) == -signal.SIGKILL and is_at_work
            self.start_daemon()
            while not _is_quiet(instance) and time.monotonic() < deadline:
                time.sleep(1)
            if not _is_quiet(instance):
                self.wrong.append("a backfill whose daemon was killed did not end")

    def round(self, kind: str) -> None:
        """A week: something dies, then its run, an older week's backfill and a query end well."""
        self.victim.next_week()
        self.week += dt.timedelta(weeks=1)
        if kind == "server":
            self.server_killed()
        elif kind == "daemon":
            self.daemon_killed()
        else:
            self.run_killed(kind)
        self.succeed("run", *TARGETS)
        self.backfill()
        self.succeed("query", "select count(*) as n from fact_adjusted_prices")


def _is_quiet(instance: dg.DagsterInstance) -> bool:
    """Whether every run and every backfill has ended."""
    return all(run.is_finished for run in instance.get_runs(limit=50)) and all(
        backfill.status in BULK_ACTION_TERMINAL_STATUSES for backfill in instance.get_backfills(limit=50)
    )


@contextlib.contextmanager
def _load(victim: RemoteVictim, home: Path) -> Iterator[tuple[Readers, list[Session]]]:
    """Two readers of gold and two open pages, for as long as the block lasts."""
    readers = Readers(victim.root / "warehouse")
    with served(home, profile=PROFILE) as address, readers.reading():
        sessions = [Session(address, page) for page in ("", "prices")]
        for session in sessions:
            session.start()
        try:
            yield readers, sessions
        finally:
            for session in sessions:
                session.stop()


def run(count: int, *, seed: int, folder: Path) -> Result:
    """So many kills, then the backup and what comes of it."""
    clock = dt.datetime.combine(FIRST.date(), FIRST.time(), dt.UTC)
    with (
        running(SandboxConfig(universe=SEEDS, clock=clock, plan="unlimited", roster_size=60)) as url,
        running_s3(folder / "server") as server,
        contextlib.ExitStack() as stack,
    ):
        httpx2.put(f"{url}/_sandbox/faults", json=[{"kind": "latency", "seconds": 0.05}]).raise_for_status()
        victim = RemoteVictim(folder, url, server)
        victim.variables["POLYGON_BASE_URL"] = f"{url}/polygon"
        soak = Soak(victim, stack, random.Random(f"soak {seed}"))
        victim.next_week()
        soak.succeed("run", *TARGETS)
        soak.backfill()
        soak.start_daemon()
        with _load(victim, folder) as (readers, sessions):
            rounds = 0
            while soak.counted.total() < count and rounds < 2 * count + 2 and not soak.wrong:
                rounds += 1
                soak.round(soak.rng.choice(KINDS))
        soak.wrong += readers.faults + [fault for session in sessions for fault in session.faults]
        with runs.open_instance(load_settings(victim.variables)) as instance:
            soak.wrong += [] if _is_quiet(instance) else ["a run or a backfill has not ended"]
        stack.close()
        objects = 0 if soak.wrong else _restored(soak, server, folder)
    told = {f"of the {kind}": soak.counted[kind] for kind in KINDS}
    shown = sum(len(session.shown) for session in sessions)
    more = {"rounds": rounds, "reads": readers.reads, "generations shown": shown, "objects restored": objects}
    return Result(soak.counted.total(), tuple(soak.wrong), {**told, **more})


def _objects(soak: Soak) -> dict[str, str]:
    """The hash of every object of the lake."""
    found = (soak.victim.lake.bodies(layer) for layer in LAYERS)
    return {name: oracle.sha256(body) for bodies in found for name, body in bodies.items()}


def _restored(soak: Soak, server: S3Server, folder: Path) -> int:
    """Back up, wipe the store and the profile's folder, restore, compare; how many objects there were."""
    victim = soak.victim
    before = _objects(soak)
    newest = Warehouse(victim.root / "warehouse").verify()
    soak.wrong += twice(victim.root / "warehouse" / newest.file, victim.key)
    shutil.copy(victim.root / "warehouse" / newest.file, folder / "before.duckdb")
    with (folder / "lake.tar").open("wb") as file:
        soak.succeed("stack", "backup", stdout=file)
    server.stop()
    shutil.rmtree(victim.root)
    server.start()
    place = load_settings(victim.variables).s3
    assert place is not None
    make_buckets(place)
    with (folder / "lake.tar").open("rb") as file:
        soak.succeed("stack", "restore", stdin=file)
    after = _objects(soak)
    different = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if different:
        soak.wrong.append(f"{len(different)} of {len(before)} objects differ after the restore, such as {different[0]}")
    soak.succeed("run", "gold")
    if soak.wrong:
        return len(after)
    rebuilt = Warehouse(victim.root / "warehouse").verify()
    shutil.copy(victim.root / "warehouse" / rebuilt.file, folder / "after.duckdb")
    for name in ("before", "after"):
        with duckdb.connect(str(folder / f"{name}.duckdb")) as con:
            con.execute(f"drop table {OF_THE_INSTANCE}")
    found = differences(folder / "before.duckdb", folder / "after.duckdb")
    soak.wrong += [f"gold made of the restored lake differs: {text}" for text in found]
    calls = victim.calls()
    soak.succeed("run", *TARGETS)
    if victim.calls() != calls:
        soak.wrong.append(f"a run on the restored lake made {victim.calls() - calls} calls")
    return len(after)


# Minutes of both processors: `test_kill_run`, `test_daemon` and `test_backup` have its parts in the default run.
PROOFS = (
    Proof(
        20,
        "soak",
        "runs, backfills, pages and queries with a kill each round; backup, wipe, restore",
        "kills",
        0,
        60,
        12,
        run,
        is_soak=True,
    ),
)
