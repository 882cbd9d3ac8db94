"""Gold against an independent computation: one real dbt build over a lake of Parquet files, no part of it mocked."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

import gold_lake as lake
import gold_oracle as oracle
from gold_dbt import run_dbt
from market_pipeline import catalog, providers, seeding

REPOSITORY = Path(__file__).resolve().parents[1]
CAPTURED = REPOSITORY.parent / "shared" / "payloads" / "alpha_vantage" / "time_series_weekly_adjusted"
IBM_FILE = CAPTURED / "IBM-full-1999-2026.csv"
TOLERANCE = 1e-9

# What is done to a finished build, and the test that has to fail on it.
DAMAGE = (
    ("insert into fact_adjusted_prices select * from fact_adjusted_prices limit 1", "fact_adjusted_prices_key"),
    ("update fact_adjusted_prices set instrument_key = 'x' where symbol = 'PLAIN'", "fact_adjusted_prices_parents"),
    (
        "update fact_adjusted_prices set weekly_return_ratio = 0.5 where symbol = 'YOUNG'",
        "fact_adjusted_prices_rules",
    ),
    ("update fact_price_version set high_usd = low_usd / 2 where symbol = 'FUND'", "fact_price_version_rules"),
    ("update agg_sector_performance set dollar_volume_share_ratio = 0.9", "agg_sector_performance_rules"),
    ("update dim_instrument set valid_to = null", "dim_instrument_rules"),
    ("update mart_restatement set cause = 'gossip'", "mart_restatement_rules"),
    ("delete from fact_adjusted_prices where symbol = 'NEWN'", "no_price_is_lost"),
    ("update agg_sector_performance set instrument_count = 99", "sectors_hold_every_share_once"),
    ("delete from dim_source", "fact_adjusted_prices_parents"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Build:
    """One finished build: its database with the published views and macros, dbt's results, the oracle's versions."""

    folder: Path
    project: Path
    connection: duckdb.DuckDBPyConnection
    results: Mapping[str, Mapping[str, Any]]
    versions: list[oracle.Version]

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Rows of a query as mappings."""
        cursor = self.connection.execute(sql, list(parameters))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def second_provider() -> Mapping[str, Any]:
    """The providers of the project and a made-up one that offers the same contracts."""
    loaded = dict(providers.load())
    loaded[lake.OTHER] = dataclasses.replace(loaded[lake.MAIN], name=lake.OTHER)
    return loaded


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """Everything once: the project with a second provider, a lake with every corner, IBM's captured history if here."""
    folder = tmp_path_factory.mktemp("gold")
    project = folder / "dbt"
    shutil.copytree(REPOSITORY / "dbt", project, ignore=shutil.ignore_patterns("target", "logs"))
    loaded = second_provider()
    catalog.write(loaded, project, folder / "docs")
    bars = lake.silver_bars() + (lake.captured_bars(IBM_FILE) if IBM_FILE.is_file() else [])
    lake.write(folder / "lake", bars, loaded)
    results = run_dbt(project, folder, "build")
    with duckdb.connect(str(folder / "build" / seeding.BUILD)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for file in sorted((project / "published").rglob("*.sql"), reverse=True):
            connection.execute(file.read_text(encoding="utf-8"))
        rejected = frozenset({("rejected", lake.SLICES[3], lake.monday(30))})
        versions = oracle.versions(bars, rejected=rejected, closes_at=lake.closes_at)
        yield Build(folder, project, connection, results, versions)


def is_close(ours: float | None, theirs: float | None) -> bool:
    """Equal, both missing, or within the tolerance."""
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=1e-12)


def assert_same(
    ours: Iterable[Mapping[str, Any]], theirs: Iterable[Mapping[str, Any]], *, key: tuple[str, ...]
) -> None:
    """The same keys, floats within the tolerance, everything else equal; columns are those of the oracle."""
    left = {tuple(row[name] for name in key): row for row in ours}
    right = {tuple(row[name] for name in key): row for row in theirs}
    assert left.keys() == right.keys()
    for name, row in right.items():
        for column, value in row.items():
            found = left[name][column]
            same = is_close(found, value) if isinstance(value, float) or isinstance(found, float) else found == value
            assert same, (name, column, found, value)


