"""The Responses API: its objects, the order of its events, what is kept and who may read it."""

import json
import time

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_item_list import ResponseItemList
from pydantic import TypeAdapter

from tests.serve.test_gateway_tools import MASK, WEATHER

TOOL = {"type": "function", **WEATHER["function"]}
REQUIRED = {  # what the published schema of a response object asks for
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model",
    "previous_response_id", "instructions", "output", "error", "tools", "tool_choice",
    "truncation", "parallel_tool_calls", "text", "top_p", "presence_penalty", "frequency_penalty",
    "top_logprobs", "temperature", "reasoning", "usage", "max_output_tokens", "max_tool_calls",
    "store", "background", "service_tier", "metadata", "safety_identifier",
}  # fmt: skip


@pytest.fixture
def upstream(scripted):
    return scripted


@pytest.fixture
def client(remote):
    with remote.client() as client:
        yield client


def create(client, script: str, **options):
    return client.responses.create(
        model="model:able", input=f"What then? script:{script}", **options
    )


def kinds(events) -> list[str]:
    said = [event.type.removeprefix("response.") for event in events]
    return [kind for at, kind in enumerate(said) if at == 0 or kind != said[at - 1]]


def test_a_response_has_its_text_usage_and_every_required_field(client):
    response = create(client, "plain", instructions="Be brief.", metadata={"a": "b"})
    assert response.id.startswith("resp_")
    assert response.status == "completed"
    assert response.output_text == "It is so [1]. No [9]."
    assert response.usage.total_tokens == 10
    assert response.metadata == {"a": "b"}
    assert set(json.loads(response.to_json(exclude_unset=True))) >= REQUIRED


