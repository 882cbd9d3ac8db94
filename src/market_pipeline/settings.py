"""The only reader of environment variables: process environment first, then `.env` at the repository's root, or in its
place the files that `MARKET_PIPELINE_ENV_FILE` names (containers: the copies that are readable by their user alone).

A profile is one lake with everything beside it; `live` is the real one, `demo` the fictional market, any other word a
lake of its own. Sample profiles may set the clock, the live one may not. Over 300 lines because every setting is judged
here, with the sentence that says what is wrong with it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from market_pipeline.errors import ConfigurationError
from market_pipeline.feed import Feed, Pace, Provider

REPOSITORY = Path(__file__).resolve().parents[2]
PREFIX = "MARKET_PIPELINE_"
# A shorter secret (`demo`, say) is a word of ordinary text: replacing it would only spoil what is told.
SECRET_LENGTH = 5
# The same for a part of an alert's address; and longer words of which such addresses are made, or that we say.
_PART_LENGTH = 8
_PUBLIC_PARTS = frozenset(
    {"localhost", "market-pipeline", "market_pipeline", "markdown", "messages", "services", "webhooks", "workflows"}
)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
ENV_FILE = f"{PREFIX}ENV_FILE"


class _Fields(BaseModel):
    """Types and limits of the `MARKET_PIPELINE_*` variables. A settings class of pydantic's would read the process
    environment behind the back of `load_settings`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    profile: str = Field(default="live", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    home: Path = REPOSITORY / "data"
    warehouse_home: Path | None = None
    clock: dt.datetime | None = None
    universe: str = ""
    alert_url: SecretStr | None = None
    lake_url: str = Field(default="", pattern=r"^(s3://[a-z0-9]{2,31}/?|)$")
    s3_endpoint: str = ""
    s3_region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{2,32}$")
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    store_identities: str = Field(default="", pattern=r"^(minio|seaweedfs|external|)$")
    bronze_retention_days: int = Field(default=0, ge=0, le=3650)
    database_url: str = Field(default="", pattern=r"^(postgresql://[\w.-]+@[\w.-]+(:\d{1,5})?/[a-z][a-z0-9_]{0,30}|)$")
    automation: str = Field(default="", pattern=r"^(on|off|)$")
    trailing_sessions: int = Field(default=5, ge=0, le=60)
    max_rejected_ratio: float = Field(default=0.01, ge=0, le=1)
    min_row_ratio: float = Field(default=0.7, ge=0, le=1)
    min_coverage_ratio: float = Field(default=0.5, ge=0, le=1)
    keep_generations: int = Field(default=3, ge=3)
    keep_log_days: int = Field(default=30, ge=1)
    dashboard_port: int = Field(default=8501, ge=1, le=65535)
    dagster_port: int = Field(default=3000, ge=1, le=65535)
    sandbox_port: int = Field(default=8765, ge=1, le=65535)
    metrics_port: int = Field(default=9464, ge=1, le=65535)
    sandbox_url: str = Field(default="", pattern=r"^(http://[a-z0-9._-]+:\d{1,5}|)$")

    @field_validator("clock")
    @classmethod
    def _has_zone(cls, value: dt.datetime | None) -> dt.datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("has no time zone; write it as 2026-11-20T22:00:00Z")
        return value


@dataclass(frozen=True, slots=True)
class S3:
    """Where a lake in an S3 store is, and who we are there. Evidence has a bucket of its own, so that rights and
    retention can differ."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    bronze_bucket: str
    lake_bucket: str

    def bucket(self, key: str) -> str:
        """The bucket of a key of the lake."""
        return self.bronze_bucket if key.startswith("bronze/") else self.lake_bucket


@dataclass(frozen=True, slots=True)
class Settings:
    """One profile's settings. Folders are absolute; ports are on the loopback interface."""

    fields: _Fields
    variables: Mapping[str, str] = field(repr=False)

    @property
    def profile(self) -> str:
        """Name of the lake."""
        return self.fields.profile

    @property
    def is_sample(self) -> bool:
        """True for every profile but `live`: its data must never be taken for real."""
        return self.profile != "live"

    @property
    def is_demo(self) -> bool:
        """True for the fictional market, which has a universe of its own and is served by the sandbox."""
        return self.profile == "demo" or self.profile.startswith("demo-")

    def _variable(self, name: str) -> str:
        """A provider's variable; profile `demo` ignores them all, so that a real key never meets the sandbox."""
        return "" if self.profile == "demo" else self.variables.get(name, "").strip()

    @property
    def home(self) -> Path:
        """Folder of all profiles."""
        return self.fields.home.expanduser().resolve()

    @property
    def root(self) -> Path:
        """Folder of this profile."""
        return self.home / self.profile

    @property
    def lake(self) -> Path:
        """Bronze, silver, quarantine and reference files, where the lake is a folder."""
        return self.root / "lake"

    @property
    def s3(self) -> S3 | None:
        """The S3 store that holds the lake, None where the lake is a folder. The profile is part of both buckets'
        names, so that sample data never meets real data."""
        name = self.fields.lake_url.removeprefix("s3://").rstrip("/")
        if not name:
            return None
        access_key, secret_key = (
            "" if value is None else value.get_secret_value().strip()
            for value in (self.fields.s3_access_key, self.fields.s3_secret_key)
        )
        if not access_key or not secret_key:
            lacking = "S3_SECRET_KEY" if access_key else "S3_ACCESS_KEY"
            raise ConfigurationError(f"{PREFIX}LAKE_URL names an S3 store, but {PREFIX}{lacking} is not set; set it")
        endpoint = self.fields.s3_endpoint.strip().rstrip("/") or f"https://s3.{self.fields.s3_region}.amazonaws.com"
        host = _host(endpoint)
        if host is None or urlsplit(endpoint).path:
            raise ConfigurationError(f"{PREFIX}S3_ENDPOINT is no address of a server; write https://host[:port]")
        scheme, _, rest = endpoint.partition("://")
        endpoint = f"{scheme.lower()}://{rest}"
        if endpoint.startswith("http:") and not (_is_this_machine(host) or _is_neighbour(host)):
            raise ConfigurationError(
                f"{PREFIX}S3_ENDPOINT must be https: only this machine and the containers beside it may be asked in "
                "the clear"
            )
        buckets = [f"{name}-{self.profile}-{layer}" for layer in ("bronze", "lake")]
        if max(map(len, buckets)) > 63:
            raise ConfigurationError(f"{buckets[0]} is too long for a bucket's name; shorten {PREFIX}LAKE_URL")
        return S3(endpoint, self.fields.s3_region, access_key, secret_key, *buckets)

    @property
    def s3_role(self) -> str:
        """Whose rights the store's key has, as whoever made the identities left it; empty where nobody said."""
        return self.variables.get(f"{PREFIX}S3_ROLE", "")

    @property
    def warehouse(self) -> Path:
        """Published generations of gold. A home of their own lets readers mount them and nothing else."""
        home = self.fields.warehouse_home
        return self.root / "warehouse" if home is None else home.expanduser().resolve() / self.profile

    @property
    def state(self) -> Path:
        """Quota ledger, locks, the user's own universe."""
        return self.root / "state"

    @property
    def restoring(self) -> Path:
        """The mark of a restore, from its first object to the last file of the state: until it is gone the lake is not
        whole, and no run begins. It holds the id of the backup."""
        return self.state / "restoring"

    @property
    def database_url(self) -> str | None:
        """Dagster's PostgreSQL database, None where it keeps SQLite files. The profile is part of its name, so that the
        runs of sample data never meet real ones; the password is in the file that PGPASSFILE names."""
        url = self.fields.database_url
        return f"{url}_{self.profile.replace('-', '_')}" if url else None

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance: runs, events, schedules."""
        return self.root / "dagster"

    @property
    def dbt_target(self) -> Path:
        """Where dbt keeps its manifest and compiled SQL."""
        return self.root / "dbt"

    @property
    def dbt_project(self) -> Path:
        """The dbt project in the repository."""
        return REPOSITORY / "dbt"

    @property
    def clock(self) -> dt.datetime | None:
        """A fixed clock, UTC; None means the machine's."""
        return None if self.fields.clock is None else self.fields.clock.astimezone(dt.UTC)

    def now(self) -> dt.datetime:
        """The time it is for this profile, UTC."""
        return self.clock or dt.datetime.now(dt.UTC)

    @property
    def universe(self) -> tuple[str, ...]:
        """Symbols to follow; empty means every followed instrument of the universe file."""
        return tuple(part.strip() for part in self.fields.universe.split(",") if part.strip())

    @property
    def alert_url(self) -> str | None:
        """Where alerts go, in apprise's notation."""
        return None if self.fields.alert_url is None else self.fields.alert_url.get_secret_value() or None

    @property
    def max_rejected_ratio(self) -> float:
        """Share of rejected rows, 0 to 1, above which a silver slice fails its blocking check."""
        return self.fields.max_rejected_ratio

    @property
    def trailing_sessions(self) -> int:
        """How many sessions before the newest are asked for again, to find what a provider has corrected; 0 is none."""
        return self.fields.trailing_sessions

    @property
    def min_row_ratio(self) -> float:
        """Share of a usual session's symbols, 0 to 1, below which a session of the whole market blocks."""
        return self.fields.min_row_ratio

    @property
    def min_coverage_ratio(self) -> float:
        """Share of the expected instruments, 0 to 1, below which a session's coverage blocks."""
        return self.fields.min_coverage_ratio

    @property
    def keep_log_days(self) -> int:
        """How many days Dagster keeps what a run logged; what it materialized stays."""
        return self.fields.keep_log_days

    @property
    def keep_generations(self) -> int:
        """How many published generations stay on disk."""
        return self.fields.keep_generations

    @property
    def dashboard_port(self) -> int:
        """Port of the dashboard."""
        return self.fields.dashboard_port

    @property
    def dagster_port(self) -> int:
        """Port of the Dagster UI."""
        return self.fields.dagster_port

    @property
    def sandbox_port(self) -> int:
        """Port of the sandbox."""
        return self.fields.sandbox_port

    @property
    def metrics_port(self) -> int:
        """Port of the metrics for Prometheus."""
        return self.fields.metrics_port

    @property
    def sandbox_url(self) -> str | None:
        """The sandbox in a container beside this one, None for one on this machine. It is asked in the clear, so it
        must be a neighbour, and only sample profiles ask it."""
        url = self.fields.sandbox_url
        host = _host(url) if url else None
        if url and (host is None or not (_is_this_machine(host) or _is_neighbour(host))):
            raise ConfigurationError(
                f"{PREFIX}SANDBOX_URL must name this machine or a container beside it, such as http://sandbox:8765"
            )
        return url or None

    def key(self, provider: Provider) -> str | None:
        """The provider's key, None when none is set; the fictional market takes any, but has no database."""
        is_url = provider.auth.place == "url"
        found = self._variable(provider.auth.setting)
        if found and not is_url and not (found.isascii() and found.isprintable()):
            raise ConfigurationError(
                f"{provider.auth.setting} holds a character that can't be part of a key, such as a typographic quote; "
                "copy the key again"
            )
        return found or ("fictional-market-key" if self.is_demo and not is_url else None)

    def has_query(self, feed: Feed) -> bool:
        """False for a database's feed without its query."""
        return feed.query_setting is None or bool(self._variable(feed.query_setting))

    def query(self, feed: Feed) -> str:
        """The query of a database's feed: its variable's text, or that of the file which the variable names as
        `@path`, relative to the repository. Blanks and semicolons around it are not part of it."""
        name = feed.query_setting or ""
        text = self._variable(name)
        if text.startswith("@"):
            try:
                text = (REPOSITORY / Path(text[1:].strip()).expanduser()).read_text(encoding="utf-8-sig")
            except (OSError, ValueError):
                raise ConfigurationError(f"{name} names a file that can't be read as text; mend its path") from None
        text = text.strip().rstrip(";").rstrip()
        if not text:
            raise ConfigurationError(f"{name} holds no query; write one, or @ and the path of a .sql file")
        return text

    def is_automated(self, keys: bool) -> bool:
        """Whether schedules and sensors start by themselves: with a real key, never over sample data unless told."""
        return self.fields.automation == "on" or (self.fields.automation != "off" and not self.is_sample and keys)

    def base_url(self, provider: Provider) -> str:
        """The provider's address, https unless it is loopback; the live profile never talks to a sandbox. A database's
        address is its key, so here it has a name only."""
        if provider.auth.place == "url":
            return provider.base_url
        sandbox = f"{self.sandbox_url or f'http://127.0.0.1:{self.sandbox_port}'}/{provider.name}"
        url = self._variable(provider.base_url_setting) or (sandbox if self.is_demo else provider.base_url)
        host = _host(url)
        if host is None:
            raise ConfigurationError(
                f"{provider.base_url_setting} is no base address; write https://host[:port][/path]"
            )
        if url.lower().startswith("http:") and host not in LOOPBACK and not (self.is_demo and url == sandbox):
            raise ConfigurationError(f"{provider.base_url_setting} must be https: the key would travel in the clear")
        if self.is_sample and _is_same_site(host, _host(provider.base_url)):
            raise ConfigurationError(
                f"Profile {self.profile} holds sample data and {provider.base_url_setting} is the real API; "
                f"set it to the sandbox's address, or use {PREFIX}PROFILE=live"
            )
        if not self.is_sample and _is_this_machine(host):
            raise ConfigurationError(
                f"{provider.base_url_setting} points at this machine, but profile live holds real data only; "
                f"set {PREFIX}PROFILE to another word, such as recorded"
            )
        return url.rstrip("/")

    def pace(self, provider: Provider) -> tuple[str, Pace]:
        """Name and limits of the plan the key is on; the fictional market grants the fastest and keeps nobody waiting,
        unless a plan is named."""
        named = self._variable(provider.plan_setting)
        plan = named or (list(provider.plans)[-1] if self.is_demo else provider.default_plan)
        if plan not in provider.plans:
            raise ConfigurationError(
                f"{provider.plan_setting}={plan!r} is unknown; one of: {', '.join(provider.plans)}"
            )
        pace = provider.plans[plan]
        return plan, replace(pace, interval_s=0.0) if self.is_demo and not named else pace

    def child_environment(self, *, providers: Mapping[str, Provider]) -> dict[str, str]:
        """The environment for a subprocess that needs no provider: everything but keys and alert addresses."""
        hidden = {provider.auth.setting for provider in providers.values()} | {f"{PREFIX}ALERT_URL"}
        hidden |= {f"{PREFIX}S3_ACCESS_KEY", f"{PREFIX}S3_SECRET_KEY"}
        return {name: value for name, value in os.environ.items() if name not in hidden}

    def secrets(self, providers: Mapping[str, Provider]) -> tuple[str, ...]:
        """Every value that must appear in no output; of a database's address the password alone too, of an alert's
        whatever signs in there."""
        keys = {provider.name: self.key(provider) for provider in providers.values()}
        parts = [
            part
            for provider in providers.values()
            if provider.auth.place == "url"
            for part in passwords(keys[provider.name] or "")
        ]
        s3_secret = self.fields.s3_secret_key
        stored = None if s3_secret is None else s3_secret.get_secret_value()
        alert = () if self.alert_url is None else (self.alert_url, *address_parts(self.alert_url))
        return tuple(value for value in (*keys.values(), *parts, *alert, stored and stored.strip()) if value)


def passwords(url: str) -> tuple[str, ...]:
    """The password of an address as it is written there and as it is meant; none for one without. Short ones are left
    out: they are words of ordinary text."""
    # Not by urlsplit: what a person forgot to encode (`/`, `#`, `@`) is part of the password all the same.
    written = re.findall(r"^[^:/]+://[^:/@]*:(.*)@|[?&](?:ssl)?password=([^&]*)", url)
    found = {part for pair in written for one in pair for part in (one, unquote(one))}
    return tuple(sorted(part for part in found if len(part) >= SECRET_LENGTH))


def address_parts(url: str) -> tuple[str, ...]:
    """What may sign in at an alert's address, or at several: its password, and every longer part but the name of a host
    with a dot, as it is written there and as it is meant. Each service has its token in another place, also where
    others have the host."""
    before, _, query = url.partition("?")
    values = [pair.partition("=")[2] for pair in re.split(r"[&;]", query)]
    written = [*values, *(part for text in (before, *values) for part in re.split(r"[/?&#@:,;\s]+", text))]
    hosts = {host for host in re.findall(r"://(?:[^/?#\s]*@)?([^/?#:,\s]+)", url) if "." in host}
    found = {part for one in written for part in (one, unquote(one)) if len(part) >= _PART_LENGTH}
    return tuple(sorted((found - hosts - _PUBLIC_PARTS) | set(passwords(url))))


def _host(url: str) -> str | None:
    """Host of a base address in lower case, without a closing dot; None when it is no base address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    is_plain = url.isascii() and url.isprintable() and " " not in url and not set("@?#\\") & set(url)
    if "]" in parts.netloc and not re.fullmatch(r"\[[0-9a-f:.]+\](:\d*)?", parts.netloc, re.IGNORECASE):
        return None  # after the brackets of an address a name would be ignored
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0 or not is_plain:
        return None
    return parts.hostname.rstrip(".") or None


def _is_same_site(host: str, real: str | None) -> bool:
    """True for the provider's own host under any of its names: with and without www, and hosts below it."""
    site = (real or "").removeprefix("www.")
    return host == site or host.endswith(f".{site}")


def _is_neighbour(host: str) -> bool:
    """True for a plain name, such as a container's beside this one; numbers without dots are addresses too."""
    return re.fullmatch(r"[a-z_][a-z0-9_-]*", host) is not None and not host.startswith("0x")


def _is_this_machine(host: str) -> bool:
    """True for every spelling of a loopback or unspecified address, short and numeric ones too."""
    if host == "localhost" or host.endswith((".localhost", ".localdomain")):
        return True
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def _env_files() -> list[Path]:
    """Files of settings, the last one wins."""
    named = os.environ.get(ENV_FILE, "")
    return [Path(part) for part in named.split(os.pathsep) if part] or [REPOSITORY / ".env"]


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment once. `environ` replaces the process environment and `.env`, for tests."""
    if environ is None:
        try:
            file = {k: v for path in _env_files() for k, v in dotenv_values(path).items() if v is not None}
        except UnicodeDecodeError:
            raise ConfigurationError(".env is not UTF-8 text; write it anew: market-pipeline init") from None
        environ = {**file, **os.environ}
    given = {
        key.removeprefix(PREFIX).lower(): value
        for key, value in environ.items()
        if key.startswith(PREFIX) and value.strip()
    }
    given = {key: value for key, value in given.items() if key in _Fields.model_fields}
    try:
        fields = _Fields.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        what = re.sub(r"^Value error, ", "", first["msg"])
        raise ConfigurationError(f"{name} {what}; mend it in .env or the environment") from None
    if fields.clock is not None and fields.profile == "live":
        raise ConfigurationError(
            f"{PREFIX}CLOCK is for sample profiles; unset it, or set {PREFIX}PROFILE to another word"
        )
    return Settings(fields=fields, variables=dict(environ))
