"""Findings -> a text without what was found.

Every masked span becomes a typed placeholder such as ``[EMAIL]``: the reader sees that something
stood there and of what kind, and nothing of it remains.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from undercroft.records import Finding

_LABELS = {
    "pii.ipv4": "[IP]",
    "pii.ipv6": "[IP]",
    "secret.private_key": "[PRIVATE KEY]",
    "secret.api_key": "[API KEY]",
    "secret.url_password": "[PASSWORD]",
}


class Span(NamedTuple):
    """``text[start:end]`` is to be replaced by ``label``."""

    start: int
    end: int
    label: str


def label_of(kind: str) -> str:
    """The placeholder of a kind of finding: ``pii.email`` -> ``[EMAIL]``."""
    return _LABELS.get(kind) or f"[{kind.rpartition('.')[2].replace('_', ' ').upper()}]"


def is_of(kind: str, kinds: Collection[str]) -> bool:
    """Whether ``kind`` is one of ``kinds`` or belongs to one: ``pii.email`` is of ``pii``."""
    return kind in kinds or kind.partition(".")[0] in kinds


def spans(findings: Iterable[Finding], kinds: Collection[str]) -> list[Span]:
    """What to mask, by position and without overlaps.

    Findings that overlap, or touch and have one label, become one span, labelled by the first
    (of those that begin together, by the longest).
    """
    wanted = [finding for finding in findings if is_of(finding.kind, kinds)]
    wanted.sort(key=lambda finding: (finding.start, -finding.end, finding.kind))
    merged: list[Span] = []
    for finding in wanted:
        label = label_of(finding.kind)
        if merged and _meet(merged[-1], finding.start, label):
            last = merged[-1]
            merged[-1] = Span(last.start, max(last.end, finding.end), last.label)
        else:
            merged.append(Span(finding.start, finding.end, label))
    return merged


def _meet(last: Span, start: int, label: str) -> bool:
    return start < last.end or (start == last.end and label == last.label)


def replace(text: str, masked: Iterable[Span]) -> str:
    """``text`` with every span, by position and without overlaps, replaced by its label."""
    pieces: list[str] = []
    done = 0
    for start, end, label in masked:
        pieces += (text[done:start], label)
        done = end
    return "".join((*pieces, text[done:]))


def mask(text: str, findings: Iterable[Finding], kinds: Collection[str]) -> str:
    """``text`` with the findings of ``kinds`` (such as ``pii`` or ``secret.jwt``) replaced."""
    return replace(text, spans(findings, kinds))
