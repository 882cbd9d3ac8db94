"""The call budget: never overspent by races or restarts, with windows that begin at midnight in New York."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from market_pipeline.errors import QuotaExhausted
from market_pipeline.feed import Pace
from market_pipeline.quota import Ledger, key_id
from wire import KILLS, NOW

FREE = Pace(calls_per_day=25, interval_s=0.0)
ME = key_id("mine")


class Clock:
    """A machine clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


def _spend(ledger: Ledger, pace: Pace, *, now: dt.datetime = NOW, key: str = ME) -> int:
    calls = 0
    while True:
        try:
            ledger.book("av", key, pace, now=now)
        except QuotaExhausted:
            return calls
        calls += 1


def test_a_window_holds_its_calls_and_says_when_the_next_one_begins(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "q.sqlite")
    assert _spend(ledger, FREE) == 25
    with pytest.raises(QuotaExhausted, match=r"25 calls .* 2026-11-18 .* 2026-11-19 05:00 UTC") as caught:
        ledger.book("av", ME, FREE, now=NOW)
    assert caught.value.resets_at == dt.datetime(2026, 11, 19, 5, tzinfo=dt.UTC)
    budget = ledger.budget("av", ME, FREE, now=NOW)
    assert (budget.used, budget.left, budget.resets_at) == (25, 0, caught.value.resets_at)
    assert ledger.budget("av", ME, FREE, now=caught.value.resets_at).left == 25
    assert ledger.budget("av", ME, FREE, now=caught.value.resets_at - dt.timedelta(seconds=1)).left == 0


def test_keys_and_providers_have_budgets_of_their_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "q.sqlite")
    assert _spend(ledger, FREE) == 25
    assert ledger.budget("av", key_id("other"), FREE, now=NOW).left == 25
    assert ledger.budget("other", ME, FREE, now=NOW).left == 25
    assert key_id("a") != key_id("b") != key_id(None)


def test_the_ledger_holds_no_key(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "q.sqlite")
    ledger.book("av", key_id("CANARYKEY0123456"), FREE, now=NOW)
    ledger.exhaust("av", key_id("CANARYKEY0123456"), FREE, now=NOW)
    assert all(b"CANARY" not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("day", ["2026-03-07", "2026-03-08", "2026-03-09", "2026-10-31", "2026-11-01", "2026-11-02"])
def test_windows_follow_new_york_over_the_clock_changes(tmp_path: Path, day: str) -> None:
    """The window of a spring day is 23 hours, of an autumn day 25; each moment of it belongs to that day alone."""
    ledger, zone = Ledger(tmp_path / "q.sqlite"), ZoneInfo("America/New_York")
    date = dt.date.fromisoformat(day)
    begins = dt.datetime.combine(date, dt.time(), zone).astimezone(dt.UTC)
    ends = dt.datetime.combine(date + dt.timedelta(days=1), dt.time(), zone).astimezone(dt.UTC)
    hours = {"2026-03-08": 23, "2026-11-01": 25}.get(day, 24)
    assert (ends - begins) == dt.timedelta(hours=hours)
    moment, calls = begins, 0
    while moment < ends:
        ledger.book("av", ME, Pace(hours, 0.0), now=moment)
        calls += 1
        moment += dt.timedelta(hours=1)
    assert calls == hours
    last = ends - dt.timedelta(microseconds=1)
    with pytest.raises(QuotaExhausted) as caught:
        ledger.book("av", ME, Pace(hours, 0.0), now=last)
    assert caught.value.resets_at == ends
    ledger.book("av", ME, Pace(hours, 0.0), now=ends)


def test_exhaust_closes_the_window_whatever_was_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "q.sqlite")
    ledger.book("av", ME, FREE, now=NOW)
    resets_at = ledger.exhaust("av", ME, FREE, now=NOW)
    assert ledger.exhaust("av", ME, FREE, now=NOW) == resets_at == dt.datetime(2026, 11, 19, 5, tzinfo=dt.UTC)
    with pytest.raises(QuotaExhausted):
        Ledger(tmp_path / "q.sqlite").book("av", ME, FREE, now=NOW)
    ledger.book("av", ME, FREE, now=resets_at)
    uncapped = Pace(None, 0.0)
    with pytest.raises(QuotaExhausted):
        ledger.book("av", ME, uncapped, now=NOW)


def test_calls_keep_their_distance_and_never_come_early(tmp_path: Path) -> None:
    clock, pace = Clock(), Pace(None, 1.05)
    ledger = Ledger(tmp_path / "q.sqlite", wall=clock)
    assert ledger.book("av", ME, pace, now=NOW) == 0
    assert ledger.book("av", ME, pace, now=NOW) == pytest.approx(1.05)
    assert Ledger(tmp_path / "q.sqlite", wall=clock).book("av", ME, pace, now=NOW) == pytest.approx(2.10)
    clock.seconds += 10
    assert ledger.book("av", ME, pace, now=NOW) == 0


