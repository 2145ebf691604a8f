"""A mixture: how much of which group a training set takes, and the documents that make it.

`mixture` reads sizes, not texts, and gives a `Drawn`: the shares that were asked for and came of
it, and the rows to write, whose texts `batches` reads piece by piece. A few hundred bytes a
document are held meanwhile. The arithmetic is in `sampling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from undercroft.errors import BadInput, nearest
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.settings import MixtureSettings
from undercroft.versions import sampling
from undercroft.versions.groups import groups_of
from undercroft.versions.names import known_purpose

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

#: Texts that are read at once: so many characters, or one document if it is longer.
BATCH_CHARS: Final = 8_000_000
_BATCH_ROWS: Final = 4096
_LISTED: Final = 20  # groups that an error names


@dataclass(frozen=True, slots=True)
class Part:
    """One group: what there is of it, what was asked for and what came of it.

    Shares are of characters. ``asked`` is by temperature and weight, ``share`` after no group
    could be repeated more than ``max_epochs`` times and documents were taken whole.
    """

    name: str
    documents: int
    chars: int
    natural: float
    asked: float
    share: float
    rows: int
    rows_chars: int
    epochs: float
    is_capped: bool = False


@dataclass(frozen=True, slots=True)
class Mixture:
    """The mixture of ``ref`` by ``settings``; ``parts`` are all its groups, the largest first."""

    ref: str
    settings: Mapping[str, Any]
    documents: int
    asked_chars: int
    rows: int
    chars: int
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        """The settings in words."""
        own = self.settings
        weights = ", ".join(f"{name} x{factor:g}" for name, factor in own["weights"].items())
        return (
            f"by {own['by']}, temperature {own['temperature']:g}, "
            f"{f'weights {weights}, ' if weights else ''}at most {own['max_epochs']} epochs, "
            f"seed {own['seed']}"
        )

    @property
    def is_short(self) -> bool:
        """Whether no group can give more, and yet the size aimed at is not reached."""
        is_full = all(part.is_capped for part in self.parts if part.asked)
        return is_full and self.chars < self.asked_chars


@dataclass(frozen=True, slots=True)
class Grouped:
    """The kept documents, sorted by id, and the number of the group of each in ``names``."""

    kept: pa.Table  # of `read_kept`
    chars: NDArray[np.int64]
    names: Sequence[str]
    numbers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A mixture, and the documents that it takes: rows of ``grouped`` and their epochs."""

    mixture: Mixture
    grouped: Grouped
    rows: NDArray[np.int64]
    epochs: NDArray[np.int64]

    def batches(
        self, project: Project, artifact: Artifact, columns: Sequence[str], start: int, stop: int
    ) -> Iterator[pa.Table]:
        """What is written from ``start`` to ``stop``: ``columns``, masked, and ``epoch``."""
        import pyarrow as pa

        from undercroft.lake import take_kept

        for first, last in _pieces(self.grouped.chars[self.rows[start:stop]]):
            piece = slice(start + first, start + last)
            kept = self.grouped.kept.take(pa.array(self.rows[piece]))
            documents = take_kept(project.lake, artifact, kept, columns)
            yield documents.append_column("epoch", pa.array(self.epochs[piece], pa.int32()))


def mixture(
    project: Project, artifact: Artifact, settings: MixtureSettings, purpose: str = ""
) -> Drawn:
    """The documents of ``artifact`` mixed as ``settings`` say.

    With a ``purpose``, of those that may serve it. Raises `NotFound` for a purpose that the
    dataset does not have, and `BadInput` for weights of groups that are not there and for a
    mixture that would be empty.
    """
    grouped = _grouped(project, artifact, settings, purpose)
    sizes = _sizes(grouped)
    _check_weights(settings, sizes)
    wanted = sampling.shares(sizes, settings.temperature, settings.weights)
    chars = settings.chars or sum(sizes.values())
    given = sampling.budgets(sizes, wanted, chars, settings.max_epochs)
    keys = sampling.base_keys(_ids(grouped.kept), settings.seed)
    budgets = [given[name] for name in grouped.names]
    rows, epochs = sampling.draw(keys, grouped.chars, grouped.numbers, budgets, settings.max_epochs)
    if not len(rows):
        raise BadInput(
            f"The mixture of {artifact} takes no document.",
            f"It aims at {chars:,} characters, of {sum(map(bool, wanted.values())):,} groups; "
            "documents are taken whole.",
            "Aim at more (chars), or leave fewer groups out (weights), under [mixture].",
        )
    found = Mixture(
        str(artifact.ref),
        settings.model_dump(),
        grouped.kept.num_rows,
        chars,
        len(rows),
        int(grouped.chars[rows].sum()),
        tuple(
            replace(part, is_capped=given[part.name] >= settings.max_epochs * part.chars > 0)
            for part in _parts(grouped, rows, wanted)
        ),
    )
    return Drawn(found, grouped, rows, epochs)


