"""Who may do what in the lake's buckets: one identity for each role, with the rights it needs and no others.

    pipeline   reads and adds to bronze, deletes nothing there; writes the lake bucket, deletes probes and quarantine
    backup     reads both buckets, writes nothing
    owner      the store's own key, which only the one-shot services have: buckets, identities, restore

MinIO makes identities by its admin interface, the one part of its own that is spoken here; SeaweedFS reads them, with
the same policies, from a file. Any other store has them made by whoever runs it (`external`). All are judged alike, by
trying each forbidden act with the identity's own key.
What does not belong here: making buckets (`buckets`), where keys are kept (`cli.containers`).
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, S3Error
from minio.minioadmin import MinioAdmin
from minio.versioningconfig import SUSPENDED, VersioningConfig

from market_pipeline.buckets import client_of, http_pool, telling
from market_pipeline.errors import LakeError, StoreUnavailable
from market_pipeline.settings import S3

PIPELINE, BACKUP = "pipeline", "backup"
ROLES = (PIPELINE, BACKUP)
_DELETABLE = ("probe", "quarantine")
_READ_BUCKET = ("s3:GetBucketLocation", "s3:GetBucketVersioning", "s3:ListBucket", "s3:ListBucketMultipartUploads")
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
# What a store answers to an act that it refuses to this identity; anything else is an act that was let through.
_REFUSED = frozenset({"AccessDenied", "AllAccessDisabled", "MethodNotAllowed"})
_NEVER_THERE = "permission-check/never-there"
# A new identity is known everywhere after a moment.
_SETTLES_S = 10.0


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a role must be refused; it is tried where it would do no harm."""

    words: str
    attempt: Callable[[Minio], object]


def policy(place: S3, role: str) -> dict[str, Any]:
    """A role's rights as an IAM policy document: what it does not name is refused."""
    buckets = [f"arn:aws:s3:::{name}" for name in (place.bronze_bucket, place.lake_bucket)]
    statements = [_allow(_READ_BUCKET, buckets), _allow(("s3:GetObject",), [f"{name}/*" for name in buckets])]
    if role == PIPELINE:
        statements.append(_allow(_WRITE, [f"{name}/*" for name in buckets]))
        statements.append(_allow(("s3:DeleteObject",), [f"{buckets[1]}/{prefix}/*" for prefix in _DELETABLE]))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: tuple[str, ...], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resources}


def access_key(place: S3, role: str) -> str:
    """The name under which a role signs; MinIO takes 20 characters at most."""
    return f"{role}-{hashlib.sha256(place.lake_bucket.encode()).hexdigest()[:8]}"


def seaweedfs(place: S3, secret_keys: Mapping[str, str]) -> dict[str, Any]:
    """SeaweedFS's configuration (`-s3.config`): the owner, whose key is in `place`, and each role with its policy."""
    owner = {"accessKey": place.access_key, "secretKey": place.secret_key}
    roles = [
        {
            "name": role,
            "credentials": [{"accessKey": access_key(place, role), "secretKey": secret_key}],
            "policyNames": [role],
            "actions": [],
        }
        for role, secret_key in secret_keys.items()
    ]
    return {
        "identities": [{"name": "owner", "credentials": [owner], "actions": ["Admin"]}, *roles],
        "policies": [{"name": role, "content": json.dumps(policy(place, role))} for role in secret_keys],
    }


def maker(place: S3) -> str:
    """Which program the store says that it is, as settings name it: `minio`, `seaweedfs`, else `external`."""
    try:
        answer = http_pool().request("GET", f"{place.endpoint}/", redirect=False)
    except urllib3.exceptions.HTTPError as error:
        raise StoreUnavailable(
            f"The S3 store at {place.endpoint} does not answer ({type(error).__name__}); start it and run again"
        ) from None
    said = answer.headers.get("Server", "").lower()
    return next((name for name in ("minio", "seaweedfs") if name in said), "external")


def seen_by(owner: S3, role: str, *, secret_key: str) -> S3:
    """The store as a role sees it."""
    return replace(owner, access_key=access_key(owner, role), secret_key=secret_key)