def test_a_clock_that_was_wrong_for_a_while_blocks_nobody_for_hours(tmp_path: Path) -> None:
    clock, pace = Clock(), Pace(None, 1.0)
    ledger = Ledger(tmp_path / "q.sqlite", wall=clock)
    clock.seconds += 86_400 * 365
    ledger.book("av", ME, pace, now=NOW)
    clock.seconds -= 86_400 * 365
    assert ledger.book("av", ME, pace, now=NOW) <= 601


def test_a_call_that_waits_past_midnight_is_booked_on_the_next_day(tmp_path: Path) -> None:
    clock, pace = Clock(), Pace(2, 100.0)
    ledger = Ledger(tmp_path / "q.sqlite", wall=clock)
    before_midnight = dt.datetime(2026, 11, 19, 4, 59, 0, tzinfo=dt.UTC)
    ledger.book("av", ME, pace, now=before_midnight)
    ledger.book("av", ME, pace, now=before_midnight)
    assert ledger.budget("av", ME, pace, now=before_midnight).used == 1
    assert ledger.budget("av", ME, pace, now=before_midnight + dt.timedelta(minutes=2)).used == 1


def test_a_refused_booking_moves_no_pace(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(tmp_path / "q.sqlite", wall=clock)
    pace = Pace(1, 5.0)
    ledger.book("av", ME, pace, now=NOW)
    for _ in range(10):
        with pytest.raises(QuotaExhausted):
            ledger.book("av", ME, pace, now=NOW)
    assert ledger.book("av", ME, Pace(None, 5.0), now=NOW) == pytest.approx(5.0)


def test_a_booking_is_on_disk_before_the_call_is_sent(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "q.sqlite")
    ledger.book("av", ME, FREE, now=NOW)
    with sqlite3.connect(tmp_path / "q.sqlite") as other:
        assert other.execute("select count(*) from call").fetchone() == (1,)
    assert [path.name for path in tmp_path.iterdir()] == ["q.sqlite"]


def _racer(path: str, results: multiprocessing.Queue[int]) -> None:
    results.put(_spend(Ledger(Path(path)), FREE))


def test_four_racing_processes_do_not_overspend(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[int] = context.Queue()
    racers = [context.Process(target=_racer, args=(str(tmp_path / "q.sqlite"), results)) for _ in range(4)]
    for racer in racers:
        racer.start()
    calls = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert sum(calls) == 25


def _paced(path: str, results: multiprocessing.Queue[tuple[float, float]]) -> None:
    ledger = Ledger(Path(path))
    for _ in range(4):
        asked = time.time()
        wait = ledger.book("av", ME, Pace(None, 0.05), now=NOW)
        time.sleep(wait)
        results.put((asked, time.time()))


def test_processes_share_the_pace(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[float, float]] = context.Queue()
    workers = [context.Process(target=_paced, args=(str(tmp_path / "q.sqlite"), results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    asked, sent = zip(*(results.get(timeout=60) for _ in range(16)), strict=True)
    for worker in workers:
        worker.join()
    # From before the first booking to after the last call: a busy machine can only make this longer.
    assert max(sent) - min(asked) >= 15 * 0.05


CALLER = """
import datetime as dt, sys
from pathlib import Path
from market_pipeline.errors import QuotaExhausted
from market_pipeline.feed import Pace
from market_pipeline.quota import Ledger
ledger, now = Ledger(Path(sys.argv[1])), dt.datetime.fromisoformat(sys.argv[3])
print("up", flush=True)
while True:
    try:
        ledger.book("av", sys.argv[2], Pace(25, 0.0), now=now)
    except QuotaExhausted:
        sys.exit(3)
    print("sent", flush=True)
"""


@pytest.mark.kill
def test_restarts_after_sigkill_do_not_overspend(tmp_path: Path) -> None:
    """Each process spends one or two calls and is killed at a random moment of the next booking."""
    random_, killed, now = random.Random(3), 0, NOW
    sent: Counter[dt.datetime] = Counter()
    while killed < KILLS:
        command = [sys.executable, "-c", CALLER, str(tmp_path / "q.sqlite"), ME, now.isoformat()]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        seen = b"".join(process.stdout.readline() for _ in range(random_.randint(1, 3)))
        time.sleep(random_.uniform(0, 0.004))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        sent[now] += (seen + rest).count(b"sent")
        killed += process.returncode == -signal.SIGKILL
        if process.returncode == 3:
            now += dt.timedelta(days=1)
    ledger = Ledger(tmp_path / "q.sqlite")
    assert sent.total() > 0
    for day, calls in sent.items():
        booked = ledger.budget("av", ME, FREE, now=day).used
        assert calls <= booked <= 25
        assert booked + _spend(ledger, FREE, now=day) == 25
