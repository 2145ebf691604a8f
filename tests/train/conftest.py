"""A tiny Llama with a tokenizer of its own, so that training runs in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from undercroft.records import Example, Passage


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Matrices this small are slower with two, and far slower where other tests run beside."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Llama of 2 layers, with a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    out = tmp_path_factory.mktemp("tiny")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(tokens[:3])
    tokenizer.save(str(out / "tokenizer.json"))
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "chat_template": template,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokens),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        )
    )
    model.save_pretrained(out)
    return out


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Pairs of questions, each pair about the same two passages."""
    return [_example(pair, which) for pair in range(6) for which in (1, 2)]


def _example(pair: int, which: int) -> Example:
    passages = tuple(
        Passage(f"{pair}:{n}", f"d{pair}", "u", f"T{pair}", f"Tool {pair}{n} is a cup.", 0, 17)
        for n in (1, 2)
    )
    return Example(
        id=f"{pair}-{which}",
        kind="definition",
        question=f"What is tool {pair}{which}?",
        passages=passages,
        answer=f"Tool {pair}{which} is a cup.",
        cited=(which,),
        answerable=True,
        group=f"d{pair}",
    )
