"""dbt as a child process: the project, where it runs, and what dbt has read of it.

dbt reads a project anew in eight seconds, or takes what it read before. A reading depends on the project and on dbt's
versions alone, so one is kept beside the project and each profile's first run begins with it. The child ends when this
process does, however it ends. This module imports little, because the child imports it too. What does not belong here:
what is built and published (`gold`), what a build continues (`seeding`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from market_pipeline.errors import ConfigurationError

MANIFEST = "manifest.json"
_READING = (MANIFEST, "partial_parse.msgpack")
_STAMP = "reading.sha256"
_HOUR_S = 3600.0
_READERS = ("dbt-core", "dbt-duckdb")


@dataclass(frozen=True, slots=True)
class DbtProject:
    """Where dbt finds its project and puts its artefacts; `environment` is what the child process sees."""

    folder: Path
    target: Path
    lake: str
    environment: Mapping[str, str] = field(repr=False)

    def run(self, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run dbt in a child that dies with us; its output is captured. It works in `folder`, where the profile's
        databases are: named by paths that differ between builds they would make dbt read the whole project anew."""
        state = self._begin()
        before = _changed_at(self.target / MANIFEST)
        environment = {
            "DBT_LOG_LEVEL_FILE": "info",  # its debug log has 150 lines for each node, a tenth of a build's time
            **self.environment,
            "MARKET_PIPELINE_LAKE": self.lake,
            "DBT_PROJECT_DIR": str(self.folder),
            "DBT_PROFILES_DIR": str(self.folder),
            "DBT_TARGET_PATH": str(self.target),
            "DBT_LOG_PATH": str(self.target),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_USE_COLORS": "false",
        }
        command = [sys.executable, "-m", "market_pipeline.dbt_project", *arguments]
        with subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as child:
            output = child.stdout.read() if child.stdout else ""
            done = subprocess.CompletedProcess(command, child.wait(), stdout=output)
        if _changed_at(self.target / MANIFEST) != before:  # dbt could read the project, whatever it did then
            self._keep(state)
        return done

    def parse(self) -> Path:
        """Write the manifest that Dagster's definitions read, unless it is there, and return its path."""
        state = self._begin()
        manifest = self.target / MANIFEST
        if not (self._is_read(state) and manifest.is_file()):
            done = self.run("parse", folder=self.target)
            if done.returncode != 0:
                raise ConfigurationError(f"dbt can't parse {self.folder.name}/: {tail(done.stdout)}")
        return manifest

    def _begin(self) -> str:
        """Start from the kept reading of this very project, if there is one. Returns the hash of the project."""
        self.target.mkdir(parents=True, exist_ok=True)
        state = self._sha256()
        if not self._is_read(state):
            kept = self._kept(state)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for name in _READING:
                    _put(self.target / name, (kept / name).read_bytes())
                _put(self.target / _STAMP, state.encode())
        return state

    def _keep(self, state: str) -> None:
        """Note what the reading in our target is of, and leave a copy to other profiles."""
        if self._is_read(state) or not all((self.target / name).is_file() for name in _READING):
            return
        _put(self.target / _STAMP, state.encode())
        kept = self._kept(state)
        with contextlib.suppress(OSError):  # a project that can't be written, or another process was first
            kept.parent.mkdir(parents=True, exist_ok=True)
            temporary = kept.parent / f".tmp-{secrets.token_hex(8)}"
            temporary.mkdir()
            try:
                for name in _READING:
                    _put(temporary / name, (self.target / name).read_bytes())
                temporary.rename(kept)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            for other in kept.parent.iterdir():  # of other projects, and what killed processes left
                if other != kept and (not other.name.startswith(".") or _changed_at(other) < time.time() - _HOUR_S):
                    shutil.rmtree(other, ignore_errors=True)

    def _kept(self, state: str) -> Path:
        return self.folder / "target" / "readings" / state

    def _is_read(self, state: str) -> bool:
        stamp = self.target / _STAMP
        return stamp.is_file() and stamp.read_text() == state

    def _sha256(self) -> str:
        """Hash of everything that a reading depends on."""
        digest = hashlib.sha256("|".join(f"{name} {version(name)}" for name in _READERS).encode())
        for file in project_files(self.folder):
            digest.update(file.relative_to(self.folder).as_posix().encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()


def project_files(folder: Path) -> list[Path]:
    """The models, macros, tests, published views and settings of a dbt project, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in (".sql", ".yml") and "target" not in path.relative_to(folder).parts and path.is_file()
    )


def tail(output: str, lines: int = 8) -> str:
    """The end of what dbt said, in one line."""
    return " | ".join(line.strip() for line in output.splitlines()[-lines:] if line.strip())


def _changed_at(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _put(path: Path, data: bytes) -> None:
    """Replace a file whole: Dagster may be reading the manifest."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _child(arguments: list[str]) -> int:
    """Body of the child process: dbt, and a thread that ends it when our end of its standard input closes."""

    def end_with_parent() -> None:
        while os.read(0, 1):  # unbuffered: a buffered read would hold a lock that the interpreter wants at its end
            pass
        os._exit(137)

    threading.Thread(target=end_with_parent, daemon=True).start()
    from dbt.cli.main import dbtRunner  # noqa: PLC0415 - dbt costs two seconds, and only the child needs it

    return 0 if dbtRunner().invoke(arguments).success else 1


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1:]))
