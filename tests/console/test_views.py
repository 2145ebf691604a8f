import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from tests.console.sample import HOSTILE, NAME
from undercroft.console.views import answers, chat, documents, home, lineage, models, runs
from undercroft.errors import BadRef, NotFound
from undercroft.lake import schemas
from undercroft.ledger import MadeArtifact
from undercroft.records import Footprint


def ids(paged):
    return [row.id for row in paged.rows]


def test_the_pages_of_a_list_are_disjoint_and_hold_every_document(project):
    first = documents.listed(project)
    seen = ids(first.documents)
    page = 1
    while documents.listed(project, page).documents.follows:
        page += 1
        seen += ids(documents.listed(project, page).documents)
    assert len(seen) == len(set(seen)) == first.documents.total == 3000
    assert first.num_kept + first.num_removed == 3000


def test_every_removed_document_names_its_rule_and_value(project):
    removed = documents.listed(project, state="removed").documents
    assert all(row.rule and row.value and not row.kept for row in removed.rows)


def test_the_count_of_a_rule_is_what_its_filter_shows(project):
    for rule, number in documents.listed(project).rules:
        found = documents.listed(project, state="removed", rule=rule).documents
        assert found.total == number
        assert {row.rule for row in found.rows} == {rule}


def test_a_search_looks_into_titles_addresses_and_text_without_regard_to_case(project):
    assert documents.listed(project, query="PYTHON:TOPIC/WITH").documents.total >= 1
    by_text = documents.listed(project, query="context manager").documents
    assert by_text.total > 3
    assert documents.listed(project, query="context manager", state="kept").documents.total > 0


@pytest.mark.parametrize("query", ["'", "%' OR '1'='1", "\\", "🜁", HOSTILE, "x" * 5000])
def test_a_search_is_text_and_never_code(project, query):
    found = documents.listed(project, query=query).documents
    assert found.total < 3000


def test_a_passage_lies_where_its_offsets_say_in_a_cut_text(project):
    long = documents.listed(project, query="hard/long.txt").documents.rows[0]
    page = documents.one(project, long.id, start=30_000, end=30_050)
    assert len(page.text) == documents.SHOWN_CHARS
    whole = documents.one(project, long.id, whole=True).text
    assert page.text[page.start : page.end] == whole[30_000:30_050]


def test_masked_text_never_shows_what_was_masked(project):
    hostile = documents.listed(project, query="hard/hostile.txt").documents.rows[0]
    page = documents.one(project, hostile.id)
    assert "[EMAIL]" in page.text
    assert page.text.index("[EMAIL]") < page.text.index("@example.com")


def test_a_file_that_could_not_be_read_says_why(project):
    rejected = project.lake.table("raw").read(["id"], "status = 'rejected'")["id"][0].as_py()
    assert documents.one(project, rejected).origin["reason"] == "The PDF ends in the middle."


def test_answers_come_newest_first_and_each_once(project):
    pages = [answers.listed(project, number).answers for number in (1, 2, 3, 4, 5)]
    shown = [row for page in pages for row in page.rows]
    assert len({row.id for row in shown}) == pages[0].total == 180
    assert [row.at for row in shown] == sorted((row.at for row in shown), reverse=True)
    assert not pages[4].rows


def test_the_filters_of_answers_find_what_they_name(project):
    down = answers.listed(project, chosen="down").answers
    assert down.rows
    assert all(row.rating == -1 for row in down.rows)
    failed = answers.listed(project, chosen="failed").answers
    assert {row.status for row in failed.rows} == {"error"}
    found = answers.listed(project, chosen="findings").answers.rows[0]
    assert answers.one(project, found.id).trace.findings


def test_a_trace_adds_up_and_shows_the_cited_passage(project):
    row = answers.listed(project).answers.rows[0]
    page = answers.one(project, row.id)
    assert sum(value for _, value in page.timings) == pytest.approx(row.total_ms, rel=1e-3)
    assert [source.cited for source in page.sources] == [True, False, False]
    assert page.sources[0].text.split()[0] == page.trace.answer.split()[0]


def test_of_a_conversation_the_last_question_is_shown(project):
    oldest = answers.listed(project, 4).answers.rows[-2]
    assert oldest.question.startswith("What does ")
    assert answers.one(project, oldest.id).trace.question.startswith("user: Hello")


