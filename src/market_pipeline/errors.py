"""Every error the pipeline raises on purpose.

    MarketPipelineError
    ├── ConfigurationError     names the variable and the remedy
    │   └── KeyMissing         a provider needs a key and none is set
    ├── ProviderError          has .provider and the redacted request
    │   ├── Unreachable        no usable answer after every try; a later run may succeed
    │   ├── RateLimited        has .retry_after in seconds, or None
    │   ├── QuotaExhausted     has .resets_at
    │   ├── Refused            key, plan or symbol not accepted; retrying is useless
    │   └── PayloadChanged     another shape than expected; has .path into the payload
    ├── IncompleteSlice        has .report; the manifest is already written
    ├── CheckFailed            gold was built and failed its audit; has .failures
    └── LakeError              ObjectMissing, HashMismatch, CreateConflict, Busy, StoreUnavailable

Rows that break a rule are data (quarantine), not exceptions. No message here may carry a provider's key:
`fetch` redacts before it raises.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterable
from typing import Any

_LISTED = 60


class MarketPipelineError(Exception):
    """Root of the tree; its text is one sentence with the object and the remedy."""


class ConfigurationError(MarketPipelineError):
    """A setting is missing or contradicts another one."""


class KeyMissing(ConfigurationError):
    """A provider needs a key and none is set; the text says where to get one."""


class ProviderError(MarketPipelineError):
    """A provider did not give what was asked."""

    def __init__(self, message: str, *, provider: str, request: str = "") -> None:
        super().__init__(message)
        self.provider = provider
        self.request = request


class Unreachable(ProviderError):
    """No usable answer after every allowed try."""


class RateLimited(ProviderError):
    """The provider asks to slow down; `retry_after` is in seconds, None when it did not say."""

    def __init__(self, message: str, *, provider: str, request: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, provider=provider, request=request)
        self.retry_after = retry_after


class QuotaExhausted(ProviderError):
    """The call budget of this window is spent; `resets_at` is UTC."""

    def __init__(self, message: str, *, provider: str, request: str = "", resets_at: dt.datetime) -> None:
        super().__init__(message, provider=provider, request=request)
        self.resets_at = resets_at


class Refused(ProviderError):
    """Key, plan or symbol not accepted; `is_key` when the key itself (and so every request) is refused."""

    def __init__(self, message: str, *, provider: str, request: str = "", is_key: bool = False) -> None:
        super().__init__(message, provider=provider, request=request)
        self.is_key = is_key


class PayloadChanged(ProviderError):
    """A body of another shape than documented; `path` says where in the body."""

    def __init__(self, message: str, *, provider: str, request: str = "", path: str = "$") -> None:
        super().__init__(message, provider=provider, request=request)
        self.path = path


class IncompleteSlice(MarketPipelineError):
    """Some requests of a slice gave no data; `report` says which and why. The manifest is already written."""

    def __init__(self, message: str, *, report: Any) -> None:
        super().__init__(message)
        self.report = report


class CheckFailed(MarketPipelineError):
    """Gold failed its audit and was not published; `failures` are the names of the failed tests."""

    def __init__(self, message: str, *, failures: tuple[str, ...], report: Any = None) -> None:
        super().__init__(message)
        self.failures = failures
        self.report = report


class LakeError(MarketPipelineError):
    """The lake or the warehouse folder is not as it was left."""


class ObjectMissing(LakeError):
    """A key that a manifest or a pointer names is not there."""


class HashMismatch(LakeError):
    """Bytes differ from the hash they were stored under."""


class CreateConflict(LakeError):
    """A create-only key exists already with other bytes."""


class Busy(LakeError):
    """Another process holds the lock."""


class StoreUnavailable(LakeError):
    """The object store gave no answer for minutes; a later run may succeed."""


def unknown(what: str, name: str, known: Iterable[str]) -> ConfigurationError:
    """The error for a name that nobody knows: the closest one, then all, or how many where they would fill a screen."""
    names = tuple(known)
    folded = {known_name.casefold(): known_name for known_name in reversed(names)}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    meant = f"; did you mean {folded[close[0]]}?" if close else ""
    rest = f"known: {', '.join(names) or 'none'}" if len(names) <= _LISTED else f"{len(names):,} are known"
    return ConfigurationError(f"There is no {what} {name}{meant}; {rest}")
