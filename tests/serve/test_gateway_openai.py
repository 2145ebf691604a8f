"""The official client works unchanged, streamed and not, sync and async."""

import json
import urllib.request

import openai
import pytest

SAY = [{"role": "user", "content": "Say hello to the world."}]


def ask(client, **options):
    return client.chat.completions.create(model="docs", messages=SAY, **options)


def streamed(client, **options):
    return list(ask(client, stream=True, **options))


def text_of(chunks) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_an_answer_has_an_id_usage_and_a_reason_to_end(client):
    answer = ask(client, max_tokens=8)
    assert answer.id.startswith("ans-")
    assert len(answer.id) == 24
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8


def test_a_stream_says_the_same_as_a_whole_answer(client):
    whole = ask(client, max_tokens=8).choices[0].message.content
    assert text_of(streamed(client, max_tokens=8)) == whole


def test_a_stream_keeps_its_identity_and_ends_once(client):
    chunks = streamed(client, max_tokens=6, temperature=1)
    assert len({(c.id, c.created, c.model) for c in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons[-1] == "length"
    assert all(reason is None for reason in reasons[:-1])
    assert all(c.usage is None for c in chunks)


def test_usage_comes_last_with_no_choices_when_asked_for(client):
    chunks = streamed(client, max_tokens=6, stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 6


def test_stop_and_seed_reach_the_engine(client):
    free = ask(client, max_tokens=12).choices[0].message.content
    word = free.split()[2]
    stopped = ask(client, max_tokens=12, stop=[word])
    assert word not in stopped.choices[0].message.content
    assert stopped.choices[0].finish_reason == "stop"
    drawn = [
        ask(client, max_tokens=6, temperature=1.5, seed=seed).choices[0].message.content
        for seed in (1, 2)
    ]
    assert drawn[0] != drawn[1]


def test_nothing_of_a_stop_text_is_shown_that_goes_over_two_tokens(client):
    free = ask(client, max_tokens=12).choices[0].message.content
    first, second = free.split()[2:4]
    stop = f"{first[-2:]} {second[:2]}"
    chunks = streamed(client, max_tokens=12, stop=[stop])
    assert text_of(chunks) == free[: free.index(stop)]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_plain_completions(client):
    whole = client.completions.create(model="docs", prompt="Once upon a", max_tokens=5)
    assert whole.choices[0].text
    parts = client.completions.create(model="docs", prompt="Once upon a", max_tokens=5, stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text


async def test_the_async_client(served):
    async with openai.AsyncOpenAI(base_url=served.url, api_key=served.key) as client:
        answer = await client.chat.completions.create(model="docs", messages=SAY, max_tokens=4)
        flow = await client.chat.completions.create(
            model="docs", messages=SAY, max_tokens=4, stream=True
        )
        chunks = [chunk async for chunk in flow]
    assert text_of(chunks) == answer.choices[0].message.content


def test_models_are_listed_and_found_by_route_and_by_ref(client):
    names = [model.id for model in client.models.list()]
    assert names == ["docs", "model:docs-q4_1@1", "embedding:docs@1"]
    assert client.models.retrieve("docs").id == "docs"
    exact = client.chat.completions.create(model=names[1], messages=SAY, max_tokens=2)
    assert exact.model == names[1]


def test_the_answer_is_recorded_sealed_with_everything_about_it(served, client):
    answer = ask(client, max_tokens=5, seed=11, user="ada@example.org", store=True)
    (row,) = served.rows("requests", f"id = '{answer.id}'")
    assert row["status"] == "ok"
    assert (row["route"], row["model"]) == ("route:docs@1", "model:docs-q4_1@1")
    assert row["completion_tokens"] == 5
    assert row["energy_wh"] > 0
    assert 0 < row["ttft_ms"] <= row["total_ms"]
    assert row["subject"] == "ada@example.org"
    assert row["consent"] == "store"
    assert b"hello" not in row["question_sealed"]
    assert served.opened(row, "question") == SAY[0]["content"].encode()
    assert served.opened(row, "answer").decode() == answer.choices[0].message.content


def test_an_identical_question_is_answered_from_the_cache(served, client):
    raw = client.chat.completions.with_raw_response
    options = {"model": "docs", "messages": SAY, "max_tokens": 7, "seed": 99}
    first, second = raw.create(**options), raw.create(**options)
    assert "x-undercroft-cache" not in first.headers
    assert second.headers["x-undercroft-cache"] == "hit"
    assert first.parse().choices[0].message.content == second.parse().choices[0].message.content
    chunks = list(client.chat.completions.create(stream=True, **options))
    assert text_of(chunks) == first.parse().choices[0].message.content
    (row,) = served.rows("requests", f"id = '{second.parse().id}'")
    assert row["cached"]


def test_feedback_is_kept_and_a_changed_mind_replaces_it(served, client):
    answer = ask(client, max_tokens=3)
    for rating, comment in ((1, ""), (-1, "wrong")):
        said = {"answer": answer.id, "rating": rating, "comment": comment}
        kept = client.post("/feedback", body=said, cast_to=object)
        assert kept["rating"] == rating
    (row,) = served.rows("feedback", f"answer = '{answer.id}' AND rating = -1")
    assert served.opened(row, "comment") == b"wrong"
    with pytest.raises(openai.NotFoundError):
        client.post("/feedback", body={"answer": "ans-none", "rating": 1}, cast_to=object)


def test_health_tries_the_engine_and_metrics_count(served, client):
    ask(client, max_tokens=2)
    with urllib.request.urlopen(served.root + "/health") as reply:
        report = json.load(reply)
    assert report["status"] == "ok"
    assert report["models"]["model:docs-q4_1@1"]["answers"] is True
    with urllib.request.urlopen(served.root + "/metrics") as reply:
        text = reply.read().decode()
    assert 'undercroft_requests_total{kind="chat",model="model:docs-q4_1@1",status="ok"}' in text
    assert "undercroft_first_token_seconds_bucket" in text


def test_every_reply_carries_its_request_id(client):
    raw = client.chat.completions.with_raw_response.create(model="docs", messages=SAY, max_tokens=1)
    assert raw.headers["x-request-id"].startswith("req-")
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="dogs", messages=SAY)
    assert error.value.request_id.startswith("req-")


def test_a_real_engine_reads_the_passages(client):
    answer = client.chat.completions.create(
        model="docs", messages=[{"role": "user", "content": "Where does the Wye rise?"}],
        max_tokens=16,
    )  # fmt: skip
    assert answer.usage.prompt_tokens > 100
    assert answer.model_extra["sources"][0]["title"] == "Rivers"
