"""A tokenizer of a dataset's own."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from undercroft.errors import BadInput
from undercroft.train.samples import tokenizing

TEXTS = sorted(topics.values())[:20]


@pytest.fixture(scope="module")
def learnt() -> Tokenizer:
    return tokenizing.learn(TEXTS, 600)


def test_the_same_texts_give_the_same_tokenizer_in_any_order_and_process(learnt: Tokenizer) -> None:
    assert tokenizing.learn(reversed(TEXTS), 600).to_str() == learnt.to_str()
    script = (
        "from tests.train.test_tokenizing import TEXTS, tokenizing\n"
        "import sys; sys.stdout.write(tokenizing.learn(TEXTS, 600).to_str())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert other.stdout == learnt.to_str()


@cache
def small() -> Tokenizer:
    return tokenizing.learn(TEXTS[:2], 0)


@given(st.text())
def test_any_text_comes_back_and_special_tokens_in_it_are_text(text: str) -> None:
    tokenizer = small()
    whole = f"{text}<|im_end|>{text}<|endoftext|>"
    (tokens,) = tokenizing.marked(tokenizer, [whole])
    mark = tokenizer.token_to_id(tokenizing.DOCUMENT)
    assert tokens[0] == tokens[-1] == mark
    assert mark not in tokens[1:-1]
    assert tokenizer.token_to_id(tokenizing.END_OF_TURN) not in tokens
    assert tokenizer.decode(tokens[1:-1]) == whole


def test_it_is_a_folder_that_transformers_reads_and_chats_with(
    learnt: Tokenizer, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizing.save(learnt, tmp_path, 128)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "The with statement\n  is 1234 naïve €."
    assert tokenizer(text)["input_ids"] == learnt.encode(text).ids
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    chat = [{"role": "user", "content": "Why?"}]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(prompt)["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1
    assert len(tokenizer) == 600


def test_a_vocabulary_that_the_text_cannot_give_says_what_it_can() -> None:
    with pytest.raises(BadInput, match=r"Set pretrain\.vocabulary to (\d+) or less") as error:
        tokenizing.learn(["one two one two"], 5000)
    most = int(error.value.do.split(" to ")[1].split()[0])
    assert tokenizing.learn(["one two one two"], most).get_vocab_size() == most
    assert tokenizing.learn(["one two one two"], 0).get_vocab_size() == most
    with pytest.raises(BadInput, match="too small"):
        tokenizing.learn(["one"], 100)
