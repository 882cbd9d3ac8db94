"""The shortcut of `redaction`: a body that has no mark of a spelling is looked through once, with the same result."""

from __future__ import annotations

import html
import json
import random
from urllib.parse import quote

from market_pipeline.redaction import REDACTED, Echo, _pattern

SPELLINGS = (
    str,
    str.upper,
    lambda c: json.dumps(c)[1:-1],
    lambda c: quote(c, safe=""),
    html.escape,
    lambda c: f"&#{ord(c)};",
    lambda c: f"\\u{ord(c):04x}",
    lambda c: "+" if c == " " else c,
)


def test_the_shortcut_changes_nothing() -> None:
    rng, found = random.Random("redaction"), 0
    for _ in range(5_000):
        key = "".join(rng.choice("abcXYZ019+/=&%\\\" '-_<") for _ in range(rng.randint(5, 12)))
        spell = rng.choice(SPELLINGS)
        text = "".join((spell if rng.random() < 0.8 else rng.choice(SPELLINGS))(c) for c in key)
        around = "".join(rng.choice('abc 01{}":,') for _ in range(20))
        body = (around + (text if rng.random() < 0.7 else key[:-1])).encode(rng.choice(["utf-8", "utf-16-le"]))
        clean, count = _pattern(key).subn(REDACTED, body)
        assert Echo(key).redact(body) == (clean, count > 0)
        found += count > 0
    assert 1_000 < found < 4_500
