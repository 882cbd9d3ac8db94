"""What dbt has read of a project is read once: each profile begins with it, and a changed project is read anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import orjson
import pytest

from market_pipeline.dbt_project import DbtProject
from market_pipeline.errors import ConfigurationError
from market_pipeline.settings import REPOSITORY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of two models that nobody has read yet."""
    folder = tmp_path / "dbt"
    (folder / "models").mkdir(parents=True)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(REPOSITORY / "dbt" / name, folder)
    (folder / "models" / "one.sql").write_text("select 1 as n\n")
    (folder / "models" / "two.sql").write_text("select n + 1 as n from {{ ref('one') }}\n")
    return folder


def project(folder: Path, name: str) -> DbtProject:
    return DbtProject(folder, folder.parent / name, str(folder.parent / "lake"), os.environ)


def models(found: DbtProject) -> set[str]:
    return {node["name"] for node in orjson.loads(found.parse().read_bytes())["nodes"].values()}


def no_dbt(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("dbt was started")

    monkeypatch.setattr("market_pipeline.dbt_project.subprocess.Popen", refuse)


def test_the_second_profile_begins_with_what_the_first_one_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = project(folder, "first"), project(folder, "second")
    assert models(first) == {"one", "two"}
    (folder.parent / "work").mkdir()
    told = second.run("--log-level", "debug", "ls", folder=folder.parent / "work").stdout
    assert "Nothing changed, skipping partial parsing" in told
    assert "market_pipeline.two" in told
    no_dbt(monkeypatch)
    shutil.rmtree(first.target)
    assert models(first) == models(project(folder, "third")) == {"one", "two"}


def test_a_changed_project_is_read_anew_and_old_readings_go(folder: Path) -> None:
    first = project(folder, "first")
    models(first)
    (folder / "models" / "three.sql").write_text("select 3 as n\n")
    assert models(first) == {"one", "two", "three"}
    assert models(project(folder, "second")) == {"one", "two", "three"}
    assert len(list((folder / "target" / "readings").iterdir())) == 1


def test_a_broken_project_leaves_no_reading(folder: Path) -> None:
    (folder / "models" / "two.sql").write_text("select n from {{ ref('nobody') }}\n")
    with pytest.raises(ConfigurationError, match=r"can't parse dbt/.*nobody"):
        project(folder, "first").parse()
    assert not (folder / "target").exists()
    (folder / "models" / "two.sql").write_text("select n from {{ ref('one') }}\n")
    assert models(project(folder, "first")) == {"one", "two"}


def test_a_project_that_cannot_be_written_is_read_all_the_same(folder: Path) -> None:
    (folder / "target").write_text("a file where the readings would go")
    assert models(project(folder, "first")) == {"one", "two"}
