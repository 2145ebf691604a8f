"""The smaller model that guesses for a larger one: which file it is, and that both read alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from undercroft.engines.gguf_header import raw_values
from undercroft.errors import BadConfig, BadInput, NotFound
from undercroft.settings import EngineSettings

#: What makes a text the same tokens. Special ids and the template may differ: only the larger
#: model's are used.
VOCABULARY = (
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.merges",
)


def with_draft_file(tuning: EngineSettings, find: Callable[[str], Path]) -> EngineSettings:
    """``tuning`` with its draft's ref (``model:…``) replaced by the file that ``find`` knows."""
    if tuning.speculation != "draft" or not tuning.draft.startswith("model:"):
        return tuning
    return tuning.model_copy(update={"draft": str(find(tuning.draft))})


def check_draft(model: Path, tuning: EngineSettings) -> Path | None:
    """The GGUF file that guesses for ``model``, or None when none is asked for.

    Raises `BadConfig` when none is named, `NotFound` when it is not there, and `BadInput` when its
    tokens are not the model's.
    """
    if tuning.speculation != "draft":
        return None
    if not tuning.draft:
        raise BadConfig(
            "engine.speculation is 'draft', and engine.draft names no model.",
            "A smaller model of the same family has to guess.",
            'Set engine.draft = "model:NAME", or to the path of a GGUF file.',
        )
    draft = Path(tuning.draft).expanduser().resolve()
    if not draft.is_file():
        raise NotFound(f"There is no draft model {tuning.draft}.", do="Correct engine.draft.")
    ours, theirs = raw_values(model), raw_values(draft)
    for key in VOCABULARY:
        if ours.get(key) != theirs.get(key):
            raise BadInput(
                f"{draft.name} cannot guess for {model.name}.",
                f"Their vocabularies differ in {key}.",
                "Take a model of the same family, or one distilled from it.",
            )
    return draft
