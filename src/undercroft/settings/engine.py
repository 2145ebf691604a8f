"""How a local engine computes; `undercroft serve tune` measures what is best on a machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from undercroft.settings.section import Section


class EngineSettings(Section):
    """How llama.cpp computes. What is written here changes speed, and with q8_0 a little more."""

    build: Literal["auto", "wheel", "native"] = Field(
        "auto",
        description="which llama.cpp: auto takes what `undercroft engine build` made for this "
        "processor where there is one, else the installed wheel",
    )
    speculation: Literal["off", "ngram", "draft"] = Field(
        "off",
        description="guess tokens, and have the model check several at once; ngram: runs from the "
        "prompt, which answers often quote; draft: what a smaller model says",
    )
    draft: str = Field(
        "", description="the smaller model that guesses: model:NAME, or the path of a GGUF file"
    )
    guess_tokens: int = Field(
        4, ge=1, le=64, description="tokens guessed at once; each wrong one was computed in vain"
    )
    draft_confidence: float = Field(
        0.5, ge=0, le=1, description="it stops guessing where it is less sure than this"
    )
    kv_cache: Literal["f16", "q8_0"] = Field(
        "f16", description="numbers of the attention cache; q8_0 takes half the memory"
    )
    flash_attention: bool = Field(
        True,
        description="attention in one pass over the cache; without it answers may be written "
        "faster on a processor, and prompts read slower (kv_cache q8_0 needs it)",
    )
    prompt_batch: int = Field(
        512, ge=32, le=4096, description="tokens of one matrix product while a prompt is read"
    )
    gpus: int = Field(1, gt=0, description="GPUs that one replica is spread over (vLLM)")
    gpu_memory: float = Field(
        0.9, gt=0, le=1, description="share of a GPU's memory that a replica takes (vLLM)"
    )
    vllm_flags: list[str] = Field(
        default_factory=list, description="further words of `vllm serve`, as they are"
    )

    @field_validator("flash_attention")
    @classmethod
    def _reads_the_cache(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and info.data.get("kv_cache") == "q8_0":
            raise ValueError("kv_cache = 'q8_0' can be read with flash attention only")
        return value
