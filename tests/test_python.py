"""`import market_pipeline` as a program uses it: what it costs, what it gives, what it says when a name is wrong."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import market_pipeline as mp
import warehouse_fixture
from market_pipeline import cli
from market_pipeline.errors import ConfigurationError, ObjectMissing
from market_pipeline.settings import REPOSITORY
from market_pipeline.warehouse import QueryError

HEAVY = ("polars", "duckdb", "dagster", "pyarrow", "pydantic", "pandas", "numpy")
DAY = dt.date(2026, 11, 18)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two profiles with published gold, `demo-a` and `demo-b`, and of one without."""
    home = tmp_path_factory.mktemp("home")
    build_db = warehouse_fixture.build(home / "build.duckdb")
    for profile in ("demo-a", "demo-b"):
        (home / profile).mkdir()
        warehouse_fixture.publish(home / profile / "warehouse", build_db=build_db, profile=profile)
    (home / "empty").mkdir()
    return home


@pytest.fixture(autouse=True)
def _profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(home))
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "demo-a")


def test_importing_the_package_imports_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import market_pipeline"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
    assert "market_pipeline" in loaded
    assert not loaded & set(HEAVY)


def test_the_package_names_what_it_offers() -> None:
    assert set(mp.__all__) <= set(dir(mp))
    assert mp.read.__doc__
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        mp.reed  # type: ignore[attr-defined]  # noqa: B018


def test_a_table_is_a_frame_of_dates_instants_and_floats() -> None:
    frame = mp.read("fact_daily_price_version")
    assert isinstance(frame, pl.DataFrame)
    assert frame.schema["session_date"] == pl.Date
    assert frame.schema["known_from"] == pl.Datetime("us", "UTC")
    assert frame.schema["close_usd"] == pl.Float64
    assert frame.height == mp.sql("select count(*) as n from fact_daily_price_version").item()


def test_symbols_days_and_columns_select_what_sql_selects() -> None:
    asked = {"symbols": ["ORCA", "KIWI"], "since": DAY, "until": "2026-11-19"}
    frame = mp.read("fact_daily_price", **asked, columns=["close_usd", "symbol"])  # type: ignore[arg-type]
    assert frame.columns == ["close_usd", "symbol"]
    by_hand = mp.sql(
        """select close_usd, symbol from fact_daily_price
           where symbol in ('ORCA', 'KIWI') and session_date between $1 and $2""",
        [DAY, dt.date(2026, 11, 19)],
    )
    assert frame.height == 4
    assert frame.sort("symbol", "close_usd").equals(by_hand.sort("symbol", "close_usd"))
    assert mp.read("fact_daily_price", symbols="ORCA", since=DAY).height == 3
    assert mp.read("fact_daily_price", symbols=[]).is_empty(), "an empty list is nobody, not everybody"
    assert mp.read("dim_date", since=DAY, until=DAY).height == 1, "a table's own day"


