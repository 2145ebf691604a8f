from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from undercroft.engines import ENGINES, LlamaServer, start_engine
from undercroft.errors import BadInput, EngineFailed, NotFound

QUESTION = [{"role": "user", "content": "Write a long story about a vault."}]


def get(server: LlamaServer, path: str) -> Any:
    with urllib.request.urlopen(server.base_url + path, timeout=10) as response:
        return json.load(response)


def busy_slots(server: LlamaServer) -> int:
    return sum(slot["is_processing"] for slot in get(server, "/slots"))


def gone(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_ready_engine_answers_health_and_metrics(engine: LlamaServer) -> None:
    assert engine.alive()
    assert get(engine, "/health") == {"status": "ok"}
    with urllib.request.urlopen(engine.base_url + "/metrics", timeout=10) as response:
        assert b"llamacpp:prompt_tokens_total" in response.read()


def test_every_slot_has_the_whole_context(engine: LlamaServer) -> None:
    assert [slot["n_ctx"] for slot in get(engine, "/slots")] == [512, 512]


def test_the_model_is_named_after_its_file_not_its_path(engine: LlamaServer) -> None:
    assert get(engine, "/v1/models")["data"][0]["id"] == engine.model.stem


async def test_a_client_that_hangs_up_frees_its_slot(engine: LlamaServer) -> None:
    body = {"messages": QUESTION, "max_tokens": 400, "stream": True, "ignore_eos": True}
    async with aiohttp.ClientSession() as session:
        response = await session.post(engine.base_url + "/v1/chat/completions", json=body)
        await response.content.readany()
        assert await asyncio.to_thread(busy_slots, engine) == 1
        response.close()
        for _ in range(40):
            if await asyncio.to_thread(busy_slots, engine) == 0:
                return
            await asyncio.sleep(0.05)
    pytest.fail("the slot was still busy two seconds after its client hung up")


def test_a_stopped_engine_is_gone_and_leaves_no_files(wheel_gguf: Path) -> None:
    server = LlamaServer.start(wheel_gguf, context=256, slots=1, threads=1)
    server.wait_ready()
    folder, pid = server.log.parent, server.pid
    server.stop()
    server.stop()
    assert not server.alive()
    assert gone(pid, within_s=1)
    assert not folder.exists()


def test_an_engine_outlives_the_thread_that_started_it(wheel_gguf: Path) -> None:
    started: list[LlamaServer] = []
    thread = threading.Thread(
        target=lambda: started.append(
            LlamaServer.start(wheel_gguf, context=256, slots=1, threads=1)
        )
    )
    thread.start()
    thread.join()
    with started[0] as server:
        server.wait_ready()
        time.sleep(0.3)
        assert server.alive()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_engine_ends_when_its_parent_is_killed(wheel_gguf: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from undercroft.engines import LlamaServer\n"
        "server = LlamaServer.start(Path(sys.argv[1]), context=256, slots=1, threads=1)\n"
        "server.wait_ready(); print(server.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(wheel_gguf)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(pid, within_s=5)


def test_a_crash_is_told_with_its_signal(wheel_gguf: Path) -> None:
    with LlamaServer.start(wheel_gguf, context=256, slots=1, threads=1) as server:
        server.wait_ready()
        os.kill(server.pid, signal.SIGSEGV)
        deadline = time.monotonic() + 5
        while server.alive():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "SIGSEGV" in server.failure().what


def test_a_broken_model_fails_with_the_engines_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\x00" * 64)
    server = LlamaServer.start(broken, context=256, slots=1, threads=1)
    with pytest.raises(EngineFailed, match=r"broken\.gguf ended with exit code 1"):
        server.wait_ready()
    assert not server.alive()


def test_a_file_that_is_no_model_is_refused_before_a_process_starts(tmp_path: Path) -> None:
    text = tmp_path / "model.gguf"
    text.write_text("not a model")
    with pytest.raises(BadInput, match="not a GGUF file"):
        LlamaServer.start(text, context=256, slots=1, threads=1)
    with pytest.raises(NotFound):
        LlamaServer.start(tmp_path / "none.gguf", context=256, slots=1, threads=1)


def test_engines_are_found_by_name(tmp_path: Path) -> None:
    assert set(ENGINES) == {"llamacpp", "transformers", "vllm"}
    with pytest.raises(NotFound, match="no engine 'llamacp'"):
        start_engine("llamacp", tmp_path, context=256, slots=1, threads=1)
