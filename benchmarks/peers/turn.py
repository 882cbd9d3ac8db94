"""One contestant's turn in a process of its own: how long it took, and the most memory the process had."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path


def take(contestants: Mapping[str, tuple[Callable[[Path, Path], None], Iterable[str]]]) -> None:
    """Run the contestant that the command line names on a lake, into a folder. Its imports are not part of the time."""
    name, lake, out = sys.argv[1:]
    work, imports = contestants[name]
    for module in imports:
        importlib.import_module(module)
    base = peak_kib()
    started = time.perf_counter()
    work(Path(lake), Path(out))
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "base_mib": base / 1024, "peak_mib": peak_kib() / 1024}))


def peak_kib() -> int:
    """The largest resident set of this process as this program (Linux); `ru_maxrss` may be its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def slices(lake: Path) -> list[tuple[str, list[Path]]]:
    """The payloads of each slice of the lake's one feed, oldest slice first."""
    return [
        (folder.name.removeprefix("slice="), sorted(p for p in folder.iterdir() if not p.name.startswith("manifest-")))
        for folder in sorted((lake / "bronze").rglob("slice=*"))
    ]
