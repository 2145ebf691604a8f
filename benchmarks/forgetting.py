"""What is forgotten when tasks come one after the other, by method, and the same by Avalanche.

python -m benchmarks.forgetting [--seeds 3] [--no-peer]

Handwritten digits of 8 x 8 pixels (scikit-learn's, 1,797 of them), in three settings:

  split, task known   five tasks of two digits; which task is asked is known (task-incremental)
  split, task hidden  the same tasks; one of ten digits is asked (class-incremental)
  permuted            ten tasks, in each the pixels in another order (Kirkpatrick et al. 2017);
                      digits are enlarged to 20 x 20 in a border of 4, as MNIST's stand in 28 x 28

Every method trains by the one training loop with the same steps: plain training, L2 to where the
task began, EWC, replay of 200 examples (in each step as many old ones as new, as Avalanche does),
and all tasks together. Strengths are chosen on a seed that is not among those reported, Avalanche's
in the same way. ``gap_closed`` is the part of what multi-task training has over plain training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.compare import Result, peer_environment, table, version_of
from undercroft.evaluate.forgetting import Matrix, in_order
from undercroft.settings import LoopSettings
from undercroft.train.loop import Run
from undercroft.train.objectives import fisher
from undercroft.train.objectives.objective import Batch, Objective, Terms
from undercroft.train.objectives.penalties import Penalised, Quadratic, consolidated, to_start
from undercroft.train.samples.mixture import replayed

PEER = ["avalanche-lib==0.6.0"]
HIDDEN = 400  # Kirkpatrick et al. 2017, table 1
BATCH, MICRO, RATE = 32, 16, 1e-3
STEPS = {"split, task known": 300, "split, task hidden": 300, "permuted": 600}  # of each task
MEMORY, REPLAY_SHARE = 200, 0.5
MEASURED_ON = 150  # examples of a task that its Fisher is taken from
STRENGTHS = {
    "ewc": (100.0, 300.0, 1000.0, 10000.0),
    "l2": (0.01, 0.1, 1.0),
}
CHOSEN_ON = 1000  # the seed that strengths are chosen on
METHODS = ("none", "l2", "ewc", "replay", "multi-task")

Example = tuple[Tensor, int, Tensor]
"""Pixels, digit, and what is added to the logits: nothing for digits that may be answered."""


@dataclass(frozen=True)
class Task:
    train: list[Example]
    test: list[Example]


class Digits:
    """Cross-entropy of the digit."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        x_ad, labels_a, closed_ac = zip(*examples, strict=True)
        tensors = {
            "x_ad": torch.stack(x_ad),
            "labels_a": torch.tensor(labels_a),
            "closed_ac": torch.stack(closed_ac),
        }
        return Batch(tensors, len(examples), len(examples), len(examples))

    def terms(self, model: Any, batch: Batch) -> Terms:
        logits_ac = logits(model, batch)
        labels_a = batch.tensors["labels_a"]
        right = int((logits_ac.argmax(-1) == labels_a).sum())
        loss = functional.cross_entropy(logits_ac, labels_a, reduction="sum")
        return Terms(loss, batch.count, {"token_accuracy": (float(right), batch.count)})


def logits(model: Any, batch: Batch) -> Tensor:
    found: Tensor = model(batch.tensors["x_ad"]) + batch.tensors["closed_ac"]
    return found


