"""The one HTTP client: pacing, quota, retries, verdicts; nothing of it raises but a spent budget.

`Client.fetch` gives a body and a verdict, or a verdict alone. Nothing that leaves it (body, reason, error, log) holds
the key. What does not belong here: how the key gets into a request, what a whole body is (`transport`), how the key is
found in what comes back (`redaction`). Over 300 lines because a request's tries, waits and next page are one thing.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2
import stamina
import stamina.instrumentation

from market_pipeline import __version__
from market_pipeline.errors import PayloadChanged, QuotaExhausted, RateLimited, Unreachable
from market_pipeline.feed import Feed, Outcome, Pace, Provider, Request, Verdict
from market_pipeline.quota import Budget, Ledger, key_id
from market_pipeline.redaction import Echo
from market_pipeline.transport import BadBody, HeadWatch, Signed, read_body

TRIES = 5
# Retries that a client may make at once, and those that each request adds: a storm must not multiply the calls.
RETRIES_MAX, RETRIES_PER_REQUEST = 15.0, 0.15
WAIT_FIRST_S, WAIT_MAX_S = 1.0, 60.0
RETRY_AFTER_MAX_S = 900.0
RETRY_AFTER_FAR_S = 30 * 86_400.0
ADDRESS_MAX = 8192
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# No connection came about, so the provider can't have counted a call.
_NEVER_LEFT = frozenset({"unreachable:ConnectError", "unreachable:ConnectTimeout"})

# These repeat status lines, headers and broken chunks as they came, and a server may echo the key in any of them.
# A filter, because a logger that is switched off is switched on again by whoever calls logging.config.dictConfig.
for _name in ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
    logging.getLogger(_name).addFilter(lambda _record: False)


def _tell_of_retry(details: stamina.instrumentation.RetryDetails) -> None:
    """One line per retry; the cause is ours, so it is redacted."""
    _log.warning(
        "%s; asking again in %.1f s",
        details.caused_by,
        details.wait_for,
        extra={"provider": getattr(details.caused_by, "provider", ""), "wait_s": round(details.wait_for, 3)},
    )


_log = logging.getLogger(__name__)
# stamina's own choice prints to standard output through structlog, in the middle of what a command writes there.
stamina.instrumentation.set_on_retry_hooks([_tell_of_retry])


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request: `body` is as received but for a redacted key, None when nothing usable arrived.

    `calls` counts the tries that reached the provider, failed ones too: all were booked. `fetched_at` is UTC.
    """

    verdict: Verdict
    body: bytes | None
    fetched_at: dt.datetime
    status: int | None
    content_type: str
    is_redacted: bool
    calls: int
    resumes_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a client waits: for a connection, between two pieces of an answer, for the whole head of an answer
    and its whole body, and for the last try of a request to begin."""

    connect_s: float = 10.0
    silence_s: float = 30.0
    head_s: float = 60.0
    body_s: float = 300.0
    retry_s: float = 300.0


PATIENCE = Patience()


class Client:
    """One provider, one key. `now` is the profile's clock, `sleep` and `wall` the machine's.

    However many requests fail, retries stay near a seventh of the requests: the first failures are tried five times,
    and in a storm that lasts the later ones once."""

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
        patience: Patience = PATIENCE,
    ) -> None:
        self.provider = provider
        self._base_url = base_url
        self._key = key
        self._echo = Echo(key)
        self._pace = pace
        self._ledger = ledger
        self._now = now
        self._sleep = sleep
        self._patience = patience
        self._retries_left = RETRIES_MAX
        self._watch = HeadWatch()
        self._http = httpx2.Client(
            transport=Signed(transport or httpx2.HTTPTransport(trust_env=False), auth=provider.auth, key=key),
            timeout=httpx2.Timeout(patience.silence_s, connect=patience.connect_s),
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

    def fetch(self, feed: Feed, request: Request, *, max_calls: int | None = None) -> Answer:
        """Ask until the answer is final, the tries are used up or `max_calls` have been made, one in any case. Raises
        QuotaExhausted before an unaffordable try."""
        calls = tries = 0
        last: Answer | None = None
        self._retries_left = min(RETRIES_MAX, self._retries_left + RETRIES_PER_REQUEST)

        def wait_before_next(error: Exception) -> float | bool:
            if isinstance(error, RateLimited) and error.retry_after is not None:
                return error.retry_after
            if isinstance(error, RateLimited | Unreachable):
                return random.uniform(WAIT_FIRST_S, min(WAIT_MAX_S, WAIT_FIRST_S * 2**tries))  # noqa: S311 - jitter
            return False

        try:
            seconds = self._patience.retry_s
            for attempt in stamina.retry_context(on=wait_before_next, attempts=TRIES, timeout=seconds):
                with attempt:
                    self._retries_left -= attempt.num > 1
                    wait = self._ledger.book(self.provider.name, key_id(self._key), self._pace, now=self._now())
                    self._sleep(wait)
                    answer = self._once(feed, request)
                    tries += 1
                    if answer.verdict.reason in _NEVER_LEFT:
                        self._ledger.give_back(self.provider.name, key_id(self._key), self._pace, now=self._now())
                    else:
                        calls += 1
                    last = replace(answer, calls=calls)
                    if self._retries_left >= 1 and (max_calls is None or calls < max_calls):
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

    def page_after(self, request: Request, address: str) -> Request:
        """The request of the page that an answer names by its whole address. The same scheme, host, port and path as
        the provider's own and no user, or PayloadChanged: a key must not follow an address to somebody else."""
        here = urlsplit(self._base_url)
        problem: str | None = None
        try:
            there = urlsplit(address)
            port = there.port
            given = parse_qsl(there.query, keep_blank_values=True, errors="strict")
        except ValueError:
            problem = "is no address"
        else:
            if len(address) > ADDRESS_MAX or not address.isascii() or not address.isprintable() or " " in address:
                problem = "has characters or a length that no address has"
            elif (there.scheme, there.hostname, port) != (here.scheme, here.hostname, here.port):
                problem = "leads to another host"
            elif "@" in there.netloc or there.fragment or "\\" in address:
                problem = "has a user, a fragment or a backslash"
            elif not there.path.startswith(here.path.rstrip("/") + "/") or _is_winding(there.path):
                problem = "leaves the provider's path"
            elif (
                self._echo.redact(f"{there.path} {' '.join(name for name, _ in given)}".encode())[1]
                or (self._echo.redact(unquote(there.path).encode())[1])
            ):
                problem = "has the key where no key belongs"
        if problem is not None:
            raise PayloadChanged(
                f"The next page of {request.name} {problem}; nothing was asked there",
                provider=self.provider.name,
                request=request.name,
                path="$.next_url",
            )
        params = tuple(
            (name, value)
            for name, value in given
            if name.lower() not in (self.provider.auth.name.lower(), "apikey")
            and not self._echo.redact(value.encode())[1]
        )
        return request.next_page(there.path.removeprefix(here.path.rstrip("/")), params)

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
        status: int | None = None
        content_type = ""
        try:
            with (
                self._watch.within(self._patience.head_s) as has_begun,
                self._http.stream(
                    "GET",
                    self._base_url + request.path,
                    params=list(request.params),
                    extensions={"trace": self._watch.trace},
                ) as response,
            ):
                has_begun()
                status = response.status_code
                content_type = self._echo.redact(response.headers.get("content-type", "").encode())[0].decode()
                retry_after = _retry_after(response.headers.get("retry-after"), now=self._now())
                received = read_body(response, limit=feed.max_bytes, seconds=self._patience.body_s)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return self._failed(
                f"unreachable:{type(error).__name__}",
                status,
                content_type,
                is_retryable=isinstance(error, httpx2.TransportError),
            )
        except BadBody as error:
            return self._failed(f"body:{error}", status, content_type, is_retryable=str(error) != "too_large")
        # Judged as received: a key may be a word of the message that tells what the body is.
        verdict, resumes_at = feed.classify(request, status, content_type, received), None
        if status in _RETRIED_STATUS and not (verdict.exhausts_quota or verdict.is_key):
            # The status says to come back, and the body may say when; a provider's word on its budget counts more.
            asked = retry_after if verdict.retry_after_s is None else verdict.retry_after_s
            verdict, resumes_at = _of_status(status, asked, now=self._now())
        body, is_redacted = self._echo.redact(received)
        return Answer(verdict, body, self._now(), status, content_type, is_redacted, 1, resumes_at)

    def _failed(self, reason: str, status: int | None, content_type: str, *, is_retryable: bool) -> Answer:
        verdict = Verdict(Outcome.FAILED, reason, is_retryable=is_retryable)
        return Answer(verdict, None, self._now(), status, content_type, is_redacted=False, calls=1, resumes_at=None)


