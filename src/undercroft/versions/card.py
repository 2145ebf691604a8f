"""The card of a dataset version, computed from the ledger: nothing in it is written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from undercroft.project import Project
from undercroft.records import Artifact, Run
from undercroft.versions.mixture import Mixture

#: Hugging Face's size categories: the first bound that is not exceeded.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_MOST_GROUPS = 50  # of a mixture that are listed


def card(
    project: Project, artifact: Artifact, data_files: str = "", mixture: Mixture | None = None
) -> str:
    """A dataset card as Hugging Face reads it: YAML front matter, then Markdown.

    ``data_files`` is the pattern of the files beside it, where there are any, and ``mixture`` what
    they hold, where that is not every document once.
    """
    meta = artifact.meta
    run = project.ledger.run_of(artifact)
    kept, total = int(meta["kept"]), int(meta["documents"])
    licences = _by(project, artifact, "licence")
    return "\n".join(
        [
            *_front_matter(artifact, licences, data_files, mixture.rows if mixture else kept),
            f"# {project.title}: {artifact.name}, version {artifact.ref.version}",
            "",
            f"{kept:,} of {total:,} documents, {int(meta['chars']):,} characters. "
            f"Selection digest `{artifact.digest}`.",
            "",
            *(_mixture(mixture) if mixture else ()),
            "## Where it comes from",
            "",
            *_provenance(run),
            "",
            *_table("source", "kept documents", _by(project, artifact, "source")),
            *_table("licence", "kept documents", licences),
            *_table("language", "kept documents", meta["languages"]),
            "## What was left out, and by which rule",
            "",
            *_table("rule", "documents", meta["removed"]),
            "The policy, in the order its rules are tried:",
            "",
            *(f"- `{_rule(rule)}`: {rule['name']}" for rule in meta["rules"]),
            "",
            "## Personal data and secrets",
            "",
            _masked(meta["masked"]),
            "",
            "## Limits",
            "",
            "Rules and detectors are heuristics: they miss things, and remove some that were good. "
            f"{int(meta['suspicious']):,} kept documents hold what looks like an instruction to a "
            "model. Documents that were erased on request are not in this version any more.",
            "",
        ]
    )


def _front_matter(
    artifact: Artifact, licences: Mapping[str, int], data_files: str, rows: int
) -> Iterable[str]:
    facts: dict[str, Any] = {
        "pretty_name": artifact.name,
        "license": next(iter(licences)) if len(licences) == 1 else "other",
        "language": [code for code in artifact.meta["languages"] if code != "und"],
        "size_categories": [next((word for most, word in _SIZES if rows <= most), "n>1M")],
        "tags": ["undercroft"],
    }
    if data_files:
        facts["configs"] = [{"config_name": "default", "data_files": data_files}]
    lines = [f"{name}: {json.dumps(value)}" for name, value in facts.items()]  # JSON is YAML
    return ("---", *lines, "---")


def _mixture(mixture: Mixture) -> list[str]:
    """What the files hold of each group; shares of characters, asked for and come out."""
    lines = [
        f"| {_cell(part.name)} | {part.documents:,} | {part.natural:.2%} | {part.asked:.2%} | "
        f"{part.share:.2%} | {part.rows:,} | {part.epochs:.2f} |"
        for part in mixture.parts[:_MOST_GROUPS]
    ]
    more = len(mixture.parts) - len(lines)
    return [
        "## Mixture",
        "",
        f"The files hold a mixture {mixture}: {mixture.rows:,} rows, {mixture.chars:,} characters "
        f"({mixture.asked_chars:,} were asked for). A document that is taken again has a row for "
        "each time; the column `epoch` counts them. Rows are shuffled.",
        "",
        f"| {mixture.settings['by']} | documents | natural share | asked share | share | rows "
        "| epochs |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *lines,
        *([f"| … and {more:,} more | | | | | | |"] if more else []),
        "",
    ]


def _provenance(run: Run) -> list[str]:
    at = run.finished_at or run.started_at
    sources = ", ".join(f"`{ref}`" for ref in run.inputs)
    return [
        f"Made by run `{run.id}` (stage `{run.stage}`) on {at:%Y-%m-%d %H:%M} UTC, from {sources}."
    ]


def _by(project: Project, artifact: Artifact, column: str) -> dict[str, int]:
    """Kept documents by the values of ``column``, the commonest first."""
    import pyarrow.compute as pc

    from undercroft.lake import read_dataset

    counted = pc.value_counts(read_dataset(project.lake, artifact, [column])[column])
    pairs = {str(row["values"]): int(row["counts"]) for row in counted.to_pylist()}
    return dict(sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0])))


def _table(head: str, count: str, rows: Mapping[str, int]) -> Sequence[str]:
    if not rows:
        return ("None.", "")
    lines = [f"| {_cell(name)} | {number:,} |" for name, number in rows.items()]
    return (f"| {head} | {count} |", "|---|---:|", *lines, "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _rule(rule: Mapping[str, Any]) -> str:
    return f"{rule['signal']} {rule['test']} {rule['threshold']}"


def _masked(masked: Mapping[str, int]) -> str:
    if not masked:
        return "Nothing was found to mask."
    counts = ", ".join(f"{number:,} {kind}" for kind, number in masked.items())
    return f"Replaced by a placeholder in the text: {counts}. The values are not kept here."
