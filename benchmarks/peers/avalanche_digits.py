"""Tasks in a row by Avalanche: plain, EWC and replay; matrices of accuracy as one JSON line.

python avalanche_digits.py '{"folder": …, "seeds": …, …}', as benchmarks/forgetting.py calls it
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    told = json.loads(sys.argv[1])
    found = {}
    for method in ("none", "ewc", "replay"):
        strength = chosen(told) if method == "ewc" else 0.0
        matrices = [matrix(told, method, strength, seed) for seed in told["seeds"]]
        found[method] = {"strength": strength, "matrices": matrices}
    print(json.dumps(found))


def chosen(told: dict[str, Any]) -> float:
    """The strength that is best on the seed for choosing. Theirs has no half before it."""
    seed = told["chosen_on"]
    averages = {
        strength: np.mean(matrix(told, "ewc", strength, seed)[-1]) for strength in told["strengths"]
    }
    return max(averages, key=lambda strength: averages[strength])


def matrix(told: dict[str, Any], method: str, strength: float, seed: int) -> list[list[float]]:
    from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, ReplayPlugin
    from avalanche.training.supervised import Naive

    torch.manual_seed(seed)
    tasks = read(Path(told["folder"]) / f"{seed}.npz")
    benchmark = benchmark_of(tasks, told["is_known"])
    model = network(told)
    plugins: list[Any] = []
    if method == "ewc":
        plugins = [EWCPlugin(ewc_lambda=strength)]
    elif method == "replay":
        plugins = [ReplayPlugin(mem_size=told["memory"])]
    rows: list[list[float]] = []
    strategy = Naive(
        model=model, optimizer=torch.optim.Adam(model.parameters(), lr=told["rate"]),
        criterion=nn.CrossEntropyLoss(), train_mb_size=told["batch"], train_epochs=1,
        eval_mb_size=512, plugins=plugins, evaluator=EvaluationPlugin(),
    )  # fmt: skip
    for experience in benchmark.train_stream:
        batches = -(-len(experience.dataset) // told["batch"])
        strategy.train_epochs = max(1, round(told["steps"] / batches))
        strategy.train(experience, num_workers=0)
        rows.append(accuracies(model, tasks, told["is_known"]))
    return rows


def network(told: dict[str, Any]) -> nn.Module:
    """Two hidden layers; a head for each task where it is known which one is asked."""
    from avalanche.models import SimpleMLP, as_multitask

    shared = SimpleMLP(10, told["pixels"], told["hidden"], hidden_layers=2, drop_rate=0.0)
    return as_multitask(shared, "classifier") if told["is_known"] else shared


def read(path: Path) -> list[dict[str, torch.Tensor]]:
    arrays = np.load(path)
    names = ("x_train", "y_train", "x_test", "y_test")
    count = sum(name.startswith("x_train_") for name in arrays)
    return [
        {name: torch.from_numpy(arrays[f"{name}_{number}"]) for name in names}
        for number in range(count)
    ]


def benchmark_of(tasks: list[dict[str, torch.Tensor]], is_known: bool) -> Any:
    from avalanche.benchmarks import tensors_benchmark

    return tensors_benchmark(
        train_tensors=[(task["x_train"], task["y_train"]) for task in tasks],
        test_tensors=[(task["x_test"], task["y_test"]) for task in tasks],
        task_labels=[number if is_known else 0 for number in range(len(tasks))],
    )


def accuracies(
    model: nn.Module, tasks: list[dict[str, torch.Tensor]], is_known: bool
) -> list[float]:
    """Of tasks whose head is not there yet, the accuracy of guessing: it is not asked for later."""
    model.eval()
    found = []
    with torch.no_grad():
        for number, task in enumerate(tasks):
            try:
                logits = model(task["x_test"], number) if is_known else model(task["x_test"])
            except KeyError:
                found.append(0.5)
                continue
            found.append(float((logits.argmax(-1) == task["y_test"]).float().mean()))
    return found


if __name__ == "__main__":
    main()
