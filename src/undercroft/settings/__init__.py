"""The settings of a project: one section per part, each the parameter record of that part.

A section is checked when it is made and never changes. Descriptions are what `undercroft init`
and the configuration reference print.
"""

from __future__ import annotations

from undercroft.settings.admission import AdmissionSettings
from undercroft.settings.data import (
    HEURISTICS,
    CollectSettings,
    CurateSettings,
    Heuristic,
    MixtureSettings,
    Purpose,
)
from undercroft.settings.engine import EngineSettings
from undercroft.settings.models import (
    AlignSettings,
    CompressSettings,
    DistilSettings,
    EvaluateSettings,
    HoldSettings,
    LessonSettings,
    LoopSettings,
    ModelSettings,
    PretrainSettings,
    ReleaseSettings,
    TrainSettings,
    TuneSettings,
)
from undercroft.settings.parallel import ParallelSettings
from undercroft.settings.retrieval import (
    AnnotateSettings,
    IndexSettings,
    RetrieveSettings,
)
from undercroft.settings.rollout import RolloutSettings
from undercroft.settings.running import (
    ClusterSettings,
    ConsoleSettings,
    MeterSettings,
    ProjectSettings,
    SamplingSettings,
    ServeSettings,
    StoreSettings,
)
from undercroft.settings.section import (
    Section,
)

__all__ = [
    "HEURISTICS",
    "AdmissionSettings",
    "AlignSettings",
    "AnnotateSettings",
    "ClusterSettings",
    "CollectSettings",
    "CompressSettings",
    "ConsoleSettings",
    "CurateSettings",
    "DistilSettings",
    "EngineSettings",
    "EvaluateSettings",
    "Heuristic",
    "HoldSettings",
    "IndexSettings",
    "LessonSettings",
    "LoopSettings",
    "MeterSettings",
    "MixtureSettings",
    "ModelSettings",
    "ParallelSettings",
    "PretrainSettings",
    "ProjectSettings",
    "Purpose",
    "ReleaseSettings",
    "RetrieveSettings",
    "RolloutSettings",
    "SamplingSettings",
    "Section",
    "ServeSettings",
    "Settings",
    "StoreSettings",
    "TrainSettings",
    "TuneSettings",
]


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
    distil: DistilSettings = DistilSettings()
    compress: CompressSettings = CompressSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    release: ReleaseSettings = ReleaseSettings()
    rollout: RolloutSettings = RolloutSettings()
    sampling: SamplingSettings = SamplingSettings()
    engine: EngineSettings = EngineSettings()
    serve: ServeSettings = ServeSettings()
    admission: AdmissionSettings = AdmissionSettings()
    console: ConsoleSettings = ConsoleSettings()
    cluster: ClusterSettings = ClusterSettings()
    meter: MeterSettings = MeterSettings()
