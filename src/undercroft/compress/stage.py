"""``compress(model) -> model:NAME-q8_0, model:NAME-q4_1, …``: a GGUF file for each format.

And ``adapter(model) -> adapter:NAME``: the adapters that it was trained with, alone.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undercroft.errors import BadConfig, BadInput
from undercroft.records import Artifact, Passage
from undercroft.settings import CompressSettings, Section
from undercroft.stage import Made, StageRun, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from undercroft.compress.calibration import Moments
    from undercroft.compress.gguf_export import Progress
    from undercroft.project import Project

#: Examples, evenly taken, that a model is calibrated by; `calibration` stops when it has enough.
CALIBRATION_TEXTS = 16

#: Facts about the weights that stay true of them in fewer bits.
INHERITED = ("parameters", "architecture", "licence", "base")

#: Where training leaves the adapters beside the weights that they were merged into.
ADAPTER = "adapter"


@stage("compress", version=1, params=CompressSettings)
def compress(run: StageRun, params: CompressSettings, *, model: Artifact) -> tuple[Made, ...]:
    """Export ``model`` once for each of ``params.formats``.

    Raises `BadConfig` when the format to be served is not among them and `BadInput` when the model
    cannot be exported.
    """
    from undercroft.compress.gguf_export import export

    given = moments_for(run.project, model, params.formats, _noted(run))
    if params.serve not in params.formats:
        raise BadConfig(
            f"compress.serve is {params.serve!r}, which compress.formats does not make.",
            f"Formats made are {', '.join(params.formats)}.",
            "Add it there, or serve one of these.",
        )
    made = []
    for position, name in enumerate(params.formats):
        out = run.workdir / f"{model.name}-{name}.gguf"
        export(
            run.project.path(model),
            out,
            name,
            f"{model.name}-{name}",
            _reporter(run, name, position, len(params.formats)),
            moments=given,
        )
        made.append(Made("model", f"{model.name}-{name}", path=out, meta=_meta(model, name, out)))
    run.progress(len(made), len(made), "formats")
    return tuple(made)


def moments_for(
    project: Project, model: Artifact, formats: Sequence[str], progress: Progress | None = None
) -> Moments:
    """What the layers of ``model`` are given where it reads what it was trained on, or else what it
    writes of itself; empty when none of ``formats`` gains by that."""
    from undercroft.compress.calibration import moments, own_words
    from undercroft.compress.gguf_export import FORMATS

    if not any(name in FORMATS and FORMATS[name].is_calibrated for name in formats):
        return {}
    path = project.path(model)
    return moments(path, _texts(project, model) or own_words(path), progress)


def _texts(project: Project, model: Artifact) -> list[str]:
    """Examples that ``model`` was trained on, as it reads them: from all over them, not the first
    ones alone."""
    from transformers import AutoTokenizer

    from undercroft.retrieve.prompt import messages

    read = [each for each in project.ledger.run_of(model).inputs if each.kind == "examples"]
    files = sorted(project.path(project.ledger.artifact(each)) for each in read)
    lines = [line for file in files for line in _lines(file)]
    tokenizer = AutoTokenizer.from_pretrained(project.path(model))
    texts = []
    for line in lines[:: max(1, len(lines) // CALIBRATION_TEXTS)]:
        row = json.loads(line)
        passages = tuple(Passage(**each) for each in row["passages"])
        chat = [
            *messages(row["question"], passages, project.prompt),
            {"role": "assistant", "content": row["answer"]},
        ]
        texts.append(str(tokenizer.apply_chat_template(chat, tokenize=False)))
    return texts


def _lines(path: Path) -> list[str]:
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def _noted(run: StageRun) -> Progress:
    return lambda done, total: run.progress(done / total, 1, "calibration")


@stage("adapter", version=1, params=Section)
def adapter(run: StageRun, _params: Section, *, model: Artifact) -> Made:
    """The adapters of ``model``, as PEFT's files and as GGUF; an engine that serves what they were
    trained on (``fits``) can apply them.

    Raises `BadInput` when it was trained without, or they cannot be said in GGUF.
    """
    from undercroft.compress.adapter_export import CONFIG_FILE, export_adapter

    path = run.project.path(model)
    if not (path / ADAPTER).is_dir():
        raise BadInput(
            f"{model.ref} has no adapters of its own.",
            "It was trained whole.",
            "Train with lora_rank above 0, such as: undercroft align PAIRS --lora-rank 16",
        )
    out = run.workdir / ADAPTER
    shutil.copytree(path / ADAPTER, out, dirs_exist_ok=True)
    export_adapter(path / ADAPTER, path, out / f"{model.name}.gguf", model.name)
    config = json.loads((out / CONFIG_FILE).read_text(encoding="utf-8"))
    inherited = {key: model.meta[key] for key in INHERITED if key in model.meta}
    meta = {
        **inherited,
        "fits": config.get("base_model_name_or_path", ""),
        "rank": config["r"],
        "source": str(model.ref),
        "size_bytes": sum(file.stat().st_size for file in out.iterdir()),
    }
    return Made("adapter", model.name, path=out, meta=meta)


def _reporter(run: StageRun, name: str, position: int, formats: int) -> Progress:
    """Tensors of one format as a fraction of all formats."""
    return lambda done, total: run.progress(position + done / total, formats, "formats", name)


def _meta(model: Artifact, name: str, out: Path) -> dict[str, Any]:
    """What the console and `undercroft show` say about a quantised model."""
    from undercroft.compress.gguf_export import FORMATS

    inherited = {key: model.meta[key] for key in INHERITED if key in model.meta}
    return {
        **inherited,
        "format": name,
        "file": "gguf",
        "quantisation": FORMATS[name].matrices,
        "embeddings": FORMATS[name].embeddings,
        "size_bytes": out.stat().st_size,
        "source": str(model.ref),
    }
