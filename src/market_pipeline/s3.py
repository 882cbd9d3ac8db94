"""The lake in an S3 store: the interface of `store.Store` over obstore, and DuckDB's way to the same objects.

Writing protocol: one PUT each; create-only by `If-None-Match: *` (RFC 9110 section 13.1.2). Each object carries the
SHA-256 of its bytes and the token of the call that wrote it, so an answer that was lost (a time-out, a broken
connection, a 409 or 412 after a retry) is settled by HEAD: our token means that we wrote it, our hash that nothing is
to do, another hash that the name is taken. A store that does not answer is waited for. What does not belong here:
making buckets (`buckets`), names of keys (`layout`). Over 300 lines because what a lost answer means
depends on how each call was sent and how long it waits.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import obstore
from obstore import exceptions
from obstore.store import S3Store as Bucket

from market_pipeline.errors import CreateConflict, LakeError, ObjectMissing, StoreUnavailable
from market_pipeline.settings import S3
from market_pipeline.store import named_sha256, verified

if TYPE_CHECKING:
    import duckdb
    from obstore.store import S3Credential

# The variable in which a build tells its child process where the lake is, as JSON of `settings.S3`.
ACCESS = "MARKET_PIPELINE_LAKE_ACCESS"
# An outage of a minute passes unnoticed; one of three is an error, and the next run goes on.
PATIENCE_S = 180.0
# Above this an object goes up in pieces: a single PUT holds it in memory nearly twice.
LARGE = 16 * 1024 * 1024
_AT_ONCE = 16
# So long a call keeps trying, and Ctrl-C waiting, where no connection comes about; a store that takes one and says
# nothing takes 15 s a try.
_CALL_S = 5.0
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
# Statuses that waiting does not mend: another region, a request that is none, a store that is full or can't do it.
_FINAL = frozenset({301, 307, 308, 400, 405, 410, 411, 413, 414, 416, 501, 505, 507})
_Item = TypeVar("_Item")
_Found = TypeVar("_Found")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What an object says of itself; empty where another program wrote it."""

    sha256: str
    writer: str


