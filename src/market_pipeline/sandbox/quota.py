"""What a plan lets a key do: calls a day by the sandbox's clock, calls a second and a minute by the machine's.

An admitted call counts, whatever its answer; a refused one does not. What does not belong here: the provider's words
for a refusal.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from market_pipeline.sandbox.sessions import new_york_date

Refusal = Literal["per_second", "burst", "per_minute", "per_day"]

FREE_PER_DAY = 25
BURST_PER_SECOND = 30
_SECOND = 0.95  # calls that left a second apart may arrive a little closer


def key_label(key: str) -> str:
    """A key's name in reports: the first 12 hex digits of its SHA-256, never the key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def per_minute(plan: str) -> int | None:
    """Calls a minute of a plan, None where the plan has no such limit; unknown plans are an error."""
    match = re.fullmatch(r"premium-([1-9]\d{0,4})", plan)
    if match:
        return int(match[1])
    if plan in ("free", "unlimited"):
        return None
    raise ValueError(f"Unknown plan {plan!r}; one of: free, premium-<calls a minute>, unlimited")


@dataclass
class Quota:
    """One provider's counters. `monotonic` gives seconds."""

    plan: str
    monotonic: Callable[[], float]
    used: Counter[tuple[str, dt.date]] = field(default_factory=Counter)
    refused: Counter[tuple[str, Refusal]] = field(default_factory=Counter)
    _admitted: dict[str, deque[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._per_minute = per_minute(self.plan)

    def admit(self, key: str, now: dt.datetime) -> Refusal | None:
        """Count a call of this key at the sandbox's instant `now`, or say which limit refuses it."""
        refusal = self._refusal(key, now)
        if refusal is not None:
            self.refused[key, refusal] += 1
            return refusal
        self.used[key, new_york_date(now)] += 1
        if self.plan != "unlimited":
            self._recent(key).append(self.monotonic())
        return None

    def reset(self) -> None:
        """Forget every call."""
        self.used.clear()
        self.refused.clear()
        self._admitted.clear()

    def report(self, now: dt.datetime) -> dict[str, dict[str, object]]:
        """Per key label: calls today and since the start, and refusals by limit."""
        today = new_york_date(now)
        keys = sorted({key for key, _ in self.used} | {key for key, _ in self.refused})
        return {
            key_label(key): {
                "today": self.used[key, today],
                "total": sum(count for (k, _), count in self.used.items() if k == key),
                "refused": {limit: count for (k, limit), count in sorted(self.refused.items()) if k == key},
            }
            for key in keys
        }

    def _refusal(self, key: str, now: dt.datetime) -> Refusal | None:
        if self.plan == "unlimited":
            return None
        recent, instant = self._recent(key), self.monotonic()
        if self.plan == "free":
            if recent and instant - recent[-1] < _SECOND:
                return "per_second"
            return "per_day" if self.used[key, new_york_date(now)] >= FREE_PER_DAY else None
        if sum(instant - call < 1 for call in recent) >= BURST_PER_SECOND:
            return "burst"
        return "per_minute" if self._per_minute is not None and len(recent) >= self._per_minute else None

    def _recent(self, key: str) -> deque[float]:
        """Instants of the admitted calls of the last minute, oldest first."""
        calls = self._admitted.setdefault(key, deque())
        while calls and self.monotonic() - calls[0] >= 60:
            calls.popleft()
        return calls
