"""An engine that lives is not always one that answers."""

from __future__ import annotations

import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from undercroft.engines import LlamaServer, liveness


def test_an_engine_at_rest_or_at_work_is_responsive(engine: LlamaServer) -> None:
    assert engine.responsive(30)
    body = b'{"prompt": "a", "n_predict": 400, "ignore_eos": true, "stream": true}'
    request = urllib.request.Request(engine.base_url + "/completion", body)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.readline()
        assert engine.responsive(30)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="POSIX signals")
def test_an_engine_that_stands_still_lives_and_is_not_responsive(wheel_gguf: Path) -> None:
    with LlamaServer.start(wheel_gguf, context=256, slots=1, threads=1) as engine:
        engine.wait_ready()
        os.kill(engine.pid, signal.SIGSTOP)
        assert engine.alive()
        assert not engine.responsive(0.5)
        os.kill(engine.pid, signal.SIGCONT)
        assert engine.responsive(30)
        os.kill(engine.pid, signal.SIGSTOP)
        engine.stop(grace_s=0.2)
        assert not engine.alive()
    assert not engine.responsive(0.5)


class Stuck(BaseHTTPRequestHandler):
    """Its HTTP threads say that it is well; its loop answers nothing."""

    def do_GET(self) -> None:
        if self.path != "/health":
            self.server.released.wait(20)  # type: ignore[attr-defined]
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}')

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def stuck() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stuck)
    server.released = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_health_alone_is_not_enough(stuck: str) -> None:
    assert liveness.healthy(stuck, 5)
    assert not liveness.responsive(stuck, 0.5)
