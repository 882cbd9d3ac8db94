"""Names in the lake: none escapes its folder, no two share a key, not even where case does not count."""

from __future__ import annotations

import hashlib
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_pipeline import layout
from market_pipeline.errors import ConfigurationError, LakeError
from market_pipeline.store import FolderStore

ALLOWED = string.ascii_letters + string.digits + "^.=:_/ -"
SHA = hashlib.sha256(b"").hexdigest()
PREFIX = layout.bronze_slice("alpha_vantage", "weekly_adjusted", "2026-11-16")


@given(st.text(ALLOWED, min_size=1, max_size=60))
def test_every_allowed_name_fits_a_file_name_and_is_one_plain_segment(name: str) -> None:
    segment = layout.bronze_object("", name, SHA, "json")
    assert len(segment) <= 255
    assert set(segment) <= set(string.ascii_letters + string.digits + "%_-.")
    assert segment.removesuffix(f".{SHA}.json") not in ("", ".", "..")


@given(st.text(max_size=70))
def test_any_other_name_is_refused(name: str) -> None:
    if 1 <= len(name) <= 60 and set(name) <= set(ALLOWED):
        layout.object_stem(name)
    else:
        with pytest.raises(ConfigurationError):
            layout.object_stem(name)


def test_the_longest_name_can_really_be_stored(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert store.create(layout.bronze_object(PREFIX, "/" * 60, SHA, "json"), b"x")


@pytest.mark.parametrize("word", ["", "..", "a/b", "A", "a-b", "a\n", "1a", "a" * 65, "é", "a\0"])
def test_hostile_providers_and_datasets_are_refused(word: str) -> None:
    for make in (
        lambda: layout.bronze_slice(word, "bars", "2026-11-16"),
        lambda: layout.bronze_slice("vendor", word, "2026-11-16"),
        lambda: layout.silver_part(word, "vendor", "weekly", "2026-11-16"),
        lambda: layout.silver_part("bars", word, "weekly", "2026-11-16"),
        lambda: layout.silver_part("bars", "vendor", word, "2026-11-16"),
        lambda: layout.quarantine_part(word, "vendor", "weekly", "2026-11-16"),
        lambda: layout.silver_empty("bars", word, "weekly"),
        lambda: layout.bronze_dataset(word, "bars"),
        lambda: layout.reference(word),
    ):
        with pytest.raises(ConfigurationError):
            make()


@pytest.mark.parametrize(
    "key", ["", "..", "2026-11-16/../../x", "../../x", "2026-11-16\n", "latest", "2026-11-1\u0666"]
)
def test_hostile_slices_are_refused(key: str) -> None:
    for make in (
        lambda: layout.bronze_slice("vendor", "weekly", key),
        lambda: layout.silver_part("bars", "vendor", "weekly", key),
        lambda: layout.quarantine_part("bars", "vendor", "weekly", key),
    ):
        with pytest.raises(ConfigurationError):
            make()


def test_manifests_are_told_apart_from_payloads() -> None:
    assert layout.manifest_seq(layout.manifest(PREFIX, 7)) == 7
    assert layout.manifest_seq(layout.bronze_object(PREFIX, "manifest-000007.json", SHA, "json")) is None
    assert layout.slice_key_of(layout.silver_part("bars", "vendor", "weekly", "2026-11-16")) == "2026-11-16"
    assert layout.slice_key_of(layout.silver_empty("bars", "vendor", "weekly")) is None
    slice_of_silver = ("bars", "vendor", "weekly", "2026-11-16")
    for make in (layout.silver_part, layout.silver_commit, layout.quarantine_part):
        assert layout.silver_slice_of(make(*slice_of_silver)) == slice_of_silver
    assert layout.silver_slice_of(layout.silver_empty("bars", "vendor", "weekly")) is None


@pytest.mark.parametrize(
    "key", ["", "/", "/etc/passwd", "a//b", "a/", "../x", "a/../../x", "a/./b", "..", "a/.tmp-1/b", ".tmp-x", "a\0b"]
)
def test_the_store_refuses_keys_that_are_none(tmp_path: Path, key: str) -> None:
    root = tmp_path / "lake"
    store = FolderStore(root)
    for act in (
        store.get,
        store.exists,
        store.delete,
        store.url,
        lambda k: store.create(k, b"x"),
        lambda k: store.replace(k, b"x"),
    ):
        with pytest.raises(LakeError):
            act(key)
    assert not root.exists()
    assert list(tmp_path.iterdir()) == []
