"""A smaller model guesses: the same answers, and refusals of one that reads otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.serve.serving import keep_model
from undercroft.engines import LlamaServer, with_draft_file
from undercroft.engines.client import EngineClient
from undercroft.engines.gguf_header import raw_values, text
from undercroft.engines.tiny import write_tiny
from undercroft.errors import BadConfig, BadInput, NotFound
from undercroft.project import Project
from undercroft.serve.pools.replicas import LocalReplica
from undercroft.serve.pools.route import make_replicas
from undercroft.settings import EngineSettings


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf", "F16")


def drafting(draft: Path | str) -> EngineSettings:
    return EngineSettings(speculation="draft", draft=str(draft), draft_confidence=0.0)


async def answer(model: Path, tuning: EngineSettings) -> tuple[list[int], dict[str, Any]]:
    body = {"prompt": [5, 6, 7], "n_predict": 24, "temperature": 0.0, "return_tokens": True}
    with LlamaServer.start(model, context=256, slots=1, threads=1, tuning=tuning) as engine:
        engine.wait_ready()
        async with EngineClient(engine.base_url) as client:
            told = await client.post("/completion", body)
    return told["tokens"], told["timings"]


async def test_a_draft_changes_nothing_but_the_time(tiny: Path, tmp_path: Path) -> None:
    plain, timings = await answer(tiny, EngineSettings())
    assert not timings.get("draft_n")
    guessed, timings = await answer(tiny, drafting(tiny))
    assert guessed == plain
    assert timings["draft_n_accepted"] >= timings["draft_n"] * 0.9 > 0
    other = write_tiny(tmp_path / "other.gguf", "F16", seed=1)
    guessed, timings = await answer(tiny, drafting(other))
    assert guessed == plain
    assert timings["draft_n_accepted"] < timings["draft_n"] * 0.5


def test_a_draft_that_does_not_fit_is_refused_before_anything_starts(
    tiny: Path, wheel_gguf: Path, tmp_path: Path
) -> None:
    def start(draft: Path | str) -> None:
        LlamaServer.start(tiny, context=256, slots=1, threads=1, tuning=drafting(draft))

    with pytest.raises(BadInput, match=r"cannot guess for tiny.*vocabularies differ"):
        start(wheel_gguf)
    with pytest.raises(NotFound, match="no draft model"):
        start(tmp_path / "none.gguf")
    with pytest.raises(BadConfig, match=r"engine\.draft names no model"):
        start("")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:2000])
    with pytest.raises(BadInput, match="ends too early"):
        start(cut)


def test_a_ref_becomes_the_file_that_it_names(tiny: Path) -> None:
    found = with_draft_file(drafting("model:small"), {"model:small": tiny}.__getitem__)
    assert found.draft == str(tiny)
    assert with_draft_file(drafting(tiny), {}.__getitem__).draft == str(tiny)
    assert with_draft_file(EngineSettings(), {}.__getitem__) == EngineSettings()


def test_the_header_tells_what_a_file_is(wheel_gguf: Path) -> None:
    values = raw_values(wheel_gguf)
    assert text(values, "general.architecture") == "llama"
    assert text(values, "tokenizer.ggml.model") == "gpt2"
    assert text(values, "nothing") == ""


def test_a_pool_is_made_with_the_file_of_the_draft_that_the_settings_name(
    tiny: Path, tmp_path: Path
) -> None:
    settings = {
        "project.name": "docs",
        "engine.speculation": "draft",
        "engine.draft": "model:small",
    }
    project = Project.open(tmp_path, settings)
    small, large = (keep_model(project, name, tiny) for name in ("small", "large"))
    (replica,) = make_replicas(project, project.settings, large)
    assert isinstance(replica, LocalReplica)
    assert replica.tuning.draft == str(project.path(small) / tiny.name)
