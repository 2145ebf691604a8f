"""Settings of the project and of what runs: stores, serving, console, cluster, meter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from undercroft.settings.section import Section


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

    ledger: str = Field(
        "",
        description="SQLAlchemy URL: sqlite:///… or postgresql+psycopg://…; gateways that name the "
        "same share keys, budgets and trials",
    )
    jobs: str = Field("", description="database URL of the durable job queues")
    lake: str = Field("", description="folder or s3:// gs:// az:// prefix of the tables")
    cache: str = Field(
        "",
        pattern=r"^$|^(redis|rediss|unix)://",
        description="redis://… of answers and budgets that several gateways share; empty: answers "
        "are each gateway's own, and budgets in store.ledger",
    )
    keep_versions_hours: float = Field(
        24.0, ge=0, description="unpinned table versions older than this are cleaned up"
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
    engine: Literal["llamacpp", "vllm", "transformers"] = Field(
        "llamacpp",
        description="what runs a model that does not say: llama.cpp takes GGUF, vLLM (on a GPU) "
        "and transformers (slow, for models that have no GGUF) take its own folder",
    )
    cluster: Literal["native", "ray"] = Field(
        "native",
        description="where they run: on this machine, or on the nodes of the Ray cluster at "
        "cluster.address, each with serve.threads processors of one",
    )
    least_replicas: int = Field(
        -1,
        ge=-1,
        description="of them that run without load; -1: all; 0: the engine sleeps when nobody asks",
    )
    affinity: bool = Field(
        True, description="prefer the replica that has read the beginning of a prompt already"
    )
    scale_up_s: float = Field(2.0, gt=0, description="wait for a slot that starts another replica")
    scale_down_s: float = Field(300.0, gt=0, description="idle time after which one is stopped")
    slots: int = Field(2, gt=0, description="requests one replica answers at once")
    threads: int = Field(0, ge=0, description="threads of one replica; 0: every core")
    queue: int = Field(
        32, ge=0, description="requests that may wait for a slot; further ones get 503"
    )
    queue_timeout_s: float = Field(30.0, gt=0, description="longest wait for a slot")
    timeout_s: float = Field(120.0, gt=0, description="longest time for one answer")
    heartbeat_s: float = Field(
        15.0,
        ge=0,
        description="silence after which a stream that is waited for gets a comment, so that "
        "nobody on its way takes it for dead; 0: none",
    )
    max_body_mb: float = Field(2.0, gt=0, description="larger requests get 413")
    image_hosts: list[str] = Field(
        default_factory=list,
        description="hosts, such as images.example.org, that pictures in requests are fetched from "
        "over https; none: pictures come in requests as data",
    )
    require_key: bool = Field(True, description="false lets anybody on this host in as role user")
    cache_entries: int = Field(1000, ge=0, description="answers kept in the exact cache; 0 is off")
    shared_cache_entries: int = Field(
        100_000, gt=0, description="answers of this project in the shared cache (store.cache)"
    )
    shared_cache_s: float = Field(3600.0, gt=0, description="how long they are kept there")
    semantic_cache: Literal["off", "shadow", "on"] = Field(
        "off",
        description="on: an answer is given again to a question that asks the same in other words; "
        "shadow: only recorded which would have been (undercroft cache)",
    )
    screen_input: bool = Field(True, description="look for injection patterns in requests")
    screen_output: list[str] = Field(
        default_factory=lambda: ["pii", "secret"], description="kinds of finding masked in answers"
    )
    responses_days: float = Field(
        30.0, gt=0, description="how long responses are kept that clients may read again"
    )
    daily_cost: float = Field(
        0.0, ge=0, description="money that models elsewhere may cost a day, altogether; 0: no limit"
    )
    daily_tokens: int = Field(1_000_000, ge=0, description="token budget per key and day; 0: none")


class ConsoleSettings(Section):
    """The web console."""

    host: str = Field("127.0.0.1", description="address the console listens on")
    port: int = Field(8001, ge=0, lt=65536, description="0 takes a free port")


class ClusterSettings(Section):
    """Who does the work on many documents, and trains in several processes; the result is the
    same."""

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
    rank_timeout_s: float = Field(
        60.0,
        gt=0,
        description="training processes that do nothing for so long, and ten times as long as a "
        "step takes, are held to hang and replaced",
    )
    rank_restarts: int = Field(
        5,
        ge=0,
        description="times training processes are started again without a new checkpoint between",
    )


class MeterSettings(Section):
    """Energy and money."""

    watts_idle: float = Field(10.0, ge=0, description="used where no energy counter can be read")
    watts_per_core: float = Field(
        8.0, ge=0, description="per fully used core, where no counter can be read"
    )
    price_per_kwh: float = Field(0.30, ge=0, description="in your currency")
