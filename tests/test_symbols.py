"""The user's own universe: what may stand in the file, what it changes, and the commands that write it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from conftest import REPOSITORY
from market_pipeline import universe
from market_pipeline.cli import symbols
from market_pipeline.errors import ConfigurationError
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import Settings, load_settings
from market_pipeline.warehouse import Warehouse

TODAY = dt.date(2026, 11, 20)
SEEDS = REPOSITORY / "dbt" / "seeds"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A profile of its own over the real instruments of the repository."""
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "recorded")
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    return load_settings()


def own_file(settings: Settings) -> Path:
    return settings.state / "universe.csv"


def followed(settings: Settings) -> dict[str, universe.Instrument]:
    """What the pipeline would ask for, by symbol."""
    known = universe.load(SEEDS, is_demo=False, own=own_file(settings))
    return {i.symbol: i for i in known.members(on=TODAY)}


def test_what_is_added_is_followed_and_what_is_removed_is_not(settings: Settings) -> None:
    before = followed(settings)
    assert "PLTR" not in before
    assert "IBM" in before
    symbols.add("PLTR", name="Palantir Technologies", exchange="NASDAQ", since=dt.date(2020, 9, 30))
    symbols.add("XLK", name="Technology Select Sector", asset_class="etf", exchange="NYSE")
    symbols.remove("IBM")
    after = followed(settings)
    assert set(after) == {*before, "PLTR", "XLK"} - {"IBM"}
    assert after["PLTR"].name == "Palantir Technologies"
    assert after["PLTR"].listed_date == dt.date(2020, 9, 30)
    assert (after["XLK"].asset_class, after["XLK"].listed_date) == ("etf", universe.UNKNOWN_LISTING)
    symbols.add("IBM")
    assert followed(settings)["IBM"] == before["IBM"], "the repository's line says what it is"


def test_an_id_stays_what_it_was_when_the_line_changes(settings: Settings) -> None:
    symbols.add("PLTR", name="Palantir", since=dt.date(2020, 9, 30))
    first = followed(settings)["PLTR"].instrument_id
    symbols.remove("PLTR")
    assert "PLTR" not in followed(settings)
    known = universe.load(SEEDS, is_demo=False, own=own_file(settings))
    assert first in {i.instrument_id for i in known.instruments}, "its history stays in gold"
    symbols.add("PLTR", since=dt.date(2021, 1, 4), name="Palantir Technologies")
    again = followed(settings)["PLTR"]
    assert (again.instrument_id, again.listed_date) == (first, dt.date(2021, 1, 4))


def test_twice_is_refused_and_says_who_follows_it(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"AAPL \(Apple Inc\) is followed already, by instruments\.csv"):
        symbols.add("aapl")
    symbols.add("PLTR", name="Palantir")
    with pytest.raises(ConfigurationError, match=r"PLTR .*universe\.csv"):
        symbols.add("PLTR", name="Palantir")


def test_an_unknown_symbol_gets_the_closest_followed_one(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"no followed symbol MSFTT; did you mean MSFT\?"):
        symbols.remove("MSFTT")


def test_a_symbol_that_was_anothers_needs_a_date(settings: Settings) -> None:
    """FB was Meta's until 2022-06-09."""
    with pytest.raises(ConfigurationError, match=r"FB was a symbol of META .*2022-06-09.*--since"):
        symbols.add("FB", name="Another company")
    assert not own_file(settings).exists(), "nothing is written that can't be read"
    symbols.add("FB", name="Another company", since=dt.date(2026, 1, 5))
    assert followed(settings)["FB"].instrument_id != followed(settings)["META"].instrument_id


def test_class_shares_are_spelled_as_the_vendors_do(settings: Settings) -> None:
    symbols.add("BF.B", name="Brown-Forman", since=dt.date(1990, 1, 2))
    added = followed(settings)["BF.B"]
    assert {p: added.spelling(p) for p in ("alpha_vantage", "fmp", "polygon")} == {
        "alpha_vantage": "BF-B",
        "fmp": "BF-B",
        "polygon": "BF.B",
    }


