"""What ranks leave of a model that none of them held whole: a checkpoint, which is its weights."""

from __future__ import annotations

import torch

from undercroft.errors import StageFailed
from undercroft.train.launch.job import Job, Parts
from undercroft.train.models import absent
from undercroft.train.standing import Standing
from undercroft.train.state.checkpoint import Event, Store


def taken_home(job: Job, parts: Parts, event: Event) -> Standing | None:
    """Where the run of ``job`` stands by its last checkpoint, from which the model of ``parts`` now
    comes, and its adapters are read.

    None when that model's weights are here. Raises `StageFailed` when there is no checkpoint.
    """
    source = absent.source_of(parts.model)
    if source is None:
        return None
    params = job.params
    store = Store(job.folder / "checkpoints", job.config_digest, params.checkpoints_kept, event)
    found = store.read()
    if found is None:
        raise StageFailed(
            "The ranks have left no checkpoint that can be read.",
            f"{job.folder / 'checkpoints'} holds none that is whole.",
            "Run the same command again, which trains from the beginning.",
        )
    now = Standing.at_start(params, len(parts.samples))
    now.take_up(found.state)
    absent.promise(parts.model, absent.Trained(found.tensors, source))
    with torch.no_grad():
        for name, weight in parts.model.named_parameters():
            if not weight.is_meta and f"master.{name}" in found.tensors:
                weight.copy_(found.tensors[f"master.{name}"])
    return now
