"""The ledger's runs as OpenLineage events, with the versions of what went in and what came out.

Of a run there is one event, of its end; an artifact is a dataset named ``kind/name`` in the
namespace of the project. OpenLineage wants UUIDs for runs: ours are made of the run's own id, which
is in the run's facet ``undercroft`` too.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from undercroft import __version__
from undercroft.errors import MissingExtra, NotFound
from undercroft.project import Project
from undercroft.records import Ref, Run

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

PRODUCER: Final = f"https://undercroft.invalid/{__version__}"  # the specification wants an address
_PAGE: Final = 200
_ENDED: Final = {"finished": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT"}


def events(project: Project) -> Iterator[RunEvent]:
    """An event for every run that ended, the newest first. Raises `MissingExtra`."""
    offset = 0
    while page := project.ledger.runs(limit=_PAGE, offset=offset):
        for run in page:
            if run.status in _ENDED:
                yield _event(project, run)
        offset += len(page)


def as_json(project: Project) -> Iterator[str]:
    """The same, each as one line of JSON."""
    _required()
    from openlineage.client.serde import Serde

    for event in events(project):
        yield Serde.to_json(event)


def run_id(run: Run) -> str:
    """The UUID that stands for the run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"undercroft:{run.id}"))


def _event(project: Project, run: Run) -> RunEvent:
    _required()
    from openlineage.client import event_v2 as ol
    from openlineage.client.facet_v2 import error_message_run, job_type_job, processing_engine_run

    namespace = f"undercroft/{project.name}"
    facets: dict[str, Any] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            __version__, "undercroft", producer=PRODUCER
        )
    }
    if run.error:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            run.error, "Python", producer=PRODUCER
        )
    kind = job_type_job.JobTypeJobFacet("BATCH", "UNDERCROFT", "STAGE", producer=PRODUCER)
    ended = run.finished_at or run.started_at
    return ol.RunEvent(
        eventTime=_moment(ended),
        eventType=ol.RunState(_ENDED[run.status]),
        producer=PRODUCER,
        run=ol.Run(run_id(run), facets),
        job=ol.Job(namespace, run.stage, {"jobType": kind}),
        inputs=[ol.InputDataset(namespace, _name(ref), facets=_version(ref)) for ref in run.inputs],
        outputs=[
            ol.OutputDataset(namespace, _name(ref), _statistics(project, ref), facets=_version(ref))
            for ref in run.outputs
        ],
    )


def _name(ref: Ref) -> str:
    return f"{ref.kind}/{ref.name}"


def _version(ref: Ref) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset

    facet = dataset_version_dataset.DatasetVersionDatasetFacet
    return {"version": facet(str(ref.version), producer=PRODUCER)}


def _statistics(project: Project, ref: Ref) -> dict[str, Any]:
    """Rows and bytes, where the artifact says how many."""
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    try:
        artifact = project.ledger.artifact(ref)
    except NotFound:
        return {}
    names = ("collected", "kept", "chunks", "examples")
    rows = next((int(artifact.meta[name]) for name in names if name in artifact.meta), None)
    facet = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    return {"outputStatistics": facet(rows, artifact.size_bytes, producer=PRODUCER)}


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _required() -> None:
    try:
        import openlineage.client  # noqa: F401
    except ImportError:
        raise MissingExtra("openlineage-python", "openlineage") from None
