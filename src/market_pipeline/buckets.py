"""The buckets of a lake in an S3 store: made once, with versioning, so that no write takes earlier bytes away.

Who owns the store also has them keep evidence for some days from every other key, and forget what was
temporary. What does not belong here: who may do what in them (`identities`).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, GOVERNANCE, Filter
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import (
    AbortIncompleteMultipartUpload,
    Expiration,
    LifecycleConfig,
    NoncurrentVersionExpiration,
    Rule,
)
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.versioningconfig import VersioningConfig

from market_pipeline.errors import LakeError, StoreUnavailable
from market_pipeline.s3 import S3Store
from market_pipeline.settings import S3
from market_pipeline.store import honours_create_only

_ENABLED = "Enabled"
_PASSING = ("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout")
_UNABLE = ("NotImplemented", "AccessDenied", "MethodNotAllowed")
# What stores answer to a rule, or to a lock, that they do not know.
_UNKNOWN = (*_UNABLE, "MalformedXML", "InvalidArgument", "InvalidRequest", "InvalidBucketState", "NotSupported")
# Where keys are temporary, and how long replaced objects of the lake bucket stay.
_TEMPORARY, _REPLACED_DAYS = "probe/", 30
_log = logging.getLogger(__name__)


def client_of(place: S3) -> Minio:
    """A client that gives a store that does not answer some seconds, no more."""
    address = urlsplit(place.endpoint)
    return Minio(
        endpoint=address.netloc,
        access_key=place.access_key,
        secret_key=place.secret_key,
        secure=address.scheme == "https",
        region=place.region,
        http_client=http_pool(),
    )


def http_pool() -> urllib3.PoolManager:
    """Connections for a handful of calls."""
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=30), retries=urllib3.Retry(3, backoff_factor=0.3)
    )


@contextmanager
def telling(place: S3, what: str) -> Iterator[None]:
    """Turn the client's errors into ours; `what` is what the store would have refused to do, with the remedy."""
    try:
        yield
    except S3Error as error:
        if error.code in _PASSING:
            raise StoreUnavailable(
                f"The S3 store at {place.endpoint} is too busy ({error.code}); run again later"
            ) from None
        raise LakeError(f"The S3 store at {place.endpoint} refuses to {what.format(code=error.code)}") from None
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise StoreUnavailable(
            f"The S3 store at {place.endpoint} does not answer ({type(error).__name__}); start it and run again"
        ) from None


def make_buckets(place: S3, *, retention_days: int = 0) -> tuple[str, ...]:
    """Make the buckets that are not there, and switch versioning on; returns the names of those made. With
    `retention_days` no version of an object in a new bronze bucket can be deleted for so long, by its default of
    object lock, except by the owner's key where it asks to bypass that (governance). A store that overwrites evidence
    in buckets that keep versions gets buckets without.

    Raises StoreUnavailable when nobody answers, LakeError when the store refuses.
    """
    client = client_of(place)
    made = []
    with telling(
        place,
        "make its buckets ({code}); check MARKET_PIPELINE_S3_ACCESS_KEY and MARKET_PIPELINE_S3_SECRET_KEY, or make "
        f"them yourself: {place.bronze_bucket} and {place.lake_bucket}, with versioning",
    ):
        names = (place.bronze_bucket, place.lake_bucket)
        absent = {name for name in names if not client.bucket_exists(bucket_name=name)}
        is_new = bool(absent) or not all(_keeps_versions(client, name) for name in names)
        is_safe = not is_new or _is_safe_with_versions(client, place)
        for name in names:
            days = retention_days if name == place.bronze_bucket and is_safe else 0
            if name in absent:
                _make(client, name, place.region, is_locked=days > 0)
                made.append(name)
            if is_safe:
                _keep_versions(client, name)
            if days:
                _retain(client, name, days)
    if not is_safe:
        _log.warning(
            "The S3 store at %s overwrites objects that should only be created (If-None-Match) where a bucket keeps "
            "versions; the lake's buckets are without versions, so that evidence stays what it was",
            place.endpoint,
        )
    return tuple(made)


