"""The machines of a Ray cluster as hosts: on each node an actor that keeps a nursery.

The actor only starts ranks and tells which ended, so that it answers while they compute, and can
kill one that is stopped. The folder of the run has to be the same on all nodes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from undercroft.errors import BadInput, MissingExtra
from undercroft.settings import ClusterSettings
from undercroft.spread.on_ray import connect
from undercroft.train.launch.host import Host, HostLost, Machine
from undercroft.train.launch.rank import Seat

_ANSWER_S = 8.0
_START_S = 400.0  # to import everything, on a node that is busy
_SHUNNED_S = 60.0  # a node that was lost is not tried again for so long


class RayHosts:
    """As many ranks as there are processors, or devices where ``device`` is one and there are some,
    spread over the nodes that are alive."""

    def __init__(self, cluster: ClusterSettings, log: Path, device: str = "cpu") -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtra("ray", "ray") from None
        self._ray: Any = ray
        self._log = log
        self._wants_devices = device != "cpu"
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            connect(ray, cluster.address)
        self._nodes: dict[str, _Node] = {}
        self._lost: dict[str, float] = {}

    def seats(self, most: int) -> list[tuple[Host, int]]:
        self._forget_lost()
        room, on_devices = self._room()
        wanted = _shares(room, most)
        for name, node in list(self._nodes.items()):
            if wanted.get(name) != node.cores:
                self._nodes.pop(name).end()
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in self._ray.nodes()}
        for name, share in wanted.items():
            if name not in self._nodes:
                self._nodes[name] = _Node(
                    self._ray, name, addresses[name], share, self._log, on_devices=on_devices
                )
        found: list[tuple[Host, int]] = []
        for name in wanted:
            try:
                self._nodes[name].check(self._log.parent)
                found.append((self._nodes[name], wanted[name]))
            except HostLost:
                continue
        return found

    def close(self) -> None:
        for node in self._nodes.values():
            node.end()
        if self._is_ours:
            self._ray.shutdown()

    def _forget_lost(self) -> None:
        now = time.monotonic()
        for name, node in list(self._nodes.items()):
            if node.is_lost:
                self._lost[name] = now
                self._nodes.pop(name).end()
        self._lost = {n: since for n, since in self._lost.items() if now - since < _SHUNNED_S}

    def _room(self) -> tuple[dict[str, int], bool]:
        """How many ranks each node that is alive takes: one a processor; or one a device, if those
        are wanted and any node has some."""
        alive = {
            node["NodeID"]: node["Resources"]
            for node in self._ray.nodes()
            if node["Alive"] and node["NodeID"] not in self._lost
        }
        processors = {name: int(has.get("CPU", 0)) for name, has in alive.items()}
        devices = {
            name: min(int(has.get("GPU", 0)), processors[name]) for name, has in alive.items()
        }
        if self._wants_devices and any(devices.values()):
            return devices, True
        return processors, False


class _Node:
    """One node, by the actor on it."""

    def __init__(
        self, ray: Any, node_id: str, address: str, share: int, log: Path, *, on_devices: bool
    ) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.name = f"{address} ({node_id[:8]})"
        self.address = address
        self.cores = share
        self.is_lost = False
        self._ray = ray
        here = NodeAffinitySchedulingStrategy(node_id, soft=False)
        kind = ray.remote(
            num_cpus=share,
            num_gpus=share * on_devices,  # of which Ray tells the actor, and so its ranks
            max_restarts=0,
            scheduling_strategy=here,
        )(_Agent)
        self._agent: Any = kind.remote(log, self.name, share)

    def check(self, folder: Path) -> None:
        """Return when the node is ready; raises `BadInput` when it does not see ``folder``."""
        if not self._ask("sees", folder, timeout_s=_START_S):
            raise BadInput(
                f"The node {self.name} does not see {folder}.",
                "Ranks leave their checkpoints in the project's folder.",
                "Put the project on storage that all nodes share, at the same path.",
            )

    def start(self, job: bytes, seats: Sequence[Seat]) -> Mapping[int, int]:
        found: dict[int, int] = self._ask("start", job, list(seats), timeout_s=_START_S)
        return found

    def ended(self) -> Mapping[int, int]:
        found: dict[int, int] = self._ask("ended")
        return found

    def speak(self) -> None:
        self._ask("speak")

    def kill(self) -> None:
        self._ask("kill")

    def end(self) -> None:
        """Give the node back."""
        self._ray.kill(self._agent)

    def _ask(self, what: str, *arguments: Any, timeout_s: float = _ANSWER_S) -> Any:
        from ray import exceptions

        if self.is_lost:
            raise HostLost(f"the node {self.name} was lost")
        try:
            asked = getattr(self._agent, what).remote(*arguments)
            return self._ray.get(asked, timeout=timeout_s)
        except (exceptions.RayActorError, exceptions.GetTimeoutError) as error:
            self.is_lost = True
            raise HostLost(f"the node {self.name} was lost: {type(error).__name__}") from None
        except exceptions.RayTaskError as error:
            raise error.cause or error from None


class _Agent:
    """On a node: what `Machine` does there."""

    def __init__(self, log: Path, name: str, cores: int) -> None:
        self._machine = Machine(log, name, cores)

    def sees(self, folder: Path) -> bool:
        return folder.is_dir()

    def start(self, job: bytes, seats: list[Seat]) -> dict[int, int]:
        return dict(self._machine.start(job, seats))

    def ended(self) -> dict[int, int]:
        return dict(self._machine.ended())

    def speak(self) -> None:
        self._machine.speak()

    def kill(self) -> None:
        self._machine.kill()


def _shares(processors: Mapping[str, int], most: int) -> dict[str, int]:
    """Ranks for each node, ``most`` in all, as even as their processors allow."""
    shares = dict.fromkeys(processors, 0)
    while sum(shares.values()) < most:
        free = [name for name in shares if shares[name] < processors[name]]
        if not free:
            break
        shares[min(free, key=lambda name: shares[name])] += 1
    return {name: share for name, share in shares.items() if share}
