"""A warehouse for the tests of the pages, which take it by `pytest_plugins = ("dashboard_fixtures",)`."""

from __future__ import annotations

from pathlib import Path

import pytest

import warehouse_fixture as fixture
from market_pipeline.warehouse import Warehouse


@pytest.fixture(scope="session")
def build_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private build file with every gold table."""
    return fixture.build(tmp_path_factory.mktemp("build") / "build.duckdb")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The warehouse folder that the dashboard's settings name; empty."""
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "demo")
    return tmp_path / "demo" / "warehouse"


@pytest.fixture
def warehouse(folder: Path, build_db: Path) -> Warehouse:
    """A warehouse with one partial generation."""
    fixture.publish(folder, build_db=build_db, is_partial=True)
    return Warehouse(folder)
