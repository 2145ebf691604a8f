"""Tools, structured output, log probabilities, several answers: by the official client."""

import json

import openai
import pydantic
import pytest

from tests.serve.test_asks import PIXEL

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}
MASK = "[EMAIL]"


@pytest.fixture
def upstream(scripted):
    return scripted


@pytest.fixture
def client(remote):
    with remote.client() as client:
        yield client


def asked(script: str) -> dict:
    return {"messages": [{"role": "user", "content": f"What now? script:{script}"}]}


def streamed(client, script: str, model="model:able", **options):
    return list(
        client.chat.completions.create(model=model, stream=True, **asked(script), **options)
    )


def deltas(chunks) -> list:
    return [chunk.choices[0].delta for chunk in chunks if chunk.choices]


def test_calls_stream_with_dense_numbers_and_screened_arguments(client, upstream):
    chunks = streamed(client, "calls", tools=[WEATHER], tool_choice="required")
    assert upstream.asked[-1]["tools"] == [WEATHER]
    assert upstream.asked[-1]["tool_choice"] == "required"
    parts = [part for delta in deltas(chunks) for part in delta.tool_calls or ()]
    first = {index: next(p for p in parts if p.index == index) for index in (0, 1)}
    assert [(p.id, p.type, p.function.name) for p in first.values()] == [
        ("call_a", "function", "weather"), ("call_b", "function", "clock"),
    ]  # fmt: skip
    said = ["".join(p.function.arguments for p in parts if p.index == index) for index in (0, 1)]
    assert said == [f'{{"city": "{MASK}"}}', "{}"]
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert [reason for reason in reasons if reason] == ["tool_calls"]
    assert reasons[-1] == "tool_calls"


def test_a_whole_answer_has_the_calls_too(remote, client):
    answer = client.chat.completions.create(model="model:able", tools=[WEATHER], **asked("calls"))
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    assert (call.id, call.function.name) == ("call_a", "weather")
    assert json.loads(call.function.arguments) == {"city": MASK}
    (row,) = remote.rows("requests", f"id = '{answer.id}'")
    assert remote.opened(row, "answer").decode() == f'weather({{"city": "{MASK}"}})'


def test_reasoning_is_screened_and_kept_apart(client):
    chunks = streamed(client, "thinks")
    said = "".join(d.model_extra.get("reasoning_content") or "" for d in deltas(chunks))
    assert said == f"Her mail is {MASK}."
    assert "".join(d.content or "" for d in deltas(chunks)) == "I may not say."
    answer = client.chat.completions.create(model="model:able", **asked("thinks"))
    assert answer.choices[0].message.model_extra["reasoning_content"] == said


@pytest.mark.parametrize("stream", [True, False])
def test_a_model_that_knows_no_tools_writes_calls_in_words(client, upstream, stream):
    options = {"tools": [WEATHER], "model": "model:plain", **asked("written-call")}
    if stream:
        with client.chat.completions.stream(**options) as flow:
            choice = flow.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**options).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    (call,) = choice.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Wye"}')
    told = upstream.asked[-1]
    assert "tools" not in told
    assert '"name": "weather"' in told["messages"][0]["content"]


def test_a_text_that_only_begins_like_a_call_is_a_text(client):
    chunks = streamed(client, "written-no-call", model="model:plain", tools=[WEATHER])
    assert "".join(d.content or "" for d in deltas(chunks)) == '{"name": "Ada"}'
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_log_probabilities_belong_to_the_text_that_is_shown(client):
    for answer in (
        client.chat.completions.create(
            model="model:able", logprobs=True, top_logprobs=1, **asked("plain")
        ).choices,
        [c.choices[0] for c in streamed(client, "plain", logprobs=True) if c.choices],
    ):
        tokens = [t for choice in answer if choice.logprobs for t in choice.logprobs.content]
        assert "".join(token.token for token in tokens) == "It is so [1]. No [9]."
        assert tokens[0].top_logprobs[0].logprob == -0.5


