"""transformers behind HTTP: the reference, held against llama.cpp on the same weights."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from undercroft.compress import export
from undercroft.engines import Engine, LlamaServer, served, start_engine
from undercroft.engines.client import EngineClient
from undercroft.errors import BadInput, EngineFailed

CHAT = [{"role": "user", "content": "What is a river?"}]
GREEDY = {"temperature": 0, "max_tokens": 12}
ONE = "adapter:one@1"


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random adapters of the tiny model, as PEFT writes them, strong enough to be heard."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    wanted = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter") / "one"
    get_peft_model(model, wanted).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reference(tiny_model: Path, adapter: Path) -> Iterator[Engine]:
    with start_engine(
        "transformers", tiny_model, context=128, slots=2, threads=1, adapters={ONE: adapter}
    ) as engine:
        engine.wait_ready(400)
        yield engine


def post(engine: Engine, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    request = urllib.request.Request(
        engine.base_url + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


async def test_it_says_what_llama_cpp_says_of_the_same_weights(
    reference: Engine, tiny_model: Path, tmp_path: Path
) -> None:
    file = export(tiny_model, tmp_path / "tiny.gguf", "f16")
    with LlamaServer.start(file, context=128, slots=1, threads=1) as other:
        other.wait_ready()
        answers = []
        for engine in (reference, other):
            async with EngineClient(engine.base_url) as client:
                reply = await client.chat(CHAT, GREEDY)
                parts = [piece async for piece in client.chat_stream(CHAT, GREEDY)]
            assert "".join(parts) == reply.text
            answers.append(reply)
    ours, theirs = answers
    assert ours.text == theirs.text
    assert (ours.prompt_tokens, ours.finish_reason) == (theirs.prompt_tokens, theirs.finish_reason)


async def test_an_adapter_is_applied_to_those_who_name_it_as_if_it_were_merged(
    reference: Engine, tiny_model: Path, adapter: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    async with EngineClient(reference.base_url) as client:
        before = await client.chat(CHAT, GREEDY)
        adapted = await client.chat(CHAT, {**GREEDY, **served.naming(ONE)})
        after = await client.chat(CHAT, {**GREEDY, **served.naming()})
    assert before == after
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload().eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    said = merged.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert adapted.text == tokenizer.decode(said, skip_special_tokens=True)
    assert adapted.text != before.text


async def test_a_stop_ends_the_text_before_it_however_it_is_cut(reference: Engine) -> None:
    async with EngineClient(reference.base_url) as client:
        whole = (await client.chat(CHAT, GREEDY)).text
        stop = whole[len(whole) // 2 :][:4]
        reply = await client.chat(CHAT, {**GREEDY, "stop": [stop]})
    assert reply.text == whole[: whole.index(stop)]
    assert reply.finish_reason == "stop"


def test_a_prompt_that_is_too_long_is_refused_as_llama_cpp_does(reference: Engine) -> None:
    status, said = post(reference, "/v1/completions", {"prompt": "river " * 200, "max_tokens": 4})
    assert status == 400
    assert said["error"]["type"] == "exceed_context_size_error"
    assert said["error"]["n_ctx"] == 128


def test_what_is_no_model_folder_is_said_before_a_process_is_started(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no config\.json"):
        start_engine("transformers", tmp_path, context=128, slots=1, threads=1)


def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with start_engine("vllm", tmp_path, context=128, slots=1, threads=1) as engine:
        with pytest.raises(EngineFailed, match="vllm is not installed"):
            engine.wait_ready(60)
        assert not engine.alive()
