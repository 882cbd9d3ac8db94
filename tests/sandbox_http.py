"""Calls to the sandbox's providers without a socket, for tests of their wire formats."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from market_pipeline.sandbox.app import SandboxConfig, create_app

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "dbt" / "seeds"
CAPTURED = ROOT.parent / "shared" / "payloads"
NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)  # a Saturday
ROSTER = 400

needs_captures = pytest.mark.skipif(not CAPTURED.is_dir(), reason="captured payloads are not beside this clone")


class Ticker:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def at(text: str) -> dt.datetime:
    """An instant in UTC."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def client(**settings: Any) -> TestClient:
    """A sandbox at `NOW` with a small roster, without limits unless told otherwise."""
    given = {"universe": SEEDS, "clock": NOW, "plan": "unlimited", "roster_size": ROSTER, **settings}
    return TestClient(create_app(SandboxConfig(**given)))


def set_clock(http: TestClient, instant: dt.datetime) -> None:
    """Move the sandbox's clock."""
    assert http.put("/_sandbox/clock", json={"now": instant.isoformat()}).status_code == 200


def fmp(http: TestClient, path: str, **params: str) -> Any:
    """A call to a stable endpoint with the key in the header."""
    return http.get(f"/fmp/stable/{path}", params=params, headers={"apikey": "KEY"})


def polygon(http: TestClient, path: str, **params: str) -> Any:
    """A call with the key in the header."""
    return http.get(f"/polygon{path}", params=params, headers={"Authorization": "Bearer KEY"})


def grouped(http: TestClient, day: str, *, adjusted: str = "false") -> list[dict[str, Any]]:
    """The rows of a session."""
    response = polygon(http, f"/v2/aggs/grouped/locale/us/market/stocks/{day}", adjusted=adjusted)
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json().get("results", [])
    return rows


def pages(http: TestClient, path: str, **params: str) -> list[list[dict[str, Any]]]:
    """The rows of every page of an answer, following its cursors."""
    found, url, query = [], f"/polygon{path}", dict(params)
    while url:
        response = http.get(url, params=query or None, headers={"Authorization": "Bearer KEY"})
        assert response.status_code == 200, response.text
        found.append(response.json()["results"])
        url, query = response.json().get("next_url", ""), {}
    return found
