"""Rows -> spool at once -> lake in batches, by a background task.

The path only appends to the spool; this is the one place in serving that writes to the lake.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from undercroft.lake import Lake
from undercroft.serve.journal import rows, spool
from undercroft.serve.journal.rows import FeedbackRow, RequestRow, Row
from undercroft.serve.journal.spool import Spool

log = logging.getLogger(__name__)

MOVE_EVERY_S = 1.0
SYNC_EVERY_S = 0.2
RECENT_ANSWERS = 10_000
HELD_AT_MOST = 10_000  # rows kept in memory while the spool cannot be written


class Recorder:
    """Keeps rows for ``lake``. Start it inside a running event loop; `stop` moves what is left."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self._lake = lake
        self._spool = Spool(folder)
        self._recent: OrderedDict[str, str] = OrderedDict()  # answer id -> its subject
        self._held: deque[Row] = deque(maxlen=HELD_AT_MOST)
        self._fitting: set[str] = set()  # tables known to have every column
        self._attempted = set(self._spool.closed_segments())  # a crash may have moved them
        self._tasks: list[asyncio.Task[None]] = []
        self._moving = threading.Lock()  # a cancelled task's thread may still be moving
        self.failing = ""  # why rows cannot be written at present

    def append(self, row: Row) -> bool:
        """Keep ``row``; False when the disk refused it and it is only held in memory for now."""
        if isinstance(row, RequestRow):
            self._remember(row)
        self._held.append(row)
        try:
            while self._held:
                self._spool.append(self._held[0])
                self._held.popleft()
        except OSError as error:
            self._complain(f"the spool cannot be written: {error.strerror}")
            return False
        return True

    async def append_durably(self, row: Row) -> bool:
        """Keep ``row`` and return when it is on the disk."""
        kept = self.append(row)
        await asyncio.to_thread(self._spool.sync)
        return kept

    async def subject_of(self, answer: str) -> str | None:
        """The subject whose key sealed ``answer``; None when there is no such answer."""
        if answer in self._recent:
            return self._recent[answer]
        return await asyncio.to_thread(self._look_up, answer)

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._keep(self._spool.sync, SYNC_EVERY_S)),
            asyncio.create_task(self._keep(self.move, MOVE_EVERY_S)),
        ]

    async def stop(self) -> None:
        """Move everything to the lake."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._try, self._spool.sync)
        await asyncio.to_thread(self._try, self.move)

    @property
    def waiting(self) -> int:
        """Rows not yet in the lake."""
        return self._spool.waiting() + len(self._held)

    def move(self) -> None:
        """Move every closed segment to the lake. A failure leaves the segment for the next time."""
        with self._moving:
            for segment in self._spool.closed_segments():
                found = list(spool.read(segment))
                again = segment in self._attempted
                self._attempted.add(segment)
                for table, kind in (("requests", RequestRow), ("feedback", FeedbackRow)):
                    self._write(table, [row for row in found if isinstance(row, kind)], again)
                segment.unlink()
                self._attempted.discard(segment)

    def spent_today(self) -> dict[str, int]:
        """Tokens by key since midnight UTC, from the lake and from the spool."""
        spent: dict[str, int] = {}
        for key, tokens, _ in self._today().values():
            spent[key] = spent.get(key, 0) + tokens
        return spent

    def cost_today(self) -> float:
        """What all answers since midnight UTC cost, in the meter's currency."""
        return sum(cost for _, _, cost in self._today().values())

    def _today(self) -> dict[str, tuple[str, int, float]]:
        """Key, tokens and cost by request: a moved segment may still be there."""
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        found: dict[str, tuple[str, int, float]] = {}
        table = self._lake.table("requests")
        if table.exists():
            columns = ["id", "key", "prompt_tokens", "completion_tokens", "cost"]
            where = f"at >= timestamp '{midnight:%Y-%m-%d %H:%M:%S}'"
            for row in table.read(columns, where).to_pylist():
                tokens = row["prompt_tokens"] + row["completion_tokens"]
                found[row["id"]] = (row["key"], tokens, row["cost"] or 0.0)
        for segment in self._spool.closed_segments():
            for line in spool.read(segment):
                if isinstance(line, RequestRow) and line.at >= midnight:
                    tokens = line.prompt_tokens + line.completion_tokens
                    found[line.id] = (line.key, tokens, line.cost)
        return found

    def _write(self, name: str, found: Sequence[Row], again: bool) -> None:
        if not found:
            return
        import pyarrow as pa

        from undercroft.lake import schemas

        schema = schemas.REQUESTS if name == "requests" else schemas.FEEDBACK
        data = pa.Table.from_pylist([rows.as_columns(row) for row in found], schema=schema)
        table = self._lake.table(name)
        if name not in self._fitting and table.exists():
            table.widen(schema)  # it may have been made when there were fewer columns
        self._fitting.add(name)
        # Feedback that was changed replaces itself; answers are new unless a crash intervened.
        if again or name == "feedback":
            table.upsert(data)
        else:
            table.append(data)

    def _look_up(self, answer: str) -> str | None:
        from undercroft.lake.where import equals

        table = self._lake.table("requests")
        if not table.exists():
            return None
        found = table.read(["subject"], equals("id", answer), limit=1).to_pylist()
        return str(found[0]["subject"]) if found else None

    def _remember(self, row: RequestRow) -> None:
        self._recent[row.id] = row.subject
        while len(self._recent) > RECENT_ANSWERS:
            self._recent.popitem(last=False)

    async def _keep(self, work: Callable[[], None], every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self._try, work)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
            self.failing = ""
        except Exception as error:  # whatever it is, the rows stay in the spool
            self._complain(f"{type(error).__name__}: {error}")

    def _complain(self, why: str) -> None:
        if why != self.failing:
            log.error("answers cannot be recorded: %s", why)
        self.failing = why
