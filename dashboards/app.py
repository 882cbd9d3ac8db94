"""The dashboard: `streamlit run dashboards/app.py`. What a visit runs is `main.py`."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_name("main.py")), run_name="__main__")
