"""The pages that there are, by what their files say."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parent / "app_pages"


@functools.cache
def declared() -> list[tuple[Path, dict[str, Any]]]:
    """What each file says of its page, in order; read once, as a server's code is."""
    found = []
    for path in PAGES.glob("*.py"):
        values = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in ("TITLE", "ICON", "ORDER")
        }
        found.append((path, values))
    return sorted(found, key=lambda item: item[1]["ORDER"])
