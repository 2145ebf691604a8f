"""A body of ``/v1/responses`` -> `Ask`: items of input become the messages of a conversation."""

from __future__ import annotations

import secrets
from typing import Any, Literal

import msgspec

from undercroft.serve.wire import asks, schemas, turns
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.bodies import (
    Effort,
    Function,
    FunctionCall,
    Generation,
    ImageUrl,
    InputAudio,
    Message,
    Name,
    Part,
    Role,
    Share,
    Temperature,
    Tokens,
    Tool,
    ToolCall,
    TopLogprobs,
)
from undercroft.serve.wire.failures import invalid, unsupported
from undercroft.settings import SamplingSettings

LOGPROBS = "message.output_text.logprobs"


class ItemPart(msgspec.Struct):
    type: Literal[
        "input_text", "output_text", "text", "refusal", "input_image", "input_audio",
        "reasoning_text", "summary_text",
    ]  # fmt: skip
    text: str | None = None
    image_url: str | None = None
    detail: str | None = None
    input_audio: InputAudio | None = None
    refusal: str | None = None


class Item(msgspec.Struct):
    """A message, a call of a function, what it gave back, or the ``id`` of one that was kept."""

    type: Literal[
        "message", "function_call", "function_call_output", "reasoning", "item_reference"
    ] = "message"
    id: str | None = None
    role: Role | None = None
    content: str | list[ItemPart] | None = None
    call_id: str | None = None
    name: Name | None = None
    arguments: str | None = None
    output: str | list[ItemPart] | None = None
    summary: list[ItemPart] | None = None
    encrypted_content: str | None = None
    status: str | None = None


class ItemTool(msgspec.Struct, omit_defaults=True):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class TextFormat(msgspec.Struct, omit_defaults=True):
    type: Literal["text", "json_object", "json_schema"]
    name: str = "answer"
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextSettings(msgspec.Struct):
    format: TextFormat | None = None


class Reasoning(msgspec.Struct):
    effort: Effort | None = None
    summary: str | None = None


