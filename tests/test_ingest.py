"""Provider to bronze: asked once, kept as received, committed by manifests, honest about what is missing."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import stamina

from market_pipeline import layout, manifest, reference
from market_pipeline.brake import BREAKER
from market_pipeline.errors import CreateConflict, IncompleteSlice
from market_pipeline.feed import Feed, Instrument, Outcome, Pace
from market_pipeline.ingest import ingest
from market_pipeline.manifest import Manifest
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.slice_run import IngestReport
from market_pipeline.store import FolderStore
from wire import FAST, KEY, NOW, Api, bar, client, csv, instrument, reply, tree, weeks

WEEKLY, OVERVIEW = PROVIDER.feeds[:2]
PART = Slice.at(NOW.date(), grain=Grain.WEEK)
FREE = Pace(calls_per_day=25, interval_s=0.0)
DAY = dt.timedelta(days=1)
pytestmark = pytest.mark.usefixtures("single_try")


def said(text: str, key: str = "Information") -> bytes:
    """An error body."""
    return json.dumps({key: text}).encode()


class Lake:
    """A lake, a provider and a clock."""

    def __init__(self, folder: Path, symbols: Sequence[str]) -> None:
        self.folder = folder
        self.store = FolderStore(folder / "lake")
        self.symbols = list(symbols)
        self.api = Api({symbol: weeks(3, close=50 + n) for n, symbol in enumerate(symbols)})
        self.now = NOW

    def take(
        self,
        *,
        instruments: Sequence[Instrument] | None = None,
        feed: Feed = WEEKLY,
        part: Slice = PART,
        pace: Pace = FAST,
        key: str = KEY,
        refetch: bool = False,
        closes_at: dt.datetime | None = None,
    ) -> IngestReport:
        """One run, and what holds after every run."""
        self.api.asked.clear()
        with client(self.folder, answer=self.api, pace=pace, key=key, now=lambda: self.now) as made:
            report = ingest(
                PROVIDER,
                feed,
                part,
                [instrument(s) for s in self.symbols] if instruments is None else instruments,
                store=self.store,
                client=made,
                now=lambda: self.now,
                closes_at=closes_at,
                refetch=refetch,
            )
        outcomes = (report.fetched, report.empty, report.not_yet, report.refused, report.failed, report.deferred)
        assert sum(outcomes) == report.planned
        assert len(report.problems) == report.planned - report.fetched - report.empty
        assert report.is_complete == (not report.problems)
        self.check(feed, part)
        return report

    def check(self, feed: Feed = WEEKLY, part: Slice = PART) -> None:
        """No manifest of the slice names an object that is missing or another one; no byte holds the key."""
        prefix = layout.bronze_slice(PROVIDER.name, feed.dataset, part.key)
        for key in self.store.list(prefix):
            body = self.store.get(key)
            assert KEY.encode() not in body
            if layout.manifest_seq(key) is None:
                assert hashlib.sha256(body).hexdigest() == key.split(".")[-2]
                continue
            for entry in json.loads(body)["requests"]:
                for payload in [*entry["payloads"], *([entry["evidence"]] if entry["evidence"] else [])]:
                    kept = self.store.get(prefix + payload["object"], sha256=payload["sha256"])
                    assert len(kept) == payload["bytes"]

    def manifest(self, feed: Feed = WEEKLY, part: Slice = PART) -> Manifest:
        """The newest manifest."""
        found = manifest.read(self.store, PROVIDER.name, feed.dataset, part.key)
        assert found is not None
        return found

    def outcomes(self) -> dict[str, tuple[Outcome, str]]:
        """Outcome and reason by symbol."""
        return {entry.request.name: (entry.outcome, entry.reason) for entry in self.manifest().entries}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three symbols."""
    return Lake(tmp_path, ["AAA", "BBB", "CCC"])


@pytest.fixture
def many(tmp_path: Path) -> Lake:
    """More symbols than the free plan has calls."""
    return Lake(tmp_path, [f"S{n:02d}" for n in range(60)])


