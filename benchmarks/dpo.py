"""Does an aligned model say what was chosen, more than its parent, and is it still sound?

python -m benchmarks.dpo [--minutes 2] [--prompts 60] [--objective dpo]

Functions of Python's library are asked about. Chosen is the first sentence of their documentation,
rejected the first sentence that the parent itself says. Functions of modules that are kept away
from training are put to the parent and the aligned model, the likeliest token each time. The answer
wins that is closer to what was chosen for that prompt: F1 of words, those of the prompt left out.
Length decides nothing: of the longer answer a run of as many words as the shorter one has is
judged, drawn by chance. (The best run would favour long answers, which have more to choose from.)
An empty answer loses. Significance is by the exact sign test; the bounds on
what may be lost are those of the stage (`train.soundness`), which refuses a model beyond them.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import random
import re
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare import Result
from undercroft.collect.preferences import PairSources, preferences
from undercroft.project import Project
from undercroft.settings import AlignSettings
from undercroft.train.align import align
from undercroft.train.models import folders
from undercroft.train.stage import base

MODULES = [
    "argparse", "ast", "asyncio", "base64", "bisect", "bz2", "calendar", "cmd", "codecs", "copy",
    "csv", "datetime", "decimal", "difflib", "dis", "doctest", "email", "enum", "fractions",
    "ftplib", "functools", "gettext", "glob", "gzip", "heapq", "html", "http.client", "imaplib",
    "inspect", "itertools", "json", "locale", "logging", "lzma", "mailbox", "math", "mimetypes",
    "operator", "os", "pickle", "platform", "plistlib", "poplib", "pprint", "random", "re",
    "sched", "shelve", "shlex", "shutil", "smtplib", "socket", "sqlite3", "ssl", "statistics",
    "string", "struct", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "time",
    "timeit", "tokenize", "traceback", "types", "typing", "unittest", "urllib.parse",
    "urllib.request", "uuid", "warnings", "wave", "weakref", "xml.dom.minidom", "zipfile",
]  # fmt: skip
HELD_OUT_EVERY = 4
MOST_CHARS = 500
ANSWER_TOKENS = 80
TAUGHT_TOKENS = 48
SENTENCE = re.compile(r".{20,}?[.!?](?=\s|$)", re.DOTALL)
WORD = re.compile(r"\w+")


def main() -> None:
    parser = argparse.ArgumentParser(description="Alignment from pairs to a win rate.")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=0, help="Instead of minutes.")
    parser.add_argument("--pairs", type=int, default=128, help="Prompts that pairs are made of.")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--objective", choices=["dpo", "ipo"], default="dpo")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--nll", type=float, default=1.0)
    options = parser.parse_args()
    taught, held_out = rows(MODULES)
    with tempfile.TemporaryDirectory() as folder:
        project = Project.open(Path(folder))
        (parent,) = base(project)
        draw = random.Random(20)
        told = own_pairs(project.path(parent), draw.sample(taught, options.pairs))
        path = write(Path(folder) / "pairs.jsonl", told)
        (pairs,) = preferences(project, PairSources(sources=[str(path)]))
        params = AlignSettings(
            minutes=options.minutes,
            max_steps=options.steps,
            objective=options.objective,
            learning_rate=options.rate,
            beta=options.beta,
            nll=options.nll,
            mlflow="off",
        )
        (made,) = align(project, params, model=parent, preferences=pairs)
        asked = draw.sample(held_out, min(options.prompts, len(held_out)))
        before = answers(project.path(parent), asked)
        after = answers(project.path(made), asked)
    for number in range(3):
        print(f"? {asked[number]['prompt']}\n  parent:  {before[number][0]!r}", file=sys.stderr)
        print(f"  aligned: {after[number][0]!r}", file=sys.stderr)
    quality = {
        **judged(asked, before, after),
        **facts(made.meta),
        "rate": options.rate,
        "beta": options.beta,
        "nll": options.nll,
    }
    wins = float(quality["win_rate"])
    Result("dpo", wins, 0.5, wins / 0.5, "share of prompts won", quality).print()


def rows(names: Sequence[str]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Pairs to learn from, and pairs of the modules that are kept away."""
    taught: list[dict[str, str]] = []
    held_out: list[dict[str, str]] = []
    for number, name in enumerate(names):
        side = held_out if number % HELD_OUT_EVERY == 1 else taught
        side += pairs_of(name)
    return taught, held_out