class S3Store:
    """A lake in two buckets of an S3 store. Every call waits for a store that does not answer, `patience_s` at most,
    and raises StoreUnavailable then."""

    def __init__(self, place: S3, *, patience_s: float = PATIENCE_S) -> None:
        self.place = place
        self._patience_s = patience_s
        self._is_over = threading.Event()
        self._is_silent = False
        self._buckets: dict[str, Bucket] = {}

    @property
    def root(self) -> str:
        """What the addresses of silver, quarantine and reference files begin with."""
        return f"s3://{self.place.lake_bucket}"

    def get(self, key: str, *, sha256: str | None = None) -> bytes:
        try:
            data = self._patiently(lambda: bytes(obstore.get(self._bucket(key), key).bytes()))
        except FileNotFoundError:
            raise ObjectMissing(f"{key} is not in the lake; restore it from a backup, or fetch it again") from None
        return verified(key, data, sha256)

    def exists(self, key: str) -> bool:
        return self._stored(key) is not None

    def digests(self, keys: Iterable[str]) -> Mapping[str, str]:
        def digest(key: str) -> str:
            found = self._stored(key)
            if found is None:
                return ""
            return found.sha256 or hashlib.sha256(self.get(key)).hexdigest()

        wanted = list(keys)
        return {key: found for key, found in zip(wanted, self.each(digest, wanted), strict=True) if found}

    def each(self, act: Callable[[_Item], _Found], items: Sequence[_Item]) -> Sequence[_Found]:
        self._is_over.clear()
        threads = ThreadPoolExecutor(_AT_ONCE)
        try:
            return list(threads.map(act, items))
        except BaseException:  # Ctrl-C: nobody waits for a silent store any longer, a thread that just began neither
            self._is_over.set()
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def create(self, key: str, data: bytes) -> bool:
        sha256 = hashlib.sha256(data).hexdigest()
        if len(data) > LARGE and sha256 in key:
            return self._create_large(key, data, sha256)
        return self._create(key, data, sha256)

    def create_file(self, key: str, file: Path) -> bool:
        with file.open("rb") as opened:
            return self._create_large(key, opened, named_sha256(key, opened))

    def replace(self, key: str, data: bytes) -> bool:
        sha256 = hashlib.sha256(data).hexdigest()
        found = self._stored(key)
        if found is not None and found.sha256 == sha256:
            return False
        self._put(key, data, sha256)
        return True

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: obstore.delete(self._bucket(key), key))

    def list(self, prefix: str) -> tuple[str, ...]:
        def names() -> tuple[str, ...]:
            pages = obstore.list(self._bucket(prefix), prefix.rstrip("/"), chunk_size=1000)
            return tuple(sorted(item["path"] for page in pages for item in page))

        return self._patiently(names)

    def size(self, prefix: str) -> int:
        def total() -> int:
            pages = obstore.list(self._bucket(prefix), prefix.rstrip("/"), chunk_size=1000)
            return sum(item["size"] for page in pages for item in page)

        return self._patiently(total)

    def url(self, key: str) -> str:
        return f"s3://{self.place.bucket(key)}/{key}"

    def sweep(self, *, older_than_s: float) -> int:  # noqa: ARG002 - an object appears whole or not at all
        return 0

    def admit(self, connection: duckdb.DuckDBPyConnection) -> None:
        admit(connection, self.place)

    def _create(self, key: str, data: bytes, sha256: str) -> bool:
        writer, deadline = secrets.token_hex(8), self._deadline()
        while True:
            cause: Exception | None = None
            try:
                self._send(key, data, sha256, writer=writer, is_create=True)
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                pass
            except (FileNotFoundError, exceptions.BaseError) as error:
                self._tell_of_refusal(error)
                cause = error
            else:
                self._is_silent = False
                return True
            found = self._stored(key)
            if found is not None:
                return self._settle(key, found, sha256, writer)
            if time.monotonic() > deadline:
                raise self._unavailable(cause)
            time.sleep(0.2)

    def _settle(self, key: str, found: _Stored, sha256: str, writer: str) -> bool:
        """True when the object is of our call, False when the same bytes were there."""
        if (found.sha256 or hashlib.sha256(self.get(key)).hexdigest()) != sha256:
            raise CreateConflict(f"{key} exists with other bytes; nothing was overwritten")
        return bool(writer) and found.writer == writer

    def _create_large(self, key: str, data: bytes | IO[bytes], sha256: str) -> bool:
        """In pieces, which no store creates on condition: the name holds the hash, so whoever wins writes the same."""
        if (found := self._stored(key)) is not None:
            return self._settle(key, found, sha256, "")
        self._put(key, data, sha256)
        return True

    def _put(self, key: str, data: bytes | IO[bytes], sha256: str) -> None:
        def send() -> None:
            if not isinstance(data, bytes):
                data.seek(0)
            try:
                self._send(key, data, sha256, writer=secrets.token_hex(8))
            except FileNotFoundError as error:  # of a PUT: a bucket that is not there, or a gateway's word
                self._tell_of_refusal(error)
                raise exceptions.GenericError(str(error)) from None

        self._patiently(send)

    def _send(self, key: str, data: bytes | IO[bytes], sha256: str, *, writer: str, is_create: bool = False) -> None:
        is_large = not isinstance(data, bytes) or len(data) > LARGE
        obstore.put(
            self._bucket(key),
            key,
            data,
            attributes={"sha256": sha256, "writer": writer},
            mode="create" if is_create else "overwrite",
            use_multipart=is_large and not is_create,
            max_concurrency=2,
        )

    def _stored(self, key: str) -> _Stored | None:
        try:
            found = self._patiently(lambda: obstore.get(self._bucket(key), key, options={"head": True}))
        except FileNotFoundError:
            return None
        attributes = found.attributes
        return _Stored(str(attributes.get("sha256", "")), str(attributes.get("writer", "")))

    def _bucket(self, key: str) -> Bucket:
        if not key or "\0" in key or any(part in ("", ".", "..") for part in key.rstrip("/").split("/")):
            raise LakeError(f"{key!r} is no key of a lake")
        name = self.place.bucket(key)
        if name not in self._buckets:
            self._buckets[name] = Bucket(
                name,
                config={
                    "endpoint": self.place.endpoint,
                    "aws_endpoint_url_s3": self.place.endpoint,  # a variable of this name would win over ours
                    "region": self.place.region,
                    "virtual_hosted_style_request": False,
                    "conditional_put": "etag",
                    "skip_signature": False,
                    "s3_express": False,
                },
                credential_provider=self._credentials,  # without it AWS_SESSION_TOKEN and the like would count
                client_options={
                    "allow_http": self.place.endpoint.startswith("http:"),
                    "connect_timeout": timedelta(seconds=5),
                    "read_timeout": timedelta(seconds=15),
                    "timeout": timedelta(seconds=300),
                },
                retry_config={
                    "max_retries": 1000,
                    "retry_timeout": timedelta(seconds=min(_CALL_S, self._patience_s)),
                    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3)},
                },
            )
        return self._buckets[name]

    def _credentials(self) -> S3Credential:
        return {
            "access_key_id": self.place.access_key,
            "secret_access_key": self.place.secret_key,
            "token": None,
            "expires_at": None,
        }

    def _patiently(self, act: Callable[[], _Found]) -> _Found:
        """What `act` gives; it may be done more than once. FileNotFoundError passes, but for that of a bucket."""
        deadline, is_told = self._deadline(), False
        while True:
            try:
                found = act()
                self._is_silent = False
                return found
            except FileNotFoundError as error:
                self._tell_of_refusal(error)
                raise
            except exceptions.BaseError as error:
                self._tell_of_refusal(error)
                if time.monotonic() > deadline or self._is_over.is_set():
                    raise self._unavailable(error) from None
                if not is_told:
                    _log.warning("The S3 store at %s does not answer; waiting for it", self.place.endpoint)
                is_told = True
                self._is_over.wait(0.5)

    def _tell_of_refusal(self, error: Exception) -> None:
        """Raise what waiting does not mend: no such bucket, a key or an act that is refused, a request that is none."""
        status = _STATUS.search(str(error))
        is_refused = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
        if "NoSuchBucket" in str(error):
            raise LakeError(
                f"The S3 store at {self.place.endpoint} lacks the bucket {self.place.bronze_bucket} or "
                f"{self.place.lake_bucket}; make them: market-pipeline init"
            ) from None
        if is_refused or (status is not None and int(status[1]) in (401, 403)):
            raise LakeError(
                f"The S3 store at {self.place.endpoint} refuses this key or this act{_code(error)}; check "
                "MARKET_PIPELINE_S3_ACCESS_KEY, MARKET_PIPELINE_S3_SECRET_KEY, its rights and this machine's clock"
            ) from None
        if status is not None and int(status[1]) in _FINAL:
            raise LakeError(
                f"The S3 store at {self.place.endpoint} answers {status[1]}{_code(error)}; check "
                "MARKET_PIPELINE_S3_ENDPOINT, MARKET_PIPELINE_S3_REGION, and the store's room and abilities"
            ) from None

    def _deadline(self) -> float:
        """How long a call waits. Once the patience is spent, the next calls try once: a run has many of them."""
        return time.monotonic() + (0.0 if self._is_silent else self._patience_s)

    def _unavailable(self, cause: Exception | None) -> StoreUnavailable:
        self._is_silent = True
        reason = str(cause or "no answer").splitlines()[0][:300]
        return StoreUnavailable(
            f"The S3 store at {self.place.endpoint} does not answer ({reason}); start it and run again, "
            "nothing that was stored is lost"
        )


