"""What a dataset version is made of, and what its rules removed of every group.

A filter that removes one language, source or group of people more often than the others shows here:
a group is *uneven* where it is kept less than four fifths as often as everything else (the
four-fifths rule of 29 CFR 1607.4 D) and chance would not explain that (a two-sided two-proportion
z-test at 1 % over all groups, after Bonferroni).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.versions.groups import NONE, domains

if TYPE_CHECKING:
    import pyarrow as pa

#: Documents whose texts are read for mentions; the first by id, which is a digest, so any.
SAMPLE: Final = 20_000
FOUR_FIFTHS: Final = 0.8
_LEVEL: Final = 0.01
_LEAST: Final = 20
_MOST_GROUPS: Final = 25
_YEAR: Final = r"\b(?P<year>(?:19|20)\d\d)\b"  # of a date of HTTP or of ISO 8601

#: Words by which a text speaks of people; English, as a first look, not a definition of anybody.
MENTIONS: Final[Mapping[str, str]] = {
    "women": r"women|woman|girls?|mothers?|daughters?|female",
    "men": r"men|man|boys?|fathers?|sons?|male",
    "children": r"child|children|kids?|teenagers?",
    "older people": r"elderly|seniors|pensioners?|grandmothers?|grandfathers?",
    "LGBT": r"lgbtq?|gay|lesbian|bisexual|transgender|queer",
    "disability": r"disabled|disabilit(?:y|ies)|wheelchairs?|deaf|autis(?:m|tic)",
    "Christian": r"christians?|church(?:es)?|catholics?|protestants?",
    "Muslim": r"muslims?|islam(?:ic)?|mosques?",
    "Jewish": r"jews?|jewish|judaism|synagogues?",
    "Hindu or Buddhist": r"hindus?|hinduism|buddhis(?:m|ts?)",
    "African": r"africans?|african[- ]american|black (?:people|men|women)",
    "Asian": r"asians?|chinese|indians?|japanese|koreans?",
    "European": r"europeans?|germans?|french|british|italians?",
    "Latin American": r"latin american|latinos?|latinas?|hispanics?|mexicans?|brazilians?",
    "migrants": r"immigrants?|migrants?|refugees?",
}


@dataclass(frozen=True, slots=True)
class Group:
    """One value of a dimension, before and after the rules; ``chars`` are of all its documents."""

    name: str
    documents: int
    kept: int
    chars: int
    chars_kept: int
    removed: Mapping[str, int]  # by rule
    is_uneven: bool = False

    @property
    def kept_rate(self) -> float:
        return self.kept / self.documents if self.documents else 0.0


@dataclass(frozen=True, slots=True)
class Composition:
    """The composition of ``ref``; ``dimensions`` hold the largest groups, then ``(others)``."""

    ref: str
    documents: int
    kept: int
    dimensions: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    sampled: int = 0

    @property
    def uneven(self) -> list[tuple[str, Group]]:
        """Every dimension and group that the rules treat unlike the others."""
        return [(n, g) for n, groups in self.dimensions.items() for g in groups if g.is_uneven]


def composition(project: Project, artifact: Artifact) -> Composition:
    """What ``artifact`` is made of. Raises `NotFound` when its selection is gone."""
    rows = _rows(project, artifact)
    dimensions = {
        "language": rows["language"],
        "source": rows["source"],
        "domain": domains(rows["uri"]),
        "licence": rows["licence"],
        "usage": rows["usage"],
        "media type": rows["mime"],
        "year": _years(project, artifact, rows["id"]),
    }
    kept = _num_kept(rows)
    found = {
        name: _judged(_groups(rows, values), rows.num_rows, kept)
        for name, values in dimensions.items()
    }
    sample = rows.sort_by("id").slice(0, SAMPLE)
    mentions = _mentions(project, artifact, sample)
    found["mentions"] = _judged(mentions, sample.num_rows, _num_kept(sample))
    return Composition(str(artifact.ref), rows.num_rows, kept, found, sample.num_rows)


def _num_kept(rows: pa.Table) -> int:
    return int(rows["rule"].to_pylist().count(""))


def _rows(project: Project, artifact: Artifact) -> pa.Table:
    """Every document of the version with its groups, its size and the rule that removed it."""
    import pyarrow.compute as pc

    from undercroft.lake import read_selection

    selection = read_selection(project.lake, artifact)
    table = project.lake.table(str(artifact.meta["table"]))
    columns = ["id", "uri", "source", "language", "licence", "usage", "mime", "num_chars"]
    held = [name for name in columns if name in table.schema.names]
    documents = table.read(held, version=int(artifact.meta["version"]))
    for name in set(columns) - set(held):
        documents = documents.append_column(name, _same("", documents.num_rows))
    rules = pc.if_else(selection["kept"], "", selection["rule"])
    place = pc.index_in(documents["id"], value_set=selection["id"].combine_chunks())
    return documents.append_column("rule", rules.take(place)).filter(pc.is_valid(place))


def _same(value: str, count: int) -> pa.Array:
    import pyarrow as pa

    return pa.array([value]).take(pa.array([0] * count, pa.int64()))


def _groups(rows: pa.Table, values: pa.ChunkedArray) -> list[Group]:
    """The largest groups of documents that share a value, and the rest of them as one."""
    table = rows.select(["rule", "num_chars"]).append_column("group", values)
    counts = table.group_by(["group", "rule"]).aggregate([("num_chars", "sum"), ([], "count_all")])
    sizes, chars = Counter[str](), Counter[tuple[str, bool]]()
    removed: dict[str, Counter[str]] = {}
    for row in counts.to_pylist():
        name, rule = str(row["group"] or NONE), row["rule"]
        sizes[name] += row["count_all"]
        chars[name, not rule] += row["num_chars_sum"] or 0
        removed.setdefault(name, Counter()).update({rule: row["count_all"]} if rule else {})
    largest = [name for name, _ in sizes.most_common(_MOST_GROUPS)]
    parts = {name: [name] for name in largest}
    if len(sizes) > len(largest):
        parts["(others)"] = [name for name in sizes if name not in parts]
    return [_summed(name, part, sizes, chars, removed) for name, part in parts.items()]


def _summed(
    name: str,
    part: list[str],
    sizes: Counter[str],
    chars: Counter[tuple[str, bool]],
    removed: Mapping[str, Counter[str]],
) -> Group:
    gone = Counter[str]()
    for each in part:
        gone.update(removed[each])
    documents = sum(sizes[each] for each in part)
    kept_chars = sum(chars[each, True] for each in part)
    all_chars = kept_chars + sum(chars[each, False] for each in part)
    return Group(
        name, documents, documents - gone.total(), all_chars, kept_chars, dict(gone.most_common())
    )


def _judged(groups: list[Group], documents: int, kept: int) -> tuple[Group, ...]:
    level = _LEVEL / max(len(groups), 1)
    return tuple(
        replace(group, is_uneven=_is_uneven(group, documents, kept, level)) for group in groups
    )


def _is_uneven(group: Group, documents: int, kept: int, level: float) -> bool:
    others, kept_others = documents - group.documents, kept - group.kept
    if group.documents < _LEAST or others < _LEAST or not kept_others:
        return False
    rate = kept_others / others
    if group.kept_rate >= FOUR_FIFTHS * rate:
        return False
    pooled = kept / documents
    spread = math.sqrt(pooled * (1 - pooled) * (1 / group.documents + 1 / others))
    z = (rate - group.kept_rate) / spread if spread else 0.0
    return math.erfc(z / math.sqrt(2)) < level


def _years(project: Project, artifact: Artifact, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The year that a document was last changed, or else fetched, as its raw row says."""
    import pyarrow as pa
    import pyarrow.compute as pc

    raws = [ref for ref in project.ledger.run_of(artifact).inputs if ref.kind == "raw"]
    if not raws:
        return pa.chunked_array([_same("", len(ids))])
    table, _, version = project.ledger.artifact(raws[0]).uri.removeprefix("table:").partition("@")
    columns = ["id", "last_modified", "fetched_at"]
    rows = project.lake.table(table).read(columns, version=int(version))
    said = pc.struct_field(pc.extract_regex(rows["last_modified"], _YEAR), "year")
    fetched = pc.strftime(rows["fetched_at"], format="%Y")
    place = pc.index_in(ids, value_set=rows["id"].combine_chunks())
    return pc.coalesce(said, fetched).take(place)


