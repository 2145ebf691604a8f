"""A step through a pipeline: what stages hand each other, in the order of `orders`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from undercroft.train.parallel.device import CPU
from undercroft.train.parallel.orders import Action, order
from undercroft.train.parallel.stages import Chunk
from undercroft.train.parallel.team import Group

Forward = Callable[[Chunk, int, Tensor | None], Tensor]
"""``(stage, micro-batch, what the stage before gave) -> what the next gets``; the last one's is a
loss."""


@dataclass
class Pipeline:
    """The stages ``chunks`` of this rank among those of ``group``, which computes on ``device``."""

    group: Group
    chunks: Sequence[Chunk]
    schedule: str
    deferred: Deferred | None = None
    device: torch.device = CPU
    _waits: list[tuple[Callable[[], Any], Tensor]] = field(init=False, default_factory=list)

    def run(self, sizes: Sequence[tuple[int, ...]], dtype: torch.dtype, forward: Forward) -> None:
        """Forward and back with every micro-batch, leaving gradients on the weights.

        ``sizes`` are those of what stages hand on, for each micro-batch; all ranks know them.
        """
        held: dict[tuple[int, int], tuple[Tensor | None, Tensor]] = {}
        found = order(self.schedule, self.group.size, len(self.chunks), len(sizes))
        for action in found.ranks[self.group.rank]:
            chunk, key = self.chunks[action.chunk], action[1:]
            if action.kind == "forward":
                received = None
                if not chunk.is_first:
                    received = self._receive(
                        chunk.stage - 1, chunk.stage, action.micro, sizes, dtype
                    )
                    received.requires_grad_()
                out = forward(chunk, action.micro, received)
                held[key] = received, out
                if not chunk.is_last:
                    self._send(out.detach(), chunk.stage, chunk.stage + 1, action.micro)
            elif action.kind == "backward":
                self._back(action, chunk, held.pop(key), sizes, dtype)
            elif self.deferred is not None:
                self.deferred.add(key)
        self._settle()

    def look(self, size: tuple[int, ...], dtype: torch.dtype, forward: Forward) -> None:
        """Forward with one micro-batch, without gradients."""
        with torch.no_grad():
            for chunk in self.chunks:
                received = None
                if not chunk.is_first:
                    received = self._receive(chunk.stage - 1, chunk.stage, 0, [size], dtype)
                out = forward(chunk, 0, received)
                if not chunk.is_last:
                    self._send(out, chunk.stage, chunk.stage + 1, 0)
        self._settle()

    def _settle(self) -> None:
        for wait, _ in self._waits:
            wait()
        self._waits.clear()

    def _back(
        self,
        action: Action,
        chunk: Chunk,
        held: tuple[Tensor | None, Tensor],
        sizes: Sequence[tuple[int, ...]],
        dtype: torch.dtype,
    ) -> None:
        received, out = held
        grad = None
        if not chunk.is_last:
            grad = self._receive(chunk.stage + 1, chunk.stage, action.micro, sizes, dtype)
        if self.deferred is not None:
            self.deferred.begin(action[1:])
        if out.requires_grad:
            torch.autograd.backward(out, grad)
        if received is not None:
            back = torch.zeros_like(received) if received.grad is None else received.grad
            self._send(back, chunk.stage, chunk.stage - 1, action.micro)

    def _tag(self, source: int, to: int, micro: int) -> int:
        """Of one message in a step, for both of its ends."""
        return (micro * len(self.chunks) * self.group.size + min(source, to)) * 2 + (to > source)

    def _send(self, tensor: Tensor, source: int, to: int, micro: int) -> None:
        sent = tensor.contiguous()
        tag = self._tag(source, to, micro)
        self._waits.append((self.group.send(sent, to % self.group.size, tag), sent))

    def _receive(
        self, source: int, to: int, micro: int, sizes: Sequence[tuple[int, ...]], dtype: torch.dtype
    ) -> Tensor:
        found = torch.empty(sizes[micro], dtype=dtype, device=self.device)
        self.group.receive(found, source % self.group.size, self._tag(source, to, micro))
        return found


class Deferred:
    """Gradients of matrices that are left for later: what they are made of is kept.

    The backward pass of a micro-batch then takes half the time, and the stage before need not wait
    for the other half (Qi et al. 2023).
    """

    def __init__(self, model: nn.Module) -> None:
        self._kept: dict[tuple[int, int], list[tuple[Tensor, Tensor, Tensor]]] = {}
        self._current: list[tuple[Tensor, Tensor, Tensor]] = []
        for layer in model.modules():
            if type(layer) is nn.Linear and layer.weight.requires_grad and layer.bias is None:
                layer.forward = self._forward_of(layer)

    def _forward_of(self, layer: nn.Linear) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            y: Tensor = _Later.apply(x, layer.weight, self)
            return y

        return forward

    def begin(self, key: tuple[int, int]) -> None:
        """What is kept from now on is of the pass ``key``."""
        self._current = self._kept.setdefault(key, [])

    def keep(self, weight: Tensor, x_nd: Tensor, grad_nk: Tensor) -> None:
        self._current.append((weight, x_nd, grad_nk))

    def add(self, key: tuple[int, int]) -> None:
        """Add to the weights' gradients what was kept for ``key``."""
        with torch.no_grad():
            for weight, x_nd, grad_nk in self._kept.pop(key, ()):
                found = grad_nk.T @ x_nd
                weight.grad = found if weight.grad is None else weight.grad.add_(found)


class _Later(torch.autograd.Function):  # type: ignore[misc]
    """x W' for W (out, in); going back, the gradient of x at once and that of W when it is time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, deferred: Deferred) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.deferred = weight, deferred
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:
        (x,) = ctx.saved_tensors
        ctx.deferred.keep(ctx.weight, x.flatten(0, -2), grad.flatten(0, -2))
        return (grad @ ctx.weight if ctx.needs_input_grad[0] else None), None, None


def spans(chunks: Sequence[Chunk], model: Any) -> Mapping[int, list[nn.Module]]:
    """The blocks of each of ``chunks``; of a model that is not cut, all of them."""
    if not chunks:
        return {0: list(model.model.layers)}
    return {chunk.stage: list(chunk.model.model.layers) for chunk in chunks}
