"""The console as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

START_S = 4.0


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "undercroft.console", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def announced(process: subprocess.Popen[str], folder: Path) -> int:
    """Wait until the console can be visited; its port."""
    file = folder / ".undercroft" / "console.json"
    for _ in range(600):
        assert process.poll() is None, process.stderr.read()
        if file.exists():
            facts = json.loads(file.read_text())
            assert facts["pid"] == process.pid
            return int(facts["urls"]["console"].rpartition(":")[2])
        time.sleep(0.05)
    raise AssertionError("the console was not ready in 30 s")


def get(port: int, path: str, host: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"host": host} if host else {})
    reply = connection.getresponse()
    return reply.status, reply.read().decode()


@pytest.fixture(scope="module")
def running(project):
    process = start(project.root)
    yield announced(process, project.root), process
    process.terminate()
    process.wait(10)


def test_the_first_answer_already_holds_the_content(running):
    status, body = get(running[0], "/documents?q=python:topic/with")
    assert status == 200
    assert "python:topic/with" in body


def test_missing_things_answer_404_and_say_what_to_do(running):
    status, body = get(running[0], "/runs/nothing")
    assert status == 404
    assert "nothing" in body


def test_a_foreign_name_for_this_machine_is_refused(running):
    assert get(running[0], "/", "evil.example")[0] == 400
    assert get(running[0], "/", f"localhost:{running[0]}")[0] == 200


def test_the_console_cannot_be_framed(running):
    connection = http.client.HTTPConnection("127.0.0.1", running[0])
    connection.request("GET", "/")
    assert connection.getresponse().headers["x-frame-options"] == "DENY"


def test_a_second_console_on_the_same_port_is_told_so(running, tmp_path):
    second = start(tmp_path, "--port", str(running[0]))
    _, said = second.communicate(timeout=30)
    assert second.returncode == 4
    assert said.startswith(f"error: The console cannot listen on 127.0.0.1:{running[0]}.")


def test_it_starts_quickly_and_leaves_nothing_behind_when_it_is_stopped(tmp_path):
    times = []
    for _ in range(2):
        began = time.monotonic()
        process = start(tmp_path, "--port", "0")
        announced(process, tmp_path)
        times.append(time.monotonic() - began)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)
        assert not (tmp_path / ".undercroft" / "console.json").exists()
    assert min(times) < START_S * (1 + os.getloadavg()[0])


def test_torch_is_never_imported(tmp_path):
    code = (
        "import sys; from pathlib import Path; from undercroft.project import Project\n"
        "from undercroft.console.server import build, warm\n"
        f"project = Project.open(Path({str(tmp_path)!r})); build(project); warm(project)\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_port_is_bound_before_anything_slow_happens(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(tmp_path, "--port", str(taken.getsockname()[1]))
        assert process.wait(30) == 4
