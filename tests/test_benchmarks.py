"""The benchmarks: that they still run, that contestants judge alike, and that the page is of the figures."""

from __future__ import annotations

import ast
import datetime as dt
import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

import warehouse_fixture
from market_pipeline.cli import app

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
DAY = dt.date(2026, 11, 19)
DATASETS = ("weekly_adjusted", "overview", "grouped_daily")


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))  # as `python benchmarks` has it


def test_peers_import_nothing_of_the_pipeline() -> None:
    files = sorted((FOLDER / "peers").glob("*.py"))
    assert {f.stem for f in files} >= set(DATASETS)
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
            )
            assert not any(name.startswith(("market_pipeline", "bronze", "silver")) for name in named), file.name


@pytest.mark.parametrize("dataset", DATASETS)
def test_contestants_keep_the_same_rows_of_spoiled_payloads(dataset: str, tmp_path: Path) -> None:
    bronze, ours, silver = (importlib.import_module(name) for name in ("bronze", "ours", "silver"))
    peer = importlib.import_module(f"peers.{dataset}")
    lake = tmp_path / "lake"
    bronze.prepare(lake, dataset, slices=2, symbols=3, rows=20, is_spoiled=True)
    found = {}
    for name, (work, _) in {"ours": ours.CONTESTANTS[dataset], **peer.CONTESTANTS}.items():
        if name != "floor":  # it has no rules
            (tmp_path / name).mkdir()
            work(lake, tmp_path / name)
            found[name] = silver.totals(dataset, tmp_path / name)
    silver.compare(found)
    # A spoiled payload loses six rows of the weekly feed or five of the market's, and one that is contradicted.
    rows = {"weekly_adjusted": 2 * (13 + 13 + 20), "overview": 2 * 1, "grouped_daily": 2 * 14}
    assert found["ours"]["rows"] == rows[dataset]
    with pytest.raises(SystemExit, match="another sum of rows"):
        silver.compare({**found, "ours": {**found["ours"], "rows": 1.0}})


def test_every_section_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tiny, in one command as `make bench` runs them; of what needs whole runs the commands are only understood."""
    (tmp_path / "demo").mkdir()
    warehouse_fixture.publish(tmp_path / "demo" / "warehouse")
    entry = _entry()
    known = [*entry.SECTIONS, *entry.ALONE]
    sections = [name for name in known if name not in ("weekly_adjusted", "grouped_daily")]  # overview is their like
    entry.main([*sections, "--quick", "--to", str(tmp_path), "--warehouse", str(tmp_path / "demo" / "warehouse")])
    listed = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert all(set(item) == {"name", "value", "unit", "how", "commit"} for item in listed)
    assert {entry.section_of(item) for item in listed} == set(sections)
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == entry.rendered(listed)
    assert set(capsys.readouterr().out.split()) <= set(entry.rendered(listed).split())
    again = [item for item in listed if entry.section_of(item) == "publish"]
    entry.write(tmp_path, again)
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == listed, "a section alone"
    for module in ("slices", "market_year"):
        function, bound, _ = app.parse_args(importlib.import_module(module).command(DAY, DAY), exit_on_error=False)
        assert function.__name__ == "backfill"
        assert bound.arguments["since"] == DAY


def test_the_page_is_of_the_figures() -> None:
    listed = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    entry = _entry()
    assert (FOLDER / "results.md").read_text(encoding="utf-8") == entry.rendered(listed), "make bench writes both"
    assert all(set(item) == {"name", "value", "unit", "how", "commit"} for item in listed)
    assert {entry.section_of(item) for item in listed} <= set(entry.TITLES)


def _entry() -> ModuleType:
    """`benchmarks/__main__.py` under a name of its own."""
    spec = importlib.util.spec_from_file_location("benchmarks_main", FOLDER / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
