"""What a silver row is: one file and one class per dataset, found by listing this folder.

A contract says what its provider's rows must be; `known_at`, `provider` and the other columns of `SilverRow` are
added by `normalize`. What does not belong here: rules over sets of rows (relations, coverage), which are dbt tests.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import dataframely as dy

VOLATILE = "volatile"
LABEL = "label"
# Printable ASCII; some have a space or a lower case letter inside (NYCB- PR-U, AAM.PRA, BCpC).
SYMBOL = r"^[!-~](?:[ -~]{0,30}[!-~])?$"
# Whatever somebody calls it, in letters that can be seen.
OWN_SYMBOL = r"^\P{C}{1,64}$"


class SilverRow(dy.Schema):
    """Where a row comes from: the columns that every silver dataset carries beside its own.

    A row is about what its request asked for, by `instrument_id`; in a payload of the whole market the rows name their
    `symbol` and gold finds the instrument. The contract of a dataset says which of the two is part of its key.
    """

    instrument_id = dy.String(
        nullable=True, description="Hash that names the instrument through renames; null where gold finds it by symbol."
    )
    symbol = dy.String(
        regex=SYMBOL, description="Spelling under which the provider was asked, or which its payload names."
    )
    provider = dy.String(description="Provider whose payload the row was read from.")
    dataset = dy.String(description="Feed of the provider that the row came by.")
    slice_start_date = dy.Date(description="First day of the slice the row was fetched in.")
    known_at = dy.Datetime(
        primary_key=True,
        time_zone="UTC",
        description="When we fetched the payload (UTC): the second clock of as-of queries.",
    )
    bronze_sha256 = dy.String(regex=r"^[0-9a-f]{64}$", description="SHA-256 of the payload the row was read from.")


@cache
def names() -> tuple[str, ...]:
    """Every dataset that has a contract, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@cache
def contract(name: str) -> type[SilverRow]:
    """The contract of a dataset: the one `SilverRow` subclass in the file of that name."""
    module = importlib.import_module(f"{__name__}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, SilverRow) and value.__module__ == module.__name__
    )
    return found


def business_key(schema: type[SilverRow]) -> tuple[str, ...]:
    """Primary key without `known_at`: what one fact is about."""
    return tuple(column for column in schema.primary_key() if column != "known_at")


def own_columns(schema: type[SilverRow]) -> tuple[str, ...]:
    """The columns a provider's parser gives: all but those of `SilverRow`."""
    return tuple(column for column in schema.column_names() if column not in SilverRow.column_names())


def version_columns(schema: type[SilverRow]) -> tuple[str, ...]:
    """The columns whose change makes a new version of a row: not its key, and not what moves with every answer."""
    key, columns = business_key(schema), schema.columns()
    return tuple(
        name for name in own_columns(schema) if name not in key and not (columns[name].metadata or {}).get(VOLATILE)
    )


def fact_columns(schema: type[SilverRow]) -> tuple[str, ...]:
    """The columns that say what a row is about its key: not what only labels it, such as the provider's own id."""
    columns = schema.columns()
    return tuple(name for name in version_columns(schema) if not (columns[name].metadata or {}).get(LABEL))
