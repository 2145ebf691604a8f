"""What later models lost: numbers by hand, then two models that were really taught."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from tests.evaluate.conftest import Teach
from undercroft.cli.main import group
from undercroft.errors import BadInput, NotFound
from undercroft.evaluate import kept
from undercroft.evaluate.bootstrap import Difference
from undercroft.evaluate.causal import CausalModel, load
from undercroft.evaluate.domains import cut, domain, losses, matrix, measure
from undercroft.evaluate.forgetting import Loss, Matrix, in_order, judge
from undercroft.evaluate.journal import Answered
from undercroft.project import Project
from undercroft.settings import EvaluateSettings

CATS = "The cat sat on the mat, and the cat was warm. "
CODE = "for i in range(10): print(i, i ** 2)  # squares\n"


def three(learnt_by: tuple[int | None, ...] = (0, 1, 2)) -> Matrix:
    scores = np.array([[0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.5, 0.9, 0.6]])
    return Matrix(("a", "b", "c"), ("x", "y", "z"), scores, learnt_by)


def test_the_measures_are_those_of_their_papers() -> None:
    found = three()
    assert found.average == pytest.approx((0.5 + 0.9 + 0.6) / 3)
    assert found.backward_transfer == pytest.approx(((0.5 - 0.9) + (0.9 - 0.8)) / 2)
    assert found.forgotten.tolist() == pytest.approx([0.4, -0.1, -0.3])
    assert found.forgetting == pytest.approx((0.4 - 0.1) / 2)


def test_what_was_never_learnt_here_counts_as_known_before() -> None:
    found = three((None, None, None))
    assert found.backward_transfer is None
    assert found.forgetting == pytest.approx((0.4 - 0.1 - 0.3) / 3)
    assert in_order(3, 3) == (0, 1, 2)
    assert in_order(3, 2) == (1, 2)
    assert in_order(2, 3) == (None, None, None)


def test_one_model_alone_forgot_nothing() -> None:
    found = Matrix(("a",), ("x",), np.array([[0.5]]), (0,))
    assert (found.forgetting, found.backward_transfer) == (None, None)
    assert judge([], 0.05).passed


@pytest.mark.parametrize(
    ("rise", "low", "passed"), [(0.2, 0.5, False), (0.2, -0.5, True), (0.04, 0.1, True)]
)
def test_the_gate_refuses_a_rise_that_is_large_and_no_chance(
    rise: float, low: float, passed: bool
) -> None:
    difference = Difference(10.0, 10.0 * (1 + rise), low, 3.0, 20, low > 0)
    verdict = judge([Loss("law", "model:a@1", rise, difference)], 0.05)
    assert verdict.passed is passed
    assert "law (perplexity 10.00" in verdict.reason


def test_passages_are_cut_between_words_and_lose_none() -> None:
    text = " ".join(f"word{number}" for number in range(1000))
    found = list(cut(text))
    assert " ".join(found) == text
    assert max(map(len, found)) <= 1000
    assert [len(each) for each in cut("x" * 2500)] == [1000, 1000, 500]
    assert list(cut("short")) == []


def test_perplexity_is_that_of_the_plain_formula(untaught: CausalModel) -> None:
    import torch

    texts = ["A first text <|im_end|> of some length.", "A second."]
    for text, scored in zip(
        texts, untaught.score([untaught.tokens(t) for t in texts]), strict=True
    ):
        row = torch.tensor([[untaught.start, *untaught.tokens(text)]])
        assert len(untaught.tokens(text)) == len(text)  # bytes: the mark is text like the rest
        with torch.no_grad():
            loss = untaught.model(row, labels=row).loss.item()
        assert scored.nll / len(scored.nll_t) == pytest.approx(loss, rel=0.01)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "cats.txt").write_text("".join(f"{n}. {CATS}" * 12 for n in range(12)))
    lines = [json.dumps({"text": f"{n}\n{CODE}" * 12}) for n in range(12)]
    (folder / "code.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def line_of_models(teach: Teach) -> tuple[str, str, str]:
    cats = teach([CATS * 4], 60)
    return "model:docs-base@1", cats, teach([CODE * 4], 60, cats)


def run(project: Project, *words: str) -> tuple[int, Any]:
    done = CliRunner().invoke(group, ["-C", str(project.root), "forgetting", *words, "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_a_model_that_learnt_code_after_cats_is_found_to_have_forgotten_cats(
    project: Project, texts: Path, line_of_models: tuple[str, str, str], tmp_path: Path
) -> None:
    svg = tmp_path / "lost.svg"
    sources = ["--text", f"cats={texts / 'cats.txt'}", "--text", f"code={texts / 'code.jsonl'}"]
    code, found = run(project, *line_of_models, *sources, "--gate", "--svg", str(svg))
    assert code == 8
    base, cats, last = found["perplexity"]
    assert cats[0] < base[0] / 2
    assert last[1] < base[1] / 2
    assert last[0] > 1.2 * cats[0]
    assert found["backward_transfer"] == pytest.approx(-math.log(last[0] / cats[0]), abs=1e-3)
    assert found["token_accuracy"][1][0] > found["token_accuracy"][0][0]
    assert not found["passed"]
    assert "It forgot" in found["reason"]
    assert "code" not in found["reason"]
    drawn = ElementTree.fromstring(svg.read_text())
    assert f"{last[0]:.2f}" in [each.text for each in drawn.iter()]
    code, found = run(project, *line_of_models[1:], *sources[:2], "--gate", "--most", "100")
    assert (code, found["passed"]) == (0, True)


def test_measuring_again_gives_the_same(project: Project, texts: Path) -> None:
    domains = [domain(project, "cats", str(texts / "cats.txt"), 4, 1)]
    assert domains == [domain(project, "cats", str(texts / "cats.txt"), 4, 1)]
    assert len(domains[0].passages) == 4
    model = load(project, "model:docs-base@1")
    twice = [measure(model, domains), measure(model, domains)]
    found = matrix(domains, twice)
    (lost,) = losses(found, twice, EvaluateSettings())
    assert lost.rise == 0.0
    assert judge([lost], 0.0).passed


def test_the_scorecard_compares_perplexities_on_texts_to_be_kept(tmp_path: Path) -> None:
    (tmp_path / "law.txt").write_text(
        "".join(f"Article {n} of the law says {n}. " for n in range(99))
    )
    (tmp_path / "undercroft.toml").write_text('[evaluate.keep]\nlaw = "law.txt"\n')
    project = Project.open(tmp_path)
    params = project.settings.evaluate
    asked = kept.passages(project, params)
    assert [each.case for each in asked] == [f"kept:law:{n}" for n in range(len(asked))]
    base, tuned = (
        {each.case: Answered("", each.case, "", "kept", 0, 0, 0.0, nll, 10) for each in asked}
        for nll in (20.0, 22.0)
    )
    ((name, found),) = kept.differences(asked, base, tuned, params)
    assert name == "kept_law_perplexity"
    assert (found.base, found.tuned) == pytest.approx((math.exp(2.0), math.exp(2.2)))
    before = kept.fingerprint(project, params)
    (tmp_path / "law.txt").write_text("Another law.")
    assert kept.fingerprint(project, params) != before


def test_bad_sources_and_models_are_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"words": 1}\n')
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BadInput, match=r"Line 2 of .* has no text"):
        domain(project, "x", str(tmp_path / "bad.jsonl"), 4, 1)
    with pytest.raises(BadInput, match="holds no text to measure x on"):
        domain(project, "x", str(tmp_path / "empty.txt"), 4, 1)
    with pytest.raises(NotFound, match="no file or folder"):
        domain(project, "x", str(tmp_path / "none.txt"), 4, 1)
    done = CliRunner().invoke(
        group, ["-C", str(project.root), "forgetting", "model:docs-base", "--text", "law.txt"]
    )
    assert isinstance(done.exception, BadInput)
    assert "does not name a domain" in str(done.exception)
