"""Answers over documents: sources, screens, upstream faults, erasure and a new route."""

import time

import numpy as np
import openai
import pytest

from tests.serve.scripted import running
from tests.serve.serving import (
    DOCUMENTS,
    gateway_of,
    keep,
    keep_index,
    make_project,
    release,
)
from undercroft.retrieve import Embedder
from undercroft.retrieve.prompt import Template

CHEESE = "d" * 15 + "2"


@pytest.fixture(scope="module")
def upstream():
    with running() as scripted:
        yield scripted


@pytest.fixture(scope="module")
def grounded(tmp_path_factory, upstream):
    """A gateway with an index in front of a scripted remote engine."""
    project = make_project(tmp_path_factory.mktemp("grounded") / "p")
    meta = {"engine": "remote", "base_url": upstream.url + "/v1", "model": "theirs"}
    release(project, keep(project, "model", "remote", meta), **keep_index(project))
    with gateway_of(project) as gateway:
        yield gateway


@pytest.fixture
def client(grounded):
    with grounded.client() as client:
        yield client


def ask(client, question, stream=False, **options):
    messages = [{"role": "user", "content": question}]
    answer = client.chat.completions.create(
        model="docs", messages=messages, stream=stream, temperature=1, **options
    )
    return list(answer) if stream else answer


def text_of(chunks) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_an_answer_comes_with_its_sources(grounded, client, upstream):
    answer = ask(client, "Where does Cheddar cheese ripen? script:plain")
    sources = answer.model_extra["sources"]
    assert sources[0]["document"] == CHEESE
    assert sources[0]["uri"] == "file:///cheese.txt"
    assert [source["number"] for source in sources] == [1, 2, 3]
    start, end = sources[0]["span"]
    assert DOCUMENTS[CHEESE][1][start:end] == DOCUMENTS[CHEESE][1]
    assert [source["cited"] for source in sources] == [True, False, False]
    shown = upstream.asked[-1]["messages"]
    assert [message["role"] for message in shown] == ["system", "user"]
    assert DOCUMENTS[CHEESE][1] in shown[1]["content"]
    (row,) = grounded.rows("requests", f"id = '{answer.id}'")
    assert row["passages"][0]["document"] == CHEESE
    assert row["retrieve_ms"] > 0


def test_a_citation_of_a_passage_that_was_not_shown_never_leaves(client):
    assert ask(client, "Cheese? script:plain").choices[0].message.content == "It is so [1]. No."
    assert text_of(ask(client, "Bees? script:plain", stream=True)) == "It is so [1]. No."


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
def test_in_a_stream_the_sources_are_in_the_last_chunk(client, options):
    chunks = ask(client, "Cheese? script:plain", stream=True, **options)
    assert chunks[-1].model_extra["sources"][0]["cited"]
    assert all("sources" not in (chunk.model_extra or {}) for chunk in chunks[:-1])


def test_retrieval_can_be_switched_off(client, upstream):
    answer = ask(client, "Cheese? script:plain", extra_body={"retrieve": False})
    assert "sources" not in (answer.model_extra or {})
    assert upstream.asked[-1]["messages"] == [{"role": "user", "content": "Cheese? script:plain"}]
    assert upstream.asked[-1]["model"] == "theirs"


def test_earlier_turns_and_the_clients_own_instructions_are_kept(client, upstream):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "And bees? script:plain"},
    ]
    client.chat.completions.create(model="docs", messages=turns, temperature=1)
    shown = upstream.asked[-1]["messages"]
    assert [m["role"] for m in shown] == ["system", "user", "assistant", "user"]
    assert shown[0]["content"].endswith("Be brief.")
    assert "queen bee" in shown[-1]["content"]


def test_a_long_history_is_cut_to_the_context_from_its_beginning(client, upstream):
    turns = []
    for number in range(30):
        turns += [
            {"role": "user", "content": f"Question {number} " + "word " * 60},
            {"role": "assistant", "content": f"Answer {number}"},
        ]
    turns.append({"role": "user", "content": "And bees? script:plain"})
    raw = client.chat.completions.with_raw_response.create(
        model="docs", messages=turns, temperature=1
    )
    assert raw.headers["x-undercroft-degraded"] == "history-cut"
    shown = upstream.asked[-1]["messages"]
    assert shown[1]["content"].startswith("Question 0 ")
    assert shown[-2]["content"] == "Answer 29"
    assert sum(len(m["content"]) for m in shown) < 2048 * 3


def test_a_question_that_is_too_long_is_cut_and_the_answer_says_so(client):
    raw = client.chat.completions.with_raw_response.create(
        model="docs", temperature=1,
        messages=[{"role": "user", "content": "Cheese? script:plain " + "really " * 500}],
    )  # fmt: skip
    assert raw.headers["x-undercroft-degraded"] == "question-cut"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "secret", "shown"),
    [("mail", "riverbank", "Write to [EMAIL] or [EMAIL] soon."), ("key", "AKIA", "")],
)
def test_personal_data_and_secrets_never_leave_however_they_are_cut(
    grounded, client, stream, script, secret, shown
):
    answer = ask(client, f"script:{script}", stream=stream)
    text = text_of(answer) if stream else answer.choices[0].message.content
    assert secret not in text
    assert not shown or text == shown
    name = answer[0].id if stream else answer.id
    (row,) = grounded.rows("requests", f"id = '{name}'")
    assert row["findings"]
    assert secret.encode() not in grounded.opened(row, "answer")


