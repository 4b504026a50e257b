"""Stage 3, represent: Plan <-> the form that each library wants. A target never sees q, k or v."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast, overload

import numpy as np

from attnmask.calls import public
from attnmask.compile.plan import Plan
from attnmask.errors import ArgumentError, AttnMaskError, CannotExpressError
from attnmask.mask.arguments import flag, is_whole, shown
from attnmask.mask.tables import MOST_ROWS, check_row_count
from attnmask.targets.base import Target as Target

MALFORMED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError)
WHO_CAN = "attnmask.targets(plan) says who else can hold it; the command `attnmask targets` has the bytes of each"
LENGTHS, COUNTS = ("q", "k"), ("batch", "heads", "num_heads")
TARGETS = {
    "dense": "attnmask.targets.dense",
    "dense_torch": "attnmask.targets.dense_torch",
    "integers": "attnmask.targets.integers",
    "additive": "attnmask.targets.additive",
    "hf_2d": "attnmask.targets.hf_2d",
    "hf_4d": "attnmask.targets.hf_4d",
    "sdpa": "attnmask.targets.sdpa",
    "mha": "attnmask.targets.mha",
    "flex": "attnmask.targets.flex",
    "flash_varlen": "attnmask.targets.flash_varlen",
    "hf_position_ids": "attnmask.targets.hf_position_ids",
    "hf_sliding_window": "attnmask.targets.hf_sliding_window",
    "flashmask": "attnmask.targets.flashmask",
    "xformers": "attnmask.targets.xformers",
    "flashinfer": "attnmask.targets.flashinfer",
    "transformer_engine": "attnmask.targets.transformer_engine",
    "cudnn": "attnmask.targets.cudnn",
    "magi": "attnmask.targets.magi",
    "torch_encoder": "attnmask.targets.torch_encoder",
    "lists": "attnmask.targets.lists",
    "jax": "attnmask.targets.jax",
    "flax": "attnmask.targets.flax",
    "keras": "attnmask.targets.keras",
    "onnx": "attnmask.targets.onnx",
    "splash": "attnmask.targets.splash",
    "tokamax": "attnmask.targets.tokamax",
}


@public
def lower(plan: Plan, target: str, **options: Any) -> Any:
    """Represent a plan in a library's own form.

    Args:
        plan: a compiled mask.
        target: a name from ``targets()``.
        options: the target's own, as in the signature of its ``lower``.

    Returns:
        What the target's ``lower`` says.

    Raises:
        CannotExpressError: the form cannot hold the set; lists every reason. Or the memory cannot hold the form.
        ArgumentError: an unknown target or option, or an option of an unusable value.

    Source: attnmask; each target names its own.

    >>> import attnmask as am
    >>> lower(am.compile(am.causal(), q=4), "sdpa")
    {'attn_mask': None, 'is_causal': True}
    """
    module, where = _target(target), f"lower(plan, {target!r})"
    _check_plan(plan, where)
    _check_options(options, module.lower, "option", where)
    _check_sizes(options, max(plan.Q, plan.K), where)
    if reasons := _refusals(module, plan, **options):
        raise CannotExpressError(target, reasons, fix=WHO_CAN)
    try:
        return module.lower(plan, **options)
    except MemoryError as error:
        raise CannotExpressError(
            target,
            [f"it does not fit into the memory: {error}"],
            fix=WHO_CAN,
        ) from error


@public
def lift(target: str, representation: Any, **hints: Any) -> Plan:
    """Read a plan off a library's own form, whoever made it.

    Args:
        target: a name from ``targets()``; it is the statement of what the values mean.
        representation: a mask in that form.
        hints: what the form does not hold, as in the signature of the target's ``lift``.

    Returns:
        A Plan; B or H is 1 where the set does not depend on it.

    Raises:
        ArgumentError: an unknown target or hint, or no mask of that form.
        AmbiguousError: the values have two readings.

    Source: attnmask; each target names its own.

    >>> lift("integers", [[1, 0], [1, 1]])
    Plan(B=1, H=1, Q=2, K=2, pairs=3, density=0.750, empty_rows=0)
    """
    module = _target(target)
    _check_sizes(hints, max((hints[name] for name in LENGTHS if is_whole(hints.get(name))), default=1), "lift")
    _check_options(hints, module.lift, "hint", f"lift({target!r}, ...)")
    try:
        with np.errstate(invalid="raise"):  # NaN would become some integer
            return module.lift(representation, **hints)
    except AttnMaskError:
        raise
    except MALFORMED as error:  # what is handed in may be anything, and fails in its own ways
        raise ArgumentError(
            f"the representation cannot be read: {type(error).__name__}: {str(error) or 'no more is said'}",
            where=f"lift({target!r}, ...)",
            fix=f"give what lower(plan, {target!r}) makes: {module.summary}",
        ) from error


@overload
def targets() -> dict[str, str]: ...
@overload
def targets(plan: Plan) -> dict[str, list[str]]: ...
@public
def targets(plan: Plan | None = None) -> dict[str, str] | dict[str, list[str]]:
    """The targets there are, or what each says of a plan.

    Args:
        plan: a compiled mask; None to ask for the summaries.

    Returns:
        By name the summary of each target; with a plan every reason why the target refuses it under its default
        options, and an empty list where it can express it.

    Source: attnmask.

    >>> import attnmask as am
    >>> targets()["dense"]
    'NumPy bool (B, H, Q, K), True attends'
    >>> refused = targets(am.compile(am.dilated(2), q=4))
    >>> refused["flex"], refused["flashmask"]
    ([], [])
    >>> refused["flash_varlen"]
    ['(b, h, q, k) = (0, 0, 0, 1) does not attend, ...']
    """
    if plan is None:
        return {name: _target(name).summary for name in TARGETS}
    _check_plan(plan, "targets(plan)")
    return {name: _refusals(_target(name), plan) for name in TARGETS}


def _refusals(module: Target, plan: Plan, **options: Any) -> list[str]:
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


def _target(name: str) -> Target:
    if not isinstance(name, str) or name not in TARGETS:
        raise ArgumentError(
            f"there is no target {shown(name)}", where="attnmask.targets", fix=f"the targets are {', '.join(TARGETS)}"
        )
    return cast(Target, import_module(TARGETS[name]))


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
