"""Silver as a test wants it, under the commit that `normalize` would have written."""

from __future__ import annotations

import io

import polars as pl

from market_pipeline import commit
from market_pipeline.commit import Name
from market_pipeline.store import Store


def put_slice(store: Store, name: Name, frame: pl.DataFrame) -> None:
    """Make one slice of silver what `frame` is, with nothing in quarantine."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    commit.write(
        store,
        name,
        buffer.getvalue(),
        None,
        rows=frame.height,
        rows_quarantined=0,
        newest_date=f"{frame['session_date'].max()}" if "session_date" in frame.columns else None,
    )
