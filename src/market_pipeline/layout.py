"""Every key in the lake, and nothing else knows one.

Bronze:      bronze/<provider>/<dataset>/slice=<key>/<name>.<sha256>.<ext>   bytes as received, create-only
             bronze/<provider>/<dataset>/slice=<key>/manifest-<seq>.json     the commit, create-only, written last
Silver:      silver/<contract>/provider=<provider>/dataset=<dataset>/slice=<key>/part.parquet   replaced whole
             silver/<contract>/provider=<provider>/dataset=<dataset>/slice=<key>/commit.json    what it must hash to
Quarantine:  quarantine/<contract>/provider=<provider>/dataset=<dataset>/slice=<key>/part.parquet
Reference:   reference/<name>.parquet                                        generated for gold: calendar, universe

A path never carries a fact that the file lacks, so readers set `hive_partitioning=false`.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from market_pipeline.errors import ConfigurationError

_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
# Encoded, a character takes up to three; with the hash and two dots the name must fit into 255 bytes.
_NAME = re.compile(r"[A-Za-z0-9^.=:_/ -]{1,60}\Z")
_SLICE = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
_MANIFEST = re.compile(r"manifest-(\d{6})\.json\Z")
_COMMIT = "commit.json"
# Where the files are that gold reads.
TABLES = ("silver/", "quarantine/", "reference/")
_SILVER_TABLE = re.compile(
    r"silver/[^/]+/provider=([^/]+)/dataset=([^/]+)/(?:slice=\d{4}-\d{2}-\d{2}/part|empty)\.parquet\Z"
)
_QUARANTINE_TABLE = re.compile(r"quarantine/(?:.+/slice=\d{4}-\d{2}-\d{2}/part|empty)\.parquet\Z")
_SILVER_SLICE = re.compile(
    r"(?:silver|quarantine)/([a-z][a-z0-9_]{0,63})/provider=([a-z][a-z0-9_]{0,63})/dataset=([a-z][a-z0-9_]{0,63})"
    r"/slice=(\d{4}-\d{2}-\d{2})/",
    re.ASCII,
)
_REFERENCE_TABLE = re.compile(r"reference/([^/]+)\.parquet\Z")


def _word(text: str) -> str:
    if not _WORD.match(text):
        raise ConfigurationError(f"{text!r} is no dataset or provider name; use lower-case letters, digits and _")
    return text


def _slice(key: str) -> str:
    if not _SLICE.match(key):
        raise ConfigurationError(f"{key!r} is no slice; write YYYY-MM-DD")
    return key


def object_stem(name: str) -> str:
    """A request's name as one path segment: allow-listed characters, the unsafe ones percent-encoded, dots too, so
    that no name can be `..`. Two names that differ in case only stay apart on case-insensitive disks."""
    if not _NAME.match(name):
        raise ConfigurationError(f"{name!r} can't name an object; allowed: letters, digits and ^ . = : _ / - space")
    text = quote(name, safe="").replace(".", "%2E").replace("_", "%5F")
    return "".join(f"_{c.lower()}" if c.islower() else c for c in text)


def bronze_slice(provider: str, dataset: str, slice_key: str) -> str:
    """Prefix of one bronze slice, with a trailing slash."""
    return f"bronze/{_word(provider)}/{_word(dataset)}/slice={_slice(slice_key)}/"


def bronze_dataset(provider: str, dataset: str) -> str:
    """Prefix of all slices of one feed."""
    return f"bronze/{_word(provider)}/{_word(dataset)}/"


def bronze_object(prefix: str, name: str, sha256: str, extension: str) -> str:
    """Key of one payload in a bronze slice."""
    return f"{prefix}{object_stem(name)}.{sha256}.{extension}"


def manifest(prefix: str, seq: int) -> str:
    """Key of manifest number `seq` (1, 2, ...) of a bronze slice."""
    return f"{prefix}manifest-{seq:06d}.json"


def manifest_seq(key: str) -> int | None:
    """The number of a manifest's key, None for any other key."""
    match = _MANIFEST.search(key)
    return int(match[1]) if match else None


def slice_key_of(key: str) -> str | None:
    """The slice's key in a lake key, None where there is none."""
    match = re.search(r"/slice=(\d{4}-\d{2}-\d{2})/", key)
    return match[1] if match else None


def bronze_payload(prefix: str, name: str) -> str:
    """Key of a payload as a manifest in the slice `prefix` names it: an object of the same slice, or of another one of
    the feed (`slice=<key>/<object>`) when one answer covers several."""
    return f"{prefix.rpartition('slice=')[0]}{name}" if "/" in name else f"{prefix}{name}"


def payload_name(prefix: str, key: str) -> str:
    """Inverse of `bronze_payload`: how a manifest in the slice `prefix` names the object `key` of the same feed."""
    return key.removeprefix(prefix).removeprefix(prefix.rpartition("slice=")[0])


def silver_dataset(contract: str, provider: str, dataset: str) -> str:
    """Prefix of the silver of one feed."""
    return f"silver/{_word(contract)}/provider={_word(provider)}/dataset={_word(dataset)}/"


def silver_part(contract: str, provider: str, dataset: str, slice_key: str) -> str:
    """Key of one silver slice."""
    return f"{silver_dataset(contract, provider, dataset)}slice={_slice(slice_key)}/part.parquet"


def silver_commit(contract: str, provider: str, dataset: str, slice_key: str) -> str:
    """Key of the commit of one silver slice."""
    return f"{silver_dataset(contract, provider, dataset)}slice={_slice(slice_key)}/{_COMMIT}"


def silver_slice_of(key: str) -> tuple[str, str, str, str] | None:
    """Contract, provider, dataset and slice of a key below a slice of silver or of its quarantine; None for others."""
    match = _SILVER_SLICE.match(key)
    return (match[1], match[2], match[3], match[4]) if match else None


def is_silver_commit(key: str) -> bool:
    """True for the key of a silver slice's commit."""
    return key.startswith("silver/") and key.endswith(f"/{_COMMIT}")


def table_of(key: str) -> tuple[str, str] | None:
    """Schema and name under which gold reads the file of a key; None for a file that is no table's. Files of one name
    are one table."""
    if match := _SILVER_TABLE.match(key):
        return "silver", f"{match[1]}__{match[2]}"
    if match := _REFERENCE_TABLE.match(key):
        return "reference", match[1]
    return ("quarantine", "rejected") if _QUARANTINE_TABLE.match(key) else None


def silver_empty(contract: str, provider: str, dataset: str) -> str:
    """Key of the file without rows that gives a feed its columns before its first slice."""
    return f"{silver_dataset(contract, provider, dataset)}empty.parquet"


def quarantine_part(contract: str, provider: str, dataset: str, slice_key: str) -> str:
    """Key of the rejected rows of one silver slice."""
    folder = silver_dataset(contract, provider, dataset).removeprefix("silver/")
    return f"quarantine/{folder}slice={_slice(slice_key)}/part.parquet"


def quarantine_empty() -> str:
    """Key of the quarantine file without rows."""
    return "quarantine/empty.parquet"


def reference(name: str) -> str:
    """Key of one generated reference table."""
    return f"reference/{_word(name)}.parquet"


def probe(token: str) -> str:
    """Key of a short-lived object that tests what the store honours."""
    return f"probe/{token}"
