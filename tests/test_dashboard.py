"""Each page on the fixture's warehouse, without a browser: what it says, and what it says when something is missing."""

from __future__ import annotations

import ast
import datetime as dt
import itertools
import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

import warehouse_fixture as fixture
from market_pipeline.warehouse import Warehouse

DASHBOARDS = Path(__file__).resolve().parents[1] / "dashboards"
PAGES = sorted(path.stem for path in (DASHBOARDS / "app_pages").glob("*.py"))
sys.path.insert(0, str(DASHBOARDS))  # as `streamlit run dashboards/app.py` does


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


def show(page: str, **query: str) -> AppTest:
    """Run one page as its address asks."""
    test = AppTest.from_file(str(DASHBOARDS / "app.py"), default_timeout=60)
    for name, value in query.items():
        test.query_params[name.replace("_", "-")] = value
    return test.switch_page(f"app_pages/{page}.py").run()


def texts(test: AppTest) -> str:
    """Everything a page says in words."""
    kinds = (test.title, test.subheader, test.markdown, test.caption, test.info, test.warning, test.error)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def one(warehouse: Warehouse, sql: str) -> dict[str, object]:
    """The only row of a query."""
    (row,) = warehouse.query(sql)[0].to_pylist()
    return row


def titles(test: AppTest) -> list[str]:
    """The cards' titles."""
    return [element.value for element in test.subheader]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_its_cards_and_no_error(warehouse: Warehouse, page: str) -> None:
    test = show(page)
    assert not test.exception
    assert not test.error
    assert titles(test)
    said = texts(test)
    assert "Generation 000001" in said
    assert "Profile **demo**" in said
    assert "SEAL (deferred)" in said, "a partial generation names who is missing"
    assert "Prices: week of 16 Nov, last session 20 Nov; 1 of 13 behind" in said


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_folder_names_the_commands_that_fill_it(folder: Path, page: str) -> None:
    test = show(page)
    assert not test.exception
    said = texts(test)
    assert "make demo" in said
    assert "market-pipeline run all" in said
    assert str(folder) in said


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("damage", ["torn", "missing", "no file"])
def test_a_damaged_warehouse_names_the_way_back(warehouse: Warehouse, page: str, damage: str) -> None:
    pointer = warehouse.folder / "CURRENT"
    if damage == "torn":
        pointer.write_text(pointer.read_text()[:40])
    elif damage == "missing":
        pointer.unlink()
    else:
        (warehouse.folder / "gold-000001.duckdb").unlink()
    test = show(page)
    assert not test.exception
    (error,) = test.error
    assert "`market-pipeline run gold`" in error.value
    if damage != "no file":
        assert "`market-pipeline rollback 000001`" in error.value


def test_a_torn_health_file_says_so_and_nothing_else_breaks(warehouse: Warehouse) -> None:
    (warehouse.folder / "health.json").write_text("{")
    test = show("trust")
    assert not test.exception
    assert "health.json" in test.error[0].value


def test_titles_carry_the_actual_numbers(warehouse: Warehouse) -> None:
    row = one(
        warehouse,
        """select close_usd, weekly_return_ratio as r from fact_adjusted_prices
           where symbol = 'KIWI' order by week_start_date desc limit 1""",
    )
    assert isinstance(row["r"], float)
    moved = f"{'up' if row['r'] > 0 else 'down'} {abs(row['r']) * 100:.1f} %"
    expected = f"KIWI closed at {row['close_usd']:,.2f} on 20 Nov 2026, {moved} on the week"
    assert titles(show("prices", symbol="KIWI"))[0] == expected
    top = one(
        warehouse,
        """select symbol, volatility_52w_ratio as v from fact_adjusted_prices
           where week_start_date = date '2026-11-16' order by v desc nulls last limit 1""",
    )
    assert isinstance(top["v"], float)
    assert any(
        title.startswith(f"{top['symbol']} is the most volatile at {top['v'] * 100:.1f} %")
        for title in titles(show("volatility"))
    )


def test_a_link_reproduces_the_controls(warehouse: Warehouse) -> None:
    test = show("prices", symbol="WREN", range="1Y", prices="Raw", price_view="Table")
    assert test.selectbox(key="symbol").value == "WREN"
    rows = test.dataframe[0].value
    assert 52 <= len(rows) <= 54
    everything = show("prices", symbol="WREN", range="All", price_view="Table").dataframe[0].value
    assert len(everything) == fixture.WEEKS