def _is_safe_with_versions(client: Minio, place: S3) -> bool:
    """Whether creating on condition works in a bucket that keeps versions, tried in one of its own. With a key that may
    make none it is not known here; the probe before the first fetch finds out."""
    name = f"trial-{secrets.token_hex(8)}"
    try:
        client.make_bucket(bucket_name=name, location=place.region)
    except S3Error as error:
        if error.code not in _UNABLE:
            raise
        return True
    try:
        client.set_bucket_versioning(bucket_name=name, config=VersioningConfig(_ENABLED))
        return honours_create_only(S3Store(replace(place, bronze_bucket=name, lake_bucket=name), patience_s=5))
    except S3Error as error:
        if error.code not in _UNABLE:
            raise
        return True
    finally:
        for item in client.list_objects(bucket_name=name, recursive=True, include_version=True):
            client.remove_object(bucket_name=name, object_name=item.object_name or "", version_id=item.version_id)
        client.remove_bucket(bucket_name=name)


def forget_temporary(place: S3) -> None:
    """Have the store remove probes after a day, replaced objects of the lake after a month, and uploads that were never
    completed. Bronze keeps every version."""
    client = client_of(place)
    uploads = Rule(
        ENABLED,
        rule_filter=Filter(prefix=""),
        rule_id="unfinished-uploads",
        abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(days_after_initiation=1),
    )
    lake = [
        Rule(
            ENABLED,
            rule_filter=Filter(prefix=_TEMPORARY),
            rule_id="temporary",
            expiration=Expiration(days=1),
            noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=1),
        ),
        Rule(
            ENABLED,
            rule_filter=Filter(prefix=""),
            rule_id="replaced",
            noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=_REPLACED_DAYS),
        ),
    ]
    with telling(place, "have a lifecycle ({code}); set one yourself, docs/operations.md says which"):
        for name, rules in ((place.bronze_bucket, []), (place.lake_bucket, lake)):
            refused = _set_lifecycle(client, name, [*rules, uploads])
            if refused and refused != "AccessDenied":  # MinIO has no such rule: it removes unfinished uploads by itself
                refused = _set_lifecycle(client, name, rules) if rules else ""
            if refused:
                _log.warning(
                    "Bucket %s takes no lifecycle from this key (%s); set it by hand: %sunfinished uploads end after a "
                    "day",
                    name,
                    refused,
                    f"{_TEMPORARY} expires after a day, earlier versions after {_REPLACED_DAYS} days, "
                    if rules
                    else "",
                )


def _set_lifecycle(client: Minio, name: str, rules: list[Rule]) -> str:
    """Have a bucket follow rules; why the store refuses, or nothing."""
    try:
        client.set_bucket_lifecycle(bucket_name=name, config=LifecycleConfig(rules))
    except S3Error as error:
        if error.code not in _UNKNOWN:
            raise
        return error.code or "refused"
    return ""


def _make(client: Minio, name: str, region: str, *, is_locked: bool) -> None:
    """A lock can only be had from the beginning; a store that knows none makes a plain bucket."""
    try:
        client.make_bucket(bucket_name=name, location=region, object_lock=is_locked)
    except S3Error as error:
        if is_locked and error.code in _UNKNOWN:
            _make(client, name, region, is_locked=False)
        elif error.code != "BucketAlreadyOwnedByYou":  # another process was faster
            raise


def _retain(client: Minio, name: str, days: int) -> None:
    """A bucket without a lock is told of and used all the same: versions are kept there too, but can be deleted."""
    try:
        client.set_object_lock_config(bucket_name=name, config=ObjectLockConfig(GOVERNANCE, days, DAYS))
    except S3Error as error:
        if error.code not in _UNKNOWN:
            raise
        if error.code == "AccessDenied":
            _log.warning(
                "Bucket %s takes no retention from this key (%s); set it by hand: object lock, %d days by default",
                name,
                error.code,
                days,
            )
            return
        _log.warning("Bucket %s has no object lock (%s); who owns the store can delete evidence", name, error.code)


def _keeps_versions(client: Minio, name: str) -> bool:
    """A store that does not say is taken at its word when it is asked to."""
    try:
        return client.get_bucket_versioning(bucket_name=name).status == _ENABLED
    except S3Error as error:
        if error.code not in _UNABLE:
            raise
        return True


def _keep_versions(client: Minio, name: str) -> None:
    """A store without versions, or a key that may not ask for them, is told of and used all the same."""
    try:
        if client.get_bucket_versioning(bucket_name=name).status != _ENABLED:
            client.set_bucket_versioning(bucket_name=name, config=VersioningConfig(_ENABLED))
    except S3Error as error:
        if error.code not in _UNABLE:
            raise
        _log.warning(
            "Bucket %s: versioning can't be switched on (%s); what is replaced there is gone", name, error.code
        )
