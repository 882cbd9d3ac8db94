"""Watch-lists: symbols that somebody follows, as a user's own database has them."""

from __future__ import annotations

import dataframely as dy

from market_pipeline.contracts import OWN_SYMBOL, SilverRow


class Watchlist(SilverRow):
    """One symbol of one list, as known from one fetch."""

    list_name = dy.String(primary_key=True, min_length=1, description="Name of the list.")
    symbol = dy.String(primary_key=True, regex=OWN_SYMBOL, description="Spelling that the list has.")
    note = dy.String(nullable=True, description="What its owner says of it.")
    added_date = dy.Date(nullable=True, description="Day on which it came onto the list.")
    # A value, so that each row of a changed list is a version: else nothing would show that a row is gone.
    snapshot_sha256 = dy.String(
        regex=r"^[0-9a-f]{64}$", description="SHA-256 of the fetched rows as a whole: it changes with any of them."
    )
