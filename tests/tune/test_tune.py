"""What a model loses in fewer bits, and which candidate is taken."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.compress.conftest import build_tiny, real_tokenizer, wheel_folder  # noqa: F401
from tests.serve.serving import keep
from tests.train.conftest import examples  # noqa: F401
from undercroft.cli.main import group
from undercroft.project import Project
from undercroft.records import Example
from undercroft.settings import EngineSettings, ModelSettings
from undercroft.train.stage import base
from undercroft.tune import points
from undercroft.tune.fidelity import Fidelity, Said, compared, divergence
from undercroft.tune.points import Point
from undercroft.tune.speed import Speed
from undercroft.tune.work import Candidate


def logs(values: list[float]) -> dict[int, float]:
    return {token: math.log(value) for token, value in enumerate(values)}


def test_the_divergence_is_exact_where_all_is_named_and_never_above_it_where_not() -> None:
    draw = np.random.default_rng(0)
    ours, theirs = draw.dirichlet(np.ones(200)), draw.dirichlet(np.ones(200))
    exact = float((ours * np.log(ours / theirs)).sum())
    parent, child = logs(ours.tolist()), logs(theirs.tolist())
    assert divergence(parent, child) == pytest.approx(exact, rel=1e-4)
    some = dict(sorted(parent.items(), key=lambda each: -each[1])[:40])
    assert 0 < divergence(some, child) <= exact
    assert divergence(some, some) == pytest.approx(0, abs=1e-9)


def test_fidelity_tells_perplexity_divergence_and_agreement() -> None:
    parent = Said((math.log(0.5), math.log(0.5)), (logs([0.9, 0.1]), logs([0.9, 0.1])))
    child = Said((math.log(0.25), math.log(0.25)), (logs([0.9, 0.1]), logs([0.1, 0.9])))
    found = compared([parent], [child])
    assert found.perplexity == pytest.approx(4)
    assert found.agreement == 0.5
    assert found.divergence == pytest.approx((0 + 0.8 * math.log(9)) / 2, rel=1e-3)


def point(name: str, decode: float, perplexity: float) -> Point:
    candidate = Candidate(name, Path(name), EngineSettings())
    return Point(candidate, 1, Speed(1.0, decode), Fidelity(perplexity, 0.1, 1.0, 9))


def test_the_fastest_that_is_true_enough_is_taken() -> None:
    found = [point("f16", 40, 10.0), point("q8_0", 60, 10.05), point("q4_0", 90, 11.0)]
    chosen = points.best(found, 10.0, 0.01)
    assert chosen is found[1]
    assert points.best(found[2:], 10.0, 0.01) is None


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    real_tokenizer: Path,  # noqa: F811
    examples: list[Example],  # noqa: F811
) -> Project:
    root = tmp_path_factory.mktemp("tuned")
    (root / "undercroft.toml").write_text('[project]\nname = "docs"\n[model]\ncontext = 2048\n')
    opened = Project.open(root)
    shape = {"max_position_embeddings": 2048}
    tiny = build_tiny(root / "tiny", real_tokenizer, "LlamaForCausalLM", **shape)
    base(opened, ModelSettings(base=str(tiny)))
    folder = root / "suite"
    folder.mkdir()
    lines = [json.dumps(asdict(each), default=str) for each in examples[:3]]
    (folder / "cases.jsonl").write_text("\n".join(lines))
    uri, _, _ = opened.lake.blobs.put(folder, "suite", "docs")
    keep(opened, "suite", "docs", {}, uri)
    return opened


def test_tune_measures_every_candidate_and_draws_them(project: Project, tmp_path: Path) -> None:
    page = tmp_path / "chart.html"
    words = ["serve", "tune", "model:docs-base", "--formats", "q8_0,q4_0", "--tasks", "2"]
    words += ["--rounds", "1", "--loss", "10", "--html", str(page), "--json"]
    done = CliRunner().invoke(group, ["-C", str(project.root), *words])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert set(told["failed"]) == {"q8_0 kv_cache=q8_0", "q4_0 kv_cache=q8_0"}
    assert "does not divide n_embd_head_k=16" in told["failed"]["q8_0 kv_cache=q8_0"]
    found = {each["name"]: each for each in told["points"]}
    assert len(found) == 5
    assert found["f16"]["divergence"] == pytest.approx(0, abs=1e-5)
    assert found["f16"]["divergence"] < found["q8_0"]["divergence"] < found["q4_0"]["divergence"]
    assert found["q4_0"]["size_bytes"] < found["q8_0"]["size_bytes"] < found["f16"]["size_bytes"]
    assert found["q8_0 speculation=ngram"]["divergence"] == pytest.approx(
        found["q8_0"]["divergence"], rel=0.2
    )
    assert all(each["decode"] > 0 and each["prefill"] > 0 for each in found.values())
    assert sum(each["is_best"] for each in found.values()) == 1
    assert page.read_text().count("<circle") == 5


def test_a_smaller_copy_cannot_be_tuned(project: Project) -> None:
    keep(project, "model", "docs-q8_0", {"file": "gguf", "source": "model:docs@1"})
    done = CliRunner().invoke(group, ["-C", str(project.root), "serve", "tune", "docs-q8_0"])
    assert done.exit_code != 0
    assert "model:docs@1" in str(done.exception)
