"""Positions: what somebody holds, as a user's own database has it."""

from __future__ import annotations

import dataframely as dy

from market_pipeline.contracts import OWN_SYMBOL, SilverRow


class Positions(SilverRow):
    """One symbol in one account, as known from one fetch. Amounts are in the row's own `currency`."""

    account = dy.String(primary_key=True, min_length=1, description="Name of the account.")
    symbol = dy.String(primary_key=True, regex=OWN_SYMBOL, description="Spelling that the table has.")
    quantity = dy.Decimal(28, 10, description="Shares held; negative when they are sold short.")
    average_cost = dy.Decimal(
        28, 10, nullable=True, min=0, description="Average price paid per share, in `currency`; null when not known."
    )
    currency = dy.String(regex=r"^[A-Z]{3}$", description="Currency of the cost, ISO 4217.")
    as_of_date = dy.Date(nullable=True, description="Day that the table says the position is of.")
    # A value, so that each row of a changed table is a version: else nothing would show that a row is gone.
    snapshot_sha256 = dy.String(
        regex=r"^[0-9a-f]{64}$", description="SHA-256 of the fetched rows as a whole: it changes with any of them."
    )
