"""Misbehaviour on demand: which calls go wrong, and how.

A plan of faults is a list of `Fault`; the first one that matches a call and is not used up is what the call gets
(`latency` only delays, the next match still applies). What does not belong here: how a broken answer is put on the
wire (`app`).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

Kind = Literal[
    "status", "message", "html", "truncate", "gzip_cut", "reset", "latency", "repeated_cursor", "foreign_host"
]
# Kinds that the provider's answer carries already when it goes on the wire.
ANSWERED = frozenset({"message", "repeated_cursor", "foreign_host"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to go wrong.

    status    HTTP `status` (429, 500, 503, ...) with a text body; `retry_after` seconds in the header when given
    message   the provider's own refusal called `message`, JSON where CSV was asked for too
    html      HTTP 200 and a page, as a proxy in between would answer
    truncate  the body ends after `fraction` of its bytes; the length header says the whole length and the connection
              closes early (`keeps_length`), or it says the length that is sent
    gzip_cut  a gzip stream that ends after `fraction` of its bytes, with a length header that fits
    reset     the connection is reset before any answer
    latency   the answer comes after `seconds`
    repeated_cursor, foreign_host   a page whose address of the next one is its own, or leads to another host

    `provider`, `endpoint` and `symbol` are shell patterns, `page` is one page of a paged answer (None: all);
    `probability` is drawn for each match; `count` is how many calls in all (None: no end).
    """

    kind: Kind
    provider: str = "*"
    endpoint: str = "*"
    symbol: str = "*"
    page: int | None = None
    probability: float = 1.0
    count: int | None = None
    status: int = 503
    retry_after: int | None = None
    message: str = ""
    fraction: float = 0.5
    keeps_length: bool = True
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"Unknown fault {self.kind!r}; one of: {', '.join(get_args(Kind))}")
        if not 0 <= self.probability <= 1 or not 0 <= self.fraction < 1:
            raise ValueError("probability is 0 to 1, fraction 0 to below 1")

    def matches(self, provider: str, endpoint: str, symbol: str, page: int) -> bool:
        """True when the fault is meant for this call."""
        return (
            fnmatchcase(provider, self.provider)
            and fnmatchcase(endpoint, self.endpoint)
            and fnmatchcase(symbol, self.symbol)
            and self.page in (None, page)
        )


def parse(document: object, *, messages: Mapping[str, Collection[str]]) -> tuple[Fault, ...]:
    """Faults from decoded JSON, a list of objects; `messages` are the names that `message` may have, by provider."""
    if not isinstance(document, Sequence) or not all(isinstance(item, Mapping) for item in document):
        raise ValueError("Faults are a list of objects")
    known = {field.name for field in fields(Fault)}
    found: list[Fault] = []
    for item in document:
        unknown = set(item) - known
        if unknown or "kind" not in item:
            raise ValueError(f"A fault needs a kind and knows: {', '.join(sorted(known))}")
        fault = Fault(**item)
        known_messages = {name for p, names in messages.items() if fnmatchcase(p, fault.provider) for name in names}
        if fault.kind == "message" and fault.message not in known_messages:
            raise ValueError(f"Unknown message {fault.message!r}; one of: {', '.join(sorted(known_messages))}")
        found.append(fault)
    return tuple(found)


class Plan:
    """The faults in force, with what is left of their counts; draws come from the seed."""

    def __init__(self, faults: Sequence[Fault] = (), *, seed: int = 0) -> None:
        self._seed = seed
        self.replace(faults)

    def replace(self, faults: Sequence[Fault]) -> None:
        """Put other faults in force, and draw from the start again."""
        self._faults = tuple(faults)
        self._left = [fault.count for fault in faults]
        self._hits = [0] * len(faults)
        self._random = random.Random(self._seed)  # noqa: S311 - reproducible draws are the point

    def draw(
        self, *, provider: str, endpoint: str, symbol: str, page: int, messages: Collection[str]
    ) -> tuple[Fault, ...]:
        """The faults that this call gets: delays, then at most one that breaks the answer. `messages` are the refusals
        that its provider knows; others are not for it."""
        drawn: list[Fault] = []
        for number, fault in enumerate(self._faults):
            left = self._left[number]
            is_foreign = fault.kind == "message" and fault.message not in messages
            if left == 0 or is_foreign or not fault.matches(provider, endpoint, symbol, page):
                continue
            if self._random.random() >= fault.probability:
                continue
            self._left[number] = None if left is None else left - 1
            self._hits[number] += 1
            drawn.append(fault)
            if fault.kind != "latency":
                break
        return tuple(drawn)

    def report(self) -> list[dict[str, Any]]:
        """Each fault with `left` (None: no end) and `hits`."""
        return [
            {**asdict(fault), "left": left, "hits": hits}
            for fault, left, hits in zip(self._faults, self._left, self._hits, strict=True)
        ]
