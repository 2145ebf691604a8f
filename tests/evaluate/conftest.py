"""A project with a tiny model, and the same model after it read one text again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.conftest import tiny  # noqa: F401
from undercroft.evaluate.causal import CausalModel, load
from undercroft.project import Project
from undercroft.settings import ModelSettings
from undercroft.train.models import folders
from undercroft.train.stage import base

Teach = Callable[..., str]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Project:  # noqa: F811
    root = tmp_path_factory.mktemp("evaluated")
    (root / "undercroft.toml").write_text('[project]\nname = "docs"\n')
    opened = Project.open(root)
    base(opened, ModelSettings(base=str(tiny)))
    return opened


@pytest.fixture(scope="session")
def untaught(project: Project) -> CausalModel:
    return load(project, "model:docs-base@1")


@pytest.fixture(scope="session")
def teach(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Teach:
    """Makes a model that read texts; gives its ref."""
    import torch

    def taught(texts: list[str], steps: int, start: str = "model:docs-base@1") -> str:
        model, tokenizer = folders.load(project.path(project.ledger.artifact(start)), "fp32")
        asked = CausalModel("", model, tokenizer, tokenizer.bos_token_id)
        rows = [torch.tensor([[asked.start, *asked.tokens(text)]]) for text in texts]
        adam = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for step in range(steps):
            row = rows[step % len(rows)]
            model(row, labels=row).loss.backward()
            adam.step()
            adam.zero_grad()
        folder = tmp_path_factory.mktemp("taught")
        folders.save(model, tokenizer, folder)
        (made,) = base(project, ModelSettings(base=str(folder)))
        return str(made.ref)

    return taught