def test_adjusted_prices_have_no_jump_at_a_split_and_raw_ones_do(warehouse: Warehouse) -> None:
    worst = {}
    for mode in ("Adjusted", "Raw"):
        rows = show("prices", symbol="ORCA", range="All", prices=mode, price_view="Table").dataframe[0].value
        closes = list(rows["close_usd"])
        worst[mode] = min(after / before for before, after in itertools.pairwise(closes))
        assert [round(value, 1) for value in rows["split_ratio"] if value == value] == [2.0]  # noqa: PLR0124 - NaN
    assert worst["Raw"] < 0.6
    assert worst["Adjusted"] > 0.75


def test_the_as_of_date_shows_what_was_known_then(warehouse: Warehouse) -> None:
    now = show("prices", symbol="ORCA", price_view="Table").dataframe[0].value
    then = show("prices", symbol="ORCA", price_view="Table", known="2026-05-01")
    assert "as known by 2 May 2026 00:00 UTC" in texts(then)
    assert "on 1 May 2026" in titles(then)[0]
    rows = then.dataframe[0].value
    week = dt.date(2026, 3, 2)
    old = rows[rows["week_start_date"] == week]["close_usd"].iloc[0]
    new = now[now["week_start_date"] == week]["close_usd"].iloc[0]
    assert old == pytest.approx(new * 0.985)
    nothing = show("prices", symbol="ORCA", known="2019-01-01")
    assert "Nothing was known of ORCA" in texts(nothing)
    assert not nothing.exception


def test_as_of_now_equals_the_present(warehouse: Warehouse) -> None:
    """The as-of query computes the windows again; with today's knowledge they must be gold's own."""
    now = show("prices", symbol="TERN", range="All", price_view="Table").dataframe[0].value
    then = show("prices", symbol="TERN", range="All", price_view="Table", known="2026-11-21").dataframe[0].value
    for name in ("close_usd", "high_52w_usd", "weekly_return_ratio", "volatility_52w_ratio", "return_zscore_52w"):
        assert list(then[name].fillna(-9)) == pytest.approx(list(now[name].fillna(-9)), abs=1e-9), name


def test_delisted_instruments_keep_their_page(warehouse: Warehouse) -> None:
    assert "delisted, last session" in texts(show("prices", symbol="DODO"))


def test_lateness_is_counted_in_sessions_by_data_dates(warehouse: Warehouse) -> None:
    warehouse.write_health(replace(fixture.health("000001"), as_of="2026-12-05T00:00:00+00:00"))
    assert "last session 20 Nov, 10 sessions late" in texts(show("prices"))


def test_live_data_has_no_demo_banner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build_db: Path) -> None:
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "live")
    fixture.publish(tmp_path / "live" / "warehouse", build_db=build_db, profile="live")
    test = show("prices")
    assert not test.warning
    assert not test.exception


def test_a_failed_check_is_named_while_gold_is_still_served(warehouse: Warehouse) -> None:
    warehouse.write_health(fixture.health("000001", has_failed=True))
    test = show("trust")
    assert "1 blocking check failed: assert_return_matches_closes" in titles(test)
    assert "Generation 000001 is still served" in test.error[0].value
    assert "exit code 6" in test.error[0].value
    assert not show("prices").error


def test_trust_tells_what_is_missing_rejected_and_restated(warehouse: Warehouse) -> None:
    said = titles(show("trust"))
    assert "1 dataset incomplete: alpha_vantage/weekly_adjusted" in said
    assert "3 rows rejected: low_below_high, price_positive" in said
    assert "Values restated by providers: 4 correction" in said
    warehouse.publish(
        fixture.build(warehouse.folder.parent / "other.duckdb", seed=8),
        tables=fixture.TABLES,
        statements=fixture.STATEMENTS,
        newest={},
        is_partial=False,
        missing=[],
        inputs_sha256="",
        profile="demo",
        now=fixture.NOW,
    )
    warehouse.rollback()
    assert any("rolled back from 000002" in title for title in titles(show("trust")))


