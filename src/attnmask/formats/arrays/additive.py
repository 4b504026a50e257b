"""Float tensor that is added to the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.formats.shared.foreign_arrays import attends_from_additive, read_array, with_four_axes
from attnmask.formats.shared.writing import additive_from_plan, reasons_against_pairs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

name = "additive"
summary = "torch float (B, H, Q, K), 0 attends, -inf or a large negative number does not"
WHERE = "lift('additive', tensor)"


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out."""
    return reasons_against_pairs(plan)


def lower(
    plan: Plan,
    *,
    dtype: str | torch.dtype = "float32",
    masked: str | float = "-inf",
    device: str | torch.device = "cpu",
) -> Tensor:
    """Write every pair down as what to add to its score.

    A row without a key is a row of one constant, and no constant makes it 0: a softmax over it is NaN with "-inf", the
    same weight for every key with "min" (NaN in float16, where scores go below -16), and with a number as small as
    -10000 what it would be without any mask. Do not add such masks to each other: two of "min" are -inf.

    Args:
        plan: the set.
        dtype: float32, float16, bfloat16 or float64, a name or a torch.dtype.
        masked: what stands where a pair does not attend: "-inf"; "min", the least finite number of the dtype; or a
            number of -1000 or less, which is raised to that least number where the dtype does not reach so far.
        device: where the tensor is put.

    Returns:
        torch tensor (B, H, Q, K) of the dtype, 0 where a pair attends; B or H is 1 where the set does not depend
        on it.

    Raises:
        ArgumentError: another dtype or constant.

    Source: the float ``attn_mask`` of torch.nn.functional.scaled_dot_product_attention ("-inf"); eager attention of
    Hugging Face transformers ("min"; -10000 until 2022).

    >>> import attnmask as am
    >>> am.compile(am.causal(), q=2).to("additive", dtype="float16", masked=-1e9)
    tensor([[[[     0., -65504.],
              [     0.,      0.]]]], dtype=torch.float16)
    """
    return additive_from_plan(plan, dtype, masked, device)


def lift(representation: Any, *, masked: float | None = None) -> Plan:
    """Read an array that is added to the scores.

    The name of the format is the statement that the array is additive: zeros alone are the full set. An array of
    zeros and ones is refused all the same, for a 1 masks nothing.

    Args:
        representation: floats (Q, K) or (B, H, Q, K), each 0 (attends), or -1000 or less (does not).
        masked: the number that does not attend, where it is above -1000, as -100.0 of Swin; then no other does.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: zeros and ones alone, or three axes.
        ArgumentError: any other value, such as a bias or NaN, and where; other axes; no floats.

    Source: as ``lower``.

    >>> lift([[0.0, -10000.0], [0.0, 0.0]]).pairs
    3
    >>> lift([[0.0, -100.0], [0.0, 0.0]], masked=-100.0).pairs
    3
    """
    array = read_array(representation, "array")
    return plan_from_dense(with_four_axes(attends_from_additive(array, "array", WHERE, masked), "array", WHERE))
