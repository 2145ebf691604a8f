"""Tasks on a Ray cluster: what a node takes down with it is done again by another."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Generic, Self

from undercroft.errors import EngineFailed, MissingExtra
from undercroft.settings import ClusterSettings
from undercroft.spread.work import Died, Item, Landing, Result, Work

#: A lost node may take several tasks with it; what kills every worker it gets is given up sooner.
_RETRIES = 3
_PATIENCE_S = 5.0


class RayTasks:
    """A connection to the cluster at ``cluster.address``; empty starts Ray on this machine."""

    def __init__(self, cluster: ClusterSettings) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtra("ray", "ray") from None
        self._ray: Any = ray
        self._timeout_s = cluster.task_seconds
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            connect(ray, cluster.address)
        self.ahead = 2 * max(int(self._ray.cluster_resources().get("CPU", 1)), 1)
        self._run: Any = ray.remote(num_cpus=1, max_retries=_RETRIES)(_carry_out)

    def submit(self, work: Work[Item, Result], batch: Sequence[Item]) -> Landing[Result]:
        return _Pending(self._ray, self._run.remote(work, batch), self._timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            self._ray.shutdown()


def connect(ray: Any, address: str) -> None:
    """Join the cluster at ``address``, or start one; raises `EngineFailed` when there is none."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon and port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), _PATIENCE_S).close()
        ray.init(
            address=address or None, include_dashboard=False, log_to_driver=False, logging_level=30
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineFailed(
            f"There is no Ray cluster at {address or 'this machine'}.",
            f"{error}",
            'Start one with `ray start --head`, or set cluster.engine = "native".',
        ) from None


def _carry_out(work: Work[Item, Result], batch: Sequence[Item]) -> Result:
    return work(batch)


class _Pending(Generic[Result]):
    def __init__(self, ray: Any, reference: Any, timeout_s: float) -> None:
        self._ray = ray
        self._reference = reference
        self._timeout_s = timeout_s

    def result(self) -> Result:
        from ray import exceptions

        try:
            # Waiting for a free worker counts here too, hence the many times the limit.
            found: Result = self._ray.get(self._reference, timeout=20 * self._timeout_s)
        except exceptions.GetTimeoutError:
            self._ray.cancel(self._reference, force=True)
            raise Died(f"timeout: it takes more than {20 * self._timeout_s:g} s") from None
        except exceptions.OutOfMemoryError:
            raise Died("memory: it needs more memory than a worker may take") from None
        except exceptions.WorkerCrashedError:
            raise Died("killed: its worker died") from None
        except exceptions.RayTaskError as error:
            raise error.cause or error from None
        return found