def network(pixels: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(pixels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
        nn.Linear(HIDDEN, 10),
    )  # fmt: skip


# ------------------------------------------------------------------------------------ settings


def digits(seed: int) -> tuple[Any, Any, Any, Any]:
    """A quarter of each digit is kept for the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    return train_test_split(
        (x / 16).astype(np.float32), y, test_size=0.25, stratify=y, random_state=seed
    )


def split(seed: int, is_known: bool) -> list[Task]:
    x, x_test, y, y_test = digits(seed)
    tasks = []
    for first in range(0, 10, 2):
        pair = (first, first + 1)
        closed = torch.zeros(10)
        if is_known:
            closed[[digit for digit in range(10) if digit not in pair]] = -1e9
        inside, inside_test = np.isin(y, pair), np.isin(y_test, pair)
        tasks.append(
            Task(
                examples(x[inside], y[inside], closed),
                examples(x_test[inside_test], y_test[inside_test], closed),
            )
        )
    return tasks


def permuted(seed: int) -> list[Task]:
    x, x_test, y, y_test = digits(seed)
    x, x_test = enlarged(x), enlarged(x_test)
    draw = np.random.default_rng(seed)
    orders = [np.arange(784), *(draw.permutation(784) for _ in range(9))]
    closed = torch.zeros(10)
    return [
        Task(examples(x[:, order], y, closed), examples(x_test[:, order], y_test, closed))
        for order in orders
    ]


def enlarged(x: Any) -> Any:
    """Bilinear, from 64 pixels to 784 of which the border is empty."""
    from scipy.ndimage import zoom

    grown = zoom(x.reshape(-1, 8, 8), (1, 2.5, 2.5), order=1)
    return np.pad(grown, ((0, 0), (4, 4), (4, 4))).reshape(len(x), -1).astype(np.float32)


def examples(x: Any, y: Any, closed: Tensor) -> list[Example]:
    rows = torch.from_numpy(np.ascontiguousarray(x))
    return [(row, int(label), closed) for row, label in zip(rows, y, strict=True)]


SETTINGS: dict[str, Callable[[int], list[Task]]] = {
    "split, task known": lambda seed: split(seed, True),
    "split, task hidden": lambda seed: split(seed, False),
    "permuted": permuted,
}

# ------------------------------------------------------------------------------------- methods


def matrix(setting: str, method: str, strength: float, seed: int) -> Matrix:
    """Accuracy on each task's test after each task; of all together there is one row."""
    tasks, steps = SETTINGS[setting](seed), STEPS[setting]
    model = network(len(tasks[0].train[0][0]), seed)
    if method == "multi-task":
        together = [example for task in tasks for example in task.train]
        train(model, Digits(), grouped(together, seed), steps=steps * len(tasks), seed=seed)
        names = ("all",)
        return Matrix(names, domains(tasks), accuracies(model, tasks)[None], (None,) * len(tasks))
    rows, held = [], None
    for number, task in enumerate(tasks):
        goal: Objective[Any] = Digits()
        if method == "l2":
            goal = Penalised(goal, [to_start(strength, model)] if number else [])
        if held is not None:
            goal = Penalised(goal, [held])
        samples: Sequence[Any] = grouped(task.train, seed)
        batch = BATCH
        if method == "replay" and number:
            samples = replayed(samples, memory(tasks[:number], seed), REPLAY_SHARE, seed)
            batch = 2 * BATCH
        train(model, goal, samples, steps=steps, seed=seed + number, batch=batch)
        if method == "ewc":
            held = held_also(held, strength, model, task, seed)
        rows.append(accuracies(model, tasks))
    learnt = tuple(f"after {name}" for name in domains(tasks))
    return Matrix(learnt, domains(tasks), np.array(rows), in_order(len(tasks), len(tasks)))


def train(
    model: nn.Module,
    goal: Objective[Any],
    samples: Any,
    *,
    steps: int,
    seed: int,
    batch: int = BATCH,
) -> None:
    params = LoopSettings(
        max_steps=steps, batch_size=batch, micro_batch_size=MICRO, learning_rate=RATE,
        precision="fp32", seed=seed, checkpoint_seconds=1e9, mlflow="off",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Run(
            model, goal, samples, params, folder=Path(folder), config_digest="",
            event=lambda kind, detail: None,
        ).train(lambda point, schedule: None)  # fmt: skip


def held_also(
    held: Quadratic | None, strength: float, model: nn.Module, task: Task, seed: int
) -> Quadratic:
    """What holds the model to this task too."""
    order = np.random.default_rng(seed).permutation(len(task.train))[:MEASURED_ON]
    one_by_one = (Digits().collate([task.train[at]]) for at in order)
    new = consolidated(strength, model, fisher.exact_diagonal(model, one_by_one, logits))
    return held.merged(new) if held else new


def memory(earlier: Sequence[Task], seed: int) -> list[list[tuple[Example, ...]]]:
    """The examples kept of each task: `MEMORY` of all together."""
    each = MEMORY // len(earlier)
    return [grouped(task.train, seed + number, each) for number, task in enumerate(earlier)]


def grouped(
    found: Sequence[Example], seed: int, most: int | None = None
) -> list[tuple[Example, ...]]:
    """``most`` examples in groups that are read in one pass."""
    order = np.random.default_rng(seed).permutation(len(found))[:most]
    return [tuple(found[at] for at in order[i : i + MICRO]) for i in range(0, len(order), MICRO)]


def accuracies(model: nn.Module, tasks: Sequence[Task]) -> Any:
    with torch.no_grad():
        batches = [Digits().collate(task.test) for task in tasks]
        return np.array(
            [
                float((logits(model, b).argmax(-1) == b.tensors["labels_a"]).float().mean())
                for b in batches
            ]
        )


def domains(tasks: Sequence[Task]) -> tuple[str, ...]:
    return tuple(f"task {number}" for number in range(1, len(tasks) + 1))


def chosen(setting: str, method: str) -> float:
    """The strength that is best on the seed for choosing; 0 for methods that have none."""
    by_average = {
        strength: matrix(setting, method, strength, CHOSEN_ON).average
        for strength in STRENGTHS.get(method, ())
    }
    return max(by_average, key=lambda strength: by_average[strength], default=0.0)


# ---------------------------------------------------------------------------------------- peer


def peer(setting: str, seeds: Sequence[int]) -> dict[str, Any]:
    """The same tasks by Avalanche: for each method its strength and a matrix for each seed."""
    binaries = peer_environment("avalanche", PEER)
    script = Path(__file__).parent / "peers" / "avalanche_digits.py"
    with tempfile.TemporaryDirectory() as folder:
        for seed in (CHOSEN_ON, *seeds):
            arrays = {}
            for number, task in enumerate(SETTINGS[setting](seed)):
                for part, rows in (("train", task.train), ("test", task.test)):
                    arrays[f"x_{part}_{number}"] = np.stack([x.numpy() for x, _, _ in rows])
                    arrays[f"y_{part}_{number}"] = np.array([y for _, y, _ in rows])
            np.savez(Path(folder) / f"{seed}.npz", **arrays)
        told = {
            "folder": folder, "chosen_on": CHOSEN_ON, "seeds": list(seeds), "hidden": HIDDEN,
            "pixels": arrays["x_train_0"].shape[1],
            "steps": STEPS[setting], "batch": BATCH, "rate": RATE, "memory": MEMORY,
            "strengths": STRENGTHS["ewc"], "is_known": setting.endswith("known"),
        }  # fmt: skip
        command = [str(binaries / "python"), str(script), json.dumps(told)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# -------------------------------------------------------------------------------------- report


def summary(matrices: Sequence[Matrix]) -> dict[str, float]:
    """Means over seeds, and the spread of the accuracy between them."""
    averages = [each.average for each in matrices]
    transfers = [each.backward_transfer or 0.0 for each in matrices]
    losses = [each.forgetting or 0.0 for each in matrices]
    return {
        "accuracy": round(float(np.mean(averages)), 4),
        "sd": round(float(np.std(averages, ddof=1)) if len(averages) > 1 else 0.0, 4),
        "backward_transfer": round(float(np.mean(transfers)), 4),
        "forgetting": round(float(np.mean(losses)), 4),
    }


def measured(setting: str, seeds: Sequence[int], has_peer: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for method in METHODS:
        strength = chosen(setting, method)
        matrices = [matrix(setting, method, strength, seed) for seed in seeds]
        found[method] = {"strength": strength, **summary(matrices)}
        print(f"{setting}: {method} {found[method]}", file=sys.stderr, flush=True)
        if method in ("none", "ewc", "replay"):
            print(drawn(matrices[0]), file=sys.stderr, flush=True)
    if has_peer:
        for method, told in peer(setting, seeds).items():
            names = [f"task {number + 1}" for number in range(len(told["matrices"][0]))]
            theirs = [
                Matrix(tuple(names), tuple(names), np.array(rows), in_order(len(names), len(names)))
                for rows in told["matrices"]
            ]
            found[f"Avalanche {method}"] = {"strength": told["strength"], **summary(theirs)}
    none, joint = found["none"]["accuracy"], found["multi-task"]["accuracy"]
    for line in found.values():
        line["gap_closed"] = round((line["accuracy"] - none) / (joint - none), 3)
    return found


def drawn(found: Matrix) -> str:
    rows = [[name, *map(float, row)] for name, row in zip(found.models, found.scores, strict=True)]
    return table(["", *found.domains], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds = list(range(options.seeds))
    found = {name: measured(name, seeds, not options.no_peer) for name in options.settings}
    for setting, lines in found.items():
        heads = [setting, "accuracy", "sd", "backward", "forgetting", "gap closed", "strength"]
        rows = [
            [name, *(line[key] for key in ("accuracy", "sd", "backward_transfer", "forgetting",
             "gap_closed", "strength"))]
            for name, line in lines.items()
        ]  # fmt: skip
        print(table(heads, rows) + "\n")
    last = found.get("permuted", next(iter(found.values())))
    ours = float(last["ewc"]["accuracy"])
    theirs = float(last.get("Avalanche ewc", {"accuracy": 0.0})["accuracy"])
    quality = {"settings": found, "steps": STEPS, "seeds": options.seeds}
    if not options.no_peer:
        binaries = peer_environment("avalanche", PEER)
        quality["peer"] = f"avalanche-lib {version_of(binaries, 'avalanche-lib')}"
    ratio = round(ours / theirs, 3) if theirs else 0.0
    Result("forgetting", ours, theirs, ratio, "accuracy after ten tasks, EWC", quality).print()


if __name__ == "__main__":
    main()
