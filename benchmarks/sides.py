"""Gateways that speak to the same upstream: ours, LiteLLM's, Portkey's, SMG's, and none at all.

Where there are two cores the gateway has core 0 to itself; upstream and client share core 1. Each
gateway runs one process. What ours does beyond passing on is said by `Duty`: ``bare`` nothing,
``governed`` keys, budgets and a record of every answer, ``screened`` the screens of inputs and
answers too. Ours records even when bare: that cannot be turned off. LiteLLM looks at a key;
Portkey and SMG (in Rust) pass on and no more. None of the three writes records or screens.

A peer that cannot be installed is left out, with a word on how it is to be had.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks import upstream
from benchmarks.compare import PEERS, peer_environment, version_of
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Artifact, Footprint

Duty = Literal["bare", "governed", "screened"]

LITELLM = ("litellm[proxy]==1.106.2",)
SMG = ("smg==1.13.0",)
#: With a later node-server Portkey answers every stream with 500 (its issue 1389).
PORTKEY = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    "overrides": {"@hono/node-server": "1.14.1"},
}
MODEL = "bench"
MESSAGES = [{"role": "user", "content": "Where does the river go? " * 8}]
MANY = 1024  # streams at once; more than any benchmark has
CORES = os.cpu_count() or 1
START_S = 600  # LiteLLM takes minutes to start on a busy machine

_DUTIES: dict[Duty, dict[str, Any]] = {
    "bare": {
        "require_key": False, "daily_tokens": 0, "screen_input": False, "screen_output": [],
    },
    "governed": {"screen_input": False, "screen_output": []},
    "screened": {},
}  # fmt: skip


@dataclass(frozen=True)
class Side:
    """An address that answers chat completions, and the headers it wants."""

    name: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = MODEL
    pid: int = 0

    def request(self, **fields: Any) -> bytes:
        body = json.dumps(
            {"model": self.model, "messages": MESSAGES, "temperature": 0.7, **fields}
        ).encode()
        own = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n{own}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@contextmanager
def pinned() -> Iterator[None]:
    """Keep this process to core 1 until the block ends."""
    if CORES > 1:
        os.sched_setaffinity(0, {1})
    try:
        yield
    finally:
        if CORES > 1:
            os.sched_setaffinity(0, set(range(CORES)))


@contextmanager
def process(
    arguments: list[str], port: int, core: int | None, log: Path, **environment: str
) -> Iterator[int]:
    """Run a server on one core until the block ends; its process id, when its port answers."""
    with log.open("wb") as out:
        server = subprocess.Popen(
            arguments, stdout=out, stderr=out, env={**os.environ, **environment}
        )
    if core is not None and CORES > 1:
        os.sched_setaffinity(server.pid, {core})  # before it starts threads, which inherit it
    try:
        _wait_for_port(port, server, log)
        yield server.pid
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"a server did not start:\n{log.read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"a server did not open its port in {START_S} s:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def direct(folder: Path, gap_ms: float = 5.0, chunks: int = 32) -> Iterator[Side]:
    """The upstream itself."""
    port = free_port()
    arguments = [sys.executable, "-m", upstream.__name__, str(port), str(gap_ms), str(chunks)]
    with process(arguments, port, 1, folder / "upstream.txt") as pid:
        yield Side("direct", port, pid=pid)


@contextmanager
def ours(
    folder: Path,
    base_url: str,
    duty: Duty = "screened",
    core: int | None = 0,
    told: int | None = None,
    **settings: Any,
) -> Iterator[Side]:
    """Our gateway in front of ``base_url``, as a project of its own; ``told`` how many requests
    the engine answers at once."""
    port, home = free_port(), folder / f"ours-{duty}-{time.monotonic_ns()}"
    home.mkdir()
    given = {
        "port": port, "slots": MANY, "queue": MANY, "cache_entries": 0,
        "daily_tokens": 1_000_000_000_000, **_DUTIES[duty], **settings,
    }  # fmt: skip
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in given.items())
    (home / "undercroft.toml").write_text(f'[project]\nname = "{MODEL}"\n\n[serve]\n{lines}\n')
    project = Project.open(home)
    meta = {"engine": "remote", "base_url": base_url, "model": MODEL}
    model = _keep(project, "model", meta if told is None else {**meta, "slots": told})
    route = _keep(project, "route", {"model": str(model.ref)})
    project.ledger.set_alias(route.ref, "live", "benchmark")
    _, key = project.trust.keys.create("benchmark", "user")
    headers = {} if duty == "bare" else {"authorization": f"Bearer {key}"}
    arguments = [sys.executable, "-m", "undercroft.serve", str(home)]
    with process(arguments, port, core, home / "log.txt") as pid:
        _wait_for_start(project)
        yield Side(f"undercroft {duty}", port, headers, pid=pid)


def _wait_for_start(project: Project) -> None:
    """Our gateway listens before it is ready: whoever asks meanwhile waits."""
    deadline = time.monotonic() + START_S
    while not (project.state / "serve.json").exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"our gateway was not ready in {START_S} s")
        time.sleep(0.05)


def _keep(project: Project, kind: str, meta: dict[str, Any]) -> Artifact:
    run = project.ledger.begin_run("benchmark", f"benchmark-{kind}", {}, [])
    made = MadeArtifact(kind, project.name, f"benchmark-{kind}", "none:", 0, meta)
    return project.ledger.finish_run(run.id, [made], Footprint())[0]


@contextmanager
def litellm(folder: Path, base_url: str, core: int | None = 0) -> Iterator[Side]:
    """LiteLLM's proxy in front of ``base_url``, with one worker and a key."""
    binaries = _installed("litellm", LITELLM)
    port, key, home = free_port(), "sk-benchmark", folder / "litellm"
    home.mkdir()
    config = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}", "api_base": f"{base_url}/v1", "api_key": "none",
                },
            }
        ],
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False},
    }  # fmt: skip
    (home / "config.yaml").write_text(json.dumps(config))
    arguments = [
        str(binaries / "litellm"), "--config", str(home / "config.yaml"), "--host", "127.0.0.1",
        "--port", str(port), "--num_workers", "1",
    ]  # fmt: skip
    headers = {"authorization": f"Bearer {key}"}
    settings = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch it at start
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
    }
    with process(arguments, port, core, home / "log.txt", **settings) as pid:
        yield Side(f"LiteLLM {version_of(binaries, 'litellm')}", port, headers, pid=pid)


