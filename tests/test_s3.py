"""The S3 store on a real server: the same promises as a folder's. What a network breaks is in `proofs/s3_store.py`."""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import duckdb
import polars as pl
import pytest

from market_pipeline import layout
from market_pipeline.buckets import client_of, make_buckets
from market_pipeline.errors import (
    ConfigurationError,
    CreateConflict,
    HashMismatch,
    LakeError,
    ObjectMissing,
    StoreUnavailable,
)
from market_pipeline.s3 import LARGE, S3Store
from market_pipeline.settings import S3, load_settings
from market_pipeline.store import FolderStore, Store, honours_create_only
from proofs.s3_store import versions
from s3_server import ACCESS_KEY, SECRET_KEY, S3Server, running_s3

KEY = "bronze/vendor/bars/slice=2026-11-16/a.bin"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server for the module; each test has buckets of its own."""
    with running_s3(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def place(server: S3Server, request: pytest.FixtureRequest) -> S3:
    """Two new buckets."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    found = load_settings({**server.variables, "MARKET_PIPELINE_LAKE_URL": f"s3://t{name}"}).s3
    assert found is not None
    assert make_buckets(found) == (found.bronze_bucket, found.lake_bucket)
    return found


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty lake of either kind."""
    if request.param == "folder":
        return FolderStore(tmp_path / "lake")
    return S3Store(request.getfixturevalue("place"), patience_s=20)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_both_halves_keep_the_same_promises(store: Store) -> None:
    assert store.list("bronze/") == ()
    assert not store.exists(KEY)
    with pytest.raises(ObjectMissing, match=r"slice=2026-11-16/a\.bin"):
        store.get(KEY)
    assert store.create(KEY, b"one") is True
    assert store.create(KEY, b"one") is False
    with pytest.raises(CreateConflict, match=r"a\.bin"):
        store.create(KEY, b"two")
    assert store.get(KEY, sha256=sha256(b"one")) == b"one"
    with pytest.raises(HashMismatch):
        store.get(KEY, sha256=sha256(b"two"))
    part = "silver/bars/provider=x/dataset=y/slice=2026-11-16/part.parquet"
    assert store.replace(part, b"first") is True
    assert store.replace(part, b"first") is False
    assert store.replace(part, b"second") is True
    assert store.get(part) == b"second"
    assert store.replace("reference/empty.parquet", b"") is True
    assert store.get("reference/empty.parquet") == b""
    assert store.digests([KEY, part, "silver/none"]) == {KEY: sha256(b"one"), part: sha256(b"second")}
    store.delete(part)
    store.delete(part)
    assert not store.exists(part)
    assert honours_create_only(store)
    assert store.list("probe/") == ()
    for wrong in ("", "/a", "a/../b", "a//b", "a/.", "a\0b"):
        with pytest.raises(LakeError):
            store.get(wrong)


def test_lists_are_sorted_whole_and_of_their_prefix_alone(store: Store) -> None:
    names = [f"silver/x/{number:05d}" for number in range(1203)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: store.replace(name, b"1"), names))
    store.replace("silver/xy/other", b"12345")
    assert list(store.list("silver/x/")) == names
    assert (store.size("silver/x/"), store.size("silver/"), store.size("silver/none/")) == (1203, 1208, 0)


@pytest.mark.parametrize("name", ["^GSPC", "BRK.B", "BTC/USD", "A B", "aux", "=x:y"])
def test_names_of_symbols_come_back_as_they_were_stored(store: Store, name: str) -> None:
    prefix = layout.bronze_slice("vendor", "bars", "2026-11-16")
    key = layout.bronze_object(prefix, name, sha256(b"x"), "json")
    store.create(key, b"x")
    assert store.list(prefix) == (key,)
    assert store.get(key) == b"x"


def test_a_large_file_goes_up_in_pieces_and_little_memory(place: S3, tmp_path: Path) -> None:
    size = 160 * 1024 * 1024
    assert size > 4 * LARGE
    code = (
        "import json, resource, sys; from pathlib import Path\n"
        "from market_pipeline.s3 import S3Store; from market_pipeline.settings import S3\n"
        "store, file = S3Store(S3(**json.loads(sys.argv[1]))), Path(sys.argv[2])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(store.create_file(sys.argv[3], file), store.create_file(sys.argv[3], file))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    file, digest = tmp_path / "large", hashlib.sha256()
    with file.open("wb") as opened:
        for number in range(size // (1 << 20)):
            block = random.Random(number).randbytes(1 << 20)
            opened.write(block)
            digest.update(block)
    key = f"bronze/vendor/trades/slice=2026-11-16/all.{digest.hexdigest()}.zip"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asdict(place)), str(file), key],
        capture_output=True,
        text=True,
        check=True,
    )
    told, grown_kib = done.stdout.splitlines()
    assert told == "True False"
    assert int(grown_kib) * 1024 < size // 2, "the file was held in memory"
    assert sha256(S3Store(place).get(key)) == digest.hexdigest()
    with pytest.raises(LakeError, match="hash"):
        S3Store(place).create_file("bronze/vendor/trades/slice=2026-11-16/all.zip", file)


def test_racing_writers_of_the_same_bytes_have_one_winner_too(place: S3) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: S3Store(place, patience_s=20).create("bronze/same", b"same"), range(8)))
    assert sorted(results) == [False] * 7 + [True]


def test_buckets_keep_every_version(place: S3) -> None:
    store = S3Store(place)
    for body in (b"1", b"2", b"3"):
        store.replace("bronze/versioned", body)
    assert versions(place, "bronze/versioned") == {"bronze/versioned": 3}
    assert make_buckets(place) == ()


def test_a_store_that_overwrites_where_versions_are_kept_gets_buckets_without(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = load_settings({**server.variables, "MARKET_PIPELINE_LAKE_URL": "s3://forgetful"}).s3
    assert found is not None
    tried: list[str] = []

    def overwrites(store: Store) -> bool:
        tried.append(str(store.root))
        assert honours_create_only(store)
        return False

    monkeypatch.setattr("market_pipeline.buckets.honours_create_only", overwrites)
    for expected in ((found.bronze_bucket, found.lake_bucket), ()):
        assert make_buckets(found, retention_days=1) == expected
        assert "without versions" in caplog.text
        caplog.clear()
    client = client_of(found)
    assert client.get_bucket_versioning(bucket_name=found.bronze_bucket).status != "Enabled"
    assert len(tried) == 2
    assert not [bucket.name for bucket in client.list_buckets() if bucket.name.startswith("trial-")]
    monkeypatch.undo()
    assert make_buckets(found) == ()  # the store was mended
    assert client.get_bucket_versioning(bucket_name=found.bronze_bucket).status == "Enabled"
    assert "without versions" not in caplog.text


def test_a_silent_store_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    nobody = S3("http://127.0.0.1:9", "us-east-1", "key", "secret-of-nobody", "a-bronze", "a-lake")
    store = S3Store(nobody, patience_s=1)
    for act in (lambda: store.get(KEY), lambda: store.create(KEY, b"1"), lambda: store.list("silver/")):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9 does not answer.*start it") as caught:
            act()
        assert "secret-of-nobody" not in str(caught.value)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        make_buckets(nobody)


def test_refusals_are_told_at_once_and_without_the_secret(place: S3) -> None:
    started = time.monotonic()
    for wrong in (replace(place, secret_key="a-wrong-secret"), replace(place, access_key="nobody")):
        with pytest.raises(LakeError, match="MARKET_PIPELINE_S3_ACCESS_KEY") as caught:
            S3Store(wrong).create(KEY, b"1")
        assert wrong.secret_key not in str(caught.value)
        with pytest.raises(LakeError, match="refuses"):
            make_buckets(wrong)
    absent = replace(place, bronze_bucket="no-such-bucket-here", lake_bucket="nor-this-one")
    with pytest.raises(LakeError, match=r"lacks the bucket .* nor-this-one; make them: market-pipeline init"):
        S3Store(absent).list("silver/")
    assert time.monotonic() - started < 30


def test_ctrl_c_does_not_wait_for_a_silent_store() -> None:
    code = (
        "import signal; from market_pipeline.s3 import S3Store; from market_pipeline.settings import S3\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it\n"
        "store = S3Store(S3('http://127.0.0.1:9', 'us-east-1', 'key', 'secret', 'a-bronze', 'a-lake'))\n"
        "print('asking', flush=True); store.digests([f'silver/{n}' for n in range(40)])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=40)
    assert process.returncode != 0


def test_a_run_waits_once_for_a_silent_store() -> None:
    store = S3Store(S3("http://127.0.0.1:9", "us-east-1", "key", "secret", "a-bronze", "a-lake"), patience_s=12)
    waited = []
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.get(KEY)
        waited.append(time.monotonic() - started)
    assert waited[0] >= 12 > waited[1]


@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "AWS_CONDITIONAL_PUT", "AWS_SKIP_SIGNATURE", "AWS_S3_EXPRESS"])
def test_variables_of_aws_change_nothing(place: S3, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, {"AWS_CONDITIONAL_PUT": "disabled", "AWS_SESSION_TOKEN": "abc"}.get(name, "true"))
    store = S3Store(place, patience_s=10)
    assert store.create(KEY, b"one")
    with pytest.raises(CreateConflict):
        store.create(KEY, b"two")


def test_duckdb_reads_the_lake_by_the_extension_of_the_wheel(place: S3, tmp_path: Path) -> None:
    store, urls = S3Store(place), []
    for number in range(3):
        body = io.BytesIO()
        pl.DataFrame({"n": [number] * 10}).write_parquet(body)
        key = f"silver/x/provider=it's/slice=2026-01-0{number + 1}/part.parquet"
        store.replace(key, body.getvalue())
        urls.append(store.url(key))
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        store.admit(connection)
        assert connection.execute("select count(*), sum(n) from read_parquet(?)", [urls]).fetchone() == (30, 30)
        told = str(connection.execute("from duckdb_secrets()").fetchall())
        assert place.secret_key not in told


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"MARKET_PIPELINE_S3_SECRET_KEY": ""}, "MARKET_PIPELINE_S3_SECRET_KEY is not set"),
        ({"MARKET_PIPELINE_S3_ENDPOINT": "http://s3.example.com"}, "must be https"),
        ({"MARKET_PIPELINE_S3_ENDPOINT": "HTTP://S3.example.com"}, "must be https"),
        ({"MARKET_PIPELINE_S3_ENDPOINT": "http://[2001:db8::1]:9000"}, "must be https"),
        ({"MARKET_PIPELINE_S3_ENDPOINT": "http://3232235777:9000"}, "must be https"),
        ({"MARKET_PIPELINE_S3_ENDPOINT": "http://0x08080808"}, "must be https"),
        ({"MARKET_PIPELINE_LAKE_URL": "s3://market-demo"}, "MARKET_PIPELINE_LAKE_URL"),
        (
            {"MARKET_PIPELINE_LAKE_URL": f"s3://{'m' * 31}", "MARKET_PIPELINE_PROFILE": "p" * 32},
            "too long for a bucket",
        ),
        ({"MARKET_PIPELINE_S3_ENDPOINT": "https://user@host"}, "no address of a server"),
        ({"MARKET_PIPELINE_S3_ENDPOINT": "https://host/path"}, "no address of a server"),
        ({"MARKET_PIPELINE_LAKE_URL": "file:///lake"}, "MARKET_PIPELINE_LAKE_URL"),
        ({"MARKET_PIPELINE_LAKE_URL": "s3://Upper_Case"}, "MARKET_PIPELINE_LAKE_URL"),
    ],
)
def test_settings_that_contradict_are_named(server: S3Server, changed: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _ = load_settings({**server.variables, **changed}).s3


def test_profiles_never_share_a_bucket(server: S3Server) -> None:
    places = [load_settings({**server.variables, "MARKET_PIPELINE_PROFILE": p}).s3 for p in ("live", "demo", "demo-2")]
    names = [name for found in places if found for name in (found.bronze_bucket, found.lake_bucket)]
    assert len(set(names)) == 6
    assert load_settings({}).s3 is None
    assert SECRET_KEY not in repr(places[0])
    assert SECRET_KEY not in repr(load_settings(server.variables))
    assert places[0] is not None
    assert places[0].access_key == ACCESS_KEY
