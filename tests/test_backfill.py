"""Daily feeds through Dagster: a year in one run, what is lacking and nothing else, corrections, gaps, cut-short
sessions. Expected values come from the sandbox's own list of events and its count of calls, which share no code with
the pipeline. Gold has other tests; no run here builds it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg
import httpx2
import polars as pl
import pytest

from market_pipeline import layout, manifest, reference
from market_pipeline.cli import bill
from market_pipeline.errors import IncompleteSlice
from market_pipeline.feed import Outcome
from market_pipeline.manifest import PAST_THE_END, Entry, Payload
from market_pipeline.orchestration import legs, runs
from market_pipeline.orchestration.definitions import build
from market_pipeline.orchestration.legs import Leg
from market_pipeline.orchestration.partitions import note_first_day
from market_pipeline.orchestration.resources import Asked
from market_pipeline.partition import Slice
from market_pipeline.pipeline import Pipeline
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.sandbox.events import EventKind
from market_pipeline.sandbox.market import Market
from market_pipeline.settings import load_settings
from market_pipeline.slice_run import IngestReport
from sample_profile import CLOCK, SEEDS, SYMBOLS, Profile, make

GROUPED = ("bronze/polygon/grouped_daily", "silver/polygon/grouped_daily")
RAW = ("bronze/fmp/eod_raw", "silver/fmp/eod_raw")
ROSTER = 60
EMPTY_MANIFEST = json.dumps(
    {
        "nodes": {
            "model.x.nothing": {
                "name": "nothing",
                "resource_type": "model",
                "config": {"materialized": "table"},
                "depends_on": {"nodes": []},
                "fqn": ["x", "marts", "nothing"],
                "original_file_path": "models/marts/nothing.sql",
                "description": "A stand-in: no run here builds gold.",
            }
        },
        "sources": {},
    }
).encode()


@pytest.fixture
def sandbox() -> Iterator[str]:
    """The fictional market with a small roster beside the universe, and no call counted yet."""
    clock = dt.datetime.fromisoformat(CLOCK)
    with running(SandboxConfig(universe=SEEDS, clock=clock, plan="unlimited", roster_size=ROSTER)) as url:
        yield url


@pytest.fixture
def profile(tmp_path: Path, sandbox: str, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """A fresh profile of three symbols whose history may begin in 2025."""
    made = make(tmp_path, sandbox, EMPTY_MANIFEST, monkeypatch)
    note_first_day(load_settings(), dt.date(2025, 11, 3))
    return made


def leg(pipeline: Pipeline, assets: tuple[str, ...], since: str, until: str) -> Leg:
    """Assets over the sessions of an inclusive range."""
    ((_, feed), *_) = legs.feeds_of(pipeline, assets)
    end = dt.date.fromisoformat(until) + dt.timedelta(days=1)
    parts = pipeline.slices(feed, dt.date.fromisoformat(since), end)
    return Leg(assets, tuple(part.key for part in parts))


def calls(url: str, endpoint: str) -> Counter[str]:
    """Answered calls to an endpoint by symbol or day, as the sandbox counts them."""
    state = httpx2.get(f"{url}/_sandbox/state").json()
    found: Counter[str] = Counter()
    for answer in state["answers"]:
        if endpoint in answer["endpoint"]:
            found[answer["symbol"]] += answer["count"]
    return found


def asked(url: str) -> int:
    """All answered calls."""
    return int(httpx2.get(f"{url}/_sandbox/state").json()["answered"])


def set_clock(url: str, moment: str) -> None:
    httpx2.put(f"{url}/_sandbox/clock", json={"now": moment}).raise_for_status()


def tree(folder: Path) -> Mapping[str, str]:
    """Every file below a folder with its hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def silver(pipeline: Pipeline, contract: str, provider: str, dataset: str) -> pl.DataFrame:
    """All silver rows of a feed."""
    prefix = layout.silver_dataset(contract, provider, dataset)
    keys = [key for key in pipeline.store.list(prefix) if key.endswith("part.parquet")]
    return pl.concat([pl.read_parquet(pipeline.store.url(key)) for key in keys])


