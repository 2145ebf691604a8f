"""Requests -> answers: the OpenAI-compatible gateway in front of a project's models.

In come HTTP requests and the live route of the ledger; out go answers with their sources, and a row
in the lake's ``requests`` table for each. `answer.answer` shows the whole way of a request on one
screen: read it first. Its parts, from the bottom up: `wire` (HTTP and JSON), `admission`, `guards`,
`caches`, `journal` (how nothing is lost) and `pools` (engines and their queues), `prompting`,
`releasing` (trials), `endpoints` (all but answers); `gateway` holds them together and `app` is the
ASGI application. ``python -m undercroft.serve`` runs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undercroft.serve.app import App
    from undercroft.serve.gateway import Gateway
    from undercroft.serve.server import serve

__all__ = ["App", "Gateway", "serve"]

_HOME = {"App": "app", "Gateway": "gateway", "serve": "server"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the web stack is slow to load."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
