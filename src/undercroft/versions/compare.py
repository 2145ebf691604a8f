"""What changed from one dataset version to another: documents, rules, sources, statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.project import Project
from undercroft.records import Artifact

STATISTICS = ("documents", "kept", "chars", "suspicious")


@dataclass(frozen=True, slots=True)
class Change:
    """One document: what happened to it, and the rule that did it where one did."""

    id: str
    uri: str
    change: str  # added | gone | edited | removed | admitted
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """From ``a`` to ``b``.

    ``counts`` is by change: ``added`` and ``gone`` documents came and went with their source;
    ``edited`` ones are kept by both but say or measure something else; ``removed`` and
    ``admitted`` ones are in both and met another verdict. The other fields hold what differs, as
    (before, after): ``removed`` documents by rule, kept ones by source and by language, totals,
    and the policy's rules.
    """

    a: str
    b: str
    counts: Mapping[str, int]
    removed: Mapping[str, tuple[int, int]]
    sources: Mapping[str, tuple[int, int]]
    statistics: Mapping[str, tuple[int, int]]
    languages: Mapping[str, tuple[int, int]]
    policy: Mapping[str, tuple[Any, Any]]
    changes: tuple[Change, ...]


def diff(project: Project, a: Artifact, b: Artifact, limit: int = 50) -> Difference:
    """The difference, with ``limit`` of the changed documents by name."""
    before, after = _verdicts(project, a), _verdicts(project, b)
    changed = list(_changes(before, after))
    shown = changed[:limit]
    uris = {
        **_addresses(project, a, [each.id for each in shown if each.change == "gone"]),
        **_addresses(project, b, [each.id for each in shown if each.change != "gone"]),
    }
    return Difference(
        a=str(a.ref),
        b=str(b.ref),
        counts=dict(Counter(each.change for each in changed).most_common()),
        removed=_pairs(a.meta["removed"], b.meta["removed"]),
        sources=_pairs(_sources(project, a, before), _sources(project, b, after)),
        statistics=_pairs(*({key: each.meta.get(key, 0) for key in STATISTICS} for each in (a, b))),
        languages=_pairs(a.meta["languages"], b.meta["languages"]),
        policy=_pairs(_thresholds(a), _thresholds(b), None),
        changes=tuple(
            Change(each.id, uris.get(each.id, "(erased)"), each.change, each.rule) for each in shown
        ),
    )


_Verdict = tuple[bool, str, bytes]  # kept, rule, digest of the row


def _verdicts(project: Project, artifact: Artifact) -> dict[str, _Verdict]:
    from undercroft.lake import read_selection

    table = read_selection(project.lake, artifact)
    digests = table["digest"].to_pylist() if "digest" in table.column_names else [b""] * len(table)
    columns = (table["id"].to_pylist(), table["kept"].to_pylist(), table["rule"].to_pylist())
    return {
        name: (kept, rule, digest)
        for name, kept, rule, digest in zip(*columns, digests, strict=True)
    }


def _changes(before: Mapping[str, _Verdict], after: Mapping[str, _Verdict]) -> Iterable[Change]:
    """Changes among documents that one of both keeps; others never mattered to anybody."""
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was is None and now is not None and now[0]:
            yield Change(name, "", "added")
        elif now is None and was is not None and was[0]:
            yield Change(name, "", "gone")
        elif was is None or now is None:
            continue
        elif was[0] and not now[0]:
            yield Change(name, "", "removed", now[1])
        elif now[0] and not was[0]:
            yield Change(name, "", "admitted", was[1])
        elif was[0] and was[2] != now[2]:
            yield Change(name, "", "edited")


def _sources(
    project: Project, artifact: Artifact, verdicts: Mapping[str, _Verdict]
) -> dict[str, int]:
    table = project.lake.table(str(artifact.meta["table"]))
    rows = table.read(["id", "source"], version=int(artifact.meta["version"]))
    sources = dict(zip(rows["id"].to_pylist(), rows["source"].to_pylist(), strict=True))
    return dict(Counter(sources[name] for name, v in verdicts.items() if v[0] and name in sources))


def _addresses(project: Project, artifact: Artifact, ids: Sequence[str]) -> dict[str, str]:
    """The addresses of the documents ``ids`` in that version; erased ones have none."""
    from undercroft.lake import any_of

    table = project.lake.table(str(artifact.meta["table"]))
    rows = table.read(["id", "uri"], any_of("id", ids), int(artifact.meta["version"]))
    return {row["id"]: str(row["uri"]) for row in rows.to_pylist()}


def _thresholds(artifact: Artifact) -> dict[str, Any]:
    return {
        rule["name"]: f"{rule['signal']} {rule['test']} {rule['threshold']}"
        for rule in artifact.meta["rules"]
    }


def _pairs(
    before: Mapping[str, Any], after: Mapping[str, Any], absent: Any = 0
) -> dict[str, tuple[Any, Any]]:
    """What differs, as (before, after)."""
    names = dict.fromkeys([*before, *after])
    pairs = {name: (before.get(name, absent), after.get(name, absent)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
