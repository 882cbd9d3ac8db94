"""Each page on the fixture's warehouse, without a browser: what it says, and what it says when something is missing.

Over 300 lines because each test is about every page.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml

import warehouse_fixture as fixture
from dashboard_pages import DASHBOARDS, PAGES, one, show, texts, titles, variant
from market_pipeline.warehouse import Warehouse

pytest_plugins = ("dashboard_fixtures",)

LAST = fixture.LAST_SESSION


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_its_cards_and_no_error(market: Warehouse, page: str) -> None:
    test = show(page)
    assert not test.exception
    assert not test.error
    assert titles(test)
    said = texts(test)
    assert "Generation 000001" in said
    assert "Profile **demo**" in said
    assert "SEAL (deferred)" in said, "a partial generation names who is missing"
    assert "Prices: 20 Nov close, 1 of 13 behind · week of 16 Nov, last session 20 Nov, 1 of 13 behind" in said


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


def test_the_ranking_names_the_most_volatile(market: Warehouse) -> None:
    top = one(
        market,
        """select symbol, volatility_52w_ratio as v from fact_adjusted_prices
           where week_start_date = date '2026-11-16' order by v desc nulls last limit 1""",
    )
    assert isinstance(top["v"], float)
    assert any(
        title.startswith(f"{top['symbol']} is the most volatile at {top['v'] * 100:.1f} %")
        for title in titles(show("volatility"))
    )


def test_lateness_is_counted_in_sessions_by_data_dates(warehouse: Warehouse) -> None:
    warehouse.write_health(replace(fixture.health("000001"), as_of="2026-12-05T00:00:00+00:00"))
    said = texts(show("prices"))
    assert "Prices: 20 Nov close, 10 sessions late, 1 of 13 behind" in said
    assert "last session 20 Nov, 10 sessions late" in said
    feeds = (
        "alpha_vantage/weekly_adjusted by 10 sessions, fmp/eod_raw by 10 sessions, polygon/grouped_daily by 10 sessions"
    )
    assert f"3 feeds late: {feeds}; 3 instrument-feeds behind the others" in titles(show("trust"))


def test_live_data_has_no_demo_banner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build_db: Path) -> None:
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "live")
    fixture.publish(tmp_path / "live" / "warehouse", build_db=build_db, profile="live")
    test = show("prices")
    assert not test.warning
    assert not test.exception


@pytest.mark.parametrize("page", PAGES)
def test_pages_live_on_daily_feeds_alone(folder: Path, build_db: Path, page: str) -> None:
    market = variant(
        build_db,
        folder,
        """delete from fact_adjusted_prices; delete from fact_price_version; delete from mart_restatement;
           delete from mart_coverage where provider = 'alpha_vantage';""",
    )
    fixture.publish(folder, build_db=market)
    test = show(page)
    assert not test.exception
    assert not test.error
    said = texts(test)
    assert "Prices: 20 Nov close, 1 of 13 behind" in said
    assert "week of" not in said.split("Generation")[0]
    if page == "volatility":
        assert any("is the most volatile at" in title for title in titles(test))
    if page == "sectors":
        assert any("changed hands" in title for title in titles(test))
    if page == "compare":
        assert any("move together most" in title for title in titles(test))


@pytest.mark.parametrize("page", PAGES)
def test_pages_live_on_the_weekly_feed_alone(folder: Path, build_db: Path, page: str) -> None:
    tables = [name for name in fixture.TABLES if re.match("fact_daily|fact_corporate|agg_stock|mart_(ad|pr|rec)", name)]
    assert len(tables) == 8
    market = variant(
        build_db,
        folder,
        "".join(f"delete from {name};" for name in tables)
        + """delete from mart_restatement where cadence = 'day';
             delete from mart_coverage where provider <> 'alpha_vantage'""",
    )
    fixture.publish(folder, build_db=market)
    test = show(page)
    assert not test.exception
    assert not test.error
    said = texts(test)
    assert "Prices: week of 16 Nov, last session 20 Nov, 1 of 13 behind" in said
    if page == "prices":
        assert "has no daily bars: these are the weekly ones of the weekly feed" in said
    if page == "trust":
        assert "No session has bars of two providers" in titles(test)
        assert "No vendor's adjusted close to compare with" in titles(test)
        assert "a second daily feed gives one" in said


@pytest.mark.parametrize("page", ["today", "prices", "compare", "sectors", "volatility"])
def test_gold_without_prices_names_the_command(folder: Path, build_db: Path, page: str) -> None:
    nothing = "".join(f"delete from {name};" for name in fixture.TABLES if name != "dim_date")
    fixture.publish(folder, build_db=variant(build_db, folder, nothing))
    test = show(page)
    assert not test.exception
    said = texts(test)
    assert "Prices: none yet" in said
    assert "Gold holds no prices. `market-pipeline run all` fetches them." in said


def test_gold_of_an_earlier_version_names_the_command(folder: Path, build_db: Path) -> None:
    source = variant(build_db, folder, "select 1")
    Warehouse(folder).publish(
        source,
        tables=[name for name in fixture.TABLES if "daily" not in name],
        newest={},
        is_partial=False,
        missing=[],
        inputs_sha256="",
        profile="demo",
        now=fixture.NOW,
    )
    test = show("prices")
    assert not test.exception
    assert "Generation 000001 was built by another version of the pipeline" in test.error[0].value
    assert "`market-pipeline run gold`" in test.error[0].value


def test_volatility_is_of_days_where_there_are_any(market: Warehouse) -> None:
    gold = one(
        market,
        """select volatility_20d_ratio as v from fact_daily_price
           where symbol = 'ORCA' order by session_date desc limit 1""",
    )["v"]
    assert isinstance(gold, float)
    assert titles(show("volatility", symbol="ORCA"))[0].startswith(
        f"ORCA moved at {gold * 100:.1f} % a year over the last 20 days"
    )
    assert "a year over the last 4 weeks" in titles(show("volatility", symbol="DODO"))[0]


def test_the_fixture_has_the_columns_of_the_models(market: Warehouse) -> None:
    """Otherwise the pages would be tested against a market that gold never publishes."""
    models = Path(__file__).resolve().parents[1] / "dbt" / "models" / "marts"
    contracts = {
        model["name"]: {column["name"] for column in model["columns"]}
        for path in models.glob("*.yml")
        for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    }
    rows, _ = market.query(
        """select table_name, list(column_name) as columns from duckdb_columns()
           where database_name = current_database() and not internal group by all"""
    )
    found = {row["table_name"]: set(row["columns"]) for row in rows.to_pylist()}
    assert set(fixture.TABLES) <= set(found)
    for name, columns in found.items():
        assert columns == contracts[name], name


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
def test_sql_that_can_not_run_is_explained(market: Warehouse, sql: str, said: str) -> None:
    test = show("explorer", sql=sql)
    assert not test.exception
    assert test.error[0].value == "The query can't be answered"
    assert said in "\n".join(element.value for element in test.code)


def test_sql_is_cut_at_the_row_limit_and_says_so(market: Warehouse) -> None:
    test = show("explorer", sql="select i from range(6000) as r (i)")
    assert re.match(r"5,000 rows in .* s, the first of more", titles(test)[0])
    assert len(test.dataframe[0].value) == 5000


def test_sql_is_cut_at_the_byte_limit_and_says_so(market: Warehouse) -> None:
    test = show("explorer", sql="select i, repeat('x', 1000000) as long from range(40) as r (i)")
    assert not test.exception
    assert re.match(r"16 rows in .* s, the first of more", titles(test)[0])
    shown = test.dataframe[0].value
    assert len(shown) == 16
    assert {len(text) for text in shown["long"]} == {2001}
    said = " ".join(element.value for element in test.caption)
    assert "16 MB; `market-pipeline query` has no such limit" in said
    assert "the downloads have them whole" in said


def test_a_row_beyond_the_byte_limit_is_refused(market: Warehouse) -> None:
    test = show("explorer", sql="select repeat('x', 20000000) as long")
    assert test.error[0].value == "The query can't be answered"
    assert "One row has over 16 MB" in test.code[0].value


def test_columns_are_described(market: Warehouse) -> None:
    test = show("explorer", tab="Tables", table="fact_adjusted_prices")
    found = test.dataframe[0].value.set_index("column_name")["description"]
    assert found["close_usd"] == "Last raw close of the week, USD."


@pytest.mark.parametrize("page", PAGES)
def test_the_sql_behind_a_card_runs_as_shown(market: Warehouse, page: str) -> None:
    shown = {
        element.value
        for asked in (
            {},
            {"known": "2026-11-20"},
            {"symbol": "DODO", "symbols": ["DODO", "ELKO"], "scope": "Whole market"},
            {"bars": "Weekly", "known": "2026-11-20"},
        )
        for element in show(page, **asked).code
        if element.language == "sql"
    }
    assert shown
    for sql in shown:
        assert "$" not in re.sub(r"--.*", "", sql)
        market.query(sql)


@pytest.mark.parametrize("page", PAGES)
def test_downloads_hold_every_row(market: Warehouse, page: str) -> None:
    """Of each card, whatever its columns are made of."""
    import pyarrow.csv
    import pyarrow.parquet

    import cards

    held: list[pa.Table] = []
    menu = cards._menu

    def seen(key: str, answer: Any) -> None:
        held.append(answer.table)
        menu(key, answer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cards, "_menu", seen)
        assert not show(page).exception
    assert held
    for rows in held:
        found = pyarrow.csv.read_csv(pa.BufferReader(cards._csv(rows))) if rows.num_columns else rows
        assert (found.num_rows, found.column_names) == (rows.num_rows, rows.column_names)
        assert pyarrow.parquet.read_table(pa.BufferReader(cards._parquet(rows))).num_rows == rows.num_rows


def test_every_query_is_used_and_every_page_declares_itself() -> None:
    sources = "".join(path.read_text() for path in DASHBOARDS.rglob("*.py"))
    unused = [
        path.stem
        for path in (DASHBOARDS / "queries").glob("*.sql")
        if not re.search(rf'(answer\(\s*|over=|return |else |": )"{path.stem}"', sources)
    ]
    assert unused == []
    for path in (DASHBOARDS / "app_pages").glob("*.py"):
        assert re.search(r"^TITLE = .*\nICON = .*\nORDER = \d+$", path.read_text(), re.MULTILINE), path.name


def test_pages_import_neither_pandas_nor_our_inner_modules() -> None:
    for path in DASHBOARDS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                is_package = node.module == "market_pipeline"
                names += [f"{node.module}.{alias.name}" for alias in node.names] if is_package else [node.module]
            for name in names:
                assert not name.startswith("pandas"), path.name
                if name.startswith("market_pipeline"):
                    assert name.removeprefix("market_pipeline.") in ("warehouse", "guests", "settings", "logs"), (
                        path.name
                    )


def test_colours_are_readable_on_both_themes() -> None:
    import charts
    from charts.sectors import _shade

    theme = tomllib.loads((DASHBOARDS / ".streamlit" / "config.toml").read_text())["theme"]
    for name, palette in (("light", charts.LIGHT), ("dark", charts.DARK)):
        assert palette.background == theme[name]["backgroundColor"]
        assert list(palette.series) == theme[name]["chartCategoricalColors"]
        marks = (palette.up, palette.down, palette.text, palette.muted, palette.line, palette.accent, *palette.series)
        words = [theme[name][key] for key in ("textColor", "linkColor", "blueColor", "orangeColor", "primaryColor")]
        for color in (*marks, *words):
            assert charts.contrast(color, palette.background) >= 5, (name, color)
        assert charts.contrast(theme[name]["textColor"], theme[name]["secondaryBackgroundColor"]) >= 5
        for step in range(-100, 101):
            fill, ink = _shade(step / 1000, palette, strongest=0.06)
            assert charts.contrast(ink, fill) >= 4.5, (name, step)
    assert (charts.DARK.up, charts.DARK.down) == ("#56B4E9", "#E69F00")
    assert (charts.LIGHT.up, charts.LIGHT.down) == ("#0072B2", "#C2410C")
    assert charts.contrast("#FFFFFF", "#000000") == pytest.approx(21)


def test_no_line_is_told_by_its_colour_alone() -> None:
    import charts

    table = pa.table({"day": [LAST], **{f"S{number}": [100.0 + number] for number in range(8)}})
    spec = charts.indexed(table, charts.DARK)
    looks = [(line["itemStyle"]["color"], line["lineStyle"]["type"]) for line in spec["series"]]
    assert len(set(looks)) == 8
    assert all(line["endLabel"]["show"] for line in spec["series"]), "the name stands at the line's end"
    pairs = [
        {"symbol": a, "other_symbol": b, "correlation": value}
        for a, b, value in (("A", "A", 1.0), ("A", "B", -0.4), ("B", "A", -0.4), ("B", "B", None))
    ]
    cells = charts.correlations(pairs, charts.LIGHT)["series"][0]["data"]
    assert [cell["label"]["formatter"] for cell in cells] == ["+1.00", "−0.40", "−0.40", "—"]  # noqa: RUF001
    assert ["decal" in cell["itemStyle"] for cell in cells] == [False, True, True, False]
    for cell in cells:
        assert charts.contrast(cell["label"]["color"], cell["itemStyle"]["color"]) >= 4.5


def test_the_server_is_configured_for_one_machine_only() -> None:
    config = tomllib.loads((DASHBOARDS / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["enableXsrfProtection"] is True
    assert config["server"]["headless"] is True
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"


@pytest.mark.parametrize("page", PAGES)
def test_every_card_can_be_taken_away_and_linked_to(market: Warehouse, page: str) -> None:
    """A title, two downloads, a link, and the SQL behind it or where else it is from."""
    test = show(page)
    anchors = [element.proto.anchor for element in test.subheader]
    assert all(anchors)
    assert len(set(anchors)) == len(anchors)
    links = [
        element.value.split("#")[-1] for element in test.code if "#" in element.value and element.language != "sql"
    ]
    assert links == anchors
    buttons = [element.proto.label for element in test.get("download_button")]
    assert buttons == ["CSV", "Parquet"] * len(anchors)
    sources = [element for element in test.code if element.language == "sql"]
    elsewhere = [element for element in test.caption if element.value.startswith("No SQL is behind it: ")]
    assert len(sources) + len(elsewhere) == len(anchors)


def test_a_query_over_anothers_rows_is_one_that_runs_alone() -> None:
    import warehouse as door

    source = "-- One row per bar.\nselect 1 as a\n"
    for body, expected in (
        ("-- What it is.\nselect * from bars\n", "-- What it is.\nwith bars as not materialized ("),
        ("-- What it is.\nwith x as (select * from bars)\n\nselect * from x", "),\n\nx as (select * from bars)"),
    ):
        sql = door.joined(body, bars=source)
        assert expected in sql
        assert duckdb.sql(sql).fetchall() == [(1,)]
