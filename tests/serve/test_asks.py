"""Request bodies: what is taken, what is refused, and how clearly."""

import base64
import io
import struct

import msgspec
import pytest
from PIL import Image

from undercroft.serve.caches.cache import key_of
from undercroft.serve.wire import media
from undercroft.serve.wire.asks import (
    parse_chat,
    parse_completion,
    parse_embedding,
    parse_feedback,
    parse_moderation,
)
from undercroft.serve.wire.failures import HttpError
from undercroft.settings import SamplingSettings

DEFAULTS = SamplingSettings()
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


def image(url: str) -> list:
    part = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]


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
    video = [{"type": "video", "text": "x"}]
    error = refused_chat(messages=[{"role": "user", "content": video}])
    assert error.param == "messages[0].content[0].type"


def test_images_go_on_as_they_came_and_bombs_do_not():
    asked = chat(messages=image(PIXEL))
    assert asked.media == {"image"}
    assert asked.question == "What is it?"
    assert asked.turns[0].message() == image(PIXEL)[0]
    assert not asked.retrieve
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 60_000, 60_000)
    bomb = "data:image/png;base64," + base64.b64encode(header).decode()
    unknown = "data:image/bmp;base64," + base64.b64encode(b"BM" + b"\0" * 60).decode()
    for url in (
        bomb, unknown, "data:image/png;base64,AA=A", "file:///etc/passwd", "data:text/html,x",
    ):  # fmt: skip
        assert refused_chat(messages=image(url)).param == "messages[0].content"


def test_the_pixels_of_an_image_are_told_from_its_first_bytes():
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", 30, 40)
    assert media.pixels(jpeg) == 1200
    assert media.pixels(b"GIF89a" + struct.pack("<HH", 3, 5)) == 15
    assert media.pixels(b"RIFF....WEBP") == 0
    hidden = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 4, b"CgBI", 1, 1)
    assert media.pixels(hidden + struct.pack(">I4sII", 13, b"IHDR", 60_000, 60_000)) == 0
    assert media.pixels(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 100_000) == 0


@pytest.mark.parametrize("how", ["PNG", "JPEG", "GIF", "WEBP", "lossless", "extended"])
def test_the_pixels_of_real_images_are_told(how):
    file = io.BytesIO()
    kind = how if how.isupper() else "WEBP"
    extended = {"exif": b"Exif\0\0II*\0"} if how == "extended" else {}
    picture = Image.new("RGB", (300, 17), "red")
    picture.save(file, kind, **({"lossless": True} if how == "lossless" else extended))
    assert media.pixels(file.getvalue()) == 300 * 17


def test_calls_of_tools_and_their_results_are_turns():
    asked = chat(
        messages=[
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ],
        tools=[TOOL],
        tool_choice="required",
    )
    assert asked.turns[1].message() == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert asked.turns[2].more == {"tool_call_id": "c1"}
    assert asked.sampling["tool_choice"] == "required"
    assert "sunny" in asked.text


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [str(n) for n in range(2000)]},
        {"type": "object", "properties": {f"p{n}": {} for n in range(100)}},
        {"type": "array", "items": {}, "maxItems": 100_000},
        {"type": "string", "pattern": "^(a?){1000}b$"},
        {"type": "string", "pattern": "^((a+)+)+$"},
        {"type": "string", "pattern": "a" * 300},
        {"type": "string", "pattern": "a?" * 40},
        {"$dynamicRef": "#x"},
        {"allOf": [{"enum": list(range(200))} for _ in range(20)]},
    ],
)
def test_a_schema_that_explodes_the_grammar_is_refused(schema):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert refused_chat(response_format=wanted).param == "response_format"


def test_deep_schemas_and_bodies_are_refused():
    deep = b'{"type":"array","items":' * 200 + b"{}" + b"}" * 200
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":'
    body += b'"json_schema","json_schema":{"schema":%s}}}' % deep
    assert refusal(lambda data: parse_chat(data, DEFAULTS), body).param == "response_format"
    body = b'{"model":"m","extra":' + b"[" * 100_000
    assert refusal(lambda data: parse_chat(data, DEFAULTS), body).code == "invalid_json"


def defined(**defs) -> dict:
    return {"$defs": defs, "$ref": "#/$defs/a0"}


def fanned(choice: str, width: int, depth: int) -> dict:
    """``width ** depth`` ways, in a few lines."""
    levels = {f"a{n}": {choice: [{"$ref": f"#/$defs/a{n + 1}"}] * width} for n in range(depth)}
    return defined(**levels, **{f"a{depth}": {"type": "string"}})


