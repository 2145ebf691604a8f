"""Versions of the prompt: artifacts ``prompt:NAME`` that hold nothing but its texts.

The one with the alias ``wanted`` is what the next model is trained and judged with; the route that
the gate then makes names it, and the gateway goes by its route. So a changed prompt is served once
it has passed the gate, and rolled back with its route.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from undercroft.errors import NotFound
from undercroft.project import WANTED, Project
from undercroft.records import Artifact, Ref
from undercroft.retrieve.prompt import Template
from undercroft.settings import Section
from undercroft.stage import Made, StageRun, stage


class Texts(Section):
    """The texts of a `Template`, all of them."""

    texts: dict[str, str]


@stage("prompt", version=1, params=Texts)
def keep(run: StageRun, params: Texts) -> Made:
    """An artifact of the texts; the same ones are the same artifact."""
    file = run.workdir / "prompt.json"
    file.write_text(json.dumps(params.texts, indent=2, ensure_ascii=False), encoding="utf-8")
    return Made("prompt", run.project.name, path=file, meta={"texts": params.texts})


def change(project: Project, texts: Mapping[str, str], actor: str = "local") -> Artifact:
    """Want the prompt of ``texts`` from now on; what is not among them stays as it is wanted now.

    Raises `BadInput` for texts that make no prompt.
    """
    whole = Template.of(project.title, {**project.prompt.texts, **texts}).texts
    (made,) = keep(project, Texts(texts=whole))
    project.ledger.set_alias(made.ref, WANTED, actor)
    return made


def wanted(project: Project) -> Artifact:
    """The artifact of the prompt that is wanted; the default's is made when first asked for."""
    try:
        return project.ledger.artifact(Ref("prompt", project.name, alias=WANTED))
    except NotFound:
        return change(project, {})
