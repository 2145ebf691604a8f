"""Pairs of answers of which one was chosen, from files and from what people liked.

Files (`pair_files`) hold rows in the forms that are usual on the Hugging Face Hub: ``prompt``,
``chosen`` and ``rejected`` as texts or as lists of messages, the prompt also inside the lists. A
row that is no pair is kept beside the pairs, with the reason.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from undercroft.collect.opinions import opposed
from undercroft.collect.pair_files import files_of, rows_of
from undercroft.collect.traffic import SCHEME, Traffic
from undercroft.errors import BadInput
from undercroft.lake.preferences import SealedPair, write_preferences
from undercroft.lake.refused import Refused, reasons_of, refused_line
from undercroft.records import Preference, Turn
from undercroft.settings import Section
from undercroft.stage import Made, StageRun, stage

if TYPE_CHECKING:
    from undercroft.project import Project

_ROLES: Final = ("system", "user", "assistant", "tool")
_ASKING: Final = ("user", "tool")
_COPY: Final = "the same pair is there already"
_EVERY: Final = 1_000  # rows between reports


class PairSources(Section):
    """Where the pairs of ``preferences:NAME`` come from."""

    name: str = Field("pairs", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="names the pairs")
    sources: list[str] = Field(
        default_factory=list, description="absolute paths of files or folders, or traffic:"
    )


def _fingerprint(project: Project, params: PairSources) -> str:
    from undercroft.lake.blobs import digest_of

    return " ".join(
        Traffic(source, project).fingerprint()
        if source.startswith(SCHEME)
        else " ".join(digest_of(path)[0] for path in files_of(Path(source)))
        for source in params.sources
    )


@stage("preferences", version=1, params=PairSources, fingerprint=_fingerprint)
def preferences(run: StageRun, params: PairSources) -> Made:
    """Gather the pairs of all sources. Raises `BadInput` when there is not one."""
    seen: set[str] = set()
    pairs: list[Preference | SealedPair] = []
    refused: list[Refused] = []
    for number, item in enumerate(_items(run.project, params.sources), start=1):
        if isinstance(item, Refused):
            refused.append(item)
        elif item.id not in seen:
            seen.add(item.id)
            pairs.append(item)
        else:
            refused.append(Refused(item.source, 0, _COPY, item.id))
        if number % _EVERY == 0:
            run.progress(number, None, "rows", f"{len(refused):,} refused")
    reasons = reasons_of(refused)
    if not pairs:
        first = next(iter(reasons), "")
        raise BadInput(
            f"There is no pair in {', '.join(params.sources) or 'no source'}.",
            f"{len(refused):,} rows were refused, most because: {first}."
            if refused
            else "There is no row in it.",
            'A row has the form {"prompt": "…", "chosen": "…", "rejected": "…"}.',
        )
    if len(pairs) == 1 and reasons.get(_COPY):
        raise BadInput(
            f"All pairs in {', '.join(params.sources)} are the same.",
            f"There is one, {1 + reasons[_COPY]:,} times: a model would learn but to repeat it.",
            "Give other pairs.",
        )
    folder = run.workdir / "preferences"
    shutil.rmtree(folder, ignore_errors=True)
    write_preferences(folder, pairs, refused)
    meta = {
        "pairs": len(pairs),
        "refused": len(refused),
        "reasons": reasons,
        "sources": [_named(source) for source in params.sources],
    }
    return Made("preferences", params.name, path=folder, meta=meta)


def _items(project: Project, sources: Sequence[str]) -> Iterator[Preference | SealedPair | Refused]:
    for source in sources:
        if source.startswith(SCHEME):
            yield from opposed(Traffic(source, project))
        else:
            for path in files_of(Path(source)):
                yield from read_pairs(path)


def read_pairs(path: Path) -> Iterator[Preference | Refused]:
    """What each row of the file at ``path`` is: a pair, or the reason why it is none."""
    for row in rows_of(path):
        if isinstance(row, Refused):
            yield row
            continue
        try:
            yield preference_of(row.value, path.name)
        except _NoPairError as error:
            yield refused_line(path.name, row.number, str(error), row.text)


def preference_of(row: Any, source: str) -> Preference:
    """The pair that ``row`` is; raises a `ValueError` that says why it is none."""
    if not isinstance(row, dict):
        raise _NoPairError("the row is no object")
    before, chosen = _side(row, "chosen")
    before_rejected, rejected = _side(row, "rejected")
    if before != before_rejected:
        raise _NoPairError("chosen and rejected answer different prompts")
    prompt = _prompt(row.get("prompt"), before)
    if chosen == rejected:
        raise _NoPairError("chosen and rejected are the same")
    parts = [[(turn.role, turn.text) for turn in prompt], chosen, rejected]
    try:
        digest = hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
    except UnicodeEncodeError:
        raise _NoPairError("it holds half a character") from None
    return Preference(digest[:20], prompt, chosen, rejected, source)


class _NoPairError(ValueError):
    """Why a row is no pair."""


def _side(row: Mapping[str, Any], name: str) -> tuple[tuple[Turn, ...], str]:
    """The answer called ``name``, and the conversation before it if the row has it there."""
    value = row.get(name)
    if isinstance(value, str):
        return (), _text(value, name)
    turns = _turns(value, name)
    if turns[-1].role != "assistant":
        raise _NoPairError(f"{name} does not end with the assistant's turn")
    return turns[:-1], turns[-1].text


def _prompt(value: Any, before: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The whole conversation before the answers, from ``prompt`` and what they begin with."""
    said: tuple[Turn, ...] = ()
    if isinstance(value, str):
        said = (Turn("user", _text(value, "prompt")),)
    elif value is not None:
        said = _turns(value, "prompt")
    if said and before and said[-1].text != before[-1].text:
        raise _NoPairError("prompt is not what chosen and rejected begin with")
    turns = before or said
    if not turns:
        raise _NoPairError("there is no prompt")
    if turns[-1].role not in _ASKING:
        raise _NoPairError("prompt does not end with the user's turn")
    return turns


def _turns(value: Any, name: str) -> tuple[Turn, ...]:
    messages = [value] if isinstance(value, dict) else value
    if value is None:
        raise _NoPairError(f"{name} is missing")
    if not isinstance(messages, list) or not messages:
        raise _NoPairError(f"{name} is neither text nor messages")
    for each in messages:
        if not isinstance(each, dict) or each.get("role") not in _ROLES:
            raise _NoPairError(f"{name} holds a message without a role of {', '.join(_ROLES)}")
        if not isinstance(each.get("content"), str):
            raise _NoPairError(f"{name} holds a message whose content is no text")
    return tuple(Turn(each["role"], _text(each["content"], name)) for each in messages)


def _text(value: str, name: str) -> str:
    text = value.strip()
    if not text:
        raise _NoPairError(f"{name} is empty")
    return text


def _named(source: str) -> str:
    return source if source.startswith(SCHEME) else Path(source).name
