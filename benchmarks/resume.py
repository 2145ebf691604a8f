"""Exact resume: runs killed at random moments against one that nothing disturbed.

python -m benchmarks.resume [--kills 100] [--steps 60] [--seed 20] [--trouble]

A small Llama is pretrained on the Python language reference. Each run is killed (SIGKILL) up to
four times: at random moments, now and then before its first step, and every other time while a
checkpoint is being written. Every loss that any attempt logged, and the weights in
the end, must be those of the undisturbed run, bit for bit. With ``--trouble`` some samples give
losses that are not finite or far too high, so that runs skip steps, halve the rate and roll back.
The peer of the last line is what could have been: 100 of 100.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare import Result
from benchmarks.pretrain import pages
from undercroft.settings import PretrainSettings
from undercroft.train.loop import Run
from undercroft.train.models import scratch
from undercroft.train.objectives.next_token import NextToken
from undercroft.train.objectives.objective import Batch, Terms
from undercroft.train.optimizer import MasterAdamW
from undercroft.train.samples import corpus, packing, tokenizing

KILLS_PER_RUN = 4
LATEST_S = 0.05  # behind the step that was drawn: a few steps
TROUBLED_SHARE = 0.06
SPIKE, NOT_A_NUMBER = 50.0, float("nan")
POLL_S = 0.0002


@dataclass(frozen=True)
class Attempt:
    """One process: what it logged, and whether it was killed and while a checkpoint was made."""

    losses: Mapping[int, str]
    was_killed: bool
    in_save: bool


class Troubled(NextToken):
    """Some samples, by their ids alone, give a loss that is far too high or not a number."""

    def terms(self, model: Any, batch: Batch) -> Terms:
        terms = super().terms(model, batch)
        drawn = random.Random(":".join(batch.ids)).random()
        if drawn > TROUBLED_SHARE:
            return terms
        factor = SPIKE if drawn > TROUBLED_SHARE / 2 else NOT_A_NUMBER
        return replace(terms, loss_sum=terms.loss_sum * factor)


def main() -> None:
    parser = argparse.ArgumentParser(description="Killed runs against an undisturbed one.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--trouble", action="store_true")
    options = parser.parse_args()
    params = PretrainSettings(
        layers=2, width=64, heads=4, kv_heads=2, vocabulary=512, context=64, batch_size=8,
        micro_batch_size=4, max_steps=options.steps, learning_rate=5e-3, checkpoint_steps=7,
        checkpoint_seconds=0.15, guard_window=16, max_rollbacks=99,
    )  # fmt: skip
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    imported(params)
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_child(lambda: prepare(folder, params))
        trains = lambda own: lambda: one_run(folder, folder / own, params, options.trouble)  # noqa: E731
        in_child(trains("straight"))
        straight = losses_of(folder / "straight")
        attempts: list[Attempt] = []
        wrong_ends = 0
        while (kills := sum(each.was_killed for each in attempts)) < options.kills:
            print(f"{kills} kills", file=sys.stderr)
            own = f"killed-{len(attempts)}"
            most = min(KILLS_PER_RUN, options.kills - kills)
            attempts += killed(trains(own), folder / own, most, options.steps, draw)
            wrong_ends += end_of(folder / own) != end_of(folder / "straight")
        report(attempts, straight, wrong_ends, folder)


def imported(params: PretrainSettings) -> None:
    """Import all that training takes, once for all processes that are copies of this one."""
    import transformers.models.auto.tokenization_auto
    import transformers.models.llama.modeling_llama  # noqa: F401

    shape = scratch.shape_of(params, params.vocabulary)
    MasterAdamW(scratch.build(shape, params.precision, params.seed, {}), 0.0)


def in_child(work: Callable[[], None]) -> None:
    """Carry ``work`` out in a process of its own, and wait for it."""
    child = forked(work)
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"A process ended with {status}.")


def forked(work: Callable[[], None]) -> int:
    """A new process that does ``work``: a copy of this one, which has imported all it takes."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def prepare(folder: Path, params: PretrainSettings) -> None:
    """The corpus that all runs read."""
    texts = pages()[:200]
    tokenizer = tokenizing.learn(texts, params.vocabulary)
    tokenizing.save(tokenizer, folder / "corpus" / "tokenizer", params.context)
    tokens = list(tokenizing.marked(tokenizer, texts))
    import numpy as np

    np.concatenate(tokens).astype(np.uint32).tofile(folder / "corpus" / "tokens.bin")
    offsets = np.cumsum([0, *map(len, tokens)]).tolist()
    record = {"documents": [str(n) for n in range(len(texts))], "offsets": offsets}
    (folder / "corpus" / "documents.json").write_text(json.dumps(record))


