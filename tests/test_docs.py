"""What the documents say is true: commands exist, files exist, variables exist, and the code block runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from market_pipeline import providers
from market_pipeline.contracts import contract, own_columns
from market_pipeline.feed import Instrument, Outcome
from market_pipeline.partition import Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.settings import PREFIX, REPOSITORY, load_settings

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    named = {t for d in DOCUMENTS for t in re.findall(r"(?:`|\$ )make ([a-z][a-z-]*)", d.read_text(encoding="utf-8"))}
    assert named
    assert named <= targets


def test_every_command_in_the_documents_exists() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "market_pipeline.cli", "--help"], capture_output=True, text=True, check=True
    )
    commands = set(re.findall(r"^│ ([a-z]+) ", done.stdout, re.MULTILINE))
    pattern = r"market-pipeline ([a-z]+)"
    named = {c for d in DOCUMENTS for c in re.findall(pattern, d.read_text(encoding="utf-8"))}
    assert named
    assert named <= commands


def test_every_command_has_its_help_in_one_sentence_and_an_example_of_nothing_heavy() -> None:
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "market_pipeline.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    for heavy in ("polars", "duckdb", "dagster", "pydantic", "streamlit"):
        assert not re.search(rf"\b{heavy}\b", loaded), f"--help imports {heavy}"


def test_every_file_that_a_document_links_to_exists() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
        for path in re.findall(r"`((?:tests|src|docs|dbt|dashboards|benchmarks)/[\w./-]+\.\w+)`", document.read_text()):
            assert (REPOSITORY / path).exists(), f"{document.name} names {path}"


def test_the_example_environment_names_every_variable_and_no_other() -> None:
    named = set(re.findall(r"^([A-Z0-9_]+)=", text_of(".env.example"), re.MULTILINE))
    settings = load_settings({})
    own = {PREFIX + name.upper() for name in type(settings.fields).model_fields}
    theirs = {
        variable
        for provider in providers.load().values()
        for variable in (
            (provider.auth.setting, *(feed.query_setting for feed in provider.feeds))
            if provider.auth.place == "url"
            else (provider.auth.setting, provider.base_url_setting, provider.plan_setting)
        )
    }
    told = {"MARKET_PIPELINE_VERSION", "SETTINGS_TIME"}  # by whoever starts it, and by docker/stack
    compose = set(re.findall(r"\$\{([A-Z0-9_]+)", text_of("compose.yaml"))) - told
    assert named == own | theirs | compose


def test_the_provider_in_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", text_of("docs/adding-a-provider.md"), re.DOTALL)
    (tmp_path / "acme_quotes.py").write_text(block)
    monkeypatch.setattr(providers, "__path__", [*providers.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "market_pipeline.providers.acme_quotes", raising=False)
    found = providers.load()
    assert {PROVIDER.name, "acme_quotes"} <= set(found)
    (feed,) = found["acme_quotes"].feeds
    import datetime as dt

    instrument = Instrument("0" * 16, "XLOM", "Xelomar", "stock", "NASDAQ", "USD", None, None, dt.date(2019, 1, 1))
    week = Slice.at(dt.date(2026, 11, 20), grain=feed.grain)
    (request,) = feed.plan(week, (instrument,))
    body = (
        b'[{"week":"2026-11-09","last":"2026-11-13","o":10,"h":12.5,"l":9,"c":11,"a":11,"v":1000,"d":0},'
        b'{"week":"2026-11-02","last":"2026-11-06","o":9,"h":11,"l":8,"c":10,"a":10,"v":900,"d":0.1}]'
    )
    assert feed.classify(request, 200, "", body).outcome is Outcome.FETCHED
    assert feed.classify(request, 404, "", b"").outcome is Outcome.REFUSED
    assert feed.classify(request, 200, "", b"[]").outcome is Outcome.EMPTY
    assert feed.classify(request, 200, "", body[:-1]).outcome is Outcome.FAILED
    frame = feed.parse(body, request)
    assert set(frame.columns) == set(own_columns(contract(feed.contract)))
    assert frame.height == 2
