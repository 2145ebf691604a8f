"""Pairs from what people thought of answers: one that was liked and one that was not, to the same
question.

The rules are those of ``traffic:``: only exchanges that the client agreed to have learnt from, of
people who have not taken that back. Both answers of a pair must be such.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final

from undercroft.collect.consent import withdrawn
from undercroft.collect.traffic import SCHEME, Traffic
from undercroft.lake.preferences import SealedPair
from undercroft.lake.refused import Refused
from undercroft.trust.sealed import opened

_COLUMNS: Final = ("id", "subject", "question_sealed", "answer_sealed")
_BATCH_ROWS: Final = 1_000


@dataclass(slots=True)
class _Answers:
    """To one question: rows of the requests table, each with the answer's text."""

    liked: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)
    disliked: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)


def opposed(traffic: Traffic) -> Iterator[SealedPair | Refused]:
    """A pair for each liked answer or each disliked one, of which there are more to its question.

    Questions are the same when they differ in case and blanks alone. Two people may have thought
    differently of one answer: that is no pair, and is told without its words.
    """
    for answers in _by_question(traffic).values():
        if not answers.liked or not answers.disliked:
            continue
        for (chosen, good), (rejected, bad) in _matched(answers):
            name = f"{SCHEME}{chosen['id']}-{rejected['id']}"
            if good == bad:
                yield Refused(name, 0, "chosen and rejected are the same")
            else:
                yield SealedPair(name, SCHEME, chosen, rejected)


def _matched(answers: _Answers) -> Iterator[tuple[Any, Any]]:
    if len(answers.liked) >= len(answers.disliked):
        return zip(answers.liked, cycle(answers.disliked), strict=False)
    return zip(cycle(answers.liked), answers.disliked, strict=False)


def _by_question(traffic: Traffic) -> dict[str, _Answers]:
    project = traffic.project
    table, vault = project.lake.table("requests"), project.trust.vault
    found: dict[str, _Answers] = defaultdict(_Answers)
    if not table.exists() or "consent" not in table.schema.names:
        return found
    opinions, barred = traffic.opinions(), withdrawn(project)
    for batch in table.batches(_COLUMNS, traffic.where(), rows=_BATCH_ROWS):
        for row in batch.to_pylist():
            opinion = opinions.get(row["id"])
            if opinion is None or not opinion.rating or vault.hashed(row["subject"]) in barred:
                continue
            question, answer = opened(vault, row, "question"), opened(vault, row, "answer")
            if not question or not answer or not answer.strip():
                continue
            same = found[" ".join(question.casefold().split())]
            side = same.liked if opinion.rating > 0 else same.disliked
            side.append((row, answer.strip()))
    return found
