"""A recording of what a protocol does to the disk, and every state in which a power cut could leave the disk.

What counts as durable: the bytes of a file when the file was synced, its name when its folder was synced after that.
Anything later may be there or not, each piece by itself and in any order; bytes that were not synced may be missing,
half there, or zeros. Recorded by Python's audit events and around os.fsync; DuckDB writes by itself, so its file is
seen when ours opens it.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EVENTS = frozenset({"open", "os.mkdir", "os.link", "os.rename", "os.remove"})
_ALL_SUBSETS_OF = 6
_playing: list[Tape] = []


@dataclass(eq=False)
class File:
    """A file whatever it is called; a folder has no data."""

    is_folder: bool = False
    data: bytes = b""


@dataclass(frozen=True)
class Named:
    """Names that one operation gave and took, in one step: (path, file or None)."""

    names: tuple[tuple[str, File | None], ...]


@dataclass(frozen=True)
class Written:
    """The bytes of a file as they are from here on, not yet durable."""

    file: File
    data: bytes


@dataclass(frozen=True)
class Synced:
    """A file's bytes are durable."""

    file: File


@dataclass(frozen=True)
class FolderSynced:
    """The names in a folder are durable."""

    path: str


@dataclass(frozen=True)
class Acknowledged:
    """From here on the caller relies on something."""

    what: Any


Step = Named | Written | Synced | FolderSynced | Acknowledged


@dataclass
class Tape:
    """The steps so far; paths are relative to `root`, which exists and is durable."""

    root: Path
    steps: list[Step] = field(default_factory=list)
    _files: dict[str, File] = field(default_factory=dict)
    _unsettled: list[tuple[str, str, str, int]] = field(default_factory=list)

    def acknowledge(self, what: object) -> None:
        """Note a promise."""
        self._settle()
        self.steps.append(Acknowledged(what))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record everything that this process does below the root."""
        real = os.fsync

        def fsync(descriptor: int) -> None:
            real(descriptor)
            path = self._inside(Path(f"/proc/self/fd/{descriptor}").readlink())
            if path is not None:
                self._synced(path)

        if not _playing:
            _install()
        _playing[:] = [self]
        os.fsync = fsync
        try:
            yield
        finally:
            os.fsync = real
            _playing[:] = []
            self._settle()

    def _inside(self, path: object) -> str | None:
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
        if text == str(self.root):
            return ""
        prefix = f"{self.root}/"
        return text.removeprefix(prefix) if isinstance(text, str) and text.startswith(prefix) else None

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An operation is about to happen; whether it did is seen at the next one."""
        source = self._inside(arguments[0])
        if not source:  # elsewhere, or the root itself
            return
        self._settle()
        target = (self._inside(arguments[1]) or "") if event in ("os.link", "os.rename") else ""
        if event in ("os.link", "os.rename"):
            self._meet(source)
        try:
            number = (self.root / source).stat().st_ino
        except FileNotFoundError:
            number = 0
        self._unsettled.append((event, source, target, number))

    def _settle(self) -> None:
        while self._unsettled:
            event, source, target, number = self._unsettled.pop()
            if event in ("open", "os.mkdir"):
                self._meet(source)
            elif event == "os.remove" and source in self._files and not (self.root / source).exists():
                del self._files[source]
                self.steps.append(Named(((source, None),)))
            elif target and self._number(target) == number and number:
                file = self._files[source]
                taken = ((source, None),) if event == "os.rename" else ()
                self._files[target] = file
                if event == "os.rename":
                    del self._files[source]
                self.steps.append(Named((*taken, (target, file))))
        for path, file in self._files.items():
            self._see(path, file)

    def _number(self, path: str) -> int:
        try:
            return (self.root / path).stat().st_ino
        except FileNotFoundError:
            return 0

    def _meet(self, path: str) -> None:
        """A name that was not there before."""
        place = self.root / path
        if path not in self._files and place.exists():
            file = self._files[path] = File(is_folder=place.is_dir())
            self.steps.append(Named(((path, file),)))
            self._see(path, file)

    def _see(self, path: str, file: File) -> None:
        if file.is_folder:
            return
        try:
            data = (self.root / path).read_bytes()
        except FileNotFoundError:
            return
        if data != file.data:
            file.data = data
            self.steps.append(Written(file, data))

    def _synced(self, path: str) -> None:
        self._settle()
        if (self.root / path).is_dir():
            self.steps.append(FolderSynced(path))
            return
        self._meet(path)
        self.steps.append(Synced(self._files[path]))

    def states(self, rng: random.Random) -> Iterator[tuple[list[Any], dict[str, bytes]]]:
        """What had been acknowledged, and the files on the disk, after a cut behind each step: every subset of what was
        not durable where it is small, else the empty one, the full one and a sample."""
        for length in range(len(self.steps) + 1):
            steps = self.steps[:length]
            told = [step.what for step in steps if isinstance(step, Acknowledged)]
            pending = [number for number, step in enumerate(steps) if self._is_pending(steps, number)]
            for kept in _subsets(pending, rng):
                yield told, self._image(steps, set(pending) - set(kept), rng)

    @staticmethod
    def _is_pending(steps: list[Step], number: int) -> bool:
        """True for a name whose folder was not synced since, and for bytes that were not."""
        step, later = steps[number], steps[number + 1 :]
        if isinstance(step, Named):
            folders = {os.path.dirname(path) for path, _ in step.names}  # noqa: PTH120 - a relative text, "" is the root
            return not folders <= {s.path for s in later if isinstance(s, FolderSynced)}
        if isinstance(step, Written):
            return not any(isinstance(s, Synced) and s.file is step.file for s in later)
        return False

    @staticmethod
    def _image(steps: list[Step], lost: set[int], rng: random.Random) -> dict[str, bytes]:
        names: dict[str, File] = {}
        data: dict[File, bytes] = {}
        for number, step in enumerate(steps):
            if isinstance(step, Named) and number not in lost:
                for path, file in step.names:
                    if file is None:
                        names.pop(path, None)
                    else:
                        names[path] = file
            elif isinstance(step, Written):
                before = data.get(step.file, b"")
                half = step.data[: len(step.data) // 2]
                torn = (before, b"", half, bytes(len(step.data)), half + bytes(len(step.data) - len(half)))
                data[step.file] = rng.choice(torn) if number in lost else step.data
        folders = {path for path, file in names.items() if file.is_folder}
        return {
            path: data.get(file, b"")
            for path, file in names.items()
            if not file.is_folder and {str(p) for p in Path(path).parents if str(p) != "."} <= folders
        }


def _subsets(pending: list[int], rng: random.Random) -> Iterator[tuple[int, ...]]:
    if len(pending) <= _ALL_SUBSETS_OF:
        for size in range(len(pending) + 1):
            yield from itertools.combinations(pending, size)
        return
    yield ()
    yield tuple(pending)
    for _ in range(2**_ALL_SUBSETS_OF - 2):
        yield tuple(number for number in pending if rng.random() < 0.5)


_hooks: list[bool] = []


def _install() -> None:
    """An audit hook stays for the life of a process, so there is one, which is deaf when nothing is recorded."""
    if _hooks:
        return
    _hooks.append(True)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if _playing and event in _EVENTS:
            tape = _playing[0]
            _playing[:] = []  # what the tape does to look at the disk is not the protocol's
            try:
                tape.heard(event, arguments)
            finally:
                _playing[:] = [tape]

    sys.addaudithook(hook)
