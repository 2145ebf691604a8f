"""What the gateway answers, as structs: the other half of its OpenAPI document.

Answers are written by `frames` and `responses.envelope`, piece by piece; these say what comes out,
and the tests hold real answers against them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from undercroft.serve.wire.bodies import ToolCall
from undercroft.serve.wire.frames import Source
from undercroft.serve.wire.pieces import Token, Usage

Finish = Literal["stop", "length", "tool_calls", "content_filter"]


class ErrorDetail(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str


class Error(msgspec.Struct):
    """Every error has this shape."""

    error: ErrorDetail


class Spoken(msgspec.Struct):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str = ""
    tool_calls: list[ToolCall] = []


class Logprobs(msgspec.Struct):
    content: list[Token] | None


class ChatChoice(msgspec.Struct):
    index: int
    message: Spoken
    finish_reason: Finish
    logprobs: Logprobs | None


class ChatCompletion(msgspec.Struct):
    """An answer; ``sources`` are the passages it was given, where documents are read."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    sources: list[Source] = []


class TextLogprobs(msgspec.Struct):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(msgspec.Struct):
    index: int
    text: str
    finish_reason: Finish
    logprobs: TextLogprobs | None


class TextCompletion(msgspec.Struct):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class ResponseObject(msgspec.Struct):
    """A response; ``output`` holds messages, reasoning and calls of functions."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    model: str
    output: list[dict[str, Any]]
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    usage: dict[str, Any] | None
    store: bool
    background: bool
    previous_response_id: str | None


class InputItems(msgspec.Struct):
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(msgspec.Struct):
    id: str
    object: Literal["response"]
    deleted: bool


class Embedding(msgspec.Struct):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Ranked(msgspec.Struct):
    index: int
    relevance_score: float
    document: dict[str, str] = {}


class Ranking(msgspec.Struct):
    """Documents, the one that fits best first; ``index`` is where it stood in the request."""

    id: str
    model: str
    results: list[Ranked]
    usage: EmbeddingUsage


class Verdict(msgspec.Struct):
    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]
    findings: list[dict[str, Any]]


class Moderation(msgspec.Struct):
    """Categories that nothing here measures have no ``category_applied_input_types``."""

    id: str
    model: str
    results: list[Verdict]


class Rating(msgspec.Struct):
    id: str
    object: Literal["feedback"]
    answer: str
    rating: int


class Model(msgspec.Struct):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(msgspec.Struct):
    object: Literal["list"]
    data: list[Model]


class Health(msgspec.Struct):
    status: Literal["ok", "degraded", "down"]
    route: str
    models: dict[str, Any]
    records: dict[str, Any]
    uptime_s: float
