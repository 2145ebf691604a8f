"""What clients send, as structs that hold only the fields we route by, check or forward.

Fields that are not here are passed over: clients of the OpenAI API send many that concern only
OpenAI. `openapi` makes the published description of the API from these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class ImageUrl(msgspec.Struct, omit_defaults=True):
    url: str
    detail: str | None = None


class InputAudio(msgspec.Struct):
    data: str
    format: str


class Part(msgspec.Struct, omit_defaults=True):
    type: str
    text: str | None = None
    image_url: ImageUrl | None = None
    input_audio: InputAudio | None = None


class FunctionCall(msgspec.Struct):
    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct):
    id: str
    function: FunctionCall
    type: str = "function"


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    function: Function
    type: str


class JsonSchema(msgspec.Struct, omit_defaults=True):
    name: str = "answer"
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, omit_defaults=True):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = False


class Generation(msgspec.Struct):
    """What chat and plain completions have in common."""

    model: str
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    store: bool | None = None
    service_tier: str | None = None


class ChatBody(Generation):
    """``POST /v1/chat/completions``. ``retrieve`` false keeps the documents out of it."""

    messages: list[Message] = []
    max_completion_tokens: int | None = None
    response_format: ResponseFormat | None = None
    retrieve: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: Effort | None = None
    functions: Any = None
    audio: Any = None
    modalities: list[str] | None = None


class CompletionBody(Generation):
    """``POST /v1/completions``: one prompt, no retrieval."""

    prompt: str | list[str] = ""
    logprobs: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None


class EmbeddingBody(msgspec.Struct):
    """``POST /v1/embeddings``."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


class ModerationBody(msgspec.Struct):
    """``POST /v1/moderations``: one text, several, or parts of type text."""

    input: str | list[str | Part]
    model: str | None = None


class FeedbackBody(msgspec.Struct):
    """``POST /v1/feedback``."""

    answer: str
    rating: Annotated[int, Meta(ge=-1, le=1)] = 0
    comment: Annotated[str, Meta(max_length=10_000)] = ""