def expected_prices(build: Build) -> list[dict[str, Any]]:
    """The oracle's rows of `fact_adjusted_prices`, with their sector."""
    chosen = oracle.winners(build.versions, lake.PRIORITY)
    rows: list[dict[str, Any]] = []
    for name in sorted({version.instrument_id for version in chosen}):
        rows += oracle.weekly_measures([version for version in chosen if version.instrument_id == name])
    oracle.add_benchmarks(rows, lake.sector_of)
    return rows


def test_build_passes_and_names_what_is_unusual(build: Build) -> None:
    bad = {name: item["message"] for name, item in build.results.items() if item["status"] not in ("success", "pass")}
    assert set(bad) == {"mart_coverage_newest_slice_is_whole"}  # the delisted one was asked for and failed
    assert build.results["mart_coverage_newest_slice_is_whole"]["status"] == "warn"
    assert sum(item["unique_id"].startswith("unit_test.") for item in build.results.values()) >= 13


def test_versions_equal_the_oracles(build: Build) -> None:
    ours = build.rows("select * from fact_price_version")
    theirs = [
        {
            "provider": v.provider, "instrument_id": v.instrument_id, "week_start_date": v.week,
            "version_number": v.number, **v.values, "known_from": v.known_from, "known_to": v.known_to,
            "is_current": v.known_to is None, "is_partial_week": v.is_partial,
            "symbol": lake.symbol_of(v.instrument_id, v.values["session_date"]),
        }
        for v in build.versions
    ]  # fmt: skip
    assert_same(ours, theirs, key=("provider", "instrument_id", "week_start_date", "version_number"))


def test_prices_equal_the_oracles(build: Build) -> None:
    theirs = [{k: v for k, v in row.items() if k != "sector"} for row in expected_prices(build)]
    assert_same(build.rows("select * from fact_adjusted_prices"), theirs, key=("instrument_id", "week_start_date"))


def test_prices_carry_the_winning_versions_values(build: Build) -> None:
    ours = build.rows("select * from fact_adjusted_prices")
    theirs = [
        {"instrument_id": v.instrument_id, "week_start_date": v.week, **v.values}
        for v in oracle.winners(build.versions, lake.PRIORITY)
    ]
    assert_same(ours, theirs, key=("instrument_id", "week_start_date"))
    of_shared = build.rows(
        "select distinct provider from fact_adjusted_prices join dim_source using (source_key) "
        "where instrument_id in ('shared', 'second') order by 1"
    )
    assert [row["provider"] for row in of_shared] == [lake.MAIN, lake.OTHER]


def test_real_history_equals_the_oracle(build: Build) -> None:
    if not IBM_FILE.is_file():
        pytest.skip(f"no captured payload at {IBM_FILE}: they are not part of the repository")
    ours = build.rows("select * from fact_adjusted_prices where instrument_id = ? order by week_start_date", lake.IBM)
    theirs = [row for row in expected_prices(build) if row["instrument_id"] == lake.IBM]
    assert len(ours) == len(theirs) == 1384
    assert sum(row["volatility_52w_ratio"] is not None for row in ours) == 1384 - 52
    assert sum(row["price_zscore_52w"] is not None for row in ours) == 1384 - 51
    worst = max(
        abs(mine[column] / yours[column] - 1)
        for mine, yours in zip(ours, theirs, strict=True)
        for column in (
            "weekly_return_ratio",
            "volatility_52w_ratio",
            "return_zscore_52w",
            "price_zscore_52w",
            "volume_zscore_52w",
        )
        if yours[column]
    )
    assert worst < TOLERANCE


def test_sectors_equal_the_oracles(build: Build) -> None:
    shares = {m.instrument_id for m in lake.MEMBERS if m.asset_class == "stock"}
    theirs = oracle.sectors(expected_prices(build), symbol_of=lake.symbol_of, is_share=shares.__contains__)
    assert {row["sector"] for row in theirs} >= {"Technology", "Energy", "Utilities", "Unclassified"}
    assert_same(build.rows("select * from agg_sector_performance"), theirs, key=("sector", "week_start_date"))


def test_restatements_equal_the_oracles(build: Build) -> None:
    names = ("provider", "instrument_id", "week_start_date", "measure", "old_value", "new_value", "first_seen_at")
    ours = {tuple(row[name] for name in names) for row in build.rows("select * from mart_restatement")}
    assert ours == oracle.restatements(build.versions)


