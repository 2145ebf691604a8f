"""The recipe for a small GPT of characters on a CPU, timed; prints one JSON line.

python char_gpt.py TAUGHT.txt HELD_OUT.txt ITERATIONS OUT.txt

nanoGPT's README gives it for a "cheap computer" (github.com/karpathy/nanoGPT; the rest is from its
``config/train_shakespeare_char.py`` and ``train.py``): 4 layers of width 128 with 4 heads, 64
characters, 12 rows a step, 2,000 steps, AdamW at 1e-3 falling to 1e-4 by a cosine after 100 steps,
betas 0.9 and 0.99, weight decay 0.1, clipping at 1, no dropout, not compiled, and float32, since
its loop uses no other format on a CPU. The model is GPT-2's without biases: learnt positions, norms
before each half of a block, GELU, one matrix for input and output.

The clock counts steps alone. The held-out text is read in windows of 64 characters of which only
the last 32 are scored, so that each has at least 32 before it.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS, HEADS, WIDTH, CONTEXT, ROWS = 4, 4, 128, 64, 12
RATE, LEAST_RATE, WARM_UP, DECAY, CLIP = 1e-3, 1e-4, 100, 0.1, 1.0


class Block(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(WIDTH, bias=False)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norm_2 = nn.LayerNorm(WIDTH, bias=False)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x_btd: Tensor) -> Tensor:
        rows, size, _ = x_btd.shape
        q, k, v = (
            each.view(rows, size, HEADS, WIDTH // HEADS).transpose(1, 2)
            for each in self.qkv(self.norm_1(x_btd)).split(WIDTH, dim=2)
        )
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_btd = x_btd + self.out(seen.transpose(1, 2).reshape(rows, size, WIDTH))
        return x_btd + self.narrow(functional.gelu(self.wide(self.norm_2(x_btd))))


class GPT(nn.Module):  # type: ignore[misc]
    def __init__(self, characters: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(characters, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                adds = name.endswith(("out.weight", "narrow.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * LAYERS) if adds else 0.02)

    def forward(self, tokens_bt: Tensor) -> Tensor:
        x_btd = self.tokens(tokens_bt) + self.positions.weight[: tokens_bt.shape[1]]
        for block in self.blocks:
            x_btd = block(x_btd)
        return functional.linear(self.norm(x_btd), self.tokens.weight)


def main() -> None:
    taught, held_out, iterations, out = sys.argv[1:5]
    torch.manual_seed(1337)
    texts = [Path(each).read_text(encoding="utf-8") for each in (taught, held_out)]
    alphabet = sorted(set("".join(texts)))
    number = {character: at for at, character in enumerate(alphabet)}
    read, tested = (torch.tensor([number[each] for each in text]) for text in texts)
    model = GPT(len(alphabet))
    seconds = trained(model, read, int(iterations))
    bits = bits_a_byte(model, tested, len(texts[1].encode()))
    start = torch.tensor([number["\n"]])
    Path(out).write_text(
        "".join(alphabet[at] for at in sample(model, start, 600)), encoding="utf-8"
    )
    parameters = sum(weight.numel() for weight in model.parameters())
    print(json.dumps({**seconds, "bits_a_byte": bits, "parameters": parameters}))


def trained(model: GPT, read: Tensor, iterations: int) -> dict[str, float]:
    decayed = [weight for weight in model.parameters() if weight.dim() >= 2]
    plain = [weight for weight in model.parameters() if weight.dim() < 2]
    groups: Any = [
        {"params": decayed, "weight_decay": DECAY},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99))
    started, cpu = time.monotonic(), time.process_time()
    for step in range(iterations):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, iterations)
        starts = torch.randint(len(read) - CONTEXT, (ROWS,)).tolist()
        tokens = torch.stack([read[at : at + CONTEXT] for at in starts])
        labels = torch.stack([read[at + 1 : at + 1 + CONTEXT] for at in starts])
        loss = functional.cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu}


def rate(step: int, iterations: int) -> float:
    if step < WARM_UP:
        return RATE * step / WARM_UP
    share = (step - WARM_UP) / max(1, iterations - WARM_UP)
    return LEAST_RATE + 0.5 * (1 + math.cos(math.pi * share)) * (RATE - LEAST_RATE)


@torch.no_grad()  # type: ignore[untyped-decorator]
def bits_a_byte(model: GPT, tested: Tensor, size_bytes: int) -> float:
    """Over all characters but those of the first half window."""
    half = CONTEXT // 2
    windows = tested.unfold(0, CONTEXT + 1, half)
    total = sum(
        float(
            functional.cross_entropy(
                model(rows[:, :-1])[:, half:].flatten(0, 1),
                rows[:, half + 1 :].flatten(),
                reduction="sum",
            )
        )
        for rows in windows.split(64)
    )
    scored = windows.shape[0] * half / len(tested)
    return total / math.log(2) / (size_bytes * scored)


@torch.no_grad()  # type: ignore[untyped-decorator]
def sample(model: GPT, start: Tensor, count: int) -> list[int]:
    """As its ``sample.py``: temperature 0.8, of the 200 likeliest."""
    found = start
    for _ in range(count):
        logits = model(found[None, -CONTEXT:])[0, -1] / 0.8
        least = logits.topk(min(200, len(logits))).values[-1]
        drawn = torch.multinomial(logits.masked_fill(logits < least, -math.inf).softmax(0), 1)
        found = torch.cat([found, drawn])
    return [int(each) for each in found]


if __name__ == "__main__":
    main()
