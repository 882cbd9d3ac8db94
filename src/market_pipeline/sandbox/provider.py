"""What every provider of the sandbox is: a name, its limits, and an answer to a call.

A provider's module writes one `Provider` with its own words and shapes. What does not belong here: counting (`quota`),
misbehaving (`faults`) and the socket (`app`, `wire`).
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from market_pipeline.sandbox.faults import Fault
from market_pipeline.sandbox.quota import Limits, Refusal


@dataclass(frozen=True, slots=True)
class Call:
    """One request as its provider reads it.

    `endpoint`, `symbol` and `page` (from 1) are what faults and counters call it by. `base` is the provider's own
    address as the caller wrote it, `path` what follows.
    """

    endpoint: str
    symbol: str = ""
    page: int = 1
    key: str = ""
    base: str = ""
    path: str = ""
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One response before compression: `outcome` is `data`, `empty` or the name of a message."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    outcome: str = "data"


class Provider(ABC):
    """One provider's API. A call is judged in this order: key, quota, faults, answer."""

    name: ClassVar[str]
    messages: ClassVar[Collection[str]]
    plan: str
    limits: Limits

    @abstractmethod
    def call(self, base: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]) -> Call:
        """What a request asks for; anything at all must be readable."""

    @abstractmethod
    def refusal(self, call: Call) -> Answer | None:
        """What it has against the key; None when the call goes on to the quota."""

    def is_counted(self, _call: Call) -> bool:
        """False for a call that no quota knows."""
        return True

    @abstractmethod
    def limited(self, call: Call, limit: Refusal) -> Answer:
        """The words for a call beyond the quota."""

    @abstractmethod
    def message(self, name: str, call: Call) -> Answer:
        """One of `messages`, as the provider would say it."""

    @abstractmethod
    def answer(self, call: Call, now: dt.datetime) -> Answer:
        """The answer to an admitted call at the sandbox's instant."""

    def spoiled(self, answer: Answer, _fault: Fault, _call: Call) -> Answer:
        """The answer with a fault of its content (`faults.ANSWERED`); nothing to spoil where there are no pages."""
        return answer