# One run for a year


@pytest.mark.slow
def test_a_year_is_one_run_that_asks_once_per_instrument_and_adds_at_most_15_s_to_the_work(
    profile: Profile, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """252 sessions. What the run costs beside the work is judged by processor time against the same two steps without
    Dagster, on a lake of their own."""
    pipeline = profile.pipeline()
    year = leg(pipeline, RAW, "2025-11-20", "2026-11-20")
    assert len(year.slice_keys) == 252
    runs.start(pipeline, leg(pipeline, RAW, "2025-11-19", "2025-11-19"))  # imports and migrations are paid
    before = asked(profile.sandbox)
    started = time.process_time()
    outcome = runs.start(pipeline, year)
    whole_s = time.process_time() - started
    assert outcome.is_success, outcome.errors
    assert asked(profile.sandbox) - before == len(SYMBOLS)

    monkeypatch.setenv("MARKET_PIPELINE_HOME", str(tmp_path_factory.mktemp("bare")))
    bare = Pipeline(load_settings())
    bare.initialize()
    started = time.process_time()
    bare.ingest("fmp", "eod_raw", year.slice_keys)
    bare.normalize("fmp", "eod_raw", year.slice_keys)
    work_s = time.process_time() - started
    assert whole_s - work_s < 15, f"{whole_s:.1f} s in all, {work_s:.1f} s of them work"

    with runs.open_instance(pipeline.settings) as instance:
        run = instance.get_run_by_id(outcome.run_id)
        assert run is not None
        assert run.tags["dagster/asset_partition_range_start"] == "2025-11-20"
        assert run.tags["dagster/asset_partition_range_end"] == "2026-11-20"
        for name in RAW:
            key = dg.AssetKey(name.split("/"))
            assert instance.get_materialized_partitions(key) == {"2025-11-19", *year.slice_keys}
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(list(RAW[1].split("/"))))
        records = instance.fetch_materializations(wanted, limit=300).records
        by_day = {record.partition_key: record.asset_materialization for record in records}
        assert "preview" in by_day["2026-11-20"].metadata
        assert "preview" not in by_day["2026-11-19"].metadata, "rows of each of hundreds of slices cost too much"
        assert by_day["2026-11-19"].metadata["newest_date"].value == "2026-11-19"
    rows = silver(pipeline, "bars_daily", "fmp", "eod_raw")
    assert rows.get_column("session_date").n_unique() == 253


def test_a_rerun_asks_nothing_and_writes_nothing(profile: Profile) -> None:
    pipeline = profile.pipeline()
    week = leg(pipeline, (*RAW, *GROUPED), "2026-11-09", "2026-11-13")
    assert runs.start(pipeline, week).is_success
    before, count = tree(pipeline.settings.lake), asked(profile.sandbox)
    again = runs.start(pipeline, week)
    assert again.is_success
    assert tree(pipeline.settings.lake) == before
    assert asked(profile.sandbox) == count


def test_the_bill_is_what_is_lacking(profile: Profile) -> None:
    """Two of ten sessions are there: eight calls for the whole market; one call per instrument, however many days."""
    pipeline = profile.pipeline()
    assert runs.start(pipeline, leg(pipeline, (*RAW, *GROUPED), "2026-11-11", "2026-11-12")).is_success
    feeds = legs.feeds_of(pipeline, (*RAW, *GROUPED))
    span = {"since": dt.date(2026, 11, 9), "until": dt.date(2026, 11, 21)}
    whole = {item.name: item for item in bill.of_range(pipeline, feeds, **span)}
    grouped, raw = whole["polygon/grouped_daily"], whole["fmp/eod_raw"]
    assert (grouped.calls, len(grouped.lacking), grouped.stored) == (8, 8, ("2026-11-11", "2026-11-12"))
    assert (raw.calls, len(raw.lacking), len(raw.stored)) == (3, 8, 2)
    again = {item.name: item.calls for item in bill.of_range(pipeline, feeds, refetch=True, **span)}
    assert again == {"polygon/grouped_daily": 10, "fmp/eod_raw": 3}
    narrow = {item.name: item.calls for item in bill.of_range(pipeline, feeds, symbols=("BQLN",), **span)}
    assert narrow == {"polygon/grouped_daily": 8, "fmp/eod_raw": 1}
    (plan,) = legs.over(pipeline, (*RAW, *GROUPED), {("polygon", "grouped_daily"): grouped.lacking})
    before = asked(profile.sandbox)
    assert runs.start(pipeline, plan).is_success
    assert asked(profile.sandbox) - before == grouped.calls
    (done,) = bill.of_range(pipeline, legs.feeds_of(pipeline, GROUPED), **span)
    assert (done.calls, done.lacking, len(done.stored)) == (0, (), 10)


