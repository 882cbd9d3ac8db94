"""The one HTTP client: auth, pacing, quota, retries, size limits, redaction.

`Client.fetch` gives a body and a verdict, or a verdict alone; it raises only when the call budget is spent. This is
the one place where a key meets a URL, and nothing that leaves it (body, reason, error, log) holds the key.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote, quote_plus

import httpx2
import stamina

from market_pipeline import __version__
from market_pipeline.errors import QuotaExhausted, RateLimited, Unreachable
from market_pipeline.feed import Feed, Outcome, Pace, Provider, Request, Verdict
from market_pipeline.quota import Budget, Ledger, key_id

TRIES = 5
RETRY_SECONDS = 300.0
WAIT_FIRST_S, WAIT_MAX_S = 1.0, 60.0
RETRY_AFTER_MAX_S = 900.0
DECODED_MAX = 256 * 1024 * 1024
RATIO_MAX = 200
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
REDACTED = b"[REDACTED]"

# httpx2 logs whole URLs at INFO, and providers take the key in the query.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request: `body` is as received but for a redacted key, None when nothing usable arrived.

    `calls` counts every try, failed ones too: all were booked. `fetched_at` is UTC.
    """

    verdict: Verdict
    body: bytes | None
    fetched_at: dt.datetime
    status: int | None
    content_type: str
    is_redacted: bool
    calls: int
    resumes_at: dt.datetime | None = None


class _BadBody(Exception):
    """Bytes that can't be the whole answer; the text is a short stable word."""


