"""What every test starts from: no settings of this machine, captured payloads where there are any."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

# Helper modules lie beside the tests, and importlib mode puts no folder on the path.
sys.path.insert(0, str(Path(__file__).parent))

REPOSITORY = Path(__file__).resolve().parents[1]
CAPTURED = REPOSITORY.parent / "shared" / "payloads"
OWN_VARIABLES = (
    "PROFILE",
    "HOME",
    "CLOCK",
    "UNIVERSE",
    "ALERT_URL",
    "LAKE_URL",
    "S3_ENDPOINT",
    "S3_REGION",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "AUTOMATION",
    "MAX_REJECTED_RATIO",
    "TRAILING_SESSIONS",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: a file is one worker's, and a long one at the end would keep the others waiting."""
    names = ("slow", "daemon", "browser", "kill")
    slow = {item.path for item in items if any(map(item.get_closest_marker, names))}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's keys and profile reach no test."""
    for name in OWN_VARIABLES:
        monkeypatch.delenv(f"MARKET_PIPELINE_{name}", raising=False)
    for provider in ("ALPHA_VANTAGE", "FMP", "POLYGON"):
        for name in ("API_KEY", "BASE_URL", "PLAN"):
            monkeypatch.delenv(f"{provider}_{name}", raising=False)
    for name in ("URL", "WATCHLIST_QUERY", "POSITIONS_QUERY"):
        monkeypatch.delenv(f"SQL_{name}", raising=False)


@pytest.fixture
def captured() -> Path:
    """Folder of bodies that the real providers sent; it is not part of the repository."""
    if not CAPTURED.is_dir():
        pytest.skip(f"no captured payloads at {CAPTURED}: they are not part of the repository")
    return CAPTURED


@pytest.fixture
def single_try() -> Iterator[None]:
    """One try per request and no waiting."""
    with stamina.set_testing(True, attempts=1):
        yield
