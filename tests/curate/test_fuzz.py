"""Whatever is read, it ends soon: in text, or in a refusal that says why."""

from __future__ import annotations

import base64
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts import fuzz, fuzz_seeds
from undercroft.collect.readers import READERS, read
from undercroft.curate.extract import normalise, text_of
from undercroft.nesting import MOST_DEPTH, flattened

ROOT = Path(__file__).resolve().parent.parent.parent
TAGS = ["p", "div", "li", "ul", "table", "td", "pre", "a", "b", "h1", "code", "br", "math", "svg",
        "template", "?xml", "!--", "![CDATA[", "iframe", "select", "noscript", "x-y"]  # fmt: skip
ENTITIES = ["&#0;", "&#xD800;", "&#x110000;", "&nbsp;", "&amp", "\0", "\u0301", "\ue000", "\u2028"]
markup = st.lists(
    st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS])
    | st.sampled_from(ENTITIES)
    | st.text(max_size=6),
    max_size=40,
).map("".join)
seeds = st.sampled_from(fuzz_seeds.files())


@settings(max_examples=150, deadline=10_000)
@given(markup.map(str.encode) | st.binary(max_size=300))
@example(b"<p>before<?nav><p>and after")
@example(b"<p>e\0\xcc\x81")
@example(b"e\0\xcc\x81")
@example(b"<pre>" * 2000 + b"x")
@example(b"<ul><li>" * 3000 + b"x")
def test_any_page_gives_text_in_its_normal_form(data: bytes) -> None:
    fuzz.html(data)


@settings(max_examples=100, deadline=10_000)
@given(st.sampled_from([*READERS, "", "image/png"]), st.binary(max_size=300), st.booleans())
def test_any_bytes_of_any_declared_type_are_documents_or_a_refusal(
    declared: str, data: bytes, is_pdf: bool
) -> None:
    suffix = declared.removeprefix("application/x-office-") if "office" in declared else "x"
    for each in read(f"a.{suffix}", b"%PDF-1.4\n" + data if is_pdf else data, declared=declared):
        each.payload.decode("utf-8")
        assert each.reason.partition(":")[0].isidentifier() or each.payload.strip()


