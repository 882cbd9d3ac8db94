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


@pytest.fixture(scope="module")
def shared_home(build_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one partial generation, published once for a file of tests."""
    home = tmp_path_factory.mktemp("home")
    fixture.publish(home / "demo" / "warehouse", build_db=build_db, is_partial=True)
    return home


@pytest.fixture
def market(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """Its warehouse, for tests that change nothing."""
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(shared_home))
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "demo")
    return Warehouse(shared_home / "demo" / "warehouse")
