"""Documents -> training examples and held-out cases. Pure: no project, no files.

candidates -> unambiguous -> split by source file -> sets of passages -> examples | cases
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from undercroft.annotate import quality
from undercroft.annotate.passages import Encode, Floats, Shelf
from undercroft.annotate.questions import Candidate, Source, candidates
from undercroft.annotate.split import held_out_groups, unit_hash
from undercroft.errors import BadInput
from undercroft.records import Example, Passage
from undercroft.settings import AnnotateSettings

QUESTIONS_PER_SET = 4  # share one prefix in training; more would crowd out other passages
QUESTIONS_PER_CHUNK = 2
PARTS_OF_A_LONE_DOCUMENT = 8
_POOL = 24  # nearest chunks looked at when passages are chosen

Progress = Callable[[float, float | None, str], None]


@dataclass(frozen=True, slots=True)
class Chunks:
    """The index's chunks; ``vectors`` [chunks, dim] and ``encode`` where there is an embedding."""

    passages: Sequence[Passage]
    vectors: Floats | None = None
    encode: Encode | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """Examples to train on, cases to judge by, and the groups the cases come from."""

    examples: list[Example]
    cases: list[Example]
    held_out: frozenset[str]


def build(
    sources: Sequence[Source],
    chunks: Chunks,
    settings: AnnotateSettings,
    num_passages: int,
    progress: Progress | None = None,
) -> Built:
    """Make examples and cases from ``sources``, the same ones for the same input and seed.

    Source files are held out before anything else; no passage of a held-out file is ever shown
    in training. A lone document is divided into parts that take the role of files. Raises
    `BadInput` when no question can be made for either side.
    """
    unit_of = _units(sources)
    found: list[Candidate] = []
    for number, source in enumerate(sources):
        found += candidates(source, settings.seed)
        if progress is not None:
            progress(number + 1, len(sources), f"{len(found)} questions")
    every = Shelf(chunks.passages, chunks.vectors, chunks.encode)
    clear = [
        replace(candidate, group=unit_of(candidate.document, candidate.start))
        for candidate in _unambiguous(found)
        if _is_grounded(candidate, every)
    ]
    units = {unit_of(passage.document, passage.start) for passage in chunks.passages}
    held_out = held_out_groups(units & {c.group for c in clear}, settings.held_out, settings.seed)
    training = _pick([c for c in clear if c.group not in held_out], settings.max_examples, settings)
    known = {c.answer for c in clear if c.group not in held_out}
    unseen = [c for c in clear if c.group in held_out and c.answer not in known]
    judging = _pick(unseen, settings.cases, settings)
    _demand(sources, found, training, judging)
    shelf = _without(chunks, held_out, unit_of)
    examples = list(_sets(training, shelf, settings, num_passages, QUESTIONS_PER_SET))
    cases = list(_sets(judging, every, settings, num_passages, 1))
    return Built(examples, cases, held_out)


def _units(sources: Sequence[Source]) -> Callable[[str, int], str]:
    """What is held out as a whole: source files, else documents, else parts of the document."""
    groups = {source.id: source.group for source in sources}
    if len(set(groups.values())) > 1:
        return lambda document, _: groups.get(document, document)
    if len(groups) > 1:
        return lambda document, _: document
    length = max((len(source.text) for source in sources), default=0) + 1
    return lambda document, start: f"{document}#{start * PARTS_OF_A_LONE_DOCUMENT // length}"


def _unambiguous(found: Iterable[Candidate]) -> list[Candidate]:
    """Candidates whose question no other shares; the document's title may tell them apart."""
    return _alone(_alone(list(found), qualify=True), qualify=False)


def _alone(found: Sequence[Candidate], *, qualify: bool) -> list[Candidate]:
    askers: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in found:
        askers[quality.key_of(candidate.question)].append(candidate)
    kept: list[Candidate] = []
    for candidate in found:
        same = askers[quality.key_of(candidate.question)]
        if len({other.answer for other in same}) == 1:
            kept += [candidate] if same[0] is candidate else []
        elif qualify and candidate.qualified != candidate.question:
            kept.append(replace(candidate, question=candidate.qualified))
    return kept


def _is_grounded(candidate: Candidate, shelf: Shelf) -> bool:
    """Whether one chunk holds the answer and shows what it is about."""
    gold = shelf.holding(candidate.document, candidate.start, candidate.end)
    return gold is not None and shelf.knows(gold, candidate.subject)


def _pick(found: Sequence[Candidate], count: int, settings: AnnotateSettings) -> list[Candidate]:
    """``count`` candidates, taken in turns from every file and within it from every kind.

    Files begin with different kinds, so that a few candidates are not all of the commonest one.
    """

    def shuffled(items: Iterable[Candidate]) -> list[Candidate]:
        return sorted(
            items, key=lambda c: unit_hash(settings.seed, "pick", c.document, str(c.start))
        )

    files: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for candidate in shuffled(found):
        files[candidate.group][candidate.kind].append(candidate)
    queues: list[list[Candidate]] = []
    for number, kinds in enumerate(files.values()):
        names = sorted(kinds)
        first = number % len(names)
        queues.append(list(_in_turns([kinds[name] for name in names[first:] + names[:first]])))
    return shuffled(_first(_in_turns(queues), count))


