"""What is on a disk, read with the standard library alone: the judge of everything that was killed or cut short."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path


class Lost(AssertionError):
    """Something that was acknowledged is not there, or not as it was."""


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def files(root: Path) -> dict[str, bytes]:
    """Every file below a folder but what a killed writer left."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".tmp-")
    }


def hashes(root: Path) -> dict[str, tuple[int, str]]:
    """Every file with its time of writing and its hash: equal ones mean that nothing was written."""
    return {
        path.relative_to(root).as_posix(): (path.stat().st_mtime_ns, sha256(path.read_bytes()))
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def committed(lake: Mapping[str, bytes]) -> dict[tuple[str, str, str], str]:
    """What the newest manifest of each slice names: (slice folder, request, SHA-256) and the key of the bytes.

    Raises Lost when a named object is not there or does not hash to its name, or when a manifest is no JSON.
    """
    newest: dict[str, str] = {}
    for key in lake:
        folder, _, name = key.rpartition("/")
        if re.fullmatch(r"manifest-\d{6}\.json", name):
            newest[folder] = max(newest.get(folder, ""), key)
    found: dict[tuple[str, str, str], str] = {}
    for folder, key in newest.items():
        try:
            entries = json.loads(lake[key])["requests"]
        except ValueError:
            raise Lost(f"{key} is torn") from None
        for entry in entries:
            for payload in entry["payloads"]:
                place = folder.rpartition("/")[0] if "/" in payload["object"] else folder
                named = f"{place}/{payload['object']}"
                if named not in lake:
                    raise Lost(f"{key} names {payload['object']}, which is not there")
                if sha256(lake[named]) != payload["sha256"]:
                    raise Lost(f"{payload['object']} is not what {key} says")
                found[folder, entry["request"]["name"], payload["sha256"]] = named
    return found


def published(warehouse: Mapping[str, bytes]) -> int:
    """The number of the generation that readers would open, 0 when nothing was published. Raises Lost when the pointer
    is torn, or names a file that is missing or is not as it was published."""
    if "CURRENT" not in warehouse:
        return 0
    try:
        record = json.loads(warehouse["CURRENT"])
    except ValueError:
        raise Lost("CURRENT is torn") from None
    data = warehouse.get(record["file"])
    if data is None:
        raise Lost(f"CURRENT names {record['file']}, which is not there")
    if sha256(data) != record["sha256"]:
        raise Lost(f"{record['file']} is not as it was published")
    return int(record["generation"])