def test_versions_are_those_in_force_at_the_instant() -> None:
    last = mp.sql("select max(known_from) from fact_daily_price_version").item()
    now = mp.read("fact_daily_price_version", as_of=last)
    assert now.height == mp.sql("select count(*) from fact_daily_price_version where known_to is null").item()
    assert mp.read("fact_daily_price_version", as_of="2001-01-01").is_empty()
    with pytest.raises(ConfigurationError, match=r"holds what is known now; versions are in .*fact_price_version"):
        mp.read("fact_daily_price", as_of=last)
    with pytest.raises(ConfigurationError, match="no time zone"):
        mp.read("fact_daily_price_version", as_of=dt.datetime(2026, 11, 15))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"table": "fact_daily_prices"}, "no table fact_daily_prices; did you mean fact_daily_price?"),
        ({"table": "fact_daily_price", "symbols": ["ORKA"]}, "no symbol in fact_daily_price ORKA; did you mean ORCA?"),
        ({"table": "fact_daily_price", "symbols": "orca"}, "did you mean ORCA?"),
        (
            {"table": "fact_daily_price", "columns": ["close"]},
            "no column of fact_daily_price close; did you mean close",
        ),
        ({"table": "dim_source", "since": "2026-01-01"}, "dim_source has no day to select by"),
        ({"table": "dim_source", "symbols": ["ORCA"]}, "dim_source has no symbol to select by"),
        ({"table": "dim_date", "since": "2026-13-01"}, "since '2026-13-01' is no date"),
        ({"table": "dim_date", "until": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, "until is a day of the exchange"),
        ({"table": "fact_price_version", "as_of": "noon"}, "as_of 'noon' is no instant"),
        ({"table": "dim_date", "profile": "demo-c"}, "no profile demo-c; did you mean demo-"),
        ({"table": "dim_date", "profile": "../demo-a"}, "no profile ../demo-a"),
        ({"table": "dim_date", "since": 20260101}, "since 20260101 is no date"),
        ({"table": "fact_price_version", "as_of": 5}, "as_of 5 is no instant"),
        ({"table": "dim_source", "columns": []}, "columns is empty"),
        ({"table": "fact_daily_price", "symbols": 5}, "symbols is 5; write one text or a list"),
    ],
)
def test_a_wrong_name_says_which_one_was_meant(question: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mp.read(**question)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_the_command_line_says_the_same_and_gives_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["market-pipeline", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    to = tmp_path / "prices.parquet"
    asked = (
        "--since",
        "2026-11-18",
        "--until",
        "2026-11-19",
        "--symbols",
        "ORCA,KIWI",
        "--columns",
        "symbol,close_usd",
    )
    assert run("export", "fact_daily_price", *asked, "-o", str(to)) == 0
    told = capsys.readouterr().err
    assert re.search(r"4 rows, \d+ bytes, sha256 [0-9a-f]{64}, generation 000001", told)
    frame = mp.read(
        "fact_daily_price", since=DAY, until="2026-11-19", symbols=["ORCA", "KIWI"], columns=["symbol", "close_usd"]
    )
    assert pl.read_parquet(to).equals(frame)
    assert run("export", "fact_daily_prices", "-o", str(to)) == 2
    with pytest.raises(ConfigurationError) as caught:
        mp.read("fact_daily_prices")
    assert " ".join(capsys.readouterr().err.split()) == f"error: {caught.value}"


def test_a_profile_is_chosen_by_settings_or_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def profile_of(name: str | None = None) -> str:
        found = mp.generation(profile=name)
        assert found is not None
        return found.profile

    assert (profile_of(), profile_of("demo-b")) == ("demo-a", "demo-b")
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "empty")
    assert mp.generation() is None
    with pytest.raises(ObjectMissing, match="Nothing is published"):
        mp.tables()


def test_tables_and_columns_explain_themselves() -> None:
    tables = mp.tables()
    assert tables.columns == ["table", "kind", "rows", "description"]
    rows = dict(tables.select("table", "rows").iter_rows())
    assert rows["fact_daily_price"] == mp.sql("select count(*) from fact_daily_price").item()
    assert rows["dim_stock"] is None, "a view has no rows of its own"
    assert mp.columns("fact_daily_price")["column"].to_list() == mp.read("fact_daily_price", symbols=[]).columns
    with pytest.raises(ConfigurationError, match="did you mean dim_date"):
        mp.columns("dim_dates")


def test_sql_takes_parameters_and_can_do_nothing_but_read(tmp_path: Path) -> None:
    frame = mp.sql("select $a + 1 as x, 2 as x, interval 1 month as span", {"a": 1})
    assert frame.to_dicts() == [{"x": 2, "x_1": 2, "span": "1 months"}]
    assert mp.sql("select * from dim_date", row_limit=3).height == 3
    for forbidden in ("drop table dim_date", f"copy dim_date to '{tmp_path}/x.csv'", f"from '{tmp_path}/x.csv'"):
        with pytest.raises(QueryError):
            mp.sql(forbidden)
    with pytest.raises(QueryError, match="dim_date"):
        mp.sql("select * from dim_dat")
    with pytest.raises(QueryError, match="can't hold spans"):
        mp.sql("select {'a': interval 1 month} as spans")
    assert mp.sql("select 1 as x", timeout_s=1e12).item() == 1


def test_every_block_of_the_page_runs() -> None:
    page = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102 - the page is ours
    prices = names["prices"]
    assert isinstance(prices, pl.DataFrame)
    assert prices.height > 500
