"""The route: which model answers what share of the traffic, and what it may read.

In the ledger a route is an artifact whose meta names its parts by ref::

    {"model": "model:docs-q8_0@3", "index": "index:docs@2", "embedding": "embedding:docs@1",
     "arms": [{"model": "model:docs-q8_0@3", "weight": 1.0}]}

``arms`` may be left out when one model answers everything, ``index`` when there is nothing to
read; ``sampling`` is what the gate judged, and stands above the project's setting. Two more are
there where a route was put together by hand: ``adapters`` says by ref which ones the engines hold
beside their model and which keys or tenants each is for (none: whoever asks for it), ``fallback``
names the model that answers what the chosen one's engines cannot. Here a route is an immutable
value that is swapped whole; requests under way keep the one they began with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from undercroft.engines import with_draft_file
from undercroft.errors import NotFound
from undercroft.project import Project
from undercroft.records import Artifact, Passage, Principal, Ref
from undercroft.retrieve.prompt import Template
from undercroft.serve.pools import replicas
from undercroft.serve.pools.pool import Pool
from undercroft.serve.pools.replicas import Replica
from undercroft.serve.pools.scaling import Scaler
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.failures import NoSuchModel
from undercroft.settings import SamplingSettings, Settings

if TYPE_CHECKING:
    from undercroft.retrieve import Embedder, Retriever

LIVE = "live"
ADAPTER = "adapter:"
ANYBODY = Principal("local", "local", "user")


@dataclass(frozen=True)
class Arm:
    """One model of a route, its pool, the weight of its share and how its tokens are drawn.

    With an ``adapter`` its name is ``MODEL+ADAPTER``: records and cache keys say both."""

    model: str
    weight: float
    pool: Pool
    sampling: SamplingSettings
    adapter: str = ""

    def adapted(self, adapter: str) -> Arm:
        """The same with ``adapter`` on its model, if that names one."""
        if not adapter:
            return self
        return replace(self, model=f"{self.model}+{adapter}", adapter=adapter)


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
    template: Template = field(default_factory=lambda: Template(""))
    created: int = 0
    adapters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fallback: Arm | None = None

    def choose(self, model: str, subject: str, who: Principal = ANYBODY) -> tuple[Arm, ...]:
        """Who answers a request that names ``model``, in the order they are tried: one arm, and
        the fallback if there is one.

        It names the route or one model's ref, ``+`` an adapter if one is wanted, or an adapter
        alone. Who asks the route gets the adapter that is theirs. A subject keeps its arm for as
        long as the route stands. Raises `NoSuchModel` with the nearest names.
        """
        base, _, wanted = model.partition("+")
        if base.startswith(ADAPTER):
            base, wanted = self.name, base
        adapter = self._adapter(wanted, who) if wanted else ""
        is_route = base in (self.name, f"route:{self.name}", self.ref)
        arm = self._draw(subject) if is_route else self._model(base)
        if arm is None or adapter is None:
            known = self.models_for(who)
            raise NoSuchModel(
                f"There is no model {model!r}.", model, known, "See GET /v1/models for all."
            )
        if is_route and not wanted:
            adapter = self._own_adapter(who)
        chosen = arm.adapted(adapter)
        return (chosen,) if self.fallback is None else (chosen, self.fallback)

    @property
    def pools(self) -> set[Pool]:
        """All that it needs."""
        arms = self.arms if self.fallback is None else (*self.arms, self.fallback)
        return {arm.pool for arm in arms}

    def models_for(self, who: Principal) -> tuple[str, ...]:
        """The names that ``who`` may ask for."""
        adapters = [name for name in self.adapters if self._may(name, who)]
        return (
            self.name,
            *(arm.model for arm in self.arms),
            *(f"{self.name}+{Ref.parse(name).name}" for name in adapters),
            *adapters,
            *([self.embedding] if self.embedding else []),
        )

    def _model(self, name: str) -> Arm | None:
        known = (arm for arm in self.arms if name in (arm.model, arm.model.partition("@")[0]))
        return next(known, None)

    def _adapter(self, name: str, who: Principal) -> str | None:
        """The ref of the adapter called ``name``, with or without kind and version."""
        for ref in self.adapters:
            called = (ref, ref.partition("@")[0], Ref.parse(ref).name)
            if name in called and self._may(ref, who):
                return ref
        return None

    def _own_adapter(self, who: Principal) -> str:
        return next((ref for ref, owners in self.adapters.items() if _is_of(owners, who)), "")

    def _may(self, adapter: str, who: Principal) -> bool:
        owners = self.adapters[adapter]
        return not owners or who.role == "admin" or _is_of(owners, who)

    def reads_for(self, ask: Ask) -> bool:
        """Whether passages are looked up for ``ask``."""
        return ask.retrieve and ask.kind == "chat" and self.retriever is not None

    def abstains(self, ask: Ask, passages: Sequence[Passage] | None) -> bool:
        """Whether ``passages`` are too far from ``ask`` for the model to be asked over them.

        Only of a conversation's first question: a later one leans on what was said before.
        """
        if passages is None or sum(turn.role == "user" for turn in ask.turns) > 1:
            return False
        best = max((passage.score for passage in passages), default=0.0)
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


def _is_of(owners: Sequence[str], who: Principal) -> bool:
    return who.name in owners or (bool(who.tenant) and who.tenant in owners)


def live(project: Project) -> Artifact:
    """The project's live route. Raises `NotFound` when nothing was released."""
    try:
        return project.ledger.artifact(f"route:{project.name}@{LIVE}")
    except NotFound:
        raise NotFound(
            f"Nothing is released in {project.name}.",
            do="Release something first: undercroft up",
        ) from None