def pairs_of(name: str) -> Iterator[dict[str, str]]:
    """A pair for each function or class of a module whose documentation goes on after a line."""
    module = importlib.import_module(name)
    for member in sorted(vars(module)):
        thing = vars(module)[member]
        is_own = str(getattr(thing, "__module__", "")).partition(".")[0] == name.partition(".")[0]
        if member.startswith("_") or not callable(thing) or not is_own:
            continue
        text = inspect.getdoc(thing) or ""
        first, _, rest = text.partition("\n\n")
        chosen = " ".join(first.split())
        if 20 <= len(chosen) <= 120 and len(rest) > 100:
            rejected = f"{chosen} {' '.join(rest[:MOST_CHARS].split())}"
            prompt = f"What does {name}.{member} do in Python?"
            yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def own_pairs(folder: Path, asked: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The documentation's first sentence over the first that the model itself says."""
    found: list[dict[str, str]] = []
    for row, (text, _) in zip(asked, answers(folder, asked, TAUGHT_TOKENS), strict=True):
        first = SENTENCE.match(text)
        if first and first[0] != row["chosen"]:
            found.append({**row, "rejected": first[0]})
    return found


def write(path: Path, found: Sequence[Mapping[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


def answers(
    folder: Path, asked: Sequence[Mapping[str, str]], most: int = ANSWER_TOKENS
) -> list[tuple[str, int]]:
    """What a model says to each prompt, most likely token by token, and in how many tokens."""
    import torch

    model, tokenizer = folders.load(folder, "bf16")
    tokenizer.padding_side = "left"
    chats = [[{"role": "user", "content": row["prompt"]}] for row in asked]
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.no_grad():
        ids = model.eval().generate(**batch, max_new_tokens=most, do_sample=False)
    said = ids[:, batch["input_ids"].shape[1] :]
    ends = tokenizer.eos_token_id
    lengths = [int((row != ends).long().cumprod(0).sum()) for row in said]
    return [
        (tokenizer.decode(row[:length]), length) for row, length in zip(said, lengths, strict=True)
    ]


def judged(
    asked: Sequence[Mapping[str, str]],
    before: Sequence[tuple[str, int]],
    after: Sequence[tuple[str, int]],
) -> dict[str, Any]:
    """Which of two answers is closer to what was chosen, prompt by prompt."""
    from scipy.stats import binomtest

    draw = random.Random(20)
    scores = [
        compared(row, old, new, draw)
        for row, (old, _), (new, _) in zip(asked, before, after, strict=True)
    ]
    wins = sum(new > old for old, new in scores)
    ties = sum(new == old for old, new in scores)
    decided = len(scores) - ties
    test = binomtest(wins, max(decided, 1), 0.5)
    interval = test.proportion_ci(0.95, method="exact")
    return {
        "prompts": len(asked),
        "win_rate": round(wins / max(decided, 1), 4),
        "interval_95": [round(interval.low, 4), round(interval.high, 4)],
        "p": float(f"{test.pvalue:.3g}"),
        "wins": wins,
        "losses": decided - wins,
        "ties": ties,
        "f1_before": round(statistics.mean(old for old, _ in scores), 4),
        "f1_after": round(statistics.mean(new for _, new in scores), 4),
        "empty": sum(not new[1] for new in after),
        "tokens_before": round(statistics.mean(old[1] for old in before), 1),
        "tokens_after": round(statistics.mean(new[1] for new in after), 1),
    }


def compared(
    row: Mapping[str, str], old: str, new: str, draw: random.Random
) -> tuple[float, float]:
    """How close both answers are to the chosen one, at the length of the shorter."""
    asked = set(words(row["prompt"]))
    chosen, *both = (
        [word for word in words(text) if word not in asked] for text in (row["chosen"], old, new)
    )
    length = min(map(len, both))
    before, after = (closeness(run_of(each, length, draw), chosen) for each in both)
    return before, after if both[1] else -1.0


def run_of(said: Sequence[str], length: int, draw: random.Random) -> Sequence[str]:
    """``length`` words of ``said``, from a place drawn by chance."""
    first = draw.randint(0, len(said) - length)
    return said[first : first + length]


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def closeness(said: Sequence[str], chosen: Sequence[str]) -> float:
    """F1 of words."""
    shared = (Counter(said) & Counter(chosen)).total()
    return 2 * shared / max(1, len(said) + len(chosen))


def facts(meta: Mapping[str, Any]) -> dict[str, Any]:
    names = ("objective", "pairs", "examples", "steps", "seconds", "tokens_per_s")
    return {
        name: meta[name] for name in (*names, "first_loss", "last_loss", "parent_sound", "sound")
    }


def rendered(folder: Path, asked: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Prompts as the chat template writes them, so that both sides read the same tokens."""
    _, tokenizer = folders.load(folder, "bf16")
    return [
        {
            **row,
            "prompt": tokenizer.apply_chat_template(
                [{"role": "user", "content": row["prompt"]}],
                tokenize=False,
                add_generation_prompt=True,
            ),
        }
        for row in asked
    ]


if __name__ == "__main__":
    main()
