"""Answers that several gateways share, in Redis or Valkey.

What lies there is sealed with the project's key and gone after a while; the number of answers is
bounded. A question that one gateway is answering makes the others wait for that answer, under a
lock that lapses soon after its holder dies. The store is a help and never a need: what does not
answer within `PATIENCE_S` is left alone for a time, and the gateway goes by its own memory.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec

from undercroft.errors import MissingExtra, UndercroftError
from undercroft.serve.caches.cache import Answer, Flight
from undercroft.trust import Vault

log = logging.getLogger(__name__)

STARTED_WITHIN_S = 2.0
PATIENCE_S = 0.05  # for one exchange with the store
LEFT_ALONE_S = 1.0  # after it failed; doubled each time, up to the next
MOST_LEFT_ALONE_S = 30.0
LOCK_S = 10.0  # after its holder died, others may answer
RENEW_S = 3.0
LOOK_AGAIN_S = 0.03  # whether another gateway has the answer
MOST_BYTES = 256_000  # of one sealed answer
PROJECT = ""  # the subject whose key seals

#: The answer; or 1 when the caller is to find it; or 0 when somebody else is about to.
_FIND: Final = """
local answer = redis.call('GET', KEYS[1])
if answer then return answer end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[2]) == ARGV[1] then return 1 end
return 0
"""
#: Keep an answer, know it by its documents, make room, let go of the lock.
_KEEP: Final = """
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[4], KEYS[1])
local over = redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[5])
if over > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[3], over)
  for place = 1, #oldest, 2 do redis.call('DEL', oldest[place]) end
end
for place = 4, #KEYS do
  redis.call('SADD', KEYS[place], KEYS[1])
  redis.call('PEXPIRE', KEYS[place], ARGV[3])
end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call(ARGV[2], KEYS[1], ARGV[3]) end
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Answer).decode


class Shared:
    """The store at ``url`` of the project ``name``: at most ``entries`` answers, each for
    ``ttl_s``. ``erased`` says of a document that it may not be shown any more.

    Raises `MissingExtra` without the redis package.
    """

    def __init__(
        self,
        url: str,
        name: str,
        vault: Vault,
        *,
        entries: int,
        ttl_s: float,
        erased: Callable[[str], bool],
    ) -> None:
        self._redis = connect(url)
        self._prefix = f"{{undercroft:{name}}}:"  # one slot of a cluster
        self._vault, self._erased = vault, erased
        self._entries, self._ttl_ms = entries, int(ttl_s * 1000)
        self._alone_until, self._alone_s = 0.0, LEFT_ALONE_S
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def down(self) -> bool:
        """Whether the store failed and is left alone for now."""
        return time.monotonic() < self._alone_until

    async def start(self) -> None:
        """Connect, with more patience than later, and have the key ready. A store that is down is
        left alone, as it would be later."""
        await asyncio.to_thread(self._vault.seal, PROJECT, b"", b"")
        try:
            async with asyncio.timeout(STARTED_WITHIN_S):
                await self._redis.ping()
        except Exception as error:
            self._leave_alone(error)

    async def stop(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(Exception):
            await self._redis.aclose()

    @asynccontextmanager
    async def flight(
        self, key: str, flight: Flight, may_keep: Callable[[], bool]
    ) -> AsyncIterator[None]:
        """Put into ``flight`` what other gateways know, or lead for all of them until the block
        ends; what then has landed is kept if it still may be."""
        token = secrets.token_hex(8)
        flight.answer, leads = await self._find(key, token)
        flight.degraded = flight.answer is None and not leads
        if not leads:
            yield
            return
        renewing = asyncio.create_task(self._renew(key, token))
        try:
            yield
        finally:
            renewing.cancel()
            if flight.landed is not None and may_keep():
                self._spawn(self._keep(key, token, flight.landed))
            else:
                self._spawn(self._release(key, token))

    def forget(self, document: str) -> None:
        """Delete the answers that were given ``document`` to read, soon."""
        self._spawn(self._forget(document))

    async def _find(self, key: str, token: str) -> tuple[Answer | None, bool]:
        """The answer, and whether we are to find it; neither when the store does not answer."""
        while True:
            found = await self._ask(
                _FIND, [self._answer(key), self._lock(key)], token, int(LOCK_S * 1000)
            )
            if found is None:
                return None, False
            if isinstance(found, bytes):
                answer = self._opened(key, found)
                return (answer, False) if answer is not None else (None, True)
            if found == 1:
                return None, True
            await asyncio.sleep(LOOK_AGAIN_S)

    def _opened(self, key: str, sealed: bytes) -> Answer | None:
        """The answer in ``sealed``; None when it cannot be read or may not be shown."""
        try:
            answer = _decode(self._vault.open(PROJECT, sealed, key.encode()))
        except (UndercroftError, msgspec.MsgspecError):
            return None
        if any(self._erased(passage.document) for passage in answer.passages or ()):
            return None
        return answer

    async def _keep(self, key: str, token: str, answer: Answer) -> None:
        sealed = self._vault.seal(PROJECT, _encode(answer), key.encode())
        if len(sealed) > MOST_BYTES:
            await self._release(key, token)
            return
        read = {self._document(passage.document) for passage in answer.passages or ()}
        keys = [self._answer(key), self._lock(key), f"{self._prefix}recent", *sorted(read)]
        await self._ask(
            _KEEP, keys, token, sealed, self._ttl_ms, int(time.time() * 1000), self._entries
        )

    async def _release(self, key: str, token: str) -> None:
        await self._ask(_RELEASE, [self._lock(key)], token, "UNLINK", self._lock(key))

    async def _renew(self, key: str, token: str) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._ask(_RELEASE, [self._lock(key)], token, "PEXPIRE", int(LOCK_S * 1000))

    async def _forget(self, document: str) -> None:
        name = self._document(document)
        with suppress(Exception):  # they also lapse, and are not shown by who knows of the erasure
            async with asyncio.timeout(MOST_LEFT_ALONE_S):
                reached = await self._redis.smembers(name)
                await self._redis.delete(name, *reached)

    async def _ask(self, script: str, keys: list[str], *values: Any) -> Any:
        """What ``script`` returns, 0 for nothing; None when the store does not answer in time."""
        if self.down:
            return None
        try:
            async with asyncio.timeout(PATIENCE_S):
                said = await self._redis.eval(script, len(keys), *keys, *values)
        except Exception as error:  # of the network, the client or the server
            self._leave_alone(error)
            return None
        self._alone_s = LEFT_ALONE_S
        return 0 if said is None else said

    def _leave_alone(self, error: Exception) -> None:
        self._alone_until = time.monotonic() + self._alone_s
        log.warning(
            "the shared cache does not answer and is left alone for %.0f s: %s",
            self._alone_s, str(error) or type(error).__name__,
        )  # fmt: skip
        self._alone_s = min(2 * self._alone_s, MOST_LEFT_ALONE_S)

    def _answer(self, key: str) -> str:
        return f"{self._prefix}answer:{key}"

    def _lock(self, key: str) -> str:
        return f"{self._prefix}lock:{key}"

    def _document(self, document: str) -> str:
        return f"{self._prefix}document:{document}"

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def connect(url: str, patience_s: float | None = None) -> Any:
    """A client of the store at ``url`` that neither waits long nor tries again by itself."""
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise MissingExtra("redis", "redis") from error
    patience_s = patience_s or PATIENCE_S
    return Redis.from_url(
        url,
        socket_timeout=patience_s,
        socket_connect_timeout=patience_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
