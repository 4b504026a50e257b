"""What a set was found to be, kept with its Runs: every format and backend that asks again gets the same answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from attnmask.compiler.runs import Runs

Options = ParamSpec("Options")
Found = TypeVar("Found")


def remembered(
    recognise: Callable[Concatenate[Runs, Options], Found],
) -> Callable[Concatenate[Runs, Options], Found]:
    """A function of a set, computed once for each Runs and options; its result is not to be changed in place."""

    @wraps(recognise)
    def found(runs: Runs, *args: Options.args, **kwargs: Options.kwargs) -> Found:
        kept = cast(dict[Any, Found], runs.found)
        key = (recognise.__qualname__, args, *kwargs.items())
        if key not in kept:
            kept[key] = recognise(runs, *args, **kwargs)
        return kept[key]

    return found
