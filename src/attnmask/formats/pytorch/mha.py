"""Keyword arguments of torch.nn.MultiheadAttention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.compiler.plan import compile as compile_mask
from attnmask.compiler.runs import check_pair_count
from attnmask.compiler.structure.facts import is_full, key_mask
from attnmask.conventions import Align, masked_out_from_attends
from attnmask.formats.shared.foreign_arrays import at_lengths, lengths_hinted, read_arguments, read_array
from attnmask.formats.shared.pair_and_key_masks import attends_of_masks, heads_of, reasons_against_empty_rows
from attnmask.formats.shared.writing import batch_items, reasons_against_pairs, tensor_from_array
from attnmask.mask.atoms import full

if TYPE_CHECKING:
    import torch

name = "mha"
summary = "dict for torch.nn.MultiheadAttention: attn_mask, key_padding_mask, torch.bool, True is masked out"
WHERE = "lift('mha', arguments)"
NAMES = ["attn_mask", "key_padding_mask"]
EMPTY_ROWS = (
    "nn.MultiheadAttention answers NaN with need_weights=True, its default, and on its fast path (self-attention in "
    "eval without gradients), else 0"
)


def refusals(plan: Plan, *, num_heads: int | None = None, **options: Any) -> list[str]:
    """Rows without a key, which torch may answer with NaN; a number of heads that is needed and not given."""
    reasons = reasons_against_empty_rows(plan, EMPTY_ROWS)
    if plan.B > 1 and plan.H == 1 and num_heads is None and key_mask(plan.runs) is None:
        reasons.append(
            "it differs between items and is no padding: that takes a mask per item and head; give num_heads="
        )
    with_padding = plan.B > 1 or options.get("batch") is not None
    return reasons + reasons_against_pairs(
        plan, lambda: is_full(plan.runs) or (with_padding and key_mask(plan.runs) is not None)
    )


def lower(
    plan: Plan, *, num_heads: int | None = None, batch: int | None = None, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Give the keyword arguments that make the module attend to the set.

    A full set needs no mask, a mask that is the same for all items and heads is (Q, K), padding of several items is a
    ``key_padding_mask``, and all else is a mask per item and head.

    Args:
        plan: the set.
        num_heads: that of the module; needed where the set differs between items but not between heads.
        batch: items of the tensors; needed where the set differs between heads but not between items, because torch
            does not broadcast them. With it, the same padding for all items is a ``key_padding_mask`` too.
        device: where the tensor is put.

    Returns:
        ``{"attn_mask": ..., "key_padding_mask": ...}``, torch.bool or None, True is masked out: ``attn_mask``
        (Q, K) or (B * num_heads, Q, K), ``key_padding_mask`` (B, K).

    Raises:
        ArgumentError: another number of items or heads than the plan has.

    Source: torch.nn.MultiheadAttention.forward.

    >>> import attnmask as am
    >>> am.compile(am.padding(lengths=[3, 1]), q=3).to("mha")["key_padding_mask"]
    tensor([[False, False, False],
            [False,  True,  True]])
    """
    items, keys = batch_items(plan, batch), key_mask(plan.runs)
    heads = heads_of(plan, num_heads)
    if is_full(plan.runs):
        return {"attn_mask": None, "key_padding_mask": None}
    if keys is not None and (plan.B > 1 or batch is not None):
        masked_out = masked_out_from_attends(np.broadcast_to(keys, (items, plan.K)))
        return {"attn_mask": None, "key_padding_mask": tensor_from_array(masked_out, device)}
    check_pair_count(items * heads * plan.Q * plan.K)
    dense = plan.runs.to_dense()
    if plan.B == plan.H == 1:
        return {"attn_mask": tensor_from_array(masked_out_from_attends(dense[0, 0]), device), "key_padding_mask": None}
    masked_out = masked_out_from_attends(np.broadcast_to(dense, (items, heads, plan.Q, plan.K)))
    per_head = masked_out.reshape(items * heads, plan.Q, plan.K)
    return {"attn_mask": tensor_from_array(per_head, device), "key_padding_mask": None}


def lift(representation: Any, *, q: int | None = None, k: int | None = None, num_heads: int | None = None) -> Plan:
    """Read the keyword arguments; where both are given, a pair attends if both let it.

    Args:
        representation: dict of ``attn_mask``, (Q, K) or (B * num_heads, Q, K), and ``key_padding_mask``, (B, K); each
            bools of which True is masked out, or floats that are added to the scores, or None.
        q: queries; needed without any mask. With ``key_padding_mask`` alone as many as keys if left out.
        k: keys; needed without any mask.
        num_heads: that of the module; needed for a mask of three axes.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: floats that are zeros and ones alone, or three axes without ``num_heads``.
        ArgumentError: other values or axes, no lengths, or masks that do not fit each other.

    Source: as ``lower``.

    >>> import torch
    >>> lift({"attn_mask": torch.ones(3, 3, dtype=torch.bool).triu(1)}).pairs
    6
    """
    attn_mask, padding = read_arguments(representation, NAMES, WHERE)
    if attn_mask is None and padding is None:
        rows, keys = lengths_hinted(q, k, WHERE)
        return compile_mask(full(), q=rows, k=keys, align=Align.START)
    if attn_mask is None:
        q = read_array(padding, NAMES[1]).shape[-1] if q is None else q
    attends = attends_of_masks(attn_mask, padding, NAMES, num_heads, WHERE)
    return plan_from_dense(at_lengths(attends, q, k, "the mask", WHERE))
