"""Where gateways write down what they used of a budget and hold of it: Redis, or the ledger.

A line for each day, account and gateway: used, held, and until when. Each gateway writes its own
lines alone, whole sums and not what was added, so that a step may be taken again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, Float, cast, delete, func, insert, select

from undercroft.errors import Busy
from undercroft.ledger.tables import budget_leases as leases
from undercroft.serve.sharing.leases import Book, Given, Want
from undercroft.trust.transactions import serialise, writing

if TYPE_CHECKING:
    from undercroft.project import Project

REDIS_WITHIN_S: Final = 0.5
_KEPT_MS: Final = 2 * 24 * 3600 * 1000  # a day's lines in Redis

#: For each key, which is an account's day: the rule of `Want.held`, then this gateway's line.
_DRAW: Final = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local said = {}
for at, key in ipairs(KEYS) do
  local limit, used, reserved, need, spare = unpack(ARGV, 5 * at - 1, 5 * at + 3)
  local elsewhere, gateways = 0, 1
  local lines = redis.call('HGETALL', key)
  for place = 1, #lines, 2 do
    if lines[place] ~= ARGV[1] then
      local theirs, held, to = string.match(lines[place + 1], '(%S+) (%S+) (%S+)')
      elsewhere = elsewhere + theirs
      if tonumber(to) > now then
        elsewhere, gateways = elsewhere + held, gateways + 1
      end
    end
  end
  local free, held = limit - elsewhere - used, 0
  if free < tonumber(need) then
    held = math.max(0, math.min(free, tonumber(reserved)))
  else
    held = need + math.min(spare, (free - need) / (2 * gateways))
  end
  local to = now
  if held > 0 then to = now + ARGV[2] end
  redis.call('HSET', key, ARGV[1], string.format('%s %.17g %.17g', used, held, to))
  redis.call('PEXPIRE', key, ARGV[3])
  said[at] = string.format('%.17g %.17g %d', held, elsewhere, gateways)
end
return said
"""


class RedisBook:
    """In the Redis of ``client``, for ``gateway`` of the project ``name``; one round trip."""

    def __init__(self, client: Any, name: str, gateway: str) -> None:
        self._client = client
        self._prefix = f"{{undercroft:{name}}}:budget:"  # one slot of a cluster
        self._gateway = gateway

    async def draw(self, day: str, wants: Sequence[Want], lease_s: float) -> Sequence[Given]:
        keys = [f"{self._prefix}{day}:{want.account}" for want in wants]
        values = [
            repr(float(value))
            for want in wants
            for value in (want.limit, want.used, want.reserved, want.need, want.spare)
        ]
        said = await self._client.eval(
            _DRAW, len(keys), *keys, self._gateway, lease_s, _KEPT_MS, *values
        )
        return [_given(line) for line in said]

    async def close(self) -> None:
        await self._client.aclose()


def _given(line: bytes) -> Given:
    held, elsewhere, gateways = line.split()
    return Given(float(held), float(elsewhere), int(gateways))


class LedgerBook:
    """In the ledger's database, for ``gateway`` of the project ``name``; one transaction."""

    def __init__(self, engine: Engine, name: str, gateway: str) -> None:
        self._engine = engine
        self._name = name
        self._gateway = gateway
        self._day = ""
        self._last: asyncio.Task[list[Given]] | None = None

    async def draw(self, day: str, wants: Sequence[Want], lease_s: float) -> Sequence[Given]:
        if self._last is not None and not self._last.done():  # it would write over this one
            raise Busy("The ledger has not answered the last time.", do="Try again in a moment.")
        self._last = asyncio.create_task(asyncio.to_thread(self._draw, day, wants, lease_s))
        self._last.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._last)

    def _draw(self, day: str, wants: Sequence[Want], lease_s: float) -> list[Given]:
        with writing(self._engine) as connection:
            serialise(connection)
            if day != self._day:  # nobody asks for yesterday's
                connection.execute(
                    delete(leases).where(leases.c.project == self._name, leases.c.day < day)
                )
            now = _clock(connection)
            found = [self._line(connection, day, want, now, lease_s) for want in wants]
        self._day = day
        return found

    def _line(
        self, connection: Connection, day: str, want: Want, now: float, lease_s: float
    ) -> Given:
        theirs = leases.c.gateway != self._gateway
        lines = (
            (leases.c.project == self._name)
            & (leases.c.day == day)
            & (leases.c.account == want.account)
        )
        rows = connection.execute(
            select(leases.c.used, leases.c.held, leases.c.until).where(lines & theirs)
        )
        elsewhere, gateways = 0.0, 1
        for used, held, until in rows:
            is_held = until > now
            elsewhere += used + held * is_held
            gateways += is_held
        held = want.held(elsewhere, gateways)
        connection.execute(delete(leases).where(lines & ~theirs))
        connection.execute(
            insert(leases).values(
                project=self._name, day=day, account=want.account, gateway=self._gateway,
                used=want.used, held=held, until=now + lease_s * (held > 0),
            )
        )  # fmt: skip
        return Given(held, elsewhere, gateways)

    async def close(self) -> None:
        """The ledger is somebody else's."""


def book_of(project: Project, gateway: str, connect: Callable[..., Any]) -> Book | None:
    """The book that ``gateway`` shares with others of the project; None where there are none: what
    is in the project's own folder is of one gateway.

    ``connect(url, patience_s)`` makes a client of Redis.
    """
    store = project.settings.store
    if store.cache:
        return RedisBook(connect(store.cache, REDIS_WITHIN_S), project.name, gateway)
    if store.ledger:
        return LedgerBook(project.ledger.engine, project.name, gateway)
    return None


def _clock(connection: Connection) -> float:
    """Seconds since 1970 by the one clock of all gateways."""
    if connection.dialect.name != "postgresql":
        return time.time()
    now: float = connection.execute(
        select(cast(func.extract("epoch", func.clock_timestamp()), Float(53)))
    ).scalar_one()
    return now
