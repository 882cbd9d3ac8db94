"""dbt as the tests of gold run it: on a copy of the project, in a folder with its databases."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from market_pipeline import seeding
from market_pipeline.dbt_project import DbtProject
from market_pipeline.store import FolderStore


def run_dbt(project: Path, folder: Path, *arguments: str, work: str = "build") -> dict[str, dict[str, Any]]:
    """Run dbt on the lake in `folder` and return its results by node name; its databases are in `folder`/`work`. The
    exit code is the caller's business."""
    (folder / work).mkdir(exist_ok=True)
    if not (folder / work / seeding.BEFORE).exists():
        seeding.begin(folder / work, FolderStore(folder / "lake"))
    results = folder / "target" / "run_results.json"
    results.unlink(missing_ok=True)
    dbt = DbtProject(project, folder / "target", str(folder / "lake"), os.environ)
    done = dbt.run(*arguments, folder=folder / work)
    assert results.is_file(), done.stdout[-4000:]
    assert "eprecat" not in done.stdout, done.stdout[-4000:]
    found = {}
    for item in json.loads(results.read_text(encoding="utf-8"))["results"]:
        kind, _, *name = item["unique_id"].split(".")
        found[".".join(name) if kind == "unit_test" else name[0]] = item
    return found
