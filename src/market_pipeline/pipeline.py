"""The composition root: settings in, steps out. The command line and Dagster's assets are thin wrappers of it.

What does not belong here: how a run is scheduled or recorded by Dagster (`orchestration`). Over 300 lines because every
step is put together here, and nowhere else.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import cached_property

import polars as pl

from market_pipeline import (
    calendar,
    contracts,
    gold,
    health,
    history,
    layout,
    logs,
    manifest,
    providers,
    reference,
    universe,
)
from market_pipeline.brake import Brake
from market_pipeline.databases import Transport, asking
from market_pipeline.dbt_project import DbtProject
from market_pipeline.errors import CheckFailed, ConfigurationError, IncompleteSlice, KeyMissing, LakeError
from market_pipeline.feed import Feed, Instrument, Provider
from market_pipeline.fetch import Client
from market_pipeline.ingest import ingest, ingest_span
from market_pipeline.normalize import NormalizeReport, empty_quarantine, empty_silver, normalize_slices
from market_pipeline.partition import Grain, Slice, slices
from market_pipeline.quota import Budget, Ledger, key_id
from market_pipeline.records import make_folder
from market_pipeline.s3 import ACCESS, S3Store
from market_pipeline.settings import Settings
from market_pipeline.slice_run import IngestReport
from market_pipeline.store import FolderStore, Store, exclusive, honours_create_only
from market_pipeline.warehouse import Health, LastRun, Warehouse

_log = logging.getLogger(__name__)


class Pipeline:
    """Every step of one profile. `now` replaces the profile's clock, for tests."""

    def __init__(self, settings: Settings, *, now: Callable[[], dt.datetime] | None = None) -> None:
        self.settings = settings
        self.now = now or settings.now
        self.store: Store = FolderStore(settings.lake) if settings.s3 is None else S3Store(settings.s3)
        self.warehouse = Warehouse(settings.warehouse)
        self.ledger = Ledger(settings.state / "quota.sqlite")
        self._gold: gold.GoldReport | None = None
        self._is_store_proven = False

    @cached_property
    def providers(self) -> Mapping[str, Provider]:
        """Every provider by name."""
        return providers.load()

    @cached_property
    def known(self) -> universe.Universe:
        """The universe with its symbol history."""
        return universe.load(
            self.settings.dbt_project / "seeds",
            is_demo=self.settings.is_demo,
            only=self.settings.universe,
            own=self.settings.state / universe.OWN_FILE,
        )

    @property
    def universe(self) -> tuple[Instrument, ...]:
        """The instruments that are followed, under the symbols they have today."""
        return self.known.members(on=self.now().date())

    def feeds(self) -> tuple[tuple[Provider, Feed], ...]:
        """Every feed with its provider, in a stable order."""
        return tuple((provider, feed) for provider in self.providers.values() for feed in provider.feeds)

    def feed(self, provider: str, dataset: str) -> tuple[Provider, Feed]:
        """One feed by its two names; unknown ones are a ConfigurationError that lists the known."""
        for found, feed in self.feeds():
            if (found.name, feed.dataset) == (provider, dataset):
                return found, feed
        known = ", ".join(f"{p.name}/{f.dataset}" for p, f in self.feeds())
        raise ConfigurationError(f"There is no feed {provider}/{dataset}; known: {known}")

    def active_feeds(self) -> tuple[tuple[Provider, Feed], ...]:
        """The feeds that can be asked: their provider's key is set, and its plan includes them."""
        return tuple((provider, feed) for provider, feed in self.feeds() if self.why_inactive(provider, feed) is None)

    def why_inactive(self, provider: Provider, feed: Feed) -> ConfigurationError | None:
        """What keeps a feed from being asked, as an error with its remedy; None for an active one."""
        if self.settings.key(provider) is None and provider.auth.place == "url":
            return KeyMissing(f"{provider.auth.setting} is not set; put the address of your database into .env")
        if not self.settings.has_query(feed):
            return ConfigurationError(
                f"{feed.query_setting} is not set; put the query of {provider.name}/{feed.dataset} into .env, or @ and "
                "the path of a .sql file"
            )
        if self.settings.key(provider) is None and provider.auth.place != "none":
            return KeyMissing(
                f"{provider.auth.setting} is not set; get a key at {provider.auth.obtain} and put it into .env, "
                f"or run: market-pipeline init --with {provider.name}"
            )
        plan, _ = self.settings.pace(provider)
        if feed.plans is not None and plan not in feed.plans:
            fitting = ", ".join(name for name in provider.plans if name in feed.plans)
            return ConfigurationError(
                f"{provider.name}/{feed.dataset} is not part of the plan {plan}; where yours is another one, set "
                f"{provider.plan_setting} to one of: {fitting}"
            )
        return None

    def closes_at(self, feed: Feed, part: Slice) -> dt.datetime | None:
        """The instant up to which a slice moves, None for one that doesn't: a snapshot until its last session's close,
        a revised slice until the last close so far, as long as it is young enough to be corrected."""
        if feed.moves_until_close:
            return calendar.last_close(part.start, part.end)
        if not feed.is_revised or feed.grain is Grain.SESSION:  # a session's corrections come by its window
            return None
        newest = calendar.last_closed_session(self.now())
        settles = calendar.session_before(part.end)
        for _ in range(self.settings.trailing_sessions):
            settles = calendar.session_after(settles)
        return calendar.close_of(min(newest, settles))

    def current_slice(self, feed: Feed) -> Slice:
        """The slice that is asked for now: the last closed session's, or the one that holds today (UTC)."""
        if feed.grain is Grain.SESSION:
            return Slice.at(calendar.last_closed_session(self.now()), grain=feed.grain)
        return Slice.at(self.now().date(), grain=feed.grain)

    def slices(self, feed: Feed, since: dt.date, until: dt.date) -> tuple[Slice, ...]:
        """Every slice of the feed that overlaps the half-open range of dates, oldest first."""
        if feed.grain is Grain.SESSION:
            return tuple(Slice.at(day, grain=feed.grain) for day in calendar.sessions(since, until))
        return slices(since, until, grain=feed.grain)

    def slice(self, feed: Feed, slice_key: str) -> Slice:
        """The slice of a key; a date that is no session of the exchange is a ConfigurationError."""
        part = Slice.from_key(slice_key, grain=feed.grain)
        if feed.grain is Grain.SESSION and calendar.close_of(part.start) is None:
            raise ConfigurationError(
                f"{part.key} is no trading session; the ones around it are {calendar.session_before(part.start)} and "
                f"{calendar.session_after(part.start)}"
            )
        return part

    def window(self, feed: Feed, part: Slice) -> tuple[Slice, ...]:
        """The slices that a run of `part` asks for: a feed that revises its sessions is asked again for the newest."""
        if not feed.is_revised or feed.grain is not Grain.SESSION:
            return (part,)
        first = calendar.session_before(part.start, count=self.settings.trailing_sessions)
        return self.slices(feed, min(first, part.start), part.end)

    def initialize(self) -> None:
        """Folders, and a file without rows for every dataset, so that gold can be built from an empty lake."""
        for folder in (self.settings.warehouse, self.settings.state, self.settings.dagster_home):
            make_folder(folder)
        self.store.sweep(older_than_s=3600.0)
        for provider, feed in self.feeds():
            key = layout.silver_empty(feed.contract, provider.name, feed.dataset)
            self.store.replace(key, empty_silver(feed.contract))
        self.store.replace(layout.quarantine_empty(), empty_quarantine())

    def client(self, provider: Provider) -> Client:
        """A client for the provider; one of a database runs queries where others send requests."""
        key = self.settings.key(provider)
        _, pace = self.settings.pace(provider)
        queries = {feed.dataset: feed for feed in provider.feeds}
        database = None
        if provider.auth.place == "url":
            database = Transport(
                key or "",
                setting=provider.auth.setting,
                query=lambda dataset: self.settings.query(queries[dataset]),
                environment=self.settings.child_environment(providers=self.providers),
            )
        return Client(
            provider,
            base_url=self.settings.base_url(provider),
            key=key,
            pace=pace,
            ledger=self.ledger,
            now=self.now,
            transport=database,
        )

    def budget(self, provider: Provider) -> Budget:
        """What is left of the provider's call budget."""
        _, pace = self.settings.pace(provider)
        return self.ledger.budget(provider.name, key_id(self.settings.key(provider)), pace, now=self.now())

    def ingest(
        self,
        provider_name: str,
        dataset: str,
        slice_keys: Sequence[str],
        *,
        symbols: Collection[str] = (),
        refetch: bool = False,
        trailing: bool = False,
        max_calls: int | None = None,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> tuple[IngestReport, ...]:
        """Provider -> bronze for slices of one feed, oldest first; one writer per feed at a time.

        `symbols` narrows the instruments to ask for (all requests about the whole market stay). With `trailing` the
        older slices are asked again where the newest one is new, by instrument if the feed is asked so: that is how
        corrections of a session are found. Once a budget is spent, a key refused or the provider silent, the
        remaining slices are not asked, and say so.
        """
        provider, feed = self.feed(provider_name, dataset)
        if (problem := self.why_inactive(provider, feed)) is not None:
            raise problem
        if feed.query_setting is not None:
            feed = asking(feed, self.settings.query(feed))
        parts = [self.slice(feed, key) for key in sorted(slice_keys)]
        for part in parts:
            self._refuse_early(feed, part)
        members = [i for i in self.universe if not symbols or i.symbol in symbols]
        again = set(parts) if refetch else set[Slice]()
        brake = Brake(max_calls=max_calls)
        reports: list[IngestReport] = []
        self._refuse_careless_store()
        with ExitStack() as held:
            held.enter_context(self._locked(f"bronze-{provider.name}-{feed.dataset}"))
            client = held.enter_context(self.client(provider))
            if feed.spans:
                return ingest_span(
                    provider,
                    feed,
                    parts,
                    members,
                    store=self.store,
                    client=client,
                    now=self.now,
                    refetch=again,
                    trailing=trailing,
                    brake=brake,
                    on_progress=on_progress,
                )
            if trailing and not self._is_taken(provider, feed, parts[-1]):
                again.update(parts[:-1])
            for number, part in enumerate(parts):
                reports.append(
                    ingest(
                        provider,
                        feed,
                        part,
                        members,
                        store=self.store,
                        client=client,
                        now=self.now,
                        is_current=part == self.current_slice(feed),
                        closes_at=self.closes_at(feed, part),
                        refetch=part in again,
                        brake=brake,
                        on_progress=on_progress if len(parts) == 1 else lambda _done, _total: None,
                    )
                )
                if len(parts) > 1:
                    on_progress(number + 1, len(parts))
        return tuple(reports)

    def _refuse_careless_store(self) -> None:
        """Evidence that a second writer could overwrite is none; asked once for each process and store."""
        if self.settings.s3 is None or self._is_store_proven:
            return
        if not honours_create_only(self.store):
            raise LakeError(
                f"The S3 store at {self.settings.s3.endpoint} overwrites objects that should only be created "
                "(If-None-Match); bronze would not be safe there: upgrade it, or use another one"
            )
        self._is_store_proven = True

    def _refuse_early(self, feed: Feed, part: Slice) -> None:
        """A session that has not closed has no bar yet, and its answer would be half a day's."""
        closes_at = calendar.close_of(part.start) if feed.grain is Grain.SESSION else None
        if closes_at is not None and self.now() < closes_at:
            raise IncompleteSlice(
                f"The session {part.key} closes at {closes_at:%Y-%m-%d %H:%M} UTC; come back after that", report=None
            )

    def _is_taken(self, provider: Provider, feed: Feed, part: Slice) -> bool:
        """Whether a slice has an answer to every request of its manifest."""
        committed = manifest.read(self.store, provider.name, feed.dataset, part.key)
        return committed is not None and all(entry.outcome.is_final for entry in committed.entries)

    def normalize(
        self,
        provider_name: str,
        dataset: str,
        slice_keys: Sequence[str],
        *,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> tuple[NormalizeReport, ...]:
        """Bronze -> silver for slices of one feed; one writer per feed at a time."""
        provider, feed = self.feed(provider_name, dataset)
        parts = [self.slice(feed, key) for key in sorted(slice_keys)]
        reports: list[NormalizeReport] = []
        with self._locked(f"silver-{provider.name}-{feed.dataset}"):
            for report in normalize_slices(provider, feed, parts, store=self.store):
                reports.append(report)
                on_progress(len(reports), len(parts))
        return tuple(reports)

    def publish(self, *, allow_partial: bool = False) -> gold.GoldReport:
        """Silver -> gold: reference files, dbt, audit, publication."""
        self.initialize()
        now = self.now()
        outcomes = self._write_reference(now)
        try:
            self._gold = gold.build(
                self.dbt,
                self.store,
                self.warehouse,
                outcomes=outcomes,
                prefixes=("quarantine/", "reference/"),
                profile=self.settings.profile,
                now=now,
                is_rebuild=self._has_failed(),
                keep=self.settings.keep_generations,
                allow_partial=allow_partial,
            )
        except CheckFailed as error:
            self._gold = error.report
            raise
        return self._gold

    def _write_reference(self, now: dt.datetime) -> pl.DataFrame:
        """Write the reference tables as of `now`; gives that of outcomes."""
        settings = self.settings
        frames = reference.tables(
            self.store, self.providers, self.known, now=now, profile=settings.profile, runs=history.runs(settings)
        )
        reference.write(self.store, frames)
        return frames["outcomes"]

    def _has_failed(self) -> bool:
        """Whether the last build failed its checks: then the next one is made, though its input may be published."""
        try:
            before = self.warehouse.health()
        except LakeError:
            return False
        return before is not None and any(check.severity == "error" for check in before.failed_checks)

    def audit(self) -> gold.GoldReport:
        """Build gold in a private file and run every check; nothing is published."""
        self.initialize()
        self._write_reference(self.now())
        return gold.audit(self.dbt, self.store, self.warehouse)

    def record_run(
        self, *, target: str, started_at: dt.datetime, status: str, exit_code: int, error: str | None = None
    ) -> Health:
        """Rewrite `health.json` after a run; `status` is success, failed or refused. Times are the machine's, UTC."""
        finished_at = dt.datetime.now(dt.UTC)
        last_run = LastRun(target, health.stamp(started_at), health.stamp(finished_at), status, exit_code, error)
        found = self.health(last_run)
        self.warehouse.write_health(found)
        logs.tell(
            _log,
            f"A run of {target} ended: {status}" + (f"; {error}" if error else ""),
            level=logging.INFO if status == "success" else logging.ERROR,
            target=target,
            status=status,
            exit_code=exit_code,
            seconds=round((finished_at - started_at).total_seconds(), 1),
        )
        return found

    def health(self, last_run: LastRun | None = None) -> Health:
        """The present state of the profile, as `health.json` would say it."""
        return health.collect(
            self.store,
            self.warehouse,
            self.feeds(),
            outcomes=reference.outcomes(self.store, self.feeds(), self.universe),
            budgets={provider.name: self.budget(provider) for provider in self.providers.values()},
            plans={provider.name: self.settings.pace(provider)[0] for provider in self.providers.values()},
            gold=self._gold,
            last_run=last_run,
            profile=self.settings.profile,
            now=self.now(),
        )

    @property
    def dbt(self) -> DbtProject:
        """The dbt project as this profile runs it."""
        place = self.settings.s3
        access = {} if place is None else {ACCESS: json.dumps(asdict(place))}
        return DbtProject(
            folder=self.settings.dbt_project,
            target=self.settings.dbt_target,
            lake=str(self.store.root),
            environment={**self.settings.child_environment(providers=self.providers), **access},
        )

    def bronze_slices(self, provider: str, dataset: str) -> tuple[str, ...]:
        """Keys of the slices that are in bronze, oldest first."""
        keys = self.store.list(layout.bronze_dataset(provider, dataset))
        found = {layout.slice_key_of(key) for key in keys if layout.manifest_seq(key) is not None}
        return tuple(sorted(key for key in found if key is not None))

    def columns(self, feed: Feed) -> Mapping[str, str]:
        """Silver columns of a feed with their types, for catalogues."""
        schema = contracts.contract(feed.contract)
        return {name: str(column.dtype) for name, column in schema.columns().items()}

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with exclusive(self.settings.state / "locks" / f"{name}.lock", what=name):
            yield
