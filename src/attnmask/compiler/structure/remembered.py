"""What a set was found to be, kept with its Runs: every format and backend that asks again gets the same answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np

from attnmask.compiler.runs import Runs

Options = ParamSpec("Options")
Found = TypeVar("Found")


def remembered(
    recognise: Callable[Concatenate[Runs, Options], Found],
) -> Callable[Concatenate[Runs, Options], Found]:
    """A function of a set, computed once for each Runs and options; the arrays of its result are read-only."""

    @wraps(recognise)
    def found(runs: Runs, *args: Options.args, **kwargs: Options.kwargs) -> Found:
        kept = cast(dict[Any, Found], runs.found)
        key = (recognise, args, *kwargs.items())
        if key not in kept:
            kept[key] = recognise(runs, *args, **kwargs)
            _make_read_only(kept[key])
        return kept[key]

    return found


def _make_read_only(found: object) -> None:
    """What is kept is handed out again: a change in place would reach every later answer."""
    if isinstance(found, np.ndarray):
        found.flags.writeable = False
    elif is_dataclass(found):
        for value in vars(found).values():
            _make_read_only(value)
