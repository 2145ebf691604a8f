"""Pairs of answers: what is one, what is refused and why, and whose words may be in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.collect.test_traffic import NOW, ask, rate
from undercroft.collect.consent import decide
from undercroft.collect.preferences import PairSources, preference_of, preferences, read_pairs
from undercroft.errors import BadInput, BadSource
from undercroft.lake import schemas
from undercroft.lake.preferences import PAIRS_FILE, read_preferences
from undercroft.lake.refused import REFUSED_FILE
from undercroft.records import Preference, Turn

USER, GOOD, BAD = (
    {"role": role, "content": text}
    for role, text in [("user", "Why?"), ("assistant", "So."), ("assistant", "Who knows.")]
)
FORMS = [
    {"prompt": "Why?", "chosen": "So.", "rejected": "Who knows."},
    {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": [USER], "chosen": GOOD, "rejected": "Who knows.", "score": 3},
    {"prompt": "Why?", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
]


@pytest.mark.parametrize("row", FORMS)
def test_every_usual_form_is_the_same_pair(row: dict[str, object]) -> None:
    pair = preference_of(row, "a.jsonl")
    expected = Preference(pair.id, (Turn("user", "Why?"),), "So.", "Who knows.", "a.jsonl")
    assert pair == expected
    assert pair.id == preference_of(FORMS[0], "b.jsonl").id


def test_a_conversation_keeps_its_turns() -> None:
    system = {"role": "system", "content": "Be short."}
    row = {"chosen": [system, USER, BAD, USER, GOOD], "rejected": [system, USER, BAD, USER, BAD]}
    roles = [turn.role for turn in preference_of(row, "").prompt]
    assert roles == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1, 2], "no object"),
        ({"prompt": "Why?", "chosen": "So."}, "rejected is missing"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": float("nan")}, "neither text nor"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": " So. "}, "are the same"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": " "}, "rejected is empty"),
        ({"prompt": "Why?", "chosen": [], "rejected": "No."}, "neither text nor messages"),
        ({"chosen": "So.", "rejected": "No."}, "there is no prompt"),
        ({"prompt": [GOOD], "chosen": "So.", "rejected": "No."}, "end with the user's"),
        ({"prompt": "Why?", "chosen": [USER], "rejected": "No."}, "assistant's turn"),
        ({"prompt": "How?", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "begin with"),
        ({"chosen": [USER, GOOD], "rejected": [USER, USER, BAD]}, "different prompts"),
        ({"prompt": "W", "chosen": [{"role": "x", "content": "a"}], "rejected": "b"}, "role"),
        ({"prompt": "W", "chosen": [{"role": "user"}], "rejected": "b"}, "content is no text"),
        ({"prompt": "\ud800", "chosen": "a", "rejected": "b"}, "half a character"),
    ],
)
def test_what_is_no_pair_is_refused_with_the_reason(row: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        preference_of(row, "")


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "prompt", "chosen"]), inner)
    ),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["prompt", "chosen", "rejected"], anything))
)
def test_whatever_a_row_holds_it_is_a_pair_or_refused(row: dict[str, object]) -> None:
    try:
        pair = preference_of(row, "")
    except ValueError:
        return
    assert pair.chosen != pair.rejected
    assert pair.prompt


def written(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_bad_rows_are_kept_beside_the_good_ones(project, tmp_path) -> None:
    other = {"prompt": "How?", "chosen": "So.", "rejected": "No."}
    path = written(tmp_path / "pairs.jsonl", [FORMS[0], FORMS[1], {"prompt": "Why?"}, other])
    with path.open("ab") as out:
        out.write(b'{"prompt": "Why\n\n\xff\xfe\n' + b"[" * 100_000 + b"\n")
    here = project()
    (made,) = preferences(here, PairSources(name="short", sources=[str(path)]))
    assert str(made.ref) == "preferences:short@1"
    assert (made.meta["pairs"], made.meta["refused"]) == (2, 5)
    assert made.meta["reasons"]["the line is no JSON"] == 3
    pairs, gone, _ = read_preferences(here.path(made), here.trust.vault)
    assert [pair.chosen for pair in pairs] == ["So.", "So."]
    assert not gone
    lines = (here.path(made) / REFUSED_FILE).read_text().splitlines()
    refused = [json.loads(line) for line in lines]
    assert {"line": 3, "reason": "chosen is missing"}.items() <= refused[1].items()
    assert max(len(each["row"]) for each in refused) == 2000


def test_a_file_without_a_pair_says_what_one_looks_like(project, tmp_path) -> None:
    path = written(tmp_path / "pairs.jsonl", [{"prompt": "Why?", "chosen": "a", "rejected": "a"}])
    with pytest.raises(BadInput, match=r"are the same.*\"rejected\""):
        preferences(project(), PairSources(sources=[str(path)]))
    with pytest.raises(BadSource, match="no file of pairs"):
        preferences(project(), PairSources(sources=[str(tmp_path / "none.jsonl")]))


def test_pairs_that_are_all_the_same_and_a_file_without_a_row_are_refused(
    project, tmp_path
) -> None:
    path = written(tmp_path / "pairs.jsonl", [FORMS[0], FORMS[1], FORMS[0]])
    with pytest.raises(BadInput, match=r"are the same\. There is one, 3 times"):
        preferences(project(), PairSources(sources=[str(path)]))
    with pytest.raises(BadInput, match="There is no row in it"):
        preferences(project(), PairSources(sources=[str(written(tmp_path / "none.jsonl", []))]))


def test_a_line_is_read_whatever_mark_it_begins_with(tmp_path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(FORMS[0]).encode() + b"\r\n")
    assert [pair.chosen for pair in read_pairs(path)] == ["So."]


def answered(project, number, answer, rating, subject="ada", question="Why is it so?", **more):
    """An answer that was rated; ``ask`` always gets the same."""
    import pyarrow as pa

    seal, name = project.trust.vault.seal, f"ans-{number}"
    ask(project, number, subject=subject, **more)
    row = {
        "id": name, "at": NOW, "subject": subject, "kind": "chat", "status": "ok",
        "question_sealed": seal(subject, question.encode(), f"question:{name}".encode()),
        "answer_sealed": seal(subject, answer.encode(), f"answer:{name}".encode()),
        "consent": more.get("consent", "store"),
    }  # fmt: skip
    project.lake.table("requests").upsert(pa.Table.from_pylist([row], schemas.REQUESTS))
    rate(project, number, rating)


def pairs_of(project) -> list[tuple[str, str]]:
    (made,) = preferences(project, PairSources(sources=["traffic:"]))
    pairs, _, _ = read_preferences(project.path(made), project.trust.vault)
    return [(pair.chosen, pair.rejected) for pair in pairs]


def test_a_liked_and_a_disliked_answer_to_one_question_are_a_pair(project) -> None:
    here = project()
    answered(here, 1, "Because.", 1)
    answered(here, 2, "Go away.", -1, question="why is  it so?")
    answered(here, 3, "Never.", -1, question="How?")
    answered(here, 4, "Perhaps.", 0)
    assert pairs_of(here) == [("Because.", "Go away.")]


def test_only_consented_words_of_people_who_did_not_take_it_back_are_in_pairs(project) -> None:
    here = project()
    answered(here, 1, "Because.", 1)
    answered(here, 2, "Go away.", -1, subject="bob")
    answered(here, 3, "Secret.", -1, consent="")
    assert pairs_of(here) == [("Because.", "Go away.")]
    decide(here, "bob", "withdrawn", "asked by letter")
    with pytest.raises(BadInput, match="no pair"):
        pairs_of(here)
    decide(here, "bob", "given", "asked again")
    assert len(pairs_of(here)) == 1


def test_pairs_stay_sealed_and_go_with_the_key_of_either_person(project) -> None:
    here = project()
    answered(here, 1, "Because.", 1)
    answered(here, 2, "Go away.", -1, subject="bob")
    (made,) = preferences(here, PairSources(sources=["traffic:"]))
    kept = (here.path(made) / PAIRS_FILE).read_text()
    assert "Because" not in kept
    assert "Why" not in kept
    here.trust.vault.shred("bob")
    assert read_preferences(here.path(made), here.trust.vault) == ([], 1, [])


def test_people_who_differ_about_one_answer_make_no_pair(project) -> None:
    here = project()
    answered(here, 1, "Because.", 1)
    answered(here, 2, "Because.", -1, subject="bob")
    answered(here, 3, "Go away.", -1)
    assert pairs_of(here) == [("Because.", "Go away.")]
