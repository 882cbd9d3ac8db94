"""Promise 14: no `next_url` and no redirect leads a request, and the key with it, off the provider's own address."""

from __future__ import annotations

import json
import random
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import stamina

import test_ingest_pages as pages
from market_pipeline.ingest import ingest
from market_pipeline.store import FolderStore
from proofs.proof import Proof, Result
from wire import NOW, Wire, client, reply, response

BASE = "https://api.acme.test/acme"
HERE = "api.acme.test"
# Of an address that is the provider's own, what is changed. `{here}` is the host.
NEXT = (
    "https://evil.test/acme/v1/roster?cursor=x",
    "http://{here}/acme/v1/roster?cursor=x",
    "https://{here}:8443/acme/v1/roster?cursor=x",
    "https://{here}:0/acme/v1/roster?cursor=x",
    "https://{here}.evil.test/acme/v1/roster?cursor=x",
    "https://evil.test#@{here}/acme/v1/roster",
    "https://evil.test?@{here}/acme/v1/roster",
    "https://{here}@evil.test/acme/v1/roster?cursor=x",
    "https://user:password@{here}/acme/v1/roster?cursor=x",
    "https://user@{here}/acme/v1/roster?cursor=x",
    "https://@{here}/acme/v1/roster?cursor=x",
    "https://evil.test\\@{here}/acme/v1/roster?cursor=x",
    "https:\\\\evil.test/acme/v1/roster?cursor=x",
    "https:/\\evil.test/acme/v1/roster?cursor=x",
    "//evil.test/acme/v1/roster?cursor=x",
    "///evil.test/acme/v1/roster?cursor=x",
    "/acme/v1/roster?cursor=x",
    "?cursor=x",
    "acme/v1/roster?cursor=x",
    "ftp://{here}/acme/v1/roster?cursor=x",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "data:application/json,{{}}",
    "gopher://{here}/acme/v1/roster",
    "ws://{here}/acme/v1/roster",
    "HTTPS://EVIL.TEST/acme/v1/roster?cursor=x",
    "https://{here}%2eevil.test/acme/v1/roster?cursor=x",
    "https://{here}%00.evil.test/acme/v1/roster?cursor=x",
    "https://{here}\t.evil.test/acme/v1/roster?cursor=x",
    "https://{here}\n.evil.test/acme/v1/roster?cursor=x",
    " https://evil.test/acme/v1/roster?cursor=x",
    "https://evil.test\x00{here}/acme/v1/roster",
    "https://{here} /acme/v1/roster?cursor=x",
    "https://127.0.0.1/acme/v1/roster?cursor=x",
    "https://localhost/acme/v1/roster?cursor=x",
    "https://[::1]/acme/v1/roster?cursor=x",
    "https://[::1/acme/v1/roster?cursor=x",
    "https://[{here}]/acme/v1/roster?cursor=x",
    "https://2130706433/acme/v1/roster?cursor=x",
    "https://169.254.169.254/latest/meta-data/",
    "https://{here}:99999/acme/v1/roster?cursor=x",
    "https://{here}:443443/acme/v1/roster?cursor=x",
    "https://{here}:https/acme/v1/roster?cursor=x",
    "https://{here}/other/v1/roster?cursor=x",
    "https://{here}/acmeX/v1/roster?cursor=x",
    "https://{here}/acme/../other/v1/roster?cursor=x",
    "https://{here}/acme/%2e%2e/other?cursor=x",
    "https://{here}/acme/%252e%252e/other?cursor=x",
    "https://{here}/acme/./v1/roster?cursor=x",
    "https://{here}/acme//evil.test/v1?cursor=x",
    "https://{here}/acme/v1\\..\\..\\other?cursor=x",
    "https://{here}/acme/v1/%5c..%5c..%5cother?cursor=x",
    "https://{here}/acme/v1/roster#cursor=x",
    "https://{here}/acme/v1/roster?cursor=x#fragment",
    "https://\u0430pi.acme.test/acme/v1/roster?cursor=x",
    "https://\uff41\uff50\uff49.acme.test/acme/v1/roster?cursor=x",
    "https://{here}./acme/v1/roster?cursor=x",
    "https://{here}。evil.test/acme/v1/roster?cursor=x",
    "https://{here}/acme/v1/roster?cursor=\r\nHost:%20evil.test",
    "https://{here}/acme/v1/roster?cursor=x y",
    "https://{here}/acme/v1/roster?" + "c" * 9000,
    "https://{here}",
    "https://",
    "https:",
    "::::",
    "",
)
STATUSES = ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "300 Choices", "305 Use Proxy")
HEADERS = ("Location", "Refresh", "Content-Location", "Link", "Alt-Svc")


def run(count: int, *, seed: int, folder: Path) -> Result:
    """Every address as the next page, then every kind of redirect to another listener, at most `count` of each."""
    rng = random.Random(f"addresses {seed}")
    wrong: list[str] = []
    chosen = list(NEXT) if count >= len(NEXT) else rng.sample(NEXT, count)
    with stamina.set_testing(True, attempts=1):
        for number, address in enumerate(chosen):
            wrong += _next_page(folder / f"next-{number}", address.format(here=HERE))
        redirects = _redirects(folder / "redirects", wrong)
    return Result(len(chosen) + redirects, tuple(wrong), {"next pages": len(chosen), "redirects": redirects})


def _next_page(folder: Path, address: str) -> list[str]:
    """Where a run goes whose first page names this address as the next one."""
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        rows = [{"ticker": f"T{len(sent)}", "name": "x"}]
        return reply(json.dumps({"results": rows, "next_url": address if len(sent) == 1 else None}).encode())

    with client(folder, answer=answer, url=BASE, provider=pages.ACME) as made:
        report = ingest(
            pages.ACME, pages.FEED, pages.PART, [], store=FolderStore(folder / "lake"), client=made, now=lambda: NOW
        )
    urls = [urlsplit(str(request.url)) for request in sent]
    wrong = [
        f"{address!r} led to {url.geturl()}"
        for url in urls
        if (url.scheme, url.netloc) != ("https", HERE) or not url.path.startswith("/acme/v1/")
    ]
    hosts = {request.headers["host"] for request in sent}
    if hosts != {HERE}:
        wrong.append(f"{address!r} gave the host header {hosts}")
    if len(sent) > 1 or (address and report.is_complete):
        wrong.append(f"{address!r} was followed")
    return wrong


def _redirects(folder: Path, wrong: list[str]) -> int:
    """Answers that point to another listener: nobody comes there."""
    done = 0
    body = json.dumps({"results": [{"ticker": "A", "name": "A"}]}).encode()
    with Wire(lambda _head, _number: response(body)) as other:
        for status in STATUSES:
            for header in HEADERS:
                value = {"Refresh": f"0; url={other.url}/", "Link": f"<{other.url}/>; rel=next"}.get(header, other.url)
                lines = [f"{header}: {value}"]
                with (
                    Wire(
                        lambda _h, _n, status=status, lines=lines: response(body, status=status, headers=lines)
                    ) as here,
                    client(folder / f"{done}", url=f"{here.url}/acme", provider=pages.ACME) as made,
                ):
                    answer = made.fetch(pages.FEED, pages.FEED.plan(pages.PART, ())[0])
                done += 1
                if answer.verdict.outcome.is_final or len(here.requests) != 1:
                    wrong.append(f"{status} with {header} was taken for an answer")
        if other.requests:
            wrong.append(f"{len(other.requests)} requests went to another listener")
    return done


PROOFS = (Proof(14, "addresses", "hostile next pages and redirects", "addresses", 60, 60, 60, run, is_finite=True),)
