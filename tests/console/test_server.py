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
from urllib.parse import urlencode

import pytest

from undercroft.console.access import LOCAL, check
from undercroft.errors import Denied
from undercroft.project import Project

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


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A console that others can reach, with a key that may read and one that may not."""
    folder = tmp_path_factory.mktemp("shared")
    keys = Project.open(folder).trust.keys
    _, may = keys.create("reader", "console")
    _, may_not = keys.create("asker", "user")
    process = start(folder, "--host", "0.0.0.0", "--port", "0")
    yield announced(process, folder), may, may_not, keys
    process.terminate()
    process.wait(10)


def sign_in(port: int, key: str, path: str = "/sign-in") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", path, urlencode({"key": key}))
    return connection.getresponse()


def test_a_console_that_others_can_reach_asks_for_a_key(shared):
    port, may, may_not, _ = shared
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/answers?page=2")
    reply = connection.getresponse()
    assert reply.status == 303
    assert reply.headers["location"] == "/sign-in?next=/answers%3Fpage%3D2"
    assert "API key" in get(port, "/sign-in")[1]
    assert sign_in(port, may_not).status == 401
    reply = sign_in(port, may, "/sign-in?next=/answers%3Fpage%3D2")
    assert reply.headers["location"] == "/answers?page=2"
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/runs", headers={"cookie": cookie.partition(";")[0]})
    assert connection.getresponse().status == 200


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "/%5Cevil.example", "https://evil.example"]
)
def test_signing_in_never_leads_to_another_host(shared, elsewhere):
    reply = sign_in(shared[0], shared[1], f"/sign-in?next={elsewhere}")
    assert reply.headers["location"] == "/"


def test_the_live_connection_needs_a_session_too(shared):
    status, _ = get(shared[0], "/_nicegui_ws/socket.io/?EIO=4&transport=polling")
    assert status == 303


def test_a_revoked_key_ends_its_sessions(shared):
    port, _, _, keys = shared
    _, key = keys.create("leaver", "operator")
    cookie = sign_in(port, key).headers["set-cookie"].partition(";")[0]

    def status() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/rollout", headers={"cookie": cookie})
        return connection.getresponse().status

    assert status() == 200
    keys.revoke("leaver")
    deadline = time.monotonic() + 10
    while status() == 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_who_may_only_look_cannot_change_what_is_served(empty):
    keys = empty.trust.keys
    for role, may in (("console", False), ("operator", True), ("admin", True)):
        who, _ = keys.create(f"one-{role}", role)
        if may:
            check(empty, who)
        else:
            with pytest.raises(Denied, match="may look, and change nothing"):
                check(empty, who)
    check(empty, LOCAL)
    gone = keys.revoke("one-admin")
    with pytest.raises(Denied, match="not valid any more"):
        check(empty, gone)
