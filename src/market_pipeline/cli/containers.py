"""What the containers' one-shot services run: `market-pipeline stack secrets`, `init`, `demo`, `parse`.

`secrets` runs once as root, without a network: it makes what each service needs to know and leaves it in files of mode
600, owned by the one user who reads them, each in a volume of its own. `init` owns the store for as long as it runs.
What does not belong here: what is copied away and brought back (`backup`).
"""

from __future__ import annotations

import json
import os
import secrets as random
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from market_pipeline.cli.output import say
from market_pipeline.errors import ConfigurationError, LakeError
from market_pipeline.settings import PREFIX, REPOSITORY, S3, load_settings

# Users of the containers, by what they are: docker/Dockerfile and compose.yaml have the same numbers.
PIPELINE_UID, STORE_UID, DATABASE_UID = 10001, 10002, 999
SECRETS, VOLUMES = Path("/secrets"), Path("/volumes")
ACCESS_KEY, SECRET_KEY = f"{PREFIX}S3_ACCESS_KEY", f"{PREFIX}S3_SECRET_KEY"
# Whose rights a store has given; `doctor` reads it.
ROLE = f"{PREFIX}S3_ROLE"
# Words that manuals give as examples: a store or a database that has one of them has no password.
DEFAULTS = frozenset(
    {
        *("admin", "changeme", "change-me", "dagster", "default", "example", "market", "minio", "minio123"),
        *("minioadmin", "password", "postgres", "root", "secret", "test", "test_password"),
    }
)
_SHORTEST = 16
# Said to the containers by compose.yaml, and to compose by `.env`: of no use inside.
_NOT_INSIDE = ("COMPOSE_", "STORE_", "POSTGRES_", "DOCKER_")


def secrets(*, project: Path = Path("/project")) -> int:
    """Generate what is not there yet, and copy the settings of `.env` for the service that may read provider keys.

    Parameters
    ----------
    project
        The folder with `.env`; without one everything is at its default.
    """
    from market_pipeline import identities  # noqa: PLC0415 - minio's client, which no other command needs

    given = _given(project / ".env")
    for name, uid in (("store", STORE_UID), ("database", DATABASE_UID), ("state", PIPELINE_UID)):
        _own(VOLUMES / name, uid, 0o700 if name != "state" else 0o755)
    _own(VOLUMES / "warehouse", PIPELINE_UID, 0o755)
    owner = {"user": _keep("store/user", STORE_UID, lambda: f"owner-{random.token_hex(6)}")}
    owner["password"] = _keep("store/password", STORE_UID, _word)
    _keep("database/owner", DATABASE_UID, _word)
    password = _keep("database/dagster", DATABASE_UID, _word)
    _write("database/roles.sh", DATABASE_UID, (REPOSITORY / "docker/database/roles.sh").read_text(encoding="utf-8"))
    _write("dagster/pgpass", PIPELINE_UID, f"*:*:*:dagster:{password}\n")
    if given.get(ACCESS_KEY) and given.get(SECRET_KEY):  # a store of their own: its key is in .env
        owner = {"user": given[ACCESS_KEY], "password": given[SECRET_KEY]}
        refuse_defaults({ACCESS_KEY: owner["user"], SECRET_KEY: owner["password"]})
    _write("owner/env", PIPELINE_UID, _lines({ACCESS_KEY: owner["user"], SECRET_KEY: owner["password"]}))
    (SECRETS / "owner/backup.env").unlink(missing_ok=True)  # where older stacks have the key that is in `backup` now
    words = {role: _keep(f"owner/{role}", PIPELINE_UID, _word) for role in identities.ROLES}
    place = load_settings({**given, **os.environ, ACCESS_KEY: owner["user"], SECRET_KEY: owner["password"]}).s3
    if place is not None:
        _refuse_this_container(place)
        _write("store/seaweedfs.json", STORE_UID, json.dumps(identities.seaweedfs(place, words)))
    kept = {k: v for k, v in given.items() if k not in (ACCESS_KEY, SECRET_KEY) and not k.startswith(_NOT_INSIDE)}
    _write("pipeline/env", PIPELINE_UID, _lines(kept))
    for name in ("store", "database", "dagster", "owner", "pipeline", "backup"):
        _own(SECRETS / name, {"store": STORE_UID, "database": DATABASE_UID}.get(name, PIPELINE_UID), 0o700)
    say("Secrets: every service has its own, in files of mode 600")
    return 0


