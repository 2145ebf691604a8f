"""How the cost of curating grows: time, memory and bytes at several sizes, and for new data.

python -m benchmarks.scale [--sizes 10000 100000] [--chars 2000] [--set curate.semantics=true]

Documents are made by recombining paragraphs of this machine's documentation; a twentieth are near
copies. Each size is collected and curated from nothing; then a hundredth of it comes in addition
and both are run again. Memory is the peak of this process and its workers together.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.compare import table
from benchmarks.heuristics import paragraphs

SHARD_CHARS = 40_000_000
COPIES = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of curating at several sizes.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--chars", type=int, default=2000, help="of a document, about")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, too")
    options = parser.parse_args()
    settings = dict(each.split("=", 1) for each in options.set)
    settings = {key: tomllib.loads(f"v = {value}")["v"] for key, value in settings.items()}
    rows = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            steps = measured(Path(folder), size, options.chars, settings)
            rows += [[f"{size:,}", *row] for row in steps]
    heads = ["documents", "step", "seconds", "per second", "peak MB", "text MB", "table MB", "kept"]
    print(table(heads, rows))
    print(json.dumps([dict(zip(heads, row, strict=True)) for row in rows]))


def measured(folder: Path, size: int, chars: int, settings: dict[str, Any]) -> Iterator[list[Any]]:
    """A row for each step."""
    from undercroft.collect.stage import collect
    from undercroft.curate.stage import curate
    from undercroft.project import Project

    written = write(folder, "first", size, chars, seed=20)
    for name, new in (("all", size), ("1 % new", size // 100)):
        if name != "all":
            written += write(folder, "more", new, chars, seed=21)
        project = Project.open(folder, {"collect.sources": ["data"], **settings})
        with Watch() as watch:
            (raw,) = collect(project)
        yield [f"collect, {name}", *watch.row(new), round(written / 1e6), "", ""]
        with Watch() as watch:
            (dataset,) = curate(project, raw=raw)
        stored = sum(file.stat().st_size for file in (folder / ".undercroft").rglob("*.lance"))
        kept = dataset.meta["kept"]
        yield [
            *(f"curate, {name}", *watch.row(new)),
            *(round(written / 1e6), round(stored / 1e6), kept),
        ]


def write(folder: Path, name: str, count: int, chars: int, seed: int) -> int:
    """Documents as JSON Lines; how many characters they have."""
    draw, pieces = random.Random(seed), list(paragraphs())
    total, in_shard, shard = 0, SHARD_CHARS, 0
    recent: list[str] = []
    (folder / "data").mkdir(exist_ok=True)
    file = (folder / "data" / f"{name}-000.jsonl").open("w", encoding="utf-8")
    for number in range(count):
        if recent and draw.random() < COPIES:
            text = draw.choice(recent) + f" As said before, {number} times."
        else:
            text, wanted = "", draw.lognormvariate(0, 0.8) * chars / 1.4
            while len(text) < wanted:
                text += draw.choice(pieces) + "\n\n"
        recent = [*recent[-99:], text]
        if in_shard > SHARD_CHARS:
            file.close()
            shard, in_shard = shard + 1, 0
            file = (folder / "data" / f"{name}-{shard:03}.jsonl").open("w", encoding="utf-8")
        file.write(json.dumps({"id": f"{name}{number}", "text": text}) + "\n")
        in_shard += len(text)
        total += len(text)
    file.close()
    return total


class Watch:
    """Times a block and watches the memory of this process and its children."""

    def __enter__(self) -> Watch:
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        own = psutil.Process()
        while not self._over.wait(0.2):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)

    def row(self, count: int) -> list[Any]:
        seconds = max(self.seconds, 1e-9)
        return [round(seconds, 1), round(count / seconds), round(self.peak / 1e6)]


if __name__ == "__main__":
    main()