def test_what_a_forgotten_person_asked_is_shown_as_erased(empty):
    row = {"id": "ans-1", "at": datetime.now(UTC), "subject": "person", "status": "ok"}
    sealed = empty.trust.vault.seal("person", b"secret", b"question:ans-1")
    table = empty.lake.table("requests")
    rows = [row | {"question_sealed": sealed, "passages": [], "findings": []}]
    table.append(pa.Table.from_pylist(rows, schema=schemas.REQUESTS))
    assert answers.listed(empty).answers.rows[0].question == "secret"
    empty.trust.vault.shred("person")
    assert answers.listed(empty).answers.rows[0].question is None


def test_a_row_that_was_tampered_with_costs_only_itself(empty):
    row = {"id": "ans-1", "at": datetime.now(UTC), "subject": "", "status": "ok"}
    sealed = empty.trust.vault.seal("", b"secret", b"question:ans-2")
    rows = [row | {"question_sealed": sealed}]
    empty.lake.table("requests").append(pa.Table.from_pylist(rows, schema=schemas.REQUESTS))
    assert "not what was written" in answers.listed(empty).answers.rows[0].question


def test_a_run_shows_its_curves_and_how_long_it_will_take(project):
    running = next(row for row in runs.listed(project, 2).runs.rows if row.run.status == "running")
    page = runs.one(project, running.run.id)
    assert [curve.title for curve in page.curves] == [
        "Loss", "Gradient norm", "Learning rate", "Speed",
    ]  # fmt: skip
    assert len(page.curves[0].points) == 44
    assert page.row.seconds_left > 0


def test_a_run_that_fell_silent_is_not_given_a_time_left(project):
    run = next(row for row in runs.listed(project, 2).runs.rows if row.run.status == "running")
    old = replace(run.progress, updated_at=datetime.now(UTC) - timedelta(minutes=9))
    silent = replace(run, progress=old)
    assert silent.seconds_left is None
    assert silent.silent_s == pytest.approx(540, abs=5)


def test_a_removal_shows_what_its_value_was_compared_with():
    rule = {"name": "too_short", "signal": "num_chars", "test": "<", "threshold": 80}
    chosen = {"rule": "too_short", "value": "51"}
    assert documents.compared(chosen, {"too_short": rule}) == "chars: 51 < 80"
    assert documents.compared(chosen, {}) == "51"


def test_chat_suggests_held_out_questions_that_have_an_answer(empty):
    cases = [
        {"kind": "a", "question": "A long question?", "answerable": True},
        {"kind": "a", "question": "Short?", "answerable": True},
        {"kind": "b", "question": "Other kind?", "answerable": True},
        {"kind": "c", "question": "?", "answerable": False},
    ]
    folder = empty.state / "suite"
    folder.mkdir()
    (folder / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    uri, digest, size = empty.lake.blobs.put(folder, "suite", empty.name)
    run = empty.ledger.begin_run("examples", "key", {}, [])
    made = MadeArtifact("suite", empty.name, digest, uri, size, {})
    assert chat.suggestions(empty) == []
    empty.ledger.finish_run(run.id, [made], Footprint())
    assert chat.suggestions(empty) == ["Short?", "Other kind?"]


def test_home_shows_only_failures_that_were_not_made_good(project):
    needs = [need.what for need in home.read(project).needs]
    assert "The stage evaluate failed" in needs
    assert sum("failed" in need for need in needs) == 1
    assert home.read(project).recent[0].run.status == "running"


def test_a_scorecard_shows_its_numbers_and_pages_of_its_cases(project):
    page = models.one(project, f"scorecard:{NAME}", page=5)
    assert page.cases.total == 48
    assert len(page.cases.rows) == 8
    assert page.scorecard.scores[0].tuned > page.scorecard.scores[0].base
    assert page.scorecard.significant is True


def test_lineage_of_an_answer_reaches_the_raw_documents(project):
    answer = answers.listed(project).answers.rows[0].id
    page = lineage.around(project, f"answer:{answer}")
    kinds = {node.kind for node in page.lineage.nodes}
    assert {"answer", "document", "route", "model", "dataset", "raw", "run"} <= kinds
    assert f'href="/artifacts/raw:{NAME}@5"' in page.svg


def test_what_does_not_exist_is_said_to_be_missing(project):
    for read in (runs.one, documents.one, answers.one, models.one):
        with pytest.raises((NotFound, BadRef)):
            read(project, "model:nothing" if read is models.one else "nothing")
