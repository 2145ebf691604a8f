"""Which documents a model was trained on, and at which steps.

The order of samples is a pure function of a seed and a position, so what was read at a step needs
no log: it follows from where the sampler stood after each step (``reading`` in ``training.json``)
and which documents each sample holds (``documents.parquet``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from undercroft.errors import NotFound
from undercroft.project import Project
from undercroft.records import Artifact, Example
from undercroft.train.samples.data import Sampler
from undercroft.train.samples.mixture import content_of
from undercroft.train.samples.packing import Span

if TYPE_CHECKING:
    import pyarrow as pa

    from undercroft.train.points import Tally

FILE_NAME = "documents.parquet"
LEFT_OUT_FILE = "left_out.jsonl"


@dataclass(frozen=True, slots=True)
class Read:
    """A document in a sample: how much of it there is, in the ``unit`` that the objective counts.

    ``part`` is the id of the example it comes with, or of the document itself.
    """

    document: str
    part: str
    amount: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """One document in one model's training: at which ``steps`` it was read.

    ``times`` counts samples that held it; a step may hold several.
    """

    model: str
    document: str
    times: int
    steps: tuple[int, ...]


def of_samples(samples: Iterable[Any]) -> Iterator[list[Read]]:
    """What is read with each sample, be it of one task of several or of the only one.

    Of examples the passages shown and the document that the answer is from; of a row of text the
    documents in it. Pairs of answers are of no document.
    """
    for sample in samples:
        yield [read for part in content_of(sample) for read in _reads(part)]


def _reads(part: Any) -> Iterator[Read]:
    if isinstance(part, Example):
        named = [*(passage.document for passage in part.passages), part.source_document]
        yield from (Read(name, part.id) for name in dict.fromkeys(named) if name)
    elif isinstance(part, tuple):
        yield from (Read(span.document, span.document) for span in part if isinstance(span, Span))


def write_left_out(folder: Path, samples: Sequence[Any], tally: Tally) -> None:
    """Write the examples that were to be read and were too long, one JSON object a line."""
    found: dict[str, None] = {}
    for number, read in tally.partly.items():
        parts = content_of(samples[int(number)])
        found |= dict.fromkeys(part.id for part in parts if part.id not in read)
    why = "too long for max_tokens, alone or with the examples that it is read with"
    lines = [json.dumps({"id": name, "why": why}) + "\n" for name in found]
    if lines:
        (folder / LEFT_OUT_FILE).write_text("".join(lines), encoding="utf-8")


def write_reading(
    folder: Path, samples: Iterable[Iterable[Read]], seed: int, tally: Tally
) -> dict[str, Any]:
    """Write the documents of each sample to ``folder``; what else is needed, for its record.

    Of a sample that was not read whole, only what was.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: tuple[list[int], list[str]] = ([], [])
    count = 0
    for number, sample in enumerate(samples):
        count += 1
        read = tally.partly.get(str(number))
        held = [each.document for each in sample if read is None or each.part in read]
        for document in dict.fromkeys(held):
            columns[0].append(number)
            columns[1].append(document)
    table = pa.table({"sample": pa.array(columns[0], pa.int64()), "document": columns[1]})
    pq.write_table(table.sort_by([("document", "ascending"), ("sample", "ascending")]),
                   folder / FILE_NAME)  # fmt: skip
    return {
        "seed": seed,
        "samples": count,
        "positions": tally.positions,
        "dropped": tally.dropped,
    }


def seen(project: Project, ref: str, document: str = "") -> list[Seen]:
    """What the model ``ref``, and the models it was made from, read of which documents.

    The first model first; of ``document`` alone when it is given. Raises `NotFound` when no model
    on the way was trained here with a record of its reading, and for a document that none read.
    """
    found: list[Seen] = []
    models = _ancestry(project, project.ledger.artifact(ref))
    trained = [model for model in models if _is_recorded(project, model)]
    if not trained:
        raise NotFound(
            f"{ref} has no record of what it read.",
            do="It was not trained here, or by an older version. See: undercroft lineage",
        )
    for model in trained:
        found += seen_by(project.path(model), str(model.ref), document)
    if document and not found:
        raise NotFound(
            f"No step of {ref} read the document {document}.",
            do="See all that were read with: undercroft lineage",
        )
    return found


def _ancestry(project: Project, artifact: Artifact) -> list[Artifact]:
    """The models that ``artifact`` was made from, the first one first, and itself."""
    inputs = project.ledger.run_of(artifact).inputs
    above = [project.ledger.artifact(ref) for ref in inputs if ref.kind == "model"]
    return [*(each for model in above for each in _ancestry(project, model)), artifact]


def _is_recorded(project: Project, model: Artifact) -> bool:
    return model.kind == "model" and (project.path(model) / FILE_NAME).exists()


def seen_by(folder: Path, model: str, document: str = "") -> Iterator[Seen]:
    """What the one in ``folder``, called ``model``, read of all documents, or of ``document``."""
    import pyarrow.parquet as pq

    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))["reading"]
    chosen = [("document", "=", document)] if document else None
    table = pq.read_table(folder / FILE_NAME, filters=chosen)
    steps_of = steps_by_sample(record)
    for name, samples in _by_document(table):
        steps = [step for sample in samples for step in steps_of.get(sample, ())]
        if steps:
            yield Seen(model, name, len(steps), tuple(sorted(set(steps))))


def _by_document(table: pa.Table) -> Iterator[tuple[str, list[int]]]:
    """The samples of each document; ``table`` is sorted by document."""
    samples = table["sample"].to_pylist()
    names = table["document"].to_pylist()
    first = 0
    for at in range(1, len(names) + 1):
        if at == len(names) or names[at] != names[first]:
            yield names[first], samples[first:at]
            first = at


def steps_by_sample(record: Mapping[str, Any]) -> dict[int, list[int]]:
    """At which steps each sample was read, from the ``reading`` of a run.

    Steps that the guard dropped taught nothing, and are not among them.
    """
    positions: NDArray[np.int64] = np.asarray(record["positions"], np.int64)
    total = int(positions[-1]) if len(positions) else 0
    dropped = set(record["dropped"])
    found: dict[int, list[int]] = {}
    order = islice(Sampler(record["samples"], record["seed"]), total)
    steps = np.searchsorted(positions, np.arange(total), side="right") + 1
    for sample, step in zip(order, steps.tolist(), strict=True):
        if step not in dropped:
            found.setdefault(sample, []).append(step)
    return found
