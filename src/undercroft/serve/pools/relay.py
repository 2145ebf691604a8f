"""A door to an engine for other machines: engines themselves listen to their own machine alone.

Bytes pass as they are, both ways, once a connection's first request carries the token. Closing
either side closes the other, which is how an engine learns that a client hung up.
"""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from urllib.parse import urlsplit

LONGEST_HEAD = 32_768
HEAD_WITHIN_S = 10.0
BLOCK = 65_536


class Relay:
    """Listens at ``host`` on a free port and passes on to the engine at ``target`` (a URL)."""

    def __init__(self, host: str, target: str, token: str) -> None:
        self._host = host
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._wanted = f"Bearer {token}".encode()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Begin to listen; returns the URL."""
        self._server = await asyncio.start_server(self._serve, self._host, 0, limit=LONGEST_HEAD)
        port = self._server.sockets[0].getsockname()[1]
        return (
            f"http://[{self._host}]:{port}" if ":" in self._host else f"http://{self._host}:{port}"
        )

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_WITHIN_S)
            if not self._is_known(head):
                writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                return
            inward, outward = await asyncio.open_connection(*self._target)
            outward.write(head)
            ways = [
                asyncio.create_task(_pass_on(reader, outward)),
                asyncio.create_task(_pass_on(inward, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            outward.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked sees the connection end
        finally:
            writer.close()

    def _is_known(self, head: bytes) -> bool:
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"authorization":
                return hmac.compare_digest(value.strip(), self._wanted)
        return False


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()
