"""llama.cpp in a supervised child process: ``python -m undercroft.engines.llamacpp``.

The child runs xllamacpp's HTTP server, which is llama.cpp's own: continuous batching over slots,
prompt cache, ``/v1/chat/completions``, ``/health``, ``/metrics``, ``/slots``; a client that hangs
up frees its slot. It stands in a process of its own because a crash in C++ must not take the
gateway along, and because its threads would share the gateway's interpreter lock. Where there is a
build of llama.cpp for this processor (`native`), the child becomes that server.

The child ends with its parent through `undercroft.processes` (a pipe that closes however the
parent dies). ``PR_SET_PDEATHSIG`` is not used: Linux sends that signal when the *thread* that
started the child ends (prctl(2)), which kills engines started from a thread pool.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from undercroft.engines import liveness, native
from undercroft.engines.child import EngineChild, Papers, usable_cores
from undercroft.engines.draft import check_draft
from undercroft.engines.launch import Launch, server_arguments, wheel_parameters
from undercroft.engines.native import NativeBuild
from undercroft.errors import BadInput, EngineFailed, NotFound
from undercroft.processes import Child, announce, end_with_parent
from undercroft.settings import EngineSettings

GGUF_MAGIC = b"GGUF"
LOG_LINES_IN_ERROR = 6

#: OpenMP threads sleep at a barrier instead of spinning. llama.cpp waits at hundreds of barriers a
#: token; when anything else wants a core, spinning threads keep the awaited one from running.
#: Measured with both cores contended: decoding 57 tokens/s against 4 to 27 (lab book).
OPENMP = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}

POLL_S = 0.05


@dataclass(kw_only=True)
class LlamaServer(EngineChild):
    """One child process serving one GGUF file. ``build`` is what it runs, None for the wheel."""

    context: int
    slots: int
    threads: int
    build: NativeBuild | None
    is_native: bool  # a native server announces nothing

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
        adapters: Mapping[str, Path] | None = None,
        server: Path | None = None,
    ) -> LlamaServer:
        """Start serving ``model``; returns at once, call `wait_ready` before use.

        ``context`` is what each of the ``slots`` parallel requests gets, prompt and answer
        together. ``threads`` 0 takes every core this process may use. ``port`` 0 lets the
        operating system choose one while it binds, so that nobody can take it in between. The
        child's output goes to ``log``; without one it is kept until `stop`. ``tuning`` is how it
        computes; its ``draft`` is a file here. ``adapters`` are GGUF files by name; each request
        then has to say by `adapter_fields` which one it is for. ``server`` is a native server to
        run, whatever ``tuning`` says of builds. Raises `NotFound` or `BadInput` when a file is no
        model, or the draft has another vocabulary.
        """
        tuning, named = tuning or EngineSettings(), adapters or {}
        check_model(model)
        for each in named.values():
            check_model(each)
        build = native.choose(tuning.build) if server is None else None
        server = build.server if build is not None else server
        launch = Launch(
            model=model.resolve(),
            context=context,
            slots=slots,
            threads=threads or usable_cores(),
            port=port,
            embeddings=embeddings,
            tuning=tuning,
            draft=check_draft(model, tuning),
            adapters=tuple(each.resolve() for each in named.values()),
        )
        papers = Papers.at(log)
        arguments = [
            *("-m", "undercroft.engines.llamacpp", launch.model_dump_json()),
            str(server or papers.announcement),
        ]
        return cls(
            model=model, context=context, slots=slots, threads=launch.threads, build=build,
            is_native=server is not None, _papers=papers,
            adapters={name: number for number, name in enumerate(named)},
            _child=Child.start("engine", arguments, papers.log, OPENMP),
        )  # fmt: skip

    def alive(self) -> bool:
        """Whether its process runs. A native build found dead of an instruction that the processor
        does not have is withdrawn: the next engine is the wheel's."""
        running = super().alive()
        if not running and self.build is not None and self.exit_code == -signal.SIGILL:
            self.build.withdraw("it died of an instruction that this processor does not have")
        return running

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
            self._base_url = self._address(timeout_s)
        except EngineFailed:
            failure = self.failure()
            self.stop()
            raise failure from None

    def _address(self, timeout_s: float) -> str:
        """Where it answers, once it does. Raises `EngineFailed`."""
        return self._native_address(timeout_s) if self.is_native else self._announced(timeout_s)

    def _native_address(self, timeout_s: float) -> str:
        """llama.cpp's server tells its port in its log alone, so its sockets are looked at."""
        import psutil

        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.alive():
            try:
                found = psutil.Process(self.pid).net_connections("tcp")
            except psutil.Error:
                break
            for each in found:
                url = f"http://{each.laddr.ip}:{each.laddr.port}"
                if each.status == psutil.CONN_LISTEN and liveness.healthy(url, POLL_S * 20):
                    return url
            time.sleep(POLL_S)
        raise EngineFailed("The engine did not become ready.")

    def responsive(self, timeout_s: float) -> bool:
        """Whether it lives and answers within ``timeout_s``; see `liveness.responsive`."""
        return self.alive() and liveness.responsive(self.base_url, timeout_s)

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
        log = "" if self._papers.owned else f"Its log is {self.log}."  # an owned one goes at `stop`
        return EngineFailed(f"The engine of {self.model.name} {how}.", f"{said}.", log)


def check_model(model: Path) -> None:
    """Fail before a process is started; llama.cpp's own message would end in a log file. Raises
    `NotFound` or `BadInput`."""
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


def main(arguments: list[str] | None = None) -> int:
    """The child: load the model, announce the address, serve until told to end; or become the
    native server. Takes a `Launch` as JSON, and the file of the announcement or of the server."""
    launch_json, file = sys.argv[1:] if arguments is None else arguments
    launch = Launch.model_validate_json(launch_json)
    if os.path.basename(file) == native.SERVER:
        os.execv(file, [file, *server_arguments(launch)])  # noqa: S606
    end_with_parent()
    import xllamacpp

    try:
        server = xllamacpp.Server(wheel_parameters(launch))
    except RuntimeError as error:
        print(f"error: llama.cpp cannot serve {launch.model}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    announce(Path(file), base_url=server.listening_address.rstrip("/"))
    while True:
        signal.pause()  # the server's own threads do the work; SIGTERM ends the process


if __name__ == "__main__":
    raise SystemExit(main())
