"""What an answer is made of on its way from the engine to the client."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

Bytes = bytes | bytearray  # `bytes` is the name of a field below


class PromptDetails(msgspec.Struct):
    cached_tokens: int = 0  # that the engine had read before


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int = 0


class Usage(msgspec.Struct):
    """Tokens of one answer, in the engine's own counting."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    @property
    def cached_tokens(self) -> int:
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else 0

    @property
    def reasoning_tokens(self) -> int:
        details = self.completion_tokens_details
        return details.reasoning_tokens if details else 0


def total(read: Sequence[Usage], written: Sequence[Usage], thoughts: float = 0.0) -> Usage:
    """One usage of several: prompts are counted where they were ``read``, answers where they were
    ``written``. ``thoughts`` is the share of reasoning in what was written, for engines that do not
    count it."""
    prompt = sum(usage.prompt_tokens for usage in read)
    completion = sum(usage.completion_tokens for usage in written)
    cached = sum(usage.cached_tokens for usage in read)
    reasoning = sum(usage.reasoning_tokens for usage in written) or round(completion * thoughts)
    return Usage(
        prompt, completion, prompt + completion, PromptDetails(cached), CompletionDetails(reasoning)
    )


class Alternative(msgspec.Struct):
    """A token that might have been, and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class Token(msgspec.Struct):
    """A token of the answer; ``bytes`` are its UTF-8, which may be part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[Alternative] = []

    @property
    def encoded(self) -> Bytes:
        return bytearray(self.bytes) if self.bytes is not None else self.token.encode()


class ToolPiece(msgspec.Struct):
    """Part of one call of a tool; the first part of each has ``id`` and ``name``."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Piece(msgspec.Struct):
    """Some of answer number ``index``; the last ones carry ``finish_reason`` and ``usage``."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    index: int = 0
    reasoning: str = ""
    tools: list[ToolPiece] | None = None
    tokens: list[Token] | None = None

    @property
    def says(self) -> bool:
        """Whether there is anything in it for the client to read."""
        return bool(self.text or self.reasoning or self.tools or self.tokens)

    def take(self, piece: Piece) -> None:
        """Become what this and ``piece`` after it say together."""
        self.text += piece.text
        if piece.finish_reason:
            self.finish_reason = piece.finish_reason
        if piece.usage is not None:
            self.usage = piece.usage
        if piece.reasoning:
            self.reasoning += piece.reasoning
        if piece.tokens:
            self.tokens = [*(self.tokens or ()), *piece.tokens]
        if not piece.tools:
            return
        self.tools = self.tools or []
        for part in piece.tools:
            if part.index < len(self.tools):
                self.tools[part.index].arguments += part.arguments
            else:
                self.tools.append(msgspec.structs.replace(part))


@dataclass
class TokenLog:
    """Holds tokens back until the text that they make up has passed the screens unchanged.

    Once a screen changed anything, no token is shown any more: it would tell what was masked.
    """

    changed: bool = False
    _waiting: list[Token] = field(default_factory=list)
    _passed: Bytes = b""  # text that was shown, of tokens that were not

    def feed(self, tokens: list[Token] | None, shown: str) -> list[Token] | None:
        """Take what the engine says next and the text that is ``shown``; its tokens."""
        if self.changed:
            return None
        self._waiting += tokens or ()
        self._passed += shown.encode()
        done = 0
        for token in self._waiting:
            encoded = token.encoded
            if not self._passed.startswith(encoded):
                self.changed = not encoded.startswith(self._passed)
                break
            self._passed = self._passed[len(encoded) :]
            done += 1
        released, self._waiting = self._waiting[:done], self._waiting[done:]
        return released or None


def new_call_id() -> str:
    return "call_" + secrets.token_hex(12)
