"""What a proof is, what it hands back, and which there are."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import proofs


@dataclass(frozen=True, slots=True)
class Result:
    """One batch. `done` counts the cases that really came about, `violations` are sentences, `counts` are further
    figures that batches add up, `worst` those of which the largest counts. `skipped` says what could not be tried."""

    done: int
    violations: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    worst: Mapping[str, float] = field(default_factory=dict)
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """`run(count, seed=, folder=)` tries about `count` cases in an empty folder. `number` is the promise's, several
    proofs may share it; `batch` is how many cases the long run asks for at a time. With `is_finite` there is one set of
    cases, so one batch holds them all, and it counts as complete however many they are. One with `is_soak`
    takes hours of both processors: `make soak` runs it, and `make chaos` only by its name."""

    number: int
    name: str
    what: str
    unit: str
    short: int
    full: int
    batch: int
    run: Callable[..., Result]
    is_finite: bool = False
    is_soak: bool = False


def find() -> tuple[Proof, ...]:
    """Every proof, by the number of its promise."""
    modules = [importlib.import_module(f"proofs.{found.name}") for found in pkgutil.iter_modules(proofs.__path__)]
    made = [proof for module in modules for proof in getattr(module, "PROOFS", ())]
    return tuple(sorted(made, key=lambda proof: (proof.number, proof.name)))


def chosen(words: list[str], *, is_soak: bool = False) -> tuple[Proof, ...]:
    """The proofs of these numbers or names, in this order; without any, all that soak or all that don't."""
    known = find()
    unknown = [word for word in words if not any(word in (str(proof.number), proof.name) for proof in known)]
    if unknown:
        names = ", ".join(f"{proof.number} {proof.name}" for proof in known)
        raise SystemExit(f"There is no proof {unknown[0]}; there are: {names}")
    found = [proof for word in words for proof in known if word in (str(proof.number), proof.name)]
    return tuple(dict.fromkeys(found)) or tuple(proof for proof in known if proof.is_soak is is_soak)
