"""Questions asked again in other words, through a running gateway."""

import time

import pytest
from click.testing import CliRunner

from tests.serve.serving import gateway_of, keep, keep_index, make_project, release
from undercroft.cli.main import group
from undercroft.monitor.alike import taken

CHEESE = "d" * 15 + "2"


def gateway(folder, scripted, mode):
    project = make_project(folder / mode, semantic_cache=mode)
    meta = {"engine": "remote", "base_url": scripted.url + "/v1", "model": "theirs"}
    release(project, keep(project, "model", "remote", meta), **keep_index(project))
    return gateway_of(project)


def ask(client, question, **options):
    raw = client.chat.completions.with_raw_response.create(
        model="docs", temperature=0, messages=[{"role": "user", "content": question}], **options
    )
    return raw.headers, raw.parse()


@pytest.fixture(scope="module")
def alike(tmp_path_factory, scripted):
    scripted.always = "plain"
    with gateway(tmp_path_factory.mktemp("alike"), scripted, "on") as served:
        yield served
    scripted.always = ""


def test_a_question_in_other_words_gets_the_answer_that_was_given(alike, scripted):
    with alike.client() as client:
        _, first = ask(client, "Where does Cheddar cheese ripen?")
        asked = len(scripted.asked)
        headers, again = ask(client, "Tell me where Cheddar cheese ripens.")
        assert len(scripted.asked) == asked
        assert (headers["x-undercroft-cache"], headers["x-undercroft-degraded"]) == ("hit", "alike")
        assert again.choices[0].message.content == first.choices[0].message.content
        assert again.model_extra["sources"] == first.model_extra["sources"]
        (row,) = alike.rows("requests", f"id = '{again.id}'")
        assert (row["cached"], row["alike"]) == (True, first.id)


@pytest.mark.parametrize(
    "question",
    [
        "Where does Cheddar cheese not ripen?",
        "Where does Stilton cheese ripen?",
        "Why does Cheddar cheese ripen?",
        "Where does Cheddar cheese ripen in 3 days?",
    ],
)
def test_a_near_question_is_put_to_the_model(alike, scripted, question):
    with alike.client() as client:
        ask(client, "Where does Cheddar cheese ripen?")
        asked = len(scripted.asked)
        headers, _ = ask(client, question)
        assert len(scripted.asked) == asked + 1
        assert "x-undercroft-cache" not in headers


def test_other_conditions_have_answers_of_their_own(alike, scripted):
    with alike.client() as client:
        ask(client, "Where does a queen bee lay her eggs?")
        asked = len(scripted.asked)
        ask(client, "Tell me where a queen bee lays her eggs.", max_tokens=9)
        ask(client, "Tell me where a queen bee lays her eggs.", extra_body={"retrieve": False})
        assert len(scripted.asked) == asked + 2


def test_answers_that_read_an_erased_document_are_not_given_again(alike, scripted):
    with alike.client() as client:
        ask(client, "Where do Cheddar cheeses ripen well?")
        ledger = alike.project.ledger
        ledger.decide("forget", f"document:{CHEESE}", "erased", "test", {}, "test")
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            headers, _ = ask(client, "Tell me where Cheddar cheeses ripen well.")
            if "x-undercroft-cache" not in headers:
                return
            time.sleep(0.2)
        raise AssertionError("the erased document was still read from")


def test_in_shadow_mode_only_the_record_tells(tmp_path, scripted):
    scripted.always = "plain"
    with gateway(tmp_path, scripted, "shadow") as served, served.client() as client:
        _, first = ask(client, "When does a pendulum clock lose time?")
        headers, again = ask(client, "Tell me when a pendulum clock loses time.")
        assert "x-undercroft-cache" not in headers
        (row,) = served.rows("requests", f"id = '{again.id}'")
        assert (row["cached"], row["alike"]) == (False, first.id)
        (seen,) = taken(served.project)
        assert (seen.earlier, seen.question) == (
            "When does a pendulum clock lose time?",
            "Tell me when a pendulum clock loses time.",
        )
        assert (seen.given, seen.same_answer) == (False, True)
        root = str(served.project.root)
        shown = CliRunner().invoke(group, ["-C", root, "cache", "alike"]).output
        assert "same answer\n    When does a pendulum" in shown
    scripted.always = ""
