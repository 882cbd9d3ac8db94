"""Publishing, killing, reading and going back: one whole generation at any moment, and nothing but SELECT."""

from __future__ import annotations

import datetime as dt
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

import warehouse_fixture as fixture
from market_pipeline import guests
from market_pipeline.errors import (
    Busy,
    ConfigurationError,
    HashMismatch,
    LakeError,
    MarketPipelineError,
    ObjectMissing,
)
from market_pipeline.warehouse import Held, QueryError, QueryTimeout, Warehouse

NOW = fixture.NOW


@pytest.fixture(scope="module")
def build_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private build file with every gold table."""
    return fixture.build(tmp_path_factory.mktemp("build") / "build.duckdb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where generations go."""
    return tmp_path / "warehouse"


@pytest.fixture
def warehouse(folder: Path, build_db: Path) -> Warehouse:
    """A warehouse with one generation."""
    fixture.publish(folder, build_db=build_db)
    return Warehouse(folder)


def tiny(path: Path, *, rows: int, value: int = 0) -> Path:
    """A build file with one small table."""
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as con:
        con.execute(f"create table t as select {value} as v, i from range({rows}) as r (i)")
    return path


def publish_tiny(folder: Path, build: Path, *, profile: str = "demo") -> str:
    """Publish a build made by `tiny`."""
    return (
        Warehouse(folder)
        .publish(
            build,
            tables=["t"],
            newest={},
            is_partial=False,
            missing=[],
            inputs_sha256="",
            profile=profile,
            now=NOW,
        )
        .generation
    )


def test_a_generation_carries_every_table_and_says_what_it_is(warehouse: Warehouse, build_db: Path) -> None:
    record = warehouse.current()
    assert record is not None
    assert record.generation == "000001"
    assert record.sha256 == hashlib.sha256((warehouse.folder / record.file).read_bytes()).hexdigest()
    with duckdb.connect(str(build_db), read_only=True) as con:
        expected = {name: con.execute(f"select count(*) from {name}").fetchall()[0][0] for name in fixture.TABLES}
    assert record.tables == expected
    assert json.loads((warehouse.folder / "CURRENT").read_text()) == json.loads(
        (warehouse.folder / "gold-000001.json").read_text()
    )
    assert sorted(p.name for p in warehouse.folder.iterdir() if not p.name.startswith(".")) == [
        "CURRENT",
        "gold-000001.duckdb",
        "gold-000001.json",
        "health.json",
    ]


def test_views_macros_and_descriptions_are_published(warehouse: Warehouse) -> None:
    stocks, _ = warehouse.query("select count(*) as n from dim_stock")
    assert stocks["n"][0].as_py() == len(fixture.MARKET) + 1
    asof = "select close_usd from prices_asof(date '2026-03-06', $known_at) where symbol = 'ORCA'"
    before, _ = warehouse.query(asof, {"known_at": dt.datetime(2026, 5, 1, tzinfo=dt.UTC)})
    after, _ = warehouse.query(asof, {"known_at": NOW})
    assert before["close_usd"][0].as_py() == pytest.approx(after["close_usd"][0].as_py() * 0.985)
    comments, _ = warehouse.query(
        "select comment from duckdb_columns() where table_name = 'fact_adjusted_prices' and column_name = 'close_usd'"
    )
    assert comments["comment"][0].as_py() == "Last raw close of the week, USD."


def test_equal_builds_publish_equal_rows_in_equal_order(folder: Path, build_db: Path) -> None:
    first, second = (fixture.publish(folder, build_db=build_db) for _ in range(2))
    read = {}
    for record in (first, second):
        with duckdb.connect(str(folder / record.file), read_only=True) as con:
            read[record.generation] = con.execute("select * from fact_adjusted_prices").to_arrow_table()
    assert read["000001"].equals(read["000002"])


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/hostname')",
        "select * from glob('/etc/*')",
        "from '/etc/passwd'",
        "copy dim_source to '/tmp/out.csv'",
        "attach '/tmp/other.duckdb' as other",
        "install httpfs",
        "load httpfs",
        "set threads = 1",
        "set enable_external_access = true",
        "pragma threads = 1",
        "reset memory_limit",
        "create temp table q as select 1",
        "insert into dim_source select * from dim_source",
        "drop table dim_source",
        "export database '/tmp/out'",
        "select 1; drop table dim_source",
        "explain analyze insert into dim_source select * from dim_source",
        "",
        "-- nothing",
    ],
)
def test_a_query_can_only_read_the_snapshot(warehouse: Warehouse, sql: str) -> None:
    with pytest.raises(QueryError):
        warehouse.query(sql)
    rows, _ = warehouse.query("select count(*) as n from dim_source")
    assert rows["n"][0].as_py() == 4


