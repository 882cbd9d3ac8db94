"""Probes of the machine and the profile: what was found, what is required, and the remedy. No call to any provider."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from market_pipeline import calendar, history, providers
from market_pipeline.errors import MarketPipelineError, StoreUnavailable
from market_pipeline.feed import Provider
from market_pipeline.s3 import S3Store
from market_pipeline.settings import Settings
from market_pipeline.store import FolderStore, honours_create_only
from market_pipeline.warehouse import Warehouse

_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Probe:
    """One fact that the pipeline depends on."""

    name: str
    ok: bool
    found: str
    required: str
    remedy: str


def probes(settings: Settings, *, with_keys: bool = False) -> tuple[Probe, ...]:
    """Every probe; one that can't be taken is a failed probe, not an error."""
    checks: list[tuple[str, Callable[[], Probe]]] = [
        ("python", _python),
        ("lake", lambda: _lake(settings)),
        ("create-only puts", lambda: _create_only(settings)),
        *([("store identity", lambda: _identity(settings))] if _role(settings) else []),
        *([("Dagster's database", lambda: _database(settings))] if settings.database_url else []),
        *([("alerts", lambda: _alerts(settings))] if settings.alert_url else []),
        *([("restore", _restore)] if settings.restoring.exists() else []),
        ("disk", lambda: _disk(settings.home)),
        ("memory", _memory),
        ("dbt manifest", lambda: _manifest(settings)),
        ("gold", lambda: _gold(settings)),
        ("calendar", lambda: _calendar(settings.now())),
        ("network MTU", _mtu),
        *[
            (f"port {port}", partial(_port, name, port))
            for name, port in (("DAGSTER", settings.dagster_port), ("DASHBOARD", settings.dashboard_port))
        ],
    ]
    if with_keys:
        known = providers.load()
        checks += [(f"key {p.name}", partial(_key, settings, p, known)) for p in known.values()]
    found = []
    for name, check in checks:
        try:
            found.append(check())
        except (OSError, MarketPipelineError) as error:
            remedy = "start the S3 store" if isinstance(error, StoreUnavailable) else "market-pipeline init"
            found.append(Probe(name, ok=False, found=str(error), required="readable", remedy=remedy))
    return tuple(found)


def _python() -> Probe:
    version = sys.version_info
    ok = (3, 11) <= version[:2] < (3, 14)
    return Probe(
        "python", ok, f"{version.major}.{version.minor}.{version.micro}", "3.11 to 3.13", "install one of them"
    )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _lake(settings: Settings) -> Probe:
    """Where the lake is, and whether it answers."""
    place = settings.s3
    if place is None:
        ok = os.access(_existing(settings.lake), os.W_OK)
        found = "a folder" if ok else "a folder that can't be written"
        return Probe("lake", ok, found, "writable", "give this user the folder MARKET_PIPELINE_HOME")
    found_keys = len(S3Store(place, patience_s=5).list("reference/"))
    found = f"{place.lake_bucket} at {place.endpoint}, {found_keys} reference files"
    return Probe("lake", True, found, "answers", "start the S3 store")


def _create_only(settings: Settings) -> Probe:
    """Two puts of one key with different bytes: the second must fail."""
    place = settings.s3
    ok = honours_create_only(FolderStore(settings.lake) if place is None else S3Store(place, patience_s=5))
    remedy = "use a file system with hard links" if place is None else "use an S3 store that honours If-None-Match"
    return Probe("create-only puts", ok, "honoured" if ok else "overwritten", "honoured", remedy)


def _role(settings: Settings) -> str:
    """Whose rights the store's key has: what the set-up of the containers left, or that settings say it is no work of
    ours; empty where nobody says."""
    named = settings.fields.store_identities if settings.fields.lake_url else ""
    return settings.s3_role or (named if named == "external" else "")


def _identity(settings: Settings) -> Probe:
    """Whether the pipeline's key has its own rights only; a store without identities of ours is told of."""
    role = _role(settings)
    found = {
        "owner": "external: the store's own key, nothing is denied to it",
        "external": "external: the key in .env, nobody here tried what it is denied",
    }.get(role, f"{role}, denials tried")
    return Probe("store identity", True, found, "one for each role", "let the store make identities, or use MinIO")


