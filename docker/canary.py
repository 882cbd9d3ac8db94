"""Is a secret anywhere but in the file that is its own? What `docker/canary` runs in a container that sees the volumes.

    canary.py FOLDER volumes           the volumes below FOLDER, each named as compose.yaml names it
    canary.py FOLDER images <stream    what `docker save` writes: every layer and every record
    canary.py FOLDER text <stream      logs and records, in sections that begin with a line ==> name <==

The secrets are read from the volumes' own files, no value is ever printed. Each is looked for as it is, URL-encoded, in
JSON, and in base64 wherever it may begin. Looked into are layers and gzip; not Parquet or DuckDB, which compress.
Ends with 1 when something is found, with 2 when the search could prove nothing. Needs no package.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import os
import re
import stat
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from urllib.parse import quote, quote_plus

# The first file of each secret, and which secrets a file may hold. Whatever else holds one is a finding.
SOURCES = {
    "the store's password": "secrets-store/password",
    "the database's owner": "secrets-database/owner",
    "the password of Dagster's database": "secrets-database/dagster",
    "the store's key of pipeline": "secrets-owner/pipeline",
    "the store's key of backup": "secrets-owner/backup",
}
_STORE, _OWNER, _DAGSTER, _PIPELINE, _BACKUP = SOURCES
_GIVEN = "the store's key of .env"
# What a store may keep of those whom it lets in, in a volume that nobody else mounts.
_DATA_OF_STORE, _KEYS_OF_STORE = "store/", {_STORE, _GIVEN, _PIPELINE, _BACKUP}
_KEYS = "secrets-pipeline/env"
HOMES = {
    "secrets-store/password": {_STORE},
    "secrets-store/seaweedfs.json": {_STORE, _GIVEN, _PIPELINE, _BACKUP},
    "secrets-database/owner": {_OWNER},
    "secrets-database/dagster": {_DAGSTER},
    "secrets-dagster/pgpass": {_DAGSTER},
    "secrets-owner/env": {_STORE, _GIVEN},
    "secrets-owner/pipeline": {_PIPELINE},
    "secrets-owner/backup": {_BACKUP},
    "secrets-pipeline/s3.env": {_PIPELINE},
    "secrets-backup/s3.env": {_BACKUP},
}
_SHORTEST = 8  # a shorter word stands in ordinary text
_TOKEN = 12
_BLOCK = 1 << 22
_SHOWN = 40
_SECRET_NAMES = re.compile(r"(_API_KEY|SQL_URL|ALERT_URL|SECRET_KEY|PASSWORD|TOKEN)$")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def forms(value: str) -> dict[bytes, str]:
    """The ways in which a value can be written, with their names."""
    raw = value.encode()
    found = {raw: "as it is"}
    for spelling in (quote(value, safe=""), quote_plus(value), quote(value, safe="/:@")):
        found.setdefault(spelling.encode(), "URL-encoded")
        found.setdefault(re.sub("%..", lambda code: code[0].lower(), spelling).encode(), "URL-encoded")
    found.setdefault(json.dumps(value)[1:-1].encode(), "in JSON")
    for before in range(3):
        # What a neighbour shares a character of base64 with is left out.
        whole = slice((0, 2, 3)[before], (before + len(raw)) * 8 // 6)
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.setdefault(encode(b"\0" * before + raw)[whole], "in base64")
    return found


def settings(path: Path) -> dict[str, str]:
    """The variables of a file that the secrets service wrote."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (re.fullmatch(r"(\w+)='(.*)'", line) for line in lines)
    return {pair[1]: re.sub(r"\\(.)", r"\1", pair[2]) for pair in pairs if pair}


def tokens(url: str) -> list[str]:
    """The parts of an alert's address that look like something random: where they stand is another place with each
    service. Words of an address are not looked for, they are everywhere."""
    place, _, rest = url.partition("://")[2].partition("/")
    path, _, query = rest.partition("?")
    parts = [part for part in re.split(r"[@:?&=]", place) if "." not in part]
    parts += [*re.split(r"[/:#@]", path), *re.split(r"[&;=]", query)]
    return [part for part in dict.fromkeys(parts) if len(part) >= _TOKEN and re.search(r"\d", part)]


class Readable(Protocol):
    """Bytes from the front to the end."""

    def read(self, size: int = -1, /) -> bytes:
        """So many of them, none at the end."""


