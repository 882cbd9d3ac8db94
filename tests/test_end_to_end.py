"""The spine as a user meets it: provider's bytes to published gold, through the sandbox and the real client.

One lake of five Saturdays is built once per module; expected values come from the sandbox's own list of events, which
shares no code with the pipeline.
"""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import json
import math
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from market_pipeline.commit import Name
from market_pipeline.errors import IncompleteSlice
from market_pipeline.orchestration import runs
from market_pipeline.pipeline import Pipeline
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.sandbox.events import EventKind
from market_pipeline.sandbox.market import Market
from market_pipeline.settings import REPOSITORY, Settings, load_settings
from market_pipeline.slice_run import IngestReport
from market_pipeline.store import FolderStore
from silver_files import put_slice

SEEDS = REPOSITORY / "dbt" / "seeds"
SATURDAYS = tuple(
    dt.datetime(2026, month, day, 12, tzinfo=dt.UTC) for month, day in ((10, 3), (10, 10), (10, 24), (11, 14), (11, 21))
)
SYMBOLS = "ZQBK,EQWX,VEXQ,CQXT,XLOM,KQTL,DRQX,JXPR,NQTR,BQLN"
KEY = "CANARY0KEY0123456789"
WEEKLY = ("weekly_adjusted", "overview")
TABLES = (
    "dim_date",
    "dim_instrument",
    "dim_stock",
    "dim_symbol_history",
    "dim_source",
    "fact_adjusted_prices",
    "agg_sector_performance",
    "mart_coverage",
    "mart_restatement",
    "mart_quarantine",
    "fact_price_version",
)

pytestmark = [pytest.mark.slow]


def settings_for(home: Path, url: str, *, profile: str = "demo-test", **more: str) -> Settings:
    """Settings of a profile that talks to a sandbox."""
    return load_settings(environment(home, url, profile=profile, **more))


def environment(home: Path, url: str, *, profile: str, **more: str) -> dict[str, str]:
    """The variables of such a profile."""
    return {
        "MARKET_PIPELINE_PROFILE": profile,
        "MARKET_PIPELINE_HOME": str(home),
        "ALPHA_VANTAGE_BASE_URL": f"{url}/alpha_vantage",
        "ALPHA_VANTAGE_API_KEY": KEY,
        "ALPHA_VANTAGE_PLAN": "premium-1200",
        **more,
    }


def command(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "market_pipeline.cli", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def known_symbols() -> str:
    """The demo's present symbols for `SYMBOLS` (a renamed one is known by its new symbol)."""
    return SYMBOLS.replace("ZQBK", "OXQN")


def fetch(pipeline: Pipeline, dataset: str) -> tuple[IngestReport, str]:
    """Ingest the current slice of one of Alpha Vantage's feeds; its report and the slice's key."""
    _, feed = pipeline.feed("alpha_vantage", dataset)
    key = pipeline.current_slice(feed).key
    (report,) = pipeline.ingest("alpha_vantage", dataset, [key])
    return report, key


class Lake:
    """A demo lake with its market, filled Saturday by Saturday."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url
        self.settings = settings_for(home, url, MARKET_PIPELINE_UNIVERSE=known_symbols())
        self.market = Market.load(SEEDS)

    def at(self, moment: dt.datetime) -> Pipeline:
        """The pipeline with its clock at a moment."""
        return Pipeline(self.settings, now=lambda: moment)

    def take(self, moment: dt.datetime) -> None:
        """Fetch and normalize both feeds at a moment."""
        pipeline = self.at(moment)
        for dataset in WEEKLY:
            report, key = fetch(pipeline, dataset)
            assert report.is_complete, report.problems
            pipeline.normalize("alpha_vantage", dataset, [key])

    def rows(self, sql: str, *values: object) -> list[dict[str, object]]:
        """Rows of a query on the published snapshot."""
        answer, _ = self.at(SATURDAYS[-1]).warehouse.query(sql, list(values) or None)
        return answer.to_pylist()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Five snapshots and one published generation."""
    clock = {"now": SATURDAYS[0]}
    config = SandboxConfig(universe=SEEDS, clock=SATURDAYS[0], plan="unlimited")
    with running(config) as url:
        made = Lake(tmp_path_factory.mktemp("lake"), url)
        made.at(SATURDAYS[0]).initialize()
        for moment in SATURDAYS:
            clock["now"] = moment
            set_clock(url, moment)
            made.take(moment)
        made.at(SATURDAYS[-1]).publish()
        yield made


def set_clock(url: str, moment: dt.datetime) -> None:
    """Move the sandbox's clock."""
    import httpx2

    httpx2.put(f"{url}/_sandbox/clock", json={"now": moment.isoformat()}).raise_for_status()


def test_every_table_answers_from_the_command_line(lake: Lake) -> None:
    variables = environment(lake.home, lake.url, profile="demo-test")
    counts = " union all by name ".join(f"select '{name}' as name, count(*) as n from {name}" for name in TABLES)
    done = command(variables, "query", "--format", "json", f"{counts} order by n, name")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row["n"] for row in json.loads(done.stdout)}
    assert set(rows) == set(TABLES)
    assert min(rows.values()) > 0, rows
    done = command(variables, "query", "--format", "json", f"select * from {TABLES[0]} limit 3")
    assert len(json.loads(done.stdout)) == 3


