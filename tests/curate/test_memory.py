"""More documents than memory: they are collected and curated all the same."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = 110
PAGE_BYTES = 2_500_000
ROOM_BYTES = 130_000_000  # beyond what is loaded, and what a few pages take
THREADS_BYTES = 80_000_000  # stacks of threads that may begin later; they hold no documents
WORDS = [f"{a}{b}{c}" for a in "bcdfghklm" for b in "aeiou" for c in "nrstlkm"]

SCRIPT = """
import json, resource, sys
from pathlib import Path
import pyarrow as pa
from undercroft.collect import writer
from undercroft.collect.stage import collect
from undercroft.curate import copies, selection, signals, update
from undercroft.curate.stage import curate
from undercroft.project import Project

def used(name):
    said = Path("/proc/self/status").read_text().partition(name + ":")[2]
    return 1024 * int(said.split()[0])

def collected(folder):
    project = Project.open(folder, {"collect.sources": ["docs"], "cluster.processes": 1})
    return project, collect(project)[0]

room, threads = int(sys.argv[3]), int(sys.argv[4])
writer._BATCH_BYTES = 4_000_000  # what is held at once, in proportion to the memory there is
collected(Path(sys.argv[1]))
signals.measure(pa.array(["What is compiled is loaded."], pa.large_string()))
base, resident = used("VmData"), used("VmRSS")
resource.setrlimit(resource.RLIMIT_DATA, (base + room + threads, resource.RLIM_INFINITY))
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
project, raw = collected(Path(sys.argv[2]))
(dataset,) = curate(project, raw=raw)
more = used("VmHWM") - resident
print(json.dumps({"collected": raw.meta["collected"], "kept": dataset.meta["kept"], "more": more}))
"""


def write_pages(folder: Path, count: int) -> None:
    """Pages of which most is a script, as it is on the web, and all of whose texts differ."""
    (folder / "docs").mkdir(parents=True)
    drawn = random.Random(count)
    script = drawn.randbytes(PAGE_BYTES // 2).hex()
    for number in range(count):
        text = ". ".join(" ".join(drawn.choices(WORDS, k=12)) for _ in range(20))
        page = f"<body><script>{number}{script}</script><h1>Page {number}</h1><p>{text}.</p></body>"
        (folder / "docs" / f"{number}.html").write_text(page)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux counts it")
def test_a_corpus_larger_than_memory_goes_through(tmp_path: Path) -> None:
    write_pages(tmp_path / "few", 3)
    write_pages(tmp_path / "many", PAGES)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "few"), str(tmp_path / "many")]
    command += [str(ROOM_BYTES), str(THREADS_BYTES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["collected"], found["kept"]) == (PAGES, PAGES)
    assert found["more"] < ROOM_BYTES < PAGES * PAGE_BYTES / 2
