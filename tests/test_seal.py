"""A sealed file is JSON like before, and any byte of it that changes is noticed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_pipeline.seal import sealed, unsealed

TEXT = json.dumps({"format": 1, "requests": [{"a": "\u00e9"}], "written_at": "2026-11-18"}, indent=2).encode()


def test_a_sealed_file_is_the_same_json_with_one_member_more() -> None:
    assert unsealed(sealed(TEXT)) == sealed(TEXT)
    found = json.loads(sealed(TEXT))
    assert len(found.pop("sealed_sha256")) == 64
    assert found == json.loads(TEXT)
    assert sealed(TEXT + b"\n") == sealed(TEXT)


def test_what_was_written_before_there_were_seals_passes() -> None:
    assert unsealed(TEXT) == TEXT


@given(st.integers(0, len(sealed(TEXT)) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_noticed(at: int, mask: int) -> None:
    whole = sealed(TEXT)
    damaged = whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :]
    with pytest.raises(ValueError, match=r".*"):  # no JSON any more, or not as it was written
        json.loads(unsealed(damaged))


@given(st.integers(0, len(sealed(TEXT)) - 1))
def test_a_cut_is_noticed(length: int) -> None:
    cut = sealed(TEXT)[:length]
    if cut.rstrip() != sealed(TEXT).rstrip():
        with pytest.raises(ValueError, match=r".*"):
            json.loads(unsealed(cut))
