"""Distillation: a student learns what a teacher would have said, not only what was said.

At every target the student's distribution is drawn to the teacher's (Hinton et al. 2015), of which
the K likeliest tokens are known and the probability of all others together (`lessons`). The loss is

    share * t^2 * KL(teacher || student, both at temperature t) + (1 - share) * cross-entropy

over K + 1 outcomes. Lumping outcomes together can only lower a divergence, so that it is a bound
from below of that of whole distributions, and that itself where K is the vocabulary. Without the
rest as an outcome of its own the student would be pushed to be surer than its teacher is.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import replace
from typing import Any, Final, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from undercroft.train.objectives.branches import target_states
from undercroft.train.objectives.chunked import logits_in_chunks, summed
from undercroft.train.objectives.objective import Batch, Objective, Terms
from undercroft.train.samples.lessons import Lesson, Lessons, key

S = TypeVar("S", bound=Sized)

_TAUGHT: Final = tuple(f"taught_{name}" for name in Lesson._fields)


class Distillation:
    """``inner`` says what is read and which targets there are, ``lessons`` what a teacher says.

    ``share`` of the loss is the teacher's, the rest ``inner``'s own cross-entropy; temperature is
    the one that the lessons were made at.
    """

    is_one_pass = True

    def __init__(self, inner: Objective[Any], lessons: Lessons, share: float) -> None:
        self._inner = inner
        self._lessons = lessons
        self._share = share
        self._temperature = float(lessons.facts["temperature"])

    def collate(self, sample: Any, /) -> Batch | None:
        """As ``inner``, with the sample's lesson; raises `BadInput` when there is none for it."""
        batch = self._inner.collate(sample)
        if batch is None:
            return None
        lesson = self._lessons.of(key(batch.tensors))
        return replace(batch, tensors={**batch.tensors, **dict(zip(_TAUGHT, lesson, strict=True))})

    def terms(self, model: Any, batch: Batch) -> Terms:
        lesson = Lesson(*(batch.tensors[name] for name in _TAUGHT))
        labels_a = batch.tensors["labels_a"]

        def loss_of(logits_cv: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            part = Lesson(*(each[rows] for each in lesson))
            kl = divergence(logits_cv, part, self._temperature)
            own = functional.cross_entropy(logits_cv, labels_a[rows], reduction="sum")
            right = (logits_cv.detach().argmax(-1) == labels_a[rows]).sum()
            loss = self._share * self._temperature**2 * kl + (1 - self._share) * own
            return loss, torch.stack([kl.detach(), own.detach(), right.to(own.dtype)])

        loss, sums_3 = summed(model.lm_head, target_states(model, batch), loss_of)
        names = ("teacher_kl", "answer_loss", "token_accuracy")
        metrics = dict(zip(names, sums_3.cpu().tolist(), strict=True))
        return Terms(loss, batch.count, {name: (x, batch.count) for name, x in metrics.items()})


def divergence(logits_cv: Tensor, lesson: Lesson, temperature: float) -> Tensor:
    """KL(teacher || student) in nats, summed over C targets, of the tokens in ``lesson`` and all
    others as one."""
    log_cv = torch.log_softmax(logits_cv / temperature, dim=-1)
    tokens_ck = lesson.tokens_ak.long()
    teacher_ck = lesson.log_probs_ak.to(log_cv.dtype)
    kl = functional.kl_div(
        log_cv.gather(1, tokens_ck), teacher_ck, reduction="sum", log_target=True
    )
    if tokens_ck.shape[1] == log_cv.shape[1]:
        return kl
    rest_c = _rest(log_cv, tokens_ck)
    teacher_rest_c = lesson.log_rest_a.to(log_cv.dtype)
    return kl + functional.kl_div(rest_c, teacher_rest_c, reduction="sum", log_target=True)


@torch.no_grad()  # type: ignore[untyped-decorator]
def lesson_of(teacher: Any, batch: Batch, top_k: int, temperature: float) -> Lesson:
    """What ``teacher`` says at the targets of ``batch``; no more tokens than there are."""
    head = teacher.lm_head
    here = batch.to(head.weight.device)
    parts: list[Lesson] = []
    for _, logits_cv in logits_in_chunks(head, target_states(teacher, here)):
        log_cv = torch.log_softmax(logits_cv / temperature, dim=-1)
        log_probs_ck, tokens_ck = log_cv.topk(min(top_k, log_cv.shape[1]), dim=-1)
        rest_c = _rest(log_cv, tokens_ck)
        found = (tokens_ck.int(), log_probs_ck.float(), rest_c.float())
        parts.append(Lesson(*(each.cpu() for each in found)))
    return Lesson(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _kl(log_teacher: Tensor, log_student: Tensor) -> Tensor:
    return functional.kl_div(log_student, log_teacher, reduction="sum", log_target=True)


def _rest(log_cv: Tensor, tokens_ck: Tensor) -> Tensor:
    """The logarithm of the probability of all tokens but ``tokens_ck``, without cancellation."""
    return log_cv.scatter(1, tokens_ck, -torch.inf).logsumexp(-1)
