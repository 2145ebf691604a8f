"""Request bodies -> `Ask`: what the client wants, checked, and nothing that we do not use.

Bodies are decoded once, into structs that hold only the fields we route by or forward. Fields that
would change the answer and that we cannot honour are refused; unknown ones are passed over, as
clients of the OpenAI API send many that concern only OpenAI.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from undercroft.serve.failures import HttpError, unsupported
from undercroft.settings import SamplingSettings

Kind = Literal["chat", "completion"]
Lane = Literal["interactive", "batch"]


class Part(msgspec.Struct):
    type: str
    text: str | None = None


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Generation(msgspec.Struct):
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
    logprobs: Any = None


class ChatBody(_Generation):
    messages: list[Message] = []
    max_completion_tokens: int | None = None
    response_format: dict[str, Any] | None = None
    retrieve: bool | None = None
    tools: Any = None
    functions: Any = None
    audio: Any = None


class CompletionBody(_Generation):
    prompt: str | list[str] = ""
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None


class EmbeddingBody(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


class FeedbackBody(msgspec.Struct):
    answer: str
    rating: int = 0
    comment: str = ""


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation, as plain text."""

    role: str
    content: str


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What one client wants generated. ``sampling`` holds only what the client set.

    ``store`` is the client's consent to learning from the exchange, as in the OpenAI API.
    """

    kind: Kind
    model: str
    turns: tuple[Turn, ...] = ()
    prompt: str = ""
    sampling: dict[str, Any]
    max_tokens: int
    stream: bool
    include_usage: bool
    retrieve: bool
    deterministic: bool
    user: str
    store: bool
    lane: Lane

    @property
    def text(self) -> str:
        """Everything the client wrote, for screening and for estimates of its length."""
        return self.prompt or "\n".join(turn.content for turn in self.turns if turn.role == "user")

    @property
    def question(self) -> str:
        """What is asked: the last message of the user, or the prompt."""
        asked = [turn.content for turn in self.turns if turn.role == "user"]
        return asked[-1] if asked else self.prompt

    @property
    def transcript(self) -> str:
        """All that was said: the question alone, or every turn under its role."""
        if len(self.turns) <= 1:
            return self.question
        return "\n\n".join(f"{turn.role}: {turn.content}" for turn in self.turns)


T = TypeVar("T")

_ROLES = ("system", "developer", "user", "assistant")
_FORWARDED = (
    "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty",
    "frequency_penalty", "repeat_penalty", "logit_bias",
)  # fmt: skip
_RANGES = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}

_chat = msgspec.json.Decoder(ChatBody)
_completion = msgspec.json.Decoder(CompletionBody)
_embedding = msgspec.json.Decoder(EmbeddingBody)
_feedback = msgspec.json.Decoder(FeedbackBody)


def parse_chat(body: bytes, defaults: SamplingSettings) -> Ask:
    """A body of ``/v1/chat/completions``. Raises `HttpError` 400 that names the field at fault."""
    said = _decode(_chat, body)
    for name in ("tools", "functions", "audio"):
        if getattr(said, name):
            raise unsupported(name, "Leave it out: this model only writes text.")
    turns = tuple(_turn(number, message) for number, message in enumerate(said.messages))
    if not any(turn.role == "user" for turn in turns):
        raise _invalid("messages", "There is no message with role 'user'.")
    sampling = _sampling(said)
    if said.response_format and said.response_format.get("type", "text") != "text":
        sampling["response_format"] = said.response_format
    limit = said.max_completion_tokens or said.max_tokens
    return _ask(said, "chat", sampling, limit, defaults, turns=turns, retrieve=said.retrieve)


def parse_completion(body: bytes, defaults: SamplingSettings) -> Ask:
    """A body of ``/v1/completions``: one prompt, no retrieval."""
    said = _decode(_completion, body)
    for name in ("best_of", "echo", "suffix"):
        if getattr(said, name) not in (None, False, 1, ""):
            raise unsupported(name)
    prompts = [said.prompt] if isinstance(said.prompt, str) else said.prompt
    if len(prompts) != 1 or not prompts[0]:
        raise _invalid("prompt", "Give exactly one prompt that is not empty.")
    sampling = _sampling(said)
    return _ask(
        said, "completion", sampling, said.max_tokens, defaults, prompt=prompts[0], retrieve=False
    )


def parse_embedding(body: bytes) -> tuple[EmbeddingBody, list[str]]:
    """A body of ``/v1/embeddings`` and its texts; lists of token numbers are refused."""
    said = _decode(_embedding, body)
    texts = [said.input] if isinstance(said.input, str) else said.input
    if not all(isinstance(text, str) for text in texts):
        raise _invalid("input", "Token numbers mean nothing to this model; give text.")
    strings = [text for text in texts if isinstance(text, str)]
    if not strings or not all(strings):
        raise _invalid("input", "Give one text or a list of texts, none of them empty.")
    if len(strings) > 2048:
        raise _invalid("input", f"{len(strings)} texts are more than 2048.")
    return said, strings


def parse_feedback(body: bytes) -> FeedbackBody:
    """A body of ``/v1/feedback``: ``{answer, rating, comment}`` with a rating of -1, 0 or 1."""
    said = _decode(_feedback, body)
    if said.rating not in (-1, 0, 1):
        raise _invalid("rating", "A rating is -1, 0 or 1.")
    if len(said.comment) > 10_000:
        raise _invalid("comment", "A comment has at most 10,000 characters.")
    return said


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        missing = text.rpartition("missing required field `")[2] if "missing" in text else ""
        param = path.rstrip("`") or missing.rstrip("`") or None
        raise HttpError(
            400, "invalid_type", "The request does not fit.", f"{error}.", param=param
        ) from None
    except msgspec.DecodeError as error:
        raise HttpError(
            400, "invalid_json", "The body is not JSON.", f"{error}.", "Mend it and send it again."
        ) from None
    except UnicodeDecodeError as error:
        raise HttpError(400, "invalid_json", "The body is not UTF-8.", f"{error}.") from None


def _invalid(param: str, why: str) -> HttpError:
    return HttpError(400, "invalid_value", f"{param!r} cannot be used.", why, param=param)


def _turn(number: int, message: Message) -> Turn:
    where = f"messages[{number}]"
    if message.role not in _ROLES:
        raise _invalid(f"{where}.role", f"{message.role!r} is not one of {', '.join(_ROLES)}.")
    if message.content is None or isinstance(message.content, str):
        return Turn(message.role, message.content or "")
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise _invalid(f"{where}.content", f"Parts of type {part.type!r} cannot be read here.")
    return Turn(message.role, "".join(part.text or "" for part in message.content))


def _sampling(said: _Generation) -> dict[str, Any]:
    if said.n not in (None, 1):
        raise unsupported("n", "Ask once for each answer: n is 1 here.")
    if said.logprobs:
        raise unsupported("logprobs", "Screened text has no log probabilities.")
    for name, (low, high) in _RANGES.items():
        value = getattr(said, name)
        if value is not None and not low <= value <= high:
            raise _invalid(name, f"{value} is not between {low} and {high}.")
    values = {name: getattr(said, name) for name in _FORWARDED}
    return {name: value for name, value in values.items() if value is not None}


def _ask(
    said: _Generation,
    kind: Kind,
    sampling: dict[str, Any],
    limit: int | None,
    defaults: SamplingSettings,
    *,
    turns: tuple[Turn, ...] = (),
    prompt: str = "",
    retrieve: bool | None,
) -> Ask:
    if limit is not None and limit < 1:
        raise _invalid("max_tokens", f"{limit} is less than 1.")
    temperature = said.temperature if said.temperature is not None else defaults.temperature
    return Ask(
        kind=kind,
        model=said.model,
        turns=turns,
        prompt=prompt,
        sampling=sampling,
        max_tokens=limit or defaults.max_tokens,
        stream=bool(said.stream),
        include_usage=bool(said.stream_options and said.stream_options.include_usage),
        retrieve=retrieve is not False,
        deterministic=temperature == 0 or said.seed is not None,
        user=(said.user or "")[:128],
        store=bool(said.store),
        lane="batch" if said.service_tier == "flex" else "interactive",
    )
