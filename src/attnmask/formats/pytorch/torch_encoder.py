"""Keyword arguments of torch.nn.TransformerEncoder, and the lengths of its nested tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from attnmask.compiler.columns import rows_asked
from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.compiler.plan import compile as compile_mask
from attnmask.compiler.runs import Runs, check_pair_count
from attnmask.compiler.structure.facts import causal_offset, is_full
from attnmask.compiler.structure.sequences import keys_seen, padded_sequences, union_of_items
from attnmask.conventions import Align, BoolArray, IntArray, masked_out_from_attends
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import at_lengths, lengths_hinted, read_arguments, read_array
from attnmask.formats.shared.pair_and_key_masks import attends_of_masks, heads_of, reasons_against_empty_rows
from attnmask.formats.shared.writing import batch_items, reasons_against_pairs, tensor_from_array
from attnmask.mask.arguments import one_of, whole_number
from attnmask.mask.atoms import full, padding

if TYPE_CHECKING:
    import torch

name = "torch_encoder"
summary = "dict for torch.nn.TransformerEncoder: mask, src_key_padding_mask, torch.bool, True is masked out; or lengths"
WHERE = "lift('torch_encoder', arguments)"
MASKS = ["mask", "src_key_padding_mask"]
NAMES = [*MASKS, "is_causal"]
NESTED = ["lengths"]
EMPTY_ROWS = "nn.TransformerEncoder answers NaN on its fast path (in eval without gradients), else its attention is 0"


class Form(StrEnum):
    """Masks beside a padded tensor, or a nested tensor of as many tokens as there are."""

    PADDED = "padded"
    NESTED = "nested"


def refusals(plan: Plan, *, form: str = "padded", num_heads: int | None = None, **options: Any) -> list[str]:
    """Cross-attention; as masks, rows without a key, which torch may answer with NaN; nested, more than lengths."""
    reasons = [f"it has {plan.Q} queries and {plan.K} keys: an encoder attends to itself"] if plan.Q != plan.K else []
    if one_of(Form, form, "form", "lower") is Form.NESTED:
        if not reasons and _nested(plan) is None:
            reasons.append("it is not all first tokens of each item: beside a nested tensor the encoder takes no mask")
        return reasons
    reasons += reasons_against_empty_rows(plan, EMPTY_ROWS)
    factors = cache(lambda: _factors(plan))
    if plan.B > 1 and plan.H == 1 and num_heads is None and factors() is None:
        reasons.append("it differs between items by more than padding: that takes a mask per head; give num_heads=")
    return reasons + reasons_against_pairs(plan, lambda: (found := factors()) is not None and is_full(found[0]))


def lower(
    plan: Plan,
    *,
    form: str = "padded",
    num_heads: int | None = None,
    batch: int | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Give the keyword arguments, or the lengths of a nested tensor.

    A set that is one mask for all items, and of each the keys that are tokens, becomes those two masks. The encoder
    in eval turns padding at the end into nested tensors itself; queries of padding are then 0. A nested tensor runs
    in eval without gradients alone, with no mask beside it: its ``is_causal`` counts for nothing.

    Args:
        plan: the set.
        form: "padded" for masks beside a padded tensor, "nested" for lengths.
        num_heads: that of the encoder; needed where items differ by more than padding.
        batch: items to write out; needed where padding, or a mask per head, is the same for all of several items.
        device: where the tensors are put.

    Returns:
        Padded ``{"mask": (S, S), (B * num_heads, S, S) or None, "src_key_padding_mask": (B, S) or None, "is_causal":
        bool}``, torch.bool, True is masked out; nested ``{"lengths": torch.int64 (B,)}``.

    Raises:
        ArgumentError: another form, or another number of items or heads than the plan has.

    Source: torch.nn.TransformerEncoder.forward and torch.nested.nested_tensor, torch 2.13.

    >>> import attnmask as am
    >>> am.compile(am.padding(lengths=[2, 1]), q=2).to("torch_encoder")
    {'mask': None, 'src_key_padding_mask': tensor([[False, False],
            [False,  True]]), 'is_causal': False}
    """
    items = batch_items(plan, batch)
    if form == Form.NESTED:
        lengths = np.broadcast_to(cast(IntArray, _nested(plan)), items).copy()
        return {"lengths": tensor_from_array(lengths, device)}
    factors = _factors(plan)
    if factors is None:
        shape = items, heads_of(plan, num_heads), plan.Q, plan.K
        check_pair_count(math.prod(shape))
        pairs = np.broadcast_to(plan.runs.to_dense(), shape).reshape(-1, plan.Q, plan.K)
        return dict(zip(NAMES, [tensor_from_array(masked_out_from_attends(pairs), device), None, False], strict=True))
    pairs, keys = factors
    of_keys = None if keys.all() else np.broadcast_to(keys, (items, plan.K)).copy()
    of_pairs = None if is_full(pairs) else pairs.to_dense()[0, 0]
    masks = [
        None if attends is None else tensor_from_array(masked_out_from_attends(attends), device)
        for attends in (of_pairs, of_keys)
    ]
    return dict(zip(NAMES, [*masks, of_pairs is not None and causal_offset(pairs) == 0], strict=True))


