"""Generated files follow the contracts and the feeds: committed ones are fresh, and a new provider costs one file."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml  # type: ignore[import-untyped]

from market_pipeline import catalog, contracts, layout, providers, reference, universe
from market_pipeline.feed import Provider
from market_pipeline.normalize import QUARANTINE
from market_pipeline.partition import Grain
from market_pipeline.store import FolderStore

REPOSITORY = Path(__file__).resolve().parents[1]
MARTS = sorted((REPOSITORY / "dbt" / "models" / "marts").glob("*.sql"))
NOW = dt.datetime(2026, 11, 20, 22, tzinfo=dt.UTC)
MADE_UP = '''
"""A provider that a test made up."""

import dataclasses

from market_pipeline.providers import alpha_vantage

BARS = dataclasses.replace(alpha_vantage.PROVIDER.feeds[0], dataset="bars")
PROVIDER = dataclasses.replace(alpha_vantage.PROVIDER, name="made_up", feeds=(BARS,))
'''


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the dbt project with an empty folder for documents beside it."""
    shutil.copytree(REPOSITORY / "dbt", tmp_path / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    return tmp_path / "dbt"


@pytest.fixture
def two_providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Provider]:
    """The project's providers after one more file in their folder."""
    folder = tmp_path / "providers"
    folder.mkdir()
    (folder / "made_up.py").write_text(MADE_UP, encoding="utf-8")
    monkeypatch.setattr(providers, "__path__", [*providers.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, "market_pipeline.providers.made_up", raising=False)
    return providers.load()


def model(path: Path) -> Mapping[str, Any]:
    """The one model that a .yml describes."""
    found: Mapping[str, Any]
    (found,) = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    return found


def test_committed_files_are_fresh() -> None:
    stale = catalog.stale(providers.load(), REPOSITORY / "dbt", REPOSITORY / "docs")
    assert not stale, f"run: {catalog.COMMAND}"


def test_a_changed_a_missing_and_an_orphaned_file_are_stale_until_written(copy: Path) -> None:
    loaded, docs = providers.load(), copy.parent / "docs"
    catalog.write(loaded, copy, docs)
    assert catalog.stale(loaded, copy, docs) == []
    staging = copy / "models" / "staging"
    (staging / "stg_build.sql").write_text("select 1", encoding="utf-8")
    (staging / "stg_symbols.yml").unlink()
    (staging / "stg_forgotten.sql").write_text("select 1", encoding="utf-8")
    described = copy / "models" / "marts" / "dim_source.yml"
    described.write_text(described.read_text("utf-8").replace("How late it is.", "How late."), encoding="utf-8")
    expected = [
        staging / "stg_build.sql",
        staging / "stg_forgotten.sql",
        staging / "stg_symbols.yml",
        docs / "data-dictionary.md",
    ]
    assert catalog.stale(loaded, copy, docs) == sorted(expected)
    assert catalog.write(loaded, copy, docs) == sorted(expected)
    assert catalog.stale(loaded, copy, docs) == []


def test_another_provider_costs_one_file(copy: Path, two_providers: Mapping[str, Provider]) -> None:
    assert set(two_providers) == {*providers.load(), "made_up"}
    changed = catalog.write(two_providers, copy, copy.parent / "docs")
    staging = copy / "models" / "staging"
    assert {path.name for path in changed} == {"sources.yml", "stg_bars_weekly_adjusted.sql", "data-dictionary.md"}
    sources = yaml.safe_load((staging / "sources.yml").read_text(encoding="utf-8"))["sources"]
    (silver,) = (source for source in sources if source["name"] == "silver")
    (table,) = (t for t in silver["tables"] if t["name"] == "made_up__bars")
    assert table["config"]["meta"]["dagster"]["asset_key"] == ["silver", "made_up", "bars"]
    empty = layout.silver_empty("bars_weekly_adjusted", "made_up", "bars")
    assert layout.table_of(empty) == (
        "silver",
        "made_up__bars",
    )
    sql = (staging / "stg_bars_weekly_adjusted.sql").read_text(encoding="utf-8")
    assert re.findall(r"source\('silver', '(\w+)'\)", sql) == ["alpha_vantage__weekly_adjusted", "made_up__bars"]
    assert sql.count("union all") == 1


def test_feeds_of_one_provider_may_share_a_contract(copy: Path) -> None:
    sql = (copy / "models" / "staging" / "stg_bars_daily.sql").read_text(encoding="utf-8")
    tables = re.findall(r"source\('silver', '(\w+)'\)", sql)
    assert {"fmp__eod_raw", "fmp__eod_split_adjusted", "polygon__grouped_daily"} <= set(tables)
    assert sql.count("union all") == len(tables) - 1


def test_a_contract_without_a_feed_has_a_table_without_rows(copy: Path) -> None:
    alone = {name: provider for name, provider in providers.load().items() if name == "alpha_vantage"}
    catalog.write(alone, copy, copy.parent / "docs")
    sql = (copy / "models" / "staging" / "stg_tickers.sql").read_text(encoding="utf-8")
    assert "cast(null as varchar) as identity" in sql
    assert "where one = 0" in sql


def is_sliced(name: str) -> bool:
    """True when a feed of the contract has a file per session."""
    return any(f.grain is Grain.SESSION for p in providers.load().values() for f in p.feeds if f.contract == name)


@pytest.mark.parametrize("name", contracts.names())
def test_staging_has_the_contracts_columns_and_rules(name: str) -> None:
    staged = model(REPOSITORY / "dbt" / "models" / "staging" / f"stg_{name}.yml")
    schema = contracts.contract(name)
    assert [column["name"] for column in staged["columns"]] == schema.column_names()
    assert all(column["description"] for column in staged["columns"])
    if is_sliced(name):  # too many files to read for a test; normalize has judged each row by the same contract
        assert (staged["config"]["materialized"], "data_tests" in staged) == ("view", False)
        return
    tests = {kind: body["arguments"] for test in staged["data_tests"] for kind, body in test.items()}
    assert tests["unique_key"]["columns"] == ["provider", "dataset", *schema.primary_key()]
    not_null = {rule for rule in tests["holds"]["rules"] if rule.endswith("_not_null")}
    assert not_null == {f"{c}_not_null" for c, column in schema.columns().items() if not column.nullable}


def test_bounds_of_a_contract_become_rules() -> None:
    staged = model(REPOSITORY / "dbt" / "models" / "staging" / "stg_bars_weekly_adjusted.yml")
    rules = staged["data_tests"][1]["holds"]["arguments"]["rules"]
    assert rules["open_usd_min"] == "open_usd >= 1e-06"
    assert rules["volume_shares_min"] == "volume_shares >= 0"


def test_reference_tables_are_described_as_they_are_written(tmp_path: Path) -> None:
    known = universe.load(REPOSITORY / "dbt" / "seeds", is_demo=False)
    frames = reference.tables(FolderStore(tmp_path), providers.load(), known, now=NOW, profile="test")
    frames["quarantine"] = pl.DataFrame(schema=QUARANTINE)
    sql_types = {
        "varchar": pl.String(),
        "date": pl.Date(),
        "boolean": pl.Boolean(),
        "bigint": pl.Int64(),
        "double": pl.Float64(),
        "timestamp with time zone": pl.Datetime("us", "UTC"),
    }
    for name, frame in frames.items():
        described = model(REPOSITORY / "dbt" / "models" / "staging" / f"stg_{name}.yml")["columns"]
        assert {c["name"]: sql_types[c["data_type"]] for c in described} == dict(frame.schema), name


@pytest.mark.parametrize("sql", MARTS, ids=lambda path: path.stem)
def test_every_mart_is_described_whole(sql: Path) -> None:
    described = model(sql.with_suffix(".yml"))
    assert described["name"] == sql.stem
    assert described["description"].startswith("One "), "the grain is the first sentence"
    assert described["config"]["group"].startswith("gold_")
    assert all(column["description"] and column["data_type"] for column in described["columns"])
    assert any("unique_key" in test for test in described["data_tests"])
    text = (REPOSITORY / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    section = text.split(f"\n### {sql.stem}\n")[1].split("\n### ")[0]
    assert all(f"| `{column['name']}` |" in section for column in described["columns"])


def test_published_view_has_bare_names(copy: Path) -> None:
    published = (REPOSITORY / "dbt" / "published" / "views" / "dim_stock.sql").read_text(encoding="utf-8")
    assert "create or replace view dim_stock as" in published
    assert "select * from dim_instrument\n" in published
    assert "{" not in published
    view = copy / "models" / "marts" / "dim_stock.sql"
    view.write_text(view.read_text("utf-8") + "\n-- {{ var('x') }}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"dim_stock\.sql is published as a view"):
        catalog.generated(providers.load(), copy, copy.parent / "docs")


def test_diagram_draws_the_tested_relationships() -> None:
    text = (REPOSITORY / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert "    dim_date ||--o{ fact_adjusted_prices : date_key" in text
    assert "    dim_instrument ||--o{ fact_price_version : instrument_key" in text
