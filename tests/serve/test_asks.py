"""Request bodies: what is taken, what is refused, and how clearly."""

import msgspec
import pytest

from undercroft.serve.asks import parse_chat, parse_completion, parse_embedding, parse_feedback
from undercroft.serve.failures import HttpError
from undercroft.settings import SamplingSettings

DEFAULTS = SamplingSettings()
HELLO = [{"role": "user", "content": "Hello"}]


def chat(**fields):
    return parse_chat(msgspec.json.encode({"model": "docs", "messages": HELLO, **fields}), DEFAULTS)


def refusal(parse, body) -> HttpError:
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(HttpError) as refused:
        parse(encoded)
    assert refused.value.http_status == 400
    return refused.value


def refused_chat(**fields) -> HttpError:
    body = {"model": "docs", "messages": HELLO, **fields}
    return refusal(lambda data: parse_chat(data, DEFAULTS), body)


def test_sampling_that_the_client_set_is_forwarded_and_nothing_else():
    ask = chat(temperature=0.5, top_p=0.9, seed=7, stop=["\n"], user="ada", store=True)
    assert ask.sampling == {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["\n"]}
    assert (ask.user, ask.max_tokens, ask.lane) == ("ada", DEFAULTS.max_tokens, "interactive")


def test_the_newer_name_of_max_tokens_wins():
    assert chat(max_tokens=5, max_completion_tokens=9).max_tokens == 9


def test_text_parts_are_joined_and_others_refused():
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert chat(messages=[{"role": "user", "content": parts}]).question == "Hello"
    image = [{"type": "image_url", "image_url": {"url": "data:…"}}]
    error = refused_chat(messages=[{"role": "user", "content": image}])
    assert error.param == "messages[0].content"


def test_the_question_is_the_last_message_of_the_user():
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two?"},
    ]
    ask = chat(messages=turns)
    assert ask.question == "Two?"
    assert ask.transcript == "user: One?\n\nassistant: 1\n\nuser: Two?"
    assert chat().transcript == "Hello"


def test_flex_requests_go_to_the_batch_lane():
    assert chat(service_tier="flex").lane == "batch"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields, param):
    assert refused_chat(**fields).param == param


def test_a_missing_field_is_named():
    error = refusal(lambda data: parse_chat(data, DEFAULTS), {"messages": HELLO})
    assert error.param == "model"


@pytest.mark.parametrize("body", [b'{"model": "docs", "messages": [', b"", b"nonsense", b"\xff"])
def test_a_body_that_is_not_json_is_refused_with_the_place(body):
    error = refusal(lambda data: parse_chat(data, DEFAULTS), body)
    assert error.code == "invalid_json"


def test_malformed_json_says_where():
    error = refusal(lambda data: parse_chat(data, DEFAULTS), b'{"model": docs}')
    assert "10" in str(error)


def test_a_plain_completion_takes_one_prompt():
    ask = parse_completion(b'{"model": "docs", "prompt": ["Once"]}', DEFAULTS)
    assert (ask.kind, ask.prompt, ask.retrieve) == ("completion", "Once", False)
    for prompt in ([], ["a", "b"], ""):
        body = {"model": "docs", "prompt": prompt}
        assert refusal(lambda data: parse_completion(data, DEFAULTS), body).param == "prompt"


def test_embeddings_take_texts_and_refuse_tokens():
    assert parse_embedding(b'{"model": "e", "input": "a"}')[1] == ["a"]
    assert parse_embedding(b'{"model": "e", "input": ["a", "b"]}')[1] == ["a", "b"]
    for wrong in ([1, 2], [[1, 2]], [], ["a", ""], ""):
        assert refusal(parse_embedding, {"model": "e", "input": wrong}).param == "input"


def test_ratings_are_minus_one_to_one():
    assert parse_feedback(b'{"answer": "ans-1", "rating": -1}').rating == -1
    assert refusal(parse_feedback, {"answer": "ans-1", "rating": 5}).param == "rating"