@contextmanager
def portkey(folder: Path, base_url: str, core: int | None = 0) -> Iterator[Side]:
    """Portkey's gateway in front of ``base_url``, without keys of its own."""
    package = _npm_packages("portkey", PORTKEY) / "@portkey-ai" / "gateway"
    port = free_port()
    arguments = ["node", str(package / "build" / "start-server.js"), f"--port={port}", "--headless"]
    headers = {
        "authorization": "Bearer none", "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"{base_url}/v1",
    }  # fmt: skip
    version = json.loads((package / "package.json").read_text())["version"]
    with process(arguments, port, core, folder / "portkey.txt", NODE_ENV="production") as pid:
        yield Side(f"Portkey {version}", port, headers, pid=pid)


@contextmanager
def smg(folder: Path, base_url: str, core: int | None = 0) -> Iterator[Side]:
    """The Shepherd Model Gateway in front of ``base_url``, without keys of its own."""
    binaries = _installed("smg", SMG)
    port = free_port()
    arguments = [
        str(binaries / "smg"), "launch", "--host", "127.0.0.1", "--port", str(port),
        "--worker-urls", base_url, "--backend", "openai", "--log-level", "error",
        "--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port()),
    ]  # fmt: skip
    with process(arguments, port, core, folder / "smg.txt") as pid:
        yield Side(f"SMG {version_of(binaries, 'smg')}", port, pid=pid)


class NotHere(Exception):
    """A peer that could not be installed; says how to do it by hand."""


def _installed(name: str, requirements: Sequence[str]) -> Path:
    """The ``bin`` folder of a peer's virtual environment."""
    try:
        return peer_environment(name, requirements)
    except subprocess.CalledProcessError as problem:
        by_hand = f"{PEERS / name}/bin/pip install '{' '.join(requirements)}'"
        raise NotHere(f"pip could not install {name}; see what it says:\n  {by_hand}") from problem


def _npm_packages(name: str, wanted: Mapping[str, Any]) -> Path:
    """The ``node_modules`` with what the package file ``wanted`` asks for."""
    folder, asked = PEERS / name, json.dumps(wanted)
    done = folder / "installed.txt"
    if not done.exists() or done.read_text() != asked:
        print(f"installing {name} into {folder} …", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(asked)
        npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder)]
        try:
            subprocess.run(npm, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as problem:
            raise NotHere(f"{name} needs Node 20 with npm, then:\n  {' '.join(npm)}") from problem
        done.write_text(asked)
    return folder / "node_modules"


#: The gateways that ours is measured against.
PEER_GATEWAYS: tuple[Callable[[Path, str], AbstractContextManager[Side]], ...] = (
    litellm, portkey, smg,
)  # fmt: skip


@contextmanager
def all_of(
    folder: Path, *duties: Duty, gap_ms: float = 5.0, chunks: int = 32, peers: bool = True
) -> Iterator[list[Side]]:
    """The upstream, ours with each of ``duties``, and the peers that can be had, at once: what is
    not asked costs next to nothing."""
    with ExitStack() as running:
        straight = running.enter_context(direct(folder, gap_ms, chunks))
        url = f"http://127.0.0.1:{straight.port}"
        yield [straight, *in_front(running, folder, url, duties, peers)]


def in_front(
    running: ExitStack, folder: Path, base_url: str, duties: Sequence[Duty], peers: bool
) -> list[Side]:
    """Ours with each of ``duties``, and the peers that can be had, before ``base_url``."""
    found = [running.enter_context(ours(folder, base_url, duty)) for duty in duties]
    for gateway in PEER_GATEWAYS if peers else ():
        print(f"starting {gateway.__name__} …", file=sys.stderr)
        try:
            found.append(running.enter_context(gateway(folder, base_url)))
        except NotHere as problem:
            print(f"{gateway.__name__} is left out: {problem}", file=sys.stderr)
    return found