def test_a_restated_close_keeps_both_values(lake: Lake) -> None:
    events = [
        event
        for event in lake.market.events(SATURDAYS[-1], kinds={EventKind.RESTATEMENT})
        if event.symbol == "CQXT" and event.week_start == dt.date(2026, 11, 2)
    ]
    (event,) = events
    found = lake.rows(
        "select * from mart_restatement where symbol = 'CQXT' and week_start_date = $1 and measure like '%close%'",
        event.week_start,
    )
    assert len(found) == 1
    assert found[0]["old_value"] == pytest.approx(event.old, abs=1e-9)
    assert found[0]["new_value"] == pytest.approx(event.new, abs=1e-9)
    assert found[0]["cause"] == "correction"
    for moment, expected in ((SATURDAYS[3], event.old), (SATURDAYS[4], event.new)):
        (row,) = lake.rows(
            "select close_usd from weekly_prices_asof($1, $2) where symbol = 'CQXT'",
            event.week_start + dt.timedelta(days=6),
            moment + dt.timedelta(hours=1),
        )
        assert row["close_usd"] == pytest.approx(expected, abs=1e-9)
    (fact,) = lake.rows(
        "select close_usd from fact_adjusted_prices where symbol = 'CQXT' and week_start_date = $1", event.week_start
    )
    assert fact["close_usd"] == pytest.approx(event.new, abs=1e-9)


def test_a_rename_keeps_one_instrument(lake: Lake) -> None:
    asked = lake.rows("select distinct symbol from mart_coverage where symbol in ('ZQBK', 'OXQN')")
    assert {row["symbol"] for row in asked} == {"ZQBK", "OXQN"}
    ids = lake.rows("select distinct instrument_id from dim_symbol_history where symbol in ('ZQBK', 'OXQN')")
    assert len(ids) == 1
    (count,) = lake.rows(
        "select count(*) as n, count(distinct week_start_date) as weeks from fact_adjusted_prices "
        "where instrument_id = $1",
        ids[0]["instrument_id"],
    )
    assert count["n"] == count["weeks"] > 50
    names = lake.rows(
        "select name from dim_instrument where instrument_id = $1 order by valid_from", ids[0]["instrument_id"]
    )
    assert [row["name"] for row in names] == ["Zaqbook Travel Inc", "Oxaqun Voyages Inc"]


