"""What a provider is: frozen data and pure functions, no socket and no clock.

A provider module defines one `PROVIDER`. What does not belong here: sending (`fetch`), storing (`ingest`),
judging rows (`normalize` with a contract).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from market_pipeline.partition import Grain

if TYPE_CHECKING:
    import polars as pl


class Outcome(StrEnum):
    """What became of one planned request; `FETCHED` and `EMPTY` are final for the slice."""

    FETCHED = "fetched"
    EMPTY = "empty"
    NOT_YET = "not_yet"
    REFUSED = "refused"
    FAILED = "failed"
    DEFERRED = "deferred"

    @property
    def is_final(self) -> bool:
        """True when a rerun has nothing to ask again."""
        return self in (Outcome.FETCHED, Outcome.EMPTY)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One thing with a price, whatever it is called today.

    `instrument_id` survives renames; `symbol` is the provider-neutral spelling in force; `spellings` overrides it per
    provider. Dates are calendar dates of the listing exchange; None means unknown or still listed.
    """

    instrument_id: str
    symbol: str
    name: str
    asset_class: str
    exchange: str
    currency: str
    sector: str | None
    industry: str | None
    listed_date: dt.date
    delisted_date: dt.date | None = None
    spellings: tuple[tuple[str, str], ...] = ()

    def spelling(self, provider: str) -> str:
        """How this provider writes the symbol."""
        return dict(self.spellings).get(provider, self.symbol)

    def is_listed(self, since: dt.date, until: dt.date) -> bool:
        """True when the listing overlaps the half-open range of dates."""
        return self.listed_date < until and (self.delisted_date is None or self.delisted_date >= since)


@dataclass(frozen=True, slots=True)
class Request:
    """One call, without the key: `name` is unique within its slice and becomes part of the object's name."""

    name: str
    path: str
    params: tuple[tuple[str, str], ...]
    extension: str
    instrument_id: str | None = None
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a body is, whatever its HTTP status: `reason` is a short stable word for reports, never the body itself.

    `is_retryable`: asking again within seconds may help. `is_key`: the key is refused, so every other request would be
    too. `exhausts_quota`: the provider says that the day's budget is spent, whatever our own count is.
    """

    outcome: Outcome
    reason: str = ""
    is_retryable: bool = False
    is_key: bool = False
    exhausts_quota: bool = False


@dataclass(frozen=True, slots=True)
class Auth:
    """Where the key goes. `setting` is the environment variable that holds it."""

    setting: str
    place: Literal["query", "header", "none"]
    name: str = ""
    obtain: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """A plan's limits: at most `calls_per_day` in a window that starts at midnight of `reset_zone`, and `interval_s`
    seconds between the starts of two calls. None means no daily cap."""

    calls_per_day: int | None
    interval_s: float
    reset_zone: str = "America/New_York"


@dataclass(frozen=True, slots=True)
class Feed:
    """One endpoint: `plan` gives the requests of a slice, `classify` says what a body is, `parse` makes it a frame.

    A snapshot feed answers with everything it knows, so its slice is the period of fetching and a past slice can't be
    fetched any more. With `moves_until_close` its running period is in the answer and moves, so a snapshot taken before
    the period's last session has closed is asked for again after it. `parse` gives one row per fact with the contract's
    column names; values may be text, the contract casts them.
    """

    dataset: str
    contract: str
    grain: Grain
    is_snapshot: bool
    asset_classes: frozenset[str]
    plan: Callable[[Instrument], Request]
    classify: Callable[[Request, int, str, bytes], Verdict]
    parse: Callable[[bytes, Request], pl.DataFrame]
    endpoint: str
    description: str
    delay: str
    adjustment: str
    licence_note: str
    moves_until_close: bool = False
    max_bytes: int = 32 * 1024 * 1024
    priority: int = 100


@dataclass(frozen=True, slots=True)
class Provider:
    """Everything the pipeline knows of one provider; `base_url_setting` overrides `base_url`."""

    name: str
    title: str
    base_url: str
    base_url_setting: str
    auth: Auth
    plans: Mapping[str, Pace]
    plan_setting: str
    default_plan: str
    feeds: tuple[Feed, ...]

    def feed(self, dataset: str) -> Feed | None:
        """The feed of this dataset, None when the provider has none."""
        return next((feed for feed in self.feeds if feed.dataset == dataset), None)
