"""Keyword arguments of TransformerEngine's DotProductAttention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from attnmask.compiler.algebra import intersect
from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.compiler.runs import Runs
from attnmask.compiler.structure.bands import Window, band, band_runs
from attnmask.compiler.structure.sequences import Sequences, first_tokens, padded_sequences
from attnmask.conventions import Align, BoolArray, IntArray, attends_from_masked_out, masked_out_from_attends
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import lengths_hinted, read_arguments, read_array, read_window
from attnmask.formats.shared.window_units import flash_from_window
from attnmask.formats.shared.writing import batch_items, reasons_against_pairs, tensor_from_array

if TYPE_CHECKING:
    import torch

name = "transformer_engine"
summary = "dict for TransformerEngine: attn_mask_type, attention_mask torch.bool, True is masked out, window_size"
WHERE = "lift('transformer_engine', arguments)"
NAMES = ["attn_mask_type", "attention_mask", "window_size"]
TYPES = [
    "no_mask",
    "padding",
    "causal",
    "padding_causal",
    "causal_bottom_right",
    "padding_causal_bottom_right",
    "arbitrary",
]
EVERYTHING = (None, None)


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out, of a set that needs them."""
    return reasons_against_pairs(
        plan, lambda: (plan.H == 1 and _named(plan) is not None) or _padded_kind(plan.runs) is not None
    )


