"""Models out of files, all of whose weights are there: missing ones would be made up, unsaid."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from undercroft.errors import BadInput

_INDEX: Final = "model.safetensors.index.json"
_BRING: Final = "Bring the model in again, or name another as model.base."


def loaded(kind: Any, where: str | Path, *, may_lack: Collection[str] = (), **how: Any) -> Any:
    """The model at ``where``, as ``kind`` (one of transformers' ``AutoModelFor…``) reads it.

    ``may_lack`` are weights that need not be there. Raises `BadInput` for files that are missing
    or damaged, and for weights that are missing or not of the shape that the configuration says.
    """
    if Path(where).is_dir():
        demand_files(Path(where))
    with told(where):
        model, found = kind.from_pretrained(
            where, output_loading_info=True, ignore_mismatched_sizes=True, **how
        )
    wrong = sorted(str(each[0]) for each in found["mismatched_keys"])
    missing = sorted(set(found["missing_keys"]) - set(may_lack))
    if wrong or missing:
        shape = "does not have the shape that config.json gives it" if wrong else "is in no file"
        more = len(wrong) + len(missing) - 1
        others = f", and {more:,} other weights are missing or do not fit" if more else ""
        what = f"The files in {where} do not hold the whole model."
        raise BadInput(what, f"{[*wrong, *missing][0]} {shape}{others}.", _BRING)
    return model


def demand_files(folder: Path) -> None:
    """Raises `BadInput` unless every file of weights in ``folder`` is there and can be opened."""
    from safetensors import SafetensorError, safe_open

    files = {file.name for file in folder.glob("*.safetensors")}
    index = folder / _INDEX
    with told(folder):
        named = set(json.loads(index.read_bytes())["weight_map"].values()) if index.exists() else ()
    missing = sorted(set(named) - files)
    if missing or not (files or list(folder.glob("*.bin"))):
        why = f"{', '.join(missing)} is missing." if missing else "There is no file of weights."
        raise BadInput(f"{folder} does not hold the whole model.", why, _BRING)
    for name in sorted(files):
        try:
            with safe_open(folder / name, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            what = f"{folder / name} is damaged."
            raise BadInput(what, f"{str(error).rstrip('.')}.", _BRING) from error


@contextmanager
def told(where: str | Path) -> Iterator[None]:
    """What a library says of files at ``where`` that it cannot read, as `BadInput`."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, ValueError, RuntimeError, LookupError, TypeError) as error:
        first = str(error).strip().partition("\n")[0].rstrip(".:")
        why = f"{type(error).__name__}: {first}."
        raise BadInput(f"The model in {where} cannot be read.", why, _BRING) from error
