"""How targets become runs: which slices there are, which feeds can be asked, and what one run holds."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from market_pipeline.errors import ConfigurationError, KeyMissing
from market_pipeline.orchestration import legs
from market_pipeline.orchestration.legs import GOLD, Leg
from market_pipeline.orchestration.partitions import first_day, note_first_day, partitions
from market_pipeline.orchestration.resources import Asked
from market_pipeline.partition import Grain
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings

# A Friday evening, an hour after the close.
CLOCK = "2026-11-20T22:00:00Z"
SIX = ("2026-11-13", "2026-11-16", "2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20")
GROUPED = ("bronze/polygon/grouped_daily", "silver/polygon/grouped_daily")
RAW = ("bronze/fmp/eod_raw", "silver/fmp/eod_raw")


def pipeline(home: Path, **variables: str) -> Pipeline:
    """A sample profile, whose fictional market takes any key."""
    found = Pipeline(
        load_settings(
            {
                "MARKET_PIPELINE_PROFILE": "demo-legs",
                "MARKET_PIPELINE_HOME": str(home),
                "MARKET_PIPELINE_CLOCK": CLOCK,
                **variables,
            }
        )
    )
    found.settings.state.mkdir(parents=True, exist_ok=True)
    return found


def live(home: Path, **variables: str) -> Pipeline:
    """The live profile with these keys and plans only."""
    return Pipeline(load_settings({"MARKET_PIPELINE_HOME": str(home), **variables}))


def bronze(of: Pipeline, provider: str, dataset: str, *keys: str) -> None:
    """Slices that are in bronze; nobody looks into them."""
    for key in keys:
        of.store.create(f"bronze/{provider}/{dataset}/slice={key}/manifest-000001.json", b"{}")


# Partitions


def test_sessions_are_the_days_on_which_the_exchange_opens() -> None:
    """November and December 2026: Thanksgiving on the 26th, Christmas on a Friday; the day after Thanksgiving is a half
    day and a session."""
    clock = dt.datetime(2026, 12, 31, 12, tzinfo=dt.UTC)
    keys = partitions(Grain.SESSION, clock=clock, first=dt.date(2026, 11, 16)).get_partition_keys()
    november = [f"2026-11-{day}" for day in (16, 17, 18, 19, 20, 23, 24, 25, 27, 30)]
    december = [f"2026-12-{day:02d}" for day in range(1, 32) if dt.date(2026, 12, day).weekday() < 5 and day != 25]
    assert list(keys) == november + december


@pytest.mark.parametrize(
    ("day", "newest"),
    [
        ("2026-11-20", "2026-11-20"),  # a Friday: the running session is there
        ("2026-11-21", "2026-11-20"),
        ("2026-11-22", "2026-11-20"),
        ("2026-11-23", "2026-11-23"),
        ("2026-11-26", "2026-11-25"),  # Thanksgiving
        ("2026-11-27", "2026-11-27"),
        ("2026-11-29", "2026-11-27"),
    ],
)
def test_a_fixed_clock_ends_the_sessions_on_its_day(day: str, newest: str) -> None:
    clock = dt.datetime.fromisoformat(f"{day}T12:00:00Z")
    assert partitions(Grain.SESSION, clock=clock).get_partition_keys()[-1] == newest


def test_every_grain_begins_with_the_profiles_first_day_and_a_backfill_moves_it_back(tmp_path: Path) -> None:
    settings = pipeline(tmp_path).settings
    note_first_day(settings, dt.date(2026, 10, 14))
    first = {
        grain: partitions(grain, clock=settings.clock, first=first_day(settings)).get_partition_keys()[0]
        for grain in Grain
    }
    assert first == {
        Grain.SESSION: "2026-10-14",
        Grain.DAY: "2026-10-14",
        Grain.WEEK: "2026-10-12",
        Grain.MONTH: "2026-10-01",
    }
    note_first_day(settings, dt.date(2026, 11, 2))
    assert first_day(settings) == dt.date(2026, 10, 14)
    note_first_day(settings, dt.date(2021, 3, 1))
    assert first_day(settings) == dt.date(2021, 3, 1)


# Targets


def test_a_target_means_the_feeds_that_can_be_asked(tmp_path: Path) -> None:
    of = live(tmp_path, POLYGON_API_KEY="key", ALPHA_VANTAGE_API_KEY="key")
    found = legs.select(of, "all")
    assert set(GROUPED) <= set(found)
    assert "bronze/alpha_vantage/weekly_adjusted" in found
    assert "bronze/alpha_vantage/daily_adjusted" not in found, "the free plan never asks"
    assert not any("fmp" in key for key in found)
    assert found[-1] == GOLD
    assert legs.select(of, "polygon/grouped_daily") == (*GROUPED, GOLD)
    assert legs.select(of, "polygon/grouped_daily", layers=("bronze",)) == GROUPED[:1]


def test_a_feed_that_is_named_and_cannot_be_asked_says_why(tmp_path: Path) -> None:
    of = live(tmp_path, ALPHA_VANTAGE_API_KEY="key")
    with pytest.raises(KeyMissing, match=r"FMP_API_KEY.*init --with fmp"):
        legs.select(of, "fmp/eod_raw")
    with pytest.raises(KeyMissing, match="POLYGON_API_KEY"):
        legs.select(of, "polygon")
    with pytest.raises(ConfigurationError, match=r"plan free.*ALPHA_VANTAGE_PLAN"):
        legs.select(of, "alpha_vantage/daily_adjusted")
    with pytest.raises(KeyMissing):
        legs.select(live(tmp_path), "all")
    with pytest.raises(ConfigurationError, match="no target fmp/eod"):
        legs.select(of, "fmp/eod")


def test_silver_and_replays_need_no_key(tmp_path: Path) -> None:
    of = live(tmp_path)
    assert legs.select(of, "fmp/eod_raw", layers=("silver", "gold")) == (RAW[1], GOLD)
    assert not any(key.startswith("bronze/") for key in legs.select(of, "silver"))


# Legs


def test_a_run_of_everything_is_a_leg_per_grain_and_range_and_gold_once(tmp_path: Path) -> None:
    of = pipeline(tmp_path)
    plan = legs.present(of, legs.select(of, "all"))
    by_key = {asset: leg for leg in plan for asset in leg.selection}
    assert by_key["bronze/fmp/eod_raw"] is by_key["silver/polygon/grouped_daily"]
    assert by_key["bronze/fmp/eod_raw"].slice_keys == SIX
    assert by_key["bronze/fmp/eod_raw"].trailing
    assert by_key["bronze/alpha_vantage/daily_adjusted"].slice_keys == SIX[-1:]
    assert by_key["bronze/alpha_vantage/weekly_adjusted"] is by_key["bronze/fmp/profile"]
    assert by_key["bronze/fmp/profile"].slice_keys == ("2026-11-16",)
    assert by_key["bronze/polygon/splits"].slice_keys == ("2026-11-01",)
    assert plan[-1] == Leg((GOLD,))
    assert sum(GOLD in leg.selection for leg in plan) == 1


def test_feeds_of_one_grain_are_one_run_with_gold_in_it(tmp_path: Path) -> None:
    of = pipeline(tmp_path)
    (leg,) = legs.present(of, (*RAW, *GROUPED, GOLD))
    assert leg == Leg((*RAW, *GROUPED, GOLD), SIX, trailing=True)
    assert leg.tags() == {
        "dagster/asset_partition_range_start": "2026-11-13",
        "dagster/asset_partition_range_end": "2026-11-20",
        "market_pipeline/trailing": "true",
    }
    assert leg.slice_key is None


def test_without_a_window_a_run_asks_for_one_session(tmp_path: Path) -> None:
    (leg,) = legs.present(pipeline(tmp_path, MARKET_PIPELINE_TRAILING_SESSIONS="0"), (*GROUPED, GOLD))
    assert leg == Leg((*GROUPED, GOLD), SIX[-1:])
    assert leg.slice_key == "2026-11-20"
    assert leg.tags() == {}


@pytest.mark.parametrize(
    ("now", "months"),
    [
        ("2026-12-01T11:00:00Z", ("2026-11-01", "2026-12-01")),  # Tuesday morning: Monday the 30th is new
        ("2026-12-08T11:00:00Z", ("2026-11-01", "2026-12-01")),  # five sessions before the newest, the 7th, is the 30th
        ("2026-12-09T11:00:00Z", ("2026-12-01",)),
    ],
)
def test_a_month_is_asked_for_until_its_last_session_is_out_of_the_window(
    tmp_path: Path, now: str, months: tuple[str, ...]
) -> None:
    of = pipeline(tmp_path, MARKET_PIPELINE_CLOCK=now)
    (leg,) = legs.present(of, ("bronze/polygon/dividends",))
    assert leg.slice_keys == months


def test_a_date_picks_the_slice_of_each_grain(tmp_path: Path) -> None:
    of = pipeline(tmp_path)
    plan = legs.present(of, (*GROUPED, "bronze/fmp/profile", "bronze/polygon/splits"), date=dt.date(2026, 11, 10))
    assert {leg.slice_keys for leg in plan} == {("2026-11-10",), ("2026-11-09",), ("2026-11-01",)}
    with pytest.raises(ConfigurationError, match=r"2026-11-26 .*2026-11-25 and 2026-11-27"):
        legs.present(of, GROUPED, date=dt.date(2026, 11, 26))
    (weekly,) = legs.present(of, ("bronze/fmp/profile",), date=dt.date(2026, 11, 14))
    assert weekly.slice_keys == ("2026-11-09",), "a Saturday is no session, but it lies in a week"


def test_a_backfill_of_a_year_is_one_run(tmp_path: Path) -> None:
    of = pipeline(tmp_path)
    _, feed = of.feed("polygon", "grouped_daily")
    year = [part.key for part in of.slices(feed, dt.date(2025, 11, 20), dt.date(2026, 11, 21))]
    assert len(year) == 252
    (leg,) = legs.over(of, (*GROUPED, GOLD), {("polygon", "grouped_daily"): year})
    assert leg.selection == (*GROUPED, GOLD)
    assert list(leg.slice_keys) == year
    assert not leg.trailing


def test_a_backfill_spans_what_its_feeds_lack_and_leaves_out_those_that_lack_nothing(tmp_path: Path) -> None:
    of = pipeline(tmp_path)
    lacking = {
        ("polygon", "grouped_daily"): ["2026-11-16"],
        ("fmp", "eod_raw"): ["2026-11-13", "2026-11-19"],
        ("fmp", "eod_split_adjusted"): [],
        ("alpha_vantage", "daily_adjusted"): ["2026-11-20"],
        ("fmp", "profile"): ["2026-11-16"],
    }
    plan = legs.over(of, legs.select(of, "all"), lacking)
    assert Leg((*RAW, *GROUPED), SIX[:-1]) in plan
    daily = Leg(("bronze/alpha_vantage/daily_adjusted", "silver/alpha_vantage/daily_adjusted"), ("2026-11-20",))
    assert daily in plan, "a snapshot is not asked for sessions that it can't have"
    assert len(plan) == 4
    assert legs.over(of, legs.select(of, "all"), {}) == (Leg((GOLD,)),)


def test_a_replay_takes_what_bronze_has_in_unbroken_ranges(tmp_path: Path) -> None:
    of = pipeline(tmp_path)
    bronze(of, "fmp", "eod_raw", *SIX[:2], *SIX[3:])
    bronze(of, "polygon", "grouped_daily", *SIX[3:])
    bronze(of, "fmp", "profile", "2026-11-02", "2026-11-16")
    plan = legs.stored(of, legs.select(of, "all", layers=("silver", "gold")))
    assert set(plan) == {
        Leg((RAW[1],), SIX[:2]),
        Leg((RAW[1], GROUPED[1]), SIX[3:]),
        Leg(("silver/fmp/profile",), ("2026-11-02",)),
        Leg(("silver/fmp/profile",), ("2026-11-16",)),
        Leg((GOLD,)),
    }
    since = legs.stored(of, (RAW[1], "silver/fmp/profile", GOLD), since=dt.date(2026, 11, 18))
    assert set(since) == {
        Leg((RAW[1],), SIX[3:]),
        Leg(("silver/fmp/profile",), ("2026-11-16",)),
        Leg((GOLD,)),
    }, "the week that holds the day is replayed whole"
    assert legs.stored(of, (RAW[1], GOLD), until=dt.date(2026, 11, 16)) == (Leg((RAW[1], GOLD), SIX[:2]),)


def test_what_a_run_is_asked_for_survives_its_tags() -> None:
    asked = Asked(allow_partial=True, refetch=True, symbols=("AAA", "BBB"), max_calls=7)
    assert Asked.of(asked.tags()) == asked
    assert Asked.of({**Asked().tags(), "dagster/partition": "2026-11-20"}) == Asked()
    assert Asked.of({"market_pipeline/max_calls": "0"}).max_calls == 0
