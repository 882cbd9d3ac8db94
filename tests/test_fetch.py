"""The HTTP client against a hostile other end: cut bodies, bombs, storms, redirects, and servers that echo the key."""

from __future__ import annotations

import datetime as dt
import gzip
import html
import json
import logging
import random
import socket
import string
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_plus

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_pipeline import fetch
from market_pipeline.errors import QuotaExhausted
from market_pipeline.feed import Auth, Feed, Outcome, Pace, Request, Verdict
from market_pipeline.fetch import Answer, Client, Patience
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.quota import Ledger
from market_pipeline.redaction import REDACTED
from wire import FAST, KEY, NOW, Parts, Wire, bar, client, csv, instrument, reply, response, weeks

WEEKLY = PROVIDER.feed("weekly_adjusted")
OVERVIEW = PROVIDER.feed("overview")
assert WEEKLY is not None
assert OVERVIEW is not None
PART = Slice.at(NOW.date(), grain=Grain.WEEK)
(IBM,) = WEEKLY.plan(PART, (instrument("IBM"),))
BODY = weeks(2)
Respond = Callable[[httpx2.Request], httpx2.Response]


class Time:
    """The machine's clock, moved by sleeping only."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Time:
    """A clock on which waiting costs nothing."""
    made = Time()
    monkeypatch.setattr(time, "sleep", made.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def ask(folder: Path, answer: Respond, *, feed: Feed = WEEKLY, key: str | None = KEY, pace: Pace = FAST) -> Answer:
    """One fetch over a function in the place of the network."""
    with client(folder, answer=answer, key=key, pace=pace) as made:
        return made.fetch(feed, feed.plan(PART, (instrument("IBM"),))[0])


def booked(folder: Path, *, key: str | None = KEY) -> int:
    """Calls in the ledger."""
    with client(folder, key=key, answer=lambda _: reply(b"")) as made:
        return made.budget().used


def head(*lines: str) -> bytes:
    """Start of an answer."""
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "Connection: close", "", ""]).encode()


GZIPPED = gzip.compress(BODY, mtime=0)


@pytest.mark.usefixtures("single_try")
def test_a_plain_body_whose_length_matches_the_cut_passes_at_the_end_of_a_line_only(tmp_path: Path) -> None:
    """Nothing on the wire tells such a body from a whole one: the limit of what can be seen."""
    ends = {n + 1 for n, byte in enumerate(BODY) if byte == ord("\n")}
    taken = set()
    cuts = iter(range(len(BODY)))
    with client(tmp_path, answer=lambda _: reply(BODY[: next(cuts)])) as made:
        for cut in range(len(BODY)):
            if made.fetch(WEEKLY, IBM).verdict.outcome in (Outcome.FETCHED, Outcome.EMPTY):
                taken.add(cut)
    assert taken == ends - {len(BODY)}


@pytest.mark.usefixtures("single_try")
@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (GZIPPED[:-4] + b"\0\0\0\0", {"content_encoding": "gzip"}, "body:gzip_broken"),
        (GZIPPED + b"more", {"content_encoding": "gzip"}, "body:gzip_cut_short"),
        (GZIPPED + GZIPPED, {"content_encoding": "gzip"}, "body:gzip_cut_short"),
        (BODY, {"content_encoding": "gzip"}, "body:gzip_broken"),
        (b"", {"content_encoding": "gzip"}, "body:gzip_cut_short"),
        (BODY, {"content_encoding": "br"}, "body:unknown_encoding"),
        (GZIPPED, {"content_encoding": "gzip, gzip"}, "body:unknown_encoding"),
        (b"", {}, "empty_body"),
        (b" \r\n", {}, "empty_body"),
    ],
)
def test_bodies_that_are_not_whole_have_a_reason(
    tmp_path: Path, body: bytes, headers: dict[str, str], reason: str
) -> None:
    answer = ask(tmp_path, lambda _: reply(body, **headers))
    assert (answer.verdict.outcome, answer.verdict.reason) == (Outcome.FAILED, reason)
    assert answer.body is None or not answer.body.strip()


def test_gzip_is_decoded_whatever_its_pieces(tmp_path: Path) -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        pieces = [GZIPPED[i : i + 1] for i in range(len(GZIPPED))]
        return httpx2.Response(
            200, headers={"Content-Encoding": "GZIP", "Transfer-Encoding": "chunked"}, stream=Parts(*pieces)
        )

    assert ask(tmp_path, answer).body == BODY


@pytest.mark.usefixtures("single_try")
def test_the_limit_counts_bytes_on_the_wire_and_is_exact(tmp_path: Path) -> None:
    whole = replace(WEEKLY, max_bytes=len(BODY))
    assert ask(tmp_path, lambda _: reply(BODY), feed=whole).verdict.outcome is Outcome.FETCHED
    small = replace(WEEKLY, max_bytes=len(BODY) - 1)
    assert ask(tmp_path, lambda _: reply(BODY), feed=small).verdict.reason == "body:too_large"


@pytest.mark.usefixtures("single_try")
@pytest.mark.parametrize(
    "body",
    [b"[" * 5_000_000, b'{"a":' * 200_000, b'{"Symbol":' + b"9" * 1_000_000 + b"}", b'{"Symbol":"IBM","Name":1e999}'],
)
def test_deep_or_huge_json_is_judged_not_followed(tmp_path: Path, body: bytes) -> None:
    for feed in (WEEKLY, OVERVIEW):
        verdict = ask(tmp_path, lambda _: reply(body), feed=feed).verdict
        assert verdict.outcome in (Outcome.FAILED, Outcome.FETCHED)
        assert verdict.outcome is Outcome.FAILED or (feed is OVERVIEW and body.endswith(b"1e999}"))


@pytest.mark.usefixtures("single_try")
def test_a_body_that_drips_ends_some_time(tmp_path: Path) -> None:
    def drip(_head: bytes, _number: int) -> Iterator[bytes]:
        yield head("Content-Length: 100000")
        for _ in range(200):
            time.sleep(0.02)
            yield b"x"

    started = time.monotonic()
    with Wire(drip) as server, client(tmp_path, url=server.url, patience=Patience(body_s=0.2)) as made:
        assert made.fetch(WEEKLY, IBM).verdict.reason == "body:too_slow"
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("single_try")
def test_a_head_that_drips_ends_some_time(tmp_path: Path) -> None:
    """Each byte starts a time-out between two bytes anew, so the head has a time of its own."""

    def drip(_head: bytes, _number: int) -> Iterator[bytes]:
        for byte in b"HTTP/1.1 200 OK\r\nX-Patience: " + b"x" * 200:
            time.sleep(0.02)
            yield bytes([byte])

    started = time.monotonic()
    with Wire(drip) as server, client(tmp_path, url=server.url, patience=Patience(head_s=0.2)) as made:
        answer = made.fetch(WEEKLY, IBM)
    assert (answer.verdict.outcome, answer.verdict.is_retryable) == (Outcome.FAILED, True)
    assert answer.verdict.reason.startswith("unreachable")
    assert time.monotonic() - started < 3


def test_a_storm_that_lasts_costs_few_retries(tmp_path: Path, machine: Time) -> None:
    with client(tmp_path, answer=lambda _: reply(b"", 503)) as made:
        calls = [made.fetch(WEEKLY, IBM).calls for _ in range(200)]
    assert calls[:3] == [5, 5, 5]
    assert sum(calls) <= 200 * 1.15 + 15
    with client(tmp_path, answer=lambda _: reply(b"", 503)) as made:
        assert made.fetch(WEEKLY, IBM).calls == 5, "another run has retries of its own"


# Retries


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_trouble_is_tried_five_times_and_each_try_is_booked(tmp_path: Path, machine: Time, status: int) -> None:
    answer = ask(tmp_path, lambda _: reply(b"busy", status))
    assert (answer.verdict.outcome, answer.verdict.reason, answer.status) == (
        Outcome.FAILED,
        f"http_{status}",
        status,
    )
    assert answer.calls == booked(tmp_path) == 5
    assert len(machine.sleeps) == 4
    assert all(1 <= wait <= 60 for wait in machine.sleeps)


@pytest.mark.parametrize("status", [204, 301, 302, 307, 400, 401, 403, 404, 410, 418, 451, 501])
def test_other_statuses_are_not_tried_again(tmp_path: Path, machine: Time, status: int) -> None:
    answer = ask(tmp_path, lambda _: reply(BODY, status))
    assert (answer.verdict.outcome, answer.verdict.reason) == (Outcome.FAILED, f"http_{status}")
    assert answer.calls == booked(tmp_path) == 1
    assert machine.sleeps == []


def test_a_later_try_succeeds(tmp_path: Path, machine: Time) -> None:
    answers = iter([reply(b"", 503), reply(BODY[:50]), reply(b"<html>", 200), reply(BODY)])
    answer = ask(tmp_path, lambda _: next(answers))
    assert answer.verdict.outcome is Outcome.FETCHED
    assert answer.calls == booked(tmp_path) == 4
    assert answer.body == BODY


@pytest.mark.parametrize(
    "error", [httpx2.ConnectError, httpx2.ReadTimeout, httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.PoolTimeout]
)
def test_a_broken_connection_is_tried_again(tmp_path: Path, machine: Time, error: type[httpx2.TransportError]) -> None:
    tries = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        tries.append(request)
        raise error(f"went wrong at {request.url}", request=request)

    found = ask(tmp_path, answer)
    assert found.verdict == Verdict(Outcome.FAILED, f"unreachable:{error.__name__}", is_retryable=True)
    assert found.body is None
    assert len(tries) == 5
    has_left = error is not httpx2.ConnectError  # without a connection the provider has counted nothing
    assert found.calls == booked(tmp_path) == (5 if has_left else 0)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured_in_both_forms(tmp_path: Path, machine: Time, status: int, form: str) -> None:
    header = "7" if form == "seconds" else format_datetime(NOW + dt.timedelta(seconds=7), usegmt=True)
    answers = iter([reply(b"", status, retry_after=header), reply(BODY)])
    assert ask(tmp_path, lambda _: next(answers)).verdict.outcome is Outcome.FETCHED
    assert machine.sleeps == [7.0]


def test_a_long_retry_after_defers_instead_of_waiting(tmp_path: Path, machine: Time) -> None:
    answer = ask(tmp_path, lambda _: reply(b"", 429, retry_after="901"))
    assert answer.verdict == Verdict(Outcome.DEFERRED, "http_429_retry_later")
    assert answer.resumes_at == NOW + dt.timedelta(seconds=901)
    assert (answer.calls, machine.sleeps) == (1, [])
    answers = iter([reply(b"", 503, retry_after="900"), reply(BODY)])
    assert ask(tmp_path, lambda _: next(answers)).verdict.outcome is Outcome.FETCHED
    assert machine.sleeps == [900.0]


@pytest.mark.parametrize(
    "header",
    [
        "soon",
        "-5",
        "\xb2",
        "9" * 400,
        "1e9",
        "",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +9999999",
        "Mon, 32 Foo 2024",
        "Thu, 01 Jan 1970 00:00:00 -0000",
    ],
)
def test_a_senseless_retry_after_does_no_harm(tmp_path: Path, machine: Time, header: str) -> None:
    answer = ask(tmp_path, lambda _: reply(b"", 503, retry_after=header))
    assert answer.verdict.outcome in (Outcome.FAILED, Outcome.DEFERRED)
    assert answer.calls <= 5
    assert all(0 <= wait <= 900 for wait in machine.sleeps)


@pytest.mark.parametrize("seconds", [31 * 86_400.0, 1.79e9, 1e12, 1e16, float("inf")])
def test_a_senseless_wait_in_a_body_is_no_longer_than_one_in_a_header(
    tmp_path: Path, machine: Time, seconds: float
) -> None:
    wait = Verdict(Outcome.FAILED, "rate_limited", is_retryable=True, retry_after_s=seconds)
    told = replace(WEEKLY, classify=lambda *_: wait)
    answer = ask(tmp_path, lambda _: reply(b"", 429, retry_after="1"), feed=told)
    assert answer.verdict == Verdict(Outcome.DEFERRED, "http_429_retry_later")
    assert answer.resumes_at == NOW + dt.timedelta(days=30)
    assert answer == ask(tmp_path, lambda _: reply(b"", 429, retry_after="9" * 20))


def test_a_negative_wait_in_a_body_is_none(tmp_path: Path, machine: Time) -> None:
    wait = Verdict(Outcome.FAILED, "rate_limited", is_retryable=True, retry_after_s=-1e16)
    assert ask(tmp_path, lambda _: reply(b"", 429), feed=replace(WEEKLY, classify=lambda *_: wait)).calls == 5
    assert set(machine.sleeps) == {0.0}


@given(st.text(st.characters(max_codepoint=255), max_size=40) | st.from_regex(r"\A\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ .*"))
def test_any_retry_after_gives_seconds_or_nothing(text: str) -> None:
    found = fetch._retry_after(text, now=NOW)
    assert found is None or found >= 0
    assert found is None or NOW + dt.timedelta(seconds=found) > NOW - dt.timedelta(seconds=1)


def test_the_rate_limit_in_a_200_is_tried_again(tmp_path: Path, machine: Time) -> None:
    slow = json.dumps({"Information": "Please consider spreading out your requests (1 request per second)."}).encode()
    answers = iter([reply(slow), reply(slow), reply(BODY)])
    assert ask(tmp_path, lambda _: next(answers)).calls == 3
    assert len(machine.sleeps) == 2


def test_no_more_than_five_minutes_are_spent_on_one_request(tmp_path: Path, machine: Time) -> None:
    answer = ask(tmp_path, lambda _: reply(b"", 429, retry_after="200"))
    assert answer.calls <= 3
    assert sum(machine.sleeps) <= 300 + 200


def test_the_budget_ends_the_tries(tmp_path: Path, machine: Time) -> None:
    pace = Pace(calls_per_day=3, interval_s=0.0)
    answer = ask(tmp_path, lambda _: reply(b"", 500), pace=pace)
    assert (answer.verdict.reason, answer.calls) == ("http_500", 3)
    with pytest.raises(QuotaExhausted):
        ask(tmp_path, lambda _: pytest.fail("a call that was not affordable was sent"), pace=pace)


@pytest.mark.parametrize(("limit", "calls"), [(1, 1), (3, 3), (5, 5), (9, 5), (None, 5)])
def test_an_allowance_ends_the_tries(tmp_path: Path, machine: Time, limit: int | None, calls: int) -> None:
    with client(tmp_path, answer=lambda _: reply(b"", 500)) as made:
        answer = made.fetch(WEEKLY, IBM, max_calls=limit)
    assert (answer.verdict.reason, answer.calls, booked(tmp_path)) == ("http_500", calls, calls)


def test_the_daily_message_closes_the_window(tmp_path: Path, machine: Time) -> None:
    spent = json.dumps({"Information": "Our standard API rate limit is 25 requests per day."}).encode()
    pace = Pace(calls_per_day=25, interval_s=0.0)
    answer = ask(tmp_path, lambda _: reply(spent), pace=pace)
    assert (answer.verdict.outcome, answer.calls) == (Outcome.DEFERRED, 1)
    assert answer.resumes_at == dt.datetime(2026, 11, 19, 5, tzinfo=dt.UTC)
    with pytest.raises(QuotaExhausted):
        ask(tmp_path, lambda _: reply(BODY), pace=pace)


def test_a_call_is_booked_and_paced_before_it_is_sent(tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    waits: list[float] = []
    ledger = tmp_path / "quota.sqlite"

    def answer(_: httpx2.Request) -> httpx2.Response:
        used = Ledger(ledger).budget("alpha_vantage", fetch.key_id(KEY), FAST, now=NOW).used
        seen.append((used, sum(waits)))
        return reply(BODY)

    with client(tmp_path, answer=answer, pace=Pace(None, 1.0), sleep=waits.append) as made:
        for _ in range(3):
            made.fetch(WEEKLY, IBM)
    assert [used for used, _ in seen] == [1, 2, 3]
    assert len(waits) == 3
    assert waits[1] > 0.5
    assert waits[2] > 1.5


def test_a_storm_costs_no_more_than_the_budget(tmp_path: Path, machine: Time) -> None:
    """Two hundred requests through 429 and 503 at random: never over the cap, tries only where the storm asked."""
    random_, sent = random.Random(5), [0]
    pace = Pace(calls_per_day=150, interval_s=0.0)

    def answer(_: httpx2.Request) -> httpx2.Response:
        sent[0] += 1
        return reply(BODY) if random_.random() > 0.15 else reply(b"", random_.choice([429, 503]))

    done, refused = 0, 0
    with client(tmp_path, answer=answer, pace=pace) as made:
        for _ in range(200):
            try:
                done += made.fetch(WEEKLY, IBM).verdict.outcome is Outcome.FETCHED
            except QuotaExhausted:
                refused += 1
    assert sent[0] == 150
    assert 150 / done <= 1.3
    assert done + refused >= 199


# Redirects


@pytest.mark.usefixtures("single_try")
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirects_are_not_followed(tmp_path: Path, status: str) -> None:
    with Wire(lambda _h, _n: response(BODY)) as other:
        location = f"Location: {other.url}/query"
        with (
            Wire(lambda _h, _n: response(BODY, status=status, headers=[location])) as server,
            client(tmp_path, url=server.url) as made,
        ):
            answer = made.fetch(WEEKLY, IBM)
        assert answer.verdict == Verdict(Outcome.FAILED, f"http_{status[:3]}")
        assert other.requests == []


# The key


KEYS = {
    "plain": KEY,
    "special": "a+b/c=d e&f%2F?x#",
    "quotes": "q\"uo\\te'<k>&y",
    "foreign": "ключ-ß-鍵",
    "punctuation": "~!*()_-.:;@,$[]",
}


def _spellings(key: str) -> list[str]:
    return [
        key,
        quote(key, safe=""),
        quote(key),
        quote_plus(key),
        quote(key, safe="").lower(),
        json.dumps(key)[1:-1],
        json.dumps(key, ensure_ascii=False)[1:-1],
        json.dumps(key)[1:-1].replace("/", "\\/"),
        json.dumps(key)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003E"),
        html.escape(key),
        html.escape(key).replace("&#x27;", "&#39;"),
        key.swapcase() if key.isascii() else key,
    ]


def _unspelled(body: bytes) -> list[str]:
    """The body as anybody might read it."""
    text = body.decode()
    read = [text, unquote_plus(text), html.unescape(text), text.replace("\\/", "/")]
    try:
        read.append(json.dumps(json.loads(text), ensure_ascii=False))
        read.extend(str(value) for value in json.loads(text).values())
    except (ValueError, AttributeError):
        pass
    return [t.casefold() for t in read]


@pytest.mark.usefixtures("single_try")
@pytest.mark.parametrize("name", KEYS)
def test_an_echoed_key_is_in_no_answer(tmp_path: Path, name: str) -> None:
    key = KEYS[name]
    for spelling in _spellings(key):
        body = b'{"Information": "We have detected your API key as ' + spelling.encode() + b' and so on"}'
        for status in (200, 500, 404):
            answer = ask(
                tmp_path,
                lambda _, body=body, status=status: reply(body, status, content_type="text/plain"),
                key=key,
            )
            assert answer.body is not None
            assert answer.is_redacted
            assert REDACTED in answer.body
            assert all(key.casefold() not in text for text in _unspelled(answer.body)), spelling


@pytest.mark.usefixtures("single_try")
@pytest.mark.parametrize("name", KEYS)
def test_the_key_reaches_the_server_whole_and_its_echo_is_removed(tmp_path: Path, name: str) -> None:
    """The echo of a real server: the request line as it came, key and all, in body, header and reason phrase."""
    key = KEYS[name]

    def echo(received: bytes, _number: int) -> bytes:
        line = received.split(b"\r\n")[0]
        sent = line.split(b"apikey=")[1].split(b" ")[0].decode()
        assert unquote_plus(sent) == key
        return response(line, status=f"200 {sent}", headers=[f"Content-Type: text/plain; key={sent}"])

    with Wire(echo) as server, client(tmp_path, url=server.url, key=key) as made:
        answer = made.fetch(WEEKLY, IBM)
    assert answer.body is not None
    assert answer.is_redacted
    assert b"apikey=[REDACTED]" in answer.body
    assert key not in unquote_plus(repr(answer))


@pytest.mark.usefixtures("single_try")
@pytest.mark.parametrize("key", ["demo", KEY])
def test_a_message_is_understood_although_the_key_in_it_is_a_word_of_it(tmp_path: Path, key: str) -> None:
    body = json.dumps({"Information": f"The **{key}** API key is for demo purposes only."}).encode()
    answer = ask(tmp_path, lambda _: reply(body), key=key)
    assert (answer.verdict.reason, answer.verdict.is_key) == ("demo_key", True)
    assert answer.is_redacted == (key == KEY)  # `demo` is a word of ordinary text and no secret


@pytest.mark.usefixtures("single_try")
def test_bodies_without_the_key_stay_as_received(tmp_path: Path) -> None:
    near = csv(bar("2026-11-13")).replace(b"1000", b"1000") + KEY[:-1].encode() + b"\n"
    answer = ask(tmp_path, lambda _: reply(near))
    assert (answer.body, answer.is_redacted) == (near, False)


@pytest.mark.usefixtures("single_try")
def test_a_key_for_a_header_goes_there_and_not_into_the_url(tmp_path: Path) -> None:
    provider = replace(PROVIDER, auth=Auth(setting="X", place="header", name="X-Api-Key"))
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return reply(BODY)

    with Client(
        provider,
        base_url="https://example.com",
        key=KEY,
        pace=FAST,
        ledger=Ledger(tmp_path / "q.sqlite"),
        now=lambda: NOW,
        transport=httpx2.MockTransport(answer),
    ) as made:
        made.fetch(WEEKLY, IBM)
    assert seen[0].headers["x-api-key"] == KEY
    assert KEY not in str(seen[0].url)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Everything that any logger says at DEBUG: texts, arguments and attributes of each record."""
    names = ("httpx2", "httpcore2", "httpcore2.connection", "httpcore2.http11", "stamina", "market_pipeline")
    before = {name: logging.getLogger(name).level for name in names}
    caplog.set_level(logging.DEBUG)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    formatter = logging.Formatter()
    yield lambda: "\n".join(f"{formatter.format(r)} {r.__dict__!r}" for r in caplog.records)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def _refused_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def _echo_500(received: bytes, _number: int) -> bytes:
    return response(received, status="500 " + received.split(b" ")[1].decode(), headers=["Retry-After: 0"])


