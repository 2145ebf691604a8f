from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from undercroft.compress import export
from undercroft.engines import LlamaServer
from undercroft.engines.client import EngineClient
from undercroft.errors import BadInput

TEXTS = [
    "The with statement wraps the execution of a block with methods of a context manager.",
    "def area(radius: float) -> float:\n    return 3.14159 * radius ** 2\n\n\tprint(area(10))\r\n",
    "In 1984 it cost $1,234,567.89, i.e. 12% more;  don't,   we'LL  see   42\n\n\n  3  4",
    "naïve Übung — “quotes” 日本語のテキスト العربية 🙂👍🏽 e\u0301 \u200b ﬁ",
    "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n <repo_name><|endoftext|>x",
    " leading, trailing \t ",
    "a" * 300 + " 0x1F 1e-9 __init__ self.x[0][1]",
]
PROMPT = "A context manager is an object that"


@contextmanager
def served(file: Path) -> Iterator[LlamaServer]:
    with LlamaServer.start(file, context=256, slots=1, threads=2) as server:
        server.wait_ready()
        yield server


async def greedy_steps(server: LlamaServer, tokens: list[int], steps: int) -> list[dict[str, Any]]:
    """For each greedy step, the engine's own choice and its most likely tokens."""
    body = {"prompt": tokens, "n_predict": steps, "n_probs": 8, "temperature": 0.0}
    async with EngineClient(server.base_url) as client:
        answer = await client.post("/completion", {**body, "ignore_eos": False})
    return list(answer["completion_probabilities"])


def reference_logprobs(folder: Path, tokens: list[int]) -> Any:
    """[len(tokens), vocabulary] of transformers in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([tokens])).logits[0], dim=-1)


async def largest_difference(folder: Path, file: Path, prompt: list[int], steps: int = 16) -> float:
    """Between the engine's log-probabilities and transformers', over the likely tokens."""
    with served(file) as server:
        made = await greedy_steps(server, prompt, steps)
    chosen = [step["id"] for step in made]
    reference = reference_logprobs(folder, prompt + chosen[:-1])[len(prompt) - 1 :]
    return max(
        abs(float(reference[position, entry["id"]]) - entry["logprob"])
        for position, step in enumerate(made)
        for entry in step["top_logprobs"]
    )


async def assert_same_tokens(folder: Path, file: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    with served(file) as server:
        async with EngineClient(server.base_url) as client:
            for text in TEXTS:
                expected = tokenizer(text, add_special_tokens=False)["input_ids"]
                assert await client.tokenize(text) == expected, text


def prompt_tokens(folder: Path) -> list[int]:
    from transformers import AutoTokenizer

    return list(AutoTokenizer.from_pretrained(folder)(PROMPT)["input_ids"])


@pytest.mark.parametrize(("form", "tolerance"), [("f16", 0.02), ("q8_0", 0.5), ("q4_1", 4.0)])
async def test_a_tiny_llama_has_the_same_logits_within_quantisation_error(
    tiny_model: Path, tmp_path: Path, form: str, tolerance: float
) -> None:
    file = export(tiny_model, tmp_path / "tiny.gguf", form)
    assert await largest_difference(tiny_model, file, prompt_tokens(tiny_model)) < tolerance


async def test_biases_tied_embeddings_and_unpermuted_rotary_heads_come_along(
    make_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_tiny("Qwen2ForCausalLM", tie_word_embeddings=True)
    file = export(folder, tmp_path / "qwen.gguf", "f16")
    assert await largest_difference(folder, file, prompt_tokens(folder)) < 0.02


async def test_the_vocabulary_tokenizes_as_the_original(tiny_model: Path, tmp_path: Path) -> None:
    file = export(tiny_model, tmp_path / "tiny.gguf", "q8_0")
    await assert_same_tokens(tiny_model, file)


async def test_the_splitting_rule_follows_the_tokenizer(
    make_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_tiny("LlamaForCausalLM")
    plain = (folder / "tokenizer.json").read_text().replace('"Digits"', '"ByteLevel"')
    (folder / "tokenizer.json").write_text(plain)
    with pytest.raises(BadInput, match="pre-tokenizer bytes then bytes"):
        export(folder, tmp_path / "no.gguf", "f16")


async def test_the_real_model_survives_the_round_trip(
    real_model: Path, wheel_folder: Path, tmp_path: Path
) -> None:
    file = export(real_model, tmp_path / "real.gguf", "q8_0")
    assert file.stat().st_size < 150e6
    await assert_same_tokens(real_model, file)
    exact = export(real_model, tmp_path / "exact.gguf", "f16")
    prompt = prompt_tokens(real_model)
    assert await largest_difference(real_model, exact, prompt) < 0.05
    assert await largest_difference(real_model, file, prompt) < 0.6
    (original,) = wheel_folder.glob("*.gguf")
    question = [{"role": "user", "content": "What is a vault?"}]
    answers = []
    for each in (original, file):
        with served(each) as server:
            async with EngineClient(server.base_url) as client:
                rendered = await client.render(question)
                reply = await client.chat(question, {"temperature": 0.0, "max_tokens": 12})
                answers.append((rendered, reply.text))
    assert answers[0] == answers[1]


def test_rows_that_are_not_whole_blocks_stay_in_16_bits(
    make_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    import gguf

    folder = make_tiny("LlamaForCausalLM", hidden_size=48, head_dim=12)
    reader = gguf.GGUFReader(export(folder, tmp_path / "odd.gguf", "q4_1"))
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["blk.0.attn_q.weight"] == "F16"
    assert types["blk.0.ffn_down.weight"] == "Q4_1"
    assert types["blk.0.attn_norm.weight"] == "F32"


def test_progress_counts_tensors(tiny_model: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    export(
        tiny_model,
        tmp_path / "p.gguf",
        "f16",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(number, 21) for number in range(21)]
