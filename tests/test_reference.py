"""Reference files: equal tables are equal bytes, or gold would be built again for nothing."""

from __future__ import annotations

import itertools
from pathlib import Path

import polars as pl

from market_pipeline import layout, reference
from market_pipeline.store import FolderStore


def test_a_table_in_pieces_is_the_same_file_as_in_one(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    rows = pl.DataFrame({"request": [f"A{number:05d}" for number in range(8000)], "outcome": ["fetched"] * 8000})
    ends = (0, 116, 212, 7860, 8000)  # a few requests of some feeds, a year of one
    pieces = pl.concat([rows[start:end] for start, end in itertools.pairwise(ends)], rechunk=False)
    assert pieces.equals(rows)
    written = []
    for frame in (rows, pieces):
        reference.write(store, {"outcomes": frame})
        written.append(store.get(layout.reference("outcomes")))
    assert written[0] == written[1]
