"""A real S3 server for tests: SeaweedFS from its wheel, on loopback, with its data in a folder of the test.

It can be killed and started again on the same ports and the same data, as a machine that lost power would.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "market-pipeline-test", "a-secret-of-the-test-server"
_ROLES = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc")
_UNUSED = ("s3.iceberg", "s3.lance")  # they listen, so their ports must be ours


@dataclass
class S3Server:
    """One server; `start` returns when it answers a signed-off request with 403, so that buckets can be made."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    identities: dict[str, object] | None = None  # SeaweedFS's configuration in place of one identity that may all

    @property
    def endpoint(self) -> str:
        """Address of the S3 API."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def variables(self) -> dict[str, str]:
        """The settings that put a lake there."""
        return {
            "MARKET_PIPELINE_LAKE_URL": "s3://market",
            "MARKET_PIPELINE_S3_ENDPOINT": self.endpoint,
            "MARKET_PIPELINE_S3_ACCESS_KEY": ACCESS_KEY,
            "MARKET_PIPELINE_S3_SECRET_KEY": SECRET_KEY,
        }

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Start on the ports of the first time, and wait for an answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ports = self.ports or dict(zip((*_ROLES, *_UNUSED), _free_ports(10), strict=True))
        config = self.folder / "identities.json"
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        alone = {"identities": [{"name": "pipeline", "credentials": credentials, "actions": actions}]}
        config.write_text(json.dumps(self.identities or alone))
        port = self.ports
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(Path(sys.executable).with_name("weed")),
                    "server",
                    f"-dir={self.folder}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    f"-master.port={port['master']}",
                    f"-master.port.grpc={port['master.grpc']}",
                    "-master.volumeSizeLimitMB=64",
                    f"-volume.port={port['volume']}",
                    f"-volume.port.grpc={port['volume.grpc']}",
                    "-volume.max=2000",
                    "-filer",
                    f"-filer.port={port['filer']}",
                    f"-filer.port.grpc={port['filer.grpc']}",
                    "-s3",
                    f"-s3.port={port['s3']}",
                    f"-s3.port.grpc={port['s3.grpc']}",
                    f"-s3.port.iceberg={port['s3.iceberg']}",
                    f"-s3.port.lance={port['s3.lance']}",
                    f"-s3.config={config}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        while not _answers(self.endpoint):
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"The S3 server did not start: {tail}")
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL, as a power cut."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """End it and take its data away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=2)  # noqa: S310 - our own loopback address
    except urllib.error.HTTPError as error:
        return error.code == 403  # the listing of buckets, without a signature
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """A server for as long as the block lasts."""
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
