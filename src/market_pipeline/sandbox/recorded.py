"""Captured bodies served byte for byte: `<folder>/<provider>/<endpoint in lower case>/<SYMBOL>-*.<csv|json>`."""

from __future__ import annotations

import re
from pathlib import Path

_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_SYMBOL = re.compile(r"[A-Z0-9^][A-Za-z0-9.^=-]{0,31}\Z")


def body(folder: Path, endpoint: str, symbol: str, extension: str) -> bytes | None:
    """The newest capture by name, None when there is none.

    What follows the symbol in the file's name begins with a digit or a small letter, so that `BRK` is not `BRK-B`.
    """
    if not _ENDPOINT.match(endpoint) or not _SYMBOL.match(symbol):
        return None
    shelf = folder / endpoint.lower()
    if not shelf.is_dir():
        return None
    wanted = re.compile(rf"{re.escape(symbol)}-[a-z0-9].*\.{extension}\Z")
    found = sorted(path for path in shelf.iterdir() if wanted.match(path.name))
    return found[-1].read_bytes() if found else None
