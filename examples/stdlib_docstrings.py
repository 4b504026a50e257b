"""Thousands of real texts that every machine with Python has: the docstrings of its standard library."""

from __future__ import annotations

import ast
import logging
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "ensurepip"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Docstring:
    """A docstring and the dotted name of the module, class or function that it documents."""

    name: str
    text: str


def stdlib_docstrings(minimum: int = 40, root: Path | None = None) -> list[Docstring]:
    """Every public docstring of the standard library, read from its source; nothing is imported.

    Public: no part of the dotted name begins with an underscore (``__main__`` aside), and nothing that stands
    inside a function. Tests and packages that were installed later are left out. Files come in the order of
    their paths, a file's docstrings in the order in which they stand. Files that do not parse are skipped
    with a logged warning that names them.

    Args:
        minimum: characters that a docstring has at least, its indentation removed.
        root: the folder to read; the standard library of the running Python where omitted.

    Returns:
        The docstrings. A name can come twice, as that of a property's getter and setter.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    found: list[Docstring] = []
    unreadable: list[str] = []
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root)
        name = _module_name(path)
        if SKIPPED_FOLDERS.intersection(path.parts) or not _is_public(name):
            continue
        try:
            found += _docstrings(_parse(file), name)
        except (SyntaxError, ValueError):
            unreadable.append(str(path))
    if unreadable:
        log.warning("skipped %d files that do not parse: %s", len(unreadable), ", ".join(unreadable))
    return [docstring for docstring in found if len(docstring.text) >= minimum]


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_public(name: str) -> bool:
    return all(part == "__main__" or not part.startswith("_") for part in name.split("."))


def _parse(file: Path) -> ast.Module:
    with warnings.catch_warnings():
        # Old escapes in somebody else's strings are not news for the reader of an example.
        warnings.simplefilter("ignore")
        return ast.parse(file.read_bytes())


def _docstrings(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str
) -> Iterator[Docstring]:
    if text := ast.get_docstring(node):
        yield Docstring(name, text)
    if isinstance(node, ast.Module | ast.ClassDef):
        for inner in _definitions(node):
            if not inner.name.startswith("_"):
                yield from _docstrings(inner, f"{name}.{inner.name}")


def _definitions(node: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The classes and functions of a body, those under an ``if`` or ``try`` too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _definitions(child)