def test_bytes_are_kept_as_received_and_a_rerun_does_nothing(lake: Lake) -> None:
    report = lake.take()
    assert (report.planned, report.fetched, report.calls_used, report.objects_new) == (3, 3, 3, 3)
    assert report.bytes_new == sum(len(body) for body in lake.api.answers.values() if isinstance(body, bytes))
    assert report.manifest_key == lake.manifest().key
    assert report.newest_fetched_at == NOW
    assert (report.is_complete, report.is_blocking, report.problems, report.resumes_at) == (True, False, (), None)
    prefix = layout.bronze_slice(PROVIDER.name, WEEKLY.dataset, PART.key)
    for entry in lake.manifest().entries:
        (payload,) = entry.payloads
        assert lake.store.get(prefix + payload.object) == lake.api.answers[entry.request.name]
        assert (entry.request.instrument_id, payload.fetched_at) == (f"id-{entry.request.name}", NOW)
    before = tree(lake.store.root)
    lake.now += dt.timedelta(hours=3)
    again = lake.take()
    assert lake.api.asked == []
    assert (again.calls_used, again.objects_new, again.bytes_new, again.fetched) == (0, 0, 0, 3)
    assert tree(lake.store.root) == before


def test_only_what_is_missing_is_asked(lake: Lake) -> None:
    good = lake.api.answers["BBB"]
    lake.api.answers["BBB"] = lambda: reply(b"", 500)
    first = lake.take()
    assert (first.fetched, first.failed, first.is_blocking) == (2, 1, True)
    assert [(p.symbol, p.outcome, p.reason) for p in first.problems] == [("BBB", "failed", "http_500")]
    lake.api.answers["BBB"] = good
    lake.symbols.append("DDD")
    lake.api.answers["DDD"] = weeks(2)
    second = lake.take()
    assert lake.api.asked == ["BBB", "DDD"]
    assert (second.fetched, second.objects_new, second.calls_used) == (4, 2, 2)
    assert lake.manifest().seq == 2


def test_refetching_the_same_bytes_writes_nothing(lake: Lake) -> None:
    lake.take()
    before = tree(lake.store.root)
    lake.now += dt.timedelta(hours=1)
    report = lake.take(refetch=True)
    assert lake.api.asked == ["AAA", "BBB", "CCC"]
    assert (report.calls_used, report.objects_new, report.fetched) == (3, 0, 3)
    assert tree(lake.store.root) == before


def test_changed_bytes_become_a_further_payload_and_the_old_stay(lake: Lake) -> None:
    lake.take()
    before = tree(lake.store.root)
    times = [NOW]
    bodies = [lake.api.answers["AAA"], csv(bar("2026-11-13", 99)), lake.api.answers["AAA"]]
    for body in bodies[1:]:
        lake.now += dt.timedelta(hours=1)
        times.append(lake.now)
        lake.api.answers["AAA"] = body
        lake.take(refetch=True)
    entry = lake.manifest().entries[0]
    assert lake.manifest().seq == 3
    assert [payload.sha256 for payload in entry.payloads] == [hashlib.sha256(b).hexdigest() for b in bodies]  # type: ignore[arg-type]
    assert [payload.fetched_at for payload in entry.payloads] == times
    after = tree(lake.store.root)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 3


def test_payloads_are_in_order_even_when_the_clock_is_not(lake: Lake) -> None:
    """The sample profiles' clock stands still, and a machine's may be set back."""
    lake.take()
    for step, close in ((dt.timedelta(), 60), (-DAY, 70), (dt.timedelta(), 60)):
        lake.now += step
        lake.api.answers["AAA"] = csv(bar("2026-11-13", close))
        lake.take(refetch=True)
    times = [payload.fetched_at for payload in lake.manifest().entries[0].payloads]
    assert len(times) == 4
    assert times == sorted(set(times))
    assert times[-1] - NOW < dt.timedelta(seconds=1)


def test_a_failure_on_refetch_does_not_replace_data(lake: Lake) -> None:
    lake.take()
    before = lake.manifest()
    for answer in (b"", said("Invalid API call"), csv(), said("25 requests per day")):
        lake.api.answers["AAA"] = answer
        lake.take(refetch=True)
    assert lake.manifest() == before


