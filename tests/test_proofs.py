"""The proofs of `proofs/`, each for its short count; `make chaos` runs them at full length."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proofs.proof import Proof, find

SEED = int(os.environ.get("MARKET_PIPELINE_TEST_SEED", "1"))
# A short count of 0: too long for every run, and its subject is killed by another test too.
LONG_ONLY = [proof.name for proof in find() if not proof.short]

pytestmark = [pytest.mark.kill, pytest.mark.slow]


@pytest.mark.parametrize("proof", [proof for proof in find() if proof.short], ids=lambda proof: proof.name)
def test_a_promise_holds_under_faults(proof: Proof, tmp_path: Path) -> None:
    result = proof.run(proof.short, seed=SEED, folder=tmp_path)
    if result.skipped:
        pytest.skip(result.skipped)
    print(f"{proof.name}: {result.done} {proof.unit}, {dict(result.counts)} {dict(result.worst)}")
    assert not result.violations, "\n".join(result.violations[:10])
    assert result.done >= proof.short, f"only {result.done} of {proof.short} {proof.unit} came about"