def one_run(folder: Path, own: Path, params: PretrainSettings, trouble: bool) -> None:
    """Pretrain, going on from what checkpoints there are; logs each loss as it is known."""
    own.mkdir(exist_ok=True)
    read, tokenizer, _ = corpus.read(folder / "corpus")
    shape = scratch.shape_of(params, tokenizer.get_vocab_size())
    model = scratch.build(shape, params.precision, params.seed, tokenizing.special_ids(tokenizer))
    log = os.open(own / f"losses-{os.getpid()}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    run = Run(
        model,
        Troubled() if trouble else NextToken(),
        packing.pack(read, params.context, params.micro_batch_size, params.seed),
        params,
        folder=own / "checkpoints",
        config_digest="benchmark",
        event=lambda kind, detail: os.write(log, f"{kind} {detail['step']}\n".encode()) and None,
        section="pretrain",
    )
    run.train(lambda point, _: os.write(log, f"loss {point.step} {point.loss.hex()}\n".encode()))
    whole = hashlib.sha256()
    for weight in model.state_dict().values():
        whole.update(weight.view(torch.int16 if weight.itemsize == 2 else torch.int32).numpy())
    (own / "end").write_text(whole.hexdigest() + json.dumps(run.tally.losses))


def killed(
    work: Callable[[], None], own: Path, most: int, steps: int, draw: random.Random
) -> list[Attempt]:
    """One run to its end, killed up to ``most`` times on the way."""
    attempts = []
    for number in range(most):
        least = draw.randrange(2 * steps // KILLS_PER_RUN)
        child = forked(work)
        wait_until(child, lambda log=(own, child), least=least: len(losses_of(*log)) >= least)
        time.sleep(draw.random() * LATEST_S)
        if number % 2:
            wait_until(child, lambda: is_saving(own))
            time.sleep(draw.random() * LATEST_S / 10)
        in_save = is_saving(own)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        attempts.append(Attempt(losses_of(own, child), os.WIFSIGNALED(status), in_save))
        if not os.WIFSIGNALED(status):
            return attempts
    child = forked(work)
    os.waitpid(child, 0)
    return [*attempts, Attempt(losses_of(own, child), False, False)]


def wait_until(child: int, is_so: Callable[[], bool]) -> None:
    """Return when something is so, or ``child`` has ended."""
    while not is_so() and is_alive(child):
        time.sleep(POLL_S)


def is_saving(own: Path) -> bool:
    return any((own / "checkpoints").glob("making-*"))


def is_alive(child: int) -> bool:
    """Whether ``child`` has not ended; one that has can still be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def losses_of(own: Path, child: int | None = None) -> dict[int, str]:
    """Each step's loss, in all its digits, as one process or the only one logged it."""
    files = [own / f"losses-{child}"] if child else list(own.glob("losses-*"))
    lines = [line.split() for file in files if file.exists() for line in file.open()]
    return {int(words[1]): words[2] for words in lines if words[0] == "loss"}


def end_of(own: Path) -> str:
    """The digest of the weights and all losses, if the run came to its end."""
    file = own / "end"
    return file.read_text() if file.exists() else ""


def report(
    attempts: list[Attempt], straight: Mapping[int, str], wrong_ends: int, folder: Path
) -> None:
    """Print what was found; the ratio is the share of kills after which all was the same."""
    kills = [each for each in attempts if each.was_killed]
    after = [later for each, later in pairwise(attempts) if each.was_killed]
    same = [all(straight.get(step) == loss for step, loss in each.losses.items()) for each in after]
    logs = [line.split()[0] for file in folder.glob("*/losses-*") for line in file.open()]
    exact = sum(same)
    quality = {
        "kills": len(kills),
        "in_the_midst_of_a_save": sum(each.in_save for each in kills),
        "before_the_first_step": sum(not each.losses for each in kills),
        "steps_compared": sum(len(each.losses) for each in attempts),
        "steps_before_a_kill": statistics.median(len(each.losses) for each in kills),
        "runs_with_other_weights": wrong_ends,
        "events": {kind: logs.count(kind) for kind in sorted(set(logs) - {"loss"})},
        "equal": exact == len(kills) and not wrong_ends,
    }
    print(f"{exact} of {len(kills)} kills were followed by bit-identical losses")
    Result("resume", exact, len(kills), exact / max(1, len(kills)), "kills", quality).print()


if __name__ == "__main__":
    main()
