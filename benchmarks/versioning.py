"""Versions of a folder of many files against DVC: the first one, one with 1 % changed, and none.

python -m benchmarks.versioning [--files 100000] [--rounds 3]

Both sides run as a command of their own, start included: ours is the stage ``collect`` (which
reads, seals and versions every file), theirs ``dvc add`` and ``dvc status``. DVC keeps files by
their MD5 in its cache, ours rows in the lake; both can go back to every version afterwards. That
both see the change, and see none where there is none, is checked.
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
from pathlib import Path

from benchmarks.compare import Result, environment, peer_environment, table

REQUIREMENTS = ("dvc==3.67.0",)
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
            sides = {"ours": Ours(Path(folder) / "ours"), "dvc": Dvc(Path(folder) / "dvc", dvc)}
            for side in sides.values():
                make(side.data, count)
            for step in ("add", "add 1 %", "status"):
                for name, side in sides.items():
                    if step == "add 1 %":
                        change(side.data, count // 100, number)
                    started = time.monotonic()
                    side.status() if step == "status" else side.add()
                    if number >= 0:
                        seconds[step][name].append(time.monotonic() - started)
            assert len(set(sides["ours"].versions)) == 2, "ours did not see the change"
            assert len(set(sides["dvc"].versions)) == 2, "dvc did not see the change"
    ratios = {
        step: statistics.median(d / o for o, d in zip(found["ours"], found["dvc"], strict=True))
        for step, found in seconds.items()
    }
    rows = [
        [step, *(statistics.median(found[name]) for name in ("ours", "dvc")), ratios[step]]
        for step, found in seconds.items()
    ]
    print(table([f"{options.files:,} files", "ours s", "dvc s", "times"], rows))
    ours, theirs = (statistics.median(seconds["add 1 %"][name]) for name in ("ours", "dvc"))
    Result(
        "versioning", round(ours, 2), round(theirs, 2), round(ratios["add 1 %"], 2),
        "seconds to add 1 % changed files", {"ratios": ratios},
    ).print()  # fmt: skip


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
