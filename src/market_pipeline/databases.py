"""SQL databases as one more wire: a query per dataset, connectorx, Arrow, Parquet.

`Transport` stands where the network stands for an HTTP provider, so that booking, retries, size limits and verdicts
are `fetch`'s for a database too. The query runs in a child (`python -m market_pipeline.databases`), because connectorx
writes what a server says to standard error, panics on types that it does not know, tries a refused password seven times
in half a minute, and can't be interrupted. The child gets its order, with the address, on standard input, and says one
word or a Parquet file; nothing that a server or connectorx says leaves it. What does not belong here: what the columns
mean (`providers.sql`). Over 300 lines because parent and child are two ends of one conversation.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import IO, TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import httpx2

from market_pipeline.errors import ConfigurationError, StoreUnavailable
from market_pipeline.feed import Feed, Instrument, Request
from market_pipeline.partition import Slice
from market_pipeline.settings import LOOPBACK, passwords

if TYPE_CHECKING:
    import pyarrow as pa

QUERY_SECONDS = 300
# What a server needs to end a query that took too long, before we end the child.
GRACE_SECONDS = 10
ROWS_MAX_BYTES = 256 * 1024 * 1024
MEMORY_MAX_BYTES = 2 * 1024 * 1024 * 1024
BATCH_ROWS = 5_000
QUERY_MAX_CHARACTERS = 100_000
REDACTED = "[REDACTED]"
PARQUET = "application/vnd.apache.parquet"

_SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "sqlite": "sqlite"}
# Said on the database's own connection before the query, so that it can't write and does not run for ever.
_FIRST = {
    "postgresql": ("set default_transaction_read_only = on", "set statement_timeout = {milliseconds}"),
    "mysql": ("set session transaction read only",),
}
# What connectorx's connection pool writes when no connection came about; it would go on trying.
_NOT_CONNECTED = b"ERROR r2d2"
_LOGIN = re.compile(rb"authentication failed|access denied|no password supplied|role .* does not exist|pg_hba", re.I)
# First match wins; the words are all that is told of an error, because its text holds values of the database.
_WORDS = (
    (
        "unreachable",
        "timed out waiting for connection|unable to open database|database is locked|connection (?:closed|reset)",
    ),
    ("timed_out", "statement timeout|max_statement_time|maximum statement execution"),
    ("write_refused", "read-?\\s?only"),
    ("unreadable_value", "deserializ|fromsql|decimal scale|not implemented|column type|conversion error|infer type"),
    ("too_large", "memory|out of range for allocation"),
)


def asking(feed: Feed, query: str) -> Feed:
    """The feed with requests that carry the SHA-256 of the query: it is part of what was asked."""
    params = (("query_sha256", _sha256(query)),)

    def plan(part: Slice, instruments: Sequence[Instrument]) -> tuple[Request, ...]:
        return tuple(replace(request, params=params) for request in feed.plan(part, instruments))

    return replace(feed, plan=plan)


class Transport(httpx2.BaseTransport):
    """Answers a request for `/<dataset>` with the rows of that dataset's query, as Parquet.

    Statuses: 200 with the file, 401 when the database does not accept the login, 422 with a word for everything else
    that asking again won't mend. A database that can't be reached is a ConnectError, as it is with HTTP.
    """

    def __init__(self, url: str, *, setting: str, query: Callable[[str], str], environment: Mapping[str, str]) -> None:
        """`setting` names the variable of the address for errors, `query` gives a dataset's query, `environment` is
        what the child sees."""
        problem = _problem(url)
        if problem is not None:
            raise ConfigurationError(f"{setting} {problem}")
        self._url, self._query, self._environment = url, query, environment

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Run the query and answer as a server would."""
        query = self._query(request.url.path.rpartition("/")[2])
        if len(query) > QUERY_MAX_CHARACTERS:
            return _answer(422, b"query_too_long")
        if request.url.params.get("query_sha256") != _sha256(query):
            return _answer(422, b"query_changed")  # its file was saved between planning and asking
        return self._ask(query)

    def _ask(self, query: str) -> httpx2.Response:
        order = {
            "url": self._url,
            "query": query,
            "query_seconds": QUERY_SECONDS,
            "child_seconds": QUERY_SECONDS + GRACE_SECONDS,
            "rows_max_bytes": ROWS_MAX_BYTES,
            "memory_max_bytes": MEMORY_MAX_BYTES,
        }
        with subprocess.Popen(
            [sys.executable, "-m", "market_pipeline.databases"],
            env={**self._environment, "RUST_LOG": "error", "RUST_BACKTRACE": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            try:
                trouble, body = _converse(child, json.dumps(order).encode())
            finally:
                child.kill()
        if trouble is not None:
            if _LOGIN.search(trouble):
                return _answer(401, b"login_refused")
            raise httpx2.ConnectError("the database can't be reached")
        if child.returncode == 0:
            return _answer(200, body, content_type=PARQUET)
        word = body.decode("ascii", "replace")
        if child.returncode == -signal.SIGALRM:
            word = "timed_out"
        elif child.returncode < 0:  # allocating over the limit aborts
            word = "too_large"
        if word == "unreachable":
            raise httpx2.ConnectError("the database can't be reached")
        return _answer(422, word.encode())


def read(url: str, query: str, *, setting: str) -> bytes:
    """The rows of one query as a Parquet file, for ourselves. `setting` names the address's variable for errors.

    Raises StoreUnavailable when the database does not answer, ConfigurationError when it refuses.
    """
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    transport = Transport(url, setting=setting, query=lambda _: query, environment=quiet)
    request = httpx2.Request("GET", "sql://database/rows", params={"query_sha256": _sha256(query)})
    try:
        answer = transport.handle_request(request)
    except httpx2.ConnectError:
        raise StoreUnavailable(f"The database of {setting} does not answer; start it and run again") from None
    body = answer.read()
    if answer.status_code != 200:
        raise ConfigurationError(
            f"The database of {setting} refuses ({body.decode('ascii', 'replace')}); mend its address"
        )
    return body


def _problem(url: str) -> str | None:
    """Why an address is not asked, with the remedy; it says nothing of the address."""
    shape = (
        "is no address of a database that can be read; write postgresql://user:password@host/name, "
        "mysql://user:password@host/name or sqlite:///absolute/path, with what is special in them percent-encoded"
    )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return shape
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or bool(host) == (scheme == "sqlite") or not parts.path.strip("/"):
        return shape
    is_near = scheme == "sqlite" or host in LOOPBACK or host.startswith("%2f")
    if scheme == "postgresql" and not is_near and "sslmode" not in dict(parse_qsl(parts.query)):
        return "leads to another machine; add ?sslmode=require to it, or ?sslmode=disable where the network is yours"
    return None


def _converse(child: subprocess.Popen[bytes], order: bytes) -> tuple[bytes | None, bytes]:
    """What kept the child from connecting, None when it did; and what it wrote."""
    if child.stdin is None or child.stdout is None or child.stderr is None:
        raise AssertionError("the child has three pipes")
    with contextlib.suppress(BrokenPipeError):  # a child that died says so by its status
        child.stdin.write(order)
        child.stdin.close()
    for line in child.stderr:  # ends when the child closes it, which is before it answers
        if _NOT_CONNECTED in line:
            child.kill()  # the pool would try again, and a server may lock a user out
            return line, b""
    body = child.stdout.read()
    child.wait()
    return None, body


def _answer(status: int, body: bytes, *, content_type: str = "text/plain") -> httpx2.Response:
    headers = {"content-type": content_type, "content-length": str(len(body))}
    return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(body))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _clean(query: str, url: str) -> str:
    """The query without the address or its password, should somebody have written one into it."""
    for secret in (url, *passwords(url)):
        query = query.replace(secret, REDACTED)
    return query


def _read(url: str, query: str, *, seconds: int, max_bytes: int) -> pa.Table:
    """The rows of a query. As a subquery it can only be one that reads, whatever the connection would allow."""
    import connectorx  # noqa: PLC0415 - only the child may load it: it logs from then on
    import pyarrow as pa  # noqa: PLC0415

    scheme = _SCHEMES[urlsplit(url).scheme]
    is_sqlite = scheme == "sqlite"
    if is_sqlite:
        address, asked = _sqlite(url, query)
    else:
        # The line break ends a comment in the query's last line.
        address, asked = scheme + url[url.index(":") :], f"select * from (\n{query}\n) as query_rows"  # noqa: S608
    first = [statement.format(milliseconds=seconds * 1000) for statement in _FIRST.get(scheme, ())]
    reader = connectorx.read_sql(
        address,
        asked,
        return_type="arrow_stream",
        batch_size=BATCH_ROWS,
        pre_execution_query=first or None,
    )
    batches, size = [], 0
    for batch in reader:
        size += batch.nbytes
        if size > max_bytes:
            raise MemoryError
        batches.append(batch)
    table = pa.Table.from_batches(batches, schema=reader.schema)
    return table.slice(1) if is_sqlite else table


def _sqlite(url: str, query: str) -> tuple[str, str]:
    """Address and query for SQLite, which has no column types: connectorx would take each column's from its first row
    and fail on the next. So every value is asked for as text, after a first row that is text throughout."""
    uri = f"file:{quote(unquote(urlsplit(url).path))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        columns = connection.execute(f"select * from (\n{query}\n) limit 0").description  # noqa: S608 - the user's own
    names = ['"' + column[0].replace('"', '""') + '"' for column in columns]
    first = ", ".join(f"'' as {name}" for name in names)
    texts = ", ".join(f"cast({name} as text)" for name in names)
    # connectorx decodes the address once, and takes `file:` for a host unless it is encoded.
    return "sqlite://" + quote(uri, safe="/"), f"select {first} union all select {texts} from (\n{query}\n)"  # noqa: S608


def _parquet(table: pa.Table, *, query: str, url: str) -> bytes:
    """The same rows give the same bytes, in whatever order a database returns them."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    if any(pa.types.is_nested(column.type) for column in table.schema):
        raise TypeError("column type")
    names = [f"c{number}" for number in range(table.num_columns)]  # a query may give one name to two columns
    order = pa.compute.sort_indices(table.rename_columns(names), sort_keys=[(name, "ascending") for name in names])
    metadata = {"query_sha256": _sha256(query), "query": _clean(query, url)}
    rows = table.take(order).combine_chunks().replace_schema_metadata(metadata)
    buffer = io.BytesIO()
    pa.parquet.write_table(rows, buffer, compression="zstd", compression_level=3, row_group_size=122_880)
    return buffer.getvalue()


def _word(error: BaseException) -> str:
    text = "memory" if isinstance(error, MemoryError) else str(error)
    return next((word for word, pattern in _WORDS if re.search(pattern, text, re.I)), "query_failed")


def _child(stdin: IO[bytes], answer: int, nowhere: int) -> int:
    """Read the order, run the query, write the file or a word to the descriptor `answer`; the status tells which."""
    order = json.load(stdin)
    # The system ends us at this time even while connectorx holds the interpreter's lock.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(order["child_seconds"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the address is in our memory
    # Not the address space: allocators reserve more of that per core than they ever use.
    resource.setrlimit(resource.RLIMIT_DATA, (order["memory_max_bytes"],) * 2)
    try:
        limits = {"seconds": order["query_seconds"], "max_bytes": order["rows_max_bytes"]}
        table = _read(order["url"], order["query"], **limits)
        status, said = 0, _parquet(table, query=order["query"], url=order["url"])
    except BaseException as error:  # noqa: BLE001 - a panic of connectorx is no Exception, and no text may get out
        status, said = 3, _word(error).encode()
    os.dup2(nowhere, 2)  # tells the parent that the query is over
    with os.fdopen(answer, "wb") as out:
        out.write(said)
    return status


if __name__ == "__main__":
    # Whatever a library prints is no answer: that has a descriptor of its own.
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    code = _child(sys.stdin.buffer, kept, nowhere)
    os._exit(code)  # a stream that was left in the middle has a thread that waits for its reader
