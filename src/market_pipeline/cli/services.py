"""Processes that serve a profile on loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from market_pipeline.errors import ConfigurationError, Unreachable
from market_pipeline.orchestration.event_log import BATCH_SIZE, BATCH_SIZE_VARIABLE
from market_pipeline.settings import REPOSITORY, Settings

_DEFINITIONS = "market_pipeline.orchestration.definitions"


@dataclass(frozen=True, slots=True)
class Service:
    """One child process and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


def answers(url: str, *, timeout_s: float = 1.0) -> bool:
    """True when a loopback address gives any HTTP answer."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s):  # noqa: S310 - our own loopback addresses
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, http.client.HTTPException):
        return False


def is_taken(port: int) -> bool:
    """Whether anything listens on a loopback port, whatever it speaks."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def service(
    settings: Settings,
    name: str,
    command: list[str],
    *,
    url: str | None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """Start a child, wait until `url` answers (60 s; None waits for nothing), end it on leaving. Its output goes to the
    folder `logs`."""
    log = settings.root / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=settings.dagster_home,  # Dagster reads the .env of its working directory, and this one has none
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while url is not None and not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unreachable(f"{name} did not start; see {log}", provider=name)
            time.sleep(0.1)
        yield Service(name, process, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the child's whole group to end, then make it."""
    for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    for _ in range(50):  # what the child had started gets five seconds more
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def sandbox(settings: Settings) -> Iterator[str]:
    """The fictional market's address: the running sandbox, or one of our own for as long as the block lasts."""
    if settings.sandbox_url is not None:  # in a container of its own
        yield f"{settings.sandbox_url}/_sandbox/state"
        return
    url = f"http://127.0.0.1:{settings.sandbox_port}/_sandbox/state"
    if is_taken(settings.sandbox_port):
        if not _is_sandbox(url):
            raise ConfigurationError(
                f"Port {settings.sandbox_port} is taken by another program; "
                "set MARKET_PIPELINE_SANDBOX_PORT to a free one"
            )
        yield url
        return
    command = [sys.executable, "-m", "market_pipeline.sandbox", "--port", str(settings.sandbox_port)]
    command += ["--universe", str(settings.dbt_project / "seeds"), "--plan", "unlimited"]
    with service(settings, "sandbox", command, url=url):
        yield url


def _is_sandbox(url: str) -> bool:
    """Whether our sandbox is what answers there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own loopback address
            return isinstance(json.load(response), dict)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def dagster_commands(settings: Settings) -> dict[str, list[str]]:
    """How Dagster's two processes are started: its webserver, and the daemon, which starts runs and watches them."""
    ui = [sys.executable, "-m", "dagster_webserver", "-m", _DEFINITIONS, "-h", "127.0.0.1"]
    return {
        "dagster": [*ui, "-p", str(settings.dagster_port)],
        "daemon": [sys.executable, "-m", "dagster._daemon", "run", "-m", _DEFINITIONS],
    }


def dagster_environment(settings: Settings) -> dict[str, str]:
    """What they, and the runs that they start, need to find the profile."""
    return {
        "DAGSTER_HOME": str(settings.dagster_home),
        BATCH_SIZE_VARIABLE: BATCH_SIZE,
        "MARKET_PIPELINE_PROFILE": settings.profile,
        "MARKET_PIPELINE_HOME": str(settings.home),
    }


def serve(settings: Settings) -> int:
    """Dagster and the dashboard, and the sandbox for the demo, until Ctrl-C or until one of them ends."""
    for port, name in ((settings.dagster_port, "DAGSTER"), (settings.dashboard_port, "DASHBOARD")):
        if is_taken(port):
            raise ConfigurationError(f"Port {port} is taken; set MARKET_PIPELINE_{name}_PORT to a free one")
    dagster = f"http://127.0.0.1:{settings.dagster_port}"
    dashboard = f"http://127.0.0.1:{settings.dashboard_port}"
    environment, commands = dagster_environment(settings), dagster_commands(settings)
    # Before the first child starts: the children have sessions of their own and would outlive a closed terminal.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        if settings.is_demo:
            stack.enter_context(sandbox(settings))
        page = [
            sys.executable,
            "-m",
            "streamlit",
            "run",
            str(REPOSITORY / "dashboards/app.py"),
            "--server.address",
            "127.0.0.1",
        ]
        page += ["--server.port", str(settings.dashboard_port)]
        plan = (
            ("dashboard", page, f"{dashboard}/_stcore/health"),
            ("dagster", commands["dagster"], f"{dagster}/server_info"),
            ("daemon", commands["daemon"], None),
        )
        children = [
            stack.enter_context(service(settings, name, command, url=url, environment=environment))
            for name, command, url in plan
        ]
        sys.stderr.write(f"Profile {settings.profile}\nDashboard {dashboard}\nDagster   {dagster}\nCtrl-C ends them.\n")
        sys.stderr.flush()
        with contextlib.suppress(KeyboardInterrupt):
            while all(child.process.poll() is None for child in children):
                time.sleep(0.5)
            ended = next(child for child in children if child.process.poll() is not None)
            raise Unreachable(f"{ended.name} ended by itself; see {ended.log}", provider=ended.name)
    return 0
