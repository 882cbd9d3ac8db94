"""Lines of JSON where they are asked for, one a line and without a secret; text for people where they are not."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import stamina

from market_pipeline import logs
from market_pipeline.errors import Unreachable
from market_pipeline.ingest import ingest
from market_pipeline.orchestration.resources import SESSION, session_resource
from market_pipeline.partition import Slice
from market_pipeline.pipeline import Pipeline
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.settings import load_settings
from market_pipeline.store import FolderStore
from wire import KEY, NOW, Wire, client, instrument, response

OURS = logging.getLogger("market_pipeline")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What our loggers write, as lines."""
    monkeypatch.setenv(logs.VARIABLE, "json")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    handler, level = logging.StreamHandler(found := io.StringIO()), OURS.level
    handler.setFormatter(logs.Lines())
    OURS.addHandler(handler)
    OURS.setLevel(logging.INFO)
    yield found
    OURS.removeHandler(handler)
    OURS.setLevel(level)


def lines(text: str) -> list[dict[str, Any]]:
    """Each line as what it says; a line that is no JSON object fails."""
    found = [json.loads(line) for line in text.splitlines()]
    for line in found:
        assert list(line)[:4] == ["timestamp", "level", "logger", "event"]
        assert dt.datetime.fromisoformat(line["timestamp"]).utcoffset() == dt.timedelta(0)
    return found


def test_a_retry_is_a_line_that_names_provider_run_and_slice_and_no_key(tmp_path: Path, written: io.StringIO) -> None:
    feed = PROVIDER.feed("overview")
    assert feed is not None
    busy = response(f'{{"Information": "your key {KEY}"}}'.encode(), status=f"503 {KEY}")
    with (
        Wire(lambda _request, _number: busy) as server,
        client(tmp_path, url=server.url, key=KEY) as made,
        stamina.set_testing(True, attempts=3),
        logs.about({"run_id": "r-1", "target": "bronze", "slice": "2026-11-16"}),
    ):
        part = Slice.at(NOW.date(), grain=feed.grain)
        members = [instrument("IBM")]
        ingest(
            PROVIDER,
            feed,
            part,
            members,
            store=FolderStore(tmp_path / "lake"),
            client=made,
            now=lambda: NOW,
            is_current=True,
        )
        assert all(KEY.encode() in request for request in server.requests)
    assert KEY not in written.getvalue()
    retries = [line for line in lines(written.getvalue()) if "asking again" in line["event"]]
    assert len(retries) == 2
    for line in retries:
        assert (line["level"], line["logger"]) == ("warning", "market_pipeline.fetch")
        assert line["provider"] == "alpha_vantage"
        assert (line["run_id"], line["target"], line["slice"]) == ("r-1", "bronze", "2026-11-16")
        assert line["wait_s"] >= 0


def test_a_run_says_how_it_began_and_ended(
    tmp_path: Path, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "recorded")
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", KEY)
    settings = load_settings()
    Pipeline(settings).initialize()
    for error in (None, Unreachable(f"The provider said {KEY}\nand more", provider="alpha_vantage")):
        with dg.build_resources({SESSION: session_resource(settings, None)}) as made:
            session = getattr(made, SESSION)
            session.errors.extend([] if error is None else [error])
    assert KEY not in written.getvalue()
    begun, ended, again, failed = lines(written.getvalue())
    assert (begun["event"], begun["level"], again["event"]) == ("A run begins", "info", "A run begins")
    assert (ended["status"], ended["exit_code"], ended["level"]) == ("success", 0, "info")
    assert (failed["status"], failed["exit_code"], failed["level"]) == ("failed", 1, "error")
    assert "The provider said [REDACTED]" in failed["event"]


def test_every_logger_of_a_dagster_process_writes_each_line_once() -> None:
    """Dagster's own handlers, uvicorn's loggers, warnings and tracebacks, in a process of their own."""
    code = """if True:
        import logging, warnings
        from dagster._utils.log import configure_loggers
        configure_loggers(formatter="json", log_level="INFO")
        from market_pipeline import logs
        logs.set_up(); logs.set_up()
        logging.getLogger("dagster.code_server").info("one")
        logging.getLogger("market_pipeline.fetch").info("two %s", "words")
        logging.getLogger("uvicorn.error").warning('three "quoted"\\nlines', extra={"port": 1, "odd": object()})
        logging.getLogger("somebody").info("too low")
        try:
            1 / 0
        except ZeroDivisionError:
            logging.getLogger("market_pipeline").exception("four")
        """
    environment = {**os.environ, logs.VARIABLE: "json"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = {line["event"]: line for line in [*lines(done.stdout), *lines(done.stderr)]}
    assert sorted(found) == ["four", "one", 'three "quoted"\nlines', "two words"]
    assert len(done.stdout.splitlines() + done.stderr.splitlines()) == 4
    assert found['three "quoted"\nlines']["port"] == 1
    assert "ZeroDivisionError" in found["four"]["exception"]


def test_each_event_that_dagster_prints_of_a_run_is_a_line_about_that_run() -> None:
    code = """if True:
        import dagster as dg
        from market_pipeline import logs

        @dg.op
        def ask(context): context.log.warning("two\\nlines")

        @dg.op
        def fail(): raise ValueError("gone wrong")

        @dg.job
        def both():
            ask()
            fail()

        logs.set_up()
        print(both.execute_in_process(raise_on_error=False).run_id)
        """
    environment = {**os.environ, logs.VARIABLE: "json"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = lines(done.stderr)
    assert {line["run_id"] for line in found} == {done.stdout.strip()}
    assert {line["job_name"] for line in found} == {"both"}
    (said,) = [line for line in found if line.get("orig_message") == "two\nlines"]
    assert (said["level"], said["step_key"]) == ("warning", "ask")
    (failed,) = [line for line in found if "STEP_FAILURE" in line["event"]]
    assert (failed["level"], failed["step_key"]) == ("error", "fail")
    assert "gone wrong" in failed["event"]


def test_what_json_has_no_word_for_loses_no_line(written: io.StringIO) -> None:
    fields = {
        "share": float("nan"),
        "rate": float("-inf"),
        "rows": 3,
        "by_number": {1: "one", ("a", 2): "pair", None: 0.5},
    }
    OURS.warning("odd", extra={**fields, "event": "not this one"})
    (line,) = [json.loads(text, parse_constant=pytest.fail) for text in written.getvalue().splitlines()]
    assert (line["event"], line["share"], line["rate"], line["rows"]) == ("odd", "nan", "-inf", 3)
    assert (line["1"], line["('a', 2)"], line["None"]) == ("one", "pair", 0.5)


@pytest.mark.parametrize("form", ["json", ""])
def test_the_command_line_speaks_to_people_unless_it_is_told_otherwise(tmp_path: Path, form: str) -> None:
    environment = {**os.environ, logs.VARIABLE: form, "MARKET_PIPELINE_PROFILE": "recorded"}
    environment["MARKET_PIPELINE_HOME"] = str(tmp_path)
    command = [sys.executable, "-m", "market_pipeline.cli", "query", "select 1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    if form == "json":
        (line,) = lines(done.stderr)
        assert (line["level"], line["logger"]) == ("error", "market_pipeline.cli")
    else:
        assert done.stderr.startswith("error: ")
        assert "{" not in done.stderr
