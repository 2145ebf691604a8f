"""Request bodies -> `Ask`: what the client wants, checked, and nothing that we do not use.

Bodies are decoded once (`bodies`). Fields that would change the answer and that we cannot honour
are refused; unknown ones are passed over.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

import msgspec

from undercroft.serve.wire import schemas, turns
from undercroft.serve.wire.bodies import (
    MAX_CHOICES,
    AllowedTools,
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    FeedbackBody,
    Generation,
    ModerationBody,
    RerankBody,
    ResponseFormat,
    Tool,
)
from undercroft.serve.wire.failures import HttpError, invalid, unsupported
from undercroft.serve.wire.turns import Turn
from undercroft.settings import SamplingSettings

Kind = Literal["chat", "completion"]
Lane = Literal["interactive", "batch", "background"]

MAX_TOOLS = 128
MAX_STOPS = 16


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What one client wants generated. ``sampling`` holds only what the client set, as engines
    take it: how tokens are drawn, tools, the form of the answer.

    ``store`` is the client's consent to learning from the exchange, as in the OpenAI API. ``n`` is
    how many answers are wanted and ``media`` what the messages hold besides text. Of several
    ``prompts`` each gets its part of the ``n``; ``prompt`` is then all of them. Answers repeat what
    is in ``repeated``. One with an ``echo`` is answered by a response object that repeats it, under
    the ``id``.
    """

    kind: Kind
    model: str
    turns: tuple[Turn, ...] = ()
    prompt: str = ""
    sampling: dict[str, Any]
    max_tokens: int
    n: int = 1
    stream: bool
    include_usage: bool
    retrieve: bool
    deterministic: bool
    media: frozenset[str] = frozenset()
    structured: bool = False
    user: str
    store: bool
    lane: Lane
    prompts: tuple[str, ...] = ()
    repeated: dict[str, Any] = {}
    id: str = ""
    echo: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """Everything the client wrote, for screening and for estimates of its length. What tools
        gave back counts: others may have written it. Where nobody but the system speaks, that."""
        told = [turn.content for turn in self.turns if turn.role in ("user", "tool")]
        return self.prompt or "\n".join(told or [turn.content for turn in self.turns])

    @property
    def question(self) -> str:
        """What is asked: the last message of the user, or the prompt."""
        asked = [turn.content for turn in self.turns if turn.role == "user"]
        return asked[-1] if asked else self.prompt

    @property
    def transcript(self) -> str:
        """All that was said: the question alone, or every turn under its role."""
        if len(self.turns) <= 1:
            return self.turns[0].content if self.turns else self.prompt
        return "\n\n".join(f"{turn.role}: {turn.content}" for turn in self.turns)


T = TypeVar("T")

_WHERE = re.compile(r" - at .*`\$\.([^`]+)`$|missing required field `([^`]+)`$")

_INSTEAD = {
    "echo": "Prompts are not scored; in lm_eval, take tasks whose output_type is generate_until."
}
_FORWARDED = (
    "temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty",
    "repeat_penalty", "logit_bias",
)  # fmt: skip

_chat = msgspec.json.Decoder(ChatBody)
_completion = msgspec.json.Decoder(CompletionBody)
_embedding = msgspec.json.Decoder(EmbeddingBody)
_moderation = msgspec.json.Decoder(ModerationBody)
_feedback = msgspec.json.Decoder(FeedbackBody)
_rerank = msgspec.json.Decoder(RerankBody)


def parse_chat(body: bytes, defaults: SamplingSettings) -> Ask:
    """A body of ``/v1/chat/completions``. Raises `HttpError` 400 that names the field at fault."""
    said = decode(_chat, body)
    if said.functions:
        raise unsupported("functions", "Give them as tools.")
    if said.audio or (said.modalities or ["text"]) != ["text"]:
        raise unsupported("audio" if said.audio else "modalities", "Answers are text here.")
    sampling = sampling_of(said)
    if said.tools:
        sampling |= tool_fields(said.tools, said.tool_choice, said.parallel_tool_calls)
    if said.response_format is not None and said.response_format.type != "text":
        sampling["response_format"] = _format(said.response_format)
    if said.logprobs:
        sampling["logprobs"] = True
        sampling["top_logprobs"] = said.top_logprobs or 0
    if said.reasoning_effort is not None:
        sampling["reasoning_effort"] = said.reasoning_effort
    return ask_of(
        said, "chat", sampling, said.max_completion_tokens or said.max_tokens, defaults,
        said=turns.read(said.messages), retrieve=said.retrieve,
    )  # fmt: skip