@pytest.mark.parametrize("script", ["hangs-up", "just-ends", "in-band"])
def test_an_answer_that_breaks_off_never_looks_complete(client, script):
    with pytest.raises(openai.APIError) as error:
        ask(client, f"script:{script}", stream=True)
    assert error.value.code == "engine_failed"


def test_an_empty_answer_is_an_answer(client):
    chunks = ask(client, "script:empty", stream=True)
    assert text_of(chunks) == ""
    assert [c.choices[0].finish_reason for c in chunks] == [None, "stop"]


def test_an_upstream_that_is_busy_or_mad_has_its_own_error(client):
    with pytest.raises(openai.InternalServerError) as busy:
        ask(client, "script:busy")
    assert busy.value.response.headers["retry-after-ms"] == "3000"
    with pytest.raises(openai.InternalServerError) as mad:
        ask(client, "script:nonsense")
    assert (mad.value.status_code, mad.value.code) == (502, "engine_failed")


def test_embeddings_are_those_of_the_index(grounded, client):
    name = "embedding:docs@1"
    texts = ["queen bee", "warm air"]
    as_base64 = client.embeddings.create(model=name, input=texts)
    as_floats = client.embeddings.create(model=name, input=texts, encoding_format="float")
    artifact = grounded.project.ledger.artifact(name)
    wanted = Embedder.load(grounded.project.path(artifact)).encode(texts)
    for reply in (as_base64, as_floats):
        assert np.allclose([item.embedding for item in reply.data], wanted, atol=1e-6)
    assert client.embeddings.create(model="docs", input="one").data[0].index == 0
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=name, input=[[1, 2]])
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=name, input="x", dimensions=33)
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="model:remote@1", input="x")


def test_an_erased_document_is_not_shown_again_and_its_answers_are_not_kept(grounded, client):
    def cheese():
        raw = client.chat.completions.with_raw_response.create(
            model="docs", messages=[{"role": "user", "content": "Cheddar cheese? script:plain"}],
            temperature=0,
        )  # fmt: skip
        documents = [s["document"] for s in raw.parse().model_extra["sources"]]
        return raw.headers.get("x-undercroft-cache"), documents

    assert CHEESE in cheese()[1]
    assert cheese()[0] == "hit"
    grounded.project.ledger.decide("forget", f"document:{CHEESE}", "erased", "test", {}, "test")
    time.sleep(2.5)
    cached, documents = cheese()
    assert cached is None
    assert CHEESE not in documents


def test_what_the_documents_are_not_about_is_not_put_to_the_model(tmp_path, upstream):
    project = make_project(tmp_path / "p")
    meta = {"engine": "remote", "base_url": upstream.url + "/v1", "model": "theirs"}
    model = keep(project, "model", "remote", meta)
    texts = {**Template("").texts, "refusal": "No idea.", "passage": "<{number}> {text}"}
    template = keep(project, "prompt", "docs", {"texts": texts})
    release(project, model, min_score=0.7, template=str(template.ref), **keep_index(project))
    with gateway_of(project) as gateway, gateway.client() as client:
        asked = len(upstream.asked)
        answer = ask(client, "Who won the world cup? script:plain")
        assert answer.choices[0].message.content == "No idea."
        assert not any(source["cited"] for source in answer.model_extra["sources"])
        assert text_of(ask(client, "Who won it again? script:plain", stream=True)) == "No idea."
        assert len(upstream.asked) == asked
        (row,) = gateway.rows("requests", f"id = '{answer.id}'")
        assert (row["status"], row["degraded"]) == ("ok", "abstained")
        ask(client, "Where does Cheddar cheese ripen in the caves? script:plain")
        assert "<1> Cheddar cheese" in upstream.asked[-1]["messages"][1]["content"]
        turns = [
            {"role": "user", "content": "Where does Cheddar ripen?"},
            {"role": "assistant", "content": "In caves. [1]"},
            {"role": "user", "content": "And then? script:plain"},
        ]
        client.chat.completions.create(model="docs", messages=turns, temperature=1)
        assert len(upstream.asked) == asked + 2


def test_a_new_route_takes_over_without_a_lost_request(grounded, client, upstream):
    project = grounded.project
    meta = {"engine": "remote", "base_url": upstream.url, "model": "newer"}
    before = project.ledger.artifact("route:docs@live")
    release(
        project, keep(project, "model", "other", meta), index="index:docs@1",
        embedding="embedding:docs@1",
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = ask(client, "script:plain", max_tokens=9)  # never fails meanwhile
        if upstream.asked[-1]["model"] == "newer":
            break
    names = [model.id for model in client.models.list()]
    assert "model:other@1" in names
    (row,) = grounded.rows("requests", f"id = '{answer.id}'")
    assert (row["route"], row["model"]) == ("route:docs@2", "model:other@1")
    assert row["route"] != str(before.ref)
