"""``compress(model) -> model:NAME-q8_0, model:NAME-q4_1, …``: a GGUF file for each format.

And ``adapter(model) -> adapter:NAME``: the adapters that it was trained with, alone.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undercroft.errors import BadConfig, BadInput
from undercroft.records import Artifact
from undercroft.settings import CompressSettings, Section
from undercroft.stage import Made, StageRun, stage

if TYPE_CHECKING:
    from undercroft.compress.gguf_export import Progress

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
        )
        made.append(Made("model", f"{model.name}-{name}", path=out, meta=_meta(model, name, out)))
    run.progress(len(made), len(made), "formats")
    return tuple(made)


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
