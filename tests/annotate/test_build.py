from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from undercroft.annotate.build import Built, Chunks, build
from undercroft.annotate.questions import Source
from undercroft.annotate.split import held_out_groups
from undercroft.annotate.stage import cut
from undercroft.annotate.structure import words_of
from undercroft.errors import BadInput
from undercroft.retrieve.prompt import REFUSAL
from undercroft.settings import AnnotateSettings

SETTINGS = AnnotateSettings()
COFFEE = [
    Source(
        name, f"{name}.md", name.capitalize(),
        f"# {name.capitalize()}\n\n{name.capitalize()} coffee is a drink that is made with {how}. "
        f"The {name} brewer requires {what} and some patience.\n\n"
        f"## Cleaning the {name} brewer\n\nRinse the {name} brewer with {how} after each use. "
        f"Soap is never needed for a {name} brewer.\n",
        f"{name}.md",
    )
    for name, how, what in (
        ("filter", "hot water", "a paper cone"),
        ("espresso", "nine bars of pressure", "fine grounds"),
        ("cold", "cold water overnight", "coarse grounds"),
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def built(reference: list[Source]) -> Built:
    return build(reference, cut(reference, 900), SETTINGS, 3)


def test_no_source_file_is_on_both_sides(built: Built) -> None:
    training = {example.group for example in built.examples}
    judging = {case.group for case in built.cases}
    assert training
    assert judging
    assert not training & judging
    assert judging <= built.held_out


def test_training_never_shows_a_passage_of_a_held_out_file(built: Built) -> None:
    shown = {f"{p.document}.md" for example in built.examples for p in example.passages}
    assert not shown & built.held_out


def test_no_answer_of_the_suite_was_trained(built: Built) -> None:
    trained = {example.answer for example in built.examples if example.answerable}
    assert not trained & {case.answer for case in built.cases if case.answerable}


def test_the_cited_passages_hold_the_answer_and_the_others_do_not(built: Built) -> None:
    for example in [*built.examples, *built.cases]:
        holding = tuple(
            number
            for number, passage in enumerate(example.passages, start=1)
            if example.answerable and example.answer in words_of(passage.text)
        )
        assert example.cited == holding
        assert bool(holding) == example.answerable


def test_answers_are_the_words_of_the_source_span(built: Built, reference: list[Source]) -> None:
    texts = {source.id: source.text for source in reference}
    for example in [*built.examples, *built.cases]:
        assert example.synthetic
        if example.answerable:
            span = texts[example.source_document][example.source_start : example.source_end]
            assert words_of(span) == example.answer


def test_about_one_in_eight_is_unanswerable_and_refused(built: Built) -> None:
    refused = [example for example in built.examples if not example.answerable]
    assert 0.06 < len(refused) / len(built.examples) < 0.2
    assert {example.answer for example in refused} == {REFUSAL}
    assert not any(example.source_document for example in refused)


def test_the_answer_stands_in_every_place(built: Built) -> None:
    places = Counter(example.cited[0] for example in built.examples if example.cited)
    assert set(places) == {1, 2, 3}
    assert min(places.values()) > 0.15 * sum(places.values())


def test_questions_are_asked_once_and_mean_one_thing(built: Built) -> None:
    asked = Counter(example.question for example in [*built.examples, *built.cases])
    assert set(asked.values()) == {1}


def test_questions_that_mean_several_things_are_told_apart_by_title_or_dropped() -> None:
    twice = [
        Source(n, n, f"{n} guide", f"# Brewing\n\nThe valve is a part made of {m}.\n\nThe {n} "
               f"tank is a part made of {m}.\n", n)
        for n, m in (("north", "brass"), ("south", "steel"), ("east", "glass"), ("west", "tin"))
    ]  # fmt: skip
    made = build(twice, cut(twice, 900), replace_share(0.4), 2)
    questions = [example.question for example in [*made.examples, *made.cases]]
    about_valves = [question for question in questions if "valve" in question]
    assert about_valves
    assert all("guide" in question for question in about_valves)


def test_neighbours_share_their_passages_so_that_training_reads_them_once(built: Built) -> None:
    shown = [tuple(p.id for p in example.passages) for example in built.examples]
    assert len(set(shown)) < 0.75 * len(shown)
    runs = 1 + sum(before != after for before, after in pairwise(shown))
    assert runs <= len(set(shown)) * 1.1


def test_the_same_input_gives_the_same_examples(reference: list[Source], built: Built) -> None:
    assert build(list(reference), cut(reference, 900), SETTINGS, 3) == built


def test_vectors_move_distractors(reference: list[Source], built: Built) -> None:
    chunks = cut(reference, 900)
    vectors = np.random.default_rng(0).normal(size=(len(chunks.passages), 8)).astype(np.float32)

    def encode(texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 8), np.float32) * 3

    made = build(reference, Chunks(chunks.passages, vectors, encode), SETTINGS, 3)
    assert {e.question for e in made.examples} == {e.question for e in built.examples}
    assert [e.passages for e in made.examples] != [e.passages for e in built.examples]


def test_three_small_documents_are_enough() -> None:
    made = build(COFFEE, cut(COFFEE, 900), SETTINGS, 3)
    assert len(made.examples) >= 4
    assert made.cases
    assert len(made.held_out) == 1


def test_one_document_is_held_out_by_part(reference: list[Source]) -> None:
    lone = next(source for source in reference if source.id == "compound")
    made = build([lone], cut([lone], 900), SETTINGS, 3)
    assert made.examples
    assert made.cases
    assert not {e.group for e in made.examples} & {c.group for c in made.cases}


def test_documents_without_a_question_say_what_to_do() -> None:
    dull = [Source(str(n), str(n), "", "lorem ipsum\n" * 20, str(n)) for n in range(3)]
    with pytest.raises(BadInput, match="Add documents with prose"):
        build(dull, cut(dull, 900), SETTINGS, 3)


def test_nothing_at_all_says_the_same() -> None:
    with pytest.raises(BadInput, match="0 documents"):
        build([], cut([], 900), SETTINGS, 3)


def test_files_keep_their_side_when_others_come() -> None:
    names = [f"file-{number}" for number in range(200)]
    before = held_out_groups(names[:100], 0.15, 20)
    after = held_out_groups(names, 0.15, 20)
    assert before == after & set(names[:100])
    assert 15 <= len(after) <= 45
    assert held_out_groups(["a", "b"], 0.01, 20)
    assert len(held_out_groups(["a", "b"], 0.89, 20)) == 1


def test_a_megabyte_takes_seconds(reference: list[Source]) -> None:
    many = [
        replace(source, id=f"{source.id}-{n}", group=f"{source.group}-{n}",
                text=source.text.replace("statement", f"statement{n}"))
        for n in range(3)
        for source in reference
    ]  # fmt: skip
    started = time.process_time()
    build(many, cut(many, 900), SETTINGS, 3)
    assert time.process_time() - started < 10


def replace_share(held_out: float) -> AnnotateSettings:
    return AnnotateSettings(held_out=held_out, unanswerable=0.0)
