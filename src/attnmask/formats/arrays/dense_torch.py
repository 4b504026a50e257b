"""torch.bool tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnmask.compiler.plan import Plan
from attnmask.formats.shared.foreign_arrays import plan_from_bools
from attnmask.formats.shared.writing import reasons_against_pairs, tensor_from_array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

name = "dense_torch"
summary = "torch.bool (B, H, Q, K), True attends"


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out."""
    return reasons_against_pairs(plan)


def lower(plan: Plan, *, device: str | torch.device = "cpu") -> Tensor:
    """Write every pair down.

    Args:
        plan: the set.
        device: where the tensor is put.

    Returns:
        torch.bool (B, H, Q, K), True attends; B or H is 1 where the set does not depend on it.

    Source: the bool ``attn_mask`` of torch.nn.functional.scaled_dot_product_attention.

    >>> import attnmask as am
    >>> am.compile(am.causal(), q=2).to("dense_torch")
    tensor([[[[ True, False],
              [ True,  True]]]])
    """
    return tensor_from_array(plan.runs.to_dense(), device)


def lift(representation: Any) -> Plan:
    """Read a tensor of bools in which True attends.

    Args:
        representation: torch.bool (Q, K) or (B, H, Q, K).

    Returns:
        A Plan.

    Raises:
        AmbiguousError: three axes, of which the first may be the batch or the heads.
        ArgumentError: other axes, or values other than bools.

    Source: as ``lower``.

    >>> import torch
    >>> lift(torch.ones(2, 3, dtype=torch.bool))
    Plan(B=1, H=1, Q=2, K=3, pairs=6, density=1.000, empty_rows=0)
    """
    return plan_from_bools(representation, "lift('dense_torch', tensor)")
