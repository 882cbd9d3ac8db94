"""A backup's stream back into a lake: `market-pipeline stack restore`.

What the stream is a backup of is its first member, so that one of another profile is refused before anything is
written. Every object is read back and compared, and only then is the state written. What does not belong here: what a
backup holds and in which order (`backup`), Dagster's database (`docker/stack restore`).
"""

from __future__ import annotations

import json
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from market_pipeline import layout
from market_pipeline.cli.backup import (
    ABOUT,
    AT_ONCE,
    FORMAT,
    LAKE,
    LAYERS,
    MANIFEST,
    STATE,
    bodies,
    digest,
    figures,
    keys_of,
)
from market_pipeline.cli.output import say
from market_pipeline.errors import ConfigurationError, HashMismatch, LakeError
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings
from market_pipeline.store import FolderStore, Store

# Held before they are written, however many they are; an object is 32 MiB at most.
_BYTES_AT_ONCE = 128 << 20


def restore() -> int:
    """Read a backup from standard input into an empty lake, then read everything back and compare.

    A lake that holds part of the same backup, because a restore was cut, is completed. Into any other lake that is not
    empty nothing is written: it must hold what the backup holds already.
    """
    started = time.monotonic()
    pipeline = Pipeline(load_settings())
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
            found, what = _restored(pipeline, _members(tar))
    except tarfile.TarError as error:
        raise LakeError(f"The backup can't be read to its end ({error}): it was cut; take another one") from None
    size = sum(size for _, size in found.values())
    say(figures(f"{what}, read back, equal hashes:", len(found), size, time.monotonic() - started))
    return 0


def _in_slices(store: Store) -> set[str]:
    """The keys that make a lake one that is not empty: `init` writes the others, gold's build writes them again."""
    return {key for key in keys_of(store) if layout.slice_key_of(key) is not None}


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """What a stream holds, in its order."""
    while (member := tar.next()) is not None:
        source = tar.extractfile(member)
        yield member.name, b"" if source is None else source.read()
        tar.members.clear()  # type: ignore[attr-defined]  # else it holds every header


def _handfuls(members: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Members by some at once, so few that they are held without harm."""
    held: list[tuple[str, bytes]] = []
    for member in members:
        held.append(member)
        if len(held) == AT_ONCE or sum(len(body) for _, body in held) >= _BYTES_AT_ONCE:
            yield held
            held = []
    yield held


def _restored(pipeline: Pipeline, members: Iterator[tuple[str, bytes]]) -> tuple[Mapping[str, list[Any]], str]:
    """The objects of a backup with what they are in the store now, and in a word how they came there."""
    store, kept = pipeline.store, FolderStore(pipeline.settings.state)
    is_ours = _begin(store, kept, pipeline.settings.restoring.name, _id(members, pipeline.settings.profile))
    read: dict[str, list[Any]] = {}
    state: dict[str, bytes] = {}
    said: Mapping[str, Any] | None = None
    for held in _handfuls(members):
        objects = {name.removeprefix(LAKE): body for name, body in held if name.startswith(LAKE)}
        files = {name.removeprefix(STATE): body for name, body in held if name.startswith(STATE)}
        strange = [key for key in objects if not key.startswith(LAYERS)] + [n for n in files if not _is_inside(n)]
        if strange:
            raise LakeError(f"The backup names {strange[0]}, which is nothing of a lake; it is not one of ours")
        digests = {key: digest(body) for key, body in objects.items()}
        if is_ours:
            store.each(lambda pair: _put(store, *pair), list(objects.items()))
        else:
            _refuse_others(store, digests)
        read |= digests
        state |= files
        said = next((json.loads(body) for name, body in held if name == MANIFEST), said)
    if said is None:
        raise LakeError("The backup ends before its manifest: it was cut; take another one")
    _compare(said["objects"], read, "the backup")
    _compare(said["state"], {name: digest(body) for name, body in state.items()}, "the backup's state")
    if more := sorted(_in_slices(store) - read.keys()):
        raise _not_empty(f"{more[0]} is not of this backup")
    expected = {key: read[key] for key in sorted(read) if is_ours or layout.slice_key_of(key) is not None}
    present = {key: digest(body) for key, body in bodies(store, expected)}
    _compare(expected, present, "the store")
    if is_ours:
        for name, body in state.items():
            kept.replace(name, body)
        kept.delete(pipeline.settings.restoring.name)
    return present, "Restored" if is_ours else "Was there already"


def _id(members: Iterator[tuple[str, bytes]], profile: str) -> str:
    """The id of a backup, from its first member; refused before anything is written when it is not one for us."""
    name, body = next(members, ("", b""))
    said = json.loads(body) if name == ABOUT else {}
    if said.get("format") != FORMAT:
        raise ConfigurationError(
            f"The backup does not begin as those of format {FORMAT} do: it is of another release; restore it with that "
            "one, and take another backup with this one"
        )
    if said["profile"] != profile:
        raise ConfigurationError(
            f"The backup is of profile {said['profile']}, not {profile}; restore it into a stack of its own profile"
        )
    return str(said["id"])


def _begin(store: Store, kept: Store, mark: str, id_: str) -> bool:
    """Whether a restore writes: into a lake that is empty, or that holds nothing but part of the same backup."""
    before = kept.get(mark).decode() if kept.exists(mark) else None
    if before not in (None, id_):
        raise _not_empty("the restore of another backup has not ended")
    if before is None and _in_slices(store):
        return False
    kept.replace(mark, id_.encode())
    return True


def _refuse_others(store: Store, digests: Mapping[str, list[Any]]) -> None:
    """Raise when a slice of the lake lacks one of these objects or has other bytes there."""
    wanted = {key: sha256 for key, (sha256, _) in digests.items() if layout.slice_key_of(key) is not None}
    there = store.digests(wanted)
    if different := [key for key in wanted if there.get(key) != wanted[key]]:
        raise _not_empty(f"{different[0]} is not as in this backup")


def _not_empty(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The lake has evidence already, and {why}; restore into an empty stack: make wipe, then again"
    )


def _put(store: Store, key: str, body: bytes) -> None:
    if key.startswith("bronze/"):
        store.create(key, body)
    else:
        store.replace(key, body)


def _is_inside(name: str) -> bool:
    return ".." not in Path(name).parts and not Path(name).is_absolute()


def _compare(said: Mapping[str, list[Any]], found: Mapping[str, list[Any]], where: str) -> None:
    different = sorted(key for key in said.keys() | found.keys() if said.get(key) != found.get(key))
    if different:
        raise HashMismatch(
            f"{len(different)} objects of {where} are not what the manifest says, such as {different[0]}; "
            "take another backup"
        )
