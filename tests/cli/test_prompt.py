"""``undercroft prompt``, as one types it."""

import json
import tomllib

import pytest
from click.testing import CliRunner

from undercroft.cli.main import group
from undercroft.errors import BadInput, NotFound
from undercroft.project import Project
from undercroft.retrieve.prompt import Template


@pytest.fixture
def project(tmp_path):
    (tmp_path / "undercroft.toml").write_text('[project]\nname = "docs"\ntitle = "the docs"\n')
    return Project.open(tmp_path)


@pytest.fixture
def command(project):
    def run(*words, input=None):
        found = CliRunner().invoke(group, ["-C", str(project.root), "prompt", *words], input=input)
        if found.exception is not None:
            raise found.exception
        return json.loads(found.output) if "--json" in words else found.output

    return run


def test_what_is_shown_can_be_set_again_and_makes_no_other_version(project, command):
    shown = command("show")
    assert tomllib.loads(shown) == Template("the docs").texts
    assert "prompt:docs@1" in command("set", "-", input=shown)
    assert "prompt:docs@1" in command("set", "-", input=shown)
    assert project.prompt == Template("the docs")
    assert project.prompt.fingerprint == "the docs"


def test_a_changed_text_is_a_version_of_its_own_and_can_be_taken_back(project, command):
    command("set", "--refusal", "No idea.")
    odd = 'Say "so",\n\ttwice: \\n {refusal}\x07'
    command("set", "--system", odd)
    assert tomllib.loads(command("show"))["system"] == odd
    assert (project.prompt.system, project.prompt.refusal) == (odd, "No idea.")
    assert project.prompt.fingerprint != "the docs"
    assert list(command("diff", "1", "2", "--json")) == ["system"]
    assert "+system" in command("diff", "1", "2")
    command("set", "--version", "1")
    assert project.prompt.refusal == "No idea."
    assert project.prompt.system == Template("").system
    listed = command("ls", "--json")
    assert [(row["ref"], row["is"]) for row in listed] == [
        ("prompt:docs@2", []),
        ("prompt:docs@1", ["wanted"]),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('passage = "[{number}]"', "lacks {text}"),
        ('system = "About {name}."', "has {name}"),
        ('refusal = " "', "is empty"),
        ('sytem = "x"', "no text 'sytem'"),
        ("refusal = 1", "not a text"),
        ("refusal =", "not TOML"),
    ],
)
def test_texts_that_make_no_prompt_are_refused_and_nothing_changes(project, command, text, message):
    with pytest.raises(BadInput, match=message):
        command("set", "-", input=text)
    assert project.prompt == Template("the docs")


def test_nothing_to_set_and_no_such_version_say_what_to_do(command):
    with pytest.raises(BadInput, match="undercroft prompt show"):
        command("set")
    with pytest.raises(NotFound):
        command("show", "7")