@pytest.mark.parametrize(
    "sql", ["set memory_limit = '64GB'", "set enable_external_access = true", "attach ':memory:' as m"]
)
def test_the_connection_itself_is_guarded(warehouse: Warehouse, sql: str) -> None:
    with warehouse.connect() as (con, _), pytest.raises(duckdb.Error):
        con.execute(sql)


@pytest.mark.parametrize(
    "sql", ["describe dim_date", "summarize dim_source", "explain select 1", "from dim_source", "values (1)"]
)
def test_every_way_of_reading_is_allowed(warehouse: Warehouse, sql: str) -> None:
    assert warehouse.query(sql)[0].num_rows > 0


def test_errors_keep_the_did_you_mean(warehouse: Warehouse) -> None:
    with pytest.raises(QueryError, match="fact_adjusted_prices"):
        warehouse.query("select * from fact_adjusted_price")
    with pytest.raises(QueryError, match="close_usd"):
        warehouse.query("select close_us from fact_adjusted_prices")


def test_rows_and_time_are_limited(warehouse: Warehouse) -> None:
    rows, _ = warehouse.query("select i from range(1000000000) as r (i)", row_limit=25_001)
    assert rows.num_rows == 25_001
    assert warehouse.query("select i from range(10) as r (i)", row_limit=0)[0].num_rows == 0
    started = time.monotonic()
    with pytest.raises(QueryTimeout, match=r"0\.3 s"):
        warehouse.query(
            "select count(*) from range(1000000000) a, range(1000) b where a.range % 7 = b.range", timeout_s=0.3
        )
    assert time.monotonic() - started < 5


def test_rows_are_fetched_up_to_so_many_bytes(warehouse: Warehouse) -> None:
    sql = "select i, repeat('x', 1000) as x from range(500) as r (i)"
    rows, is_cut = warehouse.first(sql, row_limit=400, byte_limit=100_000, timeout_s=30)
    assert is_cut
    assert rows["i"].to_pylist() == list(range(rows.num_rows))
    assert 95 <= rows.num_rows < 100
    rows, is_cut = warehouse.first(sql, row_limit=400, byte_limit=1_000_000, timeout_s=30)
    assert (rows.num_rows, is_cut) == (400, True)
    rows, is_cut = warehouse.first(sql, row_limit=500, byte_limit=1_000_000, timeout_s=30)
    assert (rows.num_rows, is_cut) == (500, False)
    with pytest.raises(QueryError, match="One row"):
        warehouse.first("select repeat('x', 3000000) as x", row_limit=1, byte_limit=2 << 20, timeout_s=30)
    with pytest.raises(QueryTimeout, match=r"0\.5 s"):  # the first rows come at once, the next ones never
        warehouse.first(
            "select i from range(1000000000000) as r (i) where i < 2048 or hash(i) = 0",
            row_limit=10_000,
            byte_limit=1 << 20,
            timeout_s=0.5,
        )


def test_a_held_file_is_opened_once_and_let_go_for_the_next_generation(folder: Path, tmp_path: Path) -> None:
    publish_tiny(folder, tiny(tmp_path / "b.duckdb", rows=10, value=1))
    warehouse = Warehouse(folder, held=Held())
    with warehouse.connect() as (first, _), warehouse.connect() as (second, _):
        assert first is not second
        for con in (first, second):
            assert con.execute("select current_setting('lock_configuration')").fetchall() == [(True,)]
            with pytest.raises(duckdb.Error, match="disabled"):
                con.execute("select * from read_text('/etc/passwd')")
        publish_tiny(folder, tiny(tmp_path / "b.duckdb", rows=10, value=2))
        assert warehouse.query("select distinct v from t")[0].to_pylist() == [{"v": 2}]
        assert first.execute("select distinct v from t").fetchall() == [(1,)]
    shutil.rmtree(folder)
    publish_tiny(folder, tiny(tmp_path / "b.duckdb", rows=10, value=3))  # another file of the first one's name
    assert warehouse.query("select distinct v from t")[0].to_pylist() == [{"v": 3}]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from enable_logging('QueryLog')",
        "select * from query('select * from enable_' || 'logging()')",
        "with x as (from Disable_Profiling()) select 1 from x",
        "explain analyze select * from query('from force_' || 'checkpoint()')",
    ],
)
def test_a_query_cant_change_the_process_of_its_reader(warehouse: Warehouse, sql: str) -> None:
    with pytest.raises(QueryError, match=r"only reads|is not answered"):
        warehouse.query(sql)
    assert warehouse.query("select 'log' as query, ln($a) as checkpoint", {"a": 1})[0].to_pylist() == [
        {"query": "log", "checkpoint": 0.0}
    ]