def test_a_new_generation_replaces_cached_answers(warehouse: Warehouse, tmp_path: Path) -> None:
    before = titles(show("prices", symbol="ORCA"))
    fixture.publish(warehouse.folder, build_db=fixture.build(tmp_path / "other.duckdb", seed=8))
    after = show("prices", symbol="ORCA")
    assert titles(after)[0] != before[0]
    assert "Generation 000002" in texts(after)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select close_us from fact_adjusted_prices", "close_usd"),
        ("select * from fact_adjusted_price", "fact_adjusted_prices"),
        ("copy dim_date to '/tmp/x.csv'", "read-only"),
        ("select * from read_text('/etc/passwd')", "disabled"),
        ("drop table dim_date", "read-only"),
    ],
)
def test_sql_that_can_not_run_is_explained(warehouse: Warehouse, sql: str, said: str) -> None:
    test = show("explorer", sql=sql)
    assert not test.exception
    assert test.error[0].value == "The query can't be answered"
    assert said in "\n".join(element.value for element in test.code)


def test_sql_is_cut_at_the_row_limit_and_says_so(warehouse: Warehouse) -> None:
    test = show("explorer", sql="select i from range(6000) as r (i)")
    assert re.match(r"5,000 rows in .* s, the first of more", titles(test)[0])
    assert len(test.dataframe[0].value) == 5000


def test_columns_are_described(warehouse: Warehouse) -> None:
    test = show("explorer", tab="Tables", table="fact_adjusted_prices")
    found = test.dataframe[0].value.set_index("column_name")["description"]
    assert found["close_usd"] == "Last raw close of the week, USD."


@pytest.mark.parametrize("page", PAGES)
def test_the_sql_behind_a_card_runs_as_shown(warehouse: Warehouse, page: str) -> None:
    shown = [element.value for element in show(page, known="2026-11-20").code if element.language == "sql"]
    assert shown
    for sql in shown:
        assert "$" not in re.sub(r"--.*", "", sql)
        warehouse.query(sql)


def test_downloads_hold_every_row(warehouse: Warehouse) -> None:
    import pyarrow.parquet as pq

    import cards

    rows, _ = warehouse.query("select * from fact_adjusted_prices")
    assert cards._csv(rows).count(b"\n") == rows.num_rows + 1
    assert pq.read_table(pa.BufferReader(cards._parquet(rows))).num_rows == rows.num_rows


def test_every_query_is_used_and_every_page_declares_itself() -> None:
    sources = "".join(path.read_text() for path in DASHBOARDS.rglob("*.py"))
    unused = [
        path.stem
        for path in (DASHBOARDS / "queries").glob("*.sql")
        if not re.search(rf'answer\(\s*"{path.stem}"', sources)
    ]
    assert unused == []
    for path in (DASHBOARDS / "app_pages").glob("*.py"):
        assert re.search(r"^TITLE = .*\nICON = .*\nORDER = \d+$", path.read_text(), re.MULTILINE), path.name


def test_pages_import_neither_pandas_nor_our_inner_modules() -> None:
    for path in DASHBOARDS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            for name in names:
                assert not name.startswith("pandas"), path.name
                if name.startswith("market_pipeline"):
                    assert name in ("market_pipeline.warehouse", "market_pipeline.settings"), path.name


def test_colours_are_readable_on_both_themes() -> None:
    import charts

    theme = tomllib.loads((DASHBOARDS / ".streamlit" / "config.toml").read_text())["theme"]
    for name, palette in (("light", charts.LIGHT), ("dark", charts.DARK)):
        assert palette.background == theme[name]["backgroundColor"]
        assert list(palette.series) == theme[name]["chartCategoricalColors"]
        for color in (palette.up, palette.down, palette.text, palette.muted, palette.line, palette.accent):
            assert charts.contrast(color, palette.background) >= 5, (name, color)
    assert (charts.DARK.up, charts.DARK.down) == ("#56B4E9", "#E69F00")
    assert (charts.LIGHT.up, charts.LIGHT.down) == ("#0072B2", "#C2410C")
    assert charts.contrast("#FFFFFF", "#000000") == pytest.approx(21)


def test_long_series_are_thinned_and_it_is_said() -> None:
    import charts

    long = pa.table({"i": range(50_000), "v": [float(i % 97) for i in range(50_000)]})
    kept, note = charts.thin(long, "v")
    assert kept.num_rows == charts.MAX_POINTS
    assert "20,000 of 50,000 points" in note
    assert kept["i"][0].as_py() == 0
    assert kept["i"][-1].as_py() == 49_999
    assert charts.thin(long.slice(0, 100), "v") == (long.slice(0, 100), "")


def test_the_server_is_configured_for_one_machine_only() -> None:
    config = tomllib.loads((DASHBOARDS / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["enableXsrfProtection"] is True
    assert config["server"]["headless"] is True
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"
