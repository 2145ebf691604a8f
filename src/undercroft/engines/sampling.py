"""`SamplingSettings` -> the fields that llama.cpp's server reads from a request.

The gateway and the evaluation both go through here, so the gate judges the tokens that users
will see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from undercroft.errors import NotFound

if TYPE_CHECKING:
    from undercroft.settings import SamplingSettings


#: DRY ("don't repeat yourself", llama.cpp PR #9702, after oobabooga PR #5677) lowers the logit of a
#: token that would lengthen a repeat of at least this many tokens, by multiplier * base^(n - this).
#: Dotted names and calls are often 4 tokens long and have to be repeatable; 2 is the default.
DRY_ALLOWED_LENGTH = 4
DRY_BASE = 1.75

#: A repeat is looked for only in this many last tokens. llama.cpp's default of the whole context
#: would also punish quoting the passages, which is what the assistant is for.
DRY_LAST_TOKENS = 64


def sampling_params(settings: SamplingSettings, seed: int | None = None) -> dict[str, Any]:
    """Request fields for ``/v1/chat/completions`` and ``/completion`` of llama.cpp.

    ``max_tokens`` is included; a caller with a limit of its own overwrites it. Without ``seed``
    the server draws one; at temperature 0 it makes no difference.
    """
    fields: dict[str, Any] = {
        "temperature": settings.temperature,
        "repeat_penalty": settings.repeat_penalty,
        "dry_multiplier": settings.dry_multiplier,
        "dry_base": DRY_BASE,
        "dry_allowed_length": DRY_ALLOWED_LENGTH,
        "dry_penalty_last_n": DRY_LAST_TOKENS,
        "max_tokens": settings.max_tokens,
    }
    if seed is not None:
        fields["seed"] = seed
    return fields


def adapter_fields(adapters: Mapping[str, int], name: str = "") -> dict[str, Any]:
    """Request fields that have the adapter ``name`` applied, of an engine's ``adapters``; without
    a name, none.

    Send them with *every* request to an engine that has adapters. llama.cpp answers a request that
    is silent about them without any, but from what the slot remembers of the prompt as the adapter
    before it read it (``launch_slot_with_task`` clears the slot only for requests that name some).
    Raises `NotFound` for a name that the engine does not have.
    """
    if not adapters:
        return {}
    if not name:
        return {"lora": [{"id": 0, "scale": 0.0}]}
    if name not in adapters:
        raise NotFound(f"The engine has no adapter {name!r}.", name, adapters)
    return {"lora": [{"id": adapters[name], "scale": 1.0}]}
