"""Settings: who wins, what contradicts what, and that no error tells a secret."""

from __future__ import annotations

import datetime as dt
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest

from market_pipeline import settings as module
from market_pipeline.errors import ConfigurationError
from market_pipeline.feed import Pace
from market_pipeline.providers import load
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.settings import Settings, load_settings

KEY, URL, PLAN = "ALPHA_VANTAGE_API_KEY", "ALPHA_VANTAGE_BASE_URL", "ALPHA_VANTAGE_PLAN"
SECRET = "CANARY-9f8e7d6c"


def given(**variables: str) -> Settings:
    """Settings of these `MARKET_PIPELINE_*` variables alone; provider variables are given in full."""
    return load_settings(
        {k if k.startswith("ALPHA") else f"MARKET_PIPELINE_{k}": v for k, v in variables.items()},
    )


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository root with an empty `.env`."""
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    (tmp_path / ".env").touch(mode=0o600)
    return tmp_path / ".env"


def test_defaults_are_the_real_lake_of_the_repository() -> None:
    found = load_settings({})
    assert (found.profile, found.is_sample, found.is_demo) == ("live", False, False)
    assert found.root == module.REPOSITORY / "data" / "live"
    assert {found.lake.parent, found.warehouse.parent, found.state.parent, found.dbt_target.parent} == {found.root}
    assert found.key(PROVIDER) is None
    assert found.base_url(PROVIDER) == "https://www.alphavantage.co"
    assert found.pace(PROVIDER)[0] == "free"
    assert found.pace(PROVIDER)[1].calls_per_day == 25


def test_the_process_environment_wins_over_the_file(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv.write_text(f"MARKET_PIPELINE_PROFILE=filed\nMARKET_PIPELINE_DASHBOARD_PORT=9001\n{KEY}=from-file\n")
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "processed")
    found = load_settings()
    assert (found.profile, found.dashboard_port, found.key(PROVIDER)) == ("processed", 9001, "from-file")
    monkeypatch.setenv(KEY, "from-process")
    assert load_settings().key(PROVIDER) == "from-process"


def test_a_given_environment_replaces_the_process_and_the_file(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv.write_text("MARKET_PIPELINE_PROFILE=filed\n")
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "processed")
    monkeypatch.setenv("MARKET_PIPELINE_UNIVERSE", "IBM")
    monkeypatch.setenv("market_pipeline_sandbox_port", "1")
    found = load_settings({})
    assert (found.profile, found.universe, found.sandbox_port) == ("live", (), 8765)


def test_blank_variables_count_as_unset(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROFILE", "CLOCK", "UNIVERSE", "HOME", "DASHBOARD_PORT", "ALERT_URL", "AUTOMATION"):
        monkeypatch.setenv(f"MARKET_PIPELINE_{name}", "  ")
    found = load_settings()
    assert (found.profile, found.clock, found.universe, found.dashboard_port) == ("live", None, (), 8501)
    assert found.alert_url is None
    assert given(PROFILE="x", ALPHA_VANTAGE_API_KEY="  ").key(PROVIDER) is None


LOOPBACKS = (
    "http://127.0.0.1:8765/alpha_vantage",
    "http://localhost:8765",
    "http://LOCALHOST:8765",
    "http://[::1]:8765",
    "https://127.0.0.1",
    "https://localhost.",
    "https://sandbox.localhost",
    "https://127.0.0.2",
    "https://127.1",
    "https://2130706433",
    "https://0x7f000001",
    "https://0.0.0.0",
    "https://[::]",
    "https://[::ffff:127.0.0.1]",
)


@pytest.mark.parametrize("url", LOOPBACKS)
def test_the_live_profile_never_talks_to_this_machine(url: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{URL}.*MARKET_PIPELINE_PROFILE"):
        given(ALPHA_VANTAGE_BASE_URL=url, ALPHA_VANTAGE_API_KEY=SECRET).base_url(PROVIDER)


@pytest.mark.parametrize("profile", ["recorded", "demo-2", "liver"])
@pytest.mark.parametrize(
    "url",
    [
        "https://www.alphavantage.co",
        "https://www.alphavantage.co/",
        "https://WWW.AlphaVantage.CO",
        "https://www.alphavantage.co:443",
        "https://www.alphavantage.co.",
        "https://alphavantage.co",
        "https://api.alphavantage.co/x",
    ],
)
def test_a_sample_profile_never_talks_to_the_real_api(profile: str, url: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{URL}.*PROFILE=live"):
        given(PROFILE=profile, ALPHA_VANTAGE_BASE_URL=url).base_url(PROVIDER)


def test_a_sample_profile_without_an_address_is_told_to_set_one() -> None:
    with pytest.raises(ConfigurationError, match=URL):
        given(PROFILE="recorded").base_url(PROVIDER)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "example.com",
        "https://",
        "https://user@example.com",
        f"https://user:{SECRET}@example.com",
        f"https://:{SECRET}@example.com",
        f"https://example.com?apikey={SECRET}",
        f"https://example.com#{SECRET}",
        "https://[::1",
        "https://example.com:99999",
        "https://example.com:port",
        "https://exa mple.com",
        "https://example.com/\n",
        "https://example.com\\@127.0.0.1",
        "http://example.com",
        "http://127.0.0.1.example.com",
        "https://[::1].example.com",
    ],
)
def test_addresses_that_are_none_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match=URL) as caught:
        given(PROFILE="recorded", ALPHA_VANTAGE_BASE_URL=f"{url}x" if url.endswith("\n") else url).base_url(PROVIDER)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_plain_http_is_for_loopback_only() -> None:
    assert given(PROFILE="recorded", ALPHA_VANTAGE_BASE_URL="http://127.0.0.1:1/av/").base_url(PROVIDER) == (
        "http://127.0.0.1:1/av"
    )
    with pytest.raises(ConfigurationError, match="https"):
        given(ALPHA_VANTAGE_BASE_URL="http://www.alphavantage.co").base_url(PROVIDER)


def test_the_demo_ignores_every_provider_variable() -> None:
    found = given(
        PROFILE="demo",
        ALPHA_VANTAGE_API_KEY=SECRET,
        ALPHA_VANTAGE_BASE_URL="https://www.alphavantage.co",
        ALPHA_VANTAGE_PLAN="nonsense",
    )
    assert found.base_url(PROVIDER) == "http://127.0.0.1:8765/alpha_vantage"
    assert found.key(PROVIDER) not in (None, SECRET)
    assert found.pace(PROVIDER) == ("premium-1200", Pace(calls_per_day=None, interval_s=0.0))
    named = given(PROFILE="demo-2", ALPHA_VANTAGE_PLAN="premium-1200").pace(PROVIDER)
    assert named == ("premium-1200", Pace(calls_per_day=None, interval_s=0.05)), "a named plan keeps its pace"
    assert SECRET not in found.secrets(load())


def test_the_clock_is_for_samples_only() -> None:
    clock = "2026-11-20T17:00:00-05:00"
    assert given(PROFILE="demo", CLOCK=clock).now() == dt.datetime(2026, 11, 20, 22, 0, tzinfo=dt.UTC)
    assert given(PROFILE="demo", CLOCK=clock).now().tzinfo is dt.UTC
    with pytest.raises(ConfigurationError, match="MARKET_PIPELINE_CLOCK"):
        given(CLOCK=clock)
    with pytest.raises(ConfigurationError, match="time zone"):
        given(PROFILE="demo", CLOCK="2026-11-20T17:00:00")
    assert given().now().tzinfo is dt.UTC


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROFILE", "../live"),
        ("PROFILE", "Live"),
        ("PROFILE", "live\n"),
        ("PROFILE", "a" * 33),
        ("CLOCK", SECRET),
        ("DASHBOARD_PORT", "70000"),
        ("DAGSTER_PORT", SECRET),
        ("MAX_REJECTED_RATIO", "2"),
        ("KEEP_GENERATIONS", "1"),
        ("TRAILING_SESSIONS", "-1"),
        ("TRAILING_SESSIONS", "61"),
        ("TRAILING_SESSIONS", "many"),
        ("MIN_ROW_RATIO", "1.1"),
        ("MIN_COVERAGE_RATIO", "-0.1"),
        ("AUTOMATION", SECRET),
    ],
)
def test_errors_name_the_variable_and_the_remedy_and_never_the_value(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"MARKET_PIPELINE_{name} .*mend it in \.env") as caught:
        given(**{"PROFILE": "demo", name: value, "ALERT_URL": f"mailto://u:{SECRET}@example.com"})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None


def test_no_text_of_the_settings_tells_the_alert_address() -> None:
    found = given(ALERT_URL=f"mailto://u:{SECRET}@example.com")
    assert found.alert_url == f"mailto://u:{SECRET}@example.com"
    assert SECRET not in repr(found.fields)
    assert SECRET in found.secrets(load())[0]


@pytest.mark.parametrize(
    ("url", "secret", "public"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrI/#general", ["T1JJ3T3L2", "TIiajkdnlazkcOXrI"], []),
        ("https://hooks.example.com/services/TOKEN0123", ["TOKEN0123"], ["hooks.example.com", "services"]),
        ("tgram://123456789:AbC-dEf_0123/987654321", ["123456789", "AbC-dEf_0123", "987654321"], []),
        ("mailto://a:s3cr%40t@mail.example.com?to=market-pipeline", ["s3cr@t", "s3cr%40t"], ["a", "market-pipeline"]),
        ("mailto://somebody:5ecret@example.com", ["somebody", "5ecret"], ["example.com"]),
        (
            "jsons://localhost:8443/path?token=abcdef%2F12==&format=text",
            ["abcdef/12==", "abcdef%2F12=="],
            ["localhost"],
        ),
        ("json://a.example.com/aaaa1111, json://b.example.com/bbbb2222", ["aaaa1111", "bbbb2222"], ["b.example.com"]),
        ("ntfy://a-topic-that-is-secret", ["a-topic-that-is-secret"], []),
    ],
)
def test_what_signs_in_at_an_alerts_address_is_a_secret(url: str, secret: list[str], public: list[str]) -> None:
    found = given(ALERT_URL=url).secrets(load())
    assert found[0] == url
    assert set(secret) <= set(found)
    assert not set(public) & set(found)


def test_an_unknown_plan_lists_the_known() -> None:
    with pytest.raises(ConfigurationError, match=r"ALPHA_VANTAGE_PLAN.*free.*premium-75"):
        given(ALPHA_VANTAGE_PLAN="gold").pace(PROVIDER)


def test_the_thresholds_of_the_checks_have_defaults_and_can_be_set() -> None:
    found = given()
    assert (found.trailing_sessions, found.min_row_ratio, found.min_coverage_ratio) == (5, 0.7, 0.5)
    found = given(TRAILING_SESSIONS="0", MIN_ROW_RATIO="0.9", MIN_COVERAGE_RATIO="1")
    assert (found.trailing_sessions, found.min_row_ratio, found.min_coverage_ratio) == (0, 0.9, 1.0)


def test_the_universe_is_a_list() -> None:
    assert given(UNIVERSE=" IBM, ,AAPL,").universe == ("IBM", "AAPL")


def test_automation_needs_a_real_key_unless_told() -> None:
    assert not given(PROFILE="demo").is_automated(keys=True)
    assert given().is_automated(keys=True)
    assert not given().is_automated(keys=False)
    assert given(PROFILE="demo", AUTOMATION="on").is_automated(keys=False)
    assert not given(AUTOMATION="off").is_automated(keys=True)


def test_a_child_process_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setenv("MARKET_PIPELINE_ALERT_URL", SECRET)
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "demo")
    child: Mapping[str, str] = load_settings().child_environment(providers=load())
    assert SECRET not in child.values()
    assert child["MARKET_PIPELINE_PROFILE"] == "demo"
    assert "PATH" in child


@pytest.mark.parametrize("key", ["“ABCDEFGH”", "ABC\u00a0DEF", "ABC\tDEF"])
def test_a_key_with_a_character_that_no_key_has_names_its_setting(key: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{KEY} holds a character") as caught:
        given(**{KEY: key}).key(PROVIDER)
    assert "ABC" not in str(caught.value)
