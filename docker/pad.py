"""So many MiB more of evidence, which nobody reads: `docker/smoke` sends this to the code server's container before it
backs up, wipes and restores a stack of profile demo. Objects of 256 KiB, the size of a busy symbol's answer; random, so
nothing makes them smaller.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time

from market_pipeline import layout
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings

OBJECT, AT_ONCE = 1 << 18, 64


def main(mebibytes: int) -> int:
    """Write them by the pipeline's own client, create-only, with its own key."""
    started = time.monotonic()
    store = Pipeline(load_settings()).store
    prefix = layout.bronze_slice("smoke", "padding", "2000-01-03")
    count = mebibytes * (1 << 20) // OBJECT
    for first in range(0, count, AT_ONCE):
        bodies = [os.urandom(OBJECT) for _ in range(first, min(first + AT_ONCE, count))]
        keys = [layout.bronze_object(prefix, "padding", hashlib.sha256(body).hexdigest(), "bin") for body in bodies]
        written = store.each(lambda pair: store.create(*pair), list(zip(keys, bodies, strict=True)))
        if not all(written):
            sys.stdout.write("A random object was there already\n")
            return 1
    sys.stdout.write(f"{count} objects, {mebibytes} MiB, {time.monotonic() - started:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
