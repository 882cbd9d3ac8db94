"""Why the rest of a run is not asked.

What does not belong here: retries of one request (`fetch`), budgets (`quota`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from market_pipeline.errors import QuotaExhausted
from market_pipeline.feed import Feed, Outcome, Request
from market_pipeline.fetch import Answer, Client

# After so many requests in a row without any answer the rest is not asked: each costs minutes of retries. The same
# after so many that were answered by nothing but "busy" or "later": asking on only prolongs a storm.
BREAKER = 2
STORM = 5


@dataclass
class Brake:
    """Why the rest of a run is not asked, shared by all its slices: a spent budget, a refused key, a silent provider,
    or `max_calls` that somebody set."""

    max_calls: int | None = None
    stop: tuple[Outcome, str] | None = None
    resumes_at: dt.datetime | None = None
    is_key_refused: bool = False
    _unanswered: int = field(default=0, init=False)
    _put_off: int = field(default=0, init=False)
    _calls: int = field(default=0, init=False)

    def ask(self, client: Client, feed: Feed, request: Request) -> Answer | None:
        """The answer to a request, None when it is not asked; then `stop` says why."""
        left = None if self.max_calls is None else self.max_calls - self._calls
        if left is not None and left <= 0 and self.stop is None:
            self.stop = (Outcome.DEFERRED, "call_limit")
        if self.stop is not None:
            return None
        try:
            answer = client.fetch(feed, request, max_calls=left)
        except QuotaExhausted as error:
            self.resumes_at, self.stop = error.resets_at, (Outcome.DEFERRED, "call_budget_spent")
            return None
        verdict = answer.verdict
        self._calls += answer.calls
        self._unanswered = self._unanswered + 1 if verdict.reason.startswith("unreachable") else 0
        self._put_off = self._put_off + 1 if verdict.is_retryable else 0
        if verdict.is_key:
            self.is_key_refused, self.stop = True, (Outcome.REFUSED, "key_refused")
        elif verdict.outcome is Outcome.DEFERRED:
            self.resumes_at = answer.resumes_at or client.budget().resets_at
            self.stop = (
                Outcome.DEFERRED,
                "call_budget_spent" if verdict.exhausts_quota else "provider_asked_to_wait",
            )
        elif self._unanswered >= BREAKER or self._put_off >= STORM:
            self.stop = (Outcome.FAILED, "provider_unreachable")
        return answer
