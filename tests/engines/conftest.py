from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from undercroft.engines import LlamaServer
from undercroft.train.models.folders import wheel_file


@pytest.fixture(scope="session")
def wheel_gguf() -> Path:
    return wheel_file()


@pytest.fixture(scope="session")
def engine(wheel_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with LlamaServer.start(wheel_gguf, context=512, slots=2, threads=0, log=log) as server:
        server.wait_ready()
        yield server
