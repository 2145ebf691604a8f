"""Always on: what changes in the sources reaches the dataset, once, whatever fails meanwhile."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from undercroft.errors import StageFailed
from undercroft.jobs import Inline
from undercroft.lake import read_dataset
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.versions.freshness import Freshness, freshness
from undercroft.watch import STEPS, Event, Watch

WORDS = [chr(97 + n) + "".join(chr(97 + n * k % 26) for k in (3, 5, 7)) for n in range(26)]


def write(root: Path, name: str, number: int = 0) -> None:
    draw = random.Random(f"{name}{number}")
    (root / f"docs/{name}.txt").write_text(f"Text {name}: {' '.join(draw.choices(WORDS, k=40))}.")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "docs").mkdir()
    (tmp_path / "undercroft.toml").write_text('[collect]\nsources = ["docs"]\n')
    return Project.open(tmp_path)


@contextmanager
def watching(project: Project, events: list[Event]) -> Iterator[Watch]:
    """A watch over documents and dataset, in threads of this process."""
    watch = Watch(project, Inline(), events.append, 0.05, STEPS[:2])
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join(20)
        assert not thread.is_alive()


def until(found: Callable[[], bool]) -> None:
    for _ in range(600):
        if found():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come")


def kept(project: Project, watch: Watch) -> set[str]:
    dataset = watch.made.get("curate")
    if dataset is None:
        return set()
    return set(read_dataset(project.lake, dataset, ["uri"])["uri"].to_pylist())


def test_what_is_new_changed_or_gone_arrives_once(project: Project) -> None:
    events: list[Event] = []
    write(project.root, "a")
    with watching(project, events) as watch:
        until(lambda: kept(project, watch) == {"docs/a.txt"})
        write(project.root, "b")
        until(lambda: kept(project, watch) == {"docs/a.txt", "docs/b.txt"})
        write(project.root, "a", 1)
        before = watch.made["curate"]
        until(lambda: watch.made["curate"] != before)
        (project.root / "docs/b.txt").unlink()
        until(lambda: kept(project, watch) == {"docs/a.txt"})
        number = len(events)
        time.sleep(0.5)
        assert len(events) == number, "something was made of nothing"
    made = [event.artifact for event in events if event.step == "curate" and event.artifact]
    assert len({artifact.digest for artifact in made}) == len(made)
    assert project.lake.table("raw").count() == 1


def test_a_stage_that_fails_stops_no_other_and_is_tried_again(project: Project) -> None:
    events: list[Event] = []
    (project.root / "docs/short.txt").write_text("Too short.")
    with watching(project, events) as watch:
        until(lambda: any(event.error for event in events))
        failed = next(event for event in events if event.error)
        assert failed.step == "curate"
        assert failed.next_try_s > 0
        (project.root / "docs/more.txt").write_text("Too short, too.")
        until(lambda: project.lake.table("raw").count() == 2)
        write(project.root, "good")
        until(lambda: kept(project, watch) == {"docs/good.txt"})


def test_no_source_yet_is_no_end(project: Project) -> None:
    events: list[Event] = []
    with watching(project, events) as watch:
        until(lambda: any(event.step == "collect" and event.error for event in events))
        write(project.root, "late")
        until(lambda: kept(project, watch) == {"docs/late.txt"})


def test_drift_counts_what_changed_by_source(project: Project) -> None:
    from undercroft.versions.freshness import drift_of, freshness

    for name in "abcdefgh":
        write(project.root, name)
    watch = Watch(project, Inline(), lambda _event: None, 0.05, STEPS[:2])
    watch.run(once=True)
    served = watch.made["curate"]
    assert drift_of(freshness(project, served, served)) == 0
    write(project.root, "a", 1)
    write(project.root, "new")
    (project.root / "docs/b.txt").unlink()
    watch.run(once=True)
    (found,) = freshness(project, watch.made["curate"], served)
    assert (found.source, found.documents) == ("docs", 8)
    assert (found.added, found.edited, found.gone) == (1, 1, 1)
    assert found.drift == pytest.approx(3 / 9)
    assert 0 <= found.age_s < 60


def test_a_killed_watch_goes_on_where_it_was(project: Project) -> None:
    for number in range(300):
        write(project.root, f"d{number}")
    command = [sys.executable, "-m", "undercroft.cli", "-C", str(project.root), "watch"]
    for _ in range(2):
        running = subprocess.Popen(
            [*command, "--every", "0.2", "--json"], stdout=subprocess.PIPE, text=True
        )
        assert running.stdout is not None
        running.stdout.readline()  # the first stage is through
        running.send_signal(signal.SIGKILL)
        running.wait()
        write(project.root, f"d{random.randrange(300)}", 1)
    done = subprocess.run(
        [*command, "--once", "--json"], capture_output=True, text=True, check=True, timeout=200
    )
    steps = {event["step"]: event for event in map(json.loads, done.stdout.splitlines())}
    assert set(steps) == {"collect", "curate", "distil", "index"}
    assert steps["curate"]["sources"][0]["documents"] == 300
    rows = project.lake.table("raw").read(["uri"])["uri"].to_pylist()
    assert len(rows) == len(set(rows)) == 300


class Serving(Watch):
    """A watch over a project that serves ``served``, which no gateway has to for this."""

    served: Artifact | None = None

    def drift(self) -> list[Freshness]:
        return freshness(self.project, self.made["curate"], self.served)


def test_drift_calls_for_a_new_model_once_and_again_after_a_failure(project: Project) -> None:
    events: list[Event] = []
    tried: list[Artifact] = []

    def retrain() -> Artifact:
        """Stands for the main job, which others here run for real."""
        tried.append(watch.made["curate"])
        if len(tried) == 1:
            raise StageFailed("It failed.")
        watch.served = watch.made["curate"]
        return watch.made["curate"]

    watch = Serving(project, Inline(), events.append, 0.05, STEPS[:2], retrain)
    write(project.root, "a")
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    until(lambda: "curate" in watch.made)
    assert not tried, "nothing is served, and nothing has drifted from it"
    watch.served = watch.made["curate"]
    write(project.root, "b")
    until(lambda: len(tried) == 2)
    time.sleep(0.3)
    assert len(tried) == 2, "the same data called for a model twice"
    write(project.root, "c")
    until(lambda: len(tried) == 3)
    watch.stop()
    thread.join(20)
    assert not thread.is_alive()
    kinds = [each.error is None for each in events if each.step == "retrain"]
    assert kinds == [False, True, True]