@pytest.mark.parametrize(
    ("symbol", "more", "why"),
    [
        ("../x", {}, "no symbol"),
        ("A" * 21, {}, "no symbol"),
        ("", {}, "no symbol"),
        ("PLTR", {"asset_class": "bond"}, "no asset class"),
    ],
)
def test_what_is_no_symbol_or_class_is_refused(settings: Settings, symbol: str, more: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        symbols.add(symbol, name="X", **more)  # type: ignore[arg-type]
    assert not own_file(settings).exists()


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("symbol\nPLTR\nPLTR\n", r"universe\.csv, line 3: PLTR is there already"),
        ("symbol,listed_date\nPLTR,30.9.2020\n", "line 2: listed_date .* YYYY-MM-DD"),
        ("symbol,listed_date\nPLTR,2020-13-40\n", "line 2"),
        ("symbol,is_followed\nPLTR,perhaps\n", "write true or false"),
        ("symbol,listed_date,delisted_date\nPLTR,2020-09-30,2019-01-01\n", "delisted before it was listed"),
        ("symbol,instrument_id\nPLTR,7\n", "no instrument_id"),
        ("symbol,instrument_id\nPLTR,44b27c00141131d1\n", "identity twice"),
        ("symbol,fmp\nPLTR,IBM\n", "one fmp spelling"),
    ],
)
def test_a_line_that_cannot_be_names_its_number_and_the_remedy(settings: Settings, lines: str, why: str) -> None:
    own_file(settings).parent.mkdir(parents=True)
    own_file(settings).write_text(lines)
    with pytest.raises(ConfigurationError, match=why):
        followed(settings)


def test_a_hand_written_line_needs_a_symbol_only(settings: Settings) -> None:
    own_file(settings).parent.mkdir(parents=True)
    own_file(settings).write_text("symbol\nPLTR\n")
    added = followed(settings)["PLTR"]
    assert (added.name, added.asset_class, added.currency) == ("PLTR", "stock", "USD")
    assert added.instrument_id == universe.instrument_id("stock", "PLTR", universe.UNKNOWN_LISTING)


