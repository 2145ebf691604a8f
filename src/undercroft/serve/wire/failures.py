"""Errors as OpenAI-compatible clients expect them: one body shape, and when to try again.

The shape is ``{"error": {"message", "type", "param", "code"}}``. Clients retry 408, 409, 429 and
5xx on their own; ``retry-after-ms`` tells them when, and they do not retry at all when it is over
two minutes or ``x-should-retry`` is false (openai-python 3, ``_base_client.py``).
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec

from undercroft.errors import Cancelled, Denied, NotFound, Overloaded, UndercroftError

LONGEST_RETRY_S = 120.0

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class HttpError(UndercroftError):
    """A refusal with its own status, ``code`` and the ``param`` of the request it is about."""

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        why: str = "",
        do: str = "",
        *,
        param: str | None = None,
    ) -> None:
        super().__init__(what, why, do)
        self.http_status = status
        self.code = code
        self.param = param


class NoSuchModel(NotFound):
    """There is no model of this name: clients tell by the code that another name would help."""

    code = "model_not_found"
    param = "model"


class OutOfTokens(Overloaded):
    """The key's tokens of this day are spent: 429, and a retry only helps after midnight UTC."""

    http_status = 429
    code = "insufficient_quota"


class TooManyRequests(Overloaded):
    """The queue in front of the model is full: 503, and a retry helps soon."""

    code = "overloaded"


def unsupported(param: str, do: str = "") -> HttpError:
    return HttpError(
        400, "unsupported_parameter", f"{param!r} is not supported here.", "", do, param=param
    )


def invalid(param: str, why: str) -> HttpError:
    return HttpError(400, "invalid_value", f"{param!r} cannot be used.", why, param=param)


def as_undercroft(error: BaseException) -> UndercroftError:
    """``error`` itself if it is ours; anything else is our fault and says nothing of its inside."""
    if isinstance(error, UndercroftError):
        return error
    if isinstance(error, TimeoutError):
        return HttpError(504, "timeout", "The answer took longer than its time limit.")
    return HttpError(500, "internal_error", "The gateway failed.", "The log says why.")


def body_of(error: UndercroftError) -> dict[str, Any]:
    status = error.http_status
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "error": {
            "message": str(error),
            "type": kind,
            "param": getattr(error, "param", None),
            "code": "invalid_api_key" if isinstance(error, Denied) else error.code,
        }
    }


def of_response(error: UndercroftError) -> dict[str, str]:
    """``error`` as a response object tells it, whose API has codes of its own."""
    code = "server_error"
    if error.http_status == 429:
        code = "rate_limit_exceeded"
    elif error.http_status < 500:
        code = "invalid_prompt"
    return {"code": code, "message": str(error)}


def encode(error: UndercroftError) -> bytes:
    return msgspec.json.encode(body_of(error))


def retry_headers(error: UndercroftError) -> list[tuple[bytes, bytes]]:
    """When the client should try again, if it should."""
    if not isinstance(error, Overloaded):
        return []
    after = error.retry_after_s
    headers = [(b"retry-after", str(math.ceil(after)).encode())]
    if after > LONGEST_RETRY_S or isinstance(error, OutOfTokens):
        return [*headers, (b"x-should-retry", b"false")]
    return [*headers, (b"retry-after-ms", str(math.ceil(after * 1000)).encode())]


def outcome_of(error: BaseException) -> str:
    """The word for ``error`` in the ``status`` column of the requests table."""
    if isinstance(error, Cancelled | asyncio.CancelledError):
        return "cancelled"
    if isinstance(error, HttpError) and error.code == "content_filter":
        return "blocked"
    if isinstance(error, Overloaded):
        return "shed"
    return "error"