def test_the_bill_counts_ranges_as_they_are_asked(profile: Profile) -> None:
    """Six sessions are there, two before and two after them are not: too far apart for one request of five."""
    pipeline = profile.pipeline()
    assert runs.start(pipeline, leg(pipeline, RAW, "2026-11-11", "2026-11-18")).is_success
    ((provider, feed),) = legs.feeds_of(pipeline, RAW)
    span = {"since": dt.date(2026, 11, 9), "until": dt.date(2026, 11, 21)}
    for longest, ranges in ((10, 1), (9, 2), (5, 2), (1, 4)):
        (item,) = bill.of_range(pipeline, [(provider, replace(feed, span_slices=longest))], **span)
        assert (item.calls, len(item.lacking)) == (3 * ranges, 4)


@pytest.mark.parametrize(("reason", "calls"), [(PAST_THE_END, 0), ("", 2)])
def test_a_page_past_the_end_of_its_answer_is_no_call(profile: Profile, reason: str, calls: int) -> None:
    """The first page has been asked since the last close, the second one is from before it."""
    pipeline = profile.pipeline()
    provider, feed = pipeline.feed("polygon", "dividends")
    part = pipeline.current_slice(feed)
    closes_at = pipeline.closes_at(feed, part)
    assert closes_at is not None
    (first,) = feed.plan(part, ())
    pages = [(first, pipeline.now(), ""), (first.next_page(first.path, ()), closes_at - dt.timedelta(hours=1), reason)]
    entries = tuple(
        Entry(request, Outcome.FETCHED, why, asked_at, (Payload("x.json", "0" * 64, 1, asked_at),))
        for request, asked_at, why in pages
    )
    manifest.write(
        pipeline.store, provider.name, feed, part, seq=1, entries=entries, written_at=dt.datetime.now(dt.UTC)
    )
    (item,) = bill.of_range(pipeline, [(provider, feed)], since=part.start, until=part.end)
    assert item.calls == calls


def test_bronze_without_silver_is_lacking_though_it_costs_no_call(profile: Profile) -> None:
    """A run that was killed between the two."""
    pipeline = profile.pipeline()
    assert runs.start(pipeline, leg(pipeline, GROUPED[:1], "2026-11-12", "2026-11-13")).is_success
    span = {"since": dt.date(2026, 11, 12), "until": dt.date(2026, 11, 14)}
    (item,) = bill.of_range(pipeline, legs.feeds_of(pipeline, GROUPED), **span)
    assert (item.calls, item.lacking) == (0, ("2026-11-12", "2026-11-13"))


def test_a_snapshot_of_the_past_cannot_be_had_and_the_present_one_can(profile: Profile) -> None:
    pipeline = profile.pipeline()
    feeds = legs.feeds_of(pipeline, ("bronze/fmp/profile", "bronze/alpha_vantage/daily_adjusted"))
    span = {"since": dt.date(2026, 11, 2), "until": dt.date(2026, 11, 21)}
    found = {item.name: item for item in bill.of_range(pipeline, feeds, **span)}
    assert found["fmp/profile"].lost == ("2026-11-02", "2026-11-09")
    assert found["fmp/profile"].lacking == ("2026-11-16",)
    assert found["alpha_vantage/daily_adjusted"].lacking == ("2026-11-20",)
    assert len(found["alpha_vantage/daily_adjusted"].lost) == 14


