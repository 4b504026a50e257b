"""Inputs and attributes of the ONNX operator Attention."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from attnmask.compiler.algebra import intersect
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs, runs_from_dense, runs_from_single
from attnmask.compiler.structure.facts import is_full
from attnmask.compiler.structure.padded_bands import Band, band_from_runs, lengths_from_tokens
from attnmask.conventions import Align, BoolArray, IntArray
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.formats.shared.foreign_arrays import (
    at_lengths,
    attends_or_added,
    lengths_hinted,
    read_arguments,
    read_array,
    with_leading_axes,
)
from attnmask.formats.shared.writing import batch_items, reasons_against_pairs
from attnmask.mask.arguments import is_whole, one_of, shown

name = "onnx"
summary = "dict for ONNX Attention: attn_mask bool or float (B, H, Q, K), nonpad_kv_seqlen (B,), is_causal"
WHERE = "lift('onnx', arguments)"
INPUTS = ["attn_mask", "nonpad_kv_seqlen", "is_causal", "left_window_size", "right_window_size"]
FLOATS = ("float16", "float32", "float64")


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out, of a set that needs them."""
    own = {name: options[name] for name in ("opset", "batch") if name in options}
    return reasons_against_pairs(plan, lambda: is_full(plan.runs) or _without_pairs(plan, **own) is not None)


def lower(plan: Plan, *, opset: int = 24, dtype: DTypeLike = "bool", batch: int | None = None) -> dict[str, Any]:
    """Give the inputs and attributes that make the operator attend to the set.

    ``is_causal`` and ``nonpad_kv_seqlen`` are never given together: opset 24 as it was released counts from the first
    key, and since its errata from the last valid one. A row without a key is 0 since the errata, and in runtimes that
    were written before may be NaN or the mean of the values.

    Args:
        plan: the set; no key of it is in the operator's own cache.
        opset: 23, 24 (which brings ``nonpad_kv_seqlen``) or 25 (windows).
        dtype: of a mask that is written out: bool, or that of the tensors, float16, float32 or float64.
        batch: items of the tensors; with it the same padding for all items is a ``nonpad_kv_seqlen`` too.

    Returns:
        ``{"attn_mask": (B, H, Q, K) or None, "nonpad_kv_seqlen": int64 (B,) or None, "is_causal": 0 or 1}``, and from
        opset 25 on ``left_window_size`` and ``right_window_size``, -1 for unbounded. In a mask True attends, or 0 and
        -inf does not; B or H is 1, and broadcasts, where the set does not depend on it.

    Raises:
        ArgumentError: another opset, dtype or number of items.

    Source: Attention-23, -24 and -25 of https://onnx.ai/onnx/operators/onnx__Attention.html; errata:
    https://github.com/onnx/onnx/pull/8068.

    >>> import attnmask as am
    >>> am.compile(am.padding(lengths=[3, 1]), q=2, k=3, align="end").to("onnx")
    {'attn_mask': None, 'nonpad_kv_seqlen': array([3, 1]), 'is_causal': 0}
    >>> am.compile(am.causal(), q=2).to("onnx", dtype="float32", opset=23)
    {'attn_mask': None, 'nonpad_kv_seqlen': None, 'is_causal': 1}
    """
    if not is_whole(opset) or opset not in (23, 24, 25):
        raise ArgumentError(f"opset is {shown(opset)}", where="lower(opset=)", fix="give 23, 24 or 25")
    mask_type = _dtype(dtype)
    given: dict[str, Any] = {"attn_mask": None, "nonpad_kv_seqlen": None, "is_causal": 0}
    given |= {"left_window_size": -1, "right_window_size": -1} if opset == 25 else {}
    if is_full(plan.runs):
        return given
    own = _without_pairs(plan, opset, batch)
    return given | ({"attn_mask": _mask(plan, mask_type)} if own is None else own)


def lift(representation: Any, *, q: int | None = None, k: int | None = None, align: str | None = None) -> Plan:
    """Read the inputs and attributes; a pair attends if all of them let it.

    Args:
        representation: dict of ``attn_mask``, (Q, K), (H, Q, K) or (B, H, Q, K), bools of which True attends or floats
            that are added to the scores, or None; ``nonpad_kv_seqlen``, whole numbers (B,), or None; ``is_causal``;
            ``left_window_size`` and ``right_window_size``, -1 or None for unbounded.
        q, k: queries and keys; needed without ``attn_mask``. A mask of fewer keys than ``k`` masks the rest out.
        align: where queries stand if ``nonpad_kv_seqlen`` comes with ``is_causal`` or a window: "end", the last at an
            item's last valid key (the errata of opset 24, and opset 25), or "start", at the first keys (opset 24 as it
            was released).

    Returns:
        A Plan.

    Raises:
        AmbiguousError: ``nonpad_kv_seqlen`` with ``is_causal`` or a window and no ``align``; floats that are zeros and
            ones alone; a mask of one key where ``k`` is more.
        ArgumentError: other values or axes, no lengths, or inputs that do not fit each other.

    Source: as ``lower``.

    >>> given = {"nonpad_kv_seqlen": [3], "is_causal": 1}
    >>> lift(given, q=2, k=4, align="end").pairs, lift(given, q=2, k=4, align="start").pairs
    (5, 3)
    """
    mask, valid, is_causal, *sides = read_arguments(representation, INPUTS, WHERE)
    attends = None if mask is None else _attends(mask, q, k)
    rows, keys = lengths_hinted(q, k, WHERE) if attends is None else attends.shape[2:]
    left, right = (_side(side, name) for side, name in zip(sides, INPUTS[3:], strict=True))
    right = min(right, 0) if is_causal and right is not None else 0 if is_causal else right
    lengths = _lengths(valid, keys)
    bounded = (left, right) != (None, None)
    first = _first_positions(lengths, rows, align) if bounded and valid is not None else np.zeros(1, dtype=np.int64)
    parts = [_band(first[:, None, None] + np.arange(rows), left, right, lengths[:, None, None], keys)]
    parts += [] if attends is None else [runs_from_dense(attends)]
    if len({len(lengths), *(part.shape[0] for part in parts)} - {1}) > 1:
        raise ArgumentError(
            f"attn_mask has {parts[-1].shape[0]} items, nonpad_kv_seqlen has {len(lengths)}",
            where=WHERE,
            fix="make them agree",
        )
    return Plan(intersect(parts).collapsed())


