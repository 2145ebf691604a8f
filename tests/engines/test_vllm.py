"""The command line that vLLM is started with, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from undercroft.engines import start_engine
from undercroft.engines.served import Task, check_folder
from undercroft.engines.vllm import command, environment
from undercroft.errors import BadConfig, BadInput
from undercroft.settings import EngineSettings


def task(**changes: object) -> Task:
    said = {"model": Path("/m"), "context": 4096, "slots": 16, "threads": 0, **changes}
    return Task.model_validate(said)


def value(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def adapter(folder: Path, rank: int) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    return folder


def test_settings_become_flags() -> None:
    tuning = EngineSettings(
        gpus=2, gpu_memory=0.5, kv_cache="q8_0", speculation="ngram", vllm_flags=["--seed", "7"]
    )
    words = command(task(tuning=tuning), 9000)
    assert words[:3] == ["vllm", "serve", "/m"]
    assert value(words, "--port") == "9000"
    assert value(words, "--max-model-len") == "4096"
    assert value(words, "--max-num-seqs") == "16"
    assert value(words, "--tensor-parallel-size") == "2"
    assert value(words, "--gpu-memory-utilization") == "0.5"
    assert value(words, "--kv-cache-dtype") == "fp8"
    assert json.loads(value(words, "--speculative-config"))["method"] == "ngram"
    assert words[-2:] == ["--seed", "7"]
    assert "--enable-lora" not in words


def test_adapters_are_modules_of_a_rank_that_all_fit_in(tmp_path: Path) -> None:
    adapters = {f"adapter:{rank}@1": adapter(tmp_path / str(rank), rank) for rank in (4, 20)}
    words = command(task(adapters=adapters), 9000)
    assert value(words, "--max-lora-rank") == "32"
    assert value(words, "--max-loras") == "2"
    assert f"adapter:4@1={tmp_path / '4'}" in words


def test_what_vllm_cannot_serve_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="rank 1024"):
        command(task(adapters={"a": adapter(tmp_path / "a", 1024)}), 9000)
    (tmp_path / "b").mkdir()
    with pytest.raises(BadInput, match="no LoRA adapters"):
        command(task(adapters={"b": tmp_path / "b"}), 9000)


def test_a_file_is_no_model_folder(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    with pytest.raises(BadInput, match="not a model folder"):
        check_folder(tmp_path / "m.gguf")


def test_threads_are_told_to_a_build_for_processors() -> None:
    assert environment(task(threads=3))["OMP_NUM_THREADS"] == "3"
    assert environment(task()).get("OMP_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS")


#: Like vLLM 0.32: it starts an engine that does not heed SIGTERM, and answers at /health.
STAND_IN = """\
import http.server, pathlib, subprocess, sys
ENGINE = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"
engine = subprocess.Popen([sys.executable, "-c", ENGINE])
pathlib.Path(sys.argv[2], "engine.pid").write_text(str(engine.pid))
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""


@pytest.mark.parametrize("killed", [False, True])
def test_what_vllm_started_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    program = tmp_path / "vllm"
    program.write_text(f"#!{sys.executable}\n{STAND_IN}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "config.json").write_text("{}")
    with start_engine("vllm", tmp_path, context=64, slots=1, threads=1) as engine:
        engine.wait_ready(60)
        started = int((tmp_path / "engine.pid").read_text())
        assert psutil.pid_exists(started)
        if killed:
            os.kill(engine.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _runs(started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(started)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
