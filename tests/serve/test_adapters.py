"""Adapters beside a model: one engine, and whoever asks gets theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openai
import psutil
import pytest

from tests.serve.serving import gateway_of, keep, keep_model, make_project, release, smollm
from undercroft.govern.thread import thread

ACME, OPEN = "adapter:acme@1", "adapter:open@1"
LAYERS, WIDTH, RANK = 30, 576, 4  # of SmolLM2-135M


def write_adapter(file: Path, seed: int) -> Path:
    """Adapters on every query layer, strong enough to be heard, as llama.cpp reads them."""
    import gguf

    draw = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for layer in range(LAYERS):
        for part, shape in (("a", (RANK, WIDTH)), ("b", (WIDTH, RANK))):
            values = draw.normal(0, 0.25, shape).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.attn_q.weight.lora_{part}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("adapters") / "p", slots=1)
    model = keep_model(project, "docs-q4_1", smollm())
    for seed, name in enumerate(("acme", "open")):
        file = write_adapter(project.state / f"{name}.gguf", seed)
        uri, _, _ = project.lake.blobs.put(file, "adapter", name)
        keep(project, "adapter", name, {"base": str(model.ref)}, uri)
    release(project, model, adapters={ACME: ["acme"], OPEN: []})
    with gateway_of(project) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def acme(served):
    _, key = served.project.trust.keys.create("acme", "user")
    return served.client(api_key=key)


@pytest.fixture(scope="module")
def other(served):
    _, key = served.project.trust.keys.create("other", "user")
    return served.client(api_key=key)


def ask(client, model: str = "docs") -> tuple[str, str]:
    """An answer, and which model gave it."""
    said = client.chat.completions.with_raw_response.create(
        model=model, max_tokens=12, messages=[{"role": "user", "content": "What is a river?"}]
    )
    return said.parse().choices[0].message.content, said.headers["x-undercroft-model"]


def test_one_engine_answers_with_each_adapter_and_with_none(served, acme, other) -> None:
    plain, opened, own = ask(other), ask(other, "docs+open"), ask(acme)
    assert plain[1] == "model:docs-q4_1@1"
    assert opened[1] == f"model:docs-q4_1@1+{OPEN}"
    assert own[1] == f"model:docs-q4_1@1+{ACME}"
    assert len({plain[0], opened[0], own[0]}) == 3
    assert ask(other) == plain, "an adapter stays with those who asked for it"
    children = psutil.Process(served.process.pid).children(recursive=True)
    assert len([one for one in children if "undercroft.engines.llamacpp" in one.cmdline()]) == 1


@pytest.mark.parametrize(
    "name", ["docs+open", "adapter:open", OPEN, "model:docs-q4_1+open", f"model:docs-q4_1@1+{OPEN}"]
)
def test_an_adapter_has_several_names(other, name) -> None:
    assert ask(other, name)[1].endswith(OPEN)


def test_a_tenants_adapter_is_nobody_elses(acme, other) -> None:
    names = {model.id for model in other.models.list()}
    assert {"docs", "docs+open", OPEN} <= names
    assert not [name for name in names if "acme" in name]
    assert ACME in {model.id for model in acme.models.list()}
    with pytest.raises(openai.NotFoundError):
        ask(other, "docs+acme")


def test_an_answer_leads_back_to_its_adapter(served, acme) -> None:
    said = acme.chat.completions.create(
        model="docs", max_tokens=2, messages=[{"role": "user", "content": "Who are you?"}]
    )
    (row,) = served.rows("requests", f"id = '{said.id}'")
    assert row["model"].endswith(ACME)
    found = thread(served.project, f"answer:{said.id}", "up")
    ids = {node.id for node in found.nodes}
    assert ACME in ids
    assert OPEN not in ids
