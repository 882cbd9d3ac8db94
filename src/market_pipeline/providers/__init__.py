"""One file per provider, found by listing this folder; each defines one `PROVIDER`. No file here opens a socket."""

from __future__ import annotations

import importlib
import pkgutil
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from market_pipeline.feed import Provider


def load() -> Mapping[str, Provider]:
    """Every provider by name."""
    found: dict[str, Provider] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        provider: Provider = importlib.import_module(f"{__name__}.{module.name}").PROVIDER
        found[provider.name] = provider
    return MappingProxyType(found)
