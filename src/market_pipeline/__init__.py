"""Market data from a provider's bytes to an audited gold table, on one machine.

`read`, `sql`, `tables`, `columns` and `generation` give published gold to a program (see `frames`). They are looked up
at their first use, so that importing the package, which every command does, imports neither Polars nor DuckDB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["columns", "generation", "read", "sql", "tables"]

if TYPE_CHECKING:
    from market_pipeline.frames import columns, generation, read, sql, tables
else:

    def __getattr__(name: str) -> object:
        """One of the functions above."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from market_pipeline import frames  # noqa: PLC0415

        return getattr(frames, name)

    def __dir__() -> list[str]:
        return sorted([*globals(), *__all__])