class ResponseBody(msgspec.Struct):
    """``POST /v1/responses``. ``store`` here means only that the response can be read again: it is
    no consent to learning from it."""

    model: str
    input: str | list[Item] = ""
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    stream: bool | None = False
    store: bool | None = True
    background: bool | None = False
    tools: list[ItemTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    top_logprobs: TopLogprobs | None = None
    metadata: dict[str, str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    retrieve: bool | None = None
    conversation: Any = None
    prompt: Any = None


_decoder = msgspec.json.Decoder(ResponseBody)


def decode(body: bytes) -> ResponseBody:
    """Raises `HttpError` 400 also for what is not done here."""
    said = asks.decode(_decoder, body)
    for name in ("conversation", "prompt"):
        if getattr(said, name):
            raise unsupported(name)
    if said.background and said.store is False:
        raise invalid("store", "A response in the background has to be kept.")
    return said


def ask_of(
    said: ResponseBody, before: list[Message], defaults: SamplingSettings
) -> tuple[Ask, list[Message]]:
    """What is asked for, and the conversation without instructions, in which ``before`` was said
    already. Raises `HttpError` 400 that names the field at fault."""
    spoken = [*before, *messages_of(said.input)]
    first = [Message("system", said.instructions)] if said.instructions else []
    sampling: dict[str, Any] = {}
    if said.tools:
        tools = [
            Tool(Function(tool.name, tool.description, tool.parameters, tool.strict), tool.type)
            for tool in said.tools
        ]
        sampling |= asks.tool_fields(tools, _choice(said.tool_choice), said.parallel_tool_calls)
    wanted = said.text.format if said.text is not None else None
    if wanted is not None and wanted.type != "text":
        sampling["response_format"] = _format(wanted)
    if LOGPROBS in (said.include or ()):
        sampling["logprobs"] = True
        sampling["top_logprobs"] = said.top_logprobs or 0
    if said.reasoning is not None and said.reasoning.effort is not None:
        sampling["reasoning_effort"] = said.reasoning.effort
    body = Generation(
        model=said.model, stream=said.stream, temperature=said.temperature, top_p=said.top_p,
        user=said.safety_identifier or said.user,
        service_tier="flex" if said.background else said.service_tier,
    )  # fmt: skip
    ask = asks.ask_of(
        body, "chat", asks.sampling_of(body) | sampling, said.max_output_tokens, defaults,
        said=turns.read([*first, *spoken]), retrieve=said.retrieve,
    )  # fmt: skip
    echo = _echo(said, ask)
    return msgspec.structs.replace(ask, id=new_id(), include_usage=True, echo=echo), spoken


def messages_of(items: str | list[Item]) -> list[Message]:
    """Input items as messages; calls of functions that stand together are one message."""
    if isinstance(items, str):
        return [Message("user", items)] if items else []
    messages: list[Message] = []
    for number, item in enumerate(items):
        where = f"input[{number}]"
        if item.type == "message":
            messages.append(Message(item.role or "user", _content(item.content, where)))
        elif item.type == "function_call":
            if not item.call_id or not item.name:
                raise invalid(where, "A call has a call_id and the name of a function.")
            call = ToolCall(item.call_id, FunctionCall(item.name, item.arguments or ""))
            if messages and messages[-1].tool_calls:
                messages[-1].tool_calls.append(call)
            else:
                messages.append(Message("assistant", tool_calls=[call]))
        elif item.type == "function_call_output":
            content = _content(item.output, where)
            messages.append(Message("tool", content, tool_call_id=item.call_id))
    return messages


def new_id() -> str:
    return "resp_" + secrets.token_hex(16)


def _content(content: str | list[ItemPart] | None, where: str) -> str | list[Part] | None:
    if content is None or isinstance(content, str):
        return content
    return [_part(part, where) for part in content]


def _part(part: ItemPart, where: str) -> Part:
    if part.type in ("input_text", "output_text", "text", "refusal"):
        return Part("text", part.text if part.text is not None else part.refusal)
    if part.type == "input_image" and part.image_url:
        return Part("image_url", image_url=ImageUrl(part.image_url, part.detail))
    if part.type == "input_audio":
        return Part("input_audio", input_audio=part.input_audio)
    raise invalid(where, f"Parts of type {part.type!r} cannot be read here.")


def _choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        named = choice.get("tools")
        tools = [{"function": each} for each in (named if isinstance(named, list) else ())]
        allowed = {"mode": choice.get("mode"), "tools": tools}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice


def _format(wanted: TextFormat) -> dict[str, Any]:
    if wanted.type == "json_object":
        return {"type": "json_object"}
    if wanted.schema is None:
        raise invalid("text.format", "A json_schema has a schema.")
    schemas.check(wanted.schema, "text.format")
    inner: dict[str, Any] = msgspec.to_builtins(wanted)
    del inner["type"]
    return {"type": "json_schema", "json_schema": {**inner, "name": wanted.name}}


def _echo(said: ResponseBody, ask: Ask) -> dict[str, Any]:
    """What a response object repeats of its request."""
    wanted = said.text.format if said.text is not None else None
    reasoning = said.reasoning or Reasoning()
    return {
        "background": bool(said.background),
        "instructions": said.instructions,
        "max_output_tokens": said.max_output_tokens,
        "max_tool_calls": None,
        "metadata": said.metadata or {},
        "parallel_tool_calls": said.parallel_tool_calls is not False,
        "previous_response_id": said.previous_response_id,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary},
        "safety_identifier": said.safety_identifier,
        "service_tier": "flex" if ask.lane == "batch" else "default",
        "store": said.store is not False,
        "temperature": said.temperature if said.temperature is not None else 1.0,
        "text": {"format": msgspec.to_builtins(wanted) if wanted else {"type": "text"}},
        "tool_choice": said.tool_choice or "auto",
        "tools": [
            {"type": "function", "name": tool.name, "description": tool.description,
             "parameters": tool.parameters, "strict": tool.strict}
            for tool in said.tools or ()
        ],
        "top_logprobs": said.top_logprobs or 0,
        "top_p": said.top_p if said.top_p is not None else 1.0,
        "truncation": said.truncation or "disabled",
        "user": said.user,
    }  # fmt: skip
