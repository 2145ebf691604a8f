"""Settings of the index, of retrieval, and of examples made from documents."""

from __future__ import annotations

from pydantic import Field

from undercroft.settings.section import Section


class IndexSettings(Section):
    """A dataset -> chunks with vectors and full text."""

    chunk_chars: int = Field(900, ge=200, description="aimed-at length of a chunk")
    chunk_overlap: int = Field(0, ge=0, description="characters a chunk shares with the one before")
    embedding: str = Field(
        "all-MiniLM-L6-v2",
        description="sentence-transformers model to distil; the wheel's by default",
    )
    dimensions: int = Field(256, gt=0, description="size of the static vectors")


class RetrieveSettings(Section):
    """A question -> the passages shown with it."""

    passages: int = Field(3, ge=1, le=10, description="passages shown to the model")
    candidates: int = Field(
        30, ge=1, description="taken from each of full text and vectors before they are merged"
    )
    rerank: bool = Field(
        False,
        description="look at the best candidates once more, and leave out what says the same: "
        "better ranks, yet worse answers where that was measured",
    )
    follow_up: bool = Field(
        True, description="search for `And on Windows?` with the words of the question before it"
    )
    abstain_margin: float = Field(
        0.05,
        ge=0,
        le=1,
        description="a first question whose best passage scores this much less than any held-out "
        "question's is answered with 'The documents do not say.'; 1: never",
    )


class AnnotateSettings(Section):
    """Documents -> synthetic question-passages-answer examples."""

    max_examples: int = Field(4000, gt=0, description="training examples made at most")
    cases: int = Field(32, gt=0, description="held-out evaluation cases")
    unanswerable: float = Field(
        0.125, ge=0, lt=1, description="share of questions the passages cannot answer"
    )
    held_out: float = Field(
        0.15, gt=0, lt=0.9, description="share of source files kept away from training"
    )
    seed: int = Field(20, description="seed of every draw")
