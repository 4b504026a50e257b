"""Keyword arguments of torch.nn.functional.scaled_dot_product_attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.compiler.plan import compile as compile_mask
from attnmask.compiler.structure.facts import causal_offset, is_full
from attnmask.conventions import Align
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import (
    at_lengths,
    attends_or_added,
    lengths_hinted,
    read_arguments,
    read_array,
    with_four_axes,
)
from attnmask.formats.shared.writing import reasons_against_pairs, tensor_from_array
from attnmask.mask.atoms import causal, full

if TYPE_CHECKING:
    import torch

name = "sdpa"
summary = "dict for torch scaled_dot_product_attention: attn_mask torch.bool (B, H, Q, K) or None, is_causal"
WHERE = "lift('sdpa', arguments)"


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out, of a set that needs them."""
    return reasons_against_pairs(plan, lambda: is_full(plan.runs) or causal_offset(plan.runs) == 0)


def lower(plan: Plan, *, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Give the keyword arguments that make torch attend to the set.

    A mask is written out only where it is needed: ``is_causal`` is set where row i attends to the keys 0 to i, as
    torch has it for any Q and K, and a full set needs neither. A row without a key is 0 (tested on CPU).

    Args:
        plan: the set.
        device: where the tensor is put.

    Returns:
        ``{"attn_mask": torch.bool (B, H, Q, K) or None, "is_causal": bool}``, True attends; B or H is 1, and
        broadcasts, where the set does not depend on it.

    Source: torch.nn.functional.scaled_dot_product_attention.

    >>> import attnmask as am
    >>> am.compile(am.causal(), q=2, k=3, align="start").to("sdpa")
    {'attn_mask': None, 'is_causal': True}
    >>> am.compile(am.causal(), q=2, k=3, align="end").to("sdpa")
    {'attn_mask': tensor([[[[ True,  True, False],
              [ True,  True,  True]]]]), 'is_causal': False}
    """
    if is_full(plan.runs):
        return {"attn_mask": None, "is_causal": False}
    if causal_offset(plan.runs) == 0:
        return {"attn_mask": None, "is_causal": True}
    return {"attn_mask": tensor_from_array(plan.runs.to_dense(), device), "is_causal": False}


def lift(representation: Any, *, q: int | None = None, k: int | None = None) -> Plan:
    """Read the keyword arguments.

    Args:
        representation: dict of ``attn_mask``, (Q, K) or (B, H, Q, K), bools of which True attends or floats that
            are added to the scores, or None; and ``is_causal``.
        q, k: queries and keys; needed without ``attn_mask``, else the lengths to which an axis of 1 broadcasts.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: floats that are zeros and ones alone, or three axes.
        ArgumentError: both arguments given, other values or axes, no lengths.

    Source: as ``lower``.

    >>> lift({"is_causal": True}, q=3, k=2)
    Plan(B=1, H=1, Q=3, K=2, pairs=5, density=0.833, empty_rows=0)
    """
    attn_mask, is_causal = read_arguments(representation, ["attn_mask", "is_causal"], WHERE)
    if attn_mask is None:
        rows, keys = lengths_hinted(q, k, WHERE)
        return compile_mask(causal() if is_causal else full(), q=rows, k=keys, align=Align.START)
    if is_causal:
        raise ArgumentError(
            "got attn_mask and is_causal=True", where=WHERE, fix="torch documents them as exclusive; give one of them"
        )
    attends = attends_or_added(read_array(attn_mask, "attn_mask"), "attn_mask", WHERE)
    return plan_from_dense(at_lengths(with_four_axes(attends, "attn_mask", WHERE), q, k, "attn_mask", WHERE))
