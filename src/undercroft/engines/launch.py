"""How an engine is to run, told once and spelt twice: for the wheel and for a native server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from undercroft.settings import EngineSettings
from undercroft.settings.section import Section

#: Memory for prompts of slots that were given to somebody else. llama.cpp's default is 8 GiB.
PROMPT_CACHE_MIB = 256

#: Tokens of a prompt that are handed to the engine's loop at once.
PROMPT_TOKENS_AT_ONCE = 2048

#: Tokens that have to stand in the prompt as they were just written, for what follows them there
#: to be guessed. Of llama.cpp's guesses, of 48 after 12, 5 % were right on answers that quote; of
#: guesses of 4 after 4, 66 % (lab book).
NGRAM_TOKENS = 4

#: llama.cpp log threshold: 1 errors, 2 warnings, 3 information.
LOG_LEVEL = 2

HOST = "127.0.0.1"


class Launch(Section):
    """Everything an engine process has to know. ``adapters`` are GGUF files; their places in the
    list are the ids that requests name. ``draft`` is the GGUF file of the model that guesses."""

    model: Path
    context: int
    slots: int
    threads: int
    port: int = 0
    embeddings: bool = False
    tuning: EngineSettings = EngineSettings()
    draft: Path | None = None
    adapters: tuple[Path, ...] = ()

    @property
    def batch(self) -> int:
        """Tokens in one batch: one input of embeddings is one batch."""
        return self.context if self.embeddings else PROMPT_TOKENS_AT_ONCE

    @property
    def prompt_cache_mib(self) -> int:
        """llama.cpp's prompt cache does not know which adapter a prompt was read with, and would
        give one tenant's state to another (``server_slot::prompt_load``)."""
        return 0 if self.adapters else PROMPT_CACHE_MIB

    @property
    def prompt_batch(self) -> int:
        return self.context if self.embeddings else self.tuning.prompt_batch


def wheel_parameters(launch: Launch) -> Any:
    """xllamacpp's `CommonParams`."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(launch.model)
    params.model_alias = {launch.model.stem}  # answers name it; the path is nobody's business
    params.n_parallel = launch.slots
    params.n_ctx = launch.context * launch.slots  # llama.cpp divides it by the slots
    params.kv_unified = False  # a long request must not take another slot's share
    params.fit_params = False  # never shrink the context silently
    params.n_batch, params.n_ubatch = launch.batch, launch.prompt_batch
    kind = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{launch.tuning.kv_cache.upper()}")
    params.cache_type_k = params.cache_type_v = kind
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = launch.threads
        cpu.poll = 0  # the gateway needs the core that a waiting thread would spin on
    attention = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = (
        attention.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if launch.tuning.flash_attention
        else attention.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.cache_ram_mib = launch.prompt_cache_mib
    params.hostnames = [HOST]
    params.port = launch.port
    params.ui = False
    params.endpoint_metrics = params.endpoint_slots = True
    params.verbosity = LOG_LEVEL
    params.embedding = launch.embeddings
    params.lora_adapters = [_adapter(each) for each in launch.adapters]
    _speculate(params, launch)
    return params


def _adapter(file: Path) -> Any:
    """Loaded, and not applied until a request names it."""
    import xllamacpp

    info = xllamacpp.CommonAdapterLoraInfo()
    info.path, info.scale = str(file), 0.0
    return info


def _speculate(params: Any, launch: Launch) -> None:
    import xllamacpp

    kinds = xllamacpp.common_speculative_type
    tuning, speculative = launch.tuning, params.speculative
    if tuning.speculation == "ngram":
        speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        speculative.ngram_simple.size_n = NGRAM_TOKENS
        speculative.ngram_simple.size_m = tuning.guess_tokens
    if tuning.speculation == "draft":
        speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        draft = speculative.draft
        draft.mparams.path = str(launch.draft)
        draft.n_max, draft.p_min = tuning.guess_tokens, tuning.draft_confidence
        for cpu in (draft.cpuparams, draft.cpuparams_batch):
            cpu.n_threads, cpu.poll = launch.threads, 0


def server_arguments(launch: Launch) -> list[str]:
    """The same for ``llama-server``, as its command line."""
    tuning, threads = launch.tuning, str(launch.threads)
    words = [
        *("--model", str(launch.model), "--alias", launch.model.stem),
        *("--parallel", str(launch.slots), "--ctx-size", str(launch.context * launch.slots)),
        *("--no-kv-unified", "--fit", "off"),
        *("--batch-size", str(launch.batch), "--ubatch-size", str(launch.prompt_batch)),
        *("--cache-type-k", tuning.kv_cache, "--cache-type-v", tuning.kv_cache),
        *("--threads", threads, "--threads-batch", threads, "--poll", "0", "--poll-batch", "0"),
        *("--flash-attn", "on" if tuning.flash_attention else "off"),
        *("--cache-ram", str(launch.prompt_cache_mib)),
        *("--host", HOST, "--port", str(launch.port), "--no-ui", "--offline"),
        *("--metrics", "--slots", "--log-verbosity", str(LOG_LEVEL)),
    ]
    words += ["--embeddings"] if launch.embeddings else []
    if launch.adapters:
        words += ["--lora-scaled", ",".join(f"{each}:0" for each in launch.adapters)]
    if tuning.speculation == "ngram":
        words += [
            *("--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", str(NGRAM_TOKENS)),
            *("--spec-ngram-simple-size-m", str(tuning.guess_tokens)),
        ]
    if tuning.speculation == "draft":
        words += [
            *("--spec-type", "draft-simple", "--spec-draft-model", str(launch.draft)),
            *("--spec-draft-n-max", str(tuning.guess_tokens)),
            *("--spec-draft-p-min", str(tuning.draft_confidence)),
            *("--spec-draft-threads", threads, "--spec-draft-threads-batch", threads),
            *("--spec-draft-poll", "0", "--spec-draft-poll-batch", "0"),
        ]
    return words
