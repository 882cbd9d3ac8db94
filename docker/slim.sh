#!/bin/sh
# Leave out of an environment what its programs never read, and compile the rest. slim.sh FOLDER
# Only folders named tests: Dagster imports one that is named test.
set -eu
packages=$(echo "$1"/lib/python3*/site-packages)
find "$packages" -depth -type d \( -name tests -o -name include -o -name __pycache__ \) \
    \( -path '*/pandas/*' -o -path '*/numpy/*' -o -path '*/pyarrow/*' -o -path '*/sqlalchemy/*' \
    -o -path '*/babel/*' -o -path '*/Crypto/*' -o -path '*/networkx/*' -o -path '*/korean_lunar_calendar/*' \) \
    ! -path '*/numpy/_core/*' ! -path '*/numpy/testing*' ! -path '*/pandas/_testing*' -exec rm -rf {} +
# Arrow's servers, which nothing here speaks to.
find "$packages/pyarrow" -name '*flight*' -delete
# Typing stubs and sources of compiled modules.
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -delete
"$1/bin/python" -m compileall -q -j 0 "$packages" >/dev/null || true
