"""Promise 13: whatever a symbol is called, its object is in its folder and its own, also where case is ignored."""

from __future__ import annotations

import random
import string
from pathlib import Path

from market_pipeline import layout
from market_pipeline.errors import ConfigurationError, LakeError
from market_pipeline.store import FolderStore
from proofs.oracle import sha256
from proofs.proof import Proof, Result

ALLOWED = string.ascii_letters + string.digits + "^.=:_/ -"
HOSTILE = "\0\n\r\t\\%*?\"<>|é漢\u202e\u2215~$`'&;#@!+,()[]{}"
SHA = sha256(b"")
PREFIX = layout.bronze_slice("alpha_vantage", "weekly_adjusted", "2026-11-16")
KNOWN = (
    "..",
    ".",
    "../..",
    "a/../b",
    "manifest-000001.json",
    "CON",
    "BRK.B",
    "BRK-B",
    "^GSPC",
    "_a",
    "A",
    "a",
    ".tmp-1",
)


def fuzzed(count: int, rng: random.Random) -> list[str]:
    """Distinct names, many of them near-twins: other case, an encoding spelled out, dots and slashes, and some with
    characters that are not allowed."""
    found: dict[str, None] = dict.fromkeys(KNOWN)
    while len(found) < count:
        name = "".join(rng.choices(ALLOWED, k=rng.randint(1, 8)))
        if rng.random() < 0.1:
            at = rng.randrange(len(name) + 1)
            name = name[:at] + rng.choice(HOSTILE) + name[at:]
        for twin in (name, name.swapcase(), name.replace(".", "2E"), f"_{name}", name.replace("_", "5F"), name.lower()):
            found[twin[:60]] = None
    return list(found)[:count]


def run(count: int, *, seed: int, folder: Path) -> Result:
    """Each name is refused, or becomes one file name directly in the slice's folder that no other name becomes; keys
    made by hand out of the same names never lead out of the lake."""
    store, wrong, refused = FolderStore(folder), list[str](), 0
    home = (folder / PREFIX).resolve()
    seen: dict[str, str] = {}
    for name in fuzzed(count, random.Random(f"names {seed}")):
        try:
            key = layout.bronze_object(PREFIX, name, SHA, "csv")
        except ConfigurationError:
            refused += 1
            if set(name) <= set(ALLOWED) and 1 <= len(name) <= 60:
                wrong.append(f"{name!r} was refused")
        else:
            segment = key.removeprefix(PREFIX)
            if not set(name) <= set(ALLOWED):
                wrong.append(f"{name!r} was accepted")
            if seen.setdefault(segment.casefold(), name) != name:
                wrong.append(f"{name!r} and {seen[segment.casefold()]!r} are one object")
            if Path(store.url(key)).resolve().parent != home or "/" in segment or len(segment) > 255:
                wrong.append(f"{name!r} left its folder")
            if layout.manifest_seq(key) is not None or layout.slice_key_of(key) != "2026-11-16":
                wrong.append(f"{name!r} is taken for something else")
        try:
            place = Path(store.url(f"bronze/{name}"))
        except LakeError:
            continue
        if not place.resolve().is_relative_to((folder / "bronze").resolve()) or place.name.startswith(".tmp-"):
            wrong.append(f"the key bronze/{name!r} leaves its folder")
    return Result(count, tuple(wrong), {"names refused": refused})


PROOFS = (Proof(13, "names", "fuzzed symbols and paths", "names", 20_000, 100_000, 25_000, run),)