class Search:
    """Every secret of the volumes below a folder, and where it was seen."""

    def __init__(self, folder: Path) -> None:
        secrets = {name: (folder / file).read_text(encoding="utf-8").strip() for name, file in SOURCES.items()}
        given = settings(folder / "secrets-owner/env").get("MARKET_PIPELINE_S3_SECRET_KEY", "")
        if given and given not in secrets.values():
            secrets[_GIVEN] = given
        keys = {name: value for name, value in settings(folder / _KEYS).items() if _SECRET_NAMES.search(name)}
        for name, value in [*keys.items()]:
            if inner := re.search(r"://[^:/@]*:([^@]+)@", value):
                keys[f"the password in {name}"] = inner[1]
            if name.endswith("ALERT_URL"):
                keys |= {f"part {n} of {name}": part for n, part in enumerate(tokens(value), 1)}
        self.keys = {name for name, value in keys.items() if len(value) >= _SHORTEST}
        self.secrets = {n: v for n, v in {**secrets, **keys}.items() if len(v) >= _SHORTEST}
        self.homes = {**HOMES, _KEYS: self.keys}
        for name in ("secrets-pipeline/s3.env", "secrets-backup/s3.env"):
            if settings(folder / name).get("MARKET_PIPELINE_S3_ROLE") == "owner":  # a store that makes no identities
                self.homes[name] = {_STORE, _GIVEN}
        self.needles = {form: (n, how) for n, value in self.secrets.items() for form, how in forms(value).items()}
        self.longest = max(map(len, self.needles))
        self.found: dict[tuple[str, str, str], None] = {}
        self.kept: dict[str, set[str]] = {}
        self.files = self.bytes = 0

    def look(self, place: str, source: Readable) -> None:
        """Search a stream by blocks; what lies across two of them is seen too."""
        tail, may = b"", self.homes.get(place, _KEYS_OF_STORE if place.startswith(_DATA_OF_STORE) else set())
        self.files += 1
        while block := source.read(_BLOCK):
            self.bytes += len(block)
            window = tail + block
            for needle, (name, how) in self.needles.items():
                if needle in window:
                    if name in may:
                        self.kept.setdefault(place, set()).add(name)
                    else:
                        self.found[place, name, how] = None
            tail = window[1 - self.longest :]

    def without(self, place: str) -> str:
        """A place's name without the secret that it may hold."""
        for form, (name, _) in self.needles.items():
            place = place.replace(form.decode(), f"[{name}]")
        return place

    def file(self, place: str, body: io.BufferedReader) -> None:
        """Search a file, and what it holds where it is a gzip."""
        if not body.peek(2).startswith(_GZIP):
            self.look(place, body)
            return
        packed = body.read()
        self.look(place, io.BytesIO(packed))
        with contextlib.suppress(OSError, EOFError, zlib.error):  # one that only begins like a gzip
            self.look(f"{place} (unpacked)", io.BytesIO(gzip.decompress(packed)))

    def tree(self, folder: Path) -> None:
        """Search the files of volumes, their names and what links point to."""
        for path in _walk(folder):
            place = path.relative_to(folder).as_posix()
            self.look(f"the name of {place}", io.BytesIO(place.encode("utf-8", "surrogateescape")))
            try:
                kind = path.lstat().st_mode
                if stat.S_ISLNK(kind):
                    self.look(f"the link {place}", io.BytesIO(os.fsencode(path.readlink())))
                elif stat.S_ISREG(kind):
                    with path.open("rb") as body:
                        self.file(place, body)
            except FileNotFoundError:
                continue  # the stack goes on while it is searched

    def images(self, source: BinaryIO) -> None:
        """Search what `docker save` writes: the files of each layer, and the records beside them."""
        with tarfile.open(fileobj=source, mode="r|") as outer:
            for member in outer:
                if not member.isreg():
                    continue
                reader = cast(io.BufferedReader, outer.extractfile(member))
                if reader.peek(4).startswith(_ZSTD):
                    raise ValueError(f"{member.name} is packed by zstd, which is not looked into")
                if reader.peek(2).startswith(_GZIP):
                    reader = cast(io.BufferedReader, io.BufferedReader(gzip.GzipFile(fileobj=reader), _BLOCK))
                if reader.peek(512)[257:262] == b"ustar":
                    self.layer(member.name, reader)
                else:
                    self.look(member.name, reader)

    def layer(self, name: str, source: BinaryIO) -> None:
        """Search the files of one layer, their names and attributes."""
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for member in tar:
                place = f"{name}: {member.name}"
                words = json.dumps([member.name, member.linkname, member.pax_headers], ensure_ascii=False)
                self.look(f"the entry {place}", io.BytesIO(words.encode("utf-8", "surrogateescape")))
                if member.isreg():
                    self.file(place, cast(io.BufferedReader, tar.extractfile(member)))

    def text(self, source: BinaryIO) -> None:
        """Search sections of text."""
        place = "the start"
        lines: list[bytes] = []
        for line in source:
            if title := re.fullmatch(rb"==> (.+) <==\r?\n", line):
                self.look(place, io.BytesIO(b"".join(lines)))
                place, lines = title[1].decode(errors="replace"), []
            else:
                lines.append(line)
        self.look(place, io.BytesIO(b"".join(lines)))


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        for name in (*files, *(n for n in folders if (Path(root) / n).is_symlink())):
            yield Path(root) / name


def main(arguments: list[str]) -> int:
    """Search one kind of place and say what was found in how much."""
    folder, kind = Path(arguments[0]), arguments[1]
    search = Search(folder)
    if kind == "volumes":
        search.tree(folder)
    elif kind == "images":
        search.images(sys.stdin.buffer)
    else:
        search.text(sys.stdin.buffer)
    for place, name, how in list(search.found)[:_SHOWN]:
        sys.stderr.write(f"{name}, {how}, is in {search.without(place)}\n")
    unseen = [place for place, names in search.homes.items() if names and not search.kept.get(place)]
    if kind == "volumes" and unseen:
        sys.stderr.write(f"Not seen where it must be, so the search proves nothing: {', '.join(sorted(unseen))}\n")
        return 2
    if not search.bytes:
        sys.stderr.write("There was nothing to search\n")
        return 2
    sys.stdout.write(
        f"{kind}: {len(search.found)} found in {search.files:,} files and names, {search.bytes / 2**20:,.1f} MiB; "
        f"{len(search.secrets)} secrets, {len(search.keys)} of them from .env\n"
    )
    return 1 if search.found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
