"""MinIO's identities on the wire: a server with the four endpoints of its admin interface that `grant` speaks.

It checks each signature by the published algorithm, opens sealed bodies with the client library's own code, and answers
as MinIO does. That a real store then denies each forbidden act is in test_containers.py.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from minio.crypto import decrypt
from urllib3 import HTTPResponse

from market_pipeline import identities
from market_pipeline.errors import LakeError, MarketPipelineError, StoreUnavailable
from market_pipeline.settings import S3

OWNER, PASSWORD = "owner-0123", "the-password-of-the-owner"
WORD = "a-word-of-the-role-0123456789"


@dataclass
class Admin:
    """What the server knows, and what it was asked."""

    policies: dict[str, Any] = field(default_factory=dict)
    users: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200

    def answer(self, command: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if self.status != 200:  # a server that repeats what it was told
            return self.status, {"Code": "AccessDenied", "Message": f"{query} {WORD} {PASSWORD}"}
        match command:
            case "PUT add-canned-policy":
                self.policies[query["name"]] = json.loads(body)
            case "PUT add-user":
                sealed = HTTPResponse(body=io.BytesIO(body), preload_content=False)
                given = json.loads(decrypt(sealed, PASSWORD))
                self.users.setdefault(query["accessKey"], {}).update(given)
            case "GET user-info" if query["accessKey"] in self.users:
                user = self.users[query["accessKey"]]
                return 200, {"status": user["status"], "policyName": user.get("policy", "")}
            case "PUT set-user-or-group-policy" if query["policyName"] in self.policies:
                assert query["isGroup"] == "false"
                self.users[query["userOrGroup"]]["policy"] = query["policyName"]
            case _:
                return 404, {"Code": "XMinioAdminNoSuchUser", "Message": "not there"}
        return 200, None


def signature(handler: BaseHTTPRequestHandler, secret: str) -> str:
    """AWS signature version 4 of a request, of the headers that it says are signed."""
    said = handler.headers["Authorization"]
    day, region, service, last = re.search(r"Credential=[^/]+/(\d{8})/([^/]+)/([^/]+)/([^,]+)", said).groups()  # type: ignore[union-attr]
    names = re.search(r"SignedHeaders=([^,]+)", said)[1]  # type: ignore[index]
    parts = urlsplit(handler.path)
    headers = "".join(f"{name}:{' '.join(handler.headers[name].split())}\n" for name in names.split(";"))
    request = "\n".join(
        [handler.command, parts.path, parts.query, headers, names, handler.headers["x-amz-content-sha256"]]
    )
    scope = f"{day}/{region}/{service}/{last}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, last):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{handler.headers['x-amz-date']}\n{scope}\n{digest}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def handler_of(admin: Admin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            said, command = (
                self.headers["Authorization"],
                f"{self.command} {parts.path.removeprefix('/minio/admin/v3/')}",
            )
            admin.asked.append((command, body.decode("latin-1")))
            is_ours = said.startswith(f"AWS4-HMAC-SHA256 Credential={OWNER}/")
            is_whole = self.headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
            if is_ours and is_whole and said.endswith(f"Signature={signature(self, PASSWORD)}"):
                status, found = admin.answer(command, dict(parse_qsl(parts.query)), body)
            else:
                status, found = 403, {"Code": "SignatureDoesNotMatch", "Message": "The request signature is wrong"}
            answer = b"" if found is None else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PUT = do_GET  # noqa: N815 - the library's spelling

    return Handler


@contextmanager
def minio() -> Iterator[tuple[Admin, S3]]:
    admin = Admin()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(admin))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        yield admin, S3(endpoint, "us-east-1", OWNER, PASSWORD, "market-demo-bronze", "market-demo-lake")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refusal(owner: S3) -> MarketPipelineError:
    with pytest.raises(MarketPipelineError) as caught:
        identities.grant(owner, "pipeline", secret_key=WORD)
    told = "".join(traceback.format_exception(caught.value))
    assert WORD not in told
    assert PASSWORD not in told
    return caught.value


@pytest.mark.parametrize("role", identities.ROLES)
def test_a_role_gets_its_policy_and_its_word_and_a_second_time_changes_nothing(role: str) -> None:
    with minio() as (admin, owner):
        identities.grant(owner, role, secret_key=WORD)
        name, user = f"market-demo-lake-{role}", identities.access_key(owner, role)
        assert admin.policies == {name: identities.policy(owner, role)}
        assert admin.users == {user: {"status": "enabled", "secretKey": WORD, "policy": name}}
        commands = [command for command, _ in admin.asked]
        assert commands == [
            "PUT add-canned-policy",
            "PUT add-user",
            "GET user-info",
            "PUT set-user-or-group-policy",
        ]
        assert not any(WORD in body for _, body in admin.asked), "the word travels sealed"

        admin.asked.clear()
        identities.grant(owner, role, secret_key=WORD)
        assert [command for command, _ in admin.asked] == commands[:3]
        assert admin.users == {user: {"status": "enabled", "secretKey": WORD, "policy": name}}


def test_a_renewed_word_replaces_the_old_one_and_a_role_with_other_policies_gets_its_own() -> None:
    with minio() as (admin, owner):
        identities.grant(owner, "backup", secret_key="the-old-word-0123456789")
        user = identities.access_key(owner, "backup")
        admin.users[user]["policy"] = "readwrite"
        identities.grant(owner, "backup", secret_key=WORD)
        assert admin.users[user] == {"status": "enabled", "secretKey": WORD, "policy": "market-demo-lake-backup"}


def test_what_is_refused_names_the_remedy_and_no_secret() -> None:
    with minio() as (admin, owner):
        error = refusal(replace(owner, secret_key="another-password-0123"))
        assert isinstance(error, LakeError)
        assert "MARKET_PIPELINE_STORE_IDENTITIES=external" in str(error)
        assert "403" in str(error)
        assert not admin.users
        admin.status = 403
        assert isinstance(refusal(owner), LakeError)
        admin.status = 503
        assert isinstance(refusal(owner), StoreUnavailable)


def test_a_store_that_does_not_answer_is_unavailable() -> None:
    with minio() as (_, owner):
        pass
    error = refusal(owner)
    assert isinstance(error, StoreUnavailable)
    assert "start it and run again" in str(error)
