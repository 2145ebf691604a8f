"""What of a long conversation the model reads."""

from functools import partial

import aiohttp
import pytest

from tests.serve.serving import smollm
from undercroft.engines import start_engine
from undercroft.engines.client import chat
from undercroft.serve.prompting.history import cut, estimated, fitted, tokens_of
from undercroft.serve.prompting.tokens import count


def said(role, text, **more):
    return {"role": role, "content": text, **more}


def conversation(num_exchanges, words=60):
    messages = [said("system", "Be brief.")]
    for number in range(num_exchanges):
        messages += [
            said("user", f"Question {number} " + "word " * words),
            said("assistant", f"Answer {number}"),
        ]
    return [*messages, said("user", "And now?")]


def texts(messages):
    return [message["content"].split(" word")[0] for message in messages]


async def counting(messages):
    return estimated(messages)


async def test_a_conversation_that_fits_stays_as_it_is():
    messages = conversation(3)
    assert await fitted(messages, 2000, counting) == (messages, False)


async def test_the_system_text_the_first_question_and_the_newest_turns_stay():
    kept, is_cut = await fitted(conversation(30), 800, counting)
    assert is_cut
    assert texts(kept[:3]) == ["Be brief.", "Question 0", "Answer 0"]
    assert texts(kept[-3:]) == ["Question 29", "Answer 29", "And now?"]
    assert estimated(kept) <= 800
    roles = [message["role"] for message in kept[1:]]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


async def test_a_first_question_that_is_too_long_goes():
    messages = conversation(10)
    messages[1] = said("user", "long " * 600)
    kept, _ = await fitted(messages, 800, counting)
    assert texts(kept)[1] != messages[1]["content"]
    assert texts(kept)[-2] == "Answer 9"


async def test_the_engines_own_count_overrules_an_estimate_that_was_too_low():
    async def thrice(messages):
        return 3 * estimated(messages)

    kept, is_cut = await fitted(conversation(30), 1200, thrice)
    assert is_cut
    assert 3 * estimated(kept) <= 1200


async def test_without_a_count_the_estimate_holds():
    async def unknown(messages):
        return None

    kept, _ = await fitted(conversation(30), 800, unknown)
    assert estimated(kept) <= 800


def test_no_call_of_a_tool_loses_its_result():
    call = said("assistant", "", tool_calls=[{"id": "a", "function": {"name": "f"}}])
    turn = [said("user", "Look " + "x" * 600), call, said("tool", "found", tool_call_id="a")]
    messages = [said("user", "First"), said("assistant", "Yes"), *turn, said("user", "So?")]
    for room in range(0, 400, 10):
        kept = cut(messages, room)
        assert (call in kept) == (turn[2] in kept) == (turn[0] in kept)
        assert kept[-1]["content"] == "So?"


def test_other_scripts_are_more_tokens_than_their_letters():
    assert tokens_of("日本語" * 40) >= 120
    assert tokens_of("word " * 60) >= 75


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    log = tmp_path_factory.mktemp("engine") / "log"
    with start_engine("llamacpp", smollm(), context=512, slots=1, threads=1, log=log) as engine:
        engine.wait_ready(180)
        yield engine


@pytest.mark.parametrize(
    "text", ["The river runs to the sea. ", "日本語の川 ", "x[1]={'a': -9};\n"]
)
async def test_no_conversation_that_can_be_cut_is_too_long_for_the_engine(engine, text):
    messages = [said("system", "Be brief.")]
    for number in range(30):
        messages += [said("user", f"{number}: {text * 5}"), said("assistant", "Yes.")]
    messages.append(said("user", "And now?"))
    async with aiohttp.ClientSession() as session:
        kept, is_cut = await fitted(messages, 500, partial(count, session, engine.base_url))
    assert is_cut
    (reply,) = await chat(engine.base_url, [kept], {"max_tokens": 2})
    assert 250 < reply.prompt_tokens <= 500