def lower(plan: Plan, *, batch: int | None = None, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Give the arguments, by the name of the mask where it has one, else by an arbitrary mask.

    Fused and flash attention take the named masks alone. Padding hides queries as well as keys: what pads keys only
    comes with a mask of queries that hides none. A causal type lines up queries and keys at the start,
    ``_bottom_right`` at the last token of an item, and ``window_size=(W, 0)`` keeps W + 1 keys.

    Args:
        plan: the set.
        batch: items to write out; needed for padding where the plan is the same for all of several items.
        device: where the tensors are put.

    Returns:
        ``{"attn_mask_type": str, "attention_mask": torch.bool, True is masked out, or None, "window_size": (left,
        right), -1 for no bound}``. With padding the mask is (B, 1, 1, S) where queries and keys are the same tokens,
        else a pair of (B, 1, 1, Q) and (B, 1, 1, K); arbitrary it is (B, H, Q, K).

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: transformer_engine.pytorch.DotProductAttention, TransformerEngine 2.20.

    >>> import attnmask as am
    >>> am.compile(am.causal(), q=2, k=4, align="end").to("transformer_engine")
    {'attn_mask_type': 'causal_bottom_right', 'attention_mask': None, 'window_size': (-1, 0)}
    """
    named = _named(plan) if plan.H == 1 else None
    if named is not None:
        return dict(zip(NAMES, [named[0], None, flash_from_window(named[1])], strict=True))
    runs = plan.runs.broadcast_to((batch_items(plan, batch), *plan.runs.shape[1:]))
    if (padded := _padded_kind(runs)) is not None:
        kind, found = padded
        masks = tuple(tensor_from_array(one, device) for one in _padding(found, runs.shape[0], plan.Q, plan.K))
        mask = masks[0] if len(masks) == 1 else masks
        return dict(zip(NAMES, [kind, mask, flash_from_window(found.window)], strict=True))
    masked_out = tensor_from_array(masked_out_from_attends(plan.runs.to_dense()), device)
    return dict(zip(NAMES, ["arbitrary", masked_out, flash_from_window(EVERYTHING)], strict=True))


def lift(representation: Any, *, q: int | None = None, k: int | None = None) -> Plan:
    """Read the arguments.

    Args:
        representation: dict of ``attn_mask_type``, ``attention_mask`` and ``window_size``; -1 is no bound.
        q, k: queries and keys; needed without a mask.

    Returns:
        A Plan.

    Raises:
        ArgumentError: another type, a mask that does not fit it, padding that is not at the end, or no lengths.

    Source: as ``lower``.

    >>> lift({"attn_mask_type": "causal", "window_size": (1, 0)}, q=3, k=3).pairs
    5
    """
    attn_mask_type, mask, window_size = read_arguments(representation, NAMES, WHERE)
    kind = str(attn_mask_type).replace(",", "_").replace("causal_padding", "padding_causal")
    if kind not in TYPES:
        raise ArgumentError(f"attn_mask_type is {attn_mask_type!r}", where=WHERE, fix=f"give one of {', '.join(TYPES)}")
    left, right = read_window((-1, -1) if window_size is None else window_size, "window_size", WHERE)
    if "causal" not in kind and (left is None) != (right is None):
        raise ArgumentError(
            f"attn_mask_type is {kind!r} with window_size {window_size}, of which TransformerEngine drops (-1, 0) with "
            "a warning and refuses any other",
            where=WHERE,
            fix="give (-1, -1) or two bounds, or a causal type",
        )
    window = (left, 0 if "causal" in kind else right)
    align = Align.START if kind in ("causal", "padding_causal") else Align.END
    if "padding" in kind:
        return _padded(mask, window, align)
    if kind != "arbitrary":
        rows, keys = lengths_hinted(q, k, WHERE)
        return Plan(band_runs(window, align, rows, keys))
    masked_out = _masked_out(mask)
    plan = plan_from_dense(attends_from_masked_out(masked_out))
    return Plan(intersect([plan.runs, band_runs(window, align, plan.Q, plan.K)]).collapsed())


def _named(plan: Plan) -> tuple[str, Window] | None:
    """The type of a mask without padding, and its window."""
    if plan.B > 1:
        return None
    top_left, bottom_right = band(plan, Align.START), band(plan, Align.END)
    if bottom_right == EVERYTHING:
        return "no_mask", EVERYTHING
    if top_left is not None and top_left[1] == 0:
        return "causal", top_left
    if bottom_right is None:
        return None
    if bottom_right[1] == 0:
        return "causal_bottom_right", bottom_right
    left, right = bottom_right
    # Without a causal type both sides have a bound: one that is never reached is none.
    return "no_mask", (plan.K if left is None else left, plan.Q if right is None else right)


def _padded_kind(runs: Runs) -> tuple[str, Sequences] | None:
    """The type with padding that a set is, and its sequences."""
    for align, suffix in ((Align.START, ""), (Align.END, "_bottom_right")):
        found = padded_sequences(runs, align)
        if found is not None and found.window in (EVERYTHING, (None, 0)):
            return "padding" if found.window == EVERYTHING else f"padding_causal{suffix}", found
    return None


def _padding(found: Sequences, items: int, q: int, k: int) -> list[BoolArray]:
    """The mask of the tokens, or those of queries and of keys; bool (B, 1, 1, S), True is padding."""
    lengths = np.diff(found.query_bounds), np.diff(found.key_bounds)
    masks = [
        (np.arange(axis) >= own[:, None]).reshape(items, 1, 1, axis) for own, axis in zip(lengths, (q, k), strict=True)
    ]
    return masks[:1] if q == k and (lengths[0] == lengths[1]).all() else masks


def _padded(mask: Any, window: Window, align: Align) -> Plan:
    pair = cast(tuple[Any, ...], mask) if isinstance(mask, tuple) else (mask, mask)
    tokens = [attends_from_masked_out(_masked_out(one))[:, 0, 0] for one in pair]
    lengths: list[IntArray] = [np.count_nonzero(own, axis=1) for own in tokens]
    # Tokens after padding are where a row of the mask rises.
    at_end = not any((own[:, 1:] & ~own[:, :-1]).any() for own in tokens)
    if len(tokens) != 2 or len(lengths[0]) != len(lengths[1]) or not at_end:
        raise ArgumentError(
            "attention_mask is no padding at the end of as many items of queries as of keys",
            where=WHERE,
            fix="give (B, 1, 1, S), or a pair of (B, 1, 1, Q) and (B, 1, 1, K), True after the last token; "
            "any other mask is attn_mask_type='arbitrary'",
        )
    axes = tokens[0].shape[1], tokens[1].shape[1]
    return Plan(first_tokens(lengths[0], lengths[1], axes, window, align).runs((len(tokens[0]), *axes)).collapsed())


def _masked_out(mask: Any) -> BoolArray:
    if mask is None:
        raise ArgumentError("attention_mask is None", where=WHERE, fix="padding and arbitrary types need it")
    array = read_array(mask, "attention_mask")
    if array.dtype.kind != "b" or array.ndim != 4 or 0 in array.shape[:2]:
        raise ArgumentError(
            f"attention_mask holds {array.dtype} values in shape {array.shape}",
            where=WHERE,
            fix="give bools of four axes, True is masked out",
        )
    return array
