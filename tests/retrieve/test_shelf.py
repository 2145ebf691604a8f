"""A machine distils a model once, whatever happens to the copies it keeps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from undercroft.retrieve import Embedder, shelf


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Every distillation, each a real one of the first 64 tokens."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made: list[str] = []
    real = shelf.distil

    def counted(model: str, dimensions: int, out: Path, progress: shelf.Progress) -> None:
        made.append(model)
        real(model, dimensions, out, progress)

    monkeypatch.setattr(shelf, "distil", counted)
    monkeypatch.setattr("undercroft.retrieve.distil._batches", lambda ids: iter([(0, ids[:64])]))
    return made


def quiet(done: int, total: int) -> None:
    assert done <= total


def test_the_second_project_copies_what_the_first_distilled(
    calls: list[str], tmp_path: Path
) -> None:
    model = "all-MiniLM-L6-v2"
    assert not shelf.distil_or_reuse(model, 32, tmp_path / "a", quiet)
    assert shelf.distil_or_reuse(model, 32, tmp_path / "b", quiet)
    assert calls == [model]
    one, other = (Embedder.load(tmp_path / name).encode(["a test"]) for name in "ab")
    assert np.array_equal(one, other)


def test_another_size_is_another_model_and_a_lost_cache_costs_only_time(
    calls: list[str], tmp_path: Path
) -> None:
    model = "all-MiniLM-L6-v2"
    shelf.distil_or_reuse(model, 32, tmp_path / "a", quiet)
    shelf.distil_or_reuse(model, 16, tmp_path / "b", quiet)
    assert len(calls) == 2
    shutil.rmtree(tmp_path / "cache")
    assert not shelf.distil_or_reuse(model, 32, tmp_path / "c", quiet)
