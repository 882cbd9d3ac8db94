"""docker/canary.py: a secret that was planted is found in each kind of place and in each form, and nowhere else.

The search runs as in its container, on streams of the shapes that an engine writes.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from market_pipeline.cli import containers
from market_pipeline.settings import REPOSITORY

KEY = "Canary/FMP+" + "q7Zx0K3mVw9L=="
TOKEN = "Canary=ALERT+" + "f8Rk2Lw0"
ALERT = f"MARKET_PIPELINE_ALERT_URL=json://hooks.example.com:9/services/{TOKEN}?format=markdown"
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda key: key,
    "URL-encoded": lambda key: quote(key, safe=""),
    "URL-encoded, small": lambda key: (
        quote(key, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")
    ),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 after one": lambda key: base64.b64encode(b"u" + key.encode() + b"|rest").decode(),
    "base64 after a name": lambda key: base64.b64encode(b"me:" + key.encode() + b"!").decode(),
    "base64 after two": lambda key: base64.urlsafe_b64encode(b"u:" + key.encode()).decode(),
}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volumes as the secrets service fills them, with a provider's key in .env."""
    folder = tmp_path_factory.mktemp("canary")
    project = folder / "project"
    for made in (project, folder / "secrets", folder / "volumes"):
        made.mkdir()
    (project / ".env").write_text(f"FMP_API_KEY={KEY}\nPOLYGON_PLAN=developer\n{ALERT}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers, "SECRETS", folder / "secrets")
        patch.setattr(containers, "VOLUMES", folder / "volumes")
        for name in ("PIPELINE_UID", "STORE_UID", "DATABASE_UID"):
            patch.setattr(containers, name, os.geteuid())
        for name in [name for name in os.environ if name.startswith("MARKET_PIPELINE_")]:
            patch.delenv(name)
        for name, value in {"PROFILE": "demo", "LAKE_URL": "s3://market", "S3_ENDPOINT": "http://store:9000"}.items():
            patch.setenv(f"MARKET_PIPELINE_{name}", value)
        containers.secrets(project=project)
        for role in ("pipeline", "backup"):
            word = (folder / "secrets/owner" / role).read_text()
            place = SimpleNamespace(access_key=f"{role}-0", secret_key=word)
            containers._hand_over(place, to=role, role=role)  # type: ignore[arg-type]
    mounted = folder / "mounted"
    mounted.mkdir()
    for path in (folder / "secrets").iterdir():
        path.rename(mounted / f"secrets-{path.name}")
    (mounted / "state").mkdir()
    (mounted / "state/first-day").write_text("2026-01-05\n")
    return mounted


def search(volumes: Path, kind: str, stream: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(REPOSITORY / "docker/canary.py"), str(volumes), kind]
    done = subprocess.run(command, input=stream, capture_output=True, timeout=60, check=False)
    assert KEY.encode() not in done.stdout + done.stderr
    assert TOKEN.encode() not in done.stdout + done.stderr
    return done


def tar(files: dict[str, bytes], *, owner: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = len(body), {"SCHILY.xattr.user.note": owner} if owner else {}
            made.addfile(entry, io.BytesIO(body))
    return out.getvalue()


def saved(layer: bytes, *, record: bytes = b"{}", packs: bool = False) -> bytes:
    """What `docker save` writes, by an older engine or by one that keeps layers packed."""
    if packs:
        return tar({"blobs/sha256/aa": gzip.compress(layer), "blobs/sha256/bb": record, "index.json": b"{}"})
    return tar({"aa/layer.tar": layer, "bb.json": record, "manifest.json": b"[]"})


def test_nothing_is_found_where_each_secret_is_at_home(volumes: Path) -> None:
    clean = saved(tar({"app/a.py": b"print()", "app/readme.gz": gzip.compress(b"hello")}), record=b'{"Env": ["A=b"]}')
    for kind, stream in (("volumes", b""), ("images", clean), ("text", b"==> logs of code <==\nall is well\n")):
        done = search(volumes, kind, stream)
        assert done.returncode == 0, done.stderr
        assert b"0 found" in done.stdout
        assert b"8 secrets, 3 of them from .env" in done.stdout


@pytest.mark.parametrize("form", ["as it is", "base64 after a name"])
@pytest.mark.parametrize("packs", [False, True])
def test_a_secret_in_a_layer_is_found(volumes: Path, form: str, packs: bool) -> None:
    body = b"-" * 3_000_000 + f"x {FORMS[form](KEY)} y".encode()
    done = search(volumes, "images", saved(tar({"app/a.py": b"", "etc/b": body}), packs=packs))
    assert done.returncode == 1
    assert done.stderr.startswith(b"FMP_API_KEY, ")
    assert b"etc/b" in done.stderr


@pytest.mark.parametrize(
    "stream",
    [
        saved(tar({"app/a": gzip.compress(f"key={KEY}".encode())})),
        saved(tar({f"app/{KEY}": b""})),
        saved(tar({"app/a": b""}, owner=KEY)),
        saved(tar({}), record=json.dumps({"history": [f"ARG FMP_API_KEY={KEY}"]}).encode()),
        saved(tar({"app/a": b"-" * ((1 << 22) - 9) + KEY.encode() + b"-" * 99})),
    ],
    ids=["gzip", "name", "attribute", "history", "across two blocks"],
)
def test_a_secret_beside_a_layers_text_is_found(volumes: Path, stream: bytes) -> None:
    done = search(volumes, "images", stream)
    assert done.returncode == 1
    assert b"FMP_API_KEY" in done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_in_a_log_or_a_record_is_found_and_its_service_named(volumes: Path, form: str) -> None:
    stream = f"==> logs of store <==\nready\n==> logs of code <==\nGET /?apikey={FORMS[form](KEY)}\n==> x <==\n"
    done = search(volumes, "text", stream.encode())
    assert done.returncode == 1
    assert b"is in logs of code" in done.stderr


@pytest.mark.parametrize("said", [TOKEN, quote(TOKEN), f"Could not load JSON URL: json://hooks.example.com/{TOKEN}"])
def test_an_alerts_token_is_found_without_its_address(volumes: Path, said: str) -> None:
    done = search(volumes, "text", f"==> logs of code <==\nNobody at {said}\n==> x <==\n".encode())
    assert done.returncode == 1
    assert b"MARKET_PIPELINE_ALERT_URL" in done.stderr
    words = b"==> logs of code <==\nhooks.example.com has services, and markdown\n==> x <==\n"
    assert search(volumes, "text", words).returncode == 0


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("secrets-store/password", "the store's password"),
        ("secrets-database/dagster", "the password of Dagster's database"),
        ("secrets-owner/pipeline", "the store's key of pipeline"),
        ("secrets-pipeline/env", "FMP_API_KEY"),
    ],
)
@pytest.mark.parametrize(
    "place",
    ["state/dagster/run.log", "secrets-dagster/pgpass.old", "secrets-pipeline/s3.env", "store/config/identities"],
)
def test_a_secret_in_a_volume_is_found_unless_it_is_at_home(volumes: Path, source: str, name: str, place: str) -> None:
    path = volumes / place
    before = path.read_bytes() if path.is_file() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes((before or b"") + (volumes / source).read_bytes())
        done = search(volumes, "volumes")
    finally:
        path.unlink() if before is None else path.write_bytes(before)
    at_home = (source, place) == ("secrets-owner/pipeline", "secrets-pipeline/s3.env") or (
        name.startswith("the store's") and place.startswith("store/")  # a store keeps the keys of those it lets in
    )
    assert done.returncode == (0 if at_home else 1), done.stderr
    assert at_home or f"{name}, as it is, is in {place}\n".encode() in done.stderr


def test_a_search_that_sees_nothing_of_what_must_be_there_is_no_proof(volumes: Path) -> None:
    moved = (volumes / "secrets-dagster/pgpass").rename(volumes / "away")
    try:
        done = search(volumes, "volumes")
    finally:
        moved.rename(volumes / "secrets-dagster/pgpass")
    assert done.returncode in (1, 2)
    assert b"the search proves nothing: secrets-dagster/pgpass" in done.stderr
    assert search(volumes, "text").returncode == 2, "an empty stream"
    assert search(volumes, "images", b"").returncode != 0
    assert search(volumes, "images", tar({"blobs/sha256/aa": b"\x28\xb5\x2f\xfd packed"})).returncode != 0