def admit(connection: duckdb.DuckDBPyConnection, place: S3) -> None:
    """Let a DuckDB connection read the lake's addresses. The extension comes from its wheel and DuckDB checks its
    signature; nothing is downloaded."""
    connection.execute(f"load '{_extension()}'")
    for name, value in (("http_retries", 9), ("http_retry_wait_ms", 250), ("http_retry_backoff", 2)):
        connection.execute(f"set global {name} = {value}")  # 128 s in all: an outage of a minute passes
    for bucket in (place.bronze_bucket, place.lake_bucket):
        options = {
            "key_id": place.access_key,
            "secret": place.secret_key,
            "region": place.region,
            "endpoint": place.endpoint.partition("://")[2],
            "scope": f"s3://{bucket}/",
            "url_style": "path",
            "session_token": "",  # else that of AWS_SESSION_TOKEN
        }
        texts = ", ".join(f"{name} '{value.replace(chr(39), chr(39) * 2)}'" for name, value in options.items())
        uses_tls = str(place.endpoint.startswith("https:")).lower()
        connection.execute(f'create or replace temporary secret "{bucket}" (type s3, {texts}, use_ssl {uses_tls})')


def _code(error: Exception) -> str:
    """The store's own word for what is wrong, in brackets."""
    found = _CODE.search(str(error))
    return f" ({found[1]})" if found else ""


def _extension() -> Path:
    spec = find_spec("duckdb_extension_httpfs")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(path for folder in folders for path in Path(folder).rglob("httpfs.duckdb_extension"))
    if not found:
        raise LakeError("DuckDB's httpfs extension is not installed; install it: make setup")
    return found[-1]