def test_log_probabilities_never_tell_what_was_masked(client):
    chunks = streamed(client, "mail", logprobs=True)
    tokens = [t for c in chunks if c.choices and c.choices[0].logprobs
              for t in c.choices[0].logprobs.content]  # fmt: skip
    assert MASK in "".join(d.content or "" for d in deltas(chunks))
    assert "riverb" not in "".join(token.token for token in tokens)
    whole = client.chat.completions.create(model="model:able", logprobs=True, **asked("mail"))
    assert whole.choices[0].logprobs is None


def test_several_answers_come_side_by_side_and_are_charged_together(remote, client, upstream):
    before = len(upstream.asked)
    answer = client.chat.completions.create(model="model:able", n=3, seed=5, **asked("mail"))
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {
        f"Write to {MASK} or {MASK} soon."
    }
    assert sorted(body["seed"] for body in upstream.asked[before:]) == [5, 6, 7]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 9)
    chunks = streamed(client, "plain", n=2, stream_options={"include_usage": True})
    ends = [c.choices[0] for c in chunks if c.choices and c.choices[0].finish_reason]
    assert [end.index for end in ends] == [0, 1]
    assert chunks[-1].usage.completion_tokens == 6


def test_when_one_of_several_answers_breaks_the_stream_says_so(client):
    with pytest.raises(openai.APIError):
        streamed(client, "hangs-up", n=2)


def test_images_go_to_models_that_take_them_and_nowhere_else(client, upstream):
    part = {"type": "image_url", "image_url": {"url": PIXEL}}
    text = {"type": "text", "text": "What? script:plain"}
    messages = [
        {"role": "user", "content": [text, part]}, {"role": "user", "content": "script:plain"}
    ]  # fmt: skip
    client.chat.completions.create(model="model:able", messages=messages)
    assert upstream.asked[-1]["messages"][0]["content"] == [text, part]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="model:plain", messages=messages)
    assert refused.value.code == "unsupported_media"


class Trip(pydantic.BaseModel):
    city: str = pydantic.Field(max_length=12)
    days: int = pydantic.Field(ge=1, le=9)


def test_a_real_engine_keeps_to_the_schema(served):
    with served.client() as client:
        answer = client.chat.completions.parse(
            model="docs", response_format=Trip, max_tokens=60,
            messages=[{"role": "user", "content": "Plan a trip to Paris."}],
            extra_body={"retrieve": False},
        )  # fmt: skip
    assert isinstance(answer.choices[0].message.parsed, Trip)


def test_a_real_engine_is_held_to_a_required_call_and_reads_its_result(served):
    say = [{"role": "user", "content": "What is the weather in Paris?"}]
    with served.client() as client:
        answer = client.chat.completions.create(
            model="docs", messages=say, tools=[WEATHER], tool_choice="required", max_tokens=80
        )
        (call,) = answer.choices[0].message.tool_calls
        assert set(json.loads(call.function.arguments)) == {"city"}
        told = [*say, answer.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}]  # fmt: skip
        after = client.chat.completions.create(
            model="docs", messages=told, tools=[WEATHER], tool_choice="none", max_tokens=8
        )
    assert after.choices[0].message.content
    assert after.choices[0].finish_reason in ("stop", "length")


def test_a_real_engines_tokens_make_up_its_text(served):
    options = {
        "model": "docs", "messages": [{"role": "user", "content": "Say it in French: good day."}],
        "logprobs": True, "max_tokens": 12, "extra_body": {"retrieve": False},
    }  # fmt: skip
    with served.client() as client:
        choice = client.chat.completions.create(top_logprobs=2, **options).choices[0]
        chunks = list(client.chat.completions.create(stream=True, **options))
    streamed = [t.token for c in chunks if c.choices and c.choices[0].logprobs
                for t in c.choices[0].logprobs.content]  # fmt: skip
    assert streamed == [token.token for token in choice.logprobs.content]
    said = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
    assert choice.message.content.encode().startswith(said)
    assert len(choice.logprobs.content[0].top_logprobs) == 2
