"""Text -> questions whose answers are spans of it.

Each maker looks at one section and proposes questions; `MAKERS` is the registry. Makers propose,
`quality` and `build` dispose. The answer is always one or more whole sentences of the document, so
nothing is claimed that the document does not say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from undercroft.annotate import quality
from undercroft.annotate.split import unit_hash
from undercroft.annotate.structure import Section, sections, sentences, signature_name, words_of


@dataclass(frozen=True, slots=True)
class Source:
    """A document to make questions from; ``group`` is its source file."""

    id: str
    uri: str
    title: str
    text: str
    group: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question and the span of ``document`` whose words answer it.

    ``qualified`` asks the same with the document's title, for when ``question`` alone could mean
    several things.
    """

    kind: str
    document: str
    group: str
    question: str
    qualified: str
    subject: str
    start: int
    end: int
    answer: str


@dataclass(frozen=True, slots=True)
class Piece:
    """One section of a document with the spans of its blocks' sentences."""

    source: Source
    section: Section
    blocks: tuple[tuple[tuple[int, int], ...], ...]
    is_first: bool

    def words(self, span: tuple[int, int]) -> str:
        return words_of(self.source.text[span[0] : span[1]])


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a maker suggests to ask; ``{s}`` in a template stands for the subject."""

    kind: str
    templates: tuple[str, ...]
    subject: str
    span: tuple[int, int]


Maker = Callable[[Piece], Iterator[Proposal]]

WHAT_IS = ("What is {s}?", "What is {s}?", "What does {s} mean?", "Explain what {s} is.")
WHAT_ARE = ("What are {s}?", "What are {s}?", "Explain what {s} are.")
USE = ("What is {s} used for?", "What is {s} for?", "When would I use {s}?")
USES = ("What are {s} used for?", "What are {s} for?", "When would I use {s}?")
ACTION = ("What does {s} do?", "What does {s} do?", "Tell me what {s} does.")
ACTIONS = ("What do {s} do?",)
CALL = ("What does {s} do?", "What does {s} do?", "What is {s} for?", "How does {s} work?")
THING = ("What is {s}?", "What is {s} for?", "Describe {s}.")
TOPIC = ("Explain {s}.", "Tell me about {s}.", "What do the documents say about {s}?",
         "What should I know about {s}?", "Describe {s}.", "How does {s} work?")  # fmt: skip
ABOUT = ("What is {s}?", "What is {s} about?", "Tell me about {s}.", "What is {s} for?")
CONDITION = ("What happens if {s}?", "What happens if {s}?", "What if {s}?")
OCCASION = ("What happens when {s}?", "What happens when {s}?", "What happens once {s}?")
HOW_TO = ("How do I {s}?", "How can I {s}?", "What should I do to {s}?")
AS_ASKED = ("{s}",)

_SUBJECT = r"(?P<s>[^,;:.!?]{2,80}?)"
_IS = re.compile(rf"{_SUBJECT}\s+(?P<verb>is|are)\s+(?P<rest>\S.*)")
_NOUN = re.compile(
    r"(?:(?:simply|just|also|essentially|defined as|basically) )?(?:an?|the|one of|any|like an?) "
)
_USED = re.compile(
    r"(?:(?:also|often|usually|mainly|commonly|generally|only) )?"
    r"(?:used|useful|intended|meant|designed|responsible) (?:to|for|when|as|in)\b"
)
_DOES = re.compile(
    rf"{_SUBJECT}\s+(?:(?:also|always|simply|usually|only) )?"
    r"(?P<verb>(?:return|raise|allow|let|provide|specif(?:ie|y)|create|cause|mean|contain|define|support|"
    r"represent|take|accept|require|determine|control|describe|implement|convert|handle|indicate|"
    r"store|hold|make|enable|prevent|ensure|introduce|perform|execute|evaluate|compute|consist|"
    r"refer|include|read|write|give|guarantee|bind|terminate|start|stop|work|serve|help|show)s?)\s"
)
_IF = re.compile(r"(?P<word>If|When) (?P<s>[^,;:()]{8,100}), (?!(?:if|when|and|or)\b)\S")
_TO = re.compile(r"To (?P<s>[a-z][^,;:()]{6,80}), (?:simply |just )?[a-z]")
_VAGUE = re.compile(
    r"\b(?:it|its|they|them|their|this|that|these|those|he|she|above|below|such|following|former|"
    r"latter|both|same|here|there|also)\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(
    r"\b(?:which|that|who|whose|where|is|are|was|were|can|must|may|will|has|have|not|to|and \w+s)\b"
)
_ASKING = re.compile(r"(?:how|what|why|when|where|who|which|can|do|does|is|are|should)\b.*\?", re.I)
_ARTICLE = re.compile(r"(?:an?|the)\s+", re.IGNORECASE)


def candidates(source: Source, seed: int) -> list[Candidate]:
    """Every question that the makers see in ``source``, one for each answer span.

    Which template words a question hangs on ``seed`` and the span alone.
    """
    found: dict[tuple[int, int], Candidate] = {}
    for number, section in enumerate(sections(source.text)):
        blocks = tuple(tuple(sentences(source.text, *block)) for block in section.blocks)
        piece = Piece(source, section, blocks, number == 0)
        # What is said of "the return value" inside a docstring is said of that function's.
        owner = signature_name(section.heading) if section.is_signature else ""
        for make in MAKERS.values():
            for proposal in make(piece):
                if proposal.span not in found:
                    candidate = _candidate(source, proposal, seed, owner)
                    if candidate is not None:
                        found[proposal.span] = candidate
    return list(found.values())


def from_signature(piece: Piece) -> Iterator[Proposal]:
    """``name(arguments)`` over a docstring: what it does, in the first sentence."""
    name = signature_name(piece.section.heading)
    opens = piece.section.is_signature and piece.section.opens_with_prose
    if opens and not name.startswith("_"):
        templates = CALL if name.endswith("()") else THING
        yield Proposal("signature", templates, name, piece.blocks[0][0])


def from_title(piece: Piece) -> Iterator[Proposal]:
    """What the document is about, in its first sentence."""
    first = piece.blocks[0][0] if piece.section.opens_with_prose else None
    heading = piece.section.heading
    own = quality.key_of(heading) in quality.key_of(piece.source.title)
    if piece.is_first and first is not None and own:
        yield Proposal("title", ABOUT, _inside(piece.source.title, piece.source.text), first)


def from_heading(piece: Piece) -> Iterator[Proposal]:
    """What a section says: its first sentences, up to three when they are short."""
    heading = piece.section.heading
    if not heading or piece.section.is_signature or not piece.section.opens_with_prose:
        return
    span = _opening(piece)
    if _ASKING.fullmatch(heading):
        yield Proposal("heading", AS_ASKED, heading, span)
    else:
        yield Proposal("heading", TOPIC, _inside(heading, piece.source.text), span)


def from_definition(piece: Piece) -> Iterator[Proposal]:
    """``X is a …`` and ``X is used to …``."""
    for span in _spans(piece):
        match = _IS.match(piece.words(span))
        if match is None or _RELATIVE.search(match["s"]):
            continue
        subject, plural = _inside(match["s"], piece.source.text), match["verb"] == "are"
        if _USED.match(match["rest"]):
            yield Proposal("use", USES if plural else USE, subject, span)
        elif plural or _NOUN.match(match["rest"]):
            if plural and not match["s"].rstrip("\"'`”").endswith("s"):
                continue
            yield Proposal("definition", WHAT_ARE if plural else WHAT_IS, subject, span)


def from_action(piece: Piece) -> Iterator[Proposal]:
    """``X returns …``, ``X allows …``: what it does."""
    for span in _spans(piece):
        match = _DOES.match(piece.words(span))
        if match is None or _RELATIVE.search(match["s"]):
            continue
        plural = not match["verb"].endswith("s")
        if plural and not match["s"].endswith("s"):
            continue
        yield Proposal(
            "action", ACTIONS if plural else ACTION, _inside(match["s"], piece.source.text), span
        )


def from_condition(piece: Piece) -> Iterator[Proposal]:
    """``If …, …`` and ``When …, …``: what happens then."""
    for span in _spans(piece):
        match = _IF.match(piece.words(span))
        if match is not None:
            templates = CONDITION if match["word"] == "If" else OCCASION
            yield Proposal("condition", templates, match["s"], span)


def from_purpose(piece: Piece) -> Iterator[Proposal]:
    """``To …, use …``: how one does it."""
    for span in _spans(piece):
        match = _TO.match(piece.words(span))
        if match is not None:
            yield Proposal("how_to", HOW_TO, match["s"], span)


MAKERS: dict[str, Maker] = {
    "signature": from_signature,
    "title": from_title,
    "definition": from_definition,
    "heading": from_heading,
    "action": from_action,
    "condition": from_condition,
    "how_to": from_purpose,
}
"""Where questions come from; of two makers that see the same span, the earlier one wins."""


def _candidate(source: Source, proposal: Proposal, seed: int, owner: str) -> Candidate | None:
    """The question that ``proposal`` words, or None where a filter objects."""
    start, end = proposal.span
    answer = words_of(source.text[start:end])
    clause = proposal.kind in ("condition", "how_to")
    subject = proposal.subject.strip()
    if not quality.is_answer(answer) or not quality.is_subject(subject, clause=clause):
        return None
    if not quality.stands_alone(answer) or _VAGUE.search(subject):
        return None
    draw = unit_hash(seed, "template", source.id, str(start))
    template = proposal.templates[int(draw * len(proposal.templates))]
    question = template.format(s=subject)
    if owner and proposal.kind != "signature":
        question = _within(question, owner)
    return Candidate(
        kind=proposal.kind,
        document=source.id,
        group=source.group,
        question=question,
        qualified=_within(question, _inside(source.title, "")),
        subject=f"{owner} {subject}" if owner else subject,
        start=start,
        end=end,
        answer=answer,
    )


def _within(question: str, place: str) -> str:
    """``question`` with the place it is about, unless it names that already."""
    if not place or quality.key_of(place) in quality.key_of(question):
        return question
    return f"{question[:-1]} in {place}{question[-1]}"


def _opening(piece: Piece) -> tuple[int, int]:
    """The span of the section's first sentences: one, or up to three while they stay short."""
    block = piece.blocks[0]
    start, end = block[0]
    for _, later in block[1:3]:
        if len(piece.words((start, later)).split()) > 40:
            break
        end = later
    return start, end


def _spans(piece: Piece) -> Iterator[tuple[int, int]]:
    for block in piece.blocks:
        yield from block


def _inside(subject: str, text: str) -> str:
    """``subject`` as it stands inside a sentence: ``A lambda`` is asked about as ``a lambda``.

    A capital stays where ``text`` never writes the word without it, as in names.
    """
    first = subject.split(maxsplit=1)[0] if subject.strip() else ""
    lowered = first[:1].lower() + first[1:]
    rest = subject[len(first) :]
    if _ARTICLE.match(subject) or (rest == rest.lower() and f" {lowered}" in text):
        return lowered + rest
    return subject
