"""The number formats that weights and activations can be held in."""

from __future__ import annotations

from typing import Any, Final

NAMES: Final = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp8": "bfloat16"}


def dtype_of(precision: str) -> Any:
    """Torch's type for ``bf16``, ``fp16`` or ``fp32``; with ``fp8`` weights are in bf16, and only
    products are not."""
    import torch

    return getattr(torch, NAMES[precision])