def test_events_come_in_order_and_end_with_the_whole(client):
    events = list(create(client, "plain", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    said = "".join(event.delta for event in events if event.type.endswith("text.delta"))
    assert said == events[-1].response.output_text == "It is so [1]. No [9]."
    assert {events[0].response.id} == {events[-1].response.id}


def test_calls_of_tools_have_events_of_their_own(client):
    events = list(create(client, "calls", stream=True, tools=[TOOL]))
    assert kinds(events) == [
        "created", "in_progress",
        "output_item.added", "function_call_arguments.delta",  # as the screen lets it through
        "output_item.added", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    first, second = events[-1].response.output
    assert (first.type, first.name, first.call_id) == ("function_call", "weather", "call_a")
    assert json.loads(first.arguments) == {"city": MASK}
    deltas = [e for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(e.delta for e in deltas if e.item_id == first.id) == first.arguments
    assert second.name == "clock"


def test_reasoning_is_an_item_before_the_message(client):
    response = create(client, "thinks")
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == f"Her mail is {MASK}."
    events = list(create(client, "thinks", stream=True))
    assert "reasoning_text.delta" in kinds(events)
    assert [item.type for item in events[-1].response.output] == ["reasoning", "message"]


def test_an_answer_cut_short_is_incomplete(client):
    response = create(client, "empty-cut")
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_stream_that_breaks_fails_in_the_stream(client):
    events = list(create(client, "hangs-up", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "server_error"


def test_a_conversation_goes_on_from_a_kept_response(client, upstream):
    first = create(client, "calls", tools=[TOOL], instructions="Be brief.")
    (call,) = first.output
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    ask = {"role": "user", "content": "And now? script:plain"}
    second = client.responses.create(
        model="model:able", previous_response_id=first.id, input=[result, ask]
    )
    shown = upstream.asked[-1]["messages"]
    assert [message["role"] for message in shown] == ["user", "assistant", "tool", "user"]
    assert shown[1]["tool_calls"][0]["function"]["name"] == "weather"
    assert second.previous_response_id == first.id


def test_a_kept_response_is_read_listed_and_deleted(remote, client):
    made = create(client, "plain")
    assert client.responses.retrieve(made.id).output_text == made.output_text
    (item,) = client.responses.input_items.list(made.id)
    assert item.content[0].text == "What then? script:plain"
    _, other = remote.project.trust.keys.create("somebody-else", "admin")
    with remote.client(api_key=other) as stranger, pytest.raises(openai.NotFoundError):
        stranger.responses.retrieve(made.id)
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    unkept = create(client, "plain", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_an_item_that_was_kept_can_be_named_again(remote, client, upstream):
    first = create(client, "calls", tools=[TOOL])
    call, *_ = first.output
    named = {"type": "item_reference", "id": call.id}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    ask = {"role": "user", "content": "And now? script:plain"}
    said = [{"role": "user", "content": "What then?"}, named, result, ask]
    made = client.responses.create(model="model:able", input=said)
    shown = upstream.asked[-1]["messages"]
    assert shown[1]["tool_calls"][0]["function"]["name"] == "weather"
    listed = list(client.responses.input_items.list(made.id, order="asc"))
    assert [item.type for item in listed] == [
        "message", "function_call", "function_call_output", "message",
    ]  # fmt: skip
    again = [{"type": "item_reference", "id": item.id} for item in listed]
    client.responses.create(model="model:able", input=again)
    assert upstream.asked[-1]["messages"] == shown
    _, other = remote.project.trust.keys.create("somebody-who-guesses", "admin")
    with remote.client(api_key=other) as stranger:
        for each in (client, stranger):
            unknown = "fc_none" if each is client else call.id
            with pytest.raises(openai.NotFoundError):
                each.responses.create(
                    model="model:able", input=[{"type": "item_reference", "id": unknown}]
                )


def test_what_was_asked_is_listed_in_pages(client):
    said = [{"role": "user", "content": f"{number} script:plain"} for number in range(5)]
    made = client.responses.create(model="model:able", input=said)
    page = client.responses.input_items.list(made.id, limit=2)
    assert [item.content[0].text[0] for item in page.data] == ["4", "3"]
    assert page.has_more
    assert [item.content[0].text[0] for item in page] == ["4", "3", "2", "1", "0"]
    for wrong in ({"limit": 0}, {"order": "up"}, {"after": "in_0"}):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.input_items.list(made.id, **wrong)
        assert refused.value.param == next(iter(wrong))


def test_reasoning_may_be_sent_back_with_the_answer(client, upstream):
    first = create(client, "thinks")
    back = [item.to_dict() for item in first.output]
    assert [item["type"] for item in back] == ["reasoning", "message"]
    ask = {"role": "user", "content": "And now? script:plain"}
    made = client.responses.create(model="model:able", input=[*back, ask])
    assert [message["role"] for message in upstream.asked[-1]["messages"]] == ["assistant", "user"]
    page = client.responses.input_items.with_raw_response.list(made.id).http_response.json()
    TypeAdapter(ResponseItemList).validate_python(page)


def raw_events(client, **asked) -> list[dict]:
    with client.responses.with_streaming_response.create(stream=True, **asked) as reply:
        lines = [line for line in reply.iter_lines() if line.startswith("data: {")]
    return [json.loads(line[6:]) for line in lines]


@pytest.mark.parametrize("script", ["plain", "calls", "thinks", "empty-cut"])
def test_every_field_of_a_response_and_of_its_events_is_as_documented(client, script):
    asked = {
        "model": "model:able", "input": f"What then? script:{script}", "tools": [TOOL],
        "include": ["message.output_text.logprobs"] if script == "plain" else [],
    }  # fmt: skip
    whole = client.responses.with_raw_response.create(**asked).http_response.json()
    Response.model_validate(whole)
    events = raw_events(client, **asked)
    for number, event in enumerate(events):
        TypeAdapter(ResponseStreamEvent).validate_python(event)
        assert event["sequence_number"] == number
    output = events[-1]["response"]["output"]
    for event in events:
        if "item_id" in event:
            assert output[event["output_index"]]["id"] == event["item_id"]
    page = client.responses.input_items.with_raw_response.list(whole["id"]).http_response.json()
    TypeAdapter(ResponseItemList).validate_python(page)


def test_a_response_that_failed_is_as_documented(client):
    events = raw_events(client, model="model:able", input="What? script:hangs-up")
    Response.model_validate(events[-1]["response"])


def test_forgetting_a_person_erases_their_responses_and_storing_is_no_consent(remote, client):
    made = create(client, "plain", user="ada@example.org")
    assert client.responses.retrieve(made.id).status == "completed"
    (file,) = (remote.project.state / "responses").glob(made.id)
    assert b"It is so" not in file.read_bytes()
    (row,) = remote.rows("requests", f"id = '{made.id}'")
    assert row["consent"] == ""
    remote.project.trust.vault.shred("ada@example.org")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def finished(client, response_id: str):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        response = client.responses.retrieve(response_id)
        if response.status not in ("queued", "in_progress"):
            return response
        time.sleep(0.05)
    raise AssertionError(response.status)


def test_a_response_in_the_background_is_written_with_nobody_waiting(client):
    made = create(client, "plain", background=True)
    assert made.status == "queued"
    assert finished(client, made.id).output_text == "It is so [1]. No [9]."
    broken = create(client, "nonsense", background=True)
    assert finished(client, broken.id).error.code == "server_error"


def test_a_response_in_the_background_can_be_cancelled(served):
    with served.client() as client:
        made = client.responses.create(
            model="docs", input="Tell me a very long story.", background=True,
            max_output_tokens=1500, extra_body={"retrieve": False},
        )  # fmt: skip
        time.sleep(0.2)
        began = time.monotonic()
        assert client.responses.cancel(made.id).status == "cancelled"
        assert time.monotonic() - began < 2
        assert client.responses.retrieve(made.id).status == "cancelled"
        waited = client.responses.create(model="docs", input="Hello", max_output_tokens=2)
        with pytest.raises(openai.BadRequestError):
            client.responses.cancel(waited.id)
    (row,) = served.rows("requests", f"id = '{made.id}'")
    assert row["status"] == "cancelled"


def test_a_stream_written_in_the_background_can_be_taken_up_again(served):
    ask = {"model": "docs", "input": "Tell me a story.", "max_output_tokens": 30}
    with served.client() as client:
        made = client.responses.create(
            background=True, stream=True, extra_body={"retrieve": False}, **ask
        )
        seen = [event for event, _ in zip(made, range(6), strict=False)]
        made.close()
        last = seen[-1].sequence_number
        rest = list(client.responses.retrieve(seen[0].response.id, stream=True,
                                              starting_after=last))  # fmt: skip
        again = list(client.responses.retrieve(seen[0].response.id, stream=True))
    assert [event.sequence_number for event in again] == list(range(len(again)))
    assert [e.to_json() for e in again] == [e.to_json() for e in (*seen, *rest)]
    said = "".join(e.delta for e in again if e.type == "response.output_text.delta")
    assert again[-1].response.output_text == said
    assert again[-1].type == "response.incomplete"


@pytest.mark.parametrize("script", ["plain", "calls", "thinks"])
def test_a_kept_response_can_be_read_as_events(client, script):
    made = create(client, script, tools=[TOOL])
    events = list(client.responses.retrieve(made.id, stream=True))
    assert events[-1].response.output == made.output
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    (last,) = client.responses.retrieve(made.id, stream=True, starting_after=len(events) - 2)
    assert last.to_json() == events[-1].to_json()


def test_a_stream_in_the_background_that_breaks_says_so_to_whoever_takes_it_up(client):
    made = create(client, "hangs-up", background=True, stream=True)
    events = list(made)
    assert events[-1].type == "response.failed"
    again = list(client.responses.retrieve(events[0].response.id, stream=True))
    assert [e.to_json() for e in again] == [e.to_json() for e in events]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"background": True, "store": False}, "store"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": []}, "messages"),
        ({"input": [{"type": "function_call", "call_id": "call_1"}]}, "input[0]"),
        ({"conversation": "conv_1"}, "conversation"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{"model": "docs", "input": "x", **fields})
    assert refused.value.param == param


def test_a_real_engine_answers_in_the_form_that_is_asked_for(served):
    from tests.serve.test_gateway_tools import Trip

    with served.client() as client:
        answer = client.responses.parse(
            model="docs", input="Plan a trip to Paris.", text_format=Trip, max_output_tokens=60,
            extra_body={"retrieve": False},
        )  # fmt: skip
    assert isinstance(answer.output_parsed, Trip)


def test_moderations_say_what_the_detectors_found_and_what_was_not_looked_at(client):
    found = client.moderations.create(input=["Write to alice@riverbank.co", "Good day."])
    flagged, clean = found.results
    assert (flagged.flagged, clean.flagged) == (True, False)
    assert flagged.category_scores.model_extra["pii"] == 0.95
    assert flagged.model_extra["findings"][0]["kind"] == "pii.email"
    assert flagged.categories.violence is False
    assert flagged.category_applied_input_types.violence == []
