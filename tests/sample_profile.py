"""A sample profile in a temporary folder with a sandbox behind it, for tests that run the whole pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[1]
SEEDS = REPOSITORY / "dbt" / "seeds"
CLOCK = "2026-11-20T22:00:00Z"
WEEK = "2026-11-16"
SYMBOLS = ("AQTZ", "BQLN", "BQXT")
KEY = "CANARYKEY0123456"


@dataclass(frozen=True)
class Profile:
    """Variables of a profile, set in this process too, and the sandbox's address."""

    variables: Mapping[str, str]
    sandbox: str

    @property
    def root(self) -> Path:
        """Folder of the profile."""
        return Path(self.variables["MARKET_PIPELINE_HOME"]) / self.variables["MARKET_PIPELINE_PROFILE"]

    def pipeline(self) -> Pipeline:
        """A new pipeline of the profile."""
        return Pipeline(load_settings())

    def faults(self, *faults: Mapping[str, object]) -> None:
        """Put faults in force in the sandbox, none to end them."""
        httpx2.put(f"{self.sandbox}/_sandbox/faults", json=faults).raise_for_status()

    def python(self, code: str) -> subprocess.Popen[str]:
        """Another process of the profile that runs some Python; its output is readable line by line."""
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **self.variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def make(home: Path, sandbox: str, manifest: bytes, monkeypatch: pytest.MonkeyPatch, **more: str) -> Profile:
    """A profile named `demo-test` below `home`, ready to run: folders, empty contracts, dbt's manifest."""
    variables = {
        "MARKET_PIPELINE_PROFILE": "demo-test",
        "MARKET_PIPELINE_HOME": str(home),
        "MARKET_PIPELINE_CLOCK": CLOCK,
        "MARKET_PIPELINE_UNIVERSE": ",".join(SYMBOLS),
        "ALPHA_VANTAGE_BASE_URL": f"{sandbox}/alpha_vantage",
        "ALPHA_VANTAGE_API_KEY": KEY,
        "ALPHA_VANTAGE_PLAN": "premium-1200",
        "FMP_BASE_URL": f"{sandbox}/fmp",
        "FMP_API_KEY": KEY,
        "FMP_PLAN": "ultimate",
        "POLYGON_BASE_URL": f"{sandbox}/polygon",
        "POLYGON_API_KEY": KEY,
        **more,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    profile = Profile(variables, sandbox)
    pipeline = profile.pipeline()
    pipeline.initialize()
    pipeline.settings.dbt_target.mkdir(parents=True, exist_ok=True)
    (pipeline.settings.dbt_target / "manifest.json").write_bytes(manifest)
    return profile


class Receiver(list[str]):
    """What was posted to `url` and taken. One that `is_away` takes nothing, nor does it take what holds `refuses`."""

    url = ""
    is_away = False
    refuses = ""
    refused = 0
    header = ""


@contextmanager
def receiving(*, is_away: bool = False) -> Iterator[Receiver]:
    """A local address for alerts, in apprise's notation, and what was posted to it."""
    received = Receiver()
    received.is_away = is_away

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if received.is_away or (received.refuses and received.refuses in body):
                received.refused += 1
                self.send_error(503)
                return
            received.append(body)
            self.send_response(200)
            if received.header:
                self.wfile.write(b"".join(self._headers_buffer) + received.header.encode() + b"\r\n")
                self._headers_buffer = []
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        received.url = f"json://127.0.0.1:{server.server_port}/hook-SECRETPATH"
        yield received
    finally:
        server.shutdown()
        server.server_close()
