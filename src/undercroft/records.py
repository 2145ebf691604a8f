"""The nouns of the system as frozen dataclasses.

Nothing here does any I/O and nothing here imports more than the standard library, so every
other module may import this one. Read it first: the rest of the code speaks these words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from undercroft.errors import BadRef

ArtifactKind = Literal[
    "raw",  # fetched bytes, one table version
    "dataset",  # documents + policy + selection
    "embedding",  # a static embedding model
    "index",  # chunks with vectors and full text
    "examples",  # question-passages-answer examples to train on
    "preferences",  # pairs of answers of which one was chosen
    "lessons",  # what a teacher would say where a student is to learn
    "suite",  # held-out evaluation cases
    "model",  # weights, tokenizer and card
    "adapter",  # what is added to a model's weights for some who ask (LoRA)
    "scorecard",  # the result of models on suites
    "route",  # which model answers what share of which traffic
]
KINDS: tuple[str, ...] = (
    "raw",
    "dataset",
    "embedding",
    "index",
    "examples",
    "preferences",
    "lessons",
    "suite",
    "model",
    "adapter",
    "scorecard",
    "prompt",
    "route",
)

RunStatus = Literal["running", "finished", "failed", "cancelled"]
EnergySource = Literal["measured", "estimated"]

_NAME = r"[a-z0-9][a-z0-9._-]*"
_REF = re.compile(rf"(?P<kind>[a-z]+):(?P<name>{_NAME})(?:@(?P<at>[A-Za-z0-9._-]+))?\Z")


@dataclass(frozen=True, slots=True)
class Ref:
    """``kind:name@version`` or ``kind:name@alias``: how stages name artifacts to each other.

    A ref with neither version nor alias means the newest version.
    """

    kind: str
    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read a ref from ``text``; raises `BadRef` when it has not the form of one."""
        match = _REF.match(text.strip())
        if match is None or match["kind"] not in KINDS:
            raise BadRef(text, KINDS)
        at = match["at"]
        if at is not None and at.isdigit():
            return cls(match["kind"], match["name"], version=int(at))
        return cls(match["kind"], match["name"], alias=at)

    def __str__(self) -> str:
        at = self.version if self.version is not None else self.alias
        return f"{self.kind}:{self.name}" + (f"@{at}" if at is not None else "")


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one run or one request cost."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    energy_wh: float = 0.0
    energy_is: EnergySource = "estimated"
    money: float = 0.0


@dataclass(frozen=True, slots=True)
class Artifact:
    """One immutable, versioned, digested thing that a run made.

    ``uri`` says where its bytes are: ``blob:<relative path>`` in the project's blob store, or
    ``table:<name>@<version>`` in the lake. ``digest`` is the SHA-256 of its content.
    """

    ref: Ref
    digest: str
    uri: str
    size_bytes: int
    created_at: datetime
    run_id: str
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def kind(self) -> str:
        return self.ref.kind

    @property
    def name(self) -> str:
        return self.ref.name

    def __str__(self) -> str:
        return str(self.ref)


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a stage: inputs pinned to versions, parameters, outputs and cost."""

    id: str
    stage: str
    status: RunStatus
    memo_key: str
    params: Mapping[str, Any]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    started_at: datetime
    finished_at: datetime | None
    footprint: Footprint
    error: str | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running stage is; ``total`` is None when nobody can know it."""

    run_id: str
    done: float
    total: float | None
    unit: str
    note: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """Why something was released, refused, rolled back or erased, and by whom."""

    id: int
    kind: str
    subject: str
    verdict: str
    reason: str
    evidence: Mapping[str, Any]
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Node:
    """A vertex of the lineage graph: an artifact, a run, a document or an answer."""

    id: str
    kind: str
    label: str
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Edge:
    """``source`` was used to make ``target`` (both are `Node` ids)."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """A piece of the lineage graph around ``root``."""

    root: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector found at ``text[start:end]``. Never the found value itself.

    ``kind`` is dotted, general to special: ``pii.email``, ``secret.aws_key``.
    """

    kind: str
    start: int
    end: int
    score: float
    rule: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document that answers may rest on; ``start``/``end`` are character offsets
    into the document's text as the dataset gives it (after masking)."""

    id: str
    document: str
    uri: str
    title: str
    text: str
    start: int
    end: int
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Example:
    """A question, the passages shown with it, and the answer wanted.

    ``cited`` are 1-based numbers of the passages that hold the answer; ``group`` is the source
    file, the unit by which training and evaluation are kept apart. ``source`` is the span of
    the document that the answer was taken from; unanswerable examples have none.
    """

    id: str
    kind: str
    question: str
    passages: tuple[Passage, ...]
    answer: str
    cited: tuple[int, ...]
    answerable: bool
    group: str
    source_document: str = ""
    source_start: int = 0
    source_end: int = 0
    synthetic: bool = True


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side of a conversation says; ``role`` is system, user, assistant or tool."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Preference:
    """A conversation, and of two answers to its last turn the one that was chosen.

    ``source`` is the file it was read from, or ``traffic:``.
    """

    id: str
    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str
    source: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: the holder of an API key or of a console session. Keys of one ``tenant``
    share a budget and a share of the gateway; a key without one is its own."""

    id: str
    name: str
    role: str
    daily_tokens: int | None = None
    tenant: str = ""
