"""Freshness by data date against the calendar: late means late for a session, not for a day."""

from __future__ import annotations

import datetime as dt

import pytest

from market_pipeline import freshness
from market_pipeline.partition import Grain


def at(text: str) -> dt.datetime:
    """An instant in New York."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=freshness._ZONE).astimezone(dt.UTC)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-11-20T17:00", "2026-11-19"),  # an hour after the close vendors still work on it
        ("2026-11-21T05:59", "2026-11-19"),
        ("2026-11-21T06:00", "2026-11-20"),
        ("2026-11-23T12:00", "2026-11-20"),  # Monday noon: Friday's
        ("2026-11-26T12:00", "2026-11-25"),  # Thanksgiving
        ("2026-11-27T12:00", "2026-11-25"),  # the morning after it: still Wednesday's
        ("2026-11-28T12:00", "2026-11-27"),
    ],
)
def test_a_session_is_due_on_the_morning_after_it(now: str, due: str) -> None:
    assert freshness.due_session(at(now)).isoformat() == due


@pytest.mark.parametrize(
    ("grain", "now", "due"),
    [
        (Grain.WEEK, "2026-11-20T17:00", "2026-11-09"),  # Friday's session is not due, so its week is not
        (Grain.WEEK, "2026-11-21T12:00", "2026-11-16"),
        (Grain.WEEK, "2026-11-25T12:00", "2026-11-16"),
        (Grain.MONTH, "2026-12-01T12:00", "2026-11-01"),  # the session of 30 November
        (Grain.MONTH, "2026-12-02T12:00", "2026-12-01"),
    ],
)
def test_a_week_is_due_with_its_last_session_and_a_month_with_its_first(grain: Grain, now: str, due: str) -> None:
    assert freshness.due_slice(grain, at(now)).isoformat() == due


@pytest.mark.parametrize(
    ("newest", "said"),
    [
        ("2026-11-20", ""),
        ("2026-11-19", "1 session late: newest 2026-11-19, due 2026-11-20"),
        ("2026-11-13", "5 sessions late"),
    ],
)
def test_lateness_counts_sessions(newest: str, said: str) -> None:
    found = freshness.lateness(Grain.SESSION, dt.date.fromisoformat(newest), at("2026-11-23T12:00"))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_over_a_holiday_nothing_is_late() -> None:
    """Wednesday's data on the Friday morning after Thanksgiving."""
    assert freshness.lateness(Grain.SESSION, dt.date(2026, 11, 25), at("2026-11-27T12:00")) == ""


def test_a_daily_table_is_judged_by_session_and_others_by_week() -> None:
    now = at("2026-11-25T12:00")
    assert freshness.of_table("fact_daily_price", "2026-11-23", now).startswith("1 session late")
    assert freshness.of_table("fact_daily_price", "2026-11-24", now) == ""
    assert freshness.of_table("fact_adjusted_prices", "2026-11-20", now) == ""
    assert "the week of 2026-11-16 is due" in freshness.of_table("fact_adjusted_prices", "2026-11-13", now)
