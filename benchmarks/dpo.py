"""Does an aligned model do what its pairs prefer? Short answers over long, by an exact sign test.

python -m benchmarks.dpo [--minutes 2] [--prompts 40] [--objective dpo] [--oracle]

Functions of Python's library, known by their documentation, are asked about with the parent. Of its
own answers the first sentence was chosen, and the whole rejected. Functions of modules kept away
from training are asked about with the parent and the aligned model, greedily; the shorter answer
wins, unless it is empty. With ``--oracle`` the losses of a batch are compared with TRL's, in an
environment of its own.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare import Result, peer_environment
from benchmarks.main_job import PEER
from undercroft.collect.preferences import PairSources, preferences
from undercroft.project import Project
from undercroft.settings import AlignSettings
from undercroft.train import models
from undercroft.train.align import align
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
SENTENCE = re.compile(r".{20,}?[.!?](?=\s)", re.DOTALL)
ORACLE_BETA = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--pairs", type=int, default=96, help="Prompts that pairs are made of.")
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--objective", choices=["dpo", "ipo"], default="dpo")
    parser.add_argument("--oracle", action="store_true")
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
            objective=options.objective,
            learning_rate=1e-3,
            batch_size=4,
        )
        (made,) = align(project, params, model=parent, preferences=pairs)
        asked = draw.sample(held_out, min(options.prompts, len(held_out)))
        before = answers(project.path(parent), asked)
        after = answers(project.path(made), asked)
        quality = {**judged(before, after), **facts(made.meta), "prompts": len(asked)}
        if options.oracle:
            quality["trl"] = oracle(project.path(parent), project.path(made), asked[:4])
        for number in range(3):
            print(f"? {asked[number]['prompt']}\n  parent:  {before[number][0]!r}", file=sys.stderr)
            print(f"  aligned: {after[number][0]!r}", file=sys.stderr)
    wins = float(quality["win_rate"])
    Result("dpo", wins, 0.5, wins / 0.5, "share of prompts won", quality).print()


def rows(names: Sequence[str]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Pairs to learn from, and pairs of the modules that are kept away."""
    taught: list[dict[str, str]] = []
    held_out: list[dict[str, str]] = []
    for number, name in enumerate(names):
        side = taught if number % HELD_OUT_EVERY else held_out
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
    """Of what the model itself answers, the first sentence over the whole."""
    found: list[dict[str, str]] = []
    for row, (text, _) in zip(asked, answers(folder, asked, TAUGHT_TOKENS), strict=True):
        first = SENTENCE.match(text)
        if first and len(text) > len(first[0]) + 40:
            found.append({"prompt": row["prompt"], "chosen": first[0], "rejected": text})
    return found


def write(path: Path, found: Sequence[Mapping[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


def answers(
    folder: Path, asked: Sequence[Mapping[str, str]], most: int = ANSWER_TOKENS
) -> list[tuple[str, int]]:
    """What a model says to each prompt, most likely token by token, and in how many tokens."""
    import torch

    model, tokenizer = models.load(folder, "bf16")
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
    before: Sequence[tuple[str, int]], after: Sequence[tuple[str, int]]
) -> dict[str, float | list[float] | int]:
    """The shorter answer wins, unless it says nothing; equal ones count for neither."""
    from scipy.stats import binomtest

    wins = sum(0 < new[1] < old[1] for old, new in zip(before, after, strict=True))
    ties = sum(new[1] == old[1] for old, new in zip(before, after, strict=True))
    decided = len(before) - ties
    test = binomtest(wins, max(decided, 1), 0.5)
    interval = test.proportion_ci(0.95, method="exact")
    return {
        "win_rate": round(wins / max(decided, 1), 4),
        "interval_95": [round(interval.low, 4), round(interval.high, 4)],
        "p": float(f"{test.pvalue:.3g}"),
        "wins": wins,
        "losses": decided - wins,
        "ties": ties,
        "empty": sum(not new[1] for new in after),
        "tokens_before": round(sum(old[1] for old in before) / len(before), 1),
        "tokens_after": round(sum(new[1] for new in after) / len(after), 1),
    }


def facts(meta: Mapping[str, Any]) -> dict[str, Any]:
    names = ("objective", "pairs", "examples", "steps", "seconds", "tokens_per_s")
    return {name: meta[name] for name in (*names, "first_loss", "last_loss")}


def oracle(parent: Path, policy: Path, asked: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The loss of a batch by ours and by TRL, policy against parent, both in float32."""
    binaries = peer_environment("trl", PEER)
    script = Path(__file__).parent / "peers" / "trl_preferences.py"
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "rendered.jsonl", rendered(parent, asked))
        command = [str(binaries / "python"), str(script), str(parent), str(policy), str(path)]
        done = subprocess.run(
            [*command, str(ORACLE_BETA)], check=True, capture_output=True, text=True
        )
    theirs: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {
        name: {"ours": ours(parent, policy, asked, name), "trl": theirs[name]} for name in theirs
    }


def rendered(folder: Path, asked: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Prompts as the chat template writes them, so that both sides read the same tokens."""
    _, tokenizer = models.load(folder, "bf16")
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


def ours(parent: Path, policy: Path, asked: Sequence[Mapping[str, str]], name: str) -> float:
    """The mean loss of the batch by our objective."""
    import torch

    from undercroft.collect.preferences import preference_of
    from undercroft.train.objectives import preference as goals

    before, tokenizer = models.load(parent, "fp32")
    after, _ = models.load(policy, "fp32")
    pairs, _ = goals.encode(tokenizer, [preference_of(row, "") for row in asked], 4096)

    def reference(_: Any, batch: Any) -> Any:
        return goals.log_probs(before, batch)

    goal = goals.Likelier(name, ORACLE_BETA, reference)
    with torch.no_grad():
        terms = goal.terms(after.eval(), goal.collate(pairs))
    return float(terms.loss_sum) / terms.count


if __name__ == "__main__":
    main()