def test_a_guest_gets_rows_or_a_reason_and_ends_alone(warehouse: Warehouse) -> None:
    ask = functools.partial(guests.ask, warehouse.folder, row_limit=400, byte_limit=100_000)
    rows, is_cut = ask("select i, repeat('x', 1000) as x from range(500) as r (i)", timeout_s=30)
    assert is_cut
    assert rows["i"].to_pylist() == list(range(rows.num_rows))
    with pytest.raises(QueryError, match=r"(?s)Parser Error.*selec"):
        ask("selec 1", timeout_s=30)
    with pytest.raises(QueryError, match="of memory"):  # DuckDB makes 2,048 rows at a time, two gigabytes of them
        ask("select repeat('x', 1000000) as x from range(5000)", timeout_s=60)
    with pytest.raises(QueryTimeout, match=r"0\.5 s"):
        ask("select * from range(100000000000) as r (i) where hash(i) = 0", timeout_s=0.5)
    with pytest.raises(MarketPipelineError, match="Nothing is published"):
        guests.ask(warehouse.folder / "none", "select 1", row_limit=1, byte_limit=1000, timeout_s=30)


def test_memory_is_limited(warehouse: Warehouse) -> None:
    with pytest.raises(QueryError, match="memory"):
        warehouse.query("select list(i || repeat('x', 400)) from range(20000000) as r (i)")
    assert not list(warehouse.folder.glob("*.tmp"))


