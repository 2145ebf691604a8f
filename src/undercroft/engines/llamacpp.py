"""llama.cpp in a supervised child process: ``python -m undercroft.engines.llamacpp``.

The child runs xllamacpp's HTTP server, which is llama.cpp's own: continuous batching over slots,
prompt cache, ``/v1/chat/completions``, ``/health``, ``/metrics``, ``/slots``; a client that hangs
up frees its slot. It stands in a process of its own because a crash in C++ must not take the
gateway along, and because its threads would share the gateway's interpreter lock.

The child ends with its parent through `undercroft.processes` (a pipe that closes however the
parent dies). ``PR_SET_PDEATHSIG`` is not used: Linux sends that signal when the *thread* that
started the child ends (prctl(2)), which kills engines started from a thread pool.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from undercroft.errors import BadInput, EngineFailed, NotFound
from undercroft.processes import Child, announce, end_with_parent
from undercroft.settings import EngineSettings

GGUF_MAGIC = b"GGUF"
LOG_LINES_IN_ERROR = 6

#: Memory for prompts of slots that were given to somebody else. llama.cpp's default is 8 GiB.
PROMPT_CACHE_MIB = 256

#: OpenMP threads sleep at a barrier instead of spinning. llama.cpp waits at hundreds of barriers a
#: token; when anything else wants a core, spinning threads keep the awaited one from running.
#: Measured with both cores contended: decoding 57 tokens/s against 4 to 27 (lab book).
OPENMP = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}

#: llama.cpp log threshold: 1 errors, 2 warnings, 3 information.
LOG_LEVEL = 2


@dataclass
class LlamaServer:
    """One child process serving one GGUF file."""

    model: Path
    context: int
    slots: int
    threads: int
    log: Path
    _child: Child
    _announcement: Path
    _owned_folder: Path | None = None
    _base_url: str = field(default="", init=False)

    @classmethod
    def start(
        cls,
        model: Path,
        *,
        context: int,
        slots: int,
        threads: int,
        port: int = 0,
        embeddings: bool = False,
        log: Path | None = None,
        tuning: EngineSettings | None = None,
    ) -> LlamaServer:
        """Start serving ``model``; returns at once, call `wait_ready` before use.

        ``context`` is what each of the ``slots`` parallel requests gets, prompt and answer
        together. ``threads`` 0 takes every core this process may use. ``port`` 0 lets the
        operating system choose one while it binds, so that nobody can take it in between. The
        child's output goes to ``log``; without one it is kept until `stop`. ``tuning`` is how it
        computes. Raises `NotFound`
        or `BadInput` when ``model`` is not a GGUF file.
        """
        _check_model(model)
        owned = Path(tempfile.mkdtemp(prefix="undercroft-engine-")) if log is None else None
        log_file = log if log is not None else Path(str(owned)) / "engine.log"
        announcement = log_file.with_suffix(f".{secrets.token_hex(4)}.ready.json")
        num_threads = threads or usable_cores()
        arguments = [
            *("-m", "undercroft.engines.llamacpp"),
            *("--model", str(model.resolve()), "--announce", str(announcement.resolve())),
            *("--context", str(context), "--slots", str(slots)),
            *("--threads", str(num_threads), "--port", str(port)),
            *(("--embeddings",) if embeddings else ()),
            *("--tuning", (tuning or EngineSettings()).model_dump_json()),
        ]
        child = Child.start("engine", arguments, log_file, OPENMP)
        return cls(model, context, slots, num_threads, log_file, child, announcement, owned)

    @property
    def base_url(self) -> str:
        if not self._base_url:
            raise EngineFailed(
                "The engine is not ready.", "It has no address yet.", "Call wait_ready first."
            )
        return self._base_url

    @property
    def pid(self) -> int:
        return self._child.process.pid

    def alive(self) -> bool:
        return self._child.alive()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; ``-9`` for a process killed by signal 9."""
        return self._child.process.poll()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return when the model is loaded and requests are answered.

        Raises `EngineFailed` with the last lines of the engine's log when it ends or takes
        longer than ``timeout_s``; either way the child is gone then.
        """
        try:
            announced = self._child.wait_for(self._announcement, timeout_s)
        except EngineFailed:
            failure = self.failure()
            self.stop()
            raise failure from None
        self._base_url = announced["base_url"]
        self._announcement.unlink(missing_ok=True)

    def failure(self) -> EngineFailed:
        """The error that says how the engine ended, or that it did not become ready."""
        code = self.exit_code
        if code is None:
            how = "was not ready in time"
        elif code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        last = [line for line in text.splitlines() if line.strip()][-LOG_LINES_IN_ERROR:]
        said = "Its last words: " + " | ".join(last) if last else "It said nothing"
        log = "" if self._owned_folder else f"Its log is {self.log}."  # an owned one goes at `stop`
        return EngineFailed(f"The engine of {self.model.name} {how}.", f"{said}.", log)

    def stop(self, grace_s: float = 5.0) -> None:
        """End the child; a request in flight loses its connection. Safe to call twice."""
        self._child.stop(grace_s)
        self._announcement.unlink(missing_ok=True)
        if self._owned_folder is not None:
            shutil.rmtree(self._owned_folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def usable_cores() -> int:
    """Cores this process may run on, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_model(model: Path) -> None:
    """Fail before a process is started; llama.cpp's own message would end in a log file."""
    if not model.is_file():
        raise NotFound(f"There is no model file {model}.", do="Make one with: undercroft up")
    with model.open("rb") as file:
        magic = file.read(len(GGUF_MAGIC))
    if magic != GGUF_MAGIC:
        raise BadInput(
            f"{model} is not a GGUF file.",
            f"It begins with {magic!r} instead of {GGUF_MAGIC!r}.",
            "Compress the model first; llama.cpp reads nothing else.",
        )


def _engine_parameters(options: argparse.Namespace) -> Any:
    """xllamacpp's `CommonParams` for ``options``."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {
        Path(options.model).stem
    }  # answers name it; the path is nobody's business
    params.n_parallel = options.slots
    params.n_ctx = options.context * options.slots  # llama.cpp divides it by the slots
    params.kv_unified = False  # a long request must not take another slot's share
    params.fit_params = False  # never shrink the context silently
    params.n_batch = 2048
    tuning = EngineSettings.model_validate_json(options.tuning)
    params.n_ubatch = tuning.prompt_batch
    if tuning.kv_cache == "q8_0":
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    if tuning.speculation == "ngram":
        kinds = xllamacpp.common_speculative_type
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = options.threads
        cpu.poll = 0  # the gateway needs the core that a waiting thread would spin on
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.ui = False
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.verbosity = LOG_LEVEL
    if options.embeddings:
        params.embedding = True
        params.n_batch = params.n_ubatch = options.context  # one input is one batch
    return params


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m undercroft.engines.llamacpp")
    parser.add_argument("--model", required=True)
    parser.add_argument("--announce", required=True, type=Path)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--tuning", default="{}")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The child: load the model, announce the address, serve until told to end."""
    end_with_parent()
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    import xllamacpp

    try:
        server = xllamacpp.Server(_engine_parameters(options))
    except RuntimeError as error:
        print(f"error: llama.cpp cannot serve {options.model}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    announce(options.announce, base_url=server.listening_address.rstrip("/"))
    while True:
        signal.pause()  # the server's own threads do the work; SIGTERM ends the process


if __name__ == "__main__":
    raise SystemExit(main())
