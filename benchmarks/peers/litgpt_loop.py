"""Pretraining by litgpt's own loop, timed; prints one JSON line.

python litgpt_loop.py BASE_FOLDER ROWS.npz STEPS MICRO_BATCH RATE OUT_FOLDER COMPILED

Its ``fit``, model and precision (``bf16-mixed``, what it takes on a CPU by itself), from the
weights of a Hugging Face folder; they are put back into one for the test of what was learned.
litgpt compiles its model: COMPILED is 1 or 0. If it does, the clock starts behind the first two
steps, in which that happens; how long these took is told beside it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMPILING = 2  # steps in which a compiled model is made
NAMES = {
    "self_attn.o_proj": "attn.proj",
    "mlp.gate_proj": "mlp.fc_1",
    "mlp.up_proj": "mlp.fc_2",
    "mlp.down_proj": "mlp.proj",
    "input_layernorm": "norm_1",
    "post_attention_layernorm": "norm_2",
}


def main() -> None:
    base, rows_file, steps, micro, rate, out, compiled = sys.argv[1:8]
    import lightning as fabric_library
    import numpy as np
    import torch
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.pretrain import fit
    from torch.utils.data import DataLoader, IterableDataset

    given = np.load(rows_file)
    tokens, labels = (given[name].astype(np.int64) for name in ("tokens", "labels"))
    rows = torch.from_numpy(np.concatenate([tokens, labels[:, -1:].clip(0)], axis=1))
    config = json.loads((Path(base) / "config.json").read_text())
    fabric = fabric_library.Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    shape = Config(
        block_size=tokens.shape[1], n_layer=config["num_hidden_layers"],
        n_embd=config["hidden_size"], n_head=config["num_attention_heads"],
        n_query_groups=config["num_key_value_heads"], intermediate_size=config["intermediate_size"],
        vocab_size=config["vocab_size"], padded_vocab_size=config["vocab_size"],
        norm_class_name="RMSNorm", norm_eps=config["rms_norm_eps"], mlp_class_name="LLaMAMLP",
        parallel_residual=False, bias=False, rotary_percentage=1.0,
    )  # fmt: skip
    model = GPT(shape)
    model.transformer.wte.weight = model.lm_head.weight
    _take_up(model, Path(base))
    plain = model
    model = fabric.setup(torch.compile(model) if compiled == "1" else model)
    optimizer = fabric.setup_optimizers(
        torch.optim.AdamW(model.parameters(), lr=float(rate), betas=(0.9, 0.95), weight_decay=0.1)
    )
    marks: list[tuple[float, float]] = []

    class Rows(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            for at in range(0, len(rows), int(micro)):
                marks.append((time.monotonic(), time.process_time()))
                yield rows[at : at + int(micro)]

    size = int(micro) * tokens.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        fit(
            fabric=fabric,
            devices=1,
            state={"model": model, "optimizer": optimizer, "iter_num": 0, "step_count": 0},
            train_dataloader=DataLoader(Rows(), batch_size=None),
            val_dataloader=[rows[:2]],
            out_dir=Path(folder),
            tokenizer_dir=None,
            train=TrainArgs(
                save_interval=None, log_interval=10**9, global_batch_size=int(micro),
                micro_batch_size=int(micro), lr_warmup_steps=max(1, int(steps) // 10),
                max_tokens=int(steps) * size, max_norm=1.0, min_lr=0.0,
            ),
            eval=EvalArgs(interval=10**9, initial_validation=False, final_validation=False),
        )  # fmt: skip
    end = (time.monotonic(), time.process_time())
    _give_back(plain, Path(base), Path(out))
    untimed = COMPILING if compiled == "1" else 0
    seconds, cpu = (end[clock] - marks[untimed][clock] for clock in (0, 1))
    read = int((labels[untimed * int(micro) : int(steps) * int(micro)] >= 0).sum())
    first_s = marks[untimed][0] - marks[0][0]
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "tokens": read, "first_s": first_s}))


def _take_up(model: Any, base: Path) -> None:
    """The weights of a Hugging Face folder by litgpt's names: q, k and v are one matrix there."""
    import torch
    from safetensors.torch import load_file

    found = load_file(base / "model.safetensors")
    own = {
        "transformer.ln_f.weight": found["model.norm.weight"],
        "lm_head.weight": found["model.embed_tokens.weight"],
        "transformer.wte.weight": found["model.embed_tokens.weight"],
    }
    for layer in range(len(model.transformer.h)):
        theirs, ours = f"model.layers.{layer}", f"transformer.h.{layer}"
        qkv = [found[f"{theirs}.self_attn.{each}_proj.weight"] for each in "qkv"]
        own[f"{ours}.attn.qkv.weight"] = torch.cat(qkv)
        for old, new in NAMES.items():
            own[f"{ours}.{new}.weight"] = found[f"{theirs}.{old}.weight"]
    model.load_state_dict({name: weight.float() for name, weight in own.items()})


def _give_back(model: Any, base: Path, out: Path) -> None:
    """A Hugging Face folder of what was trained."""
    from safetensors.torch import save_file

    own = {name: weight.detach() for name, weight in model.named_parameters()}
    heads, groups = model.config.n_head, model.config.n_query_groups
    size = model.config.head_size
    found = {
        "model.norm.weight": own["transformer.ln_f.weight"],
        "model.embed_tokens.weight": model.lm_head.weight.detach(),
    }
    for layer in range(len(model.transformer.h)):
        theirs, ours = f"model.layers.{layer}", f"transformer.h.{layer}"
        qkv = own[f"{ours}.attn.qkv.weight"].split([heads * size, groups * size, groups * size])
        for each, weight in zip("qkv", qkv, strict=True):
            found[f"{theirs}.self_attn.{each}_proj.weight"] = weight.contiguous()
        for old, new in NAMES.items():
            found[f"{theirs}.{old}.weight"] = own[f"{ours}.{new}.weight"]
    out.mkdir(parents=True, exist_ok=True)
    save_file(found, out / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(base / "config.json", out)


if __name__ == "__main__":
    main()
