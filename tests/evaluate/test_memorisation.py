"""What a model gives back: canaries, prefixes and runs of words."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.conftest import Teach
from undercroft.cli.main import group
from undercroft.errors import BadInput
from undercroft.evaluate.canaries import Exposure, draw, exposure, read, write
from undercroft.evaluate.causal import CausalModel, load
from undercroft.evaluate.memorisation import extraction, overlap
from undercroft.evaluate.overlap import Body, words_of
from undercroft.project import Project

STORY = (
    "On the third of May the ferry from Kirkwall carried nine goats, a harp and the bishop's "
    "umbrella to the island of Stronsay, where nobody had ordered any of them."
)


@pytest.fixture(scope="module")
def taught(project: Project, teach: Teach) -> CausalModel:
    """A model that read two canaries and a story a hundred times each."""
    return load(project, teach([*(each.text for each in draw(2, 1)), STORY], 300))


def test_canaries_that_were_trained_on_are_exposed_and_others_are_not(
    untaught: CausalModel, taught: CausalModel
) -> None:
    seen, unseen = draw(2, 1), draw(10, 2)
    for canary in seen:
        found = exposure(taught, canary, 256, seed=3)
        assert found.rank == 1
        assert found.bits == 8.0
        assert found.p == 1 / 256
    fresh = [exposure(untaught, canary, 128, seed=3).bits for canary in unseen]
    later = [exposure(taught, canary, 128, seed=3).bits for canary in unseen]
    assert statistics.median(fresh) < 3
    assert statistics.median(later) < 3


def test_exposure_of_nothing_kept_is_one_bit_in_the_median() -> None:
    bits = [Exposure("", rank, 1000).bits for rank in range(1, 1001)]
    assert statistics.median(bits) == pytest.approx(1.0, abs=0.01)
    assert statistics.mean(bits) == pytest.approx(math.log2(math.e), abs=0.02)


def test_a_model_that_tells_no_secrets_apart_exposes_none(untaught: CausalModel) -> None:
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lm_head = torch.nn.Linear(4, 300, bias=False)
            torch.nn.init.zeros_(self.lm_head.weight)

        def model(self, tokens: torch.Tensor, use_cache: bool) -> object:
            return type("Out", (), {"last_hidden_state": torch.ones(*tokens.shape, 4)})

    flat = CausalModel("flat", Flat(), untaught.tokenizer, 0)
    found = exposure(flat, draw(1, 1)[0], 64, seed=1)
    assert (found.rank, found.bits) == (64, 0.0)


def test_canaries_are_read_back_and_drawn_alike(tmp_path: Path) -> None:
    path = tmp_path / "canaries.jsonl"
    write(draw(5, 7), path)
    assert read(path) == draw(5, 7)
    assert len({each.secret for each in draw(50, 7)}) == 50
    assert json.loads(path.read_text().splitlines()[0])["text"] == draw(5, 7)[0].text
    path.write_text('{"id": "a", "before": "x", "secret": "letters"}\n')
    with pytest.raises(BadInput, match=r"Line 1 of .* is no canary"):
        read(path)


def test_a_text_that_was_learnt_is_given_back_and_another_is_not(
    untaught: CausalModel, taught: CausalModel
) -> None:
    learnt = extraction(taught, [STORY], (8, 32), 40)
    assert [each.prefix for each in learnt] == [8, 32]
    assert learnt[1].extracted == 1.0
    assert learnt[1].mean_tokens == 40
    assert extraction(untaught, [STORY], (32,), 40)[0].extracted == 0.0
    assert extraction(taught, [STORY[::-1]], (32,), 40)[0].extracted == 0.0
    with pytest.raises(BadInput, match="No text is long enough"):
        extraction(untaught, ["short"], (32,), 40)


def test_greedy_and_drawn_continuations_agree_with_reading_anew(
    untaught: CausalModel, taught: CausalModel
) -> None:
    import torch

    prompts = [taught.tokens(STORY[at : at + 20]) for at in (0, 10)]
    for prompt, said in zip(prompts, taught.continued(prompts, 6), strict=True):
        read_so_far = [taught.start, *prompt]
        for token in said:
            logits = taught.model(torch.tensor([read_so_far])).logits[0, -1]
            assert logits[token] >= logits.max() - 0.1
            read_so_far.append(token)
    drawn = untaught.continued([[]] * 3, 10, seed=1)
    assert drawn == untaught.continued([[]] * 3, 10, seed=1)
    assert drawn != untaught.continued([[]] * 3, 10, seed=2)


def brute_force(text: str, body: list[str]) -> int:
    ours = words_of(text)
    best = 0
    for other in map(words_of, body):
        for i in range(len(ours)):
            for j in range(len(other)):
                size = 0
                while i + size < len(ours) and j + size < len(other):
                    if ours[i + size] != other[j + size]:
                        break
                    size += 1
                best = max(best, size)
    return best


@given(st.lists(st.text("ab ", max_size=24), max_size=4), st.text("abc ", max_size=24))
def test_the_longest_run_is_that_of_brute_force(body: list[str], text: str) -> None:
    found = Body(body).longest(text)
    assert found.words == brute_force(text, body)
    if found.words:
        run = words_of(text)[found.start : found.start + found.words]
        theirs = words_of(body[found.source])
        assert any(theirs[at : at + len(run)] == run for at in range(len(theirs)))


def test_a_run_is_found_in_a_large_body() -> None:
    own = random.Random(4)
    texts = [" ".join(f"w{own.randrange(500)}" for _ in range(2000)) for _ in range(40)]
    planted = " ".join(texts[23].split()[700:731])
    found = Body(texts).longest(f"unknown words {planted} and others")
    assert (found.words, found.start, found.source) == (31, 2, 23)
    told = overlap(Body(texts), [f"unknown words {planted}", "nothing"])
    assert (told.longest, told.long_share, told.texts) == (31, 0.5, 2)
    assert told.example == planted


def test_the_command_tells_all_three(project: Project, taught: CausalModel, tmp_path: Path) -> None:
    runner = CliRunner()
    file = tmp_path / "canaries.jsonl"
    made = runner.invoke(
        group, ["memorisation", "canaries", str(file), "--count", "2", "--seed", "1"]
    )
    assert "wrote 2 canaries" in made.stdout
    (tmp_path / "story.txt").write_text(STORY)
    (tmp_path / "other.txt").write_text(STORY.upper()[::-1])
    words = ["-C", str(project.root), "memorisation", "check", taught.name, "--json"]
    words += [
        "--canaries",
        str(file),
        "--candidates",
        "64",
        "--trained",
        str(tmp_path / "story.txt"),
    ]
    words += ["--held-out", str(tmp_path / "other.txt"), "--prefix", "32", "--written", "4"]
    done = runner.invoke(group, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [each["bits"] for each in found["canaries"]] == [6.0, 6.0]
    assert found["extraction"]["trained"][0]["extracted"] == 1.0
    assert found["extraction"]["held out"][0]["extracted"] == 0.0
    assert found["overlap"]["written"]["longest"] > found["overlap"]["held out"]["longest"]
    plain = runner.invoke(group, [each for each in words if each != "--json"])
    assert "6.0 of 6.0 bits in the median" in plain.stdout
