"""``tokenizer.json`` -> the vocabulary section of a GGUF file.

llama.cpp has its own tokenizer. It agrees with the original only if it gets the tokens in order,
their types, the merges, and the name of the rule that splits text before merging; it knows such
rules by name, so ours are recognised by their structure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undercroft.errors import BadInput

# gguf.TokenType: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (tokenizer)
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

#: What splits text, outermost first, as `_describe` writes it -> llama.cpp's name for it.
SPLITTERS: Mapping[tuple[str, ...], str] = {
    ("bytes",): "gpt-2",
    ("digits", "bytes"): "smollm",
    (_LLAMA3, "raw bytes"): "llama-bpe",
    (_QWEN2, "raw bytes"): "qwen2",
}
SPECIAL = ("bos", "eos", "unk", "pad")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF file says about a byte-level BPE tokenizer. Merges are "left right"."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    splitter: str
    special: Mapping[str, int]
    add_bos: bool
    add_eos: bool
    chat_template: str


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The tokenizer in ``folder``, filled up to the ``size`` rows of the embedding matrix.

    Raises `BadInput` when it is not byte-level BPE or splits text in a way llama.cpp has no name
    for.
    """
    file = folder / "tokenizer.json"
    if not file.exists():
        raise BadInput(
            f"{folder} has no tokenizer.json.",
            "Only fast tokenizers can be exported.",
            "Save the tokenizer with transformers' save_pretrained.",
        )
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    config = _read_json(folder / "tokenizer_config.json")
    model = tokenizer["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise _unsupported(f"a {model.get('type')} model with byte fallback")
    tokens, types = _tokens(tokenizer, size)
    ids = {token: number for number, token in enumerate(tokens)}
    special = {
        kind: ids[text] for kind in SPECIAL if (text := _text(config.get(f"{kind}_token"))) in ids
    }
    template = tokenizer.get("post_processor") or {}
    return Vocabulary(
        tokens,
        types,
        tuple(" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]),
        _splitter(tokenizer),
        special,
        _adds(template, config, "bos", first=True),
        _adds(template, config, "eos", first=False),
        _chat_template(folder, config),
    )


def write_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    """Put ``vocabulary`` into a `gguf.GGUFWriter`."""
    writer.add_tokenizer_model("gpt2")  # llama.cpp's name for byte-level BPE
    writer.add_tokenizer_pre(vocabulary.splitter)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_add_space_prefix(False)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    for kind, number in vocabulary.special.items():
        getattr(writer, f"add_{kind}_token_id")(number)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _tokens(tokenizer: Mapping[str, Any], size: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [UNUSED] * size
    try:
        for token, number in tokenizer["model"]["vocab"].items():
            tokens[number], types[number] = token, NORMAL
        for added in tokenizer.get("added_tokens", []):
            number = added["id"]
            tokens[number] = added["content"]
            types[number] = CONTROL if added["special"] else USER_DEFINED
    except IndexError:
        raise BadInput(
            f"The tokenizer has more tokens than the model's {size} embeddings.",
            "They do not belong together.",
        ) from None
    return tuple(tokens), tuple(types)


def _splitter(tokenizer: Mapping[str, Any]) -> str:
    if tokenizer.get("normalizer") not in (None, {"type": "NFC"}):
        raise _unsupported(f"the normalizer {tokenizer['normalizer'].get('type')}")
    stated = tokenizer.get("pre_tokenizer") or {}
    steps = stated.get("pretokenizers", [stated]) if stated.get("type") == "Sequence" else [stated]
    described = tuple(_describe(step) for step in steps)
    if described not in SPLITTERS:
        raise _unsupported(f"the pre-tokenizer {' then '.join(described)}")
    return SPLITTERS[described]


def _describe(step: Mapping[str, Any]) -> str:
    kind = step.get("type", "none")
    if kind == "ByteLevel" and not step.get("add_prefix_space"):
        return "bytes" if step.get("use_regex", True) else "raw bytes"
    if kind == "Digits" and step.get("individual_digits"):
        return "digits"
    if kind == "Split" and step.get("behavior") == "Isolated" and "Regex" in step["pattern"]:
        return str(step["pattern"]["Regex"])
    return str(kind)


def _adds(
    template: Mapping[str, Any], config: Mapping[str, Any], kind: str, *, first: bool
) -> bool:
    """Whether encoding puts the ``kind`` token at the ``first`` or last place by itself."""
    token = _text(config.get(f"{kind}_token"))
    if f"add_{kind}_token" in config:
        return bool(config[f"add_{kind}_token"]) and bool(token)
    for processor in template.get("processors", [template]):
        single = processor.get("single") or []
        if single:
            edge = single[0 if first else -1]
            return bool(token) and edge.get("SpecialToken", {}).get("id") == token
    return False


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template") or ""
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default", "")
    return str(template)


def _text(token: Any) -> str:
    """A token written as text or as an ``AddedToken`` object."""
    return str(token.get("content", "")) if isinstance(token, Mapping) else str(token or "")


def _read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _unsupported(what: str) -> BadInput:
    names = ", ".join(sorted(SPLITTERS.values()))
    return BadInput(
        f"The tokenizer has {what}.",
        f"Supported are byte-level BPE tokenizers that split text like {names}.",
        "Set model.base to a model with such a tokenizer.",
    )