def test_a_split_makes_no_false_return(lake: Lake) -> None:
    (split,) = [e for e in lake.market.events(SATURDAYS[-1], kinds={EventKind.SPLIT}) if e.symbol == "VEXQ"]
    rows = lake.rows(
        "select week_start_date, close_usd, weekly_return_ratio from fact_adjusted_prices "
        "where symbol = 'VEXQ' order by week_start_date"
    )
    at = next(i for i, row in enumerate(rows) if row["week_start_date"] == split.week_start)
    raw = rows[at]["close_usd"] / rows[at - 1]["close_usd"] - 1
    assert raw < -0.5
    assert abs(rows[at]["weekly_return_ratio"]) < 0.3


def test_a_delisted_instrument_keeps_its_history(lake: Lake) -> None:
    (row,) = lake.rows(
        "select max(session_date) as last, count(*) as n from fact_adjusted_prices where symbol = 'EQWX'"
    )
    assert row["last"] == dt.date(2026, 10, 16) or row["last"] == dt.date(2026, 10, 9)
    assert row["n"] > 50
    (dim,) = lake.rows("select is_delisted from dim_stock where symbol = 'EQWX'")
    assert dim["is_delisted"] is True


def test_planted_bad_rows_are_quarantined_by_name_and_the_rest_loads(lake: Lake) -> None:
    rows = lake.rows(
        "select distinct symbol, rule from mart_quarantine where slice_start_date = '2026-11-16' order by 1, 2"
    )
    rules = {(row["symbol"], row["rule"]) for row in rows}
    assert ("KQTL", "high_is_highest") in rules
    assert ("DRQX", "volume_shares|min") in rules
    assert {symbol for symbol, _ in rules} == {"KQTL", "DRQX"}
    (loaded,) = lake.rows("select count(*) as n from fact_adjusted_prices where symbol in ('KQTL', 'DRQX')")
    assert loaded["n"] > 200


def test_a_sector_change_opens_a_version(lake: Lake) -> None:
    rows = lake.rows(
        "select sector, valid_from, valid_to, is_current from dim_instrument where symbol = 'XLOM' order by valid_from"
    )
    assert rows[0]["valid_from"] == dt.date(1900, 1, 1)
    assert rows[-1]["is_current"] is True
    assert rows[-1]["valid_to"] is None


def test_a_second_build_on_the_same_input_publishes_nothing(lake: Lake) -> None:
    pipeline = lake.at(SATURDAYS[-1])
    before = pipeline.warehouse.current()
    report = pipeline.publish()
    assert not report.is_new
    assert pipeline.warehouse.current() == before


