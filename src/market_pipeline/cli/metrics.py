"""`market-pipeline metrics`: what Prometheus scrapes.

Each scrape reads what the newest run left (`health.json`), the generation in force and Dagster's runs anew, so that the
figures are right whoever ran, and nothing counts twice after a restart. What does not belong here: alerts.
"""

from __future__ import annotations

import datetime as dt
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from market_pipeline import __version__, history
from market_pipeline.cli.output import say
from market_pipeline.errors import LakeError, MarketPipelineError
from market_pipeline.settings import Settings, load_settings
from market_pipeline.warehouse import DatasetHealth, Warehouse

_PREFIX = "market_pipeline_"
_OUTCOMES = ("fetched", "empty", "deferred", "refused", "failed", "not_yet", "missing")


class Figures(Collector):
    """The figures of one profile."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._warehouse = Warehouse(settings.warehouse)

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: what there is depends on what has run."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every figure as of now; a part that can't be read is left out, and `up` says which."""
        yield _gauge(
            "info", "The profile and the version.", {(self._settings.profile, __version__): 1.0}, "profile", "version"
        )
        up: dict[tuple[str, ...], float] = {}
        for name, part in (("health", self._health), ("gold", self._gold), ("runs", self._runs)):
            try:
                found = list(part())
            except MarketPipelineError:
                up[name,] = 0.0
            else:
                up[name,] = 1.0
                yield from found
        yield _gauge("up", "1 where this part could be read.", up, "part")

    def _health(self) -> Iterator[Metric]:
        health = self._warehouse.health()
        if health is None:
            return
        now = dt.datetime.now(dt.UTC)
        as_of = dt.datetime.fromisoformat(health.as_of).date()
        yield _gauge(
            "health_age_seconds", "Since a run has last left its figures.", {(): _since(health.written_at, now)}
        )
        yield _gauge("rows", "Payloads of bronze, rows of silver and gold.", {
            (layer.partition("_")[0],): float(rows) for layer, rows in (health.rows_by_layer or {}).items()
        }, "layer")  # fmt: skip
        yield _gauge("bytes", "What each layer holds: objects without former versions, the published generation.", {
            (layer,): float(size) for layer, size in (health.bytes_by_layer or {}).items()
        }, "layer")  # fmt: skip
        yield _gauge("rejected_rows", "Rows in quarantine.", {
            (name,): float(rows) for name, rows in (health.quarantined or {}).items()
        }, "contract")  # fmt: skip
        yield _gauge("checks", "Checks of the last build.", {
            ("passed",): float(health.checks_passed),
            ("warned",): float(health.checks_warned),
            ("failed",): float(sum(check.severity == "error" for check in health.failed_checks)),
        }, "outcome")  # fmt: skip
        quota = health.quota
        yield _gauge(
            "calls_used",
            "Calls of the present window.",
            {(q.provider, q.plan): float(q.used) for q in quota},
            "provider",
            "plan",
        )
        yield _gauge("calls_left", "Calls left in the present window; absent without a daily cap.", {
            (q.provider, q.plan): float(q.left) for q in quota if q.left is not None
        }, "provider", "plan")  # fmt: skip
        asked = [d for d in health.datasets if d.slice]
        yield _gauge("requests", "Requests of each feed's newest slice.", {
            (d.provider, d.dataset, word): float(getattr(d, word)) for d in asked for word in _OUTCOMES
        }, "provider", "dataset", "outcome")  # fmt: skip
        yield _gauge("data_age_days", "From the newest date in the data to the profile's day.", {
            (d.provider, d.dataset): float(days) for d in asked if (days := _age_days(d, as_of)) is not None
        }, "provider", "dataset")  # fmt: skip
        if health.last_run is not None:
            yield _gauge("last_run_exit_code", "0 is success.", {(): float(health.last_run.exit_code)})

    def _gold(self) -> Iterator[Metric]:
        current = self._warehouse.current()
        if current is None:
            return
        yield _gauge("generation", "The published generation's number.", {(): float(current.number)})
        yield _gauge("gold_bytes", "Size of the published generation.", {(): float(current.bytes)})
        yield _gauge(
            "gold_age_seconds", "Since it was published.", {(): _since(current.published_at, dt.datetime.now(dt.UTC))}
        )
        yield _gauge(
            "table_rows", "Rows of each published table.", {(t,): float(n) for t, n in current.tables.items()}, "table"
        )
        yield _gauge("is_partial", "1 when instruments are missing from it.", {(): float(current.is_partial)})

    def _runs(self) -> Iterator[Metric]:
        found = history.runs(self._settings)
        counts: dict[tuple[str, ...], float] = {}
        newest: dict[tuple[str, ...], float] = {}
        for row in found.sort("created_at").iter_rows(named=True):
            counts[row["status"],] = counts.get((row["status"],), 0.0) + 1
            if row["run_seconds"] is not None:
                newest[row["target"],] = row["run_seconds"]
        yield _gauge("runs", "Dagster's runs by status.", counts, "status")
        yield _gauge("run_seconds", "How long the newest finished run of a target took.", newest, "target")


def _gauge(name: str, words: str, values: Mapping[Any, float], *labels: str) -> Metric:
    found = GaugeMetricFamily(f"{_PREFIX}{name}", words, labels=labels)
    for key, value in values.items():
        found.add_metric(key, value)
    return found


def _since(moment: str, now: dt.datetime) -> float:
    return max(0.0, (now - dt.datetime.fromisoformat(moment)).total_seconds())


def _age_days(dataset: DatasetHealth, today: dt.date) -> int | None:
    newest = dataset.newest_data_date
    return None if newest is None else (today - dt.date.fromisoformat(newest[:10])).days


def metrics(*, host: str = "127.0.0.1", port: int | None = None) -> int:
    """Serve the pipeline's figures for Prometheus at /metrics until Ctrl-C.

    Parameters
    ----------
    host
        Address to listen on.
    port
        By default MARKET_PIPELINE_METRICS_PORT.
    """
    settings = load_settings()
    REGISTRY.register(Figures(settings))
    try:
        server, _ = start_http_server(port or settings.metrics_port, addr=host)
    except OSError as error:
        raise LakeError(
            f"Port {port or settings.metrics_port} can't be served: {error.strerror}; set another one"
        ) from None
    say(f"Metrics of profile {settings.profile} at http://{host}:{server.server_port}/metrics")
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    over.wait()
    server.shutdown()
    return 0
