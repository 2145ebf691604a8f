"""What every reader of the web here keeps to: its pace, pauses that servers ask for, sizes."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from undercroft import __version__
from undercroft.settings import CollectSettings

MAX_REDIRECTS: Final = 5
#: Answers after which the same may be asked once more.
RETRIED: Final = frozenset({429, 500, 502, 503, 504})
_TRANSIENT: Final = re.compile(r"timeout|unreachable|robots_unreachable|http_(?:429|5)")


@dataclass
class Pace:
    """Keeps requests apart."""

    _asked_at: float = 0.0

    async def keep(self, interval_s: float) -> None:
        """Return when ``interval_s`` have passed since the last time."""
        await asyncio.sleep(max(0.0, self._asked_at + interval_s - time.monotonic()))
        self._asked_at = time.monotonic()


def session_of(params: CollectSettings, **headers: str) -> aiohttp.ClientSession:
    """A session that says who asks, with further ``headers``, and gives up after ``timeout_s``."""
    said = {"User-Agent": f"{params.user_agent}/{__version__}", **headers}
    timeout = aiohttp.ClientTimeout(total=params.timeout_s)
    return aiohttp.ClientSession(headers=said, timeout=timeout)


async def body_of(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is known to be over ``limit`` bytes."""
    if (response.content_length or 0) > limit:
        return None
    body = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        body += piece
        if len(body) > limit:
            return None
    return bytes(body)


def retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """The seconds that the server asks to wait (RFC 9110, section 10.2.3); None if it does not."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def is_transient(reason: str) -> bool:
    """Whether a refusal for ``reason`` may be a server's bad moment only."""
    return _TRANSIENT.match(reason) is not None


def of_transport(error: Exception, timeout_s: float) -> str:
    """The reason for a refusal where there was no answer."""
    if isinstance(error, TimeoutError):
        return f"timeout: no answer in {timeout_s:g} s"
    return f"unreachable: {str(error) or type(error).__name__}"