def lift(representation: Any, *, q: int | None = None, num_heads: int | None = None) -> Plan:
    """Read the keyword arguments, or the lengths of a nested tensor.

    Args:
        representation: dict of ``mask``, ``src_key_padding_mask`` and ``is_causal``, bools of which True is masked
            out, or floats that are added to the scores, or None; or of ``lengths``.
        q: tokens of the padded tensor; needed without any mask, and for lengths the longest if left out.
        num_heads: that of the encoder; needed for a mask of three axes.

    Returns:
        A Plan; of lengths, one in which queries of padding see nothing.

    Raises:
        AmbiguousError: floats that are zeros and ones alone, or three axes without ``num_heads``.
        ArgumentError: other values or axes, no length, or ``is_causal`` beside a mask that is not causal.

    Source: as ``lower``.

    >>> lift({"lengths": [2, 1]})
    Plan(B=2, H=1, Q=2, K=2, pairs=5, density=0.625, empty_rows=1)
    """
    if isinstance(representation, Mapping) and "lengths" in representation:
        return _from_lengths(cast(Mapping[Any, Any], representation), q)
    mask, padding_mask, is_causal = read_arguments(representation, NAMES, WHERE)
    if is_causal and (mask is None or not _is_causal(attends_of_masks(mask, None, MASKS, num_heads, WHERE))):
        raise ArgumentError(
            "is_causal is True beside a mask that is not causal",
            where=WHERE,
            fix="give the causal mask itself: is_causal is a hint that torch believes without looking",
        )
    if mask is None and padding_mask is None:
        rows, _ = lengths_hinted(q, q, WHERE)
        return compile_mask(full(), q=rows)
    attends = attends_of_masks(mask, padding_mask, MASKS, num_heads, WHERE)
    return plan_from_dense(at_lengths(attends, attends.shape[3], None, "the mask", WHERE))


def _is_causal(attends: BoolArray) -> bool:
    return bool((attends == np.tri(*attends.shape[2:], dtype=bool)).all())


def _from_lengths(given: Mapping[Any, Any], q: int | None) -> Plan:
    lengths = read_array(read_arguments(given, NESTED, WHERE)[0], "lengths")
    tokens = padding(lengths=lengths, of="both")
    longest = int(lengths.max())
    rows = longest if q is None else whole_number(q, "q", "lift")
    if rows < longest:
        raise ArgumentError(f"q is {rows}, the longest item has {longest}", where=WHERE, fix="give the padded length")
    return compile_mask(tokens, q=rows)


def _factors(plan: Plan) -> tuple[Runs, BoolArray] | None:
    """One mask of pairs for all items, as Runs, and which keys are tokens, bool (B, K), if the set is both together."""
    runs = plan.runs
    b, h, _ = runs.shape
    if h > 1:
        return None
    if b == 1:
        return runs, np.ones((1, runs.keys), dtype=bool)
    keys = keys_seen(runs)
    before = np.pad(np.cumsum(keys, axis=1), [(0, 0), (1, 0)])
    pairs = runs
    for part in map(runs.of_queries, rows_asked(runs)):
        pairs = union_of_items(part)
        # It holds the set: the tokens of each item leave no more of it if there are as many pairs.
        if sum(int((own[pairs.stops] - own[pairs.starts]).sum()) for own in before) != part.pairs:
            return None
    return pairs, keys


def _nested(plan: Plan) -> IntArray | None:
    """Lengths of items of as many queries as keys that see all of themselves, int64 (B,)."""
    found = padded_sequences(plan.runs, Align.END)
    if found is None or found.window != (None, None) or not np.array_equal(found.query_bounds, found.key_bounds):
        return None
    return np.diff(found.key_bounds)
