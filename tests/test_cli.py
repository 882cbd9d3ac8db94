"""What the command line says and which code it ends with, where no provider and no build is needed."""

from __future__ import annotations

import datetime as dt
import json
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from market_pipeline import cli
from market_pipeline.cli import arguments, bill, output, setup
from market_pipeline.cli import outcome as told
from market_pipeline.cli.output import Format
from market_pipeline.errors import ConfigurationError, LakeError
from market_pipeline.gold import GoldReport
from market_pipeline.normalize import NormalizeReport
from market_pipeline.orchestration.partitions import first_day
from market_pipeline.orchestration.runs import RunOutcome
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings
from market_pipeline.slice_run import IngestReport, Problem


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """An empty sample profile."""
    return Pipeline(load_settings({"MARKET_PIPELINE_PROFILE": "demo-cli", "MARKET_PIPELINE_HOME": str(tmp_path)}))


def answer() -> pa.Table:
    """A table with everything that one of the formats can't hold by itself."""
    return pa.table(
        [
            pa.array([1]),
            pa.array([2]),
            pa.array([pa.MonthDayNano([1, 2, 3_000_000_000])]),
            pa.array([[1.5, None]]),
            pa.array([float("nan")]),
            pa.array([1234567.891]),
            pa.array(["left|right"]),
            pa.array([b"\xaa"]),
            pa.array([dt.datetime(2026, 1, 2, tzinfo=dt.UTC)]),
            pa.array([None], pa.date32()),
        ],
        names=["a", "a", "span", "cells", "nothing", "large", "text", "bytes", "at", "day"],
    )


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet", "markdown"])
def test_every_format_takes_every_type(form: Format, tmp_path: Path) -> None:
    to = tmp_path / "answer"
    output.arrow(answer(), form=form, to=to)
    body = to.read_bytes()
    assert body
    if form == "json":
        (row,) = json.loads(body)
        assert row["a"] == 1
        assert row["a_1"] == 2
        assert row["span"] == "1 months 2 days 3 seconds"
        assert row["nothing"] is None
        assert row["day"] is None
    if form == "csv":
        assert b"[1.5, null]" in body
    if form == "table":
        assert b"1234567.891" in body
    if form == "markdown":
        assert rb"left\|right" in body


