"""`make chaos` and `make soak`: the proofs at full length, in batches that an interrupted run continues; then
docs/reliability.md.

    python -m proofs [NUMBER or NAME ...] [--soak] [--minutes 20] [--seed 1] [--state FILE] [--fresh] [--report]

Each batch has a seed of its own, made of the run's seed and its number. A proof stops when its figure is reached, when
its minutes are spent, or at a violation, which is told and kept. What was reached is in docs/reliability.json, which is
committed, so that whoever comes next goes on from there. With --report only the document is written.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from proofs.proof import Proof, Result, chosen, find

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = REPOSITORY / "docs" / "reliability.md"
EVERYTHING = 1_000_000


def _commit() -> str:
    """The commit whose code runs, with a + when files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
        ).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "src", "dbt", "tests") else "")


class State:
    """What was reached so far, by proof; written after each batch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}

    def of(self, proof: Proof, seed: int) -> dict[str, Any]:
        """A proof's record; another seed begins anew."""
        record = self.found.get(proof.name)
        if record is None or record["seed"] != seed:
            record = {
                "seed": seed,
                "batches": 0,
                "done": 0,
                "seconds": 0.0,
                "violations": [],
                "counts": {},
                "worst": {},
                "commits": [],
                "skipped": "",
                "on": "",
            }
            self.found[proof.name] = record
        return record

    def add(self, proof: Proof, seed: int, result: Result, seconds: float, commit: str) -> None:
        record = self.of(proof, seed)
        record["batches"] += 1
        record["done"] += result.done
        record["seconds"] = round(record["seconds"] + seconds, 1)
        record["violations"] += result.violations
        for name, count in result.counts.items():
            record["counts"][name] = record["counts"].get(name, 0) + count
        for name, value in result.worst.items():
            record["worst"][name] = max(record["worst"].get(name, value), value)
        record["skipped"] = result.skipped
        record["load"] = max(record.get("load", 0.0), round(os.getloadavg()[0], 1))
        record["on"] = dt.datetime.now(dt.UTC).date().isoformat()
        if commit not in record["commits"]:
            record["commits"].append(commit)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.found, indent=1))
        temporary.replace(self.path)


def _is_complete(proof: Proof, record: dict[str, Any]) -> bool:
    return bool(record["skipped"]) or (record["batches"] > 0 if proof.is_finite else record["done"] >= proof.full)


def prove(proof: Proof, state: State, *, seed: int, minutes: float, commit: str) -> None:
    """Batches until the figure, the time or a violation."""
    ends = time.monotonic() + minutes * 60
    record = state.of(proof, seed)
    while not _is_complete(proof, record) and not record["violations"] and time.monotonic() < ends:
        folder = Path(tempfile.mkdtemp(prefix=f"proof-{proof.name}-"))
        count = EVERYTHING if proof.is_finite else min(proof.batch, proof.full - record["done"])
        started = time.monotonic()
        try:
            result = proof.run(count, seed=seed * 1000 + record["batches"], folder=folder)
        except Exception as error:  # noqa: BLE001 - a proof that breaks is a proof that failed, and the others go on
            traceback.print_exc()
            said = f"{type(error).__name__}: {error}".replace(sys.executable, "python").replace(str(REPOSITORY), ".")
            result = Result(0, (f"the proof itself broke: {said}",))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        state.add(proof, seed, result, time.monotonic() - started, commit)
        print(_line(proof, record), flush=True)


def _line(proof: Proof, record: dict[str, Any]) -> str:
    figures = {**record["counts"], **record["worst"]}
    more = ", ".join(f"{name} {value:,}" for name, value in figures.items() if not name.startswith("ended as"))
    wanted = "all" if proof.is_finite else f"{proof.full:,}"
    reached = f"{record['done']:>9,} of {wanted:>7} {proof.unit}"
    wrong, seconds = len(record["violations"]), record["seconds"]
    told = f"{proof.number:>2} {proof.name:<16} {reached}, {wrong} violations, {seconds:.0f} s; {more}"
    return "\n".join([told, *(f"   ! {violation}" for violation in record["violations"][:10])])