@pytest.mark.parametrize(
    ("instrument", "causes"),
    [
        ("restated", {("close", "correction"): 1, ("volume", "correction"): 2}),
        ("withdrawn", {("close", "withdrawn"): 2, ("close", "reinstated"): 1}),
        ("plain", {}),
        ("delisted", {}),
        ("rejected", {}),
        ("short", {}),
    ],
)
def test_causes(build: Build, instrument: str, causes: Mapping[tuple[str, str], int]) -> None:
    found = build.rows(
        "select measure, cause, count(*) as n from mart_restatement where instrument_id = ? group by all", instrument
    )
    assert {(row["measure"], row["cause"]): row["n"] for row in found} == causes


def test_high_or_low_moved_with_the_close_is_its_own_row(build: Build) -> None:
    """The restated close of the fixture stays inside its bar, or the high would rightly be a row of its own."""
    assert not build.rows(
        "select 1 from mart_restatement where instrument_id = 'restated' and measure in ('high', 'low')"
    )


@pytest.mark.parametrize(("instrument", "back", "cause"), [("payer", 2, "dividend"), ("splitter", 1, "split")])
def test_factor_moves_of_all_earlier_weeks_have_their_cause(
    build: Build, instrument: str, back: int, cause: str
) -> None:
    rows = build.rows("select * from mart_restatement where instrument_id = ?", instrument)
    assert {(row["measure"], row["cause"]) for row in rows} == {("adjusted_close", cause)}
    member = next(m for m in lake.MEMBERS if m.instrument_id == instrument)
    earlier = {lake.monday(b) for b in range(back + 1, member.weeks)}
    assert {row["week_start_date"] for row in rows} == earlier


def test_split_makes_no_return(build: Build) -> None:
    (row,) = build.rows(
        "select * from fact_adjusted_prices where instrument_id = ? and week_start_date = ?",
        "splitter", lake.monday(1),
    )  # fmt: skip
    (before,) = build.rows(
        "select close_usd from fact_adjusted_prices where instrument_id = ? and week_start_date = ?",
        "splitter", lake.monday(2),
    )  # fmt: skip
    assert before["close_usd"] > 3 * row["close_usd"]
    assert abs(row["weekly_return_ratio"]) < 0.2


def test_delisted_instrument_keeps_its_history(build: Build) -> None:
    (row,) = build.rows(
        "select count(*) as n, max(week_start_date) as newest from fact_adjusted_prices where symbol = 'DELISTED'"
    )
    assert (row["n"], row["newest"]) == (65, lake.monday(5))
    assert build.rows("select is_delisted from dim_stock where instrument_id = 'delisted'") == [{"is_delisted": True}]


def test_running_week_is_flagged_and_its_changes_are_no_restatement(build: Build) -> None:
    (row,) = build.rows("select * from fact_adjusted_prices where instrument_id = 'plain' and is_partial_week")
    assert (row["week_start_date"], row["session_date"]) == (lake.SLICES[3], dt.date(2026, 11, 17))
    early = build.rows(
        "select is_partial_week from fact_price_version where instrument_id = 'plain' and week_start_date = ? "
        "order by version_number", lake.SLICES[1],
    )  # fmt: skip
    assert [version["is_partial_week"] for version in early] == [True, False]


def test_asof_gives_either_value_of_a_restated_close(build: Build) -> None:
    week = lake.monday(10)
    old, new = (
        build.rows(
            "select * from weekly_prices_asof(?, ?) where instrument_id = 'restated'", lake.last_session(week), at
        )[0]
        for at in (lake.FETCHED[2] - dt.timedelta(microseconds=1), lake.FETCHED[2])
    )
    assert old["week_start_date"] == new["week_start_date"] == week
    assert new["close_usd"] == round(old["close_usd"] * 1.001, 4)


@pytest.mark.parametrize("at", [lake.FETCHED[0], lake.FETCHED[1], lake.REFETCHED, lake.FETCHED[3]])
def test_history_asof_equals_the_oracle(build: Build, at: dt.datetime) -> None:
    known = oracle.known(build.versions, at)
    best = {
        name: min((lake.PRIORITY[v.provider], v.provider) for v in known if v.instrument_id == name)[1]
        for name in {v.instrument_id for v in known}
    }
    theirs = {
        (v.instrument_id, v.week, v.number, v.values["close_usd"]) for v in known if best[v.instrument_id] == v.provider
    }
    rows = build.rows("select * from weekly_price_history_asof(?)", at)
    assert len(rows) == len(theirs)
    assert {(r["instrument_id"], r["week_start_date"], r["version_number"], r["close_usd"]) for r in rows} == theirs
    day = lake.last_session(lake.monday(35))
    newest = {r["instrument_id"]: r["week_start_date"] for r in rows if r["session_date"] <= day}
    bars = build.rows("select * from weekly_prices_asof(?, ?)", day.isoformat(), at)
    assert {r["instrument_id"]: r["week_start_date"] for r in bars} == newest


