"""Pictures that requests name by address: not fetched, or fetched here and passed on as data.

An engine that fetched them would ask any address for any client, of its own machine and of the
network around it (server-side request forgery, CWE-918). So addresses never reach an engine. Hosts
that the settings name are asked by the gateway itself, over TLS, at a public address that was
looked up and judged in one step with connecting: a name that means another machine a moment later
(DNS rebinding) is judged again.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import ssl
from collections.abc import Callable, Collection
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from undercroft.serve.wire import media
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.failures import HttpError
from undercroft.serve.wire.turns import Turn

MAX_PICTURES = 8  # fetched for one request, altogether of media.MAX_BYTES
MAX_REDIRECTS = 3
AT_ONCE = 8  # connections of the whole gateway
WITHIN_S = 10.0  # all of one request

_HEADERS = {"accept": "image/*", "accept-encoding": "identity", "user-agent": "undercroft"}
_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSED = tuple(
    ipaddress.ip_network(each)
    for each in (
        "168.63.129.16/32", "192.0.0.0/24",  # what Azure and Oracle tell their machines
        "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16",  # an IPv4 inside
    )
)  # fmt: skip


def is_public(address: str) -> bool:
    """Whether anybody on the internet could ask ``address``: it is none of this machine, of its
    network, or of those that clouds keep for what they tell their machines."""
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    special = found.is_multicast or found.is_reserved or getattr(found, "is_site_local", False)
    refused = any(found.version == each.version and found in each for each in _REFUSED)
    return found.is_global and not special and not refused


class _Judged(AbstractResolver):
    """Looks names up in ``inner`` and refuses those of which any address is not to be ``reached``.
    Nothing is remembered: aiohttp connects to the very addresses that were judged."""

    def __init__(self, inner: AbstractResolver, reached: Callable[[str], bool]) -> None:
        self._inner = inner
        self._reached = reached

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not found or not all(self._reached(each["host"].partition("%")[0]) for each in found):
            raise OSError(f"{host} is not at a public address")
        return found

    async def close(self) -> None:
        await self._inner.close()


class Pictures:
    """Fetches pictures from ``hosts`` alone; from nowhere, when there are none. The rest is for
    tests: who looks names up, which addresses may be reached, whom TLS trusts."""

    def __init__(
        self,
        hosts: Collection[str],
        *,
        resolver: Callable[[], AbstractResolver] = ThreadedResolver,
        reached: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._resolver, self._reached, self._tls = resolver, reached, tls
        self._client: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def brought(self, ask: Ask) -> Ask:
        """``ask`` with every picture as data. Raises `HttpError` 400 for one that is not fetched
        here, that cannot be had, or that no engine should be given."""
        named = [url for turn in ask.turns for url in _addresses(turn)]
        if not named:
            return ask
        if len(named) > MAX_PICTURES:
            raise _refused(f"{len(named)} addresses of pictures are more than {MAX_PICTURES}.")
        data: dict[str, str] = {}
        room = media.MAX_BYTES
        try:
            async with asyncio.timeout(WITHIN_S):
                for url in dict.fromkeys(named):
                    picture = await self._fetched(url, room)
                    room -= len(picture)
                    data[url] = _as_data(picture)
        except TimeoutError:
            raise _refused(f"It did not come within {WITHIN_S:g} s.") from None
        turns = tuple(_with(turn, data) for turn in ask.turns)
        return msgspec.structs.replace(ask, turns=turns)

    async def _fetched(self, address: str, room: int) -> bytes:
        url = self._judged(address)
        try:
            for _ in range(1 + MAX_REDIRECTS):
                async with self._session().get(url, allow_redirects=False) as reply:
                    if reply.status not in _REDIRECTS:
                        return await _read(reply, room)
                    url = self._judged(str(url.join(URL(reply.headers.get("location", "")))))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _refused(f"{url.host} does not give it ({type(error).__name__}).") from None
        raise _refused("It is always somewhere else.")

    def _judged(self, address: str) -> URL:
        """``address``, if it may be asked for at all. Raises `HttpError` 400."""
        try:
            url = URL(address)
            host, is_plain = url.host or "", url.user is None and url.port == 443
        except ValueError:
            raise _refused("Its address cannot be read.") from None
        if url.scheme != "https" or not is_plain or host.lower() not in self._hosts:
            some = f" but from {', '.join(sorted(self._hosts))}" if self._hosts else ""
            raise _refused(f"Pictures are not fetched from addresses here{some}.")
        if _is_number(host):
            raise _refused("Its host is a number.")  # which nobody would look up, and judge
        return url

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            judged = _Judged(self._resolver(), self._reached)
            connector = aiohttp.TCPConnector(
                resolver=judged, use_dns_cache=False, force_close=True, limit=AT_ONCE,
                ssl=self._tls or True,
            )  # fmt: skip
            self._client = aiohttp.ClientSession(
                connector=connector, headers=_HEADERS, auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None),
            )  # fmt: skip
        return self._client


async def _read(reply: aiohttp.ClientResponse, room: int) -> bytes:
    """The picture in ``reply``, of ``room`` bytes at most."""
    if reply.status != 200:
        raise _refused(f"Its host answered {reply.status}.")
    if not reply.content_type.startswith("image/"):
        raise _refused(f"Its host calls it {reply.content_type[:60]}, which is no picture.")
    blocks, size = [], 0
    async for block in reply.content.iter_any():
        blocks.append(block)
        size += len(block)
        if size > room:
            raise _refused(f"Pictures of one request may have {media.MAX_BYTES / 1e6:g} MB.")
    return b"".join(blocks)


def _as_data(picture: bytes) -> str:
    kind = media.check_picture(picture, "messages")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _addresses(turn: Turn) -> list[str]:
    parts = (part for part in turn.more.get("content", ()) if part["type"] == "image_url")
    urls = (str(part["image_url"]["url"]) for part in parts)
    return [url for url in urls if not url.startswith("data:")]


def _with(turn: Turn, data: dict[str, str]) -> Turn:
    if not _addresses(turn):
        return turn
    parts = [
        {**part, "image_url": {**part["image_url"], "url": data.get(url, url)}}
        if (url := part.get("image_url", {}).get("url"))
        else part
        for part in turn.more["content"]
    ]
    return msgspec.structs.replace(turn, more={**turn.more, "content": parts})


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _refused(why: str) -> HttpError:
    return HttpError(
        400, "image_url_not_fetched", "The picture cannot be had.", why,
        "Send it as a data: URL (data:image/png;base64,…).", param="messages",
    )  # fmt: skip
