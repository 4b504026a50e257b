"""Replace attributes and table entries of transformers, and restore them in reverse order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

_MISSING = object()
_undo: list[Callable[[], None]] = []


def replace_attribute(owner: Any, name: str, value: Any) -> None:
    """Set an attribute of a class or module until ``undo_replacements``."""
    before = cast(dict[str, Any], vars(owner)).get(name, _MISSING)
    setattr(owner, name, value)

    def undo() -> None:
        # Another library has wrapped our function since. Ours stays inside, where it only calls the original.
        if vars(owner).get(name) is not value:
            return
        if before is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    _undo.append(undo)


def replace_entry(table: dict[str, Any], key: str, value: Any) -> None:
    """Set an entry of a table until ``undo_replacements``."""
    before = table.get(key, _MISSING)
    table[key] = value

    def undo() -> None:
        if table.get(key) is not value:
            return
        if before is _MISSING:
            del table[key]
        else:
            table[key] = before

    _undo.append(undo)


def undo_replacements() -> None:
    """Restore everything that was replaced."""
    while _undo:
        _undo.pop()()
