"""What a version is made of, and groups that its rules treat unlike the others."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from click.testing import CliRunner

from undercroft.cli.main import group as undercroft
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.versions.composition import composition

Made = Callable[..., tuple[Project, Artifact]]
WORDS = [chr(97 + n) + "".join(chr(97 + n * k % 26) for k in (3, 5, 7)) for n in range(26)]


def text(number: int) -> str:
    """A text of its own, long enough to keep."""
    draw = random.Random(number)
    return f"This text, like the others, names {' and '.join(draw.sample(WORDS, 20))}."


def many() -> dict[str, str]:
    """Texts of two folders; most of those about women are too short for the rules."""
    texts = {f"long/{n}.txt": text(n) for n in range(60)}
    short = {f"short/{n}.txt": f"Women, {n * 7919}, said little." for n in range(40)}
    return (
        texts | short | {"long/de.txt": "Der Hund läuft durch den Wald und sucht seinen Ball. " * 3}
    )


def test_groups_are_counted_before_and_after_the_rules(made: Made) -> None:
    project, artifact = made(many())
    found = composition(project, artifact)
    assert (found.documents, found.kept, found.sampled) == (101, 61, 101)
    languages = {group.name: group for group in found.dimensions["language"]}
    assert languages["de"].documents == languages["de"].kept == 1
    for groups in found.dimensions.values():
        assert all(g.documents - g.kept == sum(g.removed.values()) for g in groups)
    for name in ("language", "source", "domain", "licence", "usage", "media type", "year"):
        assert sum(group.documents for group in found.dimensions[name]) == 101
    assert found.dimensions["year"][0].name.startswith("20")


def test_a_group_that_a_rule_removes_shows(made: Made) -> None:
    project, artifact = made(many())
    found = composition(project, artifact)
    assert [(name, group.name) for name, group in found.uneven] == [("mentions", "women")]
    women = found.uneven[0][1]
    assert (women.documents, women.kept, women.removed) == (40, 0, {"too_short": 40})


def test_chance_alone_is_not_uneven(made: Made) -> None:
    texts = {f"{n}.txt": text(n) for n in range(60)}
    few = {f"w{n}.txt": f"Women, {n * 7919}, said little." for n in range(5)}
    project, artifact = made(texts | few)
    assert composition(project, artifact).uneven == []


def test_the_command_shows_it(made: Made) -> None:
    project, _ = made(many())
    command = ["-C", str(project.root), "data", "report"]
    shown = CliRunner().invoke(undercroft, command).output
    assert "⚠ women" in shown
    assert "61 of 101 documents kept" in shown
    assert json.loads(CliRunner().invoke(undercroft, [*command, "--json"]).output)["kept"] == 61