def test_clock_texts_are_utc_on_any_machine(warehouse: Warehouse) -> None:
    code = (
        "import sys; from pathlib import Path; from market_pipeline.warehouse import Warehouse;"
        "print(Warehouse(Path(sys.argv[1])).query("
        "\"select timestamptz '2026-01-01 03:00:00+00'::varchar as t\")[0]['t'][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(warehouse.folder)],
        env={**os.environ, "TZ": "America/New_York"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "2026-01-01 03:00:00+00"


def test_nothing_published_says_what_to_do(folder: Path) -> None:
    empty = Warehouse(folder)
    assert empty.current() is None
    assert empty.health() is None
    assert empty.generations() == ()
    with pytest.raises(ObjectMissing, match="make demo"):
        empty.query("select 1")
    assert not folder.exists(), "a reader creates nothing"


@pytest.mark.parametrize("damage", ["torn", "missing", "empty"])
def test_a_damaged_pointer_names_the_way_back(warehouse: Warehouse, build_db: Path, damage: str) -> None:
    fixture.publish(warehouse.folder, build_db=build_db)
    pointer = warehouse.folder / "CURRENT"
    whole = pointer.read_bytes()
    if damage == "missing":
        pointer.unlink()
    else:
        pointer.write_bytes(whole[: len(whole) // 2] if damage == "torn" else b"")
    with pytest.raises(LakeError, match=r"market-pipeline rollback 000002"):
        warehouse.query("select 1")
    assert warehouse.rollback().generation == "000002", "the newest good one, not the one before it"
    assert pointer.read_bytes() == whole


def test_a_damaged_pointer_does_not_stop_the_next_publish(warehouse: Warehouse, build_db: Path) -> None:
    (warehouse.folder / "CURRENT").write_text("{")
    assert fixture.publish(warehouse.folder, build_db=build_db).generation == "000002"
    assert warehouse.verify().generation == "000002"


def test_rollback_goes_back_and_forth(warehouse: Warehouse, build_db: Path) -> None:
    fixture.publish(warehouse.folder, build_db=build_db)
    assert warehouse.rollback().generation == "000001"
    assert warehouse.query("select 1")[1].generation == "000001"
    assert warehouse.rollback("2").generation == "000002"
    with pytest.raises(ObjectMissing, match="on disk: 000002, 000001"):
        warehouse.rollback("000009")
    warehouse.rollback("000001")
    with pytest.raises(ObjectMissing, match="earlier"):
        warehouse.rollback()
    assert fixture.publish(warehouse.folder, build_db=build_db).generation == "000003", "a number is used once"


def test_a_flipped_byte_is_found(warehouse: Warehouse, build_db: Path) -> None:
    fixture.publish(warehouse.folder, build_db=build_db)
    path = warehouse.folder / "gold-000001.duckdb"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(HashMismatch, match="gold-000001"):
        warehouse.rollback()
    assert warehouse.verify().generation == "000002", "the pointer stayed where it was"


def test_a_file_that_is_no_database_is_an_error_with_a_remedy(warehouse: Warehouse) -> None:
    (warehouse.folder / "gold-000001.duckdb").write_bytes(b"x" * 5000)
    with pytest.raises(LakeError, match="market-pipeline"):
        warehouse.query("select 1")
    (warehouse.folder / "gold-000001.duckdb").unlink()
    with pytest.raises(ObjectMissing, match="market-pipeline run gold"):
        warehouse.query("select 1")


def test_three_generations_stay_and_the_served_one_always(folder: Path, tmp_path: Path) -> None:
    for number in range(5):
        publish_tiny(folder, tiny(tmp_path / "b.duckdb", rows=10, value=number))
    warehouse = Warehouse(folder)
    assert [g.generation for g in warehouse.generations()] == ["000005", "000004", "000003"]
    warehouse.rollback("000003")
    publish_tiny(folder, tmp_path / "b.duckdb")
    assert [g.generation for g in warehouse.generations()] == ["000006", "000005", "000004"]


def test_an_open_reader_keeps_its_generation_while_it_is_pruned(folder: Path, tmp_path: Path) -> None:
    warehouse = Warehouse(folder)
    publish_tiny(folder, tiny(tmp_path / "b.duckdb", rows=200_000, value=1))
    with warehouse.connect() as (con, generation):
        for _ in range(4):
            publish_tiny(folder, tiny(tmp_path / "b.duckdb", rows=10, value=2))
        assert not (folder / generation.file).exists()
        assert con.execute("select sum(v), count(*), max(i) from t").fetchall() == [(200_000, 200_000, 199_999)]
    assert warehouse.query("select distinct v from t")[0].to_pylist() == [{"v": 2}]


def test_another_profiles_gold_is_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="demo"):
        publish_tiny(warehouse.folder, tiny(tmp_path / "b.duckdb", rows=1), profile="live")


def test_a_table_that_the_build_lacks_publishes_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    build = tiny(tmp_path / "b.duckdb", rows=1)
    arguments = {"newest": {}, "is_partial": False, "missing": [], "inputs_sha256": "", "profile": "demo", "now": NOW}
    with pytest.raises(ObjectMissing, match="nowhere"):
        warehouse.publish(build, tables=["t", "nowhere"], **arguments)
    with pytest.raises(LakeError, match="can't be copied"):
        warehouse.publish(build, tables=["t"], statements=["create view v as select * from nowhere"], **arguments)
    assert warehouse.verify().generation == "000001"


def test_one_writer_at_a_time(warehouse: Warehouse, build_db: Path) -> None:
    with (warehouse.folder / ".lock").open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.truncate()
        other.write("4242\n")
        other.flush()
        with pytest.raises(Busy, match="4242"):
            fixture.publish(warehouse.folder, build_db=build_db)
    with warehouse.lock():
        refused: list[Exception] = []
        thread = threading.Thread(target=lambda: refused.append(_lock_error(warehouse)))
        thread.start()
        thread.join()
        assert isinstance(refused[0], Busy)
        assert (
            warehouse.publish(
                build_db,
                tables=["dim_source"],
                newest={},
                is_partial=False,
                missing=[],
                inputs_sha256="",
                profile="demo",
                now=NOW,
            ).generation
            == "000002"
        ), "the holder may publish"


def _lock_error(warehouse: Warehouse) -> Exception:
    try:
        with warehouse.lock():
            return AssertionError("the lock was given twice")
    except Busy as error:
        return error


def test_health_is_replaced_as_a_whole(folder: Path) -> None:
    warehouse = Warehouse(folder)
    for has_failed in (False, True):
        written = fixture.health("000001", has_failed=has_failed)
        warehouse.write_health(written)
        assert warehouse.health() == written
    (folder / "health.json").write_text('{"written_at": "2026')
    with pytest.raises(LakeError, match="market-pipeline run"):
        warehouse.health()


def test_the_stamp_moves_with_pointer_and_health(warehouse: Warehouse, build_db: Path) -> None:
    seen = [warehouse.stamp()]
    assert warehouse.stamp() == seen[0]
    fixture.publish(warehouse.folder, build_db=build_db)
    seen.append(warehouse.stamp())
    warehouse.rollback()
    seen.append(warehouse.stamp())
    warehouse.write_health(fixture.health("000001", has_failed=True))
    seen.append(warehouse.stamp())
    assert len(set(seen)) == 4


def test_a_long_query_draws_no_bar_among_data(build_db: Path, tmp_path: Path) -> None:
    """DuckDB draws one on standard output in a process without a file, as Dagster's of a run is, after two seconds."""
    folder = tmp_path / "warehouse"
    fixture.publish(folder, build_db=build_db)
    code = """if True:
        import sys
        from pathlib import Path
        from market_pipeline.snapshots import open_guarded
        for _ in range(2):  # the first sets the guard up, the second finds it
            con = open_guarded(next(Path(sys.argv[1]).glob("gold-*.duckdb")))
            con.execute("select count(distinct hash(a.range * b.range)) from range(12000) a, range(3000) b").fetchall()
        """
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
