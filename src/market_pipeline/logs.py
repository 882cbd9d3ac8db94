"""Lines for machines: with MARKET_PIPELINE_LOG_FORMAT=json, as in containers, each line that a process logs is one JSON
object on standard error, with the time in UTC, the level, the logger, the event, and what the line is about.

Modules log by `logging.getLogger(__name__)` with lazy arguments; that is all they know of this. On a terminal, and
without the variable, nothing here does anything. The variable is read here and not in `settings`, because what is wrong
with the settings is a line too. What does not belong here: redaction, which has happened before a line is written.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

VARIABLE = "MARKET_PIPELINE_LOG_FORMAT"
# Of a process, not of a thread: a process does one run at a time, and its threads are about that run too.
_about: dict[str, str] = {}
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_PLAIN = (str, int, float, bool)


class Lines(logging.Formatter):
    """A record as one line of JSON. Fields given by `extra` are kept where JSON has a word for them."""

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, object] = {
            "timestamp": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        given = {k: _finite(v) for k, v in _flat(vars(record)).items() if k not in _OWN and isinstance(v, _PLAIN)}
        found |= {k: v for k, v in {**_about, **given}.items() if k not in found}
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=False, allow_nan=False)


def _flat(given: Mapping[str, object]) -> dict[str, object]:
    """Fields that were given as a mapping stand beside the others: Dagster gives an event's run, job and step so. Names
    are words, whatever they were: JSON has no others."""
    found: dict[str, object] = {}
    for name, value in given.items():
        inner = value if isinstance(value, dict) and name not in _OWN else {name: value}
        found |= {str(k): v for k, v in inner.items()}
    return found


def _finite(value: object) -> object:
    """JSON has no word for what is no finite number: `nan`, `inf` and `-inf` are text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class _Loggers(logging.Logger):
    """A logger whose handlers for a stream write JSON, whoever adds them later, such as Dagster's console of a run."""

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - logging's own name
        _write_lines(hdlr)
        super().addHandler(hdlr)


def _write_lines(handler: logging.Handler) -> None:
    if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
        handler.setFormatter(Lines())


def is_on() -> bool:
    """Whether this process writes lines of JSON: never to a person at a terminal."""
    return os.environ.get(VARIABLE) == "json" and not sys.stderr.isatty()


def set_up() -> None:
    """Have every logger of this process write such lines, where that is wanted: warnings of all, more of ours.
    Handlers that are there already, or come later, keep their place and write JSON. Calling it again does no harm."""
    if not is_on():
        return
    logging.setLoggerClass(_Loggers)
    root = logging.getLogger()
    loggers = [found for found in logging.Logger.manager.loggerDict.values() if isinstance(found, logging.Logger)]
    for handler in [handler for logger in loggers for handler in logger.handlers]:
        _write_lines(handler)
    if not any(isinstance(handler.formatter, Lines) for handler in root.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(Lines())
        handler.addFilter(lambda record: not _is_written(record.name))
        root.addHandler(handler)
    logging.getLogger("market_pipeline").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def _is_written(name: str) -> bool:
    """Whether a logger on the way to the root has a handler of its own, which has written the line."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None and logger.parent is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def tell(logger: logging.Logger, event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """A line that people are told in other words, or can do without; nothing where lines are for them."""
    if is_on():
        logger.log(level, "%s", event, extra=fields)


@contextmanager
def about(fields: Mapping[str, str]) -> Iterator[None]:
    """Name what every line of this process is about, such as `run_id` and `target`, as long as the block lasts."""
    before = dict(_about)
    _about.update(fields)
    try:
        yield
    finally:
        _about.clear()
        _about.update(before)
