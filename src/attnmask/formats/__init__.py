"""Stage 3, represent: ``lower`` turns a Plan into a library's own form, ``lift`` reads that form back.

Each format is a module with ``refusals``, ``lower`` and ``lift`` (see ``protocol``), found by its name in
``format_names``. This file checks the name and the options, asks for refusals first, and turns what fails on foreign
values into one clear error. A format never sees q, k or v.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import numpy as np

from attnmask.calls import public
from attnmask.compiler.plan import Plan
from attnmask.errors import ArgumentError, AttnMaskError, CannotExpressError
from attnmask.format_names import MODULES, FormatName
from attnmask.formats.protocol import Format as Format
from attnmask.mask.arguments import flag, is_whole, shown
from attnmask.mask.tables.lookup_tables import MOST_ROWS, check_row_count

MALFORMED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError)
WHO_CAN = "plan.formats() says who else can hold it; the command `attnmask formats` has the bytes of each"
LENGTHS, COUNTS = ("q", "k"), ("batch", "heads", "num_heads")
FORMATS = {str(name): f"attnmask.formats.{module}" for name, module in MODULES.items()}


@public
def lower(plan: Plan, format: str, **options: Any) -> Any:
    """Represent a plan in a library's own form.

    Args:
        plan: a compiled mask.
        format: a name from ``summaries()``.
        options: the format's own, as in the signature of its ``lower``.

    Returns:
        What the format's ``lower`` says.

    Raises:
        CannotExpressError: the form cannot hold the set; lists every reason. Or the memory cannot hold the form.
        ArgumentError: an unknown format or option, or an option of an unusable value.

    Source: attnmask; each format names its own.

    >>> import attnmask as am
    >>> lower(am.compile(am.causal(), q=4), "sdpa")
    {'attn_mask': None, 'is_causal': True}
    """
    module, where = _format(format), f"lower(plan, {format!r})"
    _check_plan(plan, where)
    _check_options(options, module.lower, "option", where)
    _check_sizes(options, max(plan.Q, plan.K), where)
    if reasons := _refusals(module, plan, **options):
        raise CannotExpressError(format, reasons, fix=WHO_CAN)
    try:
        return module.lower(plan, **options)
    except MemoryError as error:
        raise CannotExpressError(
            format,
            [f"it does not fit into the memory: {error}"],
            fix=WHO_CAN,
        ) from error


@public
def lift(format: FormatName, representation: Any, **hints: Any) -> Plan:
    """Read a plan off a library's own form, whoever made it.

    Args:
        format: a name from ``summaries()``; it is the statement of what the values mean.
        representation: a mask in that form.
        hints: what the form does not hold, as in the signature of the format's ``lift``.

    Returns:
        A Plan; B or H is 1 where the set does not depend on it.

    Raises:
        ArgumentError: an unknown format or hint, or no mask of that form.
        AmbiguousError: the values have two readings.

    Source: attnmask; each format names its own.

    >>> lift("integers", [[1, 0], [1, 1]])
    Plan(B=1, H=1, Q=2, K=2, pairs=3, density=0.750, empty_rows=0)
    """
    module = _format(format)
    _check_sizes(hints, max((hints[name] for name in LENGTHS if is_whole(hints.get(name))), default=1), "lift")
    _check_options(hints, module.lift, "hint", f"lift({format!r}, ...)")
    try:
        with np.errstate(invalid="raise"):  # NaN would become some integer
            return module.lift(representation, **hints)
    except AttnMaskError:
        raise
    except MALFORMED as error:  # what is handed in may be anything, and fails in its own ways
        raise ArgumentError(
            f"the representation cannot be read: {type(error).__name__}: {str(error) or 'no more is said'}",
            where=f"lift({format!r}, ...)",
            fix=f"give what lower(plan, {format!r}) makes: {module.summary}",
        ) from error


@public
def summaries() -> dict[str, str]:
    """The formats there are.

    Returns:
        By name, one line: the type, the axes, and what attends.

    Source: attnmask.

    >>> summaries()["dense"]
    'NumPy bool (B, H, Q, K), True attends'
    """
    return {name: _format(name).summary for name in FORMATS}


def reasons_by_format(plan: Plan) -> dict[str, list[str]]:
    """What each format says of a plan: see ``Plan.formats``."""
    return {name: _refusals(_format(name), plan) for name in FORMATS}


def _refusals(module: Format, plan: Plan, **options: Any) -> list[str]:
    keys = plan.B * plan.K
    if keys > MOST_ROWS:
        return [f"it has {keys:,} keys over all items, and forms of no more than {MOST_ROWS:,} are written"]
    return module.refusals(plan, **options)


def _check_sizes(given: dict[str, Any], longest: int, where: str) -> None:
    """Raise where the items and heads to write out, of the longest axis, would fill the memory."""
    counts = {name: int(given[name]) for name in COUNTS if is_whole(given.get(name))}
    check_row_count(
        math.prod([longest, *counts.values()]), f"too many rows, lengths of {longest:,} with {counts}", where
    )


def _check_plan(plan: Any, where: str) -> None:
    if not isinstance(plan, Plan):
        raise ArgumentError(
            f"the plan is {type(plan).__name__}", where=where, fix="compile the mask: compile(mask, q=)"
        )


def _format(name: str) -> Format:
    if not isinstance(name, str) or name not in FORMATS:
        raise ArgumentError(
            f"there is no format {shown(name)}", where="attnmask.formats", fix=f"the formats are {', '.join(FORMATS)}"
        )
    return cast(Format, import_module(FORMATS[name]))


def _check_options(given: dict[str, Any], function: Callable[..., Any], kind: str, where: str) -> None:
    """Raise unless the function has these options, and those that are True or False are one of them."""
    parameters = inspect.signature(function).parameters.values()
    known = {one.name: one.annotation for one in parameters if one.kind is one.KEYWORD_ONLY}
    for name, value in given.items():
        if name not in known:
            raise ArgumentError(
                f"there is no {kind} {name!r}", where=where, fix=f"the {kind}s are {', '.join(known) or 'none'}"
            )
        if known[name] in ("bool", bool):
            flag(value, name, where)