def parse_completion(body: bytes, defaults: SamplingSettings) -> Ask:
    """A body of ``/v1/completions``: one prompt or several, no retrieval."""
    said = decode(_completion, body)
    for name, plain in (("best_of", 1), ("echo", False), ("suffix", "")):
        if getattr(said, name) not in (None, plain):
            raise unsupported(name, _INSTEAD.get(name, ""))
    sampling = sampling_of(said)
    if said.logprobs is not None:
        sampling["logprobs"] = max(1, said.logprobs)
    prompts = (said.prompt,) if isinstance(said.prompt, str) else tuple(said.prompt)
    ask = ask_of(
        said, "completion", sampling, said.max_tokens, defaults, prompt="\n\n".join(prompts),
        retrieve=False,
    )  # fmt: skip
    if len(prompts) == 1:
        return ask
    num = ask.n * len(prompts)
    if num > MAX_CHOICES:
        raise invalid("n", f"{num} answers to one request are more than {MAX_CHOICES}.")
    return msgspec.structs.replace(ask, n=num, prompts=prompts)


def parse_embedding(body: bytes) -> tuple[EmbeddingBody, list[str]]:
    """A body of ``/v1/embeddings`` and its texts; lists of token numbers are refused."""
    said = decode(_embedding, body)
    texts = [said.input] if isinstance(said.input, str) else said.input
    if not all(isinstance(text, str) for text in texts):
        raise invalid(
            "input",
            "Token numbers mean nothing to this model; give text "
            "(in LangChain: check_embedding_ctx_length=False).",
        )
    strings = [text for text in texts if isinstance(text, str)]
    if not strings or not all(strings):
        raise invalid("input", "Give one text or a list of texts, none of them empty.")
    if len(strings) > 2048:
        raise invalid("input", f"{len(strings)} texts are more than 2048.")
    return said, strings


def parse_moderation(body: bytes) -> list[str]:
    """The texts of a body of ``/v1/moderations``; several parts are parts of one text."""
    said = decode(_moderation, body)
    if isinstance(said.input, str):
        return [said.input]
    strings = [item for item in said.input if isinstance(item, str)]
    if len(strings) == len(said.input) and strings:
        if len(strings) > 1024:
            raise invalid("input", f"{len(strings)} texts are more than 1024.")
        return strings
    texts = [item.text for item in said.input if not isinstance(item, str)]
    if strings or not texts or not all(isinstance(text, str) for text in texts):
        raise invalid("input", "Give a text, a list of texts, or a list of parts of type text.")
    return ["\n".join(text for text in texts if text is not None)]


def parse_rerank(body: bytes) -> RerankBody:
    """A body of ``/v1/rerank``."""
    return decode(_rerank, body)


