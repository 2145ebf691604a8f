"""What the official client does beyond a plain call works here: helpers, parsing, retries, errors.

One gateway in front of a scripted engine; what needs a real one is in `test_gateway_openai`.
"""

import numpy as np
import openai
import pytest
from openai.types import Completion, CreateEmbeddingResponse, Model, ModerationCreateResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.serve.serving import gateway_of, keep, keep_index, make_project, release

MODEL = "model:able"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather", "strict": True,
        "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            "additionalProperties": False,
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def remote(tmp_path_factory, scripted):
    project = make_project(tmp_path_factory.mktemp("client") / "project", slots=4)
    meta = {"engine": "remote", "base_url": scripted.url + "/v1", "accepts": ["tools", "image"]}
    able = keep(project, "model", "able", {**meta, "model": "theirs"})
    release(project, able, **keep_index(project))
    with gateway_of(project) as gateway:
        yield gateway


@pytest.fixture
def client(remote):
    with remote.client() as client:
        yield client


def asked(script: str, **options) -> dict:
    said = [{"role": "user", "content": f"What then? script:{script}"}]
    return {"model": MODEL, "messages": said, "extra_body": {"retrieve": False}, **options}


class City(BaseModel):
    city: str


# --- chat --------------------------------------------------------------------------------------


def test_the_streaming_helper_tells_of_content_and_gathers_the_whole(client):
    with client.chat.completions.stream(**asked("plain")) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [event.delta for event in events if event.type == "content.delta"]
    assert "".join(deltas) == "It is so [1]. No [9]."
    assert final.choices[0].message.content == "".join(deltas)
    (done,) = [event for event in events if event.type == "content.done"]
    assert done.content == "".join(deltas)


def test_the_streaming_helper_tells_of_each_call(client):
    with client.chat.completions.stream(**asked("calls", tools=[WEATHER])) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert kinds.count("tool_calls.function.arguments.done") == 2
    assert [call.function.name for call in final.choices[0].message.tool_calls] == [
        "weather", "clock",
    ]  # fmt: skip


def test_usage_of_a_stream_has_its_details(client):
    chunks = list(
        client.chat.completions.create(
            stream=True, stream_options={"include_usage": True}, **asked("thinks")
        )
    )
    usage = chunks[-1].usage
    assert usage.prompt_tokens_details.cached_tokens == 5
    assert 0 < usage.completion_tokens_details.reasoning_tokens <= usage.completion_tokens
    whole = client.chat.completions.create(**asked("plain")).usage
    assert (whole.total_tokens, whole.completion_tokens_details.reasoning_tokens) == (10, 0)


def test_answers_are_parsed_into_models_of_pydantic(client, scripted):
    answer = client.chat.completions.parse(response_format=City, **asked("json"))
    assert answer.choices[0].message.parsed == City(city="Wye")
    sent = scripted.asked[-1]["response_format"]["json_schema"]
    assert sent["schema"]["required"] == ["city"]
    with client.chat.completions.stream(response_format=City, **asked("json")) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == City(city="Wye")


def test_an_answer_cut_short_is_not_parsed(client):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(response_format=City, **asked("empty-cut"))


def test_arguments_of_calls_are_parsed(client):
    answer = client.chat.completions.parse(**asked("calls", tools=[WEATHER]))
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.parsed_arguments["city"]