def test_the_list_says_where_each_comes_from(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    symbols.add("PLTR", name="Palantir")
    symbols.remove("IBM")
    capsys.readouterr()
    symbols.list_symbols(json=True)
    told = {row["symbol"]: row for row in json.loads(capsys.readouterr().out)}
    assert told["PLTR"]["from"] == "universe.csv"
    assert told["AAPL"]["from"] == "instruments.csv"
    assert "IBM" not in told
    symbols.list_symbols(json=True, all=True)
    told = {row["symbol"]: row for row in json.loads(capsys.readouterr().out)}
    assert (told["IBM"]["is_followed"], told["IBM"]["from"]) == (False, "universe.csv")


# What gold knows


@pytest.fixture
def gold(settings: Settings, tmp_path: Path) -> Callable[..., None]:
    """Publish a dimension of these rows."""

    def publish(*rows: tuple[object, ...]) -> None:
        build = tmp_path / "build.duckdb"
        with duckdb.connect(str(build)) as con:
            con.execute(
                "create table dim_instrument (instrument_id varchar, symbol varchar, name varchar, "
                "asset_class varchar, exchange varchar, currency varchar, sector varchar, industry varchar, "
                "listed_date date, delisted_date date, is_delisted boolean, is_current boolean)"
            )
            con.executemany(f"insert into dim_instrument values ({', '.join('?' * 12)})", [list(row) for row in rows])
        Warehouse(settings.warehouse).publish(
            build,
            tables=["dim_instrument"],
            newest={},
            is_partial=False,
            missing=[],
            inputs_sha256="",
            profile=settings.profile,
            now=dt.datetime(2026, 11, 20, 22, tzinfo=dt.UTC),
        )

    return publish


def listing(
    number: int, symbol: str, name: str, listed: dt.date | None = None, delisted: dt.date | None = None, **more: str
) -> tuple[object, ...]:
    """A row of the dimension."""
    sector = (more.get("sector"), more.get("industry"))
    about = (more.get("asset_class", "stock"), more.get("exchange", "NYSE"), "USD", *sector)
    return (str(number) * 16, symbol, name, *about, listed, delisted, delisted is not None, True)


ROSTER = (
    listing(1, "PLTR", "Palantir Technologies Inc.", dt.date(2020, 9, 30), exchange="NASDAQ", sector="Technology"),
    listing(2, "PLTZ", "Plitz Corp"),
    listing(3, "ACMW", "Acme Warrants", asset_class="warrant"),
    listing(4, "REUS", "The former one", dt.date(1999, 1, 4), dt.date(2010, 5, 7)),
    listing(5, "REUS", "The present one", dt.date(2015, 3, 2)),
)


def test_gold_knows_the_rest_and_the_id_by_which_its_bars_are_known(
    settings: Settings, gold: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    gold(*ROSTER)
    symbols.add("pltr")
    added = followed(settings)["PLTR"]
    assert (added.instrument_id, added.name, added.exchange) == ("1" * 16, "Palantir Technologies Inc.", "NASDAQ")
    assert (added.sector, added.listed_date) == ("Technology", dt.date(2020, 9, 30))
    assert "as gold knows it" in capsys.readouterr().err


def test_what_is_said_wins_over_what_gold_knows(settings: Settings, gold: Callable[..., None]) -> None:
    gold(*ROSTER)
    symbols.add("PLTR", name="Palantir", since=dt.date(2021, 1, 4))
    added = followed(settings)["PLTR"]
    assert (added.instrument_id, added.name, added.listed_date) == ("1" * 16, "Palantir", dt.date(2021, 1, 4))


def test_a_reused_ticker_is_the_listing_that_lives(settings: Settings, gold: Callable[..., None]) -> None:
    gold(*ROSTER)
    symbols.add("REUS")
    assert followed(settings)["REUS"].name == "The present one"


def test_a_class_that_we_do_not_know_is_a_stock(settings: Settings, gold: Callable[..., None]) -> None:
    gold(*ROSTER)
    symbols.add("ACMW")
    assert followed(settings)["ACMW"].asset_class == "stock"


def test_a_symbol_that_no_roster_has_gets_the_closest_one_unless_it_is_described(
    settings: Settings, gold: Callable[..., None]
) -> None:
    gold(*ROSTER)
    with pytest.raises(ConfigurationError, match=r"no symbol PLTX .*did you mean PLT[RZ]\?.*--name"):
        symbols.add("PLTX")
    symbols.add("PLTX", name="A company that lists tomorrow")
    assert "PLTX" in followed(settings)


def test_without_a_roster_any_symbol_is_taken_as_it_is(settings: Settings) -> None:
    symbols.add("PLTX")
    assert followed(settings)["PLTX"].name == "PLTX"


def test_the_pipeline_follows_what_was_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_PIPELINE_PROFILE", "recorded")
    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path))
    (tmp_path / "recorded" / "state").mkdir(parents=True)
    before = {instrument.symbol for instrument in Pipeline(load_settings()).universe}
    symbols.add("PLTR", name="Palantir Technologies", since=dt.date(2020, 9, 30))
    after = {instrument.symbol for instrument in Pipeline(load_settings()).universe}
    assert after - before == {"PLTR"}


def test_the_repositorys_line_is_not_described_again(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"instruments\.csv describes METV already"):
        symbols.add("METV", name="My other name")
    assert not own_file(settings).exists()
    symbols.add("METV")
    assert followed(settings)["METV"].name != "My other name"


def test_an_option_that_names_no_symbol_does_not_mean_all() -> None:
    assert universe.symbols_in(()) == ()
    assert universe.symbols_in(("AAPL, MSFT", "IBM,")) == ("AAPL", "MSFT", "IBM")
    for empty in ("", " ", ",", " , "):
        with pytest.raises(ConfigurationError, match="--symbols names no symbol"):
            universe.symbols_in((empty,))
