"""Slices: keys invert, slices tile, and no date has two spellings."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_pipeline.errors import ConfigurationError
from market_pipeline.partition import Grain, Slice, slices

DAYS = st.dates(dt.date(1900, 1, 1), dt.date(2200, 12, 31))
GRAINS = st.sampled_from(Grain)


@given(DAYS, GRAINS)
def test_a_key_leads_back_to_its_slice(day: dt.date, grain: Grain) -> None:
    part = Slice.at(day, grain=grain)
    assert part.start <= day < part.end
    assert Slice.from_key(part.key, grain=grain) == part
    assert part.key == part.start.isoformat()


@given(DAYS, st.integers(0, 800), GRAINS)
def test_slices_tile_the_range_without_gap_or_overlap(since: dt.date, days: int, grain: Grain) -> None:
    until = since + dt.timedelta(days=days)
    parts = slices(since, until, grain=grain)
    if not days:
        assert parts == ()
        return
    assert parts[0].start <= since < parts[0].end
    assert parts[-1].start < until <= parts[-1].end
    assert all(before.end == after.start for before, after in itertools.pairwise(parts))
    assert len({part.key for part in parts}) == len(parts)


@given(DAYS, GRAINS)
def test_every_day_of_a_slice_floors_to_its_start(day: dt.date, grain: Grain) -> None:
    part = Slice.at(day, grain=grain)
    inside = [part.start + dt.timedelta(days=n) for n in range((part.end - part.start).days)]
    assert {grain.floor(d) for d in inside} == {part.start}
    assert grain.floor(part.end) == part.end


@pytest.mark.parametrize(
    ("grain", "day", "start", "end"),
    [
        (Grain.DAY, "2026-11-18", "2026-11-18", "2026-11-19"),
        (Grain.WEEK, "2026-11-22", "2026-11-16", "2026-11-23"),
        (Grain.WEEK, "2027-01-01", "2026-12-28", "2027-01-04"),
        (Grain.MONTH, "2024-02-29", "2024-02-01", "2024-03-01"),
        (Grain.MONTH, "2026-12-31", "2026-12-01", "2027-01-01"),
    ],
)
def test_known_slices(grain: Grain, day: str, start: str, end: str) -> None:
    part = Slice.at(dt.date.fromisoformat(day), grain=grain)
    assert (part.start.isoformat(), part.end.isoformat()) == (start, end)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "20261116",
        "2026-W47-1",
        "2026-11-16 ",
        "2026-11-16T00:00",
        "2026-13-01",
        "2026-02-30",
        "../2026-11-16",
        "today",
    ],
)
def test_only_one_spelling_of_a_date_is_a_key(key: str) -> None:
    with pytest.raises(ConfigurationError):
        Slice.from_key(key, grain=Grain.WEEK)


def test_a_date_inside_a_slice_is_no_key_and_the_error_names_the_right_one() -> None:
    with pytest.raises(ConfigurationError, match="2026-11-16"):
        Slice.from_key("2026-11-18", grain=Grain.WEEK)
    with pytest.raises(ConfigurationError, match="2026-11-01"):
        Slice.from_key("2026-11-18", grain=Grain.MONTH)


def test_the_end_of_time_is_an_error_of_ours() -> None:
    with pytest.raises(ConfigurationError):
        Slice.from_key("9999-12-31", grain=Grain.DAY)
