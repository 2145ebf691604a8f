"""What clients send, as structs that hold only the fields we route by, check or forward.

Fields that are not here are passed over: clients of the OpenAI API send many that concern only
OpenAI. `openapi` makes the published description of the API from these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MAX_CHOICES = 8  # answers to one request
MAX_BIASES = 1_000  # 60,000 cost llama.cpp seconds

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Name = Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}$")]
Text = Annotated[str, Meta(min_length=1)]
Tokens = Annotated[int, Meta(ge=1, le=2**31)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]


class ImageUrl(msgspec.Struct, omit_defaults=True):
    url: str
    detail: str | None = None


class InputAudio(msgspec.Struct):
    data: str
    format: str


class Part(msgspec.Struct, omit_defaults=True):
    type: Literal["text", "image_url", "input_audio", "refusal"]
    text: str | None = None
    image_url: ImageUrl | None = None
    input_audio: InputAudio | None = None
    refusal: str | None = None


class FunctionCall(msgspec.Struct):
    name: Name
    arguments: str = ""


class ToolCall(msgspec.Struct):
    id: str
    function: FunctionCall
    type: str = "function"


class Message(msgspec.Struct):
    role: Role
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct, omit_defaults=True):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    function: Function
    type: Literal["function"]


class NamedTool(msgspec.Struct):
    function: FunctionCall


class AllowedTools(msgspec.Struct):
    """Which tools may be called, as ``tool_choice`` says it."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class JsonSchema(msgspec.Struct, omit_defaults=True):
    name: str = "answer"
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, omit_defaults=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = False


class Generation(msgspec.Struct):
    """What chat and plain completions have in common."""

    model: str
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = 1
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    min_p: Share | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | list[str] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: Annotated[float, Meta(ge=0, le=10)] | None = None
    logit_bias: Annotated[dict[str, float], Meta(max_length=MAX_BIASES)] | None = None
    user: str | None = None
    store: bool | None = None
    service_tier: str | None = None
    metadata: Metadata | None = None


class ChatBody(Generation, kw_only=True):
    """``POST /v1/chat/completions``. ``retrieve`` false keeps the documents out of it."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Tokens | None = None
    response_format: ResponseFormat | None = None
    retrieve: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    reasoning_effort: Effort | None = None
    functions: Any = None
    audio: Any = None
    modalities: list[str] | None = None


class CompletionBody(Generation, kw_only=True):
    """``POST /v1/completions``: one prompt or several, no retrieval."""

    prompt: Text | Annotated[list[Text], Meta(min_length=1, max_length=MAX_CHOICES)]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None


class EmbeddingBody(msgspec.Struct):
    """``POST /v1/embeddings``."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None


class Document(msgspec.Struct):
    text: str


class RerankBody(msgspec.Struct):
    """``POST /v1/rerank``: which of ``documents`` fit ``query`` best."""

    model: str
    query: Text
    documents: Annotated[list[str | Document], Meta(min_length=1, max_length=1000)]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = True
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
