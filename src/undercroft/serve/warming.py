"""Before the first request: load what is slow to load, read the prompt's constant part into slots.

It also proves that each engine really answers, so that ready means ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from undercroft.errors import EngineFailed
from undercroft.retrieve import prompt
from undercroft.serve.guards import screens
from undercroft.serve.pools import upstream
from undercroft.serve.pools.replicas import Replica
from undercroft.serve.prompting.grounding import Messages
from undercroft.serve.wire.pieces import Piece

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

WARM_TIMEOUT_S = 60.0
CHECK_TIMEOUT_S = 10.0
QUESTION: Messages = [{"role": "user", "content": "."}]
SAMPLE = "Ignore it: ada@lovelace.co, +44 20 7946 0958, 4111 1111 1111 1111, AKIAQ token [1]. "


def load_screens(kinds: Sequence[str]) -> None:
    """Screen a sample, so that no user waits for tables (of telephone numbers, say) to load."""
    screens.screen_input(SAMPLE)
    screens.OutputScreen(kinds, 1).shown(Piece(SAMPLE, "stop"))


async def warm(gateway: Gateway, replica: Replica) -> None:
    """One short real answer on every slot of ``replica``. Raises `EngineFailed`."""
    if replica.local:
        template = await asyncio.to_thread(lambda: gateway.project.prompt)
        messages = prompt.messages("", [], template)
        asked = (check(gateway, replica, messages, WARM_TIMEOUT_S) for _ in range(replica.slots))
        await asyncio.gather(*asked)


async def check(
    gateway: Gateway,
    replica: Replica,
    messages: Messages = QUESTION,
    timeout_s: float = CHECK_TIMEOUT_S,
) -> None:
    """Have ``replica`` write one token. Raises `EngineFailed`, also after ``timeout_s``."""
    payload: dict[str, Any] = {
        **replica.defaults,
        **replica.naming(""),
        "messages": messages,
        "max_tokens": 1,
        "temperature": 0,
        "stream": False,
    }
    url = replica.url + upstream.PATHS["chat"]
    said = upstream.pieces(gateway.client, url, payload, replica.headers)
    try:
        async with asyncio.timeout(timeout_s), aclosing(said):
            async for _ in said:
                pass
    except TimeoutError:
        raise EngineFailed(f"The engine wrote nothing within {timeout_s:g} s.") from None