def test_a_call_goes_there_and_back(client, scripted):
    first = client.chat.completions.create(**asked("calls", tools=[WEATHER]))
    message = first.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    said = [
        {"role": "user", "content": "What then?"}, message.model_dump(exclude_none=True), result,
        {"role": "user", "content": "And? script:plain"},
    ]  # fmt: skip
    client.chat.completions.create(model=MODEL, messages=said, tools=[WEATHER])
    roles = [each["role"] for each in scripted.asked[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]


@pytest.mark.parametrize("script", ["plain", "calls", "thinks", "json", "empty-cut"])
def test_every_field_of_an_answer_and_of_its_chunks_is_as_documented(client, script):
    options = {"tools": [WEATHER]} if script == "calls" else {"logprobs": script == "plain"}
    ask = asked(script, n=2, **options)
    whole = client.chat.completions.with_raw_response.create(**ask).http_response.json()
    ChatCompletion.model_validate(whole)
    with client.chat.completions.with_streaming_response.create(stream=True, **ask) as reply:
        lines = [line for line in reply.iter_lines() if line.startswith("data: {")]
    for line in lines:
        ChatCompletionChunk.model_validate_json(line[6:])


def test_the_other_endpoints_answer_as_documented(client):
    name = "embedding:docs@1"
    text = client.completions.with_raw_response.create(model=MODEL, prompt="One", logprobs=1)
    Completion.model_validate(text.http_response.json())
    floats = client.embeddings.with_raw_response.create(
        model=name, input="Wye", encoding_format="float"
    )
    CreateEmbeddingResponse.model_validate(floats.http_response.json())
    found = client.moderations.with_raw_response.create(input=["Wye"]).http_response.json()
    ModerationCreateResponse.model_validate(found)
    for model in client.models.with_raw_response.list().http_response.json()["data"]:
        Model.model_validate(model)


@pytest.mark.parametrize(
    ("said", "roles"),
    [
        ([{"role": "system", "content": "Greet. script:plain"}], ["system"]),
        ([{"role": "developer", "content": "Greet. script:plain"}], ["system"]),
        ([{"role": "user", "content": "Greet."},
          {"role": "assistant", "content": "Good script:plain"}], ["user", "assistant"]),
        ([{"role": "user", "content": "Greet."},
          {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
          {"role": "user", "content": "Do. script:plain"}], ["user", "assistant", "user"]),
    ],
)  # fmt: skip
def test_conversations_need_not_end_with_a_question(client, scripted, said, roles):
    answer = client.chat.completions.create(model=MODEL, messages=said)
    assert answer.choices[0].message.content.startswith("It is so")
    shown = scripted.asked[-1]["messages"]
    if len(said) < 3:  # nothing is looked up where nothing is asked
        assert [message["role"] for message in shown] == roles
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(
                model=MODEL, messages=said, extra_body={"retrieve": True}
            )
        assert refused.value.param == "retrieve"
    else:
        assert "No." in [message["content"] for message in shown]


def test_a_choice_among_some_of_the_tools(client, scripted):
    clock = {"type": "function", "function": {"name": "clock", "parameters": {}}}
    named = {"type": "function", "function": {"name": "weather"}}
    allowed = {"mode": "required", "tools": [named]}
    client.chat.completions.create(
        tools=[WEATHER, clock], **asked("calls"),
        tool_choice={"type": "allowed_tools", "allowed_tools": allowed},
    )  # fmt: skip
    sent = scripted.asked[-1]
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["weather"]
    assert sent["tool_choice"] == "required"
    client.responses.create(
        model=MODEL, input="What? script:calls", tools=[{"type": "function", **clock["function"]}],
        tool_choice={"type": "allowed_tools", "mode": "auto",
                     "tools": [{"type": "function", "name": "clock"}]},
    )  # fmt: skip
    assert scripted.asked[-1]["tool_choice"] == "auto"
    for wrong in (None, 5, {"mode": "required", "tools": 5}, {"mode": "none", "tools": []},
                  {"mode": "auto", "tools": [{"function": {"name": "other"}}]}):  # fmt: skip
        choice = {"type": "allowed_tools", "allowed_tools": wrong}
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(tools=[clock], tool_choice=choice, **asked("plain"))
        assert refused.value.param == "tool_choice"


def test_what_was_asked_for_is_repeated(client):
    answer = client.chat.completions.create(
        service_tier="flex", store=True, metadata={"team": "docs"}, **asked("plain")
    )
    assert answer.service_tier == "flex"
    assert answer.metadata == {"team": "docs"}
    assert client.chat.completions.create(**asked("plain")).service_tier is None
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(metadata={"k" * 65: "v"}, **asked("plain"))
    assert refused.value.param.startswith("metadata")


# --- completions, embeddings, ranking ----------------------------------------------------------


def test_several_prompts_have_their_answers_in_order(client, scripted):
    before = len(scripted.asked)
    answer = client.completions.create(model=MODEL, prompt=["One", "Two"], n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    asked = sorted(body["prompt"] for body in scripted.asked[before:])
    assert asked == ["One", "One", "Two", "Two"]
    assert answer.usage.prompt_tokens == 14  # of each prompt once
    assert answer.usage.completion_tokens == 12
    parts = client.completions.create(model=MODEL, prompt=["One", "Two"], stream=True)
    texts = {0: "", 1: ""}
    for part in parts:
        for choice in part.choices:
            texts[choice.index] += choice.text
    assert texts == {0: "So", 1: "So"}


@pytest.mark.parametrize("columns", [True, False])
def test_log_probabilities_of_completions_come_in_columns(client, columns):
    prompt = "columns" if columns else "One"
    (choice,) = client.completions.create(model=MODEL, prompt=prompt, logprobs=2).choices
    assert choice.logprobs.tokens == ["S", "o"]
    assert choice.logprobs.token_logprobs == [-0.5, -0.25]
    assert choice.logprobs.text_offset == [0, 1]
    assert choice.logprobs.top_logprobs[0] == {"S": -0.5, "T": -1.5}


def test_a_prompt_that_is_to_be_scored_is_refused_with_what_to_do_instead(client):
    with pytest.raises(openai.BadRequestError) as refused:  # as lm_eval asks
        client.completions.create(model=MODEL, prompt="One", max_tokens=1, logprobs=1, echo=True)
    assert refused.value.param == "echo"
    assert "generate_until" in refused.value.body["message"]


def test_an_engine_without_plain_completions_is_not_broken(client):
    for _ in range(12):  # more than a breaker bears
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(model=MODEL, prompt="nowhere")
        assert refused.value.code == "unsupported"
    assert client.chat.completions.create(**asked("plain")).choices[0].message.content


def test_embeddings_can_be_shortened(client):
    name = "embedding:docs@1"
    texts = ["The river Wye", "Cheddar cheese"]
    whole, short = (
        np.array([item.embedding for item in client.embeddings.create(
            model=name, input=texts, **options).data])
        for options in ({}, {"dimensions": 8})
    )  # fmt: skip
    assert short.shape == (2, 8)
    wanted = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    assert np.allclose(short, wanted, atol=1e-6)
    for wrong in ({"input": texts, "dimensions": 33}, {"input": [[1, 2, 3]]}):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model=name, **wrong)


def test_documents_are_ranked_by_how_well_they_fit(client):
    documents = ["A queen bee lays eggs.", {"text": "Cheddar cheese ripens in caves."}, "A clock."]
    body = {"model": "docs", "query": "Where does cheese ripen?", "documents": documents}
    ranking = client.post("/rerank", body={**body, "top_n": 2}, cast_to=object)
    assert ranking["results"][0]["index"] == 1
    assert ranking["results"][0]["document"] == {"text": documents[1]["text"]}
    scores = [result["relevance_score"] for result in ranking["results"]]
    assert len(scores) == 2
    assert 1 >= scores[0] > scores[1] >= 0


# --- responses ---------------------------------------------------------------------------------


def test_the_streaming_helper_of_responses_gathers_the_whole(client):
    with client.responses.stream(model=MODEL, input="What? script:plain") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert final.output_text == "It is so. No."  # which cites what was never shown
    assert final.usage.input_tokens_details.cached_tokens == 5


def test_responses_are_parsed_into_models_of_pydantic(client):
    answer = client.responses.parse(model=MODEL, input="What? script:json", text_format=City)
    assert answer.output_parsed == City(city="Wye")


# --- headers, errors, retries ------------------------------------------------------------------


def test_raw_responses_have_our_headers(client):
    raw = client.chat.completions.with_raw_response.create(**asked("plain"))
    assert raw.headers["x-request-id"] == raw.parse()._request_id
    assert raw.headers["x-undercroft-answer-id"] == raw.parse().id
    assert raw.headers["x-undercroft-model"] == "model:able@1"
    with client.chat.completions.with_streaming_response.create(
        stream=True, **asked("plain")
    ) as reply:
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.headers["x-request-id"].startswith("req-")
        assert list(reply.iter_lines())[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (openai.BadRequestError, {"temperature": 3}),
        (openai.AuthenticationError, {"extra_headers": {"authorization": "Bearer uc-no"}}),
        (openai.NotFoundError, {"model": "model:none"}),
        (openai.InternalServerError, {"messages": asked("nonsense")["messages"]}),
        (openai.BadRequestError, {"extra_headers": {"x-undercroft-version": "1999-01-01"}}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False])
def test_errors_are_of_the_clients_own_kinds(client, kind, options, stream):
    with pytest.raises(kind) as error:
        client.chat.completions.create(stream=stream, **{**asked("plain"), **options})
    assert error.value.request_id.startswith("req-")
    assert error.value.body["message"]
    assert {"code", "param", "type"} <= set(error.value.body)
    codes = {401: "invalid_api_key", 404: "model_not_found"}
    assert error.value.code == codes.get(error.value.status_code, error.value.code)


def test_an_engine_that_is_busy_is_asked_again_after_the_time_it_says(remote, scripted):
    before = len(scripted.asked)
    with remote.client(max_retries=1) as client, pytest.raises(openai.InternalServerError) as error:
        client.chat.completions.create(**asked("busy"))
    assert error.value.status_code == 503
    assert 2_000 <= int(error.value.response.headers["retry-after-ms"]) <= 3_000
    assert error.value.response.request.headers["x-stainless-retry-count"] == "1"
    assert len(scripted.asked) - before == 2


def test_a_broken_stream_raises_and_is_never_whole(client):
    for script in ("hangs-up", "just-ends", "in-band"):
        with pytest.raises(openai.APIError) as broken:
            list(client.chat.completions.create(stream=True, **asked(script)))
        assert broken.value.code == "engine_failed"
