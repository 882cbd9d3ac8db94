"""Pages of one answer, which are fetched one after the other and say one thing together.

A row that has another value in a later answer is a correction. One that has another value on another page of the same
answer is none: these are two facts that no key tells apart, and neither may take the other's place. What does not
belong here: what two rows of one page say (`normalize`), how pages are asked for (`ingest`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

import polars as pl

from market_pipeline.feed import Request
from market_pipeline.judge import AT, PAYLOAD
from market_pipeline.manifest import Payload

_PAGE = "__page"
Answers = Sequence[tuple[Request, Payload]]


def clashes(
    frame: pl.DataFrame, answers: Answers, past_the_end: Collection[str], *, key: Sequence[str], values: Sequence[str]
) -> set[int]:
    """The numbers of rows whose key another page of the same answer has with other values.

    `answers` are what the rows' payloads are numbers of; `past_the_end` names the pages that the newest answer lacks.
    """
    pages = [request.page or 0 for request, _ in answers]
    if len(set(pages)) < 2:
        return set()
    numbered = frame.with_columns(pl.col(PAYLOAD).replace_strict(range(len(pages)), pages).alias(_PAGE))
    found: set[int] = set()
    suspects = numbered.filter(pl.col(_PAGE).n_unique().over(key) > 1)
    if suspects.is_empty():
        return found
    pairs = _in_force_together(answers, past_the_end)
    facts = suspects.select(AT, PAYLOAD, pl.struct(key).alias("key"), pl.struct(values).alias("fact"))
    for _, rows in facts.group_by("key", maintain_order=True):
        for (at, number, fact), (other_at, other, other_fact) in combinations(
            rows.select(AT, PAYLOAD, "fact").iter_rows(), 2
        ):
            if fact != other_fact and (min(number, other), max(number, other)) in pairs:
                found |= {at, other_at}
    return found


def _in_force_together(answers: Answers, past_the_end: Collection[str]) -> set[tuple[int, int]]:
    """Pairs of payloads, the smaller number first, that were pages of one answer.

    A page whose bytes have not changed is not stored again, so an answer is the newest of each page when its last page
    had come. Pages are asked in order, so one that does not come after the one before it begins another answer.
    """
    pairs: set[tuple[int, int]] = set()
    for chain in {request.chain for request, _ in answers}:
        order = sorted(
            (payload.fetched_at, request.page or 0, number, request.name)
            for number, (request, payload) in enumerate(answers)
            if request.chain == chain
        )
        newest: dict[str, int] = {}
        for (_, page, number, name), after in zip(order, [*order[1:], None], strict=True):
            newest[name] = number
            if after is None:
                newest = {name: number for name, number in newest.items() if name not in past_the_end}
            if after is None or after[1] <= page:
                pairs.update(combinations(sorted(newest.values()), 2))
    return pairs
