"""The key out of what comes back: a provider may echo it in a body, a header or a refusal, in many spellings."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import quote

# A shorter key (`demo`, say) is a word of ordinary text and no secret: replacing it would only spoil evidence.
SECRET_LENGTH = 5
REDACTED = b"[REDACTED]"
# Every spelling of a character but itself has one of them: percent-encoding, JSON, HTML, UTF-16.
_MARKS = (b"%", b"\\", b"&", b"\0")


class Echo:
    """Finds one key in bytes."""

    def __init__(self, key: str | None) -> None:
        self._pattern = _pattern(key) if key and len(key) >= SECRET_LENGTH else None
        self._plain = (key or "").encode().lower()

    def redact(self, body: bytes) -> tuple[bytes, bool]:
        """The body without the key, in any spelling a server is likely to echo; and whether it was there."""
        if self._pattern is None:
            return body, False
        # A market's answer has no mark in a megabyte, and looking for every spelling would take longer than parsing it.
        # A space has one more spelling, which is no mark.
        is_plain = b" " not in self._plain and not any(mark in body for mark in _MARKS)
        if is_plain and self._plain not in body.lower():
            return body, False
        clean, count = self._pattern.subn(REDACTED, body)
        return clean, count > 0


def _pattern(key: str) -> re.Pattern[bytes]:
    """Finds the key as it is, percent-encoded, in JSON or in HTML, each character in its own spelling; also UTF-16."""
    characters = []
    for character in key:
        escaped = json.dumps(character)[1:-1]
        forms = {character, escaped, f"\\u{ord(character):04x}", f"\\{character}", quote(character, safe="")}
        forms |= {"".join(f"%{byte:02x}" for byte in character.encode()), html.escape(character)}
        forms |= {f"&#{ord(character)};", f"&#x{ord(character):x};", "+" if character == " " else character}
        characters.append(b"|".join(re.escape(form.encode()) for form in sorted(forms, key=len, reverse=True)))
    wide = (re.escape(key.encode(encoding)) for encoding in ("utf-16-le", "utf-16-be"))
    return re.compile(b"|".join((b"".join(b"(?:%s)" % forms for forms in characters), *wide)), re.IGNORECASE)
