"""``undercroft.toml`` -> `Settings`; every value can say where it came from.

Layers, later ones win: default, folder name, file, environment (``UNDERCROFT_TRAIN__MINUTES=1``),
command line.
The sections themselves are in `settings`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from undercroft.errors import BadConfig, nearest
from undercroft.settings import Section, Settings

S = TypeVar("S", bound=Section)

FILE_NAME = "undercroft.toml"
ENV_PREFIX = "UNDERCROFT_"

__all__ = [
    "FILE_NAME",
    "Loaded",
    "Section",
    "Settings",
    "changed",
    "describe",
    "fields_of",
    "load",
    "slug",
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, for each ``section.key`` that is not a default, where its value came from."""

    settings: Settings
    origin: Mapping[str, str]

    def where(self, key: str) -> str:
        """Where the value of ``section.key`` came from."""
        return self.origin.get(key, "default")


def load(folder: Path, overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Read the settings of the project in ``folder``.

    ``overrides`` maps ``section.key`` to a value from the command line. Raises `BadConfig` for
    a file that is not TOML, an unknown key (the nearest is named) or a value that does not fit.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    path = folder / FILE_NAME
    for layer, label in (
        ({"project.name": slug(folder.name)}, "folder name"),
        (_from_file(path), str(path)),
        (_from_environment(os.environ), "environment"),
        (dict(overrides or {}), "command line"),
    ):
        for key, value in _flat(layer):
            section, _, name = key.partition(".")
            _check_known(section, name, label)
            _put(values, key, value)
            origin[key] = label
    try:
        return Loaded(Settings.model_validate(values), origin)
    except ValidationError as error:
        raise _bad_value(error, origin) from None


def changed(section: str, settings: S, options: Mapping[str, Any], command: str = "") -> S:
    """``settings`` of ``section`` with the ``options`` that are not None, by key or table.key.

    Raises `BadConfig` for a value that does not fit; ``command`` is what explains them, without it
    the list of all settings does.
    """
    values = settings.model_dump()
    for key, value in options.items():
        if value is not None:
            _put(values, key, value)
    try:
        return type(settings).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadConfig(
            f"{section}.{key} cannot be {first['input']!r}.",
            reason(error),
            f"See: undercroft {f'{command} --help' if command else 'init --print'}",
        ) from None


def slug(text: str) -> str:
    """``text`` as a name that artifacts may bear."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "docs"


def _from_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(
            f"{path} is not valid TOML.", f"{error}.", "Mend that line and run again."
        ) from None
    flat: dict[str, Any] = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise BadConfig(
                f"{path}: {section!r} stands outside a section.",
                "Every setting belongs to a section such as [train].",
                "See all of them with: undercroft init --print",
            )
        _check_known(section, "", str(path))
        flat.update({f"{section}.{name}": value for name, value in table.items()})
    return flat


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, text in environ.items():
        section, separator, key = name.removeprefix(ENV_PREFIX).partition("__")
        if name.startswith(ENV_PREFIX) and separator:
            key = key.lower().replace("__", ".")
            flat[f"{section.lower()}.{key}"] = _parse_scalar(text)
    return flat


def _flat(layer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """``layer`` with a key for each value of the tables that are sections in a section."""
    for key, value in layer.items():
        section, _, name = key.partition(".")
        info = Settings.model_fields.get(section)
        field = info.annotation.model_fields.get(name) if info and info.annotation else None
        if isinstance(value, dict) and _is_section(field):
            yield from ((f"{key}.{inner}", each) for inner, each in value.items())
        else:
            yield key, value


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set ``key``, of names with dots between, in nested tables."""
    *tables, name = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
    values[name] = value


def _parse_scalar(text: str) -> Any:
    """A TOML value if ``text`` is one, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check_known(section: str, key: str, label: str) -> None:
    sections = Settings.model_fields
    if section not in sections:
        near = nearest(section, sections)
        raise BadConfig(
            f"{label}: there is no section [{section}].",
            f"The nearest is [{near}]." if near else f"Sections are {', '.join(sections)}.",
            "See all of them with: undercroft init --print",
        )
    keys = fields_of(section)
    if key and key not in keys:
        near = nearest(key, keys)
        raise BadConfig(
            f"{label}: [{section}] has no key {key!r}.",
            f"The nearest is {near!r}." if near else f"Its keys are {', '.join(keys)}.",
            "See all of them with: undercroft init --print",
        )


def reason(error: ValidationError) -> str:
    """Why the first value that does not fit does not, as a sentence."""
    return f"{error.errors()[0]['msg'].removeprefix('Value error, ')}."


def _bad_value(error: ValidationError, origin: Mapping[str, str]) -> BadConfig:
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    tried = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
    key = next((each for each in tried if each in origin), ".".join(parts[:2]))
    return BadConfig(
        f"{origin.get(key, 'default')}: {key} = {first['input']!r} cannot be used.",
        reason(error),
        "See the defaults with: undercroft init --print",
    )


def fields_of(section: str) -> dict[str, Any]:
    """The pydantic fields of one section, by key; those of a section in it by ``name.key``."""
    return dict(_leaves(_model_of(Settings.model_fields[section])))


def _leaves(model: type[Section]) -> Iterator[tuple[str, Any]]:
    for key, item in model.model_fields.items():
        if _is_section(item):
            yield from ((f"{key}.{inner}", each) for inner, each in _leaves(_model_of(item)))
        else:
            yield key, item


def _is_section(item: Any) -> bool:
    kind = getattr(item, "annotation", None)
    return isinstance(kind, type) and issubclass(kind, Section)


def _model_of(item: Any) -> type[Section]:
    assert _is_section(item)
    model: type[Section] = item.annotation
    return model


def describe() -> Iterator[tuple[str, str, str, Any, str]]:
    """``(section, section help, key, default, help)`` of every setting, in file order."""
    for section, info in Settings.model_fields.items():
        model = _model_of(info)
        for key, item in _leaves(model):
            default = item.get_default(call_default_factory=True)
            yield (
                section,
                (model.__doc__ or "").strip(),
                key,
                _plain(default),
                item.description or "",
            )


def _plain(value: Any) -> Any:
    """``value`` with the tables in it as they are written in the file."""
    if isinstance(value, Section):
        return value.model_dump(exclude_defaults=True)
    return {k: _plain(each) for k, each in value.items()} if isinstance(value, dict) else value
