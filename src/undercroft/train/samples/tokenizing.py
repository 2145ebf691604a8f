"""A byte-level BPE tokenizer learnt from a dataset's own text.

Byte-level: any text can be written with it and read back unchanged. It splits text as SmolLM's
does, digits apart, for which llama.cpp has a name, so that a model with it can be exported. Three
special tokens: one stands before and after each document, two hold the turns of a chat, so that a
pretrained model can be fine-tuned without new tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from undercroft.errors import BadInput

DOCUMENT, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (DOCUMENT, TURN, END_OF_TURN)
#: Smaller than this there is no tokenizer: the bytes and the special tokens.
MIN_VOCABULARY = 256 + len(SPECIAL)
MOST_BY_ITSELF = 8192
_MIN_FREQUENCY = 2  # a pair that occurs once is no pattern

#: ChatML, as SmolLM's.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def learn(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of ``vocabulary`` tokens, or of up to `MOST_BY_ITSELF` when that is 0.

    The same texts in any order give the same tokenizer. Raises `BadInput` for a vocabulary that is
    too small for the bytes, or larger than the text has patterns for.
    """
    if vocabulary and vocabulary < MIN_VOCABULARY:
        raise BadInput(
            f"A vocabulary of {vocabulary:,} tokens is too small.",
            f"The 256 bytes and {len(SPECIAL)} special tokens alone are {MIN_VOCABULARY}.",
            f"Set pretrain.vocabulary to {MIN_VOCABULARY} or more, or to 0.",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary or MOST_BY_ITSELF,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    found = tokenizer.get_vocab_size()
    if found < vocabulary:
        raise BadInput(
            f"The text does not give a vocabulary of {vocabulary:,} tokens.",
            f"It has patterns that occur more than once for {found:,}.",
            f"Set pretrain.vocabulary to {found} or less, or to 0, or give more documents.",
        )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Write ``tokenizer`` as a Hugging Face tokenizer folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": DOCUMENT,
        "eos_token": END_OF_TURN,
        "pad_token": DOCUMENT,
        "unk_token": DOCUMENT,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "chat_template": CHAT_TEMPLATE,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def copied(model: Path, folder: Path) -> tuple[Tokenizer, int]:
    """The tokenizer of the model in the folder ``model``, written to ``folder`` too, and its token
    that parts documents: the one made for it, or that of a text's beginning or end."""
    from undercroft.train.models.folders import libraries

    _, transformers = libraries()
    found = transformers.AutoTokenizer.from_pretrained(model)
    found.save_pretrained(folder)
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    known = (own.token_to_id(DOCUMENT), found.bos_token_id, found.eos_token_id)
    mark = next((each for each in known if each is not None), None)
    if mark is None:
        raise BadInput(
            "The model's tokenizer has no token that could part documents.",
            f"It has neither {DOCUMENT} nor one for the beginning or end of a text.",
            "Name one as bos_token in its tokenizer_config.json.",
        )
    return own, mark


def special_ids(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a model's configuration says about special tokens."""
    document, end = tokenizer.token_to_id(DOCUMENT), tokenizer.token_to_id(END_OF_TURN)
    return {"bos_token_id": document, "eos_token_id": end, "pad_token_id": document}


def marked(tokenizer: Tokenizer, texts: list[str], mark: int | None = None) -> Iterator[list[int]]:
    """The tokens of each text between two marks, those of a tokenizer that was learnt here unless
    another is given; special tokens written out in it are text."""
    if mark is None:
        mark = special_ids(tokenizer)["bos_token_id"]
    tokenizer.encode_special_tokens = True
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        yield [mark, *encoding.ids, mark]