HOSTILE = "IBM\n\x1b[31mRED\u200b[bold]"


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_control_characters_never_reach_a_terminal(
    form: Format, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    to = tmp_path / "answer"
    output.arrow(pa.table({"symbol": [HOSTILE], "names": [[HOSTILE]]}), form=form, to=to)
    output.table(["symbol"], [[HOSTILE]])
    for text in (to.read_text(encoding="utf-8"), capsys.readouterr().out):
        assert r"\x1b[31mRED\u200b[bold]" in text
        assert not {"\x1b", "\u200b", "\r"} & set(text)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no folder"):
        output.arrow(answer(), form="csv", to=tmp_path / "none" / "x.csv")


def test_an_unknown_name_gets_the_closest_and_all(pipeline: Pipeline) -> None:
    with pytest.raises(ConfigurationError, match="did you mean alpha_vantage/weekly_adjusted") as caught:
        arguments.selection(pipeline, ("alpha_vantage/weekly_adjustd",))
    assert "known: all, bronze" in str(caught.value)


WEEKLY = ("bronze/alpha_vantage/weekly_adjusted",)
GROUPED = ("bronze/polygon/grouped_daily",)


@pytest.mark.parametrize("day", ["2001-01-01", "2199-01-07"])
def test_a_snapshot_outside_the_profile_is_a_usage_error(pipeline: Pipeline, day: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be run"):
        arguments.refuse_impossible(pipeline, WEEKLY, dt.date.fromisoformat(day))


def test_a_session_that_has_not_closed_says_when_to_come_back(pipeline: Pipeline) -> None:
    noon = Pipeline(pipeline.settings, now=lambda: dt.datetime(2026, 11, 20, 17, tzinfo=dt.UTC))
    with pytest.raises(ConfigurationError, match="2026-11-20 can't be run yet: come back after 2026-11-20 21:00 UTC"):
        arguments.refuse_impossible(noon, GROUPED, dt.date(2026, 11, 20))
    with pytest.raises(ConfigurationError, match=r"2026-11-21 is no trading session.*2026-11-20 and 2026-11-23"):
        arguments.refuse_impossible(noon, GROUPED, dt.date(2026, 11, 21))


def test_what_a_provider_still_has_moves_the_first_day(pipeline: Pipeline) -> None:
    pipeline.settings.state.mkdir(parents=True)
    arguments.refuse_impossible(pipeline, GROUPED, dt.date(2024, 3, 4))
    assert first_day(pipeline.settings) == dt.date(2024, 3, 4)


@pytest.mark.parametrize(
    ("since", "until", "why"),
    [
        ("1989-12-29", None, "before the calendar"),
        ("2026-11-21", "2026-11-20", "no day from 2026-11-21 to 2026-11-20"),
        ("2026-11-24", None, "no day"),
    ],
)
def test_a_range_that_is_none_is_a_usage_error(pipeline: Pipeline, since: str, until: str | None, why: str) -> None:
    now = Pipeline(pipeline.settings, now=lambda: dt.datetime(2026, 11, 20, 22, tzinfo=dt.UTC))
    day = None if until is None else dt.date.fromisoformat(until)
    with pytest.raises(ConfigurationError, match=why):
        arguments.end_of(now, dt.date.fromisoformat(since), day)


def test_symbols_of_an_option_are_followed_ones(pipeline: Pipeline) -> None:
    assert arguments.symbols(pipeline, ("BQLN,AQTZ", "BQXT")) == ("BQLN", "AQTZ", "BQXT")
    with pytest.raises(ConfigurationError, match="no followed symbol BQLM; did you mean BQLN"):
        arguments.symbols(pipeline, ("BQLM",))


@pytest.mark.parametrize(
    ("plan", "calls", "said"),
    [
        # 5 a minute is one in 12.05 s; 75 of them take 15 minutes and no day ends them.
        ({"POLYGON_PLAN": "basic"}, 75, "at 5 a minute: about 15 min; no daily cap on the plan basic"),
        # 25 a day: 25 today and 16 tomorrow.
        ({"ALPHA_VANTAGE_PLAN": "free"}, 41, "25 of 25 left today on the plan free; 16 wait, in all 2 days"),
        ({"ALPHA_VANTAGE_PLAN": "free"}, 76, "51 wait, in all 4 days"),
        ({"ALPHA_VANTAGE_PLAN": "free"}, 25, "25 of 25 left today on the plan free"),
    ],
)
def test_the_bill_says_how_long_it_takes(tmp_path: Path, plan: dict[str, str], calls: int, said: str) -> None:
    of = Pipeline(load_settings({"MARKET_PIPELINE_PROFILE": "demo-cli", "MARKET_PIPELINE_HOME": str(tmp_path), **plan}))
    (setting,) = plan
    provider = next(p for p in of.providers.values() if p.plan_setting == setting)
    assert said in bill._pace(of, provider, calls)


def ingested(
    *,
    is_key_refused: bool = False,
    kept: tuple[Problem, ...] = (),
    deferred: tuple[Problem, ...] = (),
    slice_key: str = "2026-11-16",
) -> IngestReport:
    """A slice that is complete but for what was put off, whatever this run met."""
    return IngestReport(
        provider="alpha_vantage",
        dataset="overview",
        slice_key=slice_key,
        planned=1 + len(deferred),
        fetched=1,
        empty=0,
        not_yet=0,
        refused=0,
        failed=0,
        deferred=len(deferred),
        calls_used=5,
        calls_left=None,
        objects_new=0,
        bytes_new=0,
        manifest_key=None,
        resumes_at=None,
        problems=deferred,
        newest_fetched_at=None,
        is_key_refused=is_key_refused,
        kept=kept,
    )


def normalized(slice_key: str, *, is_written: bool = True) -> NormalizeReport:
    """A silver slice of ten rows, one of them rejected."""
    return NormalizeReport(
        provider="alpha_vantage",
        dataset="overview",
        contract="company_profile",
        slice_key=slice_key,
        rows_in=10,
        rows_kept=9,
        rows_duplicate=0,
        rows_rejected=1,
        rejected_by_rule=(("a", 1),),
        payload_failures=0,
        is_written=is_written,
        silver_key="",
        sha256="",
        bytes=1,
        newest_date=None,
    )


def outcome(*reports: IngestReport | NormalizeReport | GoldReport, is_success: bool = True) -> RunOutcome:
    """A run that Dagster calls a success, unless told."""
    return RunOutcome("id", is_success, (), reports, (), (), 1.0)


@pytest.mark.parametrize(
    ("reason", "code"), [("unreachable:ConnectError", 3), ("call_budget_spent", 5), ("not_a_csv", 1)]
)
def test_asking_again_in_vain_is_no_success(pipeline: Pipeline, reason: str, code: int) -> None:
    """Old data stands, but nobody may take it for what was asked for now."""
    kept = (Problem("IBM", "failed", reason),)
    found, text = told.verdict(pipeline, outcome(ingested(kept=kept)))
    assert found == code
    assert text is not None
    assert reason in text


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("call_limit", "The calls of --max-calls are spent: 2 requests wait"),
        ("call_budget_spent", "The call budget is spent: 2 requests wait"),
        ("provider_asked_to_wait", "The provider asks to wait: 2 requests wait"),
    ],
)
def test_what_was_put_off_is_code_5_and_says_why(pipeline: Pipeline, reason: str, said: str) -> None:
    later = tuple(Problem(symbol, "deferred", reason) for symbol in ("IBM", "MSFT"))
    found, text = told.verdict(pipeline, outcome(ingested(deferred=later)))
    assert found == cli.QUOTA
    assert text is not None
    assert text.startswith(said)
    assert "the same command goes on" in text