class Client:
    """One provider, one key. `now` is the profile's clock, `sleep` and `wall` the machine's."""

    def __init__(
        self,
        provider: Provider,
        *,
        base_url: str,
        key: str | None,
        pace: Pace,
        ledger: Ledger,
        now: Callable[[], dt.datetime],
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.provider = provider
        self._base_url = base_url
        self._key = key
        self._pace = pace
        self._ledger = ledger
        self._now = now
        self._sleep = sleep
        self._http = httpx2.Client(
            transport=transport,
            timeout=httpx2.Timeout(30.0, connect=10.0),
            follow_redirects=False,
            trust_env=False,
            headers={"Accept-Encoding": "gzip", "User-Agent": f"market-pipeline/{__version__}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def budget(self) -> Budget:
        """What is left of the key's window."""
        return self._ledger.budget(self.provider.name, key_id(self._key), self._pace, now=self._now())

    def fetch(self, feed: Feed, request: Request) -> Answer:
        """Ask until the answer is final or the tries are used up. Raises QuotaExhausted before an unaffordable try."""
        calls = 0
        last: Answer | None = None

        def wait_before_next(error: Exception) -> float | bool:
            if isinstance(error, RateLimited) and error.retry_after is not None:
                return error.retry_after
            if isinstance(error, RateLimited | Unreachable):
                return random.uniform(WAIT_FIRST_S, min(WAIT_MAX_S, WAIT_FIRST_S * 2**calls))  # noqa: S311 - jitter
            return False

        try:
            for attempt in stamina.retry_context(on=wait_before_next, attempts=TRIES, timeout=RETRY_SECONDS):
                with attempt:
                    wait = self._ledger.book(self.provider.name, key_id(self._key), self._pace, now=self._now())
                    self._sleep(wait)
                    calls += 1
                    last = replace(self._once(feed, request), calls=calls)
                    self._raise_if_worth_a_retry(last, request)
        except (RateLimited, Unreachable):
            pass
        except QuotaExhausted:
            if last is None:
                raise
        if last is None:
            raise AssertionError("a retry context gives at least one attempt")
        if last.verdict.exhausts_quota:
            resets_at = self._ledger.exhaust(self.provider.name, key_id(self._key), self._pace, now=self._now())
            return replace(last, resumes_at=resets_at)
        return last

    def _raise_if_worth_a_retry(self, answer: Answer, request: Request) -> None:
        if not answer.verdict.is_retryable:
            return
        what = f"{self.provider.name} {request.name}: {answer.verdict.reason}"
        if answer.status in (429, 503) or answer.verdict.reason.startswith("rate_limited"):
            after = None
            if answer.resumes_at is not None:
                after = max(0.0, (answer.resumes_at - self._now()).total_seconds())
            raise RateLimited(what, provider=self.provider.name, request=request.name, retry_after=after)
        raise Unreachable(what, provider=self.provider.name, request=request.name)

    def _once(self, feed: Feed, request: Request) -> Answer:
        """One try. Every failure of the wire becomes a verdict with a short reason and no foreign text."""
        params, headers = dict(request.params), {}
        if self._key and self.provider.auth.place == "query":
            params[self.provider.auth.name] = self._key
        if self._key and self.provider.auth.place == "header":
            headers[self.provider.auth.name] = self._key
        status: int | None = None
        content_type = ""
        try:
            with self._http.stream("GET", self._base_url + request.path, params=params, headers=headers) as response:
                status = response.status_code
                content_type = response.headers.get("content-type", "")
                retry_after = _retry_after(response.headers.get("retry-after"), now=self._now())
                body, is_redacted = self._redact(_read(response, limit=feed.max_bytes))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return self._failed(
                f"unreachable:{type(error).__name__}",
                status,
                content_type,
                is_retryable=isinstance(error, httpx2.TransportError),
            )
        except _BadBody as error:
            return self._failed(f"body:{error}", status, content_type, is_retryable=str(error) != "too_large")
        if status in _RETRIED_STATUS:
            verdict, resumes_at = _of_status(status, retry_after, now=self._now())
        else:
            verdict, resumes_at = feed.classify(request, status, content_type, body), None
        return Answer(verdict, body, self._now(), status, content_type, is_redacted, 1, resumes_at)

    def _failed(self, reason: str, status: int | None, content_type: str, *, is_retryable: bool) -> Answer:
        verdict = Verdict(Outcome.FAILED, reason, is_retryable=is_retryable)
        return Answer(verdict, None, self._now(), status, content_type, is_redacted=False, calls=1, resumes_at=None)

    def _redact(self, body: bytes) -> tuple[bytes, bool]:
        """The body without the key, in any spelling a server is likely to echo."""
        if not self._key:
            return body, False
        spellings = {
            self._key,
            quote(self._key, safe=""),
            quote_plus(self._key),
            self._key.replace("/", "\\/"),
        }
        pattern = b"|".join(re.escape(s.encode()) for s in sorted(spellings, key=len, reverse=True))
        clean, count = re.subn(pattern, REDACTED, body, flags=re.IGNORECASE)
        return clean, count > 0


def _of_status(status: int, retry_after: float | None, *, now: dt.datetime) -> tuple[Verdict, dt.datetime | None]:
    resumes_at = None if retry_after is None else now + dt.timedelta(seconds=retry_after)
    if retry_after is not None and retry_after > RETRY_AFTER_MAX_S:
        return Verdict(Outcome.DEFERRED, f"http_{status}_retry_later"), resumes_at
    return Verdict(Outcome.FAILED, f"http_{status}", is_retryable=True), resumes_at


def _retry_after(text: str | None, *, now: dt.datetime) -> float | None:
    """Seconds, from either form of RFC 9110 section 10.2.3; None for anything else."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _read(response: httpx2.Response, *, limit: int) -> bytes:
    """The whole body within the limits. HTTP clients accept a body cut short in several framings, so the framing must
    vouch for the end: a length, chunks, or gzip's own trailer (RFC 1952)."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    is_framed = "content-length" in response.headers or "transfer-encoding" in response.headers
    if encoding not in ("identity", "gzip"):
        raise _BadBody("unknown_encoding")
    if encoding == "identity" and not is_framed:
        raise _BadBody("unframed")
    inflate = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    received, parts, total = 0, [], 0
    for chunk in response.iter_raw():
        received += len(chunk)
        if received > limit:
            raise _BadBody("too_large")
        if inflate is not None:
            room = min(DECODED_MAX, max(received * RATIO_MAX, 1 << 16)) - total
            try:
                chunk = inflate.decompress(chunk, max(1, room + 1))  # noqa: PLW2901 - the decoded chunk
            except zlib.error:
                raise _BadBody("gzip_broken") from None
            if len(chunk) > room or inflate.unconsumed_tail:
                raise _BadBody("too_large")
        total += len(chunk)
        parts.append(chunk)
    if inflate is not None and (not inflate.eof or inflate.unused_data):
        raise _BadBody("gzip_cut_short")
    return b"".join(parts)