@pytest.mark.parametrize(("fields", "param"), [
    ({"messages": HELLO * 2049}, "messages"),
    ({"logit_bias": {str(number): 1 for number in range(1001)}}, "logit_bias"),
])  # fmt: skip
def test_what_would_take_an_engine_from_everybody_is_refused(fields, param):
    with pytest.raises(HttpError) as refused:
        chat(**{"messages": HELLO, **fields})
    assert refused.value.param == param


LIST = {"type": "array", "items": {"$ref": "#/$defs/a0"}}
TWICE = {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}


@pytest.mark.parametrize("schema", [
    fanned("anyOf", 8, 9), fanned("oneOf", 2, 25), fanned("allOf", 8, 9),
    {"anyOf": [{"const": number} for number in range(300)]},
    {"anyOf": [TWICE, TWICE, {"type": "null"}]},
    defined(a0={"anyOf": [{"$ref": "#/$defs/a1"}, {"$ref": "#/$defs/a2"}]}, a1=LIST, a2=LIST),
    defined(**{f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(900)}),
    {"const": "x" * 60_000}, {"type": "object", "properties": {"p" * 60_000: {}}},
    {"type": "array", "minItems": 5, "maxItems": 1}, {"minimum": 2, "maximum": 1},
    *({"type": "string", "pattern": each} for each in ("^a{5,1}$", "^(", "^\\", "^[", "^[b-a]$")),
])  # fmt: skip
def test_schemas_that_explode_through_references_or_cannot_be_are_refused(schema):
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with pytest.raises(HttpError) as refused:
        chat(messages=HELLO, response_format=wanted)
    assert (refused.value.http_status, refused.value.param) == (400, "response_format")


def test_trees_and_grammars_of_expressions_pass():
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    either = {"anyOf": [{"$ref": "#/$defs/a0"}, {"type": "number"}]}
    kinds = [
        {"type": "object", "properties": {"kind": {"const": kind}, "of": either},
         "required": ["kind", "of"]}
        for kind in ("minus", "not")
    ]  # fmt: skip
    for schema in (tree, defined(a0={"anyOf": kinds})):
        wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        chat(messages=HELLO, response_format=wanted)


def test_schemas_of_everyday_use_pass():
    schema = {
        "type": "object",
        "properties": {
            "date": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
            "zip": {"type": "string", "pattern": r"^(\d{5})(-\d{4})?$"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 10},
        },
        "required": ["date"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert chat(response_format=wanted).structured


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
        ({"n": 9}, "n"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "no"}}},
            "tool_choice",
        ),
        ({"tools": [TOOL], "retrieve": True}, "retrieve"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stop": ["a", ""]}, "stop"),
        ({"seed": 2**70}, "seed"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        (
            {"messages": [*HELLO, {"role": "tool", "tool_call_id": "x", "content": "y"}]},
            "messages[1].tool_call_id",
        ),
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


def test_a_plain_completion_takes_one_prompt_or_several():
    ask = parse_completion(b'{"model": "docs", "prompt": ["Once"]}', DEFAULTS)
    assert (ask.kind, ask.prompt, ask.retrieve) == ("completion", "Once", False)
    both = parse_completion(b'{"model": "docs", "prompt": ["Once", "Then"], "n": 2}', DEFAULTS)
    assert (both.prompts, both.n) == (("Once", "Then"), 4)
    assert key_of(ask) != key_of(both)
    for prompt in ([], "", ["a", ""], ["a"] * 9, [1, 2]):
        body = {"model": "docs", "prompt": prompt}
        error = refusal(lambda data: parse_completion(data, DEFAULTS), body)
        assert error.param.startswith("prompt")
    body = {"model": "docs", "prompt": ["a", "b", "c"], "n": 3}
    assert refusal(lambda data: parse_completion(data, DEFAULTS), body).param == "n"


def test_embeddings_take_texts_and_refuse_tokens():
    assert parse_embedding(b'{"model": "e", "input": "a"}')[1] == ["a"]
    assert parse_embedding(b'{"model": "e", "input": ["a", "b"]}')[1] == ["a", "b"]
    for wrong in ([1, 2], [[1, 2]], [], ["a", ""], ""):
        assert refusal(parse_embedding, {"model": "e", "input": wrong}).param == "input"


def test_moderations_take_texts_and_text_parts():
    assert parse_moderation(b'{"input": "a"}') == ["a"]
    assert parse_moderation(b'{"input": ["a", "b"]}') == ["a", "b"]
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parse_moderation(msgspec.json.encode({"input": parts})) == ["a\nb"]
    for wrong in ([], [{"type": "image_url"}], ["a", parts[0]]):
        assert refusal(parse_moderation, {"input": wrong}).param == "input"


def test_ratings_are_minus_one_to_one():
    assert parse_feedback(b'{"answer": "ans-1", "rating": -1}').rating == -1
    assert refusal(parse_feedback, {"answer": "ans-1", "rating": 5}).param == "rating"
