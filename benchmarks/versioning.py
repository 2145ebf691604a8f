"""Versions of a folder of many files against DVC: the first one, one with 1 % changed, and none.

python -m benchmarks.versioning [--files 100000] [--rounds 3]

Both sides run as a command of their own, start included: ours is the stage ``collect`` (which
reads, seals and versions every file), theirs ``dvc add`` and ``dvc status``. DVC keeps files by
their MD5 in its cache, ours rows in the lake; both can go back to every version afterwards. That
both see the change, and see none where there is none, is checked.

Ours is measured a second time with a watch on the folder, as ``undercroft watch`` keeps one: the
time from the last change until its version is there, which takes no command, and that of a command
that finds nothing changed. DVC has no such thing; its figures stay those of its commands.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import IO

from benchmarks.compare import Result, environment, peer_environment, table

REQUIREMENTS = ("dvc==3.67.0",)
WATCHED = ", watched"
WORDS = ["river", "stone", "bread", "window", "garden", "winter", "engine", "letter", "bridge"]
OURS = """
import json, sys
from pathlib import Path
from undercroft.collect.stage import collect
from undercroft.project import Project
project = Project.open(Path(sys.argv[1]))
(raw,) = collect(project)
print(json.dumps({"ref": str(raw.ref), "digest": raw.digest, "collected": raw.meta["collected"]}))
"""
WATCHES = """
import sys
from pathlib import Path
from undercroft.jobs import Queued
from undercroft.project import Project
from undercroft.watch import STEPS, Watch
tell = lambda event: print(event.artifact.digest if event.artifact else event.error, flush=True)
Watch(Project.open(Path(sys.argv[1])), Queued(), tell, 3600.0, steps=STEPS[:1]).run()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Our versions against DVC's.")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    dvc = peer_environment("dvc", REQUIREMENTS) / "dvc"
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(-1, options.rounds):  # the first, of few files, only warms up
        count = options.files if number >= 0 else 100
        with tempfile.TemporaryDirectory() as folder:
            ours = Ours(Path(folder) / "ours")
            theirs = Dvc(Path(folder) / "dvc", dvc)
            sides: dict[str, Ours | Dvc] = {"ours": ours, "dvc": theirs}
            for side in sides.values():
                make(side.data, count)
            for step in ("add", "add 1 %", "status"):
                for name, side in sides.items():
                    if step == "add 1 %":
                        change(side.data, count // 100, number)
                    took = timed(side.status if step == "status" else side.add)
                    if number >= 0:
                        seconds[step][name].append(took)
            for step, took in ours.watched(count // 100, number).items():
                if number >= 0:
                    seconds[step]["ours"].append(took)
                    seconds[step]["dvc"].append(seconds[step.removesuffix(WATCHED)]["dvc"][-1])
            assert len(set(ours.versions)) == 4, "ours did not see the change"
            assert len(set(theirs.versions)) == 2, "dvc did not see the change"
    ratios = {
        step: statistics.median(d / o for o, d in zip(found["ours"], found["dvc"], strict=True))
        for step, found in seconds.items()
    }
    rows = [
        [step, *(statistics.median(found[name]) for name in ("ours", "dvc")), ratios[step]]
        for step, found in seconds.items()
    ]
    print(table([f"{options.files:,} files", "ours s", "dvc s", "times"], rows))
    both = [statistics.median(seconds["add 1 %"][name]) for name in ("ours", "dvc")]
    Result(
        "versioning", round(both[0], 2), round(both[1], 2), round(ratios["add 1 %"], 2),
        "seconds to add 1 % changed files", {"ratios": ratios},
    ).print()  # fmt: skip


def timed(what: Callable[[], None]) -> float:
    started = time.monotonic()
    what()
    return time.monotonic() - started


class Ours:
    def __init__(self, root: Path) -> None:
        self.root, self.data, self.versions = root, root / "data", list[str]()
        self.data.mkdir(parents=True)
        (root / "undercroft.toml").write_text('[collect]\nsources = ["data"]\n')

    def add(self) -> None:
        said = run([sys.executable, "-c", OURS, str(self.root)], self.root)
        self.versions.append(json.loads(said.strip().splitlines()[-1])["digest"])

    def status(self) -> None:
        said = run([sys.executable, "-c", OURS, str(self.root)], self.root)
        assert json.loads(said.strip().splitlines()[-1])["digest"] == self.versions[-1]

    def watched(self, count: int, seed: int) -> dict[str, float]:
        """Seconds of both while the folder is watched."""
        command = [sys.executable, "-c", WATCHES, str(self.root)]
        with subprocess.Popen(
            command, cwd=self.root, stdout=subprocess.PIPE, text=True, env=environment()
        ) as watch:
            assert watch.stdout is not None
            assert watch.stdout.readline().strip() == self.versions[-1]
            change(self.data, 1, seed + 1000)  # the first starts a worker, which then stays
            self._next(watch.stdout)
            self.status()
            change(self.data, count, seed + 2000)
            took = {f"add 1 %{WATCHED}": timed(lambda: self._next(watch.stdout))}
            took[f"status{WATCHED}"] = timed(self.status)
            watch.terminate()
        return took

    def _next(self, said: IO[str] | None) -> None:
        """Wait for the next version."""
        assert said is not None
        self.versions.append(said.readline().strip())


class Dvc:
    def __init__(self, root: Path, command: Path) -> None:
        self.root, self.data, self.versions = root, root / "data", list[str]()
        self._command = str(command)
        self.data.mkdir(parents=True)
        run([self._command, "init", "--no-scm", "-q"], root)
        run([self._command, "config", "core.analytics", "false"], root)

    def add(self) -> None:
        run([self._command, "add", "-q", "data"], self.root)
        self.versions.append((self.root / "data.dvc").read_text())

    def status(self) -> None:
        assert "up to date" in run([self._command, "status"], self.root)


def make(folder: Path, count: int) -> None:
    """Files of about 1 kB, a thousand to a folder."""
    draw = random.Random(5)
    for number in range(count):
        place = folder / f"{number // 1000:03}"
        if number % 1000 == 0:
            place.mkdir(exist_ok=True)
        (place / f"{number}.txt").write_text(f"{number} {' '.join(draw.choices(WORDS, k=150))}\n")


def change(folder: Path, count: int, seed: int) -> None:
    files = sorted(folder.rglob("*.txt"))
    for path in random.Random(seed).sample(files, count):
        path.write_text(path.read_text() + "changed\n")


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    if shutil.which("git") is None:
        sys.exit("DVC needs git.")
    main()
