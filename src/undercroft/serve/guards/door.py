"""Who is let in, and who has to leave: a key that is revoked ends the answers it asked for.

A long answer goes on for minutes. So whoever asks is looked at again while it does, by one task for
all of them, and not on the path.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from concurrent.futures import Executor

from undercroft.errors import Denied, Overloaded, UndercroftError
from undercroft.records import Principal
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import HttpError
from undercroft.trust import Keys, allowed

log = logging.getLogger(__name__)

BELIEVED_S = 1.0  # a revoked key is refused after this and the key table's own second
MAX_REMEMBERED = 10_000
REMEMBERED_S = 600.0  # a key is believed for this long while the ledger cannot be asked
LEDGER_WITHIN_S = 2.0
ASK_AGAIN_S = 1.0


class Door:
    """Lets exchanges in by the keys they bring; those without are ``anybody``, or kept out. The
    ledger is asked in ``threads``, or in the loop's own."""

    def __init__(
        self, keys: Keys, anybody: Principal | None, threads: Executor | None = None
    ) -> None:
        self._keys = keys
        self._anybody = anybody
        self._threads = threads
        self._known: dict[bytes, tuple[Principal, float]] = {}
        self._inside: dict[Exchange, tuple[str, str]] = {}  # the secret, and what for
        self._looking: asyncio.Task[None] | None = None
        self.failing = ""  # why the ledger cannot be asked at present
        self._ask_again_at = 0.0

    def open(self) -> None:
        self._looking = asyncio.create_task(self._look_around())

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def identify(self, exchange: Exchange, action: str) -> Principal:
        """Who asks, if they may do ``action``; they are looked at again until they `leave`.

        Raises `Denied` (401) or `HttpError` 403.
        """
        secret = exchange.header(b"authorization").removeprefix("Bearer ").strip()
        if not secret and self._anybody is not None:
            return self._anybody
        if not secret:
            raise Denied("No API key was given.", do="Send it as: Authorization: Bearer uc-…")
        who = await self._admitted(secret, action)
        self._inside[exchange] = secret, action
        return who

    def leave(self, exchange: Exchange) -> None:
        """Nothing more is done for it."""
        self._inside.pop(exchange, None)

    async def _admitted(self, secret: str, action: str) -> Principal:
        who = await self._who(secret)
        if not allowed(who, action):
            raise HttpError(
                403, "permission_denied", f"The key {who.name!r} may not {action}.",
                f"Its role is {who.role}.", "Ask an admin for a key with another role.",
            )  # fmt: skip
        return who

    async def _who(self, secret: str) -> Principal:
        digest = hashlib.sha256(secret.encode()).digest()
        known = self._known.get(digest)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        if self.failing and time.monotonic() < self._ask_again_at:
            return self._remembered(known)
        try:
            async with asyncio.timeout(LEDGER_WITHIN_S):
                asking = asyncio.get_running_loop().run_in_executor
                who = await asking(self._threads, self._keys.identify, secret)
        except Exception as error:
            self._complain(error)
            return self._remembered(known)
        self.failing = ""
        if who is None:
            self._known.pop(digest, None)
            raise Denied(
                "The API key is not valid.",
                "It is unknown or was revoked.",
                "Make one with: undercroft key create NAME --role user",
            )
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[digest] = (who, time.monotonic() + BELIEVED_S)
        return who

    def _remembered(self, known: tuple[Principal, float] | None) -> Principal:
        """A key seen not long ago is believed while the ledger cannot be asked. Raises
        `Overloaded` for others."""
        if known is not None and time.monotonic() < known[1] + REMEMBERED_S:
            return known[0]
        raise Overloaded(
            "Keys cannot be looked up at the moment.",
            "The ledger does not answer.",
            "Try again shortly.",
            retry_after_s=ASK_AGAIN_S,
        )

    def _complain(self, error: Exception) -> None:
        if not self.failing:
            log.error("the ledger cannot be asked for keys", exc_info=error)
        said = error.what if isinstance(error, UndercroftError) else type(error).__name__
        self.failing = said  # for /health, which anybody may ask: why is in the log
        self._ask_again_at = time.monotonic() + ASK_AGAIN_S

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(BELIEVED_S)
            try:
                await self._send_away()
            except Exception:  # a busy database: whoever is inside stays until it answers
                log.exception("the keys of answers under way could not be looked at")

    async def _send_away(self) -> None:
        for secret, action in set(self._inside.values()):
            try:
                await self._admitted(secret, action)
            except (Denied, HttpError) as error:
                for exchange, asked in list(self._inside.items()):
                    if asked == (secret, action):
                        exchange.interrupt(error)
