"""JSON files that tell when a byte of them has changed: the last member is the SHA-256 of everything before it.

They stay JSON that anybody can read. What does not belong here: what the files say, and where they are.
"""

from __future__ import annotations

import hashlib
import re

# The member that holds the seal.
SEAL = "sealed_sha256"
_NAME = f'"{SEAL}"'.encode()
# What a file ends in whose seal's own name was spoiled; nothing else here ends so.
_LIKE_A_SEAL = re.compile(rb'": "[0-9a-f]{64}"\s*\}\s*\Z')


def sealed(text: bytes) -> bytes:
    """A JSON object with members, and its seal as the last one."""
    body = text.rstrip().removesuffix(b"}").rstrip()
    return b'%s,\n  %s: "%s"\n}\n' % (body, _NAME, hashlib.sha256(body).hexdigest().encode())


def unsealed(data: bytes) -> bytes:
    """The same bytes, if they are as they were written. ValueError if not; what was written before there were seals has
    none and passes."""
    body, name, _ = data.rpartition(b",\n  " + _NAME)
    has_seal = _NAME in data or _LIKE_A_SEAL.search(data) is not None
    if has_seal and (not name or sealed(body + b"}") != data):
        raise ValueError("it is not as it was written")
    return data
