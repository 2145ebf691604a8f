"""``GET /openapi.json``: the API's description, made from the structs that requests are read into.

The whole of it is made once. What streams is described by its media type alone: the events are
those of OpenAI's API.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from undercroft.serve.endpoints.items import MOST_LISTED
from undercroft.serve.wire import bodies, objects, versions
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.response_asks import ResponseBody

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_SSE = "text/event-stream"
REFUSALS = {
    400: "The request cannot be used; `param` names the field.",
    401: "The API key is missing or not valid.",
    403: "The key's role may not do this.",
    404: "There is no such thing.",
    405: "The path takes another method.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is compressed.",
    429: "The key's tokens are spent, or too much was asked at once.",
    500: "The gateway failed.",
    502: "The model's engine failed.",
    503: "Too busy; `retry-after-ms` says when to try again.",
    504: "It took longer than the time limit.",
    507: "The disk is full.",
}


_QUERY: dict[str, dict[str, Any]] = {
    "stream": {"type": "boolean"},
    "starting_after": {"type": "integer"},
    "order": {"enum": ["asc", "desc"]},
    "after": {"type": "string"},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED},
}


@dataclass(frozen=True)
class Operation:
    """What one method of one path does, takes and answers."""

    summary: str
    answer: type | None = None
    body: type | None = None
    streams: bool = False
    query: tuple[str, ...] = ()  # what may follow the path
    is_open: bool = False  # without a key


OPERATIONS: dict[str, dict[str, Operation]] = {
    "/v1/chat/completions": {
        "POST": Operation(
            "Answer a conversation.", objects.ChatCompletion, bodies.ChatBody, streams=True
        )
    },
    "/v1/completions": {
        "POST": Operation(
            "Go on from a text.", objects.TextCompletion, bodies.CompletionBody, streams=True
        )
    },
    "/v1/responses": {
        "POST": Operation(
            "Answer, keeping the response.", objects.ResponseObject, ResponseBody, streams=True
        )
    },
    "/v1/responses/{id}": {
        "GET": Operation(
            "A kept response.",
            objects.ResponseObject,
            streams=True,
            query=("stream", "starting_after"),
        ),
        "DELETE": Operation("Delete a kept response.", objects.Deleted),
    },
    "/v1/responses/{id}/cancel": {
        "POST": Operation("Cancel a response in the background.", objects.ResponseObject)
    },
    "/v1/responses/{id}/input_items": {
        "GET": Operation(
            "What a response was asked.", objects.InputItems, query=("order", "after", "limit")
        )
    },
    "/v1/embeddings": {
        "POST": Operation("Vectors of texts.", objects.Embeddings, bodies.EmbeddingBody)
    },
    "/v1/rerank": {
        "POST": Operation("Documents by how well they fit.", objects.Ranking, bodies.RerankBody)
    },
    "/v1/moderations": {
        "POST": Operation(
            "What detectors find in texts.", objects.Moderation, bodies.ModerationBody
        )
    },
    "/v1/feedback": {"POST": Operation("Rate an answer.", objects.Rating, bodies.FeedbackBody)},
    "/v1/models": {"GET": Operation("The models there are.", objects.Models)},
    "/v1/models/{id}": {"GET": Operation("One model.", objects.Model)},
    "/health": {"GET": Operation("Does every model answer?", objects.Health, is_open=True)},
    "/metrics": {"GET": Operation("Metrics for Prometheus.", is_open=True)},
    "/openapi.json": {"GET": Operation("This document.", is_open=True)},
}


async def describe(gateway: Gateway, exchange: Exchange) -> None:  # noqa: ARG001
    """``GET /openapi.json``."""
    await exchange.reply(200, _encoded(), [(b"content-type", b"application/json")])


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    found = [each for methods in OPERATIONS.values() for each in methods.values()]
    types = {kind for each in found for kind in (each.answer, each.body) if kind is not None}
    ordered = sorted({*types, objects.Error}, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Undercroft",
            "version": versions.NEWEST.date,
            "description": "An OpenAI-compatible gateway in front of a project's models.",
        },
        "paths": {
            path: {method.lower(): _operation(path, each) for method, each in methods.items()}
            for path, methods in OPERATIONS.items()
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": versions.HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "string", "enum": [each.date for each in versions.VERSIONS]},
        }
    ]
    if "{id}" in path:
        named = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        parameters.insert(0, named)
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": _QUERY[name]}
        for name in operation.query
    ]
    whole: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": parameters,
        "responses": _replies(path, operation),
    }
    if operation.body is not None:
        content = {_JSON: {"schema": _ref(operation.body)}}
        whole["requestBody"] = {"required": True, "content": content}
    if not operation.is_open:
        whole["security"] = [{"key": []}]
    return whole


def _replies(path: str, operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {_JSON: {"schema": _ref(operation.answer)}}
    if path == "/metrics":
        content = {"text/plain": {"schema": {"type": "string"}}}
    if operation.streams:
        content[_SSE] = {"schema": {"type": "string"}}
    refusal = {_JSON: {"schema": _ref(objects.Error)}}
    replies: dict[str, Any] = {"200": {"description": "Done.", "content": content}}
    for status, why in REFUSALS.items():
        replies[str(status)] = {"description": why, "content": refusal}
    if path == "/health":
        replies["503"] = {"description": "A model does not answer.", "content": content}
    return replies


def _ref(kind: type | None) -> dict[str, str]:
    return {"type": "object"} if kind is None else {"$ref": _REF.format(name=kind.__name__)}