# Limits


def test_a_limit_of_calls_stops_and_the_same_run_goes_on(profile: Profile) -> None:
    pipeline = profile.pipeline()
    week = leg(pipeline, GROUPED, "2026-11-09", "2026-11-13")
    first = runs.start(pipeline, week, asked=Asked(max_calls=2))
    assert first.is_success, "what is put off does not block"
    assert calls(profile.sandbox, "grouped").total() == 2
    deferred = [p.reason for r in first.reports if isinstance(r, IngestReport) for p in r.problems]
    assert deferred == ["call_limit"] * 3
    assert runs.start(pipeline, week).is_success
    assert calls(profile.sandbox, "grouped").total() == 5
    assert silver(pipeline, "bars_daily", "polygon", "grouped_daily").get_column("session_date").n_unique() == 5


def test_a_limit_counts_over_all_feeds_of_a_run(profile: Profile) -> None:
    pipeline = profile.pipeline()
    assert runs.start(pipeline, leg(pipeline, (*RAW, *GROUPED), "2026-11-09", "2026-11-13"), asked=Asked(max_calls=4))
    assert asked(profile.sandbox) == 4


def test_symbols_narrow_what_is_asked_per_instrument(profile: Profile) -> None:
    pipeline = profile.pipeline()
    week = leg(pipeline, RAW, "2026-11-09", "2026-11-13")
    assert runs.start(pipeline, week, asked=Asked(symbols=("BQLN",))).is_success
    assert calls(profile.sandbox, "historical-price-eod") == {"BQLN": 1}
    assert runs.start(pipeline, week).is_success
    assert calls(profile.sandbox, "historical-price-eod") == dict.fromkeys(SYMBOLS, 1)


# Sessions


