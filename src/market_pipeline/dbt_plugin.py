"""dbt-duckdb's plugin: its connections may read a lake that is in an S3 store.

The build tells its child process where that is in a variable; a lake in a folder needs nothing.
"""

from __future__ import annotations

import json
import os

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from market_pipeline.s3 import ACCESS, admit
from market_pipeline.settings import S3


class Plugin(BasePlugin):
    """Found by dbt-duckdb under this name."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Once for each build: what it loads and creates holds for all cursors."""
        place = os.environ.get(ACCESS)
        if place:
            admit(conn, S3(**json.loads(place)))
