"""Is a container's service ready for what it is there for? `python docker/health.py NAME`, exit code 0 if so.

Each probe does what the service's own users do; a port that is open proves nothing. Standard library where it will do,
because this runs every few seconds.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request

_TIMEOUT_S = 8
# Dagster's daemon says that it lives every 30 s.
_DAEMON_SILENT_S = 120


def _get(url: str, data: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - this container's own address
        return bytes(answer.read())


def code() -> bool:
    """The code server has loaded the definitions and answers."""
    import grpc  # noqa: PLC0415
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    with grpc.insecure_channel("127.0.0.1:4000") as channel:
        asked = health_pb2.HealthCheckRequest(service="DagsterApi")
        answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=_TIMEOUT_S)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def webserver() -> bool:
    """The web server reads its database and has the code server's assets."""
    repositories = "repositoriesOrError { ... on RepositoryConnection { nodes { name } } }"
    query = f"{{ {repositories} runsOrError(limit: 1) {{ __typename }} }}"
    found = json.loads(_get("http://127.0.0.1:3000/graphql", json.dumps({"query": query}).encode()))["data"]
    return bool(found["repositoriesOrError"].get("nodes")) and found["runsOrError"]["__typename"] == "Runs"


def daemon() -> bool:
    """Every part of the daemon has said within two minutes that it lives."""
    import psycopg2  # noqa: PLC0415

    silent = "extract(epoch from now() at time zone 'utc' - min(timestamp))"
    profile = os.environ["MARKET_PIPELINE_PROFILE"].replace("-", "_")
    connection = psycopg2.connect(f"{os.environ['MARKET_PIPELINE_DATABASE_URL']}_{profile}", connect_timeout=_TIMEOUT_S)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"select count(*), {silent} from daemon_heartbeats")  # noqa: S608 - a constant
        row = cursor.fetchone()
    return row is not None and row[0] > 0 and float(row[1]) < _DAEMON_SILENT_S


def dashboard() -> bool:
    """Streamlit serves."""
    return _get("http://127.0.0.1:8501/_stcore/health") == b"ok"


def sandbox() -> bool:
    """The fictional market is laid out."""
    return isinstance(json.loads(_get("http://127.0.0.1:8765/_sandbox/state")), dict)


def metrics() -> bool:
    """A scrape tells of this profile."""
    return b"market_pipeline_info{" in _get("http://127.0.0.1:9464/metrics")


def main() -> int:
    """Run the named probe; whatever goes wrong is said in one line."""
    probes = {f.__name__: f for f in (code, webserver, daemon, dashboard, sandbox, metrics)}
    try:
        is_ready = probes[sys.argv[1]]()
    except Exception as error:  # noqa: BLE001 - any failure is the answer no
        sys.stderr.write(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}\n")
        return 1
    return 0 if is_ready else 1


if __name__ == "__main__":
    sys.exit(main())
