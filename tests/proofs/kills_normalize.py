"""Promises 1 and 3: normalize killed at random. What is there is whole, and the next run ends in the same bytes."""

from __future__ import annotations

import random
import time
from pathlib import Path

from market_pipeline import commit as silver
from market_pipeline import layout
from market_pipeline.errors import LakeError
from market_pipeline.normalize import normalize
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.store import FolderStore
from proofs import forks, oracle
from proofs.forks import KILLED
from proofs.kills_ingest import SYMBOLS, body
from proofs.proof import Proof, Result
from proofs.workers import PART, WEEKLY
from wire import NOW, bar, commit, csv


def run(count: int, *, seed: int, folder: Path) -> Result:
    """A worker that writes silver and quarantine over and over, killed after a random time. A kill counts when a file
    was missing or half written, in a worker that had been through the work once."""
    rng, home = random.Random(f"normalize {seed}"), folder / "lake"
    store = FolderStore(home)
    broken = csv(bar("2026-11-06"), "2026-11-13,x,1,1,1,1,1,1")
    commit(store, WEEKLY, PART, {s: [(body(s), NOW), (broken, NOW.replace(hour=20))] for s in SYMBOLS[:10]})
    report = normalize(PROVIDER, WEEKLY, PART, store=store)
    assert report.rows_rejected == 10
    quarantine = layout.quarantine_part(WEEKLY.contract, PROVIDER.name, WEEKLY.dataset, PART.key)
    name = silver.Name(WEEKLY.contract, PROVIDER.name, WEEKLY.dataset, PART.key)
    whole = oracle.files(home)
    assert {report.silver_key, quarantine} <= whole.keys()
    killed = midway = 0
    wrong: list[str] = []
    assert forks.run("once", folder, seconds=240) == 0
    started = time.monotonic()
    assert forks.run("once", folder, seconds=240) == 0
    length = time.monotonic() - started
    while midway < count and killed < 6 * count + 20 and not wrong:
        (folder / "passes").unlink(missing_ok=True)
        code = forks.run("rewrite", folder, seconds=length * rng.uniform(1.0, 3.0))
        killed += code == KILLED
        found, passes = oracle.files(home), folder / "passes"
        has_passed = passes.exists() and passes.read_text() not in ("", "0")
        midway += code == KILLED and has_passed and (len(found) < len(whole) or any(home.rglob(".tmp-*")))
        if code != KILLED:
            wrong.append(f"a worker ended with {code}")
        if not {(k, v) for k, v in found.items() if k != name.commit_key} <= whole.items():
            wrong.append("a reader could have seen a part of a file")
        try:  # the commit says what the files are on their way to, so it may differ from the last one, but not be cut
            silver.verified(store, [name] if name.commit_key in found else [])
        except LakeError as error:
            wrong.append(f"a kill left damage: {error}")
        again = normalize(PROVIDER, WEEKLY, PART, store=store)
        if again.sha256 != report.sha256 or oracle.files(home) != whole:
            wrong.append("the run after a kill ended in other bytes")
        if normalize(PROVIDER, WEEKLY, PART, store=store).is_written:
            wrong.append("a rerun on the same input wrote something")
        store.sweep(older_than_s=-1.0)
    return Result(midway, tuple(wrong), {"kills": killed})


PROOFS = (Proof(1, "normalize", "normalize killed in mid-work", "kills", 6, 500, 20, run),)
