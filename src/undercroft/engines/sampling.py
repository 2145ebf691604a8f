"""`SamplingSettings` -> the fields that llama.cpp's server reads from a request.

The gateway and the evaluation both go through here, so the gate judges the tokens that users
will see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
