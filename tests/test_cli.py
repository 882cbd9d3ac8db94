"""What the command line says and which code it ends with, where no provider and no build is needed."""

from __future__ import annotations

import datetime as dt
import json
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from market_pipeline import cli
from market_pipeline.cli import output, runs, setup
from market_pipeline.cli.output import Format
from market_pipeline.errors import ConfigurationError, LakeError
from market_pipeline.gold import GoldReport
from market_pipeline.ingest import IngestReport, Problem
from market_pipeline.orchestration.runs import RunOutcome
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings


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


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no folder"):
        output.arrow(answer(), form="csv", to=tmp_path / "none" / "x.csv")


def test_an_unknown_name_gets_the_closest_and_all(pipeline: Pipeline) -> None:
    with pytest.raises(ConfigurationError, match="did you mean alpha_vantage/weekly_adjusted") as caught:
        runs._selection(pipeline, ("alpha_vantage/weekly_adjustd",))
    assert "known: all, bronze" in str(caught.value)


@pytest.mark.parametrize("key", ["2001-01-01", "2199-01-07"])
def test_a_slice_outside_the_profile_is_a_usage_error(pipeline: Pipeline, key: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be run"):
        runs._refuse_unknown_slice(pipeline, key)


def ingested(*, is_key_refused: bool = False, kept: tuple[Problem, ...] = ()) -> IngestReport:
    """A slice that is complete, whatever this run met."""
    return IngestReport(
        provider="alpha_vantage",
        dataset="overview",
        slice_key="2026-11-16",
        planned=1,
        fetched=1,
        empty=0,
        not_yet=0,
        refused=0,
        failed=0,
        deferred=0,
        calls_used=5,
        calls_left=None,
        objects_new=0,
        bytes_new=0,
        manifest_key=None,
        resumes_at=None,
        problems=(),
        newest_fetched_at=None,
        is_key_refused=is_key_refused,
        kept=kept,
    )


def outcome(*reports: IngestReport | GoldReport, is_success: bool = True) -> RunOutcome:
    """A run that Dagster calls a success, unless told."""
    return RunOutcome("id", is_success, (), reports, (), (), 1.0)


@pytest.mark.parametrize(
    ("reason", "code"), [("unreachable:ConnectError", 3), ("call_budget_spent", 5), ("not_a_csv", 1)]
)
def test_asking_again_in_vain_is_no_success(pipeline: Pipeline, reason: str, code: int) -> None:
    """Old data stands, but nobody may take it for what was asked for now."""
    kept = (Problem("IBM", "failed", reason),)
    found, text = runs._verdict(pipeline, outcome(ingested(kept=kept)))
    assert found == code
    assert text is not None
    assert reason in text


def test_a_refused_key_is_code_4_even_where_partial_data_may_go_on(pipeline: Pipeline) -> None:
    found, text = runs._verdict(pipeline, outcome(ingested(is_key_refused=True)))
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
    with pytest.raises(ConfigurationError, match="did you mean alpha_vantage"):
        setup.init(with_=("alpha_vantag",))


def test_a_ledger_that_cannot_be_used_is_an_error_of_ours(pipeline: Pipeline) -> None:
    file = pipeline.settings.state / "quota.sqlite"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(LakeError, match="call ledger"):
        pipeline.budget(pipeline.providers["alpha_vantage"])
