"""The composition root: settings in, steps out. The command line and Dagster's assets are thin wrappers of it.

What does not belong here: how a run is scheduled or recorded by Dagster (`orchestration`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from market_pipeline import calendar, contracts, gold, health, layout, providers, reference, universe
from market_pipeline.errors import CheckFailed, ConfigurationError, KeyMissing, LakeError
from market_pipeline.feed import Feed, Instrument, Provider
from market_pipeline.fetch import Client
from market_pipeline.ingest import IngestReport, ingest
from market_pipeline.normalize import NormalizeReport, empty_quarantine, empty_silver, normalize
from market_pipeline.partition import Slice
from market_pipeline.quota import Budget, Ledger, key_id
from market_pipeline.settings import Settings
from market_pipeline.store import FolderStore, exclusive
from market_pipeline.warehouse import Health, LastRun, Warehouse


class Pipeline:
    """Every step of one profile. `now` replaces the profile's clock, for tests."""

    def __init__(self, settings: Settings, *, now: Callable[[], dt.datetime] | None = None) -> None:
        self.settings = settings
        self.now = now or settings.now
        self.store = FolderStore(settings.lake)
        self.warehouse = Warehouse(settings.warehouse)
        self.ledger = Ledger(settings.state / "quota.sqlite")
        self._gold: gold.GoldReport | None = None

    @cached_property
    def providers(self) -> Mapping[str, Provider]:
        """Every provider by name."""
        return providers.load()

    @cached_property
    def known(self) -> universe.Universe:
        """The universe with its symbol history."""
        return universe.load(
            self.settings.dbt_project / "seeds", is_demo=self.settings.is_demo, only=self.settings.universe
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

    def closes_at(self, feed: Feed, part: Slice) -> dt.datetime | None:
        """When a slice's last session closes, for the feeds to which it matters; None for the others."""
        return calendar.last_close(part.start, part.end) if feed.moves_until_close else None

    def current_slice(self, feed: Feed) -> Slice:
        """The slice of the feed's grain that holds today (UTC)."""
        return Slice.at(self.now().date(), grain=feed.grain)

    def initialize(self) -> None:
        """Folders, and a file without rows for every dataset, so that gold can be built from an empty lake."""
        for folder in (self.settings.lake, self.settings.warehouse, self.settings.state, self.settings.dagster_home):
            folder.mkdir(parents=True, exist_ok=True)
        self.store.sweep(older_than_s=3600.0)
        for provider, feed in self.feeds():
            key = layout.silver_empty(feed.contract, provider.name)
            self.store.replace(key, empty_silver(feed.contract))
        self.store.replace(layout.quarantine_empty(), empty_quarantine())

    def client(self, provider: Provider) -> Client:
        """An HTTP client for the provider; a missing key is a ConfigurationError that says where to get one."""
        key = self.settings.key(provider)
        if key is None and provider.auth.place != "none":
            raise KeyMissing(
                f"{provider.auth.setting} is not set; get a key at {provider.auth.obtain} and put it into .env, "
                f"or run: market-pipeline init --with {provider.name}"
            )
        _, pace = self.settings.pace(provider)
        return Client(
            provider,
            base_url=self.settings.base_url(provider),
            key=key,
            pace=pace,
            ledger=self.ledger,
            now=self.now,
        )

    def budget(self, provider: Provider) -> Budget:
        """What is left of the provider's call budget."""
        _, pace = self.settings.pace(provider)
        return self.ledger.budget(provider.name, key_id(self.settings.key(provider)), pace, now=self.now())

    def ingest(
        self,
        provider_name: str,
        dataset: str,
        slice_key: str,
        *,
        refetch: bool = False,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> IngestReport:
        """Provider -> bronze for one slice; one writer per slice at a time."""
        provider, feed = self.feed(provider_name, dataset)
        part = Slice.from_key(slice_key, grain=feed.grain)
        with self._locked(f"bronze-{provider.name}-{feed.dataset}-{part.key}"), self.client(provider) as client:
            return ingest(
                provider,
                feed,
                part,
                self.universe,
                store=self.store,
                client=client,
                now=self.now,
                closes_at=self.closes_at(feed, part),
                refetch=refetch,
                on_progress=on_progress,
            )

    def normalize(self, provider_name: str, dataset: str, slice_key: str) -> NormalizeReport:
        """Bronze -> silver for one slice; one writer per slice at a time."""
        provider, feed = self.feed(provider_name, dataset)
        part = Slice.from_key(slice_key, grain=feed.grain)
        with self._locked(f"silver-{provider.name}-{feed.contract}-{part.key}"):
            return normalize(provider, feed, part, store=self.store)

    def publish(self, *, allow_partial: bool = False) -> gold.GoldReport:
        """Silver -> gold: reference files, dbt, audit, publication."""
        self.initialize()
        now = self.now()
        frames = reference.tables(self.store, self.providers, self.known, now=now, profile=self.settings.profile)
        reference.write(self.store, frames)
        try:
            self._gold = gold.build(
                self.dbt,
                self.store,
                self.warehouse,
                outcomes=frames["outcomes"],
                silver_prefixes=("silver/", "quarantine/", "reference/"),
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
        frames = reference.tables(self.store, self.providers, self.known, now=self.now(), profile=self.settings.profile)
        reference.write(self.store, frames)
        return gold.audit(self.dbt, self.warehouse)

    def record_run(
        self, *, target: str, started_at: dt.datetime, status: str, exit_code: int, error: str | None = None
    ) -> Health:
        """Rewrite `health.json` after a run; `status` is success, failed or refused. Times are the machine's, UTC."""
        finished_at = dt.datetime.now(dt.UTC)
        last_run = LastRun(target, health.stamp(started_at), health.stamp(finished_at), status, exit_code, error)
        found = self.health(last_run)
        self.warehouse.write_health(found)
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
    def dbt(self) -> gold.DbtProject:
        """The dbt project as this profile runs it."""
        return gold.DbtProject(
            folder=self.settings.dbt_project,
            target=self.settings.dbt_target,
            lake=str(self.settings.lake),
            environment=self.settings.child_environment(providers=self.providers),
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
