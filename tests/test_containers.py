"""compose.yaml and docker/: what every service must have, read from the files; and the one-shot services' own work.

Whether the images build and the stack runs is what `make smoke` shows, on a machine with an engine.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from market_pipeline import buckets, identities
from market_pipeline.cli import containers
from market_pipeline.errors import ConfigurationError, LakeError
from market_pipeline.s3 import S3Store
from market_pipeline.settings import REPOSITORY, load_settings
from s3_server import running_s3

COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
TOOLS = {"backup", "restore"}
ONE_SHOT = {"secrets", "init", "demo", *TOOLS}
SECRET_VOLUMES = {name for name in COMPOSE["volumes"] if name.startswith("secrets-")}


def mounts(service: str) -> dict[str, str]:
    """Volume or folder by its mode: `rw` or `ro`."""
    parts = [volume.split(":") for volume in SERVICES[service].get("volumes", ())]
    return {part[0]: part[2] if len(part) > 2 else "rw" for part in parts}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 1024
    assert service["mem_limit"]
    assert service["stop_grace_period"] == "60s"
    # A whole backup passes through two of them, and would be kept in a log.
    assert service["logging"]["driver"] == ("none" if name in TOOLS else "json-file")
    assert name in TOOLS or service["logging"]["options"]["max-size"]
    assert "privileged" not in service
    assert "docker.sock" not in str(service)
    if name != "secrets":
        assert "cap_add" not in service
        assert int(service["user"].split(":")[0]) >= 999
    if name not in ONE_SHOT:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]


def test_only_loopback_ports_are_open() -> None:
    open_ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(open_ports) == 3
    assert all(str(port).startswith("127.0.0.1:") for port in open_ports)
    assert "network_mode" not in {key for name, s in SERVICES.items() if name != "secrets" for key in s}


def test_each_service_is_on_the_networks_of_what_it_may_reach_alone() -> None:
    networks = COMPOSE["networks"]
    mtus = [network["driver_opts"]["com.docker.network.driver.mtu"] for network in networks.values()]
    assert mtus == ["1500"] * len(networks)
    assert {name for name, network in networks.items() if network.get("internal")} == {
        *("store", "database", "code", "sandbox")
    }
    fronts = {name for name in networks if name.startswith("front-")}
    masquerade = "com.docker.network.bridge.enable_ip_masquerade"
    assert all(networks[name]["driver_opts"][masquerade] == "false" for name in fronts)
    on = {name: [n for n, service in SERVICES.items() if name in service.get("networks", ())] for name in networks}
    assert on["outside"] == ["code"]
    assert all(on[name] == [name.removeprefix("front-")] for name in fronts)
    assert set(on["store"]) == {"store", "init", "backup", "restore", "demo", "code"}
    assert set(on["database"]) == {"database", "init", "demo", "code", "webserver", "daemon", "metrics"}
    assert set(on["code"]) == {"code", "webserver", "daemon"}
    assert set(on["sandbox"]) == {"sandbox", "demo", "code"}
    assert SERVICES["secrets"]["network_mode"] == "none"


def test_every_service_takes_the_same_profile_where_none_is_named() -> None:
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"COMPOSE_PROFILES:-(\w+)\}", text)) == {"demo"}


def test_the_dashboard_has_no_credential_and_cant_write_gold() -> None:
    dashboard = SERVICES["dashboard"]
    assert mounts("dashboard") == {"warehouse": "ro"}
    assert dashboard["networks"] == ["front-dashboard"]
    assert not any(word in str(dashboard["environment"]) for word in ("KEY", "SECRET", "PASS", "DATABASE", "S3"))


def test_each_secret_is_mounted_by_those_who_need_it() -> None:
    who = {volume: {n for n in SERVICES if volume in mounts(n)} - {"secrets"} for volume in SECRET_VOLUMES}
    assert who["secrets-store"] == {"store"}
    assert who["secrets-database"] == {"database"}
    assert who["secrets-owner"] == {"init", "restore"}
    assert who["secrets-backup"] == {"init", "backup"}
    assert who["secrets-pipeline"] == {"init", "demo", "code"}
    assert who["secrets-dagster"] == {"init", "demo", "code", "webserver", "daemon", "metrics"}
    writers = {(n, v) for n in SERVICES for v, mode in mounts(n).items() if v in SECRET_VOLUMES and mode == "rw"}
    assert {name for name, _ in writers} == {"secrets", "init"}


def test_a_backup_has_its_own_key_and_reads_the_state() -> None:
    assert mounts("backup") == {"state": "ro", "secrets-backup": "ro"}
    assert mounts("restore") == {"state": "rw", "secrets-owner": "ro"}
    assert {SERVICES[name]["networks"][0] for name in TOOLS} == {"store"}


def test_no_secret_is_in_an_environment() -> None:
    for name, service in SERVICES.items():
        for variable in service.get("environment", {}):
            is_secret = any(word in variable for word in ("PASSWORD", "SECRET", "ACCESS_KEY", "API_KEY"))
            assert not is_secret or variable.endswith("_FILE"), f"{name} has {variable}"


def test_images_of_others_are_pinned_by_tag_and_digest() -> None:
    """A tag may be given to another image; one of these can't. `.env` names another one, with or without a digest."""
    files = ("compose.yaml", "docker/compose.seaweedfs.yaml", "docker/Dockerfile")
    texts = [(REPOSITORY / file).read_text(encoding="utf-8") for file in files]
    named = re.findall(r"_IMAGE(?::-|=)(\S+?)\}?$", "\n".join(texts), re.MULTILINE)
    assert len(named) == 5
    assert all(re.fullmatch(r"[a-z./]+:[\w.-]+@sha256:[0-9a-f]{64}", image) for image in named), named
    assert len({image for image in named if image.startswith("python:")}) == 1


