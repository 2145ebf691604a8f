"""Documents from a dataset of the Hugging Face Hub, or one in its layout on disk.

``hf:owner/name`` or ``hf:./folder``, and after a question mark what else is to be said:
``hf:owner/name?config=en&split=train&revision=v1&text=body``. Rows are streamed, so nothing is kept
of the dataset but its rows; the licence is that of its card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from undercroft.collect.content import addressed, ground_of
from undercroft.collect.documents import Collected, Gathering, Unchanged
from undercroft.collect.options import options_of
from undercroft.collect.readers import record, text_field
from undercroft.errors import BadSource, MissingExtra
from undercroft.settings import CollectSettings

_TIMEOUT_S: Final = 10.0
_KNOWN: Final = frozenset({"config", "split", "revision", "text"})


@dataclass(frozen=True)
class HubDataset:
    """The dataset that ``spec`` names; relative folders are relative to ``root``."""

    spec: str
    root: Path
    params: CollectSettings

    def fingerprint(self) -> str:
        """The commit at the Hub, or the files' sizes and times; whether it can be reached."""
        try:
            return self._version()[0]
        except BadSource:
            return "unreachable"

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        known = gathering.earlier.etags(self.spec)
        try:
            version, licence = self._version()
        except BadSource:
            if not known:
                raise
            yield Unchanged(file=self.spec)  # what was taken before is not lost to a bad moment
            return
        stamp = f"{version}-{ground_of(self.params)}"
        if stamp in known:
            yield Unchanged(file=self.spec)
            return
        rows = self._documents(gathering, licence)
        is_empty = True
        for found in addressed(rows, self.spec, stamp, lambda: stamp):
            is_empty = False
            yield found
        if is_empty:
            raise BadSource(f"There are no rows in {self.spec}.", do="Name another split.")

    def _documents(self, gathering: Gathering, licence: str) -> Iterator[Collected]:
        text = self._options.get("text")
        for number, row in enumerate(self._rows(), 1):
            fields = {**row, "text": row.get(text)} if text and isinstance(row, dict) else row
            found = record(self.spec, number, fields)
            yield replace(found, licence=found.licence or licence)
            gathering.report(number, None, self.spec)

    def _rows(self) -> Iterator[Any]:
        datasets = _library()
        chosen = self._options
        try:
            rows = datasets.load_dataset(
                self._name,
                chosen.get("config"),
                split=chosen.get("split", "train"),
                revision=None if self._folder else chosen.get("revision"),
                streaming=True,
            )
            names = rows.column_names
            if names and chosen.get("text", text_field(names) or "") not in names:
                raise BadSource(
                    f"None of the columns of {self.spec} is known to hold text.",
                    f"They are {', '.join(names)}.",
                    "Say which, as in hf:owner/name?text=body",
                )
            yield from rows
        except BadSource:
            raise
        except Exception as error:
            raise self._unreadable(error) from None

    def _version(self) -> tuple[str, str]:
        """What changes when the dataset does, and the licence that its card states."""
        from huggingface_hub import DatasetCard, HfApi

        _library()
        if self._folder is not None:
            files = sorted(path for path in self._folder.rglob("*") if path.is_file())
            if not files:
                raise BadSource(f"There is no dataset in {self._folder}.", do="Correct the path.")
            stamps = (f"{path}{path.stat().st_size}{path.stat().st_mtime_ns}" for path in files)
            card = self._folder / "README.md"
            said = DatasetCard.load(card).data if card.exists() else None
            return hashlib.sha256("\n".join(stamps).encode()).hexdigest(), _licence(said)
        try:
            info = HfApi().dataset_info(
                self._name, revision=self._options.get("revision"), timeout=_TIMEOUT_S
            )
        except Exception as error:  # of whichever HTTP library it has
            raise self._unreadable(error) from None
        return str(info.sha), _licence(info.card_data)

    @property
    def _folder(self) -> Path | None:
        """Where the dataset lies on disk; None for one at the Hub."""
        name = self.spec.removeprefix("hf:").partition("?")[0]
        is_path = name.startswith((".", "/", "~"))
        return (self.root / Path(name).expanduser()).resolve() if is_path else None

    @property
    def _name(self) -> str:
        return str(self._folder or self.spec.removeprefix("hf:").partition("?")[0])

    @property
    def _options(self) -> dict[str, str]:
        return options_of(self.spec, self.spec.partition("?")[2], _KNOWN)

    def _unreadable(self, error: Exception) -> BadSource:
        reason = str(error).partition("\n")[0]
        return BadSource(
            f"The dataset {self.spec} cannot be read.",
            reason,
            "Check its name, split and the connection; without one, give a folder that it was "
            "downloaded to: hf:./folder",
        )


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "hub") from None
    return datasets


def _licence(card: Any) -> str:
    """What a dataset's card, where there is one, says of its licence."""
    found = getattr(card, "license", None) or ""
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found)