def _restore() -> Probe:
    """A restore that was cut: no run begins in half a lake."""
    return Probe(
        "restore", False, "not ended", "none under way", "restore the same backup again, or begin anew: make wipe"
    )


def _alerts(settings: Settings) -> Probe:
    """Whether somebody takes the messages about failures; those that wait are sent again every five minutes."""
    from market_pipeline.orchestration.alerts import waiting  # noqa: PLC0415 - imports Dagster, for an address only

    left = len(waiting(settings))
    found = f"{left} wait to be taken" if left else "none waits"
    return Probe("alerts", not left, found, "none waits", "mend MARKET_PIPELINE_ALERT_URL, or start who listens there")


def _database(settings: Settings) -> Probe:
    runs = history.runs(settings)
    newest = runs.get_column("created_at").max()
    found = f"{runs.height} runs" + (
        f", the newest of {newest:%Y-%m-%d %H:%M} UTC" if isinstance(newest, dt.datetime) else ""
    )
    return Probe("Dagster's database", True, found, "answers", "start the database")


def _disk(home: Path) -> Probe:
    free = shutil.disk_usage(_existing(home)).free / _GIB
    return Probe(
        "disk", free >= 1, f"{free:.1f} GiB free", "1 GiB free", "free some space, or move MARKET_PIPELINE_HOME"
    )


def _memory() -> Probe:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    return Probe("memory", total >= 2, f"{total:.1f} GiB", "2 GiB", "close other programs, or use a larger machine")


def _manifest(settings: Settings) -> Probe:
    ok = (settings.dbt_target / "manifest.json").is_file()
    return Probe("dbt manifest", ok, "present" if ok else "absent", "present", "market-pipeline init")


def _gold(settings: Settings) -> Probe:
    warehouse = Warehouse(settings.warehouse)
    generation = warehouse.current() and warehouse.verify()  # every byte against its hash
    found = "nothing published" if generation is None else f"generation {generation.generation}"
    remedy = "make demo" if settings.is_demo else "market-pipeline run all"
    return Probe("gold", generation is not None, found, "a generation", remedy)


def _calendar(now: dt.datetime) -> Probe:
    last = calendar.days(now.year + 1).get_column("calendar_date")[-1]
    return Probe("calendar", True, f"XNYS to {last:%Y-%m-%d}", "the end of next year", "upgrade exchange-calendars")


def _mtu() -> Probe:
    folder = Path("/sys/class/net")
    found = {
        link.name: int((link / "mtu").read_text())
        for link in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if link.name != "lo"
    }
    ok = all(1280 <= mtu <= 9216 for mtu in found.values())
    text = ", ".join(f"{name} {mtu}" for name, mtu in found.items()) or "not stated"
    return Probe("network MTU", ok, text, "1280 to 9216", "set the interface's MTU to 1500")


def _port(name: str, port: int) -> Probe:
    with socket.socket() as probe:
        is_taken = probe.connect_ex(("127.0.0.1", port)) == 0
    found = "in use (by a running `make dev`?)" if is_taken else "free"
    return Probe(f"port {port}", True, found, "free for make dev", f"set MARKET_PIPELINE_{name}_PORT")


def _key(settings: Settings, provider: Provider, known: Mapping[str, Provider]) -> Probe:
    """A provider needs a key, but a pipeline needs one provider: the others' feeds rest."""
    plan, _ = settings.pace(provider)
    has_key = settings.key(provider) is not None
    fitting = sum(feed.plans is None or plan in feed.plans for feed in provider.feeds)
    found = f"set; the plan {plan} includes {fitting} of {len(provider.feeds)} feeds" if has_key else "not set"
    ok = has_key or any(settings.key(other) is not None for other in known.values())
    remedy = f"set {provider.auth.setting}"
    if provider.auth.obtain:
        remedy = f"get one at {provider.auth.obtain} and {remedy}"
    return Probe(f"key {provider.name}", ok, found, "set for one provider at least", remedy)
