"""The documentation inside every CPython: language reference and standard library docstrings.

Topics are those of `pydoc_data.topics`, the part of the language reference that ``help()`` shows.
Docstrings are read from the source files without importing them, so that nothing runs.
"""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from undercroft.collect.documents import MARKDOWN, Collected, Gathering, Unchanged
from undercroft.errors import BadSource

LICENCE: Final = "PSF-2.0"
_LEFT_OUT: Final = frozenset(
    {"antigravity", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tests", "this"}
    | {"turtledemo"}
)
_UNDERLINES: Final = {"*": "#", "=": "##", "-": "###", "~": "####", "^": "####"}
_UNDERLINED: Final = re.compile(
    r"^(?P<text>\S.*)\n(?P<line>(?P<mark>[*=\-~^])(?P=mark){2,})$", re.M
)
#: Paragraphs at least this long that two topics share make them one piece of the reference.
_SHARED_CHARS: Final = 120

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class PythonDocs:
    """One document for each topic and for each module of the standard library."""

    library: Path = Path(sysconfig.get_path("stdlib"))

    def fingerprint(self) -> str:
        return f"{sys.implementation.name} {sys.version}"

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        stamp = self.fingerprint()
        if gathering.earlier.etags() == {stamp}:
            yield Unchanged()
            return
        modules = list(self._modules())
        if not modules:
            raise BadSource(
                f"There is no source of the standard library in {self.library}.",
                "This Python was installed without it.",
                "Use a Python that has its .py files, or give other sources.",
            )
        documents = chain(_topics(stamp), _library(modules, self.library, stamp))
        for number, document in enumerate(documents, 1):
            gathering.report(number, None, document.uri)
            yield document

    def _modules(self) -> Iterator[tuple[str, Path]]:
        """Names and files of the public modules, submodules of packages included."""
        for name in sorted(sys.stdlib_module_names):
            if name.startswith("_") or name in _LEFT_OUT:
                continue
            file = self.library / f"{name}.py"
            if file.is_file():
                yield name, file
            elif (self.library / name / "__init__.py").is_file():
                yield from _package(name, self.library / name)


def _package(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    yield name, folder / "__init__.py"
    for path in sorted(folder.iterdir()):
        if path.name.startswith(("_", ".")) or path.stem in _LEFT_OUT:
            continue
        if path.suffix == ".py":
            yield f"{name}.{path.stem}", path
        elif (path / "__init__.py").is_file():
            yield from _package(f"{name}.{path.name}", path)


# --- topics ------------------------------------------------------------------------------------


def _topics(stamp: str) -> Iterator[Collected]:
    from pydoc_data.topics import topics

    groups = _groups(topics)
    for name, text in sorted(topics.items()):
        body = _as_markdown(text)
        heading = re.search(r"^#+ (.+)$", body, re.M)
        yield Collected(
            f"python://topics/{name}",
            title=heading[1] if heading else name.replace("-", " ").capitalize(),
            group=f"pydoc_data/topics.py#{groups[name]}",
            mime=MARKDOWN,
            payload=body.encode(),
            licence=LICENCE,
            size_bytes=len(body.encode()),
            etag=stamp,
        )


def _as_markdown(text: str) -> str:
    """Underlined headings, as Sphinx writes them in plain text, as those of Markdown."""

    def heading(match: re.Match[str]) -> str:
        return f"{_UNDERLINES[match['mark']]} {match['text']}"

    return _UNDERLINED.sub(heading, text.strip()) + "\n"


def _groups(topics: Mapping[str, str]) -> dict[str, str]:
    """For each topic the longest of those that share text with it, directly or through others.

    The reference page of compound statements holds that of ``with``, and so on; apart they would
    let an evaluation ask what the training has seen.
    """
    parent = {name: name for name in topics}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    first_with: dict[str, str] = {}
    for name, text in topics.items():
        for paragraph in text.split("\n\n"):
            words = " ".join(paragraph.split())
            if len(words) >= _SHARED_CHARS:
                parent[root(name)] = root(first_with.setdefault(words, name))
    longest: dict[str, str] = {}
    for name in sorted(topics, key=lambda each: (-len(topics[each]), each)):
        longest.setdefault(root(name), name)
    return {name: longest[root(name)] for name in topics}


# --- the library -------------------------------------------------------------------------------


def _library(modules: Iterable[tuple[str, Path]], library: Path, stamp: str) -> Iterator[Collected]:
    for name, file in modules:
        uri = f"python://library/{name}"
        group = file.relative_to(library).as_posix()
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError) as error:
            yield Collected(uri, group=group, reason=f"unreadable: {error}", etag=stamp)
            continue
        text = _module_text(name, tree)
        if text is None:
            continue
        yield Collected(
            uri,
            title=f"The {name} module",
            group=group,
            mime=MARKDOWN,
            payload=text.encode("utf-8", "replace"),
            licence=LICENCE,
            size_bytes=len(text.encode("utf-8", "replace")),
            etag=stamp,
        )


def _module_text(name: str, tree: ast.Module) -> str | None:
    """The docstrings of a module under its signatures as headings; None when it has none."""
    own = ast.get_docstring(tree)
    parts = list(_members(tree.body, name, 2))
    if not own and not parts:
        return None
    return "\n\n".join([f"# {name}", *([own] if own else []), *parts]) + "\n"


def _members(body: Iterable[ast.stmt], owner: str, level: int) -> Iterator[str]:
    seen: set[str] = set()  # an overload or a fallback repeats what the first definition says
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _members([*node.body, *node.orelse], owner, level)
        if not isinstance(node, Definition) or node.name.startswith("_") or node.name in seen:
            continue
        seen.add(node.name)
        docstring = ast.get_docstring(node)
        members = (
            list(_members(node.body, f"{owner}.{node.name}", level + 1))
            if isinstance(node, ast.ClassDef)
            else []
        )
        if docstring or members:
            yield f"{'#' * min(level, 5)} {_signature(node, owner)}"
        if docstring:
            yield docstring
        yield from members


def _signature(node: Definition, owner: str) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {owner}.{node.name}" + (f"({bases})" if bases else "")
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Name) and decorator.id == "property":
            return f"{owner}.{node.name}"
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{prefix}{owner}.{node.name}({_arguments(node.args)})"


def _arguments(arguments: ast.arguments) -> str:
    """As in a call: without ``self`` and without annotations."""
    for argument in (
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        *(each for each in (arguments.vararg, arguments.kwarg) if each),
    ):
        argument.annotation = None
    text = ast.unparse(arguments)
    return re.sub(r"^(?:self|cls)(?:, (?!/)|, /(?:, )?|$)", "", text)