def _mentions(project: Project, artifact: Artifact, sample: pa.Table) -> list[Group]:
    """The documents of ``sample`` that speak of groups of people."""
    patterns = {name: re.compile(rf"\b(?:{words})\b", re.I) for name, words in MENTIONS.items()}
    rules = dict(zip(sample["id"].to_pylist(), sample["rule"].to_pylist(), strict=True))
    sizes, chars = Counter[str](), Counter[tuple[str, bool]]()
    removed: dict[str, Counter[str]] = {name: Counter() for name in patterns}
    for document, text in _texts(project, artifact, max(rules, default="")):
        rule = rules.get(document, "")
        for name, pattern in patterns.items():
            if pattern.search(text):
                sizes[name] += 1
                chars[name, not rule] += len(text)
                removed[name].update([rule] if rule else [])
    return [_summed(name, [name], sizes, chars, removed) for name in patterns if sizes[name]]


def _texts(project: Project, artifact: Artifact, last: str) -> Iterator[tuple[str, str]]:
    """Ids and texts of the documents up to the id ``last``."""
    from undercroft.lake.where import quote

    table, version = str(artifact.meta["table"]), int(artifact.meta["version"])
    where = f"id <= {quote(last)}"
    for batch in project.lake.table(table).batches(["id", "text"], where, version, rows=256):
        yield from zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True)