def test_a_session_that_has_not_closed_is_refused_with_the_time_to_come_back(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_PIPELINE_CLOCK", "2026-11-20T15:00:00Z")
    outcome = runs.start(profile.pipeline(), Leg(GROUPED[:1], ("2026-11-20",)))
    assert not outcome.is_success
    assert isinstance(outcome.error, IncompleteSlice)
    assert "closes at 2026-11-20 21:00 UTC; come back after that" in str(outcome.error)
    assert asked(profile.sandbox) == 0


def test_a_correction_is_found_by_the_window_of_the_next_run(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Polygon serves a close on the evening of its session and another one from the next close on."""
    market = Market.load(SEEDS, roster_size=ROSTER)
    now = dt.datetime.fromisoformat(CLOCK)
    correction = next(
        event
        for event in market.events(now, kinds=[EventKind.CORRECTION])
        if event.provider == "polygon" and event.date == dt.date(2026, 11, 18)
    )
    monkeypatch.setenv("MARKET_PIPELINE_UNIVERSE", ",".join({*SYMBOLS, correction.symbol}))
    before, after = (f"{day}T22:00:00Z" for day in ("2026-11-18", "2026-11-19"))
    for moment in (before, after):
        set_clock(profile.sandbox, moment)
        monkeypatch.setenv("MARKET_PIPELINE_CLOCK", moment)
        pipeline = profile.pipeline()
        (plan,) = legs.present(pipeline, GROUPED)
        assert runs.start(pipeline, plan).is_success
    rows = silver(pipeline, "bars_daily", "polygon", "grouped_daily").filter(
        symbol=correction.symbol, session_date=correction.date
    )
    versions = rows.sort("known_at").select("known_at", "close_usd").rows()
    assert [close for _, close in versions] == [correction.old, correction.new]
    assert [known_at.date() for known_at, _ in versions] == [dt.date(2026, 11, 18), dt.date(2026, 11, 19)]
    again = asked(profile.sandbox)
    assert runs.start(pipeline, plan).is_success
    assert asked(profile.sandbox) == again, "the window is asked once per new session"


def test_a_bar_that_is_missing_is_a_gap_with_a_name(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market.load(SEEDS, roster_size=ROSTER)
    gaps = [
        event
        for event in market.events(dt.datetime.fromisoformat(CLOCK), kinds=[EventKind.MISSING_ROW])
        if event.date >= dt.date(2026, 11, 2)
    ]
    assert {event.provider for event in gaps} == {"fmp", "polygon"}
    monkeypatch.setenv("MARKET_PIPELINE_UNIVERSE", "")
    pipeline = profile.pipeline()
    outcome = runs.start(pipeline, leg(pipeline, (*RAW, *GROUPED), "2026-11-02", "2026-11-20"))
    assert outcome.is_success, "single gaps warn"
    with runs.open_instance(pipeline.settings) as instance:
        for name, provider in ((RAW[1], "fmp"), (GROUPED[1], "polygon")):
            assert f"{name}: coverage" in outcome.warned_checks
            key = dg.AssetCheckKey(dg.AssetKey(name.split("/")), "coverage")
            (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
            table = record.event.dagster_event.event_specific_data.metadata["named"]
            named = {(row.data["slice"], row.data["symbol"]) for row in table.records}
            assert named == {(event.date.isoformat(), event.symbol) for event in gaps if event.provider == provider}


def cut_short(pipeline: Pipeline, day: str, *, share: float) -> None:
    """A session as a vendor would leave it who stopped in the middle: whole JSON, few results. Put into bronze as an
    ingest would, because the sandbox has no such fault."""
    _, feed = pipeline.feed("polygon", "grouped_daily")
    part = Slice.from_key(day, grain=feed.grain)
    donor = manifest.read(pipeline.store, "polygon", "grouped_daily", "2026-11-12")
    assert donor is not None
    prefix = layout.bronze_slice("polygon", "grouped_daily", "2026-11-12")
    payload = donor.entries[0].payloads[-1]
    body = json.loads(pipeline.store.get(layout.bronze_payload(prefix, payload.object)))
    (request,) = feed.plan(part, ())
    shift = int((dt.date.fromisoformat(day) - dt.date(2026, 11, 12)).total_seconds() * 1000)
    kept = body["results"][: int(len(body["results"]) * share)]
    body["results"] = [{**row, "t": row["t"] + shift} for row in kept]
    body["resultsCount"] = body["queryCount"] = body["count"] = len(kept)
    data = json.dumps(body).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    home = layout.bronze_slice("polygon", "grouped_daily", day)
    key = layout.bronze_object(home, request.name, sha256, request.extension)
    pipeline.store.create(key, data)
    now = pipeline.now()
    entry = Entry(request, Outcome.FETCHED, "", now, (Payload(key.removeprefix(home), sha256, len(data), now),))
    manifest.write(pipeline.store, "polygon", feed, part, seq=1, entries=(entry,), written_at=now)


def test_a_session_that_is_cut_short_blocks_and_does_not_stay_in_silver(profile: Profile) -> None:
    pipeline = profile.pipeline()
    assert runs.start(pipeline, leg(pipeline, GROUPED, "2026-11-09", "2026-11-12")).is_success
    cut_short(pipeline, "2026-11-13", share=0.5)
    one = leg(pipeline, GROUPED[1:], "2026-11-13", "2026-11-13")
    outcome = runs.start(pipeline, one)
    assert not outcome.is_success
    assert f"{GROUPED[1]}: row_count" in outcome.failed_checks
    assert "2026-11-13" in str(outcome.error)
    assert "--allow-partial" in str(outcome.error)
    rows = silver(pipeline, "bars_daily", "polygon", "grouped_daily")
    assert rows.get_column("session_date").max() == dt.date(2026, 11, 12)
    assert reference.silver_slices(pipeline.store, pipeline.feeds()).height >= 4, "the other slices can be built on"
    with runs.open_instance(pipeline.settings) as instance:
        found = instance.get_materialized_partitions(dg.AssetKey(GROUPED[1].split("/")))
    assert "2026-11-13" not in found, "nothing follows it"

    partial = runs.start(pipeline, one, asked=Asked(allow_partial=True))
    assert partial.is_success, partial.errors
    rows = silver(pipeline, "bars_daily", "polygon", "grouped_daily")
    assert rows.get_column("session_date").max() == dt.date(2026, 11, 13)


def test_a_session_with_most_of_its_symbols_passes(profile: Profile) -> None:
    pipeline = profile.pipeline()
    assert runs.start(pipeline, leg(pipeline, GROUPED, "2026-11-09", "2026-11-12")).is_success
    cut_short(pipeline, "2026-11-13", share=0.9)
    outcome = runs.start(pipeline, leg(pipeline, GROUPED[1:], "2026-11-13", "2026-11-13"))
    assert outcome.is_success, outcome.errors


# From the UI and the clock


def test_what_a_schedule_asks_for_runs_over_its_range(profile: Profile) -> None:
    """The request as the daemon would launch it: a job of the grain, range tags, a selection."""
    settings = load_settings()
    repository = build(settings).get_repository_def()
    (schedule,) = [s for s in repository.schedule_defs if s.name == "bronze_session_schedule"]
    with dg.build_schedule_context(repository_def=repository, scheduled_execution_time=settings.now()) as context:
        requests = schedule.evaluate_tick(context).run_requests or []
    (request,) = [r for r in requests if r.partition_key is None]
    with runs.open_instance(settings) as instance:
        result = repository.get_job("bronze_session").execute_in_process(
            instance=instance,
            tags=request.tags,
            asset_selection=[key for key in request.asset_selection or () if key.path[1] == "polygon"],
        )
        assert result.success
        assert len(instance.get_materialized_partitions(dg.AssetKey(GROUPED[0].split("/")))) == 6
    assert calls(profile.sandbox, "grouped").total() == 6


# Kills


def test_a_killed_backfill_goes_on_where_it_was(profile: Profile) -> None:
    """SIGKILL in mid-fetch: the next run asks only for what no manifest has, and the slice that was under way."""
    pipeline = profile.pipeline()
    weeks = leg(pipeline, GROUPED, "2026-10-12", "2026-11-20")
    assert len(weeks.slice_keys) == 30
    profile.faults({"kind": "latency", "provider": "polygon", "seconds": 0.1})
    process = profile.python(
        "from market_pipeline.settings import load_settings\n"
        "from market_pipeline.pipeline import Pipeline\n"
        "from market_pipeline.orchestration import runs\n"
        "from market_pipeline.orchestration.legs import Leg\n"
        f"runs.start(Pipeline(load_settings()), Leg({weeks.selection!r}, {weeks.slice_keys!r}))\n"
    )
    deadline = time.monotonic() + 90
    while len(pipeline.bronze_slices("polygon", "grouped_daily")) < 8:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    profile.faults()
    committed = pipeline.bronze_slices("polygon", "grouped_daily")
    assert 8 <= len(committed) < 30, "the kill was to hit a run under way"
    first = calls(profile.sandbox, "grouped").total()
    before = tree(pipeline.settings.lake / "bronze")

    outcome = runs.start(pipeline, weeks)
    assert outcome.is_success, outcome.errors
    assert calls(profile.sandbox, "grouped").total() - first == 30 - len(committed)
    assert first - len(committed) in (0, 1), "at most the call under way is made twice"
    after = tree(pipeline.settings.lake / "bronze")
    assert before.items() <= after.items()
    rows = silver(pipeline, "bars_daily", "polygon", "grouped_daily")
    assert sorted(day.isoformat() for day in rows.get_column("session_date").unique()) == list(weeks.slice_keys)
    with runs.open_instance(pipeline.settings) as instance:
        status = Counter(run.status for run in instance.get_runs())
    assert status == {dg.DagsterRunStatus.FAILURE: 1, dg.DagsterRunStatus.SUCCESS: 1}
