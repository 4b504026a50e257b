"""Writing a plan as arrays and tensors, for several formats."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import MOST_PAIRS
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import MASKS_FROM
from attnmask.mask.arguments import shown, whole_number

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FLOATS = ("float32", "float16", "bfloat16", "float64")


def tensor_from_array(array: NDArray[Any], device: str | torch.device) -> Tensor:
    """An array as a torch tensor, which shares the array's memory only if that may be written to."""
    import torch

    try:
        place = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ArgumentError(f"device is {shown(device)}", where="lower(device=)", fix="give 'cpu' or 'cuda'") from error
    try:
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(place)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        said = str(error).partition("\n")[0]
        raise ArgumentError(
            f"nothing can be put on {device!r}: {said}", where="lower(device=)", fix="give a device that is there"
        ) from error


def additive_from_plan(plan: Plan, dtype: str | torch.dtype, masked: str | float, device: str | torch.device) -> Tensor:
    """A float tensor (B, H, Q, K): 0 where a pair attends, else the constant."""
    import torch

    name = str(dtype).removeprefix("torch.")
    if name not in FLOATS:
        raise ArgumentError(f"dtype is {shown(dtype)}", where="lower(dtype=)", fix=f"give one of {', '.join(FLOATS)}")
    float_type: torch.dtype = getattr(torch, name)
    constant = _masked_constant(masked, torch.finfo(float_type).min)
    attends = tensor_from_array(plan.runs.to_dense(), device)
    return torch.zeros(attends.shape, dtype=float_type, device=device).masked_fill_(~attends, constant)


def batch_items(plan: Plan, batch: int | None) -> int:
    """Items to write out, for forms that do not broadcast them."""
    items = plan.B if batch is None else whole_number(batch, "batch", "lower")
    if items < 1 or plan.B not in (1, items):
        raise ArgumentError(
            f"batch is {items}, the plan has {plan.B} batch items", where="lower(batch=)", fix="make them agree"
        )
    return items


def reasons_against_pairs(plan: Plan, others: Callable[[], bool] = lambda: False) -> list[str]:
    """That an element for every pair would fill the memory.

    Args:
        plan: the set.
        others: whether the form says this set in another way; asked of large sets alone.
    """
    pairs = math.prod(plan.shape)
    if pairs <= MOST_PAIRS or others():
        return []
    return [f"it has {pairs:,} pairs to write out one by one, and no more than {MOST_PAIRS:,} are"]


def power_of_two(number: int) -> int:
    """The least power of two that is no less."""
    return 1 << max(number - 1, 0).bit_length()


def _masked_constant(masked: str | float, least: float) -> float:
    named = {"-inf": -math.inf, "min": least}
    if isinstance(masked, str):
        if masked in named:
            return named[masked]
    elif isinstance(masked, int | float) and masked <= MASKS_FROM:
        # A constant that the dtype cannot hold would become -inf, which is another thing to ask for.
        return masked if masked == -math.inf else max(masked, least)
    raise ArgumentError(
        f"masked is {shown(masked)}",
        where="lower(masked=)",
        fix=f"give '-inf', 'min' or a number of {MASKS_FROM} or less: a smaller one may be outweighed by scores",
    )
