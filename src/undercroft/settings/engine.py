"""How a local engine computes; `undercroft serve tune` measures what is best on a machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from undercroft.settings.section import Section


class EngineSettings(Section):
    """How llama.cpp computes. What is written here changes speed, and with q8_0 a little more."""

    speculation: Literal["off", "ngram"] = Field(
        "off", description="ngram: guess runs of tokens from the prompt, which answers often quote"
    )
    kv_cache: Literal["f16", "q8_0"] = Field(
        "f16", description="numbers of the attention cache; q8_0 takes half the memory"
    )
    prompt_batch: int = Field(
        512, ge=32, le=4096, description="tokens of one matrix product while a prompt is read"
    )