@settings(max_examples=150, deadline=10_000)
@given(seeds, st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6), st.data())
def test_any_damage_to_a_file_is_told(
    seed: bytes, changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    damaged = bytearray(seed)
    for at, value in changes:
        damaged[1 + at % (len(seed) - 1)] = value
    fuzz.readers(bytes(damaged[: data.draw(st.integers(1, len(seed)))]))


#: Found by `scripts.fuzz`: members of a zip without a name, with one that is not UTF-8, with fields
#: that end too early.
FOUND = (
    "FlBLA3Dk4i9diSsvv0Qhqzg/jwsAUEsBAhQDFAAAAAgAVzh7XU/1m7cLAAAACQAAAAAAAAAAlf////////8BAAAAAGEub"
    "WRQSwECFAMUAAAACABXYV17OM0Twj8AAABFPDwvCgAAAAAAAAAAAAAAgAEtAAAAcm93cy5qc29ubFBLBQYAAAAAAgACAG"
    "oAAACUAAAAAAA=",
    "CVBLAwQUAAAACABXOXtdT/WbtwsvXYkrL79EIas4P48LAFBLAQIUAxQAAAAIAFc4e11P9Zu3CwAAAAkAAAAEAAAAAAAAA"
    "AAAAACAAQAAAABhLm1kUEsBAhQDFMnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnJyc"
    "nJAAAACABXOXtdE81hQj8AAADwKgnHx8fHx4rzc1MVwAEAYE5mcmpecSpI3C5qc29ubFBLBQYAAAAAAgACAGoAAACUAAA"
    "AAAA=",
    "CVBLAwQUAAAACABXOXtdT/WbtwsvXYkrL79EIas4P48LAFBLAQIUAxQAAAAIAFc2e11P9Zu3CwAAAAkAAAAEAAAAAAAAA"
    "AAAAACAAQAAAABhLm1kUEsBAv////////8JVzh7XRPNYUI/AAAARSpJrSgBMpWK83NTFcAcoGBOZnJqXnEiSNwuanNvbm"
    "xQSwUGAAAAAAIAAgBqAAAAlAAAAAAA",
)

#: A page with controls, for which another extractor has no word.
FOUND_PAGE = (
    "PICCcj5lzIEmIzATExMTExMTExITExMTExMrKyv/////////IisrKysrKysrKysrKysrKysrKysrK73vvIzkuJfnlYzj"
    "Q4I8YnI+RmVuYnNwOysrKysrKysrKysrPGRpdiB2YW5wPuS9oOWlve+8jII8YnI+ZHQ+PGgxPlRpdGxlPC8+PGEgaHJt"
    "ZTwvYT48L25hYXNzPWxhbgAAAAAAAAAoPnggPSAxPC9jb2RlPjwvcHJlPjx0YWJsZT48dHI+PHRoPmE8dGg+Yjx0cj48"
    "dGQ+MTx0ZD4yPC90YWJsZT48cD5BIHBhcmFncnBoIG9mZiBvdWU+PC9oZWFkPjxyMDA7Jm5ic3A7KysrKysrKytzcDsr"
    "K2gxKysrKysrKysrKyu977yM5LiX55WM40OCPGJyPkYtzCsrKysrKysrKysrKysrKysrK73vvEGM5LiX55WM40OCPOt2"
    "PjxwPuS9qOWlKysrKysrKysrKyvnlW/jQ4I8YnI+RmXMgSYjMTsmI3g6ODAwOyZuYnNwOw=="
)


def test_a_page_that_the_second_extractor_does_not_take_is_not_lost() -> None:
    data = base64.b64decode(FOUND_PAGE)
    fuzz.html(data)
    assert "Fenbsp;+++" in text_of(data, "text/html")


@pytest.mark.parametrize("found", FOUND, ids=["nameless", "not-utf8", "cut-fields"])
def test_what_once_broke_a_reader_is_refused(found: str) -> None:
    fuzz.readers(base64.b64decode(found))


@pytest.mark.parametrize("depth", [100, 100_000])
@pytest.mark.parametrize("tag", ["div", "ul><li", "b", "pre", "a href=x", "table><tr><td"])
def test_pages_nested_without_end_give_their_text(tag: str, depth: int) -> None:
    page = f"<{tag}>" * depth + "deep down, there is some text that is read and kept."
    assert "deep down, there is some text" in text_of(page.encode(), "text/html")


def test_unclosed_formatting_does_not_multiply() -> None:
    page = "".join(f"<b id={n}>" for n in range(5_000)) + "<p>x" * 5_000
    assert text_of(page.encode(), "text/html").count("x") == 5_000


@settings(max_examples=100, deadline=10_000)
@given(markup)
def test_flattening_keeps_all_text_and_pages_that_are_flat(page: str) -> None:
    assert flattened(page) == page
    many = "<br>" * 4_000 + page
    assert flattened(many) == many
    deep = flattened("<div>" * (MOST_DEPTH + 3_000) + "text" + "</div>" * (MOST_DEPTH + 3_000))
    assert (deep.count("<div>"), deep.count("</div>")) == (MOST_DEPTH, MOST_DEPTH)


def test_a_run_of_blanks_is_read_once() -> None:
    blanks = " " * 500_000
    assert normalise(f"a{blanks}b{blanks}\n") == f"a{blanks}b\n"


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_the_fuzzer_runs_every_target(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.fuzz", "--seconds", "2", "--folder", str(tmp_path)]
    running = {
        target: subprocess.Popen([*command, target], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for target in fuzz.TARGETS
    }
    for target, process in running.items():
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
        count = int(said.partition(": ")[2].partition(" ")[0].replace(",", ""))
        assert count >= len(fuzz.TARGETS[target][1]())
        assert not list((tmp_path / target / "crashes").iterdir())
