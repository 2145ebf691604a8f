"""A dataset version -> its tokenizer and the tokens of its documents, in files.

    tokenizer/       as Hugging Face reads it
    tokens.bin       uint32, document after document
    documents.json   their ids and where each begins; written last

Texts are read a batch at a time. What is in the folder from an earlier attempt is used again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from undercroft.errors import BadInput
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.train.samples import tokenizing
from undercroft.train.samples.packing import Corpus

_BATCH_CHARS = 4_000_000
_BATCH_ROWS = 2048
_COPIES = ("exact_duplicate", "near_duplicate", "contained", "same_url")
_TOKENIZER, _TOKENS, _DOCUMENTS = "tokenizer", "tokens.bin", "documents.json"

Batch = tuple[list[str], list[str]]  # ids and texts
Tell = Callable[[int, int, str], None]


def prepare(
    project: Project,
    dataset: Artifact,
    folder: Path,
    *,
    vocabulary: int,
    context: int,
    tokenizer: Path | None = None,
    tell: Tell = lambda *_: None,
) -> None:
    """Fill ``folder``; ``tell`` hears of (documents done, in all, what is done with them).

    A tokenizer of ``vocabulary`` tokens is learnt, or that of the model in the folder ``tokenizer``
    is used. Raises `BadInput` for a dataset that keeps no text, or nothing but copies of one, and
    as `tokenizing.learn` does.
    """
    if is_whole(folder):
        return
    _demand_more_than_copies(dataset)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if tokenizer is None:
        own = tokenizing.learn(_texts(project, dataset, tell), vocabulary)
        tokenizing.save(own, folder / _TOKENIZER, context)
        mark = own.token_to_id(tokenizing.DOCUMENT)
    else:
        own, mark = tokenizing.copied(tokenizer, folder / _TOKENIZER)
    ids: list[str] = []
    offsets = [0]
    with (folder / _TOKENS).open("wb") as out:
        for names, texts in _batches(project, dataset, tell, "read as tokens"):
            for name, tokens in zip(names, tokenizing.marked(own, texts, mark), strict=True):
                out.write(np.asarray(tokens, np.uint32).tobytes())
                ids.append(name)
                offsets.append(offsets[-1] + len(tokens))
    record = json.dumps({"documents": ids, "offsets": offsets})
    making = folder / f"making-{_DOCUMENTS}"
    making.write_text(record, encoding="utf-8")
    making.rename(folder / _DOCUMENTS)


def is_whole(folder: Path) -> bool:
    """Whether an earlier attempt left all of its work there, undamaged as far as sizes tell."""
    try:
        record = json.loads((folder / _DOCUMENTS).read_text(encoding="utf-8"))
        offsets = record["offsets"]
        size = (folder / _TOKENS).stat().st_size
        has_tokenizer = (folder / _TOKENIZER / "tokenizer.json").exists()
        has_all = len(record["documents"]) == len(offsets) - 1
        return has_tokenizer and has_all and size == offsets[-1] * np.dtype(np.uint32).itemsize
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False


def _demand_more_than_copies(dataset: Artifact) -> None:
    """Raises `BadInput` for documents that are one and its copies, which curate leaves out."""
    documents = dataset.meta.get("documents", 0)
    removed = dataset.meta.get("removed", {})
    if (
        dataset.meta.get("kept") == 1
        and sum(removed.get(why, 0) for why in _COPIES) == documents - 1 > 0
    ):
        raise BadInput(
            f"All {documents:,} documents of {dataset} are the same text.",
            "A model would learn nothing but to repeat it.",
            "Give other documents.",
        )


def read(folder: Path) -> tuple[Corpus, Tokenizer, Any]:
    """The corpus in ``folder``, its tokenizer, and the same as transformers has it."""
    from undercroft.train.models.folders import libraries

    record = json.loads((folder / _DOCUMENTS).read_text(encoding="utf-8"))
    tokens = np.memmap(folder / _TOKENS, np.uint32, mode="r")
    corpus = Corpus(record["documents"], tokens, np.asarray(record["offsets"], np.int64))
    _, transformers = libraries()
    hugging_face = transformers.AutoTokenizer.from_pretrained(folder / _TOKENIZER)
    return corpus, Tokenizer.from_file(str(folder / _TOKENIZER / "tokenizer.json")), hugging_face


def num_chars(project: Project, dataset: Artifact) -> int:
    """Characters of the documents, without reading them."""
    import pyarrow.compute as pc

    from undercroft.lake import read_kept

    return int(pc.sum(read_kept(project.lake, dataset)["num_chars"]).as_py() or 0)


def _texts(project: Project, dataset: Artifact, tell: Tell) -> Iterator[str]:
    for _, texts in _batches(project, dataset, tell, "read for the tokenizer"):
        yield from texts


def _batches(project: Project, dataset: Artifact, tell: Tell, why: str) -> Iterator[Batch]:
    """Ids and texts of the kept documents by id, those without text left out."""
    from undercroft.lake import read_kept, take_kept

    kept = read_kept(project.lake, dataset).sort_by("id")
    chars = kept["num_chars"].to_pylist()
    if not sum(chars):
        raise BadInput(
            f"{dataset} keeps no text to learn from.",
            do=f"See what its rules removed: undercroft data show {dataset.name}",
        )
    first = 0
    while first < len(chars):
        size, last = 0, first
        while last < len(chars) and last - first < _BATCH_ROWS and size < _BATCH_CHARS:
            size, last = size + chars[last], last + 1
        rows = kept.slice(first, last - first)
        found = take_kept(project.lake, dataset, rows, ["id", "text"]).to_pylist()
        filled = [(row["id"], row["text"]) for row in found if row["text"]]
        if filled:
            yield [name for name, _ in filled], [text for _, text in filled]
        tell(last, len(chars), why)
        first = last