OUTCOMES: dict[str, tuple[bytes | Callable[[], httpx2.Response], Outcome, str]] = {
    "server": (lambda: reply(b"down", 503), Outcome.FAILED, "http_503"),
    "missing": (lambda: reply(b"gone", 404), Outcome.FAILED, "http_404"),
    "symbol": (said("Invalid API call.", "Error Message"), Outcome.REFUSED, "invalid_call"),
    "premium": (said("This is a premium endpoint."), Outcome.REFUSED, "premium_endpoint"),
    "sample": (said("IS ARTIFICIAL", "message"), Outcome.REFUSED, "premium_sample"),
    "pace": (said("Consider spreading out your calls"), Outcome.FAILED, "rate_limited_second"),
    "header only": (csv(), Outcome.EMPTY, "no_rows"),
    "cut": (csv()[:-2], Outcome.FAILED, "csv_cut_short"),
    "html": (b"<html>", Outcome.FAILED, "html"),
    "garbage": (b"\x00\x01\n", Outcome.FAILED, "unknown_header"),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_outcome_is_in_the_manifest_with_its_evidence(lake: Lake, name: str) -> None:
    answer, outcome, reason = OUTCOMES[name]
    lake.api.answers["BBB"] = answer
    report = lake.take()
    assert lake.outcomes() == {"AAA": (Outcome.FETCHED, ""), "BBB": (outcome, reason), "CCC": (Outcome.FETCHED, "")}
    entry = lake.manifest().entries[1]
    assert entry.payloads == ()
    assert entry.evidence is not None
    assert entry.asked_at == NOW
    assert report.is_complete == (outcome is Outcome.EMPTY)
    assert report.is_blocking == (outcome is not Outcome.EMPTY)
    lake.take()
    assert lake.api.asked == ([] if outcome is Outcome.EMPTY else ["BBB"])


def test_no_answer_at_all_leaves_no_evidence(lake: Lake) -> None:
    def broken() -> httpx2.Response:
        raise httpx2.ConnectError("no route")

    lake.api.answers["BBB"] = broken
    lake.take()
    assert lake.outcomes()["BBB"] == (Outcome.FAILED, "unreachable:ConnectError")
    assert lake.manifest().entries[1].evidence is None


def test_a_provider_that_cannot_be_reached_is_not_asked_for_every_symbol(many: Lake) -> None:
    def broken() -> httpx2.Response:
        raise httpx2.ConnectError("no route")

    good = dict(many.api.answers)
    many.api.answers.update({symbol: broken for symbol in many.symbols if symbol != "S01"})
    report = many.take()
    assert len(many.api.asked) == 2 + BREAKER
    assert (report.fetched, report.failed, report.deferred) == (1, 59, 0)
    assert {p.reason for p in report.problems} == {"unreachable:ConnectError", "provider_unreachable"}
    many.api.answers = good
    assert many.take().is_complete
    assert len(many.api.asked) == 59


def test_evidence_has_the_extension_of_what_it_is(lake: Lake) -> None:
    lake.api.answers = {"AAA": said("x"), "BBB": b"<html>", "CCC": b"plain\n"}
    lake.take()
    names = [entry.evidence.object for entry in lake.manifest().entries if entry.evidence]
    assert [name.rpartition(".")[2] for name in names] == ["json", "html", "txt"]


def test_an_empty_overview_is_final(lake: Lake) -> None:
    lake.api.answers = {
        "AAA": b"{}",
        "BBB": b'{"Symbol": "BBB", "Name": "x"}',
        "CCC": b'{"Symbol": "AAA", "Name": "x"}',
    }
    report = lake.take(feed=OVERVIEW)
    assert (report.empty, report.fetched, report.failed) == (1, 1, 1)
    assert report.problems[0].reason == "other_symbol"
    lake.take(feed=OVERVIEW)
    assert lake.api.asked == ["CCC"]


@pytest.mark.parametrize("text", ["the parameter apikey is invalid or missing.", "for demo purposes only"])
def test_a_refused_key_stops_further_calls(lake: Lake, text: str) -> None:
    lake.api.answers["AAA"] = said(text)
    report = lake.take()
    assert lake.api.asked == ["AAA"]
    assert (report.refused, report.calls_used, report.is_key_refused) == (3, 1, True)
    assert [p.reason for p in report.problems][1:] == ["key_refused", "key_refused"]
    lake.api.answers["AAA"] = weeks(3)
    assert lake.take(key="ANOTHERKEY0123456").is_complete


def test_the_daily_message_defers_the_rest_and_says_when_it_goes_on(lake: Lake) -> None:
    lake.api.answers["BBB"] = said("Our standard API rate limit is 25 requests per day.")
    report = lake.take(pace=FREE)
    assert lake.api.asked == ["AAA", "BBB"]
    assert (report.fetched, report.deferred, report.calls_left) == (1, 2, 0)
    assert report.resumes_at == dt.datetime(2026, 11, 19, 5, tzinfo=dt.UTC)
    assert not report.is_blocking
    lake.take(pace=FREE)
    assert lake.api.asked == []
    lake.api.answers["BBB"] = weeks(3)
    lake.now += DAY
    assert lake.take(pace=FREE).is_complete
    assert lake.api.asked == ["BBB", "CCC"]


def test_a_provider_that_asks_to_come_back_is_obeyed(lake: Lake) -> None:
    lake.api.answers["AAA"] = lambda: reply(b"", 429, retry_after="7200")
    report = lake.take()
    assert lake.api.asked == ["AAA"]
    assert (report.deferred, report.resumes_at) == (3, NOW + dt.timedelta(hours=2))
    assert {p.reason for p in report.problems} == {"http_429_retry_later", "provider_asked_to_wait"}


def test_the_budget_is_spent_over_days_and_restarts(many: Lake) -> None:
    """60 symbols on 25 calls a day: three days, whatever the number of runs."""
    asked: list[str] = []
    for day, (fetched, left) in enumerate([(25, 0), (50, 0), (60, 15)]):
        many.now = NOW + day * DAY
        for run in range(4):
            report = many.take(pace=FREE)
            asked += many.api.asked
            assert report.calls_used == (min(25, fetched - 25 * day) if run == 0 else 0)
            assert (report.fetched, report.deferred, report.calls_left) == (fetched, 60 - fetched, left)
            assert report.is_complete == (fetched == 60)
            midnight = dt.datetime(2026, 11, 19, 5, tzinfo=dt.UTC) + day * DAY
            assert report.resumes_at == (None if fetched == 60 else midnight)
            assert not report.is_blocking
    assert sorted(asked) == many.symbols
    assert many.manifest().seq == 3


def test_twenty_restarts_in_one_window_spend_no_more(many: Lake) -> None:
    total = 0
    for run in range(20):
        many.api.answers[f"S{run:02d}"] = lambda: reply(b"", 500)
        total += many.take(pace=FREE).calls_used
    assert total == 25


def test_retries_count_against_the_budget(many: Lake) -> None:
    for symbol in many.symbols:
        many.api.answers[symbol] = lambda: reply(b"", 503) if len(many.api.asked) % 2 else reply(weeks(2))
    with stamina.set_testing(True, attempts=5):
        report = many.take(pace=FREE)
    assert len(many.api.asked) == report.calls_used == 25
    assert (report.fetched, report.failed, report.deferred) == (12, 1, 47)


def test_a_storm_ends_the_run_before_it_has_asked_for_everything(many: Lake) -> None:
    """Five requests in a row with nothing but "busy" are enough to know; what was not asked says why."""
    for symbol in many.symbols:
        many.api.answers[symbol] = lambda: reply(b"", 503)
    with stamina.set_testing(True, attempts=5):
        report = many.take()
    assert len(many.api.asked) == report.calls_used <= 5 + 15
    assert len(set(many.api.asked)) == 5
    assert Counter(problem.reason for problem in report.problems) == {"http_503": 5, "provider_unreachable": 55}


def test_a_snapshot_of_the_past_cannot_be_taken(lake: Lake) -> None:
    past = Slice.at(NOW.date() - 7 * DAY, grain=Grain.WEEK)
    with pytest.raises(IncompleteSlice, match=r"present state only.*2026-11-09.*current week"):
        lake.take(part=past)
    future = Slice.at(NOW.date() + 7 * DAY, grain=Grain.WEEK)
    with pytest.raises(IncompleteSlice, match=r"2026-11-23 has not begun; come back on 2026-11-23"):
        lake.take(part=future)
    assert lake.api.asked == []
    assert lake.store.list("bronze/") == ()


def test_a_slice_of_the_past_stays_as_it_was_left(lake: Lake) -> None:
    lake.api.answers["BBB"] = lambda: reply(b"", 500)
    lake.api.answers["CCC"] = said("25 requests per day")
    lake.take(pace=FREE)
    before = tree(lake.store.root)
    lake.now = NOW + 7 * DAY
    lake.symbols.append("DDD")
    for refetch in (False, True):
        report = lake.take(refetch=refetch)
        assert lake.api.asked == []
        assert (report.planned, report.fetched, report.failed, report.deferred) == (3, 1, 1, 1)
        assert (report.resumes_at, report.calls_used) == (None, 0)
    assert tree(lake.store.root) == before


def test_the_first_and_the_last_moment_of_a_week_belong_to_it(lake: Lake) -> None:
    lake.now = dt.datetime(2026, 11, 16, 0, 0, tzinfo=dt.UTC)
    assert lake.take().is_complete
    lake.now = dt.datetime(2026, 11, 22, 23, 59, 59, tzinfo=dt.UTC)
    assert lake.take(refetch=True).calls_used == 3
    lake.now += dt.timedelta(seconds=1)
    assert lake.take(refetch=True).calls_used == 0


def test_what_a_feed_does_not_serve_or_was_not_listed_is_not_planned(lake: Lake) -> None:
    instruments = [
        instrument("AAA"),
        instrument("ETF", asset_class="etf"),
        instrument("VIX", asset_class="index"),
        instrument("NEW", listed="2026-11-23"),
        instrument("OLD", delisted_date=dt.date(2026, 11, 13)),
        instrument("CCC", delisted_date=dt.date(2026, 11, 16)),
        instrument("BBB", listed="2026-11-20"),
    ]
    lake.api.answers["ETF"] = weeks(1)
    assert lake.take(instruments=instruments).planned == 4
    assert lake.api.asked == ["AAA", "BBB", "CCC", "ETF"]
    lake.api.answers = {s: json.dumps({"Symbol": s, "Name": "x"}).encode() for s in ("AAA", "BBB", "CCC")}
    assert lake.take(instruments=instruments, feed=OVERVIEW).planned == 3


def test_nothing_planned_writes_nothing(lake: Lake) -> None:
    report = lake.take(instruments=[instrument("VIX", asset_class="index")])
    assert (report.planned, report.manifest_key, report.is_complete) == (0, None, True)
    assert lake.store.list("bronze/") == ()


def test_what_is_followed_no_more_keeps_its_data(lake: Lake) -> None:
    lake.take()
    before = tree(lake.store.root)
    report = lake.take(instruments=[instrument("AAA")])
    assert (report.planned, report.fetched) == (1, 1)
    assert tree(lake.store.root) == before


def test_an_echoed_key_is_redacted_in_bronze_and_marked(lake: Lake) -> None:
    lake.api.answers["AAA"] = said(f"We have detected your API key as {KEY} and the limit is 25 requests per day")
    lake.take()
    evidence = lake.manifest().entries[0].evidence
    assert evidence is not None
    assert evidence.redacted
    assert (
        evidence.sha256
        == hashlib.sha256(
            said("We have detected your API key as [REDACTED] and the limit is 25 requests per day")
        ).hexdigest()
    )


def test_two_writers_of_one_slice_do_not_overwrite_each_other(lake: Lake) -> None:
    """The lock of the composition root prevents it; without it the second commit is refused."""
    first = lake.manifest if lake.take() else None
    assert first is not None
    entries = lake.manifest().entries
    with pytest.raises(CreateConflict):
        manifest.write(
            lake.store, PROVIDER.name, WEEKLY, PART, seq=1, entries=entries, written_at=NOW + dt.timedelta(seconds=1)
        )


def test_a_manifest_survives_its_own_reading(lake: Lake) -> None:
    lake.api.answers["BBB"] = said("Invalid API call")
    lake.now = NOW + dt.timedelta(microseconds=123_456)
    lake.take()
    found = lake.manifest()
    manifest.write(lake.store, PROVIDER.name, WEEKLY, PART, seq=2, entries=found.entries, written_at=lake.now)
    assert lake.manifest().entries == found.entries
    assert found.entries[0].payloads[0].fetched_at == lake.now
    body = json.loads(lake.store.get(found.key))
    assert (body["provider"], body["dataset"], body["seq"]) == ("alpha_vantage", "weekly_adjusted", 1)
    assert body["slice"] == {"start": "2026-11-16", "end": "2026-11-23", "grain": "week"}


def test_progress_counts_to_the_end(lake: Lake) -> None:
    seen: list[tuple[int, int]] = []
    with client(lake.folder, answer=lake.api) as made:
        ingest(
            PROVIDER,
            WEEKLY,
            PART,
            [instrument(s) for s in lake.symbols],
            store=lake.store,
            client=made,
            now=lambda: NOW,
            on_progress=lambda done, total: seen.append((done, total)),
        )
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_disk_that_fails_at_any_write_loses_nothing_that_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is shown, what manifests name is there, and the next run completes."""
    real, calls, fails_at = os.fsync, [0], [0]

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == fails_at[0]:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for point in range(1, 100):
        lake = Lake(tmp_path / str(point), ["AAA", "BBB"])
        calls[0], fails_at[0] = 0, point
        try:
            lake.take()
        except OSError:
            lake.check()
            assert not list(lake.store.root.rglob(".tmp-*"))
            assert lake.take().is_complete
        else:
            assert point > 10
            return
    pytest.fail("a run of two symbols never ended")


def test_a_symbol_that_changes_within_the_slice_is_one_instrument_in_the_outcomes(lake: Lake) -> None:
    old = instrument("AAA")
    new = replace(instrument("ZZZ"), instrument_id=old.instrument_id)
    lake.api.answers["ZZZ"] = weeks(3, close=60)
    lake.take(instruments=[old])
    lake.take(instruments=[new])
    assert set(lake.outcomes()) == {"AAA", "ZZZ"}
    (row,) = reference.outcomes(lake.store, [(PROVIDER, WEEKLY)], [new]).iter_rows(named=True)
    assert (row["symbol"], row["outcome"], row["instrument_id"]) == ("ZZZ", "fetched", old.instrument_id)


def test_a_snapshot_taken_before_the_weeks_close_is_asked_for_once_more_after_it(lake: Lake) -> None:
    closes_at = NOW + dt.timedelta(days=2)
    lake.take(closes_at=closes_at)
    assert lake.take(closes_at=closes_at).calls_used == 0
    lake.now = closes_at
    lake.api.answers = {symbol: weeks(4, close=60 + n) for n, symbol in enumerate(lake.symbols)}
    report = lake.take(closes_at=closes_at)
    assert (report.calls_used, report.objects_new, report.fetched) == (3, 3, 3)
    assert all(len(entry.payloads) == 2 for entry in lake.manifest().entries)
    assert lake.take(closes_at=closes_at).calls_used == 0


def test_a_profile_does_not_move_with_the_week(lake: Lake) -> None:
    assert PROVIDER.feed("overview") is not None
    assert not PROVIDER.feed("overview").moves_until_close
    assert WEEKLY.moves_until_close


def test_a_provider_that_is_down_costs_none_of_the_days_calls(lake: Lake) -> None:
    def refused() -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    lake.api.answers = dict.fromkeys(lake.symbols, refused)
    pace = Pace(calls_per_day=25, interval_s=0.0)
    report = lake.take(pace=pace)
    assert (report.failed, report.calls_used, report.calls_left) == (3, 0, 25)


def test_nobody_waits_for_a_refused_symbol_that_is_not_followed_any_more(lake: Lake) -> None:
    lake.api.answers["BBB"] = said("Invalid API call.", "Error Message")
    lake.take()
    followed = [instrument(symbol) for symbol in lake.symbols]
    feeds = [(PROVIDER, WEEKLY)]
    assert "refused" in reference.outcomes(lake.store, feeds, followed).get_column("outcome").to_list()
    left = [member for member in followed if member.symbol != "BBB"]
    assert set(reference.outcomes(lake.store, feeds, left).get_column("outcome")) == {"fetched"}
