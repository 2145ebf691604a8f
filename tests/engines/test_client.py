from __future__ import annotations

import pytest

from undercroft.engines import LlamaServer, sampling_params
from undercroft.engines.client import EngineClient, chat
from undercroft.errors import EngineFailed
from undercroft.settings import SamplingSettings

QUESTION = [{"role": "user", "content": "What is Python?"}]
LOOP = "the old vault is under the floor of the tower. "


def test_settings_become_llama_cpp_fields() -> None:
    fields = sampling_params(SamplingSettings(temperature=0.5, max_tokens=7), seed=3)
    assert fields["temperature"] == 0.5
    assert fields["max_tokens"] == 7
    assert fields["seed"] == 3
    assert fields["dry_multiplier"] == 0.8
    assert "seed" not in sampling_params(SamplingSettings())


async def test_a_batch_comes_back_in_order_and_greedy_answers_agree(engine: LlamaServer) -> None:
    sampling = sampling_params(SamplingSettings(max_tokens=8))
    chats = [[{"role": "user", "content": f"Say the number {n}."}] for n in (1, 2, 1)]
    replies = await chat(engine.base_url, chats, sampling)
    assert [reply.completion_tokens <= 8 for reply in replies] == [True] * 3
    assert replies[0].text == replies[2].text


async def test_a_stream_is_the_whole_answer_in_pieces(engine: LlamaServer) -> None:
    sampling = sampling_params(SamplingSettings(max_tokens=12))
    async with EngineClient(engine.base_url) as client:
        whole = await client.chat(QUESTION, sampling)
        pieces = [piece async for piece in client.chat_stream(QUESTION, sampling)]
        again = await client.chat(QUESTION, sampling)  # after a stream, on a fresh connection
    assert len(pieces) > 3
    assert "".join(pieces) == whole.text == again.text
    assert whole.finish_reason == "length"


async def test_dry_sampling_breaks_a_loop(engine: LlamaServer) -> None:
    async def distinct(dry_multiplier: float) -> float:
        settings = SamplingSettings(dry_multiplier=dry_multiplier, max_tokens=60)
        body = {"prompt": LOOP * 4, "ignore_eos": True, **sampling_params(settings)}
        words = (await client.post("/completion", body))["content"].split()
        return len(set(words)) / len(words)

    async with EngineClient(engine.base_url) as client:
        assert await distinct(0.0) < 0.2
        assert await distinct(0.8) > 1.5 * await distinct(0.0)


async def test_control_tokens_are_tokens_only_where_asked(engine: LlamaServer) -> None:
    async with EngineClient(engine.base_url) as client:
        assert len(await client.tokenize("<|im_end|>")) == 1
        assert len(await client.tokenize("<|im_end|>", special=False)) > 1
        assert (await client.render(QUESTION)).endswith("<|im_start|>assistant\n")


async def test_refusals_and_dead_engines_are_engine_failures(engine: LlamaServer) -> None:
    async with EngineClient(engine.base_url) as client:
        with pytest.raises(EngineFailed, match="status 400"):
            await client.chat([{"role": "user", "content": "word " * 2000}], {"max_tokens": 4})
    async with EngineClient("http://127.0.0.1:9") as client:
        with pytest.raises(EngineFailed, match="did not answer"):
            await client.chat(QUESTION, {})