def test_a_command_of_several_runs_succeeds_if_all_do() -> None:
    whole = told.merged([outcome(ingested()), outcome(ingested(), is_success=False), outcome()])
    assert not whole.is_success
    assert len(whole.reports) == 2
    assert whole.seconds == 3.0


def test_hundreds_of_slices_are_one_line_a_feed_and_layer(capsys: pytest.CaptureFixture[str]) -> None:
    days = [f"2026-11-{day:02d}" for day in range(2, 7)]
    later = (Problem("IBM", "deferred", "call_limit"),)
    told.tell(
        outcome(
            *[ingested(slice_key=day, deferred=later) for day in days],
            *[normalized(day, is_written=day == days[0]) for day in days],
        )
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        (
            "bronze alpha_vantage/overview 2026-11-02 ... 2026-11-06 (5 slices): 5 fetched, 0 empty, 5 deferred; "
            "25 calls, 0 new objects"
        ),
        "  IBM: deferred (call_limit) in 5 slices",
        (
            "silver alpha_vantage/overview 2026-11-02 ... 2026-11-06 (5 slices): 45 rows of 50, 0 duplicate, "
            "5 rejected; 1 written"
        ),
    ]


def test_a_refused_key_is_code_4_even_where_partial_data_may_go_on(pipeline: Pipeline) -> None:
    found, text = told.verdict(pipeline, outcome(ingested(is_key_refused=True)))
    assert found == cli.KEY
    assert text is not None
    assert "ALPHA_VANTAGE_API_KEY" in text


def test_init_with_adds_lines_once_and_closes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = tmp_path / ".env"
    env.write_text("# ALPHA_VANTAGE_API_KEY=\nMARKET_PIPELINE_PROFILE=demo-cli\n")
    env.chmod(0o644)
    monkeypatch.setattr(setup, "ENV_FILE", env)
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    setup.init(with_=("alpha_vantage",))
    setup.init(with_=("alpha_vantage",))
    lines = env.read_text().splitlines()
    assert lines.count("ALPHA_VANTAGE_API_KEY=") == 1
    assert lines.count("ALPHA_VANTAGE_PLAN=free") == 1
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert "Get a key at" in capsys.readouterr().err
    setup.init(with_=("fmp,polygon",))
    lines = env.read_text().splitlines()
    assert {"FMP_API_KEY=", "FMP_PLAN=free", "POLYGON_API_KEY=", "POLYGON_PLAN=basic"} <= set(lines)
    with pytest.raises(ConfigurationError, match="did you mean alpha_vantage"):
        setup.init(with_=("alpha_vantag",))


def test_a_ledger_that_cannot_be_used_is_an_error_of_ours(pipeline: Pipeline) -> None:
    file = pipeline.settings.state / "quota.sqlite"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(LakeError, match="call ledger"):
        pipeline.budget(pipeline.providers["alpha_vantage"])
