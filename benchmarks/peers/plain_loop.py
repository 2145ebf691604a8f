"""Pretraining by a plain loop, as nanoGPT's reads; prints one JSON line.

python plain_loop.py BASE_FOLDER ROWS.npz STEPS BATCH MICRO_BATCH RATE OUT_FOLDER PRECISION

Float32 weights, under autocast if PRECISION is bf16, AdamW, clipping, gradient accumulation, no
compilation. It reads the rows as one stream: what stands before in a row is seen, whichever
document it is of.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    base, rows, steps, batch, micro, rate, out, precision = sys.argv[1:9]
    import numpy as np
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    given = np.load(rows)
    tokens = torch.from_numpy(given["tokens"].astype(np.int64))
    labels = torch.from_numpy(given["labels"].astype(np.int64))
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation="sdpa"
    )
    model.train()
    decayed = [weight for weight in model.parameters() if weight.dim() >= 2]
    plain = [weight for weight in model.parameters() if weight.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        lr=float(rate), betas=(0.9, 0.95), fused=True,
    )  # fmt: skip
    accumulate = int(batch) // int(micro)
    at = 0
    started, cpu = time.monotonic(), time.process_time()
    for step in range(int(steps)):
        middle = (step + 0.5) / int(steps)
        share = middle / 0.1 if middle < 0.1 else (1 - middle) / 0.9
        for group in optimizer.param_groups:
            group["lr"] = float(rate) * share
        for _ in range(accumulate):
            part = slice(at, at + int(micro))
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits = model(input_ids=tokens[part], use_cache=False).logits
            loss = functional.cross_entropy(
                logits.flatten(0, 1).float(), labels[part].flatten(), ignore_index=-1
            )
            (loss / accumulate).backward()
            at += int(micro)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    model.save_pretrained(out)
    tokens_read = int((labels[:at] >= 0).sum())
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "tokens": tokens_read}))


if __name__ == "__main__":
    main()
