"""The dashboard's pages without a browser, on the fixture's warehouse: what the tests of the pages share."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from market_pipeline.warehouse import Warehouse

DASHBOARDS = Path(__file__).resolve().parents[1] / "dashboards"
PAGES = sorted(path.stem for path in (DASHBOARDS / "app_pages").glob("*.py"))
sys.path.insert(0, str(DASHBOARDS))  # as `streamlit run dashboards/app.py` does
# Each run of a page reads the metadata of every installed package for components: half a second, always the same.
manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)


def variant(build_db: Path, folder: Path, sql: str) -> Path:
    """A build file of the fixture's market after somebody's SQL."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    other = folder.parent / "variant.duckdb"
    shutil.copy(build_db, other)
    with duckdb.connect(str(other)) as con:
        con.execute(sql)
    return other


def lengthen(market: Path, symbols: Sequence[str], *, days: int) -> None:
    """Trade instruments of a build file on that many days more before their first bar, on one of them at a hundredfold.
    The i-th day before has (50 + i % 97) as its close."""
    names = ", ".join(f"'{symbol}'" for symbol in symbols)
    with duckdb.connect(str(market)) as con:
        con.execute(
            f"""insert into fact_daily_price
                select p.* replace (
                    p.session_date - i::int as session_date,
                    p.daily_price_key || i as daily_price_key,
                    (50 + i % 97) * if(i = 12345, 100, 1) as close_usd,
                    1.0 as split_factor, 1.0 as total_factor,
                    if(i % 3 = 0, 0.2, 0.3) as volatility_252d_ratio
                )
                from (
                    select * from fact_daily_price where symbol in ({names})
                    qualify session_date = min(session_date) over (partition by symbol)
                ) as p
                cross join range(1, {days + 1}) as r (i)"""
        )


def show(page: str, **query: str | list[str]) -> AppTest:
    """Run one page as its address asks."""
    test = AppTest.from_file(str(DASHBOARDS / "app.py"), default_timeout=60)
    for name, value in query.items():
        test.query_params[name.replace("_", "-")] = value
    return test.switch_page(f"app_pages/{page}.py").run()


def texts(test: AppTest) -> str:
    """Everything a page says in words."""
    kinds = (test.title, test.subheader, test.markdown, test.caption, test.info, test.warning, test.error)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def one(warehouse: Warehouse, sql: str) -> dict[str, object]:
    """The only row of a query."""
    (row,) = warehouse.query(sql)[0].to_pylist()
    return row


def titles(test: AppTest) -> list[str]:
    """The cards' titles."""
    return [element.value for element in test.subheader]


def table(test: AppTest, column: str) -> list[dict[str, Any]]:
    """Rows of the first table on the page that has a column of this name."""
    found = next(element.value for element in test.dataframe if column in element.value)
    rows: list[dict[str, Any]] = found.to_dict("records")
    return rows


def drawn(test: AppTest, key: str) -> pa.Table:
    """What was sent to the browser for a chart, as its dataset."""
    (chart,) = [element for element in test.get("echarts_chart") if (element.key or "").startswith(key)]
    (dataset,) = chart.proto.datasets
    return pa.ipc.open_stream(dataset.data.data).read_all()


def frame(warehouse: Warehouse, sql: str) -> pl.DataFrame:
    """Gold's rows for an independent computation."""
    found = pl.from_arrow(warehouse.query(sql)[0])
    assert isinstance(found, pl.DataFrame)
    return found