def document(state: State, words: list[str], *, is_soak: bool = False) -> str:
    """The table, as Markdown."""
    rows, skipped = [], []
    for proof in find():
        record = state.found.get(proof.name)
        if record is None or record["skipped"]:
            skipped.append(f"- {proof.number} `{proof.name}`: {record['skipped'] if record else 'not run'}")
            continue
        figures = {**record["counts"], **record["worst"]}
        more = "; ".join(f"{name} {value:,}" for name, value in figures.items() if not name.startswith("ended as"))
        cells = (
            proof.number,
            f"`{proof.name}`",
            proof.what,
            f"{record['done']:,} {proof.unit}",
            f"all, at least {proof.full:,}" if proof.is_finite else f"{proof.full:,}",
            len(record["violations"]),
            f"{record['seconds']:,.0f}",
            more,
            f"{', '.join(record['commits'])}, {record['on']}",
        )
        rows.append(f"| {' | '.join(map(str, cells))} |")
    kills = sum(state.found[p.name]["done"] for p in find() if p.unit in ("kills", "points") and p.name in state.found)
    violations = [f"- `{name}`: {text}" for name, record in state.found.items() for text in record["violations"][:5]]
    return TEMPLATE.format(
        command=" ".join(
            ["make soak" if is_soak else "make chaos", *(['PROOFS="' + " ".join(words) + '"'] if words else [])]
        ),
        rows="\n".join(rows),
        kills=f"{kills:,}",
        load=max((record.get("load", 0.0) for record in state.found.values()), default=0.0),
        processors=os.cpu_count(),
        seeds=", ".join(sorted({str(record["seed"]) for record in state.found.values()})),
        violations="\n".join(violations) or "None.",
        skipped="\n".join(skipped) or "Nothing.",
    )


TEMPLATE = """# Proofs under faults

Written by `{command}` (seed {seeds}); the modules are in `tests/proofs/`, and `make test` runs short counts. A kill
is SIGKILL of a process in mid-work and counts only then; what is compared with imports nothing of the pipeline. A proof
stops at its figure, at its time limit or at a violation, so a figure below the wanted one means that time ran out.

Kills in mid-work, all proofs together: {kills}. Machine: {processors} processors, shared; its load was up to {load:g}.

| promise | proof | what | reached | wanted | violations | seconds | more | commit, date |
| --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- |
{rows}

## Violations

{violations}

## Not run

{skipped}
"""


def main() -> int:
    """Run what is asked for, print the table, write the document; 1 when anything was violated."""
    parser = argparse.ArgumentParser(prog="make chaos, make soak")
    parser.add_argument("proofs", nargs="*", help="numbers of promises or names of proofs; none means all")
    parser.add_argument("--soak", action="store_true", help="those that take an hour each, instead of all the others")
    parser.add_argument("--minutes", type=float, default=20.0, help="longest time per proof")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, default=DOCUMENT.with_suffix(".json"))
    parser.add_argument("--fresh", action="store_true", help="forget what these proofs had reached")
    parser.add_argument("--report", action="store_true", help="write the document, run nothing")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # of every retry there would be a line
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ended like this it still clears its folder away
    state, selected = State(given.state), chosen(given.proofs, is_soak=given.soak)
    for proof in selected if given.fresh else ():
        state.found.pop(proof.name, None)
    print(f"seed {given.seed}, {given.minutes:g} minutes a proof, state in {given.state}", flush=True)
    for proof in () if given.report else selected:
        prove(proof, state, seed=given.seed, minutes=given.minutes, commit=_commit())
    print("\n".join(_line(proof, state.found[proof.name]) for proof in selected if proof.name in state.found))
    DOCUMENT.write_text(document(state, given.proofs, is_soak=given.soak))
    print(f"Written: {DOCUMENT.relative_to(REPOSITORY)}")
    return int(any(record["violations"] for record in state.found.values()))


if __name__ == "__main__":
    sys.exit(main())
