"""Ctrl-C while a run is in this process: it is not lost.

Python raises an interrupt wherever the main thread happens to be. In what runs while memory is collected, such as the
callbacks by which SQLAlchemy forgets an engine, an exception is printed and ignored, and the run goes on as if nobody
had wished to end it. Then the signal is sent once more. What does not belong here: what a run does when it is ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dagster import DagsterExecutionInterruptedError

_SOON_S = 0.05  # after the collection: sent at once, it would be raised, and ignored, in the hook itself


@contextmanager
def kept() -> Iterator[None]:
    """Send an interrupt again that was raised where exceptions are ignored, for as long as the block lasts."""
    before = sys.unraisablehook

    def hook(ignored: sys.UnraisableHookArgs) -> None:
        if isinstance(ignored.exc_value, (KeyboardInterrupt, DagsterExecutionInterruptedError)):
            timer = threading.Timer(_SOON_S, os.kill, (os.getpid(), signal.SIGINT))
            timer.daemon = True
            timer.start()
        else:
            before(ignored)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
