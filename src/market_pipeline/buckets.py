"""The buckets of a lake in an S3 store: made once, with versioning, so that no write takes earlier bytes away."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from minio.versioningconfig import VersioningConfig

from market_pipeline.errors import LakeError, StoreUnavailable
from market_pipeline.settings import S3

_ENABLED = "Enabled"
_PASSING = ("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout")
_UNABLE = ("NotImplemented", "AccessDenied", "MethodNotAllowed")
_log = logging.getLogger(__name__)


def make_buckets(place: S3) -> tuple[str, ...]:
    """Make the buckets that are not there, and switch versioning on; returns the names of those made.

    Raises StoreUnavailable when nobody answers, LakeError when the store refuses.
    """
    address = urlsplit(place.endpoint)
    client = Minio(
        endpoint=address.netloc,
        access_key=place.access_key,
        secret_key=place.secret_key,
        secure=address.scheme == "https",
        region=place.region,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=30), retries=urllib3.Retry(3, backoff_factor=0.3)
        ),
    )
    made = []
    try:
        for name in (place.bronze_bucket, place.lake_bucket):
            if not client.bucket_exists(bucket_name=name):
                _make(client, name, place.region)
                made.append(name)
            _keep_versions(client, name)
    except S3Error as error:
        if error.code in _PASSING:
            raise StoreUnavailable(
                f"The S3 store at {place.endpoint} is too busy ({error.code}); run again later"
            ) from None
        raise LakeError(
            f"The S3 store at {place.endpoint} refuses to make its buckets ({error.code}); check "
            "MARKET_PIPELINE_S3_ACCESS_KEY and MARKET_PIPELINE_S3_SECRET_KEY, or make them yourself: "
            f"{place.bronze_bucket} and {place.lake_bucket}, with versioning"
        ) from None
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise StoreUnavailable(
            f"The S3 store at {place.endpoint} does not answer ({type(error).__name__}); start it and run again"
        ) from None
    return tuple(made)


def _make(client: Minio, name: str, region: str) -> None:
    try:
        client.make_bucket(bucket_name=name, location=region)
    except S3Error as error:
        if error.code != "BucketAlreadyOwnedByYou":  # another process was faster
            raise


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
