"""What a model loses in fewer bits, and which candidate is taken."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.compress.conftest import build_tiny, real_tokenizer, wheel_folder  # noqa: F401
from tests.serve.serving import keep
from tests.train.conftest import examples  # noqa: F401
from undercroft.cli.main import group
from undercroft.compress import export
from undercroft.errors import NotFound
from undercroft.project import Project
from undercroft.records import Example
from undercroft.settings import EngineSettings, ModelSettings
from undercroft.train.stage import base
from undercroft.tune import points, search
from undercroft.tune.fidelity import Fidelity, Said, compared, divergence
from undercroft.tune.kept import Kept
from undercroft.tune.points import Bench, Point
from undercroft.tune.speed import Speed
from undercroft.tune.work import Candidate, Task


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


def point(
    name: str, answer_s: float, perplexity: float = 10.0, threads: int = 0, **engine: Any
) -> Point:
    candidate = Candidate(name, Path(name), EngineSettings(**engine), threads)
    return Point(candidate, 1, Speed(1.0, 1.0, answer_s), Fidelity(perplexity, 0.1, 1.0, 9))


def test_the_fastest_that_is_true_enough_is_taken() -> None:
    found = [point("f16", 4, 10.0), point("q8_0", 3, 10.05), point("q4_0", 2, 11.0)]
    chosen = points.best(found, 10.0, 0.01)
    assert chosen is found[1]
    assert points.best(found[2:], 10.0, 0.01) is None


def test_what_helped_is_tried_together_and_what_did_not_is_left_out() -> None:
    usual = point("q8_0", 1.0)
    found = [
        usual,
        point("q8_0", 0.9, speculation="ngram"),
        point("q8_0", 0.8, prompt_batch=2048),
        point("q8_0", 0.99, kv_cache="q8_0"),
        point("q8_0", 1.4, threads=1),
    ]
    names = [each.name for each in search._finalists(found, usual.candidate)]
    assert names == [
        "q8_0 prompt_batch=2048",
        "q8_0 speculation=ngram",
        "q8_0 speculation=ngram prompt_batch=2048",
    ]
    assert search._finalists(found[:1], usual.candidate) == []


def test_a_cache_in_eight_bits_keeps_the_attention_that_can_read_it() -> None:
    usual = point("q8_0", 1.0)
    found = [
        usual,
        point("q8_0", 0.8, flash_attention=False),
        point("q8_0", 0.9, kv_cache="q8_0"),
    ]
    both = search._finalists(found, usual.candidate)[-1]
    assert both.engine == EngineSettings(kv_cache="q8_0")
    with pytest.raises(ValueError, match="flash attention"):
        EngineSettings(kv_cache="q8_0", flash_attention=False)


def test_what_was_written_down_is_read_again_up_to_where_it_broke_off(tmp_path: Path) -> None:
    file = tmp_path / "measured.jsonl"
    said = [Said((-0.5,), ({7: -0.5, 9: -1.25},))]
    kept = Kept(file)
    kept.keep_speed("1.0 f16", Speed(3.0, 2.0, 1.0, 0.5))
    kept.keep_thoughts("f16", said)
    with file.open("a") as stream:
        stream.write('{"speed 1.1 f16": {"pre')
    again = Kept(file)
    assert again.speed("1.0 f16") == Speed(3.0, 2.0, 1.0, 0.5)
    assert again.speed("1.1 f16") is None
    assert list(again.thoughts("f16") or []) == said
    again.done()
    assert len(Kept(file)) == 0


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


def test_tune_measures_formats_then_ways_and_draws_them(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no native build but the tests'
    page = tmp_path / "chart.html"
    (draft,) = (project.path(each) for each in project.ledger.artifacts(kind="model"))
    guess = export(draft, tmp_path / "guess.gguf", "f16")
    words = ["serve", "tune", "model:docs-base", "--formats", "q4_0", "--tasks", "1"]
    words += ["--rounds", "1", "--loss", "10", "--draft", str(guess), "--html", str(page)]
    done = CliRunner().invoke(group, ["-C", str(project.root), *words, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    ((name, why),) = told["failed"].items()
    assert name.endswith("kv_cache=q8_0")
    assert "does not divide n_embd_head_k=16" in why
    found = {each["name"]: each for each in told["points"]}
    assert found["f16"]["divergence"] == pytest.approx(0, abs=1e-5)
    assert found["f16"]["divergence"] < found["q4_0"]["divergence"]
    assert found["q4_0"]["size_bytes"] < found["f16"]["size_bytes"]
    assert any(name.endswith("speculation=draft draft=guess") for name in found)
    assert all(each["decode"] > 0 and each["prefill"] > 0 for each in found.values())
    assert sum(each["is_best"] for each in found.values()) == 1
    assert page.read_text().count("<circle") == len(found)


def test_a_search_that_was_stopped_measures_only_what_is_missing(
    project: Project, tmp_path: Path
) -> None:
    (weights,) = (project.path(each) for each in project.ledger.artifacts(kind="model")[-1:])
    plain = EngineSettings(build="wheel")
    first, second = (
        Candidate(form, export(weights, tmp_path / f"{form}.gguf", form), plain)
        for form in ("f16", "q8_0")
    )
    asked = [Task([{"role": "user", "content": "What is it?"}], "It is a test.")]
    file = tmp_path / "measured.jsonl"

    def bench() -> Bench:
        return Bench(first, asked, context=512, threads=1, tell=lambda *_: None, kept=Kept(file))

    before = bench().measure([first], 1)
    lines = len(file.read_text().splitlines())
    after = bench().measure([first, second], 1)
    told = file.read_text().splitlines()
    assert after[0] == before[0]  # no clock says the same twice
    assert len(told) == lines + 2
    assert all("q8_0" in line[:40] for line in told[lines:])


def test_a_smaller_copy_cannot_be_tuned(project: Project) -> None:
    keep(project, "model", "docs-q8_0", {"file": "gguf", "source": "model:docs@1"})
    done = CliRunner().invoke(group, ["-C", str(project.root), "serve", "tune", "docs-q8_0"])
    assert done.exit_code != 0
    assert "model:docs@1" in str(done.exception)


def test_a_draft_that_is_not_there_is_said_before_anything_is_measured(project: Project) -> None:
    words = ["-C", str(project.root), "serve", "tune", "model:docs-base", "--draft", "no.gguf"]
    done = CliRunner().invoke(group, words)
    assert isinstance(done.exception, NotFound)
    assert "no.gguf" in str(done.exception)