def test_the_images_users_are_those_of_the_secrets() -> None:
    dockerfile = (REPOSITORY / "docker/Dockerfile").read_text(encoding="utf-8")
    assert f"USER {containers.PIPELINE_UID}:" in dockerfile
    assert SERVICES["code"]["user"].startswith(str(containers.PIPELINE_UID))
    assert SERVICES["store"]["user"].startswith(str(containers.STORE_UID))
    assert SERVICES["database"]["user"].startswith(str(containers.DATABASE_UID))


def test_the_containers_locks_hold_the_versions_of_the_lock() -> None:
    def pins(name: str) -> set[str]:
        lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
        return {re.sub(r"\[.*\]", "", line.split()[0]) for line in lines if "==" in line and not line.startswith("#")}

    whole = pins("requirements.lock")
    for name in ("docker/pipeline.lock", "docker/dashboard.lock"):
        assert pins(name) <= whole, name
    assert not any(pin.startswith("streamlit==") for pin in pins("docker/pipeline.lock"))
    assert not any(
        pin.startswith(("dagster", "minio", "obstore", "connectorx")) for pin in pins("docker/dashboard.lock")
    )


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The volumes, owned by whoever runs the test."""
    found = SimpleNamespace(secrets=tmp_path / "secrets", volumes=tmp_path / "volumes", project=tmp_path / "project")
    for folder in vars(found).values():
        folder.mkdir()
    monkeypatch.setattr(containers, "SECRETS", found.secrets)
    monkeypatch.setattr(containers, "VOLUMES", found.volumes)
    for name in ("PIPELINE_UID", "STORE_UID", "DATABASE_UID"):
        monkeypatch.setattr(containers, name, os.geteuid())
    for name in [name for name in os.environ if name.startswith("MARKET_PIPELINE_")]:
        monkeypatch.delenv(name)
    for name, value in {"PROFILE": "demo", "LAKE_URL": "s3://market", "S3_ENDPOINT": "http://store:9000"}.items():
        monkeypatch.setenv(f"MARKET_PIPELINE_{name}", value)
    return found


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_secrets_are_generated_once_and_readable_by_one(places: SimpleNamespace) -> None:
    (places.project / ".env").write_text("ALPHA_VANTAGE_API_KEY='it''s'\nFMP_API_KEY=first\nCOMPOSE_PROFILES=demo\n")
    containers.secrets(project=places.project)
    before = files(places.secrets)
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in places.secrets.rglob("*") if p.is_file())
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o700 for p in places.secrets.iterdir())
    assert "FMP_API_KEY='first'" in before["pipeline/env"]
    assert "COMPOSE_PROFILES" not in before["pipeline/env"]
    words = [before["store/password"], before["database/owner"], before["database/dagster"], before["owner/pipeline"]]
    assert len(set(words)) == 4
    assert all(len(word) >= 40 for word in words)
    assert before["dagster/pgpass"] == f"*:*:*:dagster:{before['database/dagster']}\n"

    (places.project / ".env").write_text("FMP_API_KEY=second\n")
    (places.secrets / "owner/backup.env").write_text("of an older stack, whose backup saw all that the owner has")
    containers.secrets(project=places.project)
    after = files(places.secrets)
    assert "FMP_API_KEY='second'" in after["pipeline/env"]
    assert {k: v for k, v in after.items() if k != "pipeline/env"} == {
        k: v for k, v in before.items() if k != "pipeline/env"
    }


@pytest.mark.parametrize(("user", "password"), [("minioadmin", "minioadmin"), ("someone", "short")])
def test_default_credentials_are_refused(places: SimpleNamespace, user: str, password: str) -> None:
    (places.project / ".env").write_text(
        f"MARKET_PIPELINE_S3_ACCESS_KEY={user}\nMARKET_PIPELINE_S3_SECRET_KEY={password}\n"
    )
    with pytest.raises(ConfigurationError, match="default or shorter than 16"):
        containers.secrets(project=places.project)


def test_a_store_on_this_machine_is_refused_where_it_would_be_the_container(
    places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_PIPELINE_S3_ENDPOINT", "http://127.0.0.1:9000")
    with pytest.raises(ConfigurationError, match=r"compose\.elsewhere\.yaml"):
        containers.secrets(project=places.project)


def test_the_settings_file_can_be_several_and_values_survive_quoting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "a'b\\c d#e"
    (tmp_path / "one").write_text(containers._lines({"FMP_API_KEY": odd, "MARKET_PIPELINE_PROFILE": "recorded"}))
    (tmp_path / "two").write_text(containers._lines({"MARKET_PIPELINE_S3_ACCESS_KEY": "role"}))
    monkeypatch.delenv("FMP_API_KEY", raising=False)
    monkeypatch.delenv("MARKET_PIPELINE_PROFILE", raising=False)
    monkeypatch.setenv("MARKET_PIPELINE_ENV_FILE", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    settings = load_settings()
    assert settings.variables["FMP_API_KEY"] == odd
    assert settings.profile == "recorded"
    assert settings.variables["MARKET_PIPELINE_S3_ACCESS_KEY"] == "role"


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real store with the identities of its configuration file, and what each of them sees."""
    folder = tmp_path_factory.mktemp("identities")
    words = {role: f"{role}-secret-0123456789" for role in identities.ROLES}
    with running_s3(folder / "first") as first:
        server = first
        settings = load_settings({**server.variables, "MARKET_PIPELINE_PROFILE": "demo"})
        owner = settings.s3
        assert owner is not None
        server.kill()
        server.identities = identities.seaweedfs(owner, words)
        server.start()
        buckets.make_buckets(owner, retention_days=30)
        buckets.forget_temporary(owner)
        yield SimpleNamespace(
            owner=owner,
            **{role: identities.seen_by(owner, role, secret_key=word) for role, word in words.items()},
        )


