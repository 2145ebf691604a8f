"""``kill -9`` at random moments of ``undercroft up``, again and again.

``UNDERCROFT_CHAOS_KILLS`` sets how often (default 3).
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path

from tests.corpus import write_topics
from tests.system.conftest import Shell, wait_until
from undercroft.jobs import workers
from undercroft.lake.blobs import digest_of
from undercroft.project import Project

KILLS = int(os.environ.get("UNDERCROFT_CHAOS_KILLS", "3"))
LONGEST_S = 9.0


def test_killed_at_any_moment_it_completes_the_work_and_leaves_nothing_half_made(
    tmp_path: Path,
) -> None:
    folder = write_topics(tmp_path / "notes", 24)
    shell = Shell(tmp_path)
    draw = random.Random()
    killed_in: Counter[str] = Counter()
    for _ in range(KILLS):
        process = shell.start("up", "notes", "--once", "--json")
        try:
            process.wait(draw.uniform(0.2, LONGEST_S))
            break  # it got through between two kills
        except Exception:
            project = Project.open(folder)
            running = [run.stage for run in project.ledger.runs(status="running")]
            process.kill()
            process.wait()
            killed_in[running[0] if running else "between stages"] += 1
            wait_until(lambda: not workers(Project.open(folder)), 20)
    print("killed in:", dict(killed_in))

    summary = shell.json("up", "notes", "--once")
    assert summary["answer"]["text"]
    project = Project.open(folder)
    runs = project.ledger.runs(limit=1000)
    assert {run.status for run in runs} == {"finished"}
    assert max(Counter(run.memo_key for run in runs).values()) == 1
    assert_whole(project)


def assert_whole(project: Project) -> None:
    """Every artifact is all there, and nothing else lies among them."""
    assert project.trust.audit.verify().ok
    known = set()
    for artifact in project.ledger.artifacts(limit=1000):
        if artifact.uri.startswith("blob:"):
            path = project.path(artifact)
            known.add(path)
            assert digest_of(path)[0] == artifact.digest, artifact.ref
        else:
            table, version = project.table(artifact)
            assert table.count(version=version) > 0, artifact.ref
    assert not list((project.state / "work").iterdir())


def test_nothing_survives_the_death_of_up(tmp_path: Path) -> None:
    folder = write_topics(tmp_path / "notes", 12)
    shell = Shell(tmp_path)
    process = shell.start("up", "notes", "--once")
    project = Project.open(folder)
    wait_until(lambda: bool(workers(project)))
    (worker,) = workers(project)
    process.kill()
    process.wait()

    def gone() -> bool:
        status = Path(f"/proc/{worker}/status")
        return not status.exists() or "zombie" in status.read_text()

    wait_until(gone, 15)
    time.sleep(0.5)
    assert json.loads((folder / ".undercroft" / "workers" / f"{worker}.json").read_text())
