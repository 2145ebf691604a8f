"""Settings of training in several processes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from undercroft.settings.section import Section

FP8_UNITS: Final = "NVIDIA's Ada and Hopper, AMD's MI300, and what came after them"

Precision = Literal["bf16", "fp16", "fp32", "fp8"]


def _is_known(device: Any) -> Any:
    if isinstance(device, str) and not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"a device is auto, cpu, cuda or cuda:N, such as cuda:1, and not {device}")
    return device


Device = Annotated[str, BeforeValidator(_is_known)]


class ParallelSettings(Section):
    """How a run is laid out over processes, and what it saves in memory.

    Whole copies of the model are what is left: processes / (shard * tensor * pipeline).
    """

    processes: int = Field(1, gt=0, description="processes that train one model together")
    shard: int = Field(
        1, gt=0, description="processes over which the weights of every block are spread (FSDP)"
    )
    tensor: int = Field(
        1, gt=0, description="processes that share every matrix of a block; a divisor of kv_heads"
    )
    sequence: bool = Field(
        False, description="with tensor: the stream between matrices is shared by tokens too"
    )
    pipeline: int = Field(1, gt=0, description="processes that hold some blocks each, in a row")
    schedule: Literal["1f1b", "gpipe", "interleaved", "zero_bubble"] = Field(
        "1f1b", description="in which order a pipeline goes forward and back"
    )
    chunks: int = Field(
        2, gt=1, description="with the interleaved schedule: runs of blocks a process holds"
    )
    activation_checkpointing: bool = Field(
        False, description="keep a block's input alone and compute the rest again going back"
    )
    compile: Literal["", "aot_eager", "inductor"] = Field(
        "", description="compile each block by this backend of torch; inductor needs a C++ compiler"
    )