def regrouped(drawn: Drawn, like: Drawn) -> dict[str, Part]:
    """What ``drawn`` takes of each group of ``like``, a mixture of the same documents.

    Nothing was asked of groups that are not its own.
    """
    own = {part.name: part.asked for part in drawn.mixture.parts}
    same = drawn.mixture.settings["by"] == like.mixture.settings["by"]
    wanted = own if same else dict.fromkeys(like.grouped.names, 0.0)
    return {part.name: part for part in _parts(like.grouped, drawn.rows, wanted)}


def adjusted(settings: MixtureSettings, changes: Mapping[str, Any]) -> MixtureSettings:
    """``settings`` with ``changes``: weights are added, and dropped where groups are others.

    Raises `BadInput` for a key or value that is none.
    """
    regroups = changes.get("by", settings.by) != settings.by
    weights = {**({} if regroups else settings.weights), **changes.get("weights", {})}
    try:
        return MixtureSettings.model_validate(
            {**settings.model_dump(), **changes, "weights": weights}
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"A mixture cannot have {name} = {first['input']!r}.",
            f"{first['msg']}.",
            f"It has {', '.join(MixtureSettings.model_fields)}: undercroft data mix --help",
        ) from None


def _grouped(
    project: Project, artifact: Artifact, settings: MixtureSettings, purpose: str
) -> Grouped:
    import numpy as np

    from undercroft.lake import read_kept

    kept = read_kept(project.lake, artifact, known_purpose(artifact, purpose)).sort_by("id")
    if not kept.num_rows:
        raise BadInput(
            f"{artifact} keeps no document to mix.",
            do=f"See what its rules removed: undercroft data show {artifact.name}",
        )
    names, numbers = groups_of(project, artifact, settings.by)
    by_name = sorted(range(len(names)), key=lambda each: names[each])
    ranks = np.argsort(np.array(by_name, np.int64))
    own, numbers = np.unique(ranks[numbers[kept["place"].to_numpy()]], return_inverse=True)
    chars = kept["num_chars"].to_numpy().astype(np.int64)
    return Grouped(kept, chars, [names[by_name[each]] for each in own], numbers)


def _ids(kept: pa.Table) -> Iterator[str]:
    for batch in kept.select(["id"]).to_batches(max_chunksize=8192):
        yield from batch["id"].to_pylist()


def _sizes(grouped: Grouped) -> dict[str, int]:
    return dict(zip(grouped.names, _summed(grouped, grouped.chars), strict=True))


def _summed(
    grouped: Grouped, chars: NDArray[np.int64], rows: NDArray[np.int64] | None = None
) -> list[int]:
    """The sum of ``chars`` by group, of all documents or of those at ``rows``."""
    import numpy as np

    sums = np.zeros(len(grouped.names), np.int64)
    places = slice(None) if rows is None else rows
    np.add.at(sums, grouped.numbers[places], chars[places])
    return [int(each) for each in sums]


def _parts(
    grouped: Grouped, rows: NDArray[np.int64], wanted: Mapping[str, float]
) -> tuple[Part, ...]:
    import numpy as np

    ones = np.ones_like(grouped.chars)
    sizes, documents = _summed(grouped, grouped.chars), _summed(grouped, ones)
    written, counts = _summed(grouped, grouped.chars, rows), _summed(grouped, ones, rows)
    total, whole = max(sum(sizes), 1), max(sum(written), 1)
    parts = [
        Part(
            name, documents[n], sizes[n], sizes[n] / total, wanted[name],
            written[n] / whole, counts[n], written[n], written[n] / max(sizes[n], 1),
        )
        for n, name in enumerate(grouped.names)
    ]  # fmt: skip
    return tuple(sorted(parts, key=lambda part: (-part.chars, part.name)))


def _check_weights(settings: MixtureSettings, sizes: Mapping[str, int]) -> None:
    for name in settings.weights:
        if name not in sizes:
            known = sorted(sizes, key=lambda each: (-sizes[each], each))
            near = nearest(name, known)
            more = f" and {len(known) - _LISTED:,} more" if len(known) > _LISTED else ""
            raise BadInput(
                f"There is no {settings.by} {name!r} to weigh.",
                f"There are {', '.join(known[:_LISTED])}{more}.",
                f"Did you mean {near!r}?" if near else "Name one of them, or group `by` another.",
            )


def _pieces(chars: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Where to cut so that a piece holds few enough rows and characters."""
    first = size = 0
    for row, length in enumerate(chars.tolist()):
        if row > first and (size + length > BATCH_CHARS or row - first >= _BATCH_ROWS):
            yield first, row
            first, size = row, 0
        size += length
    if first < len(chars):
        yield first, len(chars)
