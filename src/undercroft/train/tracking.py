"""Training curves for MLflow, written by a child process so that training does not wait.

Importing MLflow and creating its database take seconds of pure Python. The child does that on the
side, reads points as JSON lines from its standard input, and writes them in batches; it ends when
the pipe does, however the parent ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_BATCH = 500  # MLflow takes at most 1,000 metrics at once
_CLOSE_TIMEOUT_S = 30.0
OFF = "off"


class Tracker:
    """Sends parameters and points to MLflow; never fails or delays the training."""

    def __init__(self, uri: str, experiment: str, run_name: str, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "undercroft.train.tracking", uri, experiment, run_name],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def params(self, values: Mapping[str, Any]) -> None:
        self._send({"params": {name: str(value)[:500] for name, value in values.items()}})

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._send({"step": step, "at": int(time.time() * 1000), "metrics": dict(values)})

    def close(self, wait_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Send no more; whether the child wrote it all within ``wait_s``.

        One that is not done by then goes on by itself.
        """
        try:
            if self._child.stdin is not None:
                self._child.stdin.close()
            return self._child.wait(wait_s) == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

    @classmethod
    def to(cls, uri: str, experiment: str, run_name: str, log: Path) -> Tracker | Untracked:
        """The tracker that writes to ``uri``; for ``off`` one that writes nowhere."""
        return Untracked() if uri == OFF else cls(uri, experiment, run_name, log)

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._child.stdin is None or self._child.poll() is not None:
            return
        try:
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()
        except OSError:
            pass  # the child died; its log says why, and the ledger has the points anyway


class Untracked:
    """Takes what a `Tracker` takes and does nothing with it."""

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self, wait_s: float = 0.0) -> bool:  # noqa: ARG002
        return True


def write(uri: str, experiment: str, run_name: str, lines: Iterable[str]) -> None:
    """Write the messages in ``lines`` as one MLflow run."""
    import mlflow
    from mlflow.entities import Metric, Param

    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    number = found.experiment_id if found else client.create_experiment(experiment)
    run = client.create_run(number, run_name=run_name).info.run_id
    waiting: list[Any] = []
    for line in lines:
        message = json.loads(line)
        if "params" in message:
            params = [Param(name, value) for name, value in message["params"].items()]
            client.log_batch(run, params=params)
            continue
        waiting += [
            Metric(name, value, message["at"], message["step"])
            for name, value in message["metrics"].items()
        ]
        if len(waiting) >= _BATCH:
            client.log_batch(run, metrics=waiting[:_BATCH])
            waiting = waiting[_BATCH:]
    if waiting:
        client.log_batch(run, metrics=waiting)
    client.set_terminated(run)


if __name__ == "__main__":
    os.nice(10)  # training comes first
    write(sys.argv[1], sys.argv[2], sys.argv[3], sys.stdin)
