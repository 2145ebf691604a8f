"""vLLM, where there is a GPU: the child keeps ``vllm serve`` and ends with its parent.

vLLM is installed by its user (``pip install vllm``), for the driver that is there; this package
only starts it. Its flags are those of vLLM 0.11's ``vllm serve --help``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

from undercroft.engines import liveness
from undercroft.engines.served import BASE, HOST, Task, check_adapter
from undercroft.errors import BadConfig, EngineFailed
from undercroft.processes import announce, end_with_parent
from undercroft.settings import EngineSettings

PROGRAM: Final = "vllm"
POLL_S: Final = 0.2
GRACE_S: Final = 4.0

#: What vLLM lets ``--max-lora-rank`` be.
RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)


def command(task: Task, port: int, program: str = PROGRAM) -> list[str]:
    """The command line that serves ``task`` at ``port``. Raises `BadConfig`."""
    tuning = task.tuning
    words = [
        *(program, "serve", str(task.model), "--served-model-name", BASE),
        *("--host", HOST, "--port", str(port)),
        *("--max-model-len", str(task.context), "--max-num-seqs", str(task.slots)),
        *("--tensor-parallel-size", str(tuning.gpus)),
        *("--gpu-memory-utilization", f"{tuning.gpu_memory:g}"),
        "--enable-prefix-caching",
    ]
    if tuning.kv_cache == "q8_0":
        words += ["--kv-cache-dtype", "fp8"]
    if guesses := _speculation(tuning):
        words += ["--speculative-config", json.dumps(guesses)]
    if task.adapters:
        words += ["--enable-lora", "--max-loras", str(len(task.adapters))]
        words += ["--max-lora-rank", str(_rank(task.adapters)), "--lora-modules"]
        words += [f"{name}={folder}" for name, folder in task.adapters.items()]
    return words + list(tuning.vllm_flags)


def _speculation(tuning: EngineSettings) -> dict[str, Any]:
    if tuning.speculation == "ngram":
        tokens = tuning.guess_tokens
        return {"method": "ngram", "num_speculative_tokens": tokens, "prompt_lookup_max": tokens}
    if tuning.speculation == "draft":
        return {"model": tuning.draft, "num_speculative_tokens": tuning.guess_tokens}
    return {}


def _rank(adapters: Mapping[str, Path]) -> int:
    """The smallest rank vLLM can be told that all of them fit in."""
    most = max(map(check_adapter, adapters.values()))
    for rank in RANKS:
        if rank >= most:
            return rank
    raise BadConfig(
        f"An adapter has rank {most}.",
        f"vLLM serves up to {RANKS[-1]}.",
        "Serve its merged model, or train one of a lower rank.",
    )


def installed() -> str:
    """The path of the program. Raises `EngineFailed`."""
    beside = Path(sys.executable).with_name(PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if found is None:
        raise EngineFailed(
            "vllm is not installed.",
            "This model asks for the engine vllm, which needs a GPU.",
            "Install it (pip install vllm), or serve a GGUF of the model: undercroft compress",
        )
    return found


def free_port() -> int:
    """A port that is free now; vLLM has to be told one."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def environment(task: Task) -> dict[str, str]:
    """What vLLM is started with; a build for processors reads its number of threads there."""
    own = {"OMP_NUM_THREADS": str(task.threads)} if task.threads else {}
    return {**os.environ, **own}


def end_family(process: subprocess.Popen[bytes]) -> None:
    """End vLLM and what it started: its engine and its workers outlive it when it is killed, and
    keep their memory (seen with 0.32, stopped while it compiled)."""
    import psutil

    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def main(arguments: list[str]) -> int:
    """The child: start vLLM, announce it once it answers, end it when told to."""
    task = Task.model_validate_json(arguments[0])
    try:
        words = command(task, port := task.port or free_port(), installed())
    except (EngineFailed, BadConfig) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=environment(task))

    def end(_signal: int, _frame: FrameType | None) -> None:
        end_family(process)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    end_with_parent()
    url = f"http://{HOST}:{port}"
    while process.poll() is None and not liveness.healthy(url, POLL_S):
        time.sleep(POLL_S)
    if process.poll() is None:
        announce(Path(arguments[1]), base_url=url)
    return process.wait()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