def init() -> int:
    """Buckets with versions, retention and lifecycle; identities, each forbidden act tried; Dagster's database."""
    from market_pipeline import buckets, identities  # noqa: PLC0415 - minio's client
    from market_pipeline.cli.prepare import prepare  # noqa: PLC0415 - imports Dagster

    settings = load_settings()
    place = settings.s3
    if place is None:
        raise ConfigurationError(f"{PREFIX}LAKE_URL names no S3 store; compose.yaml sets it, do not empty it")
    refuse_defaults({ACCESS_KEY: place.access_key, SECRET_KEY: place.secret_key})
    days = settings.fields.bronze_retention_days
    made = buckets.make_buckets(place, retention_days=days)
    say(f"Buckets: {place.bronze_bucket} and {place.lake_bucket}, {'made' if made else 'there'}")
    buckets.forget_temporary(place)
    kind = settings.fields.store_identities or identities.maker(place)
    if kind == "external":
        for role in identities.ROLES:
            _hand_over(place, to=role, role="owner")
        say(
            "Identities: external; every service of the pipeline uses the key that the store was given (doctor says so)"
        )
    else:
        for role in identities.ROLES:
            word = (SECRETS / "owner" / role).read_text(encoding="utf-8").strip()
            if kind == "minio":
                identities.grant(place, role, secret_key=word)
            seen = identities.seen_by(place, role, secret_key=word)
            refuse_freedom(seen, role)
            _hand_over(seen, to=role, role=role)
            say(f"Identity {role}: {len(identities.forbidden(seen, role))} forbidden acts tried, all denied")
    prepare(settings)
    say(f"Profile {settings.profile} is ready")
    return 0


def refuse_freedom(place: S3, role: str) -> None:
    """Raise when the store lets a role do what it must not."""
    from market_pipeline.identities import allowed  # noqa: PLC0415

    found = allowed(place, role)
    if found:
        raise LakeError(
            f"The store lets the identity {role} {', '.join(found)}; mend its policy, or use a store that denies it"
        )


def refuse_defaults(given: Mapping[str, str]) -> None:
    """Raise for a credential that everybody knows, or that can be guessed."""
    for name, value in given.items():
        if value.lower() in DEFAULTS or (name.endswith("SECRET_KEY") and len(value) < _SHORTEST):
            raise ConfigurationError(
                f"{name} is a default or shorter than {_SHORTEST} characters; leave it empty, then one is generated"
            )


def _refuse_this_container(place: S3) -> None:
    """Raise for a store's address that is another machine's in every container."""
    if (urlsplit(place.endpoint).hostname or "") in {"localhost", "127.0.0.1", "::1"}:
        raise ConfigurationError(
            f"{PREFIX}S3_ENDPOINT is {place.endpoint}: in a container that is the container itself; leave it empty for "
            "the store beside, or name another machine and take docker/compose.elsewhere.yaml (docs/cloud.md)"
        )


def demo_data() -> int:
    """Fill the fictional market's lake and publish it, so that no page opens empty; once is enough."""
    from market_pipeline.cli.demo import run_demo  # noqa: PLC0415
    from market_pipeline.warehouse import Warehouse  # noqa: PLC0415

    settings = load_settings()
    current = Warehouse(settings.warehouse).current()
    if current is not None:
        say(f"Demo: generation {current.generation} is published")
        return 0
    return run_demo(settings)


def parse() -> int:
    """Have dbt read its project, for the image: a container that starts then finds it read."""
    from market_pipeline.pipeline import Pipeline  # noqa: PLC0415 - DuckDB and Polars, which `secrets` does not need

    Pipeline(load_settings()).dbt.parse()
    return 0


def _given(file: Path) -> dict[str, str]:
    try:
        found = dotenv_values(file) if file.is_file() else {}
    except UnicodeDecodeError:
        raise ConfigurationError(".env is not UTF-8 text; write it anew") from None
    return {name: value.strip() for name, value in found.items() if value and value.strip()}


def _lines(values: Mapping[str, str]) -> str:
    """Values as dotenv reads them back, whatever is in them."""
    quoted = {k: v.replace("\\", "\\\\").replace("'", "\\'") for k, v in values.items()}
    return "".join(f"{name}='{value}'\n" for name, value in sorted(quoted.items()))


def _word() -> str:
    return random.token_urlsafe(30)


def _keep(name: str, uid: int, make: Callable[[], str]) -> str:
    """The secret of a file, made at the first time."""
    path = SECRETS / name
    if not path.is_file() or not path.read_text(encoding="utf-8").strip():
        _write(name, uid, make())
    return path.read_text(encoding="utf-8").strip()


def _write(name: str, uid: int, text: str) -> None:
    """Replace a file that only `uid` may read; it is never readable by others, not even for a moment."""
    path = SECRETS / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if os.geteuid() != uid:
        os.chown(temporary, uid, uid)
    temporary.replace(path)


def _own(folder: Path, uid: int, mode: int) -> None:
    """Give a volume's folder to its service."""
    folder.mkdir(exist_ok=True)
    if folder.stat().st_uid != uid:
        os.chown(folder, uid, uid)
    if folder.stat().st_mode & 0o777 != mode:
        folder.chmod(mode)


def _hand_over(place: S3, *, to: str, role: str) -> None:
    """Leave a key where those who work as `to` read it, with the role that it has in the store."""
    named = {ACCESS_KEY: place.access_key, SECRET_KEY: place.secret_key, ROLE: role}
    _write(f"{to}/s3.env", os.geteuid(), _lines(named))
