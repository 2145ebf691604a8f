"""The route: which model answers what share of the traffic, and what it may read.

In the ledger a route is an artifact whose meta names its parts by ref::

    {"model": "model:docs-q8_0@3", "index": "index:docs@2", "embedding": "embedding:docs@1",
     "arms": [{"model": "model:docs-q8_0@3", "weight": 1.0}]}

``arms`` may be left out when one model answers everything, ``index`` when there is nothing to
read; ``sampling`` is what the gate judged, and stands above the project's setting. Here a route is
an immutable value that is swapped whole; requests under way keep the one they began with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from undercroft.errors import NotFound
from undercroft.project import Project
from undercroft.records import Artifact, Passage
from undercroft.serve.pools import replicas
from undercroft.serve.pools.pool import Pool
from undercroft.serve.pools.scaling import Scaler
from undercroft.serve.wire.asks import Ask
from undercroft.settings import SamplingSettings

if TYPE_CHECKING:
    from undercroft.retrieve import Embedder, Retriever

LIVE = "live"


@dataclass(frozen=True)
class Arm:
    """One model of a route, its pool, the weight of its share and how its tokens are drawn."""

    model: str
    weight: float
    pool: Pool
    sampling: SamplingSettings


@dataclass(frozen=True)
class Route:
    """What is served now. ``ref`` is the route's, ``versions`` all that an answer depends on."""

    ref: str
    name: str
    arms: tuple[Arm, ...]
    index: str = ""
    embedding: str = ""
    retriever: Retriever | None = None
    embedder: Embedder | None = None
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    min_score: float = 0.0  # of the best passage, for the model to be asked
    created: int = 0
    models: tuple[str, ...] = field(default=())

    def choose(self, model: str, subject: str) -> Arm:
        """The arm for a request that names ``model``: the route's name, or one model's ref.

        A subject keeps its arm for as long as the route stands. Raises `NotFound` with the nearest
        names.
        """
        if model in (self.name, f"route:{self.name}", self.ref):
            return self._draw(subject)
        for arm in self.arms:
            if model == arm.model or model == arm.model.partition("@")[0]:
                return arm
        raise NotFound(
            f"There is no model {model!r}.", model, self.models, "See GET /v1/models for all."
        )

    def reads_for(self, ask: Ask) -> bool:
        """Whether passages are looked up for ``ask``."""
        return ask.retrieve and ask.kind == "chat" and self.retriever is not None

    def abstains(self, ask: Ask, passages: Sequence[Passage] | None) -> bool:
        """Whether ``passages`` are too far from ``ask`` for the model to be asked over them.

        Only of a conversation's first question: a later one leans on what was said before.
        """
        if passages is None or sum(turn.role == "user" for turn in ask.turns) > 1:
            return False
        best = passages[0].score if passages else 0.0
        return best < self.min_score

    def _draw(self, subject: str) -> Arm:
        if len(self.arms) == 1:
            return self.arms[0]
        digest = hashlib.sha256(f"{self.ref}\n{subject}".encode()).digest()
        point = int.from_bytes(digest[:8], "big") / 2**64 * sum(arm.weight for arm in self.arms)
        for arm in self.arms:
            point -= arm.weight
            if point < 0:
                return arm
        return self.arms[-1]


def live(project: Project) -> Artifact:
    """The project's live route. Raises `NotFound` when nothing was released."""
    try:
        return project.ledger.artifact(f"route:{project.name}@{LIVE}")
    except NotFound:
        raise NotFound(
            f"Nothing is released in {project.name}.",
            do="Release something first: undercroft up",
        ) from None


def shares(route: Artifact) -> dict[str, float]:
    """The models that ``route`` names, by ref, and their weights."""
    arms = route.meta.get("arms") or [{"model": route.meta["model"]}]
    return {str(arm["model"]): float(arm.get("weight", 1.0)) for arm in arms}


def sampling_of(project: Project, route: Artifact) -> SamplingSettings:
    """How tokens are drawn under ``route``."""
    judged = route.meta.get("sampling")
    return SamplingSettings(**judged) if judged else project.settings.sampling


def make_pool(project: Project, model: Artifact) -> Pool:
    """A pool, not yet started, for ``model``."""
    serve = project.settings.serve
    path = project.path(model) if model.uri.startswith("blob:") else None
    logs = project.state / "logs"
    built = [
        replicas.build(
            model.meta,
            path,
            project.settings,
            logs / f"{model.ref.name}-{model.ref.version}-{n}.log",
        )
        for n in range(serve.replicas)
    ]
    scaler = None
    if serve.least_replicas < serve.replicas:
        scaler = Scaler(
            serve.least_replicas, serve.replicas, serve.slots, serve.scale_up_s, serve.scale_down_s
        )
    return Pool(str(model.ref), built, serve.queue, serve.queue_timeout_s, scaler)


def open_index(project: Project, meta: Any) -> tuple[str, Retriever | None]:
    """The index that a route's meta names, with its retriever."""
    if not meta.get("index"):
        return "", None
    from undercroft.retrieve import Retriever

    index = project.ledger.artifact(str(meta["index"]))
    table, version = project.table(index)
    _, embedder = open_embedding(project, meta)
    if embedder is None:
        return "", None
    return str(index.ref), Retriever(table, version, embedder)


def open_embedding(project: Project, meta: Any) -> tuple[str, Embedder | None]:
    """The embedding model that a route's meta names."""
    if not meta.get("embedding"):
        return "", None
    from undercroft.retrieve import Embedder

    embedding = project.ledger.artifact(str(meta["embedding"]))
    return str(embedding.ref), Embedder.load(project.path(embedding))