@dataclass(frozen=True, slots=True)
class Planned:
    """An arm to be: the ref of its model, the name of its pool, and 0 for the fallback's weight."""

    model: str
    weight: float
    pool: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes to open a route. ``pools`` are by name the model and the adapters of each;
    ``adapters`` are by ref the keys or tenants that each is for."""

    arms: tuple[Planned, ...]
    pools: Mapping[str, tuple[str, tuple[str, ...]]]
    adapters: Mapping[str, tuple[str, ...]]


def plan(route: Artifact) -> Plan:
    """What ``route`` names."""
    arms = route.meta.get("arms") or [{"model": route.meta["model"]}]
    shares = {str(arm["model"]): float(arm.get("weight", 1.0)) for arm in arms}
    named = route.meta.get("adapters") or {}
    adapters = {str(ref): tuple(map(str, owners)) for ref, owners in named.items()}
    held = tuple(sorted(adapters))
    planned = [
        Planned(model, weight, "+".join((model, *held)))  # other adapters are another pool
        for model, weight in shares.items()
        if weight
    ]
    pools = {each.pool: (each.model, held) for each in planned}
    if fallback := route.meta.get("fallback"):
        planned.append(Planned(str(fallback), 0.0, str(fallback)))
        pools.setdefault(str(fallback), (str(fallback), ()))
    return Plan(tuple(planned), pools, adapters)


def sampling_of(project: Project, route: Artifact) -> SamplingSettings:
    """How tokens are drawn under ``route``."""
    judged = route.meta.get("sampling")
    return SamplingSettings(**judged) if judged else project.settings.sampling


def make_replicas(
    project: Project, settings: Settings, model: Artifact, adapters: Sequence[Artifact] = ()
) -> list[Replica]:
    """The replicas, not yet started, of ``model`` under ``settings``; each holds ``adapters``."""
    path = project.path(model) if model.uri.startswith("blob:") else None
    logs = project.state / "logs"
    files = {str(each.ref): project.path(each) for each in adapters}
    engine = with_draft_file(
        settings.engine,
        lambda ref: replicas.gguf_in(project.path(project.ledger.artifact(ref))),
    )
    return [
        replicas.build(
            model.meta,
            path,
            settings.model_copy(update={"engine": engine}),
            logs / f"{model.ref.name}-{model.ref.version}-{n}.log",
            files,
            secret=project.trust.secrets.get,
        )
        for n in range(settings.serve.replicas)
    ]


def make_pool(
    project: Project, settings: Settings, model: Artifact, adapters: Sequence[Artifact] = ()
) -> Pool:
    """A pool, not yet started, for ``model``, whose engines hold ``adapters``, sorted by ref."""
    serve = settings.serve
    built = make_replicas(project, settings, model, adapters)
    scaler = None
    if 0 <= serve.least_replicas < serve.replicas:
        scaler = Scaler(
            serve.least_replicas, serve.replicas, serve.slots, serve.scale_up_s, serve.scale_down_s
        )
    name = "+".join(str(each.ref) for each in (model, *adapters))
    return Pool(
        name, built, serve.queue, serve.queue_timeout_s, scaler=scaler, rules=settings.admission
    )


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
