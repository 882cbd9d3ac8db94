"""What the arguments of run, backfill and replay mean, or the sentence that says why they can't.

What does not belong here: what is then run (`orchestration.legs`), what it costs (`bill`).
"""

from __future__ import annotations

import datetime as dt

from market_pipeline import calendar
from market_pipeline.errors import ConfigurationError, unknown
from market_pipeline.orchestration import legs
from market_pipeline.orchestration.partitions import first_day, note_first_day
from market_pipeline.partition import Grain
from market_pipeline.pipeline import Pipeline
from market_pipeline.universe import symbols_in


def selection(pipeline: Pipeline, targets: tuple[str, ...]) -> tuple[str, ...]:
    """The assets behind the targets; gold last."""
    for target in targets:
        refuse_unknown_target(pipeline, target)
    found = dict.fromkeys(key for target in targets for key in legs.select(pipeline, target))
    return tuple(sorted(found, key=lambda key: key == legs.GOLD))


def refuse_unknown_target(pipeline: Pipeline, target: str) -> None:
    """An error with the closest name for a target that is none."""
    feeds = [f"{provider.name}/{feed.dataset}" for provider, feed in pipeline.feeds()]
    known = ("all", *legs.LAYERS, *pipeline.providers, *feeds)
    if target not in known:
        raise unknown("target", target, known)


def refuse_impossible(pipeline: Pipeline, selection: tuple[str, ...], date: dt.date) -> None:
    """A slice that can't be asked for: one that has not begun or closed, a past snapshot from before the profile. What
    a provider still has of the past moves the profile's first day."""
    for provider, feed in legs.feeds_of(pipeline, selection):
        part, newest = pipeline.slice(feed, feed.grain.floor(date).isoformat()), pipeline.current_slice(feed)
        name, first = f"{provider.name}/{feed.dataset}", first_day(pipeline.settings)
        if part > newest:
            closes_at = calendar.close_of(part.start) if feed.grain is Grain.SESSION else None
            when = part.start.isoformat() if closes_at is None else f"{closes_at:%Y-%m-%d %H:%M} UTC"
            raise ConfigurationError(f"{name} {part.key} can't be run yet: come back after {when}")
        if feed.is_snapshot and part.end <= first:
            raise ConfigurationError(
                f"{name} {part.key} can't be run: a snapshot can't be taken afterwards; this profile's begin on {first}"
            )
        if not feed.is_snapshot:
            note_first_day(pipeline.settings, part.start)


def end_of(pipeline: Pipeline, since: dt.date, until: dt.date | None) -> dt.date:
    """The day after a range's last one."""
    today = pipeline.now().date()
    if since < calendar.FIRST_DAY:
        raise ConfigurationError(f"--since {since} is before the calendar, which begins on {calendar.FIRST_DAY}")
    if since > min(until or today, today):
        raise ConfigurationError(f"There is no day from {since} to {min(until or today, today)}")
    return min(until or today, today) + dt.timedelta(days=1)


def symbols(pipeline: Pipeline, given: tuple[str, ...]) -> tuple[str, ...]:
    """Symbols from an option, each followed."""
    names = symbols_in(given)
    followed = [instrument.symbol for instrument in pipeline.universe]
    for name in names:
        if name not in followed:
            raise unknown("followed symbol", name, followed)
    return names