def parse_feedback(body: bytes) -> FeedbackBody:
    """A body of ``/v1/feedback``: ``{answer, rating, comment}`` with a rating of -1, 0 or 1."""
    return decode(_feedback, body)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """``body`` as the decoder's type. Raises `HttpError` 400 that says what is wrong and where."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        at = _WHERE.search(str(error))
        param = (at[1] or at[2]) if at is not None else None
        raise HttpError(
            400, "invalid_type", "The request does not fit.", f"{error}.", param=param
        ) from None
    except msgspec.DecodeError as error:
        raise HttpError(
            400, "invalid_json", "The body is not JSON.", f"{error}.", "Mend it and send it again."
        ) from None
    except UnicodeDecodeError as error:
        raise HttpError(400, "invalid_json", "The body is not UTF-8.", f"{error}.") from None
    except RecursionError:
        raise HttpError(400, "invalid_json", "The body is nested too deeply.") from None


def tool_fields(
    tools: list[Tool], choice: str | dict[str, Any] | None, in_parallel: bool | None
) -> dict[str, Any]:
    """Tools and how they are chosen, checked, as engines take them."""
    if len(tools) > MAX_TOOLS:
        raise invalid("tools", f"{len(tools)} tools are more than {MAX_TOOLS}.")
    for number, tool in enumerate(tools):
        if tool.function.parameters is not None:
            schemas.check(tool.function.parameters, f"tools[{number}].function.parameters")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        tools, choice = _allowed(tools, choice)
    names = [tool.function.name for tool in tools]
    if isinstance(choice, dict):
        named = choice.get("function")
        name = named.get("name") if isinstance(named, dict) else None
        if choice.get("type") != "function" or name not in names:
            raise invalid("tool_choice", f"Name one of the tools: {', '.join(names)}.")
        choice = {"type": "function", "function": {"name": name}}
    elif choice not in (None, "auto", "none", "required"):
        raise invalid("tool_choice", "It is 'auto', 'none', 'required' or names a function.")
    fields = {
        "tools": msgspec.to_builtins(tools),
        "tool_choice": choice,
        "parallel_tool_calls": in_parallel,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _allowed(tools: list[Tool], choice: dict[str, Any]) -> tuple[list[Tool], Any]:
    """Those of ``tools`` that may be called, and the mode in which they are."""
    try:
        allowed = msgspec.convert(choice.get("allowed_tools"), AllowedTools)
    except msgspec.ValidationError as error:
        raise invalid("tool_choice", f"{error}.") from None
    names = {each.function.name for each in allowed.tools}
    kept = [tool for tool in tools if tool.function.name in names]
    if not kept:
        raise invalid("tool_choice", "It allows none of the tools.")
    return kept, allowed.mode


def _format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.type == "json_schema":
        if wanted.json_schema is None or wanted.json_schema.schema is None:
            raise invalid("response_format", "A json_schema has a name and a schema.")
        schemas.check(wanted.json_schema.schema, "response_format")
    whole: dict[str, Any] = msgspec.to_builtins(wanted)
    if wanted.json_schema is not None:
        whole["json_schema"]["name"] = wanted.json_schema.name
    return whole


def sampling_of(said: Generation) -> dict[str, Any]:
    """How the client wants tokens drawn."""
    values = {name: getattr(said, name) for name in _FORWARDED}
    kept = {name: value for name, value in values.items() if value is not None}
    if said.stop:
        kept["stop"] = _stops(said.stop)
    return kept


def _stops(stop: str | list[str]) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop
    if len(stops) > MAX_STOPS or not all(stops):
        raise invalid("stop", f"Give at most {MAX_STOPS} texts, none of them empty.")
    return stops


def ask_of(
    body: Generation,
    kind: Kind,
    sampling: dict[str, Any],
    limit: int | None,
    defaults: SamplingSettings,
    *,
    said: tuple[Turn, ...] = (),
    prompt: str = "",
    retrieve: bool | None,
) -> Ask:
    """The `Ask` of a body whose parts were checked. Raises `HttpError` 400."""
    media = turns.media(said)
    plain = (
        not media and "tools" not in sampling and all(not turn.more for turn in said)
        and turns.ask(said)
    )  # fmt: skip
    if retrieve and kind == "chat" and not plain:
        raise invalid(
            "retrieve", "Documents are looked up for a question of the user, without tools, "
            "images or sound.",
        )  # fmt: skip
    temperature = body.temperature if body.temperature is not None else defaults.temperature
    return Ask(
        kind=kind,
        model=body.model,
        turns=said,
        prompt=prompt,
        sampling=sampling,
        max_tokens=limit or defaults.max_tokens,
        n=body.n or 1,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        retrieve=retrieve is not False and plain,
        deterministic=temperature == 0 or body.seed is not None,
        media=media,
        structured="response_format" in sampling,
        user=(body.user or "")[:128],
        store=bool(body.store),
        lane="batch" if body.service_tier == "flex" else "interactive",
        repeated=_repeated(body),
    )


def _repeated(body: Generation) -> dict[str, Any]:
    """What answers repeat of ``body``, as clients of OpenAI's API expect where they said it."""
    if body.service_tier is None and body.metadata is None:
        return {}
    tier = {"service_tier": "flex" if body.service_tier == "flex" else "default"}
    return tier | ({} if body.metadata is None else {"metadata": body.metadata})
