"""What responses were asked, item by item: as it is kept, listed, and named by later requests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from undercroft.errors import NotFound
from undercroft.records import Principal
from undercroft.serve.wire.failures import invalid
from undercroft.serve.wire.response_asks import Item, ResponseBody

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

MOST_LISTED = 100
LISTED = 20

_ID = re.compile(r"[a-z]+_([0-9a-f]{32})[0-9a-f]+\Z")


def recorded(said: ResponseBody, response_id: str) -> list[dict[str, Any]]:
    """The items of a request as they are listed later: each with an id that tells whose it is."""
    found = [Item(role="user", content=said.input)] if isinstance(said.input, str) else said.input
    own = response_id.partition("_")[2]
    return [{**_listed(item), "id": f"in_{own}{number:x}"} for number, item in enumerate(found)]


def _listed(item: Item) -> dict[str, Any]:
    whole = {name: value for name, value in msgspec.to_builtins(item).items() if value is not None}
    whole.setdefault("status", "completed")
    if item.type != "message":
        return whole
    whole["role"] = item.role or "user"
    kind = "output_text" if item.role == "assistant" else "input_text"
    parts = item.content if isinstance(item.content, list) else []
    if isinstance(item.content, str):
        whole["content"] = [{"type": kind, "text": item.content}]
    else:
        whole["content"] = [
            {name: value for name, value in msgspec.to_builtins(part).items() if value is not None}
            for part in parts
        ]
    for part in whole["content"]:
        if part["type"] == "output_text":
            part |= {"annotations": [], "logprobs": []}
    return whole


def page(items: Sequence[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """Those that ``query`` asks for with ``order``, ``after`` and ``limit``, the newest first
    unless it says otherwise. Raises `HttpError` 400."""
    order, after = query.get("order", "desc"), query.get("after")
    limit = query.get("limit", str(LISTED))
    if order not in ("asc", "desc"):
        raise invalid("order", "It is 'asc' or 'desc'.")
    if not limit.isdecimal() or not 1 <= int(limit) <= MOST_LISTED:
        raise invalid("limit", f"It is from 1 to {MOST_LISTED}.")
    listed = list(items) if order == "asc" else list(reversed(items))
    ids = [item["id"] for item in listed]
    if after is not None and after not in ids:
        raise invalid("after", "It names none of the items.")
    begin = 0 if after is None else ids.index(after) + 1
    end = begin + int(limit)
    shown = ids[begin:end]
    return {
        "object": "list",
        "data": listed[begin:end],
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
        "has_more": end < len(ids),
    }


async def look_up(gateway: Gateway, said: ResponseBody, who: Principal) -> None:
    """Put into ``said`` what its references name: items of responses that were kept before.

    Raises `NotFound` where there is none, or it is somebody else's.
    """
    if isinstance(said.input, str):
        return
    for number, item in enumerate(said.input):
        if item.type == "item_reference":
            said.input[number] = await asyncio.to_thread(_found, gateway, item.id or "", who)


def _found(gateway: Gateway, item_id: str, who: Principal) -> Item:
    whose = _ID.match(item_id)
    if whose is not None:
        kept = gateway.shelf.get(f"resp_{whose[1]}", who.id)
        for each in (*kept.response["output"], *kept.input):
            if each["id"] == item_id:
                return msgspec.convert(each, Item)
    raise NotFound(
        f"There is no item {item_id[:60]!r}.",
        do="Send the item itself, or keep responses with store.",
    )
