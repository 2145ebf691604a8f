"""How many tokens a conversation is, by the tokenizer and chat template of the engine itself."""

from __future__ import annotations

import asyncio

import aiohttp

from undercroft.serve.prompting.history import Messages

WITHIN_S = 1.0


async def count(client: aiohttp.ClientSession, url: str, messages: Messages) -> int | None:
    """Tokens of ``messages`` as the llama.cpp server at ``url`` would read them; None when it does
    not say, or there is none."""
    if not url:
        return None
    try:
        async with asyncio.timeout(WITHIN_S):
            async with client.post(f"{url}/apply-template", json={"messages": messages}) as said:
                said.raise_for_status()
                prompt = (await said.json())["prompt"]
            body = {"content": prompt, "add_special": True, "parse_special": True}
            async with client.post(f"{url}/tokenize", json=body) as said:
                said.raise_for_status()
                return len((await said.json())["tokens"])
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
        return None