def _is_winding(path: str) -> bool:
    """True for a path with dot segments or doubled slashes, encoded ones too."""
    parts = unquote(unquote(path)).split("/")[1:]
    return any(part in (".", "..") for part in parts) or "" in parts[:-1] or "\\" in unquote(path)


def _of_status(status: int, retry_after: float | None, *, now: dt.datetime) -> tuple[Verdict, dt.datetime | None]:
    if retry_after is not None:
        retry_after = _within_reach(retry_after)
    resumes_at = None if retry_after is None else now + dt.timedelta(seconds=retry_after)
    if retry_after is not None and retry_after > RETRY_AFTER_MAX_S:
        return Verdict(Outcome.DEFERRED, f"http_{status}_retry_later"), resumes_at
    return Verdict(Outcome.FAILED, f"http_{status}", is_retryable=True), resumes_at


def _retry_after(text: str | None, *, now: dt.datetime) -> float | None:
    """Seconds, from either form of RFC 9110 section 10.2.3; None for anything else."""
    if text is None:
        return None
    try:
        if text.strip().isdigit():
            return _within_reach(float(text))
        return _within_reach((parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _within_reach(seconds: float) -> float:
    """A wait that somebody asks for, in a header or a body, as far ahead as we believe it."""
    return min(max(0.0, seconds), RETRY_AFTER_FAR_S)
