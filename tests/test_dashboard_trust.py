"""The Trust page: gaps, disagreements between providers, changes and rejects, each named."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

import warehouse_fixture as fixture
from dashboard_pages import one, show, titles, variant
from market_pipeline.warehouse import Warehouse

pytest_plugins = ("dashboard_fixtures",)


def test_a_torn_health_file_says_so_and_nothing_else_breaks(warehouse: Warehouse) -> None:
    (warehouse.folder / "health.json").write_text("{")
    test = show("trust")
    assert not test.exception
    assert "health.json" in test.error[0].value


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
    assert "No feed is late; 3 instrument-feeds behind the others" in said
    assert "3 rows rejected: low_below_high, price_positive" in said
    assert "Values restated by providers: 5 correction" in said
    sizes = "48.2 MB of bronze, 1.3 MB of silver, 0.0 MB of quarantine, 9.7 MB of gold"
    assert f"Bronze 101, silver 10,932, gold 6,204; {sizes}" in said
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


def test_coverage_names_each_gap(market: Warehouse) -> None:
    """SEAL lacks the newest session in both feeds, MOTH two sessions in a row in one."""
    test = show("trust", sessions_view="Table", coverage_view="Table")
    said = titles(test)
    assert "Session of 20 Nov: 24 of 26 instrument-datasets complete" in said
    assert "Slice of 16 Nov: 23 of 25 instrument-datasets complete" in said
    assert "2 gaps in the sessions, 4 bars in all" in said
    gaps = next(table.value for table in test.dataframe if "is_open" in table.value)
    moth = gaps[gaps["symbol"] == "MOTH"].iloc[0]
    assert (moth["feeds"], moth["session_count"], moth["reason"]) == ("polygon/grouped_daily", 2, "no_bar")
    assert (moth["first_session_date"], moth["last_session_date"]) == (dt.date(2026, 11, 11), dt.date(2026, 11, 12))
    (seal,) = gaps[gaps["is_open"]].to_dict("records")
    assert (seal["symbol"], seal["feeds"]) == ("SEAL", "fmp/eod_raw, polygon/grouped_daily")
    cells = next(table.value for table in test.dataframe if "absent" in table.value)
    assert len(cells) == 2 * 30
    assert set(cells["absent"].dropna()) == {"MOTH no_bar", "SEAL no_bar"}


def test_one_gap_of_one_instrument_is_one_however_feeds_spell_it(folder: Path, build_db: Path) -> None:
    """SEAL's open gap, which two feeds have under spellings of their own; one of them changes its mind inside of it."""
    spelt = variant(
        build_db,
        folder,
        """update mart_coverage set symbol = 'SE-AL' where symbol = 'SEAL' and dataset = 'eod_raw';
           update mart_coverage set outcome = 'missing', reason = 'no_bar', is_complete = false
           where instrument_id = (select instrument_id from dim_instrument where symbol = 'SEAL')
               and dataset in ('eod_raw', 'grouped_daily') and slice_start_date = date '2026-11-19';
           update mart_coverage set symbol = 'SE.AL' where symbol = 'SEAL' and dataset = 'grouped_daily'
               and slice_start_date = date '2026-11-19'""",
    )
    fixture.publish(folder, build_db=spelt)
    test = show("trust", sessions_view="Table")
    assert "2 gaps in the sessions, 6 bars in all" in titles(test)
    gaps = next(table.value for table in test.dataframe if "is_open" in table.value)
    (seal,) = gaps[gaps["is_open"]].to_dict("records")
    assert (seal["symbol"], seal["session_count"], seal["feeds"]) == ("SEAL", 2, "fmp/eod_raw, polygon/grouped_daily")
    cells = next(table.value for table in test.dataframe if "absent" in table.value)
    assert set(cells["absent"].dropna()) == {"MOTH no_bar", "SEAL no_bar"}


def test_reconciliation_scores_names_and_explains(market: Warehouse) -> None:
    """Polygon halves ORCA before its split (57 sessions of 5 values) and is a dime off in 3 closes of KIWI."""
    test = show("trust", scores_view="Table")
    said = titles(test)
    causes = "285 by a missed split (ORCA 2:1 at polygon), 3 otherwise (KIWI at polygon)"
    assert f"288 values beyond tolerance: {causes}" in said
    compared = one(market, "select count(*) as n from mart_reconciliation where provider = 'polygon'")["n"]
    assert isinstance(compared, int)
    share = f"polygon in {(compared - 288) / compared * 100:.4g} %; fmp won all its sessions"
    assert f"Of up to {compared:,} values a provider agrees with the winner: {share}" in said
    assert f"Winner of the sessions: fmp {compared // 5:,} of {compared // 5:,}" in said
    differences = next(table.value for table in test.dataframe if "verdict" in table.value)
    assert list(differences["verdict"].value_counts()) == [285, 3]
    assert set(differences[differences["verdict"] == "missed_split"]["likely_split_ratio"]) == {2.0}
    dimes = differences[differences["verdict"] == "differs"]
    assert list((dimes["value"] - dimes["winner_value"]).round(6)) == [0.1, 0.1, 0.1]
    worst = next(table.value for table in test.dataframe if "lowest_score" in table.value)
    assert list(worst["symbol"][:4]) == ["ORCA", "ORCA", "KIWI", "KIWI"]


def test_a_hundred_per_cent_is_all_of_them(folder: Path, build_db: Path) -> None:
    """One value of 14,455 beside the winner's is not nothing."""
    import words

    assert words.share(14_455, 14_455) == "100"
    assert words.share(14_454, 14_455) == "99.99"
    assert words.share(0, 5) == "0"
    close = variant(
        build_db,
        folder,
        """update mart_provider_score set agreeing_count = value_count, provider_score = 1;
           update mart_provider_score set agreeing_count = value_count - 1, provider_score = 1 - 1 / value_count
           where provider = 'polygon' and symbol = 'KIWI';
           update mart_provider_score set won_session_count = session_count - 1
           where provider = 'fmp' and symbol = 'KIWI'""",
    )
    fixture.publish(folder, build_db=close)
    said = next(title for title in titles(show("trust")) if title.startswith("Of up to"))
    assert "fmp in 100 %, polygon in 99.99 %" in said
    assert "won all" not in said


def test_vendors_adjusted_closes_are_held_against_ours(market: Warehouse) -> None:
    total = one(market, "select count(*) as n from mart_adjustment_check")["n"]
    assert isinstance(total, int)
    said = titles(show("trust"))
    assert f"{total - 2:,} of {total:,} closes that vendors adjusted equal ours; ELKO furthest off" in said


@pytest.mark.parametrize(("cadence", "count"), [("Any bars", 5), ("Daily bars", 1), ("Weekly bars", 4)])
def test_restatements_are_told_by_cadence(market: Warehouse, cadence: str, count: int) -> None:
    test = show("trust", cadence=cadence)
    assert f"Values restated by providers: {count} correction" in titles(test)
    rows = next(table.value for table in test.dataframe if "first_seen_at" in table.value)
    assert len(rows) == count