def test_nothing_is_known_before_the_first_fetch(build: Build) -> None:
    assert not build.rows("select * from weekly_prices_asof(?, '2026-10-31 00:59:59')", dt.date(2026, 11, 1))


def test_a_sector_change_opens_a_version_on_the_day_it_was_learned(build: Build) -> None:
    rows = build.rows("select * from dim_instrument where instrument_id = 'reclassified' order by valid_from")
    assert [(r["sector"], r["valid_from"], r["valid_to"]) for r in rows] == [
        ("Energy", dt.date(1900, 1, 1), lake.RECLASSIFIED_ON),
        ("Utilities", lake.RECLASSIFIED_ON, None),
    ]
    facts = build.rows(
        "select i.sector, min(f.session_date) as first, max(f.session_date) as last from fact_adjusted_prices as f "
        "join dim_instrument as i using (instrument_key) where f.instrument_id = 'reclassified' group by all order by 1"
    )
    assert [(r["sector"], r["last"]) for r in facts] == [
        ("Energy", dt.date(2026, 11, 6)),
        ("Utilities", dt.date(2026, 11, 17)),
    ]
    plain = build.rows("select name, sector, pe_ratio, profile_known_at from dim_stock where instrument_id = 'plain'")
    assert plain == [
        {"name": "Plain Inc", "sector": "Technology", "pe_ratio": 29.0, "profile_known_at": lake.FETCHED[2]}
    ]


def test_every_dimension_has_its_unknown_member(build: Build) -> None:
    for table, key in (
        ("dim_instrument", "instrument_key"),
        ("dim_symbol_history", "symbol_history_key"),
        ("dim_source", "source_key"),
    ):
        assert build.rows(f"select count(*) as n from {table} where {key} = md5('unknown')") == [{"n": 1}]
    assert build.rows("select count(*) as n from dim_date where date_key = 0") == [{"n": 1}]


def test_coverage_says_how_far_an_instrument_is_behind(build: Build) -> None:
    rows = build.rows("select * from mart_coverage where is_newest_slice order by instrument_id")
    found = {r["instrument_id"]: (r["outcome"], r["is_complete"], r["snapshots_behind"], r["age_days"]) for r in rows}
    assert found == {"delisted": ("failed", False, 1, 33), "plain": ("fetched", True, 0, 1)}


def test_quarantine_has_one_row_per_row_and_rule(build: Build) -> None:
    rows = build.rows("select rule, symbol from mart_quarantine order by rule")
    assert [row["rule"] for row in rows] == ["low_is_lowest", "volume_shares|min"]


def test_published_view_equals_the_audited_model(build: Build) -> None:
    compiled = build.folder / "target" / "compiled" / "market_pipeline" / "models" / "marts" / "dim_stock.sql"
    query = compiled.read_text(encoding="utf-8")
    assert build.rows(f"select * from ({query}) except all select * from dim_stock") == []
    assert build.rows("select count(*) as n from dim_stock")[0]["n"] > len(lake.MEMBERS)


@pytest.mark.parametrize(("damage", "test"), DAMAGE)
def test_the_audit_sees_damage(build: Build, damaged: Mapping[str, str], damage: str, test: str) -> None:
    assert damaged[damage] == test


@pytest.fixture(scope="module")
def damaged(build: Build) -> Mapping[str, str]:
    """For each kind of damage the test that fails on it: all but one are done to one copy, in two runs of dbt."""
    build.connection.execute("checkpoint")
    found: dict[str, str] = {}
    (build.folder / "damaged").mkdir()
    copy = build.folder / "damaged" / seeding.BUILD
    for part in (DAMAGE[:-1], DAMAGE[-1:]):
        copy.unlink(missing_ok=True)
        build.connection.execute(f"attach '{copy}' as damaged")
        build.connection.execute("copy from database build to damaged")
        build.connection.execute("detach damaged")
        with duckdb.connect(str(copy)) as connection:
            for damage, _ in part:
                connection.execute(damage)
        selected = " ".join(sorted({test for _, test in part}))
        results = run_dbt(build.project, build.folder, "test", "--select", *selected.split(), work="damaged")
        found |= {damage: test for damage, test in part if results[test]["status"] == "fail"}
    return found
