"""What a provider is: frozen data and pure functions, no socket and no clock.

A provider module defines one `PROVIDER`. What does not belong here: sending (`fetch`), storing (`ingest`),
judging rows (`normalize` with a contract).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from market_pipeline.partition import Grain, Slice

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
    """One call, without the key: `name` is unique within its slice and becomes part of the object's name.

    `instrument_id` and `symbol` are None for a request about the whole market, whose rows name their symbols.
    `since` <= date < `until` is what a request of a spanning feed covers. `page` counts from 1 and is None where the
    endpoint has no pages.
    """

    name: str
    path: str
    params: tuple[tuple[str, str], ...]
    extension: str
    instrument_id: str | None = None
    symbol: str | None = None
    since: dt.date | None = None
    until: dt.date | None = None
    page: int | None = None

    @property
    def chain(self) -> str:
        """The name that all pages of one answer share."""
        return self.name if self.page is None else self.name.rpartition(" ")[0]

    def next_page(self, path: str, params: tuple[tuple[str, str], ...]) -> Request:
        """The request of the page after this one."""
        page = (self.page or 1) + 1
        return replace(self, name=f"{self.chain} {page:04d}", path=path, params=params, page=page)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a body is, whatever its HTTP status: `reason` is a short stable word for reports, never the body itself.

    `is_retryable`: asking again within seconds may help. `is_key`: the key is refused, so every other request would be
    too. `exhausts_quota`: the provider says that the day's budget is spent, whatever our own count is. `retry_after_s`:
    the seconds that the body asks for, which count more than a header's.
    """

    outcome: Outcome
    reason: str = ""
    is_retryable: bool = False
    is_key: bool = False
    exhausts_quota: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Auth:
    """Where the key goes. `setting` is the environment variable that holds it; `prefix` precedes it in a header.

    The place `url` is a database's: its whole address is the secret, user and password in it."""

    setting: str
    place: Literal["query", "header", "none", "url"]
    name: str = ""
    obtain: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """A plan's limits: at most `calls_per_day` in a window that starts at midnight of `reset_zone`, and `interval_s`
    seconds between the starts of two calls. None means no daily cap."""

    calls_per_day: int | None
    interval_s: float
    reset_zone: str = "America/New_York"


Plan = Callable[[Slice, Sequence[Instrument]], tuple[Request, ...]]


def per_instrument(request: Callable[[Instrument], Request]) -> Plan:
    """A plan of one request per instrument, whatever the slice."""
    return lambda _part, instruments: tuple(request(instrument) for instrument in instruments)


@dataclass(frozen=True, slots=True)
class Feed:
    """One endpoint: `plan` gives the requests of a range, `classify` says what a body is, `parse` makes it a frame.

    `plan(range, instruments)` gets the instruments that the feed serves and that are listed in the range. `follow`
    gives the address of the page after a body, None on the last one. `parse` gives one row per fact with the contract's
    column names; values may be text, the contract casts them; a nullable column that a provider lacks may be left out.
    A payload about the whole market names its rows' `symbol` itself.

    - `is_snapshot`: the answer is everything the endpoint knows, so the slice is the period of fetching, and a past one
      can't be fetched any more. With `moves_until_close` its running period is in the answer and moves, so a snapshot
      taken before the period's last session has closed is asked for again after it.
    - `spans`: one request covers a range of slices, so a backfill asks once per instrument. `span_slices` is the
      longest range of one request.
    - `is_revised`: the provider corrects what it has published, so the newest slices are asked for again (setting
      MARKET_PIPELINE_TRAILING_SESSIONS).
    - `date_column`: the row's own date, which lies in its slice; None for snapshots.
    - `plans`: the account's plans that include the endpoint; None means all. Others never ask.
    - `query_setting`: the environment variable with the query that a database is asked; without it nothing is asked.
    """

    dataset: str
    contract: str
    grain: Grain
    is_snapshot: bool
    asset_classes: frozenset[str]
    plan: Plan
    classify: Callable[[Request, int, str, bytes], Verdict]
    parse: Callable[[bytes, Request], pl.DataFrame]
    endpoint: str
    description: str
    delay: str
    adjustment: str
    licence_note: str
    moves_until_close: bool = False
    follow: Callable[[Request, bytes], str | None] | None = None
    spans: bool = False
    span_slices: int = 1250
    is_revised: bool = False
    date_column: str | None = None
    plans: frozenset[str] | None = None
    query_setting: str | None = None
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
