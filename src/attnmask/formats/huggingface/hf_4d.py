"""The 4-D attention mask of Hugging Face transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import attends_or_added, read_array
from attnmask.formats.shared.writing import additive_from_plan, reasons_against_pairs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

name = "hf_4d"
summary = "torch float (B, H, Q, K), 0 attends, finfo.min does not, as transformers' eager attention adds it"
WHERE = "lift('hf_4d', tensor)"


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out."""
    return reasons_against_pairs(plan)


def lower(plan: Plan, *, dtype: str | torch.dtype = "float32", device: str | torch.device = "cpu") -> Tensor:
    """Write every pair down as what transformers adds to its score.

    A row without a key is a row of one constant, for which eager attention gives every key the same weight: the mean
    of the values (NaN in float16, where scores go below -16).

    Args:
        plan: the set.
        dtype: that of the model: float32, float16, bfloat16 or float64, a name or a torch.dtype.
        device: where the tensor is put.

    Returns:
        torch tensor (B, H, Q, K) of the dtype, 0 where a pair attends, else the dtype's least finite number; B or H
        is 1, and broadcasts, where the set does not depend on it.

    Raises:
        ArgumentError: another dtype.

    Source: transformers.masking_utils.eager_mask.

    >>> import attnmask as am
    >>> am.compile(am.causal(), q=2).to("hf_4d")
    tensor([[[[ 0.0000e+00, -3.4028e+38],
              [ 0.0000e+00,  0.0000e+00]]]])
    """
    return additive_from_plan(plan, dtype, "min", device)


def lift(representation: Any, *, masked: float | None = None) -> Plan:
    """Read a 4-D mask: floats as eager attention adds them, or bools as its sdpa attention takes them.

    Args:
        representation: (B, H, Q, K), floats of which 0 attends and -1000 or less does not, or bools of which True
            attends.
        masked: the number that does not attend, where it is above -1000, as -100.0 of Swin; then no other does.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: floats that are zeros and ones alone.
        ArgumentError: other values or axes.

    Source: transformers.masking_utils.eager_mask and sdpa_mask.

    >>> import torch
    >>> lift(torch.ones(1, 1, 2, 2, dtype=torch.bool).tril()).pairs
    3
    """
    array = read_array(representation, "attention_mask")
    if array.ndim != 4 or 0 in array.shape[:2]:
        raise ArgumentError(
            f"attention_mask has shape {array.shape}",
            where=WHERE,
            fix="give (B, H, Q, K), B and H 1 or more; lift (B, K) with lift('hf_2d', ...)",
        )
    return plan_from_dense(attends_or_added(array, "attention_mask", WHERE, masked))