def test_silver_and_gold_come_back_from_bronze_without_a_network(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(lake.home, tmp_path / "copy")
    copy = Lake(tmp_path / "copy", "http://127.0.0.1:9")
    root = copy.settings.root
    before = {p.relative_to(root): p.read_bytes() for p in sorted((root / "lake/silver").rglob("part.parquet"))}
    assert len(before) == 2 * len(SATURDAYS)
    old = {name: lake.rows(f"select * from {name} order by all") for name in TABLES if name != "dim_stock"}
    shutil.rmtree(root / "lake/silver")
    shutil.rmtree(root / "warehouse")

    def no_network(*_args: object, **_kwargs: object) -> None:
        raise OSError("the network is blocked")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    pipeline = copy.at(SATURDAYS[-1])
    pipeline.initialize()
    for dataset in WEEKLY:
        pipeline.normalize("alpha_vantage", dataset, pipeline.bronze_slices("alpha_vantage", dataset))
    after = {p.relative_to(root): p.read_bytes() for p in sorted((root / "lake/silver").rglob("part.parquet"))}
    assert after == before
    pipeline.publish()
    for name, rows in old.items():
        same(copy.rows(f"select * from {name} order by all"), rows, name)


def same(found: list[dict[str, object]], expected: list[dict[str, object]], name: str) -> None:
    """Equal as gold defines it: floats within 1e-12 relative, all else exactly."""
    assert len(found) == len(expected), name
    for left, right in zip(found, expected, strict=True):
        for column, value in right.items():
            other = left[column]
            if isinstance(value, float) and isinstance(other, float):
                assert math.isclose(other, value, rel_tol=1e-12, abs_tol=1e-15) or (
                    math.isnan(value) and math.isnan(other)
                )
            else:
                assert other == value, (name, column)


def test_a_failed_check_ends_the_command_with_six_and_status_shows_it(lake: Lake, tmp_path: Path) -> None:
    import polars as pl

    shutil.copytree(lake.home, tmp_path / "copy")
    copy = Lake(tmp_path / "copy", lake.url)
    name = Name("bars_weekly_adjusted", "alpha_vantage", "weekly_adjusted", "2026-11-16")
    store = FolderStore(copy.settings.lake)
    frame = pl.read_parquet(store.url(name.silver_key))
    wrong = pl.when(pl.int_range(pl.len()) == 0).then(0.01).otherwise("high_usd")
    put_slice(store, name, frame.with_columns(high_usd=wrong))
    before = copy.at(SATURDAYS[-1]).warehouse.current()
    variables = environment(
        copy.home,
        lake.url,
        profile="demo-test",
        MARKET_PIPELINE_UNIVERSE=known_symbols(),
        MARKET_PIPELINE_CLOCK=SATURDAYS[-1].isoformat(),
    )
    done = command(variables, "run", "gold")
    assert done.returncode == 6, done.stderr
    assert "fact_price_version" in done.stderr
    assert "not published" in done.stderr
    told = json.loads(command(variables, "status", "--json").stdout)
    assert told["last_run"]["exit_code"] == 6
    assert any("fact_price_version" in check["name"] for check in told["failed_checks"])
    assert copy.at(SATURDAYS[-1]).warehouse.verify() == before
    with runs.open_instance(load_settings(variables)) as instance:
        (newest,) = instance.get_runs(limit=1)
        assert newest.status is dg.DagsterRunStatus.FAILURE
        judged = [entry.dagster_event for entry in instance.all_logs(newest.run_id) if entry.dagster_event]
        failed = [
            event.asset_check_evaluation_data.check_name
            for event in judged
            if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
            and not event.asset_check_evaluation_data.passed
        ]
    assert any("fact_price_version" in name for name in failed), "the failed test is an asset check"
    served = command(variables, "query", "--format", "csv", "select count(*) from fact_adjusted_prices")
    assert served.returncode == 0


def test_a_refused_symbol_blocks_gold_unless_partial_is_allowed(tmp_path: Path) -> None:
    config = SandboxConfig(universe=SEEDS, clock=SATURDAYS[-1], plan="unlimited")
    with running(config) as url:
        import httpx2

        fault = [{"kind": "message", "message": "invalid_call", "symbol": "BQLN"}]
        httpx2.put(f"{url}/_sandbox/faults", json=fault).raise_for_status()
        settings = settings_for(tmp_path, url, MARKET_PIPELINE_UNIVERSE="BQLN,CQXT,XLOM")
        pipeline = Pipeline(settings, now=lambda: SATURDAYS[-1])
        pipeline.initialize()
        for dataset in WEEKLY:
            report, key = fetch(pipeline, dataset)
            assert report.refused == 1
            assert report.is_blocking
            pipeline.normalize("alpha_vantage", dataset, [key])
        with pytest.raises(IncompleteSlice, match="BQLN"):
            pipeline.publish()
        assert pipeline.warehouse.current() is None
        report = pipeline.publish(allow_partial=True)
        current = pipeline.warehouse.current()
        assert current is not None
        assert current.is_partial
        assert {item["symbol"] for item in current.missing} == {"BQLN"}
        answer, _ = pipeline.warehouse.query(
            "select outcome, reason from mart_coverage where symbol = 'BQLN' and dataset = 'weekly_adjusted'"
        )
        assert answer.to_pylist() == [{"outcome": "refused", "reason": "invalid_call"}]


def test_the_free_plan_is_spent_once_across_restarts_and_goes_on_the_next_day(tmp_path: Path) -> None:
    """More calls than the 25 of a day, with the process started anew for each try."""
    friday = dt.datetime(2026, 11, 18, 12, tzinfo=dt.UTC)
    config = SandboxConfig(universe=SEEDS, clock=friday, plan="unlimited")
    with running(config) as url:
        script = (
            "import sys, datetime as dt\n"
            "from market_pipeline.pipeline import Pipeline\n"
            "from market_pipeline.settings import load_settings\n"
            "from market_pipeline.feed import Pace\n"
            "from market_pipeline import providers\n"
            "moment = dt.datetime.fromisoformat(sys.argv[1])\n"
            "p = Pipeline(load_settings(), now=lambda: moment)\n"
            "p.initialize()\n"
            "for dataset in ('weekly_adjusted', 'overview'):\n"
            "    _, feed = p.feed('alpha_vantage', dataset)\n"
            "    (r,) = p.ingest('alpha_vantage', dataset, [p.current_slice(feed).key])\n"
            "    print(r.dataset, r.fetched, r.deferred, r.calls_used, r.resumes_at)\n"
        )
        symbols = known_symbols().replace("EQWX", "FNQR") + ",HLQV,LQMR,RQZA,SQND,UQSM"
        variables = environment(
            tmp_path, url, profile="demo-test", ALPHA_VANTAGE_PLAN="free", MARKET_PIPELINE_UNIVERSE=symbols
        )
        outputs = []
        for moment in (friday, friday, friday + dt.timedelta(days=1), friday + dt.timedelta(days=2)):
            done = subprocess.run(
                [sys.executable, "-c", script, moment.isoformat()],
                env={**os.environ, **variables},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            outputs.append([line.split(maxsplit=4) for line in done.stdout.splitlines()])
    used = [sum(int(line[3]) for line in output) for output in outputs]
    assert used[0] == 25
    assert used[1] == 0
    with (SEEDS / "demo_instruments.csv").open(newline="") as handle:
        classes = {row["symbol"]: row["asset_class"] for row in csv.DictReader(handle)}
    total = sum({"stock": 2, "etf": 1}[classes[symbol]] for symbol in symbols.split(","))
    assert used[2] == total - 25 > 0
    assert outputs[0][-1][4] == "2026-11-19 05:00:00+00:00"
    assert sum(used) == total
    assert all(line[2] == "0" for line in outputs[-1])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A lake from the captured IBM payloads, made by the command line."""
    captured = REPOSITORY.parent / "shared" / "payloads"
    if not captured.is_dir():
        pytest.skip(f"no captured payloads at {captured}: they are not part of the repository")
    with running(SandboxConfig(recorded=captured, plan="unlimited")) as url:
        variables = environment(
            tmp_path_factory.mktemp("recorded"), url, profile="recorded", MARKET_PIPELINE_UNIVERSE="IBM"
        )
        done = command(variables, "run", "all")
        assert done.returncode == 0, done.stderr
        yield variables


def test_recorded_ibm_reaches_gold_with_the_numbers_of_an_independent_computation(recorded: dict[str, str]) -> None:
    file = REPOSITORY.parent / "shared/payloads/alpha_vantage/time_series_weekly_adjusted/IBM-full-1999-2026.csv"
    with file.open(newline="") as handle:
        bars = sorted(csv.DictReader(handle), key=lambda row: row["timestamp"])
    adjusted = [float(row["adjusted close"]) for row in bars]
    volume = [float(row["volume"]) for row in bars]
    returns = [None] + [b / a - 1 for a, b in itertools.pairwise(adjusted)]
    done = command(
        recorded,
        "query",
        "--format",
        "json",
        "select session_date, weekly_return_ratio, volatility_52w_ratio, return_zscore_52w, price_zscore_52w, "
        "volume_zscore_52w from fact_adjusted_prices where symbol = 'IBM' order by session_date",
    )
    rows = json.loads(done.stdout)
    assert [row["session_date"] for row in rows] == [bar["timestamp"] for bar in bars]
    for i, row in enumerate(rows):
        close(row["weekly_return_ratio"], returns[i])
        window = returns[i - 51 : i + 1] if i >= 52 else None
        close(row["volatility_52w_ratio"], deviation(window) * math.sqrt(52) if window else None)
        close(row["return_zscore_52w"], zscore(window) if window else None)
        close(row["price_zscore_52w"], zscore(adjusted[i - 51 : i + 1]) if i >= 51 else None)
        close(row["volume_zscore_52w"], zscore(volume[i - 51 : i + 1]) if i >= 51 else None)


def test_the_prices_page_shows_recorded_ibm(recorded: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.testing.v1 import AppTest

    for name, value in recorded.items():
        monkeypatch.setenv(name, value)
    app = AppTest.from_file(str(REPOSITORY / "dashboards" / "app.py"), default_timeout=60)
    page = app.switch_page("app_pages/prices.py").run()
    assert not page.exception
    shown = " ".join(str(element.value) for element in [*page.markdown, *page.metric, *page.subheader, *page.title])
    assert "IBM closed at 219.30 on 15 May 2026" in shown


def close(found: float | None, expected: float | None) -> None:
    if expected is None or found is None:
        assert found is expected
    else:
        assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)


def deviation(values: list[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def zscore(values: list[float]) -> float:
    return (values[-1] - math.fsum(values) / len(values)) / deviation(values)


def test_recorded_ibm_overview_reaches_the_dimension(recorded: dict[str, str]) -> None:
    done = command(
        recorded,
        "query",
        "--format",
        "json",
        "select name, sector, exchange, market_capitalization from dim_stock where symbol = 'IBM'",
    )
    (row,) = json.loads(done.stdout)
    assert row["name"] == "International Business Machines"
    assert row["sector"] == "Technology"
    assert row["exchange"] == "NYSE"
    assert row["market_capitalization"] == 206116848000


def test_the_key_is_in_no_file_and_no_output_after_a_run_with_faults(tmp_path: Path) -> None:
    config = SandboxConfig(universe=SEEDS, clock=SATURDAYS[-1], plan="unlimited")
    with running(config) as url:
        import httpx2

        faults = [
            {"kind": "message", "message": "per_day_echo", "symbol": "BQLN", "endpoint": "OVERVIEW"},
            {"kind": "reset", "symbol": "XLOM", "count": 1},
            {"kind": "status", "status": 500, "symbol": "BQLN", "count": 1},
            {"kind": "html", "symbol": "VEXQ", "count": 1},
            {"kind": "truncate", "symbol": "VEXQ", "count": 1, "keeps_length": True},
        ]
        httpx2.put(f"{url}/_sandbox/faults", json=faults).raise_for_status()
        variables = environment(
            tmp_path,
            url,
            profile="demo-canary",
            FMP_BASE_URL=f"{url}/fmp",
            FMP_API_KEY=KEY,
            POLYGON_BASE_URL=f"{url}/polygon",
            POLYGON_API_KEY=KEY,
            MARKET_PIPELINE_UNIVERSE="BQLN,CQXT,VEXQ,XLOM",
            MARKET_PIPELINE_CLOCK=SATURDAYS[-1].isoformat(),
        )
        # Of Polygon what is asked by instrument: the whole market would take a minute and has no other secret.
        targets = ("alpha_vantage", "fmp", "polygon/ticker_events", "polygon/splits", "gold")
        outputs = [command(variables, *arguments) for arguments in (("run", *targets), ("status",), ("config", "show"))]
        dead = {**variables, "ALPHA_VANTAGE_API_KEY": KEY + "\\u0001bad"}
        outputs.append(command(dead, "config", "show"))
    assert outputs[0].returncode == 5, outputs[0].stderr
    for done in outputs:
        assert KEY not in done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    manifests = [path.read_text() for path in files if path.name.startswith("manifest-")]
    assert any('"redacted": true' in text for text in manifests)
