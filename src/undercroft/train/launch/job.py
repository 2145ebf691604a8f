"""A training as plain data: what builds it, with which settings, and in which folder.

It is carried out in the process that made it, or pickled and carried out by ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from undercroft.settings import LoopSettings, MeterSettings
from undercroft.stage import StageRun

if TYPE_CHECKING:
    from undercroft.train.loop import Run
    from undercroft.train.models.lora import Lora
    from undercroft.train.objectives.objective import Objective
    from undercroft.train.parallel.team import Team


class Site(Protocol):
    """Where a job is built: in a stage, or in one of several ranks."""

    def tell(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """Say how far the building is; also a sign of life."""
        ...

    def event(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Keep a fact with the run; of several ranks only the first's is kept."""
        ...

    def once(self, path: Path, make: Callable[[Path], None]) -> Path:
        """``path``, which ``make`` has filled: by one process, once for all attempts."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of; ``adapters`` are on the model, if any are.

    ``heldout`` samples are not trained on; how well the model does on them is measured.
    """

    model: Any
    tokenizer: Any
    goal: Objective[Any]
    samples: Sequence[Any]
    heldout: Sequence[Any] = ()
    adapters: Lora | None = None


@dataclass(frozen=True)
class Job:
    """One training.

    ``build`` is a function of a module, or a `functools.partial` of one: ranks are given it by
    name. ``folder`` is the run's own and seen by all ranks. Checkpoints made with another
    ``config_digest`` are not gone on from. ``section`` is the one that ``params`` are
    of. What is measured of the machine is kept in ``state``. ``imports`` are modules that building
    takes, which are imported once for all ranks of a machine.
    """

    build: Callable[[Site], Parts]
    params: LoopSettings
    folder: Path
    config_digest: str
    section: str
    state: Path
    meter: MeterSettings = field(default_factory=MeterSettings)
    imports: tuple[str, ...] = ("transformers.models.llama.modeling_llama",)

    @classmethod
    def of(
        cls,
        run: StageRun,
        build: Callable[[Site], Parts],
        params: LoopSettings,
        config_digest: str,
        section: str,
    ) -> Job:
        """The job of a stage's ``run``, in its folder."""
        state, meter = run.project.state, run.project.settings.meter
        return cls(build, params, run.workdir, config_digest, section, state, meter)

    def run(
        self,
        parts: Parts,
        event: Callable[[str, Mapping[str, Any]], None],
        *,
        params: LoopSettings | None = None,
        team: Team | None = None,
        beat: Callable[[int], None] = lambda _: None,
    ) -> Run[Any]:
        """The run of ``parts``, at its last checkpoint if there is one."""
        from undercroft.train.arranging import spread
        from undercroft.train.loop import Run
        from undercroft.train.parallel.device import chosen
        from undercroft.train.parallel.team import Alone

        params = params or self.params
        team = team or Alone(chosen(params.device))
        spread(parts.model, team, params.parallel)
        return Run(
            parts.model,
            parts.goal,
            parts.samples,
            params,
            folder=self.folder / "checkpoints",
            config_digest=self.config_digest,
            event=event,
            section=self.section,
            team=team,
            heldout=parts.heldout,
            beat=beat,
        )


class InStage:
    """The site of a job that the stage itself carries out.

    Nothing it tells is kept unless it ``is_heard``: where ranks told the same before.
    """

    def __init__(self, run: StageRun, *, is_heard: bool = True) -> None:
        self._run = run
        self._is_heard = is_heard

    def tell(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        if self._is_heard:
            self._run.progress(done, total, unit, note)

    def event(self, kind: str, detail: Mapping[str, Any]) -> None:
        if self._is_heard:
            self._run.event(kind, **detail)

    def once(self, path: Path, make: Callable[[Path], None]) -> Path:
        if not path.exists():
            make_whole(path, make)
        return path


def make_whole(path: Path, make: Callable[[Path], None]) -> None:
    """Have ``make`` fill a file that becomes ``path`` only when it is whole."""
    half = path.with_name(f"half-{path.name}")
    make(half)
    half.rename(path)
