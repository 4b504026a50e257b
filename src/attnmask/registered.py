"""Functions of higher folders behind methods of lower classes, such as ``Plan.to``: registered by name.

``attnmask/__init__.py`` registers them, so that mask/ and compiler/ import nothing that lies above them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FUNCTIONS: dict[str, Callable[..., Any]] = {}


def register_functions(**functions: Callable[..., Any]) -> None:
    """Register functions under the names by which methods call them."""
    FUNCTIONS.update(functions)
