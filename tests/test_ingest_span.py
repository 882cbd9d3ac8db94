"""One answer per instrument for a range of sessions: stored once, named by every session's manifest."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx2
import polars as pl
import pytest

from market_pipeline import calendar, ingest, layout, manifest
from market_pipeline.feed import Auth, Feed, Instrument, Outcome, Pace, Provider, Request, Verdict
from market_pipeline.fetch import Client
from market_pipeline.ingest import ingest_span, ranges
from market_pipeline.normalize import OUTSIDE, NormalizeReport, normalize, normalize_slices
from market_pipeline.partition import Grain, Slice
from market_pipeline.quota import Ledger
from market_pipeline.slice_run import IngestReport
from market_pipeline.store import FolderStore
from wire import FAST, KEY, instrument, reply, tree

NOW = dt.datetime(2026, 11, 20, 23, 0, tzinfo=dt.UTC)
SESSIONS = calendar.sessions(dt.date(2026, 11, 2), dt.date(2026, 11, 21))
PARTS = [Slice.at(day, grain=Grain.SESSION) for day in SESSIONS]
SYMBOLS = [f"S{n:02d}" for n in range(40)]
pytestmark = pytest.mark.usefixtures("single_try")


def classify(_request: Request, status: int, _kind: str, body: bytes) -> Verdict:
    """Data is a list, an empty one is no data, 402 is a refusal."""
    if status != 200:
        return Verdict(Outcome.REFUSED if status == 402 else Outcome.FAILED, f"http_{status}")
    return Verdict(Outcome.FETCHED) if json.loads(body) else Verdict(Outcome.EMPTY, "no_rows")


def parse(body: bytes, _request: Request) -> pl.DataFrame:
    """One session a row, as text."""
    rows = json.loads(body)
    return pl.DataFrame(
        [
            {"session_date": row["date"], "price_basis": "raw"}
            | {f"{name}_usd": str(row["close"]) for name in ("open", "high", "low", "close")}
            | {"volume_shares": "1000"}
            for row in rows
        ]
    )


def plan(part: Slice, members: Sequence[Instrument]) -> tuple[Request, ...]:
    """One request per instrument for the whole range; `to` is inclusive."""
    last = part.end - dt.timedelta(days=1)
    return tuple(
        Request(
            member.symbol,
            f"/bars/{member.symbol}",
            (("from", f"{part.start}"), ("to", f"{last}")),
            "json",
            instrument_id=member.instrument_id,
            symbol=member.symbol,
            since=part.start,
            until=part.end,
        )
        for member in members
    )


FEED = Feed(
    dataset="bars",
    contract="bars_daily",
    grain=Grain.SESSION,
    is_snapshot=False,
    asset_classes=frozenset({"stock"}),
    plan=plan,
    classify=classify,
    parse=parse,
    endpoint="/bars",
    description="",
    delay="",
    adjustment="",
    licence_note="",
    spans=True,
    is_revised=True,
    date_column="session_date",
)
ACME = Provider(
    name="acme",
    title="Acme",
    base_url="https://api.acme.test",
    base_url_setting="ACME_BASE_URL",
    auth=Auth(setting="ACME_KEY", place="header", name="apikey"),
    plans={"free": FAST},
    plan_setting="ACME_PLAN",
    default_plan="free",
    feeds=(FEED,),
)


class Bars:
    """The endpoint: a close per symbol and session, and what to answer instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.refused: set[str] = set()
        self.close = {day: 100.0 + n for n, day in enumerate(SESSIONS)}
        self.extra: list[dict[str, object]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.headers["apikey"] == KEY
        symbol = request.url.path.rpartition("/")[2]
        self.asked.append((symbol, request.url.params["from"], request.url.params["to"]))
        if symbol in self.refused:
            return reply(b"Premium Query Parameter", 402)
        return reply(self.rows(request.url))

    def rows(self, url: httpx2.URL) -> bytes:
        """The body for an address."""
        symbol, since, until = url.path.rpartition("/")[2], url.params["from"], url.params["to"]
        rows: list[dict[str, object]] = [
            {"date": f"{day}", "close": close, "symbol": symbol}
            for day, close in sorted(self.close.items(), reverse=True)
            if since <= f"{day}" <= until
        ]
        return json.dumps(rows + self.extra).encode()


class Lake:
    """A lake, the endpoint and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.api, self.now = folder, FolderStore(folder / "lake"), Bars(), NOW
        self.members = [instrument(symbol) for symbol in SYMBOLS]

    def take(
        self,
        parts: Sequence[Slice] = PARTS,
        *,
        refetch: Sequence[Slice] = (),
        trailing: bool = False,
        pace: Pace = FAST,
    ) -> tuple[IngestReport, ...]:
        """One run over a range."""
        self.api.asked.clear()
        with Client(
            ACME,
            base_url="http://127.0.0.1:9",
            key=KEY,
            pace=pace,
            ledger=Ledger(self.folder / "quota.sqlite"),
            now=lambda: self.now,
            sleep=lambda _seconds: None,
            transport=httpx2.MockTransport(self.api),
        ) as client:
            return ingest_span(
                ACME,
                FEED,
                parts,
                self.members,
                store=self.store,
                client=client,
                now=lambda: self.now,
                refetch=refetch,
                trailing=trailing,
            )

    def normalize(self, parts: Sequence[Slice] = PARTS) -> list[NormalizeReport]:
        """Silver of the range, as one run makes it."""
        return list(normalize_slices(ACME, FEED, parts, store=self.store))

    def rows(self, part: Slice) -> pl.DataFrame:
        """Silver of one session."""
        return pl.read_parquet(self.store.url(layout.silver_part("bars_daily", "acme", "bars", part.key)))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path)


def test_a_range_costs_one_call_per_instrument(lake: Lake) -> None:
    reports = lake.take()
    assert lake.api.asked == [(symbol, "2026-11-02", "2026-11-20") for symbol in SYMBOLS]
    assert [(r.slice_key, r.planned, r.fetched) for r in reports] == [(p.key, 40, 40) for p in PARTS]
    assert sum(report.calls_used for report in reports) == sum(report.objects_new for report in reports) == 40
    objects = [key for key in lake.store.list("bronze/") if layout.manifest_seq(key) is None]
    assert {layout.slice_key_of(key) for key in objects} == {PARTS[-1].key}


def test_silver_has_each_session_by_itself(lake: Lake) -> None:
    lake.take()
    for number, (part, report) in enumerate(zip(PARTS, lake.normalize(), strict=True)):
        assert (report.rows_in, report.rows_kept, report.rows_rejected) == (40, 40, 0)
        rows = lake.rows(part)
        assert set(rows.get_column("session_date")) == {part.start}
        assert set(rows.get_column("close_usd")) == {100.0 + number}
        assert set(rows.get_column("instrument_id")) == {f"id-{symbol}" for symbol in SYMBOLS}
        assert set(rows.get_column("dataset")) == {"bars"}


def test_a_session_alone_gives_the_same_bytes_as_in_a_range(lake: Lake) -> None:
    lake.take()
    lake.normalize()
    before = tree(lake.folder / "lake")
    for part in PARTS:
        assert not normalize(ACME, FEED, part, store=lake.store).is_written
    assert tree(lake.folder / "lake") == before


def test_a_second_run_asks_nothing_and_writes_nothing(lake: Lake) -> None:
    lake.take()
    lake.normalize()
    before = tree(lake.folder / "lake")
    lake.take()
    assert lake.api.asked == []
    assert not any(report.is_written for report in lake.normalize())
    assert tree(lake.folder / "lake") == before


def test_one_more_session_asks_for_that_session(lake: Lake) -> None:
    lake.take(PARTS[:-1])
    lake.take()
    assert lake.api.asked == [(symbol, "2026-11-20", "2026-11-20") for symbol in SYMBOLS]


def test_three_of_forty_refused_are_missing_in_every_session_and_asked_again_alone(lake: Lake) -> None:
    lake.api.refused = {"S03", "S17", "S31"}
    reports = lake.take()
    assert {(r.fetched, r.refused) for r in reports} == {(37, 3)}
    assert all(r.is_blocking and [p.symbol for p in r.problems] == ["S03", "S17", "S31"] for r in reports)
    assert {report.rows_kept for report in lake.normalize()} == {37}
    lake.api.refused = set()
    assert all(report.is_complete for report in lake.take())
    assert Counter(symbol for symbol, _, _ in lake.api.asked) == {"S03": 1, "S17": 1, "S31": 1}
    assert {report.rows_kept for report in lake.normalize()} == {40}


def test_a_correction_is_a_second_version_of_its_session_alone(lake: Lake) -> None:
    lake.take()
    lake.normalize()
    lake.now = NOW + dt.timedelta(days=1)
    lake.api.close[SESSIONS[-2]] = 50.0
    lake.take(PARTS[-5:], refetch=PARTS[-5:])
    written = [report.slice_key for report in lake.normalize() if report.is_written]
    assert written == [PARTS[-2].key]
    rows = lake.rows(PARTS[-2]).filter(pl.col("symbol") == "S00").sort("known_at")
    assert rows.get_column("close_usd").to_list() == [113.0, 50.0]
    assert rows.get_column("known_at").to_list() == [NOW, lake.now]


def test_a_spent_budget_puts_the_rest_off_in_every_session(lake: Lake) -> None:
    free = Pace(calls_per_day=25, interval_s=0.0)
    reports = lake.take(pace=free)
    assert {(r.fetched, r.deferred) for r in reports} == {(25, 15)}
    assert all(report.resumes_at is not None for report in reports)
    lake.now = NOW + dt.timedelta(days=1)
    assert all(report.is_complete for report in lake.take(pace=free))
    assert len(lake.api.asked) == 15


def test_rows_that_nobody_asked_for_are_quarantined_once(lake: Lake) -> None:
    lake.members = lake.members[:1]
    lake.api.extra = [{"date": "2026-10-30", "close": 1.0}, {"date": "not a day", "close": 1.0}]
    lake.take()
    reports = lake.normalize()
    assert [report.rows_rejected for report in reports] == [0] * (len(PARTS) - 1) + [2]
    assert dict(reports[-1].rejected_by_rule) == {OUTSIDE: 2, "session_date|dtype": 1}


@pytest.mark.parametrize("day", ["-2026-11-20", "12026-11-20", "+2026-11-20", "0001-01-01"])
def test_an_absurd_date_spoils_its_own_row(lake: Lake, day: str) -> None:
    lake.members = lake.members[:1]
    lake.api.extra = [{"date": day, "close": 1.0}]
    lake.take()
    reports = lake.normalize()
    assert [(report.rows_kept, report.payload_failures) for report in reports] == [(1, 0)] * len(PARTS)
    assert [dict(report.rejected_by_rule) for report in reports if report.rows_rejected] == [
        {OUTSIDE: 1, "session_date|dtype": 1}
    ]


def test_rows_of_closed_days_within_a_range_are_quarantined_once(lake: Lake) -> None:
    lake.members = lake.members[:2]
    lake.api.extra = [{"date": "2026-11-07", "close": 1.0}, {"date": "2026-11-15", "close": 1.0}]
    lake.take()
    reports = lake.normalize()
    assert [report.rows_in for report in reports] == [2] * (len(PARTS) - 1) + [6]
    assert [(report.rows_kept, report.rows_rejected) for report in reports] == [(2, 0)] * (len(PARTS) - 1) + [(2, 4)]
    assert dict(reports[-1].rejected_by_rule) == {"exchange_was_open": 4}
    assert not normalize(ACME, FEED, PARTS[-1], store=lake.store).is_written


def test_an_instrument_listed_on_the_way_is_expected_from_then_on(lake: Lake) -> None:
    lake.members = [instrument("S00"), replace(instrument("S01"), listed_date=dt.date(2026, 11, 18))]
    reports = lake.take()
    assert [report.planned for report in reports] == [1] * (len(PARTS) - 3) + [2] * 3
    assert lake.api.asked == [("S00", "2026-11-02", "2026-11-20"), ("S01", "2026-11-18", "2026-11-20")]


def test_a_long_range_is_asked_in_pieces(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "FEED", replace(FEED, span_slices=10))
    lake.members = lake.members[:1]
    assert all(report.is_complete for report in lake.take())
    assert [asked[1:] for asked in lake.api.asked] == [
        ("2026-11-02", f"{SESSIONS[9]}"),
        (f"{SESSIONS[10]}", "2026-11-20"),
    ]


def test_a_hole_of_sessions_that_are_there_counts_in_the_length_of_a_range(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "FEED", replace(FEED, span_slices=10))
    lake.members = lake.members[:1]
    lake.take(PARTS[3:-1])
    reports = lake.take()
    assert [asked[1:] for asked in lake.api.asked] == [("2026-11-02", "2026-11-04"), ("2026-11-20", "2026-11-20")]
    assert all(report.is_complete for report in reports)


def test_what_an_answer_holds_of_a_hole_stays_in_bronze_alone(lake: Lake) -> None:
    lake.members = lake.members[:1]
    lake.take(PARTS[1:-1])
    lake.take()
    reports = lake.normalize()
    assert [(report.rows_in, report.rows_kept) for report in reports] == [(1, 1)] * len(PARTS)
    assert [asked[1:] for asked in lake.api.asked] == [(PARTS[0].key, PARTS[-1].key)]


def test_ranges_are_cut_by_the_calendar() -> None:
    years = [Slice.at(day, grain=Grain.SESSION) for day in calendar.sessions(dt.date(2004, 1, 1), dt.date(2026, 1, 1))]
    found = ranges(FEED, [*years[:252], years[-1]])
    assert [(len(parts), parts[0], parts[-1]) for parts in found] == [
        (252, years[0], years[251]),
        (1, years[-1], years[-1]),
    ]
    assert [len(parts) for parts in ranges(FEED, years)] == [1250] * 4 + [len(years) - 5000]
    assert [len(parts) for parts in ranges(FEED, years[::2])] == [625] * 4 + [len(years[::2]) - 2500]
    assert [part for parts in ranges(FEED, years[::-3]) for part in parts] == years[::-3][::-1]
    weeks = [Slice.at(dt.date(2026, 1, 5) + dt.timedelta(weeks=n), grain=Grain.WEEK) for n in (0, 1, 2, 9, 11, 12)]
    weekly = ranges(replace(FEED, grain=Grain.WEEK, span_slices=3), weeks)
    assert weekly == [weeks[:3], weeks[3:5], weeks[5:]]
    assert ranges(FEED, []) == []


def test_a_killed_run_loses_no_answer_that_a_manifest_names(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every call; then the process dies in the middle, here by an error that nobody catches."""
    monkeypatch.setattr(ingest, "CHECKPOINT_S", 0.0)
    api = lake.api

    class Dying(Bars):
        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path.endswith("S20"):
                raise KeyboardInterrupt
            return api(request)

    lake.api = Dying()
    with pytest.raises(KeyboardInterrupt):
        lake.take()
    lake.api = api
    assert all(report.is_complete for report in lake.take())
    assert {symbol for symbol, _, _ in lake.api.asked} == set(SYMBOLS[20:])
    committed = manifest.read(lake.store, "acme", "bars", PARTS[0].key)
    assert committed is not None
    assert len(committed.entries) == 40


def test_corrections_are_looked_for_once_though_one_symbol_is_refused(lake: Lake) -> None:
    """The trailing sessions go with the newest one: a symbol that has that one asks for nothing."""
    lake.take(PARTS[:-1])
    lake.api.refused = {"S07"}
    lake.take(PARTS[-6:], trailing=True)
    assert lake.api.asked == [(symbol, f"{PARTS[-6].start}", "2026-11-20") for symbol in SYMBOLS]
    lake.take(PARTS[-6:], trailing=True)
    assert lake.api.asked == [("S07", f"{PARTS[-6].start}", "2026-11-20")]


def test_a_symbol_that_is_not_listed_any_more_is_corrected_with_the_others(lake: Lake) -> None:
    lake.take(PARTS[:-1])
    lake.members[3] = replace(lake.members[3], delisted_date=PARTS[-3].start)
    lake.take(PARTS[-6:], trailing=True)
    assert ("S03", f"{PARTS[-6].start}", f"{PARTS[-3].start}") in lake.api.asked
    assert len(lake.api.asked) == 40
    lake.take(PARTS[-6:], trailing=True)
    assert lake.api.asked == []
