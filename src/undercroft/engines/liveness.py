"""Does an engine that lives answer?

``/health`` of llama.cpp is answered by its HTTP threads, whatever the loop that computes is doing;
``/slots`` is answered by that loop, between two batches. So an engine whose loop turns with work in
hand is busy, and one whose loop turns without any is asked for a token.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

#: A prompt of one word; it takes the place of what the slot remembered, which llama.cpp has put
#: aside in its prompt cache.
QUESTION = {"prompt": "a", "n_predict": 1, "cache_prompt": False, "temperature": 0.0}


def healthy(base_url: str, timeout_s: float) -> bool:
    """Whether the engine has loaded its model and says that it is well."""
    return _ask(f"{base_url}/health", timeout_s)[0] == 200


def responsive(base_url: str, timeout_s: float) -> bool:
    """Whether the engine is at work or, having nothing to do, writes a token within ``timeout_s``.

    Choose ``timeout_s`` above what one batch takes (`launch.PROMPT_TOKENS_AT_ONCE` tokens of a
    prompt): in between the engine says nothing. May take a fraction longer than that. An engine
    that answers with a refusal lives: one for embeddings writes no tokens.
    """
    deadline = time.monotonic() + timeout_s
    if not healthy(base_url, timeout_s):
        return False
    status, slots = _ask(f"{base_url}/slots", _left(deadline))
    if status == 0:
        return False
    if status == 200 and any(slot.get("is_processing") for slot in slots or ()):
        return True
    return _ask(f"{base_url}/completion", _left(deadline), QUESTION)[0] != 0


def _left(deadline: float) -> float:
    return max(0.01, deadline - time.monotonic())


def _ask(url: str, timeout_s: float, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and JSON of an answer, None for an empty one (vLLM's health); 0 when none came."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - the address is our own engine's
        url, data, {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310
            said = reply.read()
            return reply.status, json.loads(said) if said else None
    except urllib.error.HTTPError as refusal:
        return refusal.code, None
    except (OSError, ValueError):
        return 0, None