def _in_turns(queues: Sequence[Sequence[Candidate]]) -> Iterator[Candidate]:
    for turn in range(max((len(queue) for queue in queues), default=0)):
        yield from (queue[turn] for queue in queues if turn < len(queue))


def _first(items: Iterator[Candidate], count: int) -> Iterator[Candidate]:
    yield from (item for item, _ in zip(items, range(count), strict=False))


def _without(chunks: Chunks, held_out: frozenset[str], unit_of: Callable[[str, int], str]) -> Shelf:
    """The shelf of training: no chunk of a held-out file."""
    kept = [
        number
        for number, passage in enumerate(chunks.passages)
        if unit_of(passage.document, passage.start) not in held_out
    ]
    vectors = chunks.vectors[kept] if chunks.vectors is not None else None
    return Shelf([chunks.passages[number] for number in kept], vectors, chunks.encode)


def _sets(
    picked: Sequence[Candidate],
    shelf: Shelf,
    settings: AnnotateSettings,
    num_passages: int,
    per_set: int,
) -> Iterator[Example]:
    """Examples in sets that show the same passages in the same order.

    Each set is what retrieval finds for its first question. Other questions about those passages
    join, so that the model learns to choose among them, and training reads the passages once.
    """
    nearest = shelf.nearest([c.question for c in picked], _POOL)
    golds = [shelf.holding(c.document, c.start, c.end) for c in picked]
    refused = _to_refuse(picked, settings)
    waiting: dict[int, list[int]] = defaultdict(list)
    for number, gold in enumerate(golds):
        if gold is not None and number not in refused:
            waiting[gold].append(number)
    done: set[int] = set()
    for number, candidate in enumerate(picked):
        gold = golds[number]
        if number in done or gold is None:
            continue
        pool = [int(position) for position in nearest[number]]
        shown = (
            _lacking(candidate, gold, pool, shelf, num_passages)
            if number in refused
            else _with_gold(candidate, gold, pool, shelf, num_passages)
        )
        shown = _arranged(shown, candidate, settings.seed)
        members = [number]
        for position in shown:
            joining = [n for n in waiting[position] if n not in done and n != number]
            members += joining[: QUESTIONS_PER_CHUNK - (position == gold)]
        for member in members[:per_set]:
            done.add(member)
            yield _example(picked[member], shown, shelf, answerable=member not in refused)


def _to_refuse(picked: Sequence[Candidate], settings: AnnotateSettings) -> set[int]:
    """Positions of the questions whose answer is withheld: the wanted share, drawn by hash."""
    drawn = sorted(
        range(len(picked)),
        key=lambda n: unit_hash(settings.seed, "refuse", picked[n].document, str(picked[n].start)),
    )
    return set(drawn[: round(settings.unanswerable * len(picked))])


def _with_gold(
    candidate: Candidate, gold: int, pool: list[int], shelf: Shelf, count: int
) -> list[int]:
    """The gold chunk at its own rank among the nearest ones, or last where it is not among them."""
    others = [p for p in pool if p != gold and not shelf.says(p, candidate.answer)][: count - 1]
    rank = pool.index(gold) if gold in pool else len(others)
    return [*others[:rank], gold, *others[rank:]]


def _lacking(
    candidate: Candidate, gold: int, pool: list[int], shelf: Shelf, count: int
) -> list[int]:
    """The nearest chunks that do not even name the subject, so that refusing is right."""
    silent = [
        p
        for p in pool
        if p != gold
        and not shelf.says(p, candidate.answer)
        and not shelf.mentions(p, candidate.subject)
    ]
    return silent[:count]


def _arranged(shown: list[int], candidate: Candidate, seed: int) -> list[int]:
    """Half the time the order of retrieval, half the time any: rank is a hint and no more."""
    if unit_hash(seed, "ranked", candidate.document, str(candidate.start)) < 0.5:
        return shown
    return sorted(
        shown,
        key=lambda p: unit_hash(seed, "place", candidate.document, str(candidate.start), str(p)),
    )


def _example(
    candidate: Candidate, shown: Sequence[int], shelf: Shelf, *, answerable: bool
) -> Example:
    from undercroft.retrieve.prompt import REFUSAL

    holding = [n for n, p in enumerate(shown, start=1) if shelf.says(p, candidate.answer)]
    identity = f"{candidate.document}\x1f{candidate.start}\x1f{candidate.question}\x1f{answerable}"
    return Example(
        id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        kind=candidate.kind if answerable else "unanswerable",
        question=candidate.question,
        passages=tuple(shelf.passages[p] for p in shown),
        answer=candidate.answer if answerable else REFUSAL,
        cited=tuple(holding) if answerable else (),
        answerable=answerable,
        group=candidate.group,
        source_document=candidate.document if answerable else "",
        source_start=candidate.start if answerable else 0,
        source_end=candidate.end if answerable else 0,
    )


def _demand(
    sources: Sequence[Source],
    found: Sequence[Candidate],
    training: Sequence[Candidate],
    judging: Sequence[Candidate],
) -> None:
    if training and judging:
        return
    missing = "to train on" if not training else "to evaluate with"
    raise BadInput(
        f"No question {missing} could be made from the {len(sources)} documents.",
        f"{len(found)} were found in them; questions come from headings, signatures and sentences "
        "such as 'X is …', and some files are held out for evaluation.",
        "Add documents with prose in them, in at least two files or with several headings.",
    )
