"""What a plan lets a key do: calls a day by the sandbox's clock, calls a second and a minute by the machine's.

An admitted call counts, whatever its answer; a refused one does not. What does not belong here: which plan has which
limits, and the provider's words for a refusal.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from market_pipeline.sandbox.sessions import new_york_date

Refusal = Literal["per_second", "burst", "per_minute", "per_day"]


@dataclass(frozen=True, slots=True)
class Limits:
    """A plan's limits, None where it has none. `gap_s` is the least time between two calls."""

    per_day: int | None = None
    per_minute: int | None = None
    per_second: int | None = None
    gap_s: float | None = None


UNLIMITED = Limits()


def key_label(key: str) -> str:
    """A key's name in reports: the first 12 hex digits of its SHA-256, never the key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


@dataclass
class Quota:
    """One provider's counters. `monotonic` gives seconds."""

    limits: Limits
    monotonic: Callable[[], float]
    used: Counter[tuple[str, dt.date]] = field(default_factory=Counter)
    refused: Counter[tuple[str, Refusal]] = field(default_factory=Counter)
    _admitted: dict[str, deque[float]] = field(default_factory=dict)

    def admit(self, key: str, now: dt.datetime) -> Refusal | None:
        """Count a call of this key at the sandbox's instant `now`, or say which limit refuses it."""
        refusal = self._refusal(key, now)
        if refusal is not None:
            self.refused[key, refusal] += 1
            return refusal
        self.used[key, new_york_date(now)] += 1
        if self.limits != UNLIMITED:
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
        limits = self.limits
        if limits == UNLIMITED:
            return None
        recent, instant = self._recent(key), self.monotonic()
        if limits.gap_s is not None and recent and instant - recent[-1] < limits.gap_s:
            return "per_second"
        if limits.per_day is not None and self.used[key, new_york_date(now)] >= limits.per_day:
            return "per_day"
        if limits.per_second is not None and sum(instant - call < 1 for call in recent) >= limits.per_second:
            return "burst"
        return "per_minute" if limits.per_minute is not None and len(recent) >= limits.per_minute else None

    def _recent(self, key: str) -> deque[float]:
        """Instants of the admitted calls of the last minute, oldest first."""
        calls = self._admitted.setdefault(key, deque())
        while calls and self.monotonic() - calls[0] >= 60:
            calls.popleft()
        return calls
