"""Promise 18: Dagster's webserver, its daemon and the process of a run are killed in turn, on SQLite.

Both are started as `market-pipeline dev` starts them. In each round one run is under way and a second one is asked for;
then one of the three dies and, if it served, is started again. The run under way has to end within 120 s of the kill,
the one that waited for it has to begin by itself and to succeed; how long that took is told too. A kill counts only
when the first run was at work, asking the provider.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import httpx2

from market_pipeline.cli.services import Service, answers, dagster_commands, dagster_environment, service
from market_pipeline.orchestration import runs
from market_pipeline.orchestration.resources import TAG
from market_pipeline.pipeline import Pipeline
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.settings import Settings, load_settings
from proofs.kills_run import FIRST, SEEDS, SYMBOLS
from proofs.outage import calls_to
from proofs.proof import Proof, Result

PROFILE, WEEK = "demo-dagster", "2026-07-06"
ASSET = ("bronze", "alpha_vantage", "weekly_adjusted")
KINDS = ("worker", "daemon", "dagster")
LIMIT_S, PATIENCE_S = 120.0, 300.0
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on InvalidSubsetError { message }
  }
}
"""


@dataclass
class Served:
    """A profile whose webserver and daemon are up; `stack` ends whatever was started."""

    settings: Settings
    variables: dict[str, str]
    sandbox: str
    instance: dg.DagsterInstance
    stack: contextlib.ExitStack
    up: dict[str, Service] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The webserver's address."""
        return f"http://127.0.0.1:{self.settings.dagster_port}"

    def start(self, name: str) -> None:
        """Start the daemon, or the webserver, and wait for its answer."""
        environment = {**self.variables, **dagster_environment(self.settings)}
        command = dagster_commands(self.settings)[name]
        self.up[name] = self.stack.enter_context(
            service(self.settings, name, command, url=None, environment=environment)
        )
        deadline = time.monotonic() + PATIENCE_S
        while name == "dagster" and not answers(f"{self.url}/server_info"):
            if self.up[name].process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the webserver did not start: {self.up[name].log.read_text()[-600:]}")
            time.sleep(0.2)

    def kill(self, name: str, run_id: str) -> bool:
        """SIGKILL of a process; True when it died by it. A run's process wrote its number into the run's lock."""
        if name in self.up:
            process = self.up[name].process
            process.send_signal(signal.SIGKILL)
            return process.wait(30) == -signal.SIGKILL
        lock = self.settings.state / "runs" / f"{run_id}.lock"
        try:
            os.kill(int(lock.read_text().split()[-1]), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True

    def launch(self) -> str:
        """Ask for a run as the page does; its id."""
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "market_pipeline.orchestration.definitions",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": ASSET}],
            "assetCheckSelection": [{"assetKey": {"path": ASSET}, "name": "complete"}],
        }
        tags = {"dagster/partition": WEEK, f"{TAG}refetch": "true"}
        params = {
            "selector": selector,
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        asked = {"query": LAUNCH, "variables": {"params": params}}
        told: dict[str, Any] = httpx2.post(f"{self.url}/graphql", json=asked, timeout=60).json()
        answer = told.get("data", told).get("launchRun", told)
        if answer.get("__typename") != "LaunchRunSuccess":
            raise AssertionError(f"the webserver refused a run: {answer}")
        return str(answer["run"]["runId"])

    def calls(self) -> int:
        """Requests that the provider has had so far."""
        return calls_to(self.sandbox)

    def is_finished(self, run_id: str) -> bool:
        """Whether Dagster knows its end."""
        found = self.instance.get_run_by_id(run_id)
        return found is not None and found.is_finished

    def ended_at(self, run_id: str) -> float:
        """When a run ended, as Dagster has it; now, for one that has not."""
        record = self.instance.get_run_record_by_id(run_id)
        return time.time() if record is None or record.end_time is None else float(record.end_time)

    def is_over(self) -> bool:
        """Whether every run is in a terminal state."""
        return all(run.is_finished for run in self.instance.get_runs(limit=10))


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[Served]:
    with running(SandboxConfig(universe=SEEDS, clock=FIRST, plan="unlimited")) as sandbox:
        httpx2.put(f"{sandbox}/_sandbox/faults", json=[{"kind": "latency", "seconds": 1.5}]).raise_for_status()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        variables = {
            "MARKET_PIPELINE_PROFILE": PROFILE,
            "MARKET_PIPELINE_HOME": str(folder),
            "MARKET_PIPELINE_UNIVERSE": SYMBOLS,
            "MARKET_PIPELINE_CLOCK": FIRST.isoformat(),
            "MARKET_PIPELINE_DAGSTER_PORT": str(port),
            "ALPHA_VANTAGE_BASE_URL": f"{sandbox}/alpha_vantage",
        }
        settings = load_settings(variables)
        pipeline = Pipeline(settings)
        pipeline.initialize()
        pipeline.dbt.parse()
        runs.create_instance(settings)
        with runs.open_instance(settings) as instance, contextlib.ExitStack() as stack:
            made = Served(settings, variables, sandbox, instance, stack)
            made.start("daemon")
            made.start("dagster")
            yield made


def run(count: int, *, seed: int, folder: Path) -> Result:
    """So many kills, the three kinds in turn, until they counted."""
    rng, counted, wrong = random.Random(f"dagster {seed}"), Counter[str](), list[str]()
    worst = dict.fromkeys(("s from a kill to the end of the run under way", "s to the end of the one that waited"), 0.0)
    with _served(folder) as served:
        for number in range(count + 3):
            if counted.total() >= count or wrong:
                break
            kind = KINDS[(seed + number) % len(KINDS)]
            has_counted, waits = _round(served, kind, rng, wrong)
            counted[kind] += has_counted
            worst = {
                name: max(before, round(wait, 1)) for (name, before), wait in zip(worst.items(), waits, strict=True)
            }
    names = {"worker": "of runs' processes", "daemon": "of the daemon", "dagster": "of the webserver"}
    told = {names[kind]: counted[kind] for kind in KINDS}
    return Result(counted.total(), tuple(wrong), told, worst)


def _round(served: Served, kind: str, rng: random.Random, wrong: list[str]) -> tuple[bool, tuple[float, float]]:
    """One kill; whether it counts, and how long it took until the run under way had ended, and until every run had."""
    calls, first, second = served.calls(), served.launch(), list[str]()
    deadline = time.monotonic() + PATIENCE_S
    while served.calls() == calls and not served.is_finished(first):
        if time.monotonic() > deadline:
            wrong.append(f"{kind}: a run did not begin within {PATIENCE_S:g} s")
            return False, (0.0, 0.0)
        time.sleep(0.2)

    def ask() -> None:
        with contextlib.suppress(httpx2.HTTPError):  # the webserver may die with the question
            second.append(served.launch())

    asking = threading.Thread(target=ask)
    asking.start()
    if kind != "dagster":  # it is killed while it is asked, the others when the second run waits
        asking.join()
    time.sleep(rng.uniform(0, 0.5))
    was_at_work = not served.is_finished(first)
    has_died = served.kill(kind, first)
    killed_at = time.time()
    if kind in served.up:
        served.start(kind)
    asking.join()
    _wait_for(served.is_over)
    waits = served.ended_at(first) - killed_at, time.time() - killed_at
    if waits[0] > LIMIT_S or waits[1] > PATIENCE_S:
        left = [run.status.value for run in served.instance.get_runs(limit=10) if not run.is_finished]
        wrong.append(
            f"{kind}: {waits[0]:.0f} s until the run under way had ended, {waits[1]:.0f} s until every run; {left}"
        )
    wrong += _judged(served, kind, first, second, has_counted=was_at_work and has_died)
    return was_at_work and has_died, waits


def _wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something holds, or too long."""
    deadline = time.monotonic() + PATIENCE_S + 1
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)


def _judged(served: Served, kind: str, first: str, second: list[str], *, has_counted: bool) -> list[str]:
    """What is wrong with how the two runs ended; where the second one's request died, another one is asked for."""
    if not second:
        second.append(served.launch())
        _wait_for(lambda: served.is_finished(second[0]))
    ended = {run_id: served.instance.get_run_by_id(run_id) for run_id in (first, *second)}
    states = [run.status.value if run is not None else "gone" for run in ended.values()]
    wrong = [] if states[1] == "SUCCESS" else [f"{kind}: the run after the kill ended as {states[1]}"]
    if kind == "worker" and has_counted and states[0] != "FAILURE":
        wrong.append(f"{kind}: the run that was killed ended as {states[0]}")
    if kind != "worker" and states[0] != "SUCCESS":
        wrong.append(f"{kind}: the run that was under way ended as {states[0]}")
    return wrong


# Too long for every run: `test_daemon` kills a run's process under a living daemon.
PROOFS = (
    Proof(18, "dagster", "Dagster's processes killed in turn, runs under way", "kills", 0, 300, 9, run, is_soak=True),
)
