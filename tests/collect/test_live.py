"""Folders that are watched: what is remembered of them is never other than what is there."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from undercroft.collect import live, told
from undercroft.collect.files import FileSource
from undercroft.collect.live import Live
from undercroft.collect.stage import fingerprint, watching
from undercroft.project import Project
from undercroft.settings import CollectSettings

ASKING = """
import os, sys
from pathlib import Path
from undercroft.collect.stage import fingerprint
from undercroft.project import Project
project = Project.open(Path(sys.argv[1]))
def scandir(path):
    raise AssertionError(f"{path} was listed")
os.scandir = scandir if sys.argv[2] == "told" else os.scandir
print(fingerprint(project, project.settings.collect))
"""


@pytest.fixture
def watched() -> Iterator[Live]:
    started = live.start()
    assert started is not None
    yield started
    live.stop()


def look(folder: Path) -> tuple[str, str]:
    """The folder as it is remembered and as it is."""
    source = FileSource(folder, folder.parent, CollectSettings())
    remembered = source.fingerprint()
    held, live._LIVE = live._LIVE, None
    try:
        return remembered, source.fingerprint()
    finally:
        live._LIVE = held


def tree(folder: Path) -> None:
    for number in range(12):
        place = folder / f"{number % 3}" / f"{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.txt").write_text(f"text {number}")


def test_what_is_remembered_is_what_is_there_after_any_change(
    tmp_path: Path, watched: Live
) -> None:
    folder = tmp_path / "docs"
    tree(folder)
    draw = random.Random(7)
    changes = 0
    before = look(folder)[0]
    for number in range(150):
        change(folder, draw, number)
        remembered, fresh = look(folder)
        assert remembered == fresh, number
        changes += remembered != before
        before = remembered
    assert changes > 75


def change(folder: Path, draw: random.Random, number: int) -> None:
    files = sorted(folder.rglob("*.txt"))
    places = sorted(path for path in folder.rglob("*") if path.is_dir())
    file, place = draw.choice(files), draw.choice(places)
    match draw.choice(("new", "edit", "append", "touch", "move", "folder", "swap", "drop")):
        case "new":
            (place / f"new{number}.txt").write_text("new")
        case "edit":
            file.write_text(f"edited {number}")
        case "append":
            with file.open("a") as out:
                out.write("more")
        case "touch":
            os.utime(file, ns=(number, number))
        case "move":
            file.rename(place / f"moved{number}.txt")
        case "folder":
            place.rename(place.with_name(f"folder{number}"))
        case "swap":  # another folder in the place of one that was known
            inner = place.with_name(f"away{number}")
            place.rename(inner)
            place.mkdir()
            (place / "other.txt").write_text(f"other {number}")
        case _:
            shutil.rmtree(place) if len(files) > 20 else tree(place)


def test_what_did_not_change_is_not_listed_again(
    tmp_path: Path, watched: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docs"
    tree(folder)
    source = FileSource(folder, tmp_path, CollectSettings())
    source.fingerprint()
    (folder / "1" / "1" / "1.txt").write_text("changed")
    listed: list[str] = []
    scandir = os.scandir

    def seen(path: str) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", seen)
    source.fingerprint()
    assert listed == [str(folder / "1" / "1")]


def test_a_file_that_can_change_from_elsewhere_is_looked_at_every_time(
    tmp_path: Path, watched: Live
) -> None:
    folder = tmp_path / "docs"
    tree(folder)
    away = tmp_path / "away.txt"
    away.write_text("elsewhere")
    (folder / "soft.txt").symlink_to(away)
    (folder / "0" / "0" / "hard.txt").hardlink_to(away)
    look(folder)
    away.write_text("changed elsewhere")
    remembered, fresh = look(folder)
    assert remembered == fresh


def test_events_that_were_lost_forget_everything(tmp_path: Path, watched: Live) -> None:
    folder = tmp_path / "docs"
    tree(folder)
    look(folder)
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    names = [str(folder / "0" / "0" / f"{number}.txt") for number in (0, 6)]
    for number in range(most):  # two by turns, since the kernel merges events that are alike
        os.utime(names[number % 2], ns=(number, number))
    (folder / "2" / "0" / "2.txt").write_text("lost")
    remembered, fresh = look(folder)
    assert remembered == fresh


def test_a_change_wakes_who_waits(tmp_path: Path, watched: Live) -> None:
    folder = tmp_path / "docs"
    tree(folder)
    look(folder)
    assert not watched.wait(0.05)
    timer = threading.Timer(0.1, (folder / "0" / "0" / "0.txt").write_text, ("changed",))
    timer.start()
    started = time.monotonic()
    assert watched.wait(30)
    assert time.monotonic() - started < 10


def test_another_process_asks_instead_of_looking(tmp_path: Path) -> None:
    (tmp_path / "undercroft.toml").write_text('[collect]\nsources = ["docs"]\n')
    opened = Project.open(tmp_path)
    tree(opened.root / "docs")
    params = opened.settings.collect

    def asked(how: str) -> str:
        command = [sys.executable, "-c", ASKING, str(opened.root), how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    with watching(opened):
        before = fingerprint(opened, params)
        assert asked("told") == before
        (opened.root / "docs" / "0" / "0" / "0.txt").write_text("changed")
        assert asked("told") == fingerprint(opened, params) != before
        others = params.model_copy(update={"include": ["*.md"]})
        assert told.prints(opened.state, others) == {}
    assert asked("itself") == fingerprint(opened, params)


def test_one_who_died_and_left_its_word_is_not_believed(tmp_path: Path) -> None:
    opened = Project.open(tmp_path)
    path = opened.state / "watch.sock"
    with contextlib.chdir(opened.state), socket.socket(socket.AF_UNIX) as killed:
        killed.bind(path.name)
    assert told.prints(opened.state, opened.settings.collect) == {}
    path.unlink()
    path.write_text("no socket at all")
    assert told.prints(opened.state, opened.settings.collect) == {}


def test_one_who_is_stopped_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Project.open(tmp_path)
    monkeypatch.setattr(told, "_PATIENCE_S", 0.2)
    with contextlib.chdir(opened.state), socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind("watch.sock")
        stopped.listen()  # as the kernel does for a process that Ctrl-Z has stopped
        started = time.monotonic()
        assert told.prints(opened.state, opened.settings.collect) == {}
    assert time.monotonic() - started < 5


def test_another_folder_in_the_place_of_the_whole_is_seen(tmp_path: Path, watched: Live) -> None:
    folder = tmp_path / "above" / "docs"
    tree(folder)
    look(folder)
    folder.parent.rename(tmp_path / "away")
    folder.mkdir(parents=True)
    (folder / "other.txt").write_text("another")
    remembered, fresh = look(folder)
    assert remembered == fresh
