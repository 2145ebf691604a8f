"""Texts that a tuned model must not have become worse at, by name (`evaluate.keep`).

Both engines are asked how likely they find passages of them, token by token, as they are served.
The scorecard then has a perplexity for each name, and the gate of a release treats a rise of it
like any other regression.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undercroft.engines import Engine
from undercroft.engines.client import EngineClient
from undercroft.evaluate.ask import forced_nll
from undercroft.evaluate.bootstrap import Difference, compare_perplexities
from undercroft.evaluate.domains import domain, is_dataset
from undercroft.evaluate.journal import Answered
from undercroft.project import Project
from undercroft.settings import EvaluateSettings

GIVEN_TOKENS = 16  # of a passage, read before the first that is scored
SCORED_TOKENS = 48  # each costs about as much as a generated one
FINISHED = "kept"


@dataclass(frozen=True, slots=True)
class Kept:
    """A passage; ``case`` is what the journal calls it."""

    name: str
    case: str
    text: str


def metric(name: str) -> str:
    """What the scorecard calls the perplexity on the texts ``name``."""
    return f"kept_{name}_perplexity"


def fingerprint(project: Project, params: EvaluateSettings) -> str:
    """What the passages are read from: names say little about files that may change."""
    found: list[object] = []
    for name, source in sorted(params.keep.items()):
        if is_dataset(source):
            found.append((name, project.ledger.artifact(source).digest))
            continue
        path = _path(project, source)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        stats = [(str(file), file.stat()) for file in files if file.is_file()]
        found.append((name, [(file, stat.st_size, stat.st_mtime) for file, stat in stats]))
    return json.dumps(found)


def passages(project: Project, params: EvaluateSettings) -> list[Kept]:
    """Those of all names; raises `NotFound` and `BadInput` as `domain` does."""
    found: list[Kept] = []
    for name, source in params.keep.items():
        where = source if is_dataset(source) else str(_path(project, source))
        texts = domain(project, name, where, params.keep_passages, params.seed).passages
        found += [Kept(name, f"kept:{name}:{n}", text) for n, text in enumerate(texts)]
    return found


async def score_all(
    engine: Engine, model: str, kept: Sequence[Kept], done: Callable[[Answered], None]
) -> None:
    """The likelihood that ``engine`` gives every passage. Raises `EngineFailed`."""
    async with EngineClient(engine.base_url) as client:
        for each in kept:
            started = time.monotonic()
            tokens = (await client.tokenize(each.text, special=False))[
                : GIVEN_TOKENS + SCORED_TOKENS
            ]
            given = min(GIVEN_TOKENS, len(tokens) // 2)
            nll = await forced_nll(client, tokens[:given], tokens[given:], 0)
            seconds = round(time.monotonic() - started, 3)
            scored = len(tokens) - given
            done(Answered(model, each.case, "", FINISHED, given, scored, seconds, nll, scored))


def differences(
    kept: Sequence[Kept],
    base: Mapping[str, Answered],
    tuned: Mapping[str, Answered],
    params: EvaluateSettings,
) -> Iterator[tuple[str, Difference]]:
    """The perplexities of both models on the texts of each name, by metric."""
    for name in dict.fromkeys(each.name for each in kept):
        cases = [each.case for each in kept if each.name == name]
        nll = [np.array([side[case].nll for case in cases]) for side in (base, tuned)]
        tokens = np.array([float(base[case].reference_tokens) for case in cases])
        yield metric(name), compare_perplexities(nll[0], nll[1], tokens, params)


def _path(project: Project, source: str) -> Path:
    return (project.root / Path(source).expanduser()).resolve()
