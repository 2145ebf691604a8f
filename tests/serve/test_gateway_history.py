"""Long conversations with a real model of a small context."""

import pytest


def conversation(text):
    turns = [{"role": "system", "content": "Be brief."}]
    for number in range(40):
        turns += [
            {"role": "user", "content": f"Number {number}: {text * 6}"},
            {"role": "assistant", "content": "Yes."},
        ]
    return [*turns, {"role": "user", "content": "And now?"}]


@pytest.mark.parametrize(
    "text", ["The river runs to the sea. ", "日本語の川 ", "x[1]={'a': -9};\n"]
)
@pytest.mark.parametrize("retrieve", [False, True])
def test_no_conversation_that_can_be_cut_is_too_long_for_the_engine(client, text, retrieve):
    raw = client.chat.completions.with_raw_response.create(
        model="docs", messages=conversation(text), max_tokens=4, extra_body={"retrieve": retrieve}
    )
    assert raw.headers["x-undercroft-degraded"] == "history-cut"
    usage = raw.parse().usage
    assert 800 < usage.prompt_tokens <= 2048 - 4


def test_a_short_conversation_is_not_touched(client):
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "And now?"},
    ]
    raw = client.chat.completions.with_raw_response.create(
        model="docs", messages=turns, max_tokens=4, extra_body={"retrieve": False}
    )
    assert "x-undercroft-degraded" not in raw.headers