FAULTS: dict[str, Callable[[bytes, int], bytes]] = {
    "an error that echoes the request": _echo_500,
    "a redirect to itself": lambda received, _: response(
        received, status="302 Found", headers=[f"Location: {received.split(b' ')[1].decode()}"]
    ),
    "no answer": lambda _received, _number: b"",
    "garbage": lambda received, _: received,
    "half a header": lambda received, _: b"HTTP/1.1 200 OK\r\nX: " + received.split(b" ")[1],
    "a bad length": lambda received, _: b"HTTP/1.1 200 OK\r\nContent-Length: -" + received.split(b" ")[1] + b"\r\n\r\n",
    "a bad chunk": lambda received, _: head("Transfer-Encoding: chunked") + received,
    "an endless header": lambda _received, _number: b"HTTP/1.1 200 OK\r\n" + b"X: " + KEY.encode() * 20_000,
    "a cookie": lambda received, _: response(
        received, headers=[f"Set-Cookie: k={KEYS['plain']}", "Content-Encoding: gzip"]
    ),
    "a switch of protocols": lambda received, _: b"HTTP/1.1 101 Switch\r\n\r\n" + received,
}


@pytest.mark.parametrize("fault", [*FAULTS, "a refused connection", "an address that is none"])
def test_the_key_is_in_nothing_that_a_fault_leaves_behind(
    tmp_path: Path,
    fault: str,
    said: Callable[[], str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    with Wire(FAULTS.get(fault, lambda _h, _n: b"")) as server:
        url = {"a refused connection": _refused_port(), "an address that is none": "http://[::1"}.get(fault, server.url)
        with client(tmp_path, url=url) as made:
            answer = made.fetch(WEEKLY, IBM)
    assert answer.verdict.outcome is Outcome.FAILED
    told = said() + "".join(capfd.readouterr()) + repr(answer) + repr(answer.body)
    assert KEY.casefold() not in told.casefold()
    assert KEY not in "".join(p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if p.is_file())
    if fault not in ("an address that is none", "a redirect to itself"):
        assert "asking again in" in told


def test_a_success_leaves_no_key_behind(tmp_path: Path, said: Callable[[], str]) -> None:
    with Wire(lambda _h, _n: response(BODY)) as server, client(tmp_path, url=server.url) as made:
        assert made.fetch(WEEKLY, IBM).verdict.outcome is Outcome.FETCHED
    logging.getLogger("market_pipeline").debug("the net is out")
    assert "the net is out" in said()
    assert KEY not in said()


def test_a_bug_in_a_provider_shows_no_key_in_its_traceback(tmp_path: Path) -> None:
    def broken(_request: Request, _status: int, _type: str, _body: bytes) -> Verdict:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug") as caught:
        ask(tmp_path, lambda _: reply(BODY), feed=replace(WEEKLY, classify=broken))
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in trace.stack if frame.filename.endswith("market_pipeline/fetch.py")]
    assert ours
    assert KEY not in "".join(str(frame.locals) + str(frame.line) for frame in ours)


def test_retries_write_nothing_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], machine: Time
) -> None:
    ask(tmp_path, lambda _: reply(b"", 500))
    assert capsys.readouterr().out == ""


def test_names_reach_the_server_percent_encoded(tmp_path: Path) -> None:
    hostile = "A&apikey=x#/../" + string.punctuation
    with Wire(lambda _h, _n: response(BODY)) as server, client(tmp_path, url=server.url) as made:
        made.fetch(WEEKLY, WEEKLY.plan(PART, (instrument(hostile),))[0])
    line = server.requests[0].split(b"\r\n")[0]
    assert line.startswith(b"GET /query?function=TIME_SERIES_WEEKLY_ADJUSTED&symbol=A%26apikey%3Dx%23")
    assert line.count(b"apikey=") == 1
    assert line.endswith(b"&datatype=csv&apikey=" + KEY.encode() + b" HTTP/1.1")


def test_the_silence_of_the_clients_loggers_outlives_somebody_elses_logging_configuration() -> None:
    import logging.config

    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    for name in ("httpx2", "httpcore2.http11", "httpcore2.connection"):
        logger = logging.getLogger(name)
        record = logger.makeRecord(name, logging.CRITICAL, "file", 1, "text", (), None)
        assert not logger.filter(record)