@pytest.mark.parametrize("role", identities.ROLES)
def test_each_forbidden_act_is_denied_by_a_real_store(weed: SimpleNamespace, role: str) -> None:
    assert identities.maker(weed.owner) == "seaweedfs"
    assert identities.allowed(getattr(weed, role), role) == ()
    assert set(identities.allowed(weed.owner, role)) >= {"delete evidence", "delete silver"}, "the owner may"
    buckets.make_buckets(weed.owner, retention_days=30)  # the owner's trial stopped keeping versions


def test_the_pipeline_may_what_it_needs_and_the_backup_reads(weed: SimpleNamespace) -> None:
    key = "bronze/x/y/slice=2026-01-05/a.json"
    pipeline, backup_store = S3Store(weed.pipeline, patience_s=3), S3Store(weed.backup, patience_s=3)
    assert buckets.make_buckets(weed.pipeline) == ()
    assert pipeline.create(key, b"evidence")
    assert pipeline.replace("silver/a", b"1")
    pipeline.create("probe/a", b"1")
    pipeline.delete("probe/a")
    assert backup_store.get(key) == b"evidence"
    with pytest.raises(LakeError):
        backup_store.replace("silver/a", b"2")


def test_a_key_that_may_set_nothing_is_told_what_to_set_by_hand(
    weed: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    buckets.forget_temporary(weed.owner)
    assert not caplog.messages
    buckets.forget_temporary(weed.pipeline)
    bronze, lake = caplog.messages
    assert f"{weed.owner.bronze_bucket} takes no lifecycle from this key (AccessDenied); set it by hand" in bronze
    assert "probe/" not in bronze
    assert "probe/ expires after a day, earlier versions after 30 days, unfinished uploads" in lake


def test_retention_keeps_a_version_from_its_owner_unless_it_asks_to_bypass_that(weed: SimpleNamespace) -> None:
    key = "bronze/x/y/slice=2026-01-06/a.json"
    S3Store(weed.pipeline, patience_s=3).create(key, b"evidence")
    client = buckets.client_of(weed.owner)
    version = client.stat_object(bucket_name=weed.owner.bronze_bucket, object_name=key).version_id
    with pytest.raises(Exception, match="AccessDenied"):
        client.remove_object(bucket_name=weed.owner.bronze_bucket, object_name=key, version_id=version)


def test_a_policy_names_no_deletion_of_evidence() -> None:
    settings = load_settings(
        {
            "MARKET_PIPELINE_LAKE_URL": "s3://market",
            "MARKET_PIPELINE_S3_ENDPOINT": "http://store:9000",
            "MARKET_PIPELINE_S3_ACCESS_KEY": "x",
            "MARKET_PIPELINE_S3_SECRET_KEY": "y",
        }
    )
    assert settings.s3 is not None
    for role in identities.ROLES:
        for statement in identities.policy(settings.s3, role)["Statement"]:
            if any("Delete" in action for action in statement["Action"]):
                assert all("-lake/" in resource for resource in statement["Resource"])
        assert len(identities.access_key(settings.s3, role)) <= 20


def test_seaweedfs_reads_the_same_policies(weed: SimpleNamespace) -> None:
    found = identities.seaweedfs(weed.owner, {"backup": "word"})
    assert json.loads(found["policies"][0]["content"]) == identities.policy(weed.owner, "backup")
