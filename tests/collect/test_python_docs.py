"""The documentation inside CPython."""

from __future__ import annotations

import ast

import pytest

from undercroft.collect import Collected, Gathering
from undercroft.collect.python_docs import PythonDocs, _as_markdown, _module_text
from undercroft.settings import CollectSettings


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Collected]:
    folder = tmp_path_factory.mktemp("work")
    documents = PythonDocs().collect(Gathering(folder, CollectSettings(), folder))
    return {each.uri: each for each in documents if isinstance(each, Collected)}


def test_topics_and_modules_become_titled_documents(found: dict[str, Collected]) -> None:
    assert len(found) > 400
    assert sum(len(each.payload) for each in found.values()) > 1_500_000
    topic, module = found["python://topics/with"], found["python://library/json"]
    assert topic.title == 'The "with" statement'
    assert topic.payload.startswith(b'# The "with" statement\n')
    assert (module.title, module.group) == ("The json module", "json/__init__.py")
    assert b"\n## json.dumps(obj, *, skipkeys=False" in module.payload
    assert {each.licence for each in found.values()} == {"PSF-2.0"}
    assert "python://library/json.decoder" in found
    assert not any("._" in uri or "/_" in uri or "/test" in uri for uri in found)


def test_topics_that_share_text_are_one_group(found: dict[str, Collected]) -> None:
    group = {uri: each.group for uri, each in found.items()}
    assert group["python://topics/with"] == group["python://topics/compound"]
    assert group["python://topics/with"] != group["python://topics/lambda"]


def test_signatures_are_headings_as_one_would_call_them() -> None:
    source = '''
"""About m."""
class A(Base):
    """An A."""
    @property
    def size(self): "How large."
    def put(self, item: int, /, *, now: bool = False) -> None: "Put it."
    @classmethod
    def make(cls): "Make one."
    def _hidden(self): "No."
async def go(x, *rest): "Go."
def silent(): pass
'''
    text = _module_text("m", ast.parse(source))
    assert text is not None
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# m",
        "## class m.A(Base)",
        "### m.A.size",
        "### m.A.put(item, /, *, now=False)",
        "### m.A.make()",
        "## async m.go(x, *rest)",
    ]


def test_a_module_without_documentation_is_no_document() -> None:
    assert _module_text("m", ast.parse("x = 1")) is None


def test_underlined_headings_become_those_of_markdown() -> None:
    assert _as_markdown("Title\n*****\n\nPart\n====\n\ntext\n") == "# Title\n\n## Part\n\ntext\n"
