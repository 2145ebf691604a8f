"""What an answer passes before it is shown, on every channel and however it is cut."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.serve.guards.escapes import JsonEscapes
from undercroft.serve.guards.screens import OutputScreen
from undercroft.serve.prompting.tools import CallReader
from undercroft.serve.wire.pieces import Alternative, Piece, Token, TokenLog, ToolPiece

MAIL = "alice@riverbank.co"
VALUES = st.recursive(
    st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({min(place, len(text)) for place in places})
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


@settings(max_examples=50)
@given(VALUES, st.lists(st.integers(0, 80)))
def test_json_without_needless_escapes_says_the_same_however_it_is_cut(value, places):
    written = json.dumps(value)
    undone = JsonEscapes()
    shown = "".join(map(undone.feed, cut(written, places))) + undone.flush()
    assert json.loads(shown) == json.loads(written)
    assert JsonEscapes().flush(written) == shown


def test_no_letter_hides_in_an_escape():
    hidden = "".join(f"\\u{ord(letter):04x}" for letter in MAIL)
    for is_json, channel in ((True, "text"), (False, "arguments")):
        screen = OutputScreen(("pii",), is_json=is_json)
        said = f'{{"to": "{hidden}"}}'
        piece = Piece(said) if channel == "text" else Piece(tools=[ToolPiece(0, "c", "f", said)])
        shown = [screen.shown(piece), screen.shown(Piece(finish_reason="stop"))]
        text = "".join(
            each.text + "".join(part.arguments for part in each.tools or ()) for each in shown
        )
        assert json.loads(text) == {"to": "[EMAIL]"}


def test_channels_that_take_turns_do_not_get_a_secret_out_in_halves():
    screen = OutputScreen(("pii",))
    shown = [
        screen.shown(piece)
        for piece in (
            Piece(reasoning="mail ali"), Piece("So "), Piece(reasoning="ce@riverbank.co"),
            Piece("it is."), Piece(finish_reason="stop"),
        )
    ]  # fmt: skip
    assert "".join(each.reasoning for each in shown) == "mail [EMAIL]"
    assert "".join(each.text for each in shown) == "So it is."


def test_tokens_wait_for_their_text_and_end_where_it_was_changed():
    log = TokenLog()
    tokens = [Token(text, -1.0, None, [Alternative("x", -2.0)]) for text in ("So ", "é", " no")]
    halves = [Token("?", -1.0, [0xC3]), Token("?", -1.0, [0xA9])]
    assert log.feed(tokens[:1], "S") is None
    assert log.feed(halves, "o é") == [tokens[0], *halves]
    assert log.feed(tokens[2:], " [EMAIL]") is None
    assert log.changed
    assert log.feed(tokens[:1], "So ") is None


@given(st.lists(st.integers(0, 90)))
def test_a_call_in_words_is_read_however_it_is_cut(places):
    said = ' {"name": "f", "arguments": {"a": "}{\\"", "b": {"c": [1]}}}  and so on'
    reader, whole = CallReader(["f"]), Piece()
    for text in cut(said, places):
        piece = Piece(text)
        reader.read(piece)
        whole.take(piece)
    end = Piece(finish_reason="stop")
    reader.read(end)
    whole.take(end)
    (call,) = whole.tools
    assert (call.name, whole.text, whole.finish_reason) == ("f", "", "tool_calls")
    assert json.loads(call.arguments) == {"a": '}{"', "b": {"c": [1]}}