def grant(owner: S3, role: str, *, secret_key: str) -> None:
    """Make or renew a role's identity in MinIO, with its policy."""
    address = urlsplit(owner.endpoint)
    admin = MinioAdmin(
        endpoint=address.netloc,
        credentials=StaticProvider(owner.access_key, owner.secret_key),
        region=owner.region,
        secure=address.scheme == "https",
        http_client=http_pool(),
    )
    name = f"{owner.lake_bucket}-{role}"
    try:
        admin.policy_add(name, policy=policy(owner, role))
        user = access_key(owner, role)
        admin.user_add(user, secret_key)
        if name not in str(json.loads(admin.user_info(user)).get("policyName", "")).split(","):
            admin.policy_set(name, user=user)
    except MinioAdminException as error:
        if error._code.startswith("5"):
            raise StoreUnavailable(
                f"MinIO at {owner.endpoint} is not ready (status {error._code}); run again later"
            ) from None
        raise LakeError(
            f"MinIO at {owner.endpoint} refuses to make the identity {role} (status {error._code}); check the store's "
            "own key, or make it yourself: MARKET_PIPELINE_STORE_IDENTITIES=external"
        ) from None
    except urllib3.exceptions.HTTPError as error:
        raise StoreUnavailable(
            f"MinIO at {owner.endpoint} does not answer ({type(error).__name__}); start it and run again"
        ) from None


def forbidden(place: S3, role: str) -> tuple[Act, ...]:
    """The acts that a role must be refused, each on something that is not there or that changes nothing."""
    bronze, lake = place.bronze_bucket, place.lake_bucket
    payload, silver = f"bronze/{_NEVER_THERE}", f"silver/{_NEVER_THERE}"
    acts = [
        Act("delete evidence", lambda c: c.remove_object(bucket_name=bronze, object_name=payload)),
        Act(
            "delete a version of evidence",
            lambda c: c.remove_object(bucket_name=bronze, object_name=payload, version_id="null"),
        ),
        Act("delete silver", lambda c: c.remove_object(bucket_name=lake, object_name=silver)),
        Act("delete the bucket of evidence", lambda c: c.remove_bucket(bucket_name=bronze)),
        Act("take away bucket policies", lambda c: c.delete_bucket_policy(bucket_name=bronze)),
        Act("take away retention", lambda c: c.delete_object_lock_config(bucket_name=bronze)),
        Act(
            "stop keeping versions",
            lambda c: c.set_bucket_versioning(bucket_name=bronze, config=VersioningConfig(SUSPENDED)),
        ),
        Act("make buckets", lambda c: c.make_bucket(bucket_name=f"{lake}-forbidden")),
    ]
    if role == BACKUP:
        acts += [
            Act("write evidence", lambda c: _put(c, bronze, payload)),
            Act("write silver", lambda c: _put(c, lake, silver)),
        ]
    return tuple(acts)


def _put(client: Minio, bucket: str, key: str) -> object:
    return client.put_object(bucket_name=bucket, object_name=key, data=io.BytesIO(b"-"), length=1)


def allowed(place: S3, role: str) -> tuple[str, ...]:
    """The forbidden acts that the store lets `role`, whose key is in `place`, do; none is as it should be."""
    client = client_of(place)
    with telling(place, "let " + role + " in ({code}); run the set-up again: docker compose up init"):
        _wait_until_known(client, place)
        return tuple(act.words for act in forbidden(place, role) if not _is_refused(client, act))


def _wait_until_known(client: Minio, place: S3) -> None:
    deadline = time.monotonic() + _SETTLES_S
    while True:
        try:
            next(iter(client.list_objects(bucket_name=place.lake_bucket)), None)
            return
        except S3Error as error:
            if error.code not in ("InvalidAccessKeyId", "AccessDenied") or time.monotonic() > deadline:
                raise
        time.sleep(0.25)


def _is_refused(client: Minio, act: Act) -> bool:
    try:
        act.attempt(client)
    except S3Error as error:
        return error.code in _REFUSED
    return False
