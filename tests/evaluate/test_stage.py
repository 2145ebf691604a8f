from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.evaluate.test_answers import CASE
from undercroft.engines import LlamaServer
from undercroft.engines.client import EngineClient
from undercroft.errors import Cancelled
from undercroft.evaluate.ask import forced_nll
from undercroft.evaluate.stage import JOURNAL, evaluate
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Artifact, Example, Footprint, Passage
from undercroft.settings import EvaluateSettings, IndexSettings
from undercroft.stage import execute
from undercroft.train.models.folders import wheel_file

PARAMS = EvaluateSettings(max_tokens=8)
TEXTS = {
    "with": "The with statement is used to wrap the execution of a block with methods.",
    "for": "The for statement is used to iterate over the elements of a sequence.",
    "pass": "The pass statement is a null operation: nothing happens when it is executed.",
}


@pytest.fixture(scope="module")
def wheel_gguf() -> Path:
    return wheel_file()


def commit(project: Project, kind: str, name: str, uri: str, digest: str) -> Artifact:
    run = project.ledger.begin_run("test", uuid.uuid4().hex, {}, [])
    made = MadeArtifact(kind, name, digest, uri, 1, {})
    return project.ledger.finish_run(run.id, [made], Footprint())[0]


def put(project: Project, kind: str, name: str, path: Path) -> Artifact:
    uri, digest, _ = project.lake.blobs.put(path, kind, name)
    return commit(project, kind, name, uri, digest)


def cases() -> list[Example]:
    made = [
        replace(
            CASE, id=key, question=f"What is the {key} statement?", answer=text, passages=(),
            source_document=key, source_start=0, source_end=len(text),
        )
        for key, text in TEXTS.items()
    ]  # fmt: skip
    shown = Passage("for:0", "for", "py:for", "for", TEXTS["for"], 0, 60)
    unknown = replace(
        CASE, id="none", question="What is a monad?", passages=(shown,), answerable=False, cited=()
    )
    return [*made, unknown]


def make_embedding(folder: Path) -> Path:
    """A static embedding of the few words that are used here."""
    import numpy as np
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sorted({word.strip(".:") for text in TEXTS.values() for word in text.split()})
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    vectors = np.random.default_rng(0).normal(size=(len(vocabulary), 16)).astype(np.float16)
    save_file({"embeddings": vectors}, folder / "model.safetensors")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.open(tmp_path, {"model.context": 512, "project.title": "Python"})


@pytest.fixture
def inputs(project: Project, wheel_gguf: Path, tmp_path: Path) -> dict[str, Artifact]:
    from undercroft.retrieve import Embedder, build

    embedding = put(project, "embedding", "docs", make_embedding(tmp_path / "embedding"))
    table = pa.table(
        {
            "id": list(TEXTS),
            "uri": [f"py:{key}" for key in TEXTS],
            "title": list(TEXTS),
            "text": pa.array(TEXTS.values(), pa.large_string()),
        }
    )
    embedder = Embedder.load(project.path(embedding))
    version = build(project.lake, table, embedder, IndexSettings(), lambda done, total: None)
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "cases.jsonl").write_text("\n".join(json.dumps(asdict(case)) for case in cases()))
    model = tmp_path / "model.gguf"
    shutil.copy(wheel_gguf, model)
    tuned = put(project, "model", "docs-q8_0", model)
    return {
        "suite": put(project, "suite", "docs", suite),
        "tuned": tuned,
        "base": commit(project, "model", "docs-base-q8_0", tuned.uri, tuned.digest),
        "index": commit(project, "index", "docs", f"table:vectors@{version}", "0" * 64),
        "embedding": embedding,
    }


def test_both_models_answer_every_case_and_the_scorecard_shows_them(
    project: Project, inputs: dict[str, Artifact]
) -> None:
    (project.root / "law.txt").write_text("No person shall be compelled to be a witness. " * 3)
    params = PARAMS.model_copy(update={"keep": {"law": "law.txt"}})
    (scorecard,) = evaluate(project, params, **inputs)
    summary = scorecard.meta["evaluation"]
    assert summary["cases"] == 4
    assert summary["unanswerable"] == 1
    assert summary["retrieval"]["hit_rate"] == 1.0
    assert summary["base"] == summary["tuned"]  # it is one and the same model
    assert summary["significant"] is False
    assert 1.0 < summary["base"]["answer_perplexity"] < 100.0
    assert 1.0 < summary["base"]["kept_law_perplexity"] < 100.0
    assert summary["differences"]["kept_law_perplexity"]["lower_is_better"]
    folder = project.path(scorecard)
    assert json.loads((folder / "scorecard.json").read_text()) == summary
    rows = [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [*TEXTS, "none"]
    assert rows[0]["passages"][0]["document"] == "with"
    assert rows[3]["passages"][0]["document"] == "for"  # its own passages, not retrieved ones
    assert all(row["base"]["answer"] == row["tuned"]["answer"] for row in rows)
    progress = project.ledger.progress(scorecard.run_id)
    assert progress is not None
    assert (progress.done, progress.total, progress.unit) == (10, 10, "answers")


def journal_lines(file: Path) -> Sequence[bytes]:
    return file.read_bytes().splitlines() if file.exists() else []


def test_a_stopped_evaluation_goes_on_where_it_stopped(
    project: Project, inputs: dict[str, Artifact]
) -> None:
    plan = evaluate.plan(project, PARAMS, **inputs)
    file = plan.workdir(project) / JOURNAL
    stop = threading.Event()

    def stop_soon() -> None:
        while not journal_lines(file):
            time.sleep(0.01)
        stop.set()

    threading.Thread(target=stop_soon, daemon=True).start()
    with pytest.raises(Cancelled):
        execute(project, plan, stop=stop)
    before = journal_lines(file)
    assert 0 < len(before) < 8
    marked = json.loads(before[0]) | {"text": "kept from the first attempt"}
    file.write_bytes(b"\n".join([json.dumps(marked).encode(), *before[1:]]) + b"\n")
    (scorecard,) = execute(project, plan)
    rows = (project.path(scorecard) / "cases.jsonl").read_text()
    assert rows.count("kept from the first attempt") == 1


@pytest.fixture(scope="module")
def engine(wheel_gguf: Path) -> Any:
    with LlamaServer.start(wheel_gguf, context=256, slots=1, threads=1) as server:
        server.wait_ready()
        yield server


async def test_forced_likelihood_is_what_the_engine_gives_its_own_choice(
    engine: LlamaServer,
) -> None:
    prompt = "The with statement is used to"
    async with EngineClient(engine.base_url) as client:
        body = {"prompt": prompt, "n_predict": 6, "temperature": 0.0, "n_probs": 3}
        steps = (await client.post("/completion", body))["completion_probabilities"]
        chosen = [step["id"] for step in steps]
        nll = await forced_nll(client, prompt, chosen)
        assert nll == pytest.approx(-sum(step["logprob"] for step in steps), abs=0.05)
        second = steps[0]["top_logprobs"][1]
        assert await forced_nll(client, prompt, [second["id"]]) == pytest.approx(
            -second["logprob"], abs=0.05
        )


async def test_forced_likelihood_finds_the_true_sentence_likelier(engine: LlamaServer) -> None:
    async with EngineClient(engine.base_url) as client:
        prompt = "The capital of France is"
        right, wrong = [await client.tokenize(text) for text in (" Paris.", " Lima.")]
        assert await forced_nll(client, prompt, right) < await forced_nll(client, prompt, wrong)
        assert await forced_nll(client, prompt, []) == 0.0
