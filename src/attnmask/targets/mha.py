"""Keyword arguments of torch.nn.MultiheadAttention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnmask.compile.facts import is_full, key_mask
from attnmask.compile.plan import Plan, plan_from_dense
from attnmask.compile.plan import compile as compile_mask
from attnmask.conventions import Align, BoolArray, attends_from_masked_out, masked_out_from_attends
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.mask.arguments import whole_number
from attnmask.mask.atoms import full
from attnmask.targets.read import arguments_of, array_of, at_lengths, attends_or_added, lengths_hinted
from attnmask.targets.write import batch_items, tensor_of

if TYPE_CHECKING:
    import torch

name = "mha"
summary = "dict for torch.nn.MultiheadAttention: attn_mask, key_padding_mask, torch.bool, True is masked out"
WHERE = "lift('mha', arguments)"


def refusals(plan: Plan, *, num_heads: int | None = None, **options: Any) -> list[str]:
    """Rows without a key, which torch answers with NaN; a number of heads that is needed and not given."""
    reasons: list[str] = []
    if plan.empty_rows:
        reasons.append(
            f"{plan.empty_rows} of {plan.runs.rows} rows attend to nothing, the first is {_first_empty_row(plan)}: "
            "nn.MultiheadAttention answers NaN"
        )
    if plan.B > 1 and plan.H == 1 and num_heads is None and key_mask(plan.runs) is None:
        reasons.append(
            "it differs between items and is no padding: that takes a mask per item and head; give num_heads="
        )
    return reasons


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
    heads = _heads(plan, num_heads)
    if is_full(plan.runs):
        return {"attn_mask": None, "key_padding_mask": None}
    if keys is not None and (plan.B > 1 or batch is not None):
        masked_out = masked_out_from_attends(np.broadcast_to(keys, (items, plan.K)))
        return {"attn_mask": None, "key_padding_mask": tensor_of(masked_out, device)}
    dense = plan.runs.to_dense()
    if plan.B == plan.H == 1:
        return {"attn_mask": tensor_of(masked_out_from_attends(dense[0, 0]), device), "key_padding_mask": None}
    masked_out = masked_out_from_attends(np.broadcast_to(dense, (items, heads, plan.Q, plan.K)))
    per_head = masked_out.reshape(items * heads, plan.Q, plan.K)
    return {"attn_mask": tensor_of(per_head, device), "key_padding_mask": None}


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
    attn_mask, padding = arguments_of(representation, ["attn_mask", "key_padding_mask"], WHERE)
    if attn_mask is None and padding is None:
        rows, keys = lengths_hinted(q, k, WHERE)
        return compile_mask(full(), q=rows, k=keys, align=Align.START)
    if attn_mask is None:
        attends = _attends_of_keys(padding)
        q = attends.shape[3] if q is None else q
    elif padding is None:
        attends = _attends_of_pairs(attn_mask, num_heads)
    else:
        attends = _both(_attends_of_pairs(attn_mask, num_heads), _attends_of_keys(padding))
    return plan_from_dense(at_lengths(attends, q, k, "the mask", WHERE))


def _first_empty_row(plan: Plan) -> str:
    item, q = divmod(int(np.argmin(plan.runs.counts > 0)), plan.Q)
    b, h = divmod(item, plan.H)
    return f"(b, h, q) = {(b, h, q)}"


def _heads(plan: Plan, num_heads: int | None) -> int:
    heads = plan.H if num_heads is None else whole_number(num_heads, "num_heads", "lower")
    if heads < 1 or plan.H not in (1, heads):
        raise ArgumentError(
            f"num_heads is {heads}, the plan has {plan.H} heads",
            where="lower(num_heads=)",
            fix="make them agree",
        )
    return heads


def _attends_of_pairs(attn_mask: Any, num_heads: int | None) -> BoolArray:
    attends = _attends(array_of(attn_mask, "attn_mask"), "attn_mask")
    if attends.ndim == 2:
        return attends[None, None]
    if attends.ndim == 3 and num_heads is None:
        raise AmbiguousError(
            f"attn_mask has shape {attends.shape}: the first axis is B * num_heads",
            where=WHERE,
            fix="give num_heads=, that of the module",
        )
    heads = whole_number(num_heads, "num_heads", "lift") if attends.ndim == 3 else 0
    if heads == 0 or len(attends) == 0 or len(attends) % heads:
        raise ArgumentError(
            f"attn_mask has shape {attends.shape}, num_heads is {num_heads}",
            where=WHERE,
            fix="give (Q, K) or (B * num_heads, Q, K)",
        )
    return attends.reshape(-1, heads, *attends.shape[1:])


def _attends_of_keys(key_padding_mask: Any) -> BoolArray:
    attends = _attends(array_of(key_padding_mask, "key_padding_mask"), "key_padding_mask")
    if attends.ndim != 2 or not len(attends):
        raise ArgumentError(f"key_padding_mask has shape {attends.shape}", where=WHERE, fix="give (B, K), B 1 or more")
    return attends[:, None, None, :]


def _attends(array: NDArray[Any], name: str) -> BoolArray:
    attends = attends_or_added(array, name, WHERE)
    return attends_from_masked_out(attends) if array.dtype.kind == "b" else attends


def _both(pairs: BoolArray, keys: BoolArray) -> BoolArray:
    if pairs.shape[3] != keys.shape[3] or (len(pairs) != 1 and len(pairs) != len(keys)):
        raise ArgumentError(
            f"attn_mask is (B, H, Q, K) = {pairs.shape}, key_padding_mask is (B, K) = {keys[:, 0, 0].shape}",
            where=WHERE,
            fix="make them agree",
        )
    return pairs & keys
