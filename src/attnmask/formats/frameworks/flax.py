"""Attention mask arrays of Flax, linen and nnx."""

from __future__ import annotations

from typing import Any

from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.conventions import BoolArray
from attnmask.formats.shared.foreign_arrays import at_lengths, read_array, read_ones, with_leading_axes
from attnmask.formats.shared.writing import reasons_against_pairs

name = "flax"
summary = "NumPy bool (B, H, Q, K) for attention of flax.linen and flax.nnx, True attends"
WHERE = "lift('flax', mask)"


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out."""
    return reasons_against_pairs(plan)


def lower(plan: Plan) -> BoolArray:
    """Write every pair down, for queries (B, Q, H, D).

    A row without a key gives every key the same weight: the mean of the values (tested on CPU).

    Args:
        plan: the set.

    Returns:
        NumPy bool (B, H, Q, K), True attends; B or H is 1, and broadcasts, where the set does not depend on it.

    Source: the ``mask`` of flax.linen.dot_product_attention and flax.nnx.dot_product_attention of flax 0.12,
    https://flax.readthedocs.io/en/latest/api_reference/flax.nnx/nn/attention.html.

    >>> import attnmask as am
    >>> am.compile(am.padding(lengths=[2, 1]), q=2).to("flax")[:, 0].tolist()
    [[[True, True], [True, True]], [[True, False], [True, False]]]
    """
    return plan.runs.to_dense()


def lift(representation: Any, *, q: int | None = None, k: int | None = None) -> Plan:
    """Read a mask, also one of floats, as which ``make_causal_mask`` and ``combine_masks`` return it.

    Args:
        representation: bools, or zeros and ones of which a 1 attends: (Q, K), (H, Q, K) or (B, H, Q, K).
        q, k: queries and keys, where an axis of 1 broadcasts to them.

    Returns:
        A Plan.

    Raises:
        ArgumentError: values other than 0 and 1, such as a bias; other axes.

    Source: as ``lower``.

    >>> lift([[[1.0, 0.0], [1.0, 1.0]]])
    Plan(B=1, H=1, Q=2, K=2, pairs=3, density=0.750, empty_rows=0)
    """
    attends = read_ones(read_array(representation, "mask"), "mask", WHERE)
    return plan_from_dense(at_lengths(with_leading_axes(attends, "mask", WHERE), q, k, "mask", WHERE))