def _without_pairs(plan: Plan, opset: int = 24, batch: int | None = None) -> dict[str, Any] | None:
    band, items = band_from_runs(plan.runs), batch_items(plan, batch)
    return None if band is None else _arguments(band, opset, items if plan.B > 1 or batch is not None else None)


def _arguments(band: Band, opset: int, items: int | None) -> dict[str, Any] | None:
    """What says it without a mask; None if nothing does. ``items`` is None where their number is not known."""
    unbounded = (band.left, band.right) == (None, None)
    if band.queries is not None:
        return None
    if band.keys is not None:
        lengths = lengths_from_tokens(band.keys)
        if not unbounded or opset == 23 or lengths is None or items is None:
            return None
        return {"nonpad_kv_seqlen": np.broadcast_to(lengths, (items,)).astype(np.int64)}
    if band.is_causal:
        return {"is_causal": 1}
    sides = {"left_window_size": band.left, "right_window_size": band.right}
    return {name: -1 if side is None else side for name, side in sides.items()} if opset == 25 else None


def _mask(plan: Plan, dtype: np.dtype[Any]) -> NDArray[Any]:
    attends = plan.runs.to_dense()
    return attends if dtype.kind == "b" else np.where(attends, 0.0, -np.inf).astype(dtype)


def _dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except Exception:  # of a person's own object NumPy asks for a dtype, which may raise anything
        found = np.dtype(object)
    if found.name not in ("bool", *FLOATS):
        raise ArgumentError(
            f"dtype is {shown(dtype)}", where="lower(dtype=)", fix=f"give bool or one of {', '.join(FLOATS)}"
        )
    return found


def _attends(mask: Any, q: int | None, k: int | None) -> BoolArray:
    attends = attends_or_added(read_array(mask, "attn_mask"), "attn_mask", WHERE)
    attends = with_leading_axes(attends, "attn_mask", WHERE)
    own, keys = attends.shape[3], attends.shape[3] if k is None else k
    if own == 1 < keys:
        raise AmbiguousError(
            f"attn_mask has 1 key of {keys}, which the operator may broadcast, or take for the first of them",
            where=WHERE,
            fix="write it out: numpy.broadcast_to, or numpy.pad with False",
        )
    rest = np.zeros((*attends.shape[:3], max(keys - own, 0)), dtype=bool)
    return at_lengths(np.concatenate([attends, rest], axis=3), q, k, "attn_mask", WHERE)


def _lengths(nonpad_kv_seqlen: Any, keys: int) -> IntArray:
    if nonpad_kv_seqlen is None:
        return np.array([keys])
    lengths = read_array(nonpad_kv_seqlen, "nonpad_kv_seqlen")
    if lengths.ndim != 1 or not len(lengths) or lengths.dtype.kind not in "iu" or not _within(lengths, keys):
        raise ArgumentError(
            f"nonpad_kv_seqlen is {lengths.tolist()}", where=WHERE, fix=f"give a whole number from 0 to {keys} per item"
        )
    return lengths


def _within(lengths: IntArray, keys: int) -> bool:
    return bool((lengths >= 0).all() and (lengths <= keys).all())


def _first_positions(lengths: IntArray, rows: int, align: str | None) -> IntArray:
    """Where query row 0 of each item stands."""
    from_end = lengths - rows
    if align is None and from_end.any():
        raise AmbiguousError(
            "nonpad_kv_seqlen comes with is_causal or a window: opset 24 as it was released lines queries up with the "
            "first keys, its errata with the last valid ones",
            where=WHERE,
            fix='say align="end" (errata, opset 25) or align="start" (as released), whichever the runtime does',
        )
    at_end = align is not None and one_of(Align, align, "align", "lift") is Align.END
    return from_end if at_end else np.zeros_like(from_end)


def _side(side: Any, name: str) -> int | None:
    if side is None or (is_whole(side) and side == -1):
        return None
    if not is_whole(side) or side < 0:
        raise ArgumentError(f"{name} is {side!r}", where=WHERE, fix="give -1 for unbounded, or a count of positions")
    return int(side)


def _band(position: IntArray, left: int | None, right: int | None, valid: IntArray, keys: int) -> Runs:
    starts = np.zeros_like(position) if left is None else np.maximum(position - left, 0)
    stops = valid if right is None else np.minimum(position + right + 1, valid)
    shape = np.broadcast_shapes(starts.shape, np.shape(stops))
    return runs_from_single((shape[0], 1, position.shape[2]), keys, starts, stops)
