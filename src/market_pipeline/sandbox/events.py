"""What happens in the fictional market, as values that tests and the demo can compare with.

`Event.symbol` is the symbol in force today, whatever the instrument was called on the day; it is empty for events of
the whole market.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """Kinds of events, with the meaning of `date`, `old` and `new`."""

    LISTING = "listing"  # first session; new = symbol of that day
    DELISTING = "delisting"  # last session; old = symbol
    RENAME = "rename"  # first day of the new symbol; old and new symbol
    NAME_CHANGE = "name_change"  # the same day; old and new company name
    SECTOR_CHANGE = "sector_change"  # first day of the new sector; old and new sector
    INDUSTRY_CHANGE = "industry_change"  # the same day; old and new industry
    SPLIT = "split"  # first session at the new price; old = 1, new = shares for one
    DIVIDEND = "dividend"  # ex-date; old = close of the session before, new = amount per share, both raw USD
    RESTATEMENT = "restatement"  # last session of the restated week; old and new close, raw USD
    LATE = "late"  # last session of the missing week; the row appears at `until`
    BAD_ROW = "bad_row"  # last session of the week; old = true value of the field that is wrong, new = what is served
    DUPLICATE_ROW = "duplicate_row"  # last session of the week whose row is served twice
    HALF_DAY = "half_day"  # session that closes at 13:00 New York time
    SPECIAL_DIVIDEND = "special_dividend"  # ex-date; new = the special part of that day's dividend
    # Daily bars of one provider, on the session `date`.
    CORRECTION = "correction"  # the close changes at `at`; old and new close
    PRICE_OFF = "price_off"  # the close is wrong by a cent for good; old = the right one, new = the one served
    MISSING_ROW = "missing_row"  # the row is missing for good; old = the close that nobody hears
    MISSED_SPLIT = "missed_split"  # the raw row is on the basis before the split; old = the right close, new = served
    # The rest of the market; `symbol` is the ticker of the day.
    ROSTER_LISTING = "roster_listing"  # first session; new = ticker
    ROSTER_DELISTING = "roster_delisting"  # last session; old = ticker
    ROSTER_RENAME = "roster_rename"  # first session under the new ticker; old and new ticker
    ROSTER_REUSE = "roster_reuse"  # first session of a ticker's next bearer; names of the former and the next one
    ROSTER_SPLIT = "roster_split"  # first session at the new price; old = 1, new = shares for one
    ROSTER_CORRECTION = "roster_correction"  # the close of session `date` changes at `at`; old and new close
    ROSTER_BAD_ROW = "roster_bad_row"  # high and low are exchanged for good; old and new = the true high and low
    ROSTER_DUPLICATE_ROW = "roster_duplicate_row"  # the row is there twice


ROSTER_ROWS = frozenset({EventKind.ROSTER_CORRECTION, EventKind.ROSTER_BAD_ROW, EventKind.ROSTER_DUPLICATE_ROW})


@dataclass(frozen=True, slots=True)
class Event:
    """One event: the API shows it from `at` (UTC) on, and until `until` if it ends; `provider` where only one does."""

    kind: EventKind
    symbol: str
    date: dt.date
    at: dt.datetime
    old: str | float | None = None
    new: str | float | None = None
    until: dt.datetime | None = None
    detail: str = ""
    provider: str = ""

    @property
    def week_start(self) -> dt.date:
        """Monday of the event's week."""
        return self.date - dt.timedelta(days=self.date.weekday())
