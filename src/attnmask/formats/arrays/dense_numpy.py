"""NumPy bool array, one value for each pair."""

from __future__ import annotations

from typing import Any

from attnmask.compiler.plan import Plan
from attnmask.conventions import BoolArray
from attnmask.formats.shared.foreign_arrays import plan_from_bools
from attnmask.formats.shared.writing import reasons_against_pairs

name = "dense"
summary = "NumPy bool (B, H, Q, K), True attends"


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out."""
    return reasons_against_pairs(plan)


def lower(plan: Plan) -> BoolArray:
    """Write every pair down.

    Args:
        plan: the set.

    Returns:
        NumPy bool (B, H, Q, K), True attends; B or H is 1 where the set does not depend on it.

    Source: the ``mask`` of jax.nn.dot_product_attention and of flax.nnx.dot_product_attention.

    >>> import attnmask as am
    >>> am.compile(am.causal(), q=3).to("dense")
    array([[[[ True, False, False],
             [ True,  True, False],
             [ True,  True,  True]]]])
    """
    return plan.runs.to_dense()


def lift(representation: Any) -> Plan:
    """Read an array of bools in which True attends.

    Args:
        representation: bools (Q, K) or (B, H, Q, K): nested lists, an array or a tensor.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: three axes, of which the first may be the batch or the heads.
        ArgumentError: other axes, or values other than bools.

    Source: as ``lower``.

    >>> lift([[True, False], [True, True]])
    Plan(B=1, H=1, Q=2, K=2, pairs=3, density=0.750, empty_rows=0)
    """
    return plan_from_bools(representation, "lift('dense', array)")
