"""Keyword arguments of flashinfer's prefill wrappers: causal, a window to the left, or a mask of packed bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.compiler.structure.bands import Window, band, band_runs
from attnmask.conventions import Align, BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import read_arguments, read_array, read_bounds
from attnmask.formats.shared.window_units import window_from_one_side
from attnmask.formats.shared.writing import batch_items, tensor_from_array
from attnmask.mask.tables.lookup_tables import int32_from

if TYPE_CHECKING:
    import torch

name = "flashinfer"
summary = "dict for flashinfer's prefill: qo_indptr, kv_indptr, causal, window_left, packed_custom_mask torch.uint8"
WHERE = "lift('flashinfer', arguments)"
NAMES = ["qo_indptr", "kv_indptr", "causal", "window_left", "packed_custom_mask"]
UNBOUNDED = -1


def refusals(plan: Plan, **options: Any) -> list[str]:
    """Heads that differ: all heads share a mask."""
    return [f"it differs between its {plan.H} heads"] if plan.H > 1 else []


def lower(plan: Plan, *, batch: int | None = None, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Give the arguments that make every item a request of flashinfer.

    Bits are packed only where the set is no causal mask and no window to the left, for ``causal`` counts for nothing
    beside them. flashinfer lines up queries and keys at the end, and ``window_left=W`` keeps W + 1 keys. The bits of a
    request begin at a byte of their own, the first in the lowest bit. A row without a key is 0.

    Args:
        plan: the set.
        batch: requests to write out; needed where the plan is the same for all of several.
        device: where the tensors are put.

    Returns:
        ``{"qo_indptr": torch.int32 (B + 1,), "kv_indptr": torch.int32 (B + 1,), "causal": bool, "window_left": int,
        "packed_custom_mask": torch.uint8 or None}``, a bit of 1 attends.

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: flashinfer.BatchPrefillWithRaggedKVCacheWrapper.plan and flashinfer.segment_packbits, flashinfer 0.6.

    >>> import attnmask as am
    >>> am.compile(am.causal() & am.window(left=3, right=0), q=2, k=8, align="end").to("flashinfer")["window_left"]
    3
    >>> am.compile(am.dense([[1, 0, 1], [0, 0, 1]]), q=2, k=3, align="end").to("flashinfer")["packed_custom_mask"]
    tensor([37], dtype=torch.uint8)
    """
    items = batch_items(plan, batch)
    bounds = (tensor_from_array(int32_from(np.arange(items + 1) * axis), device) for axis in (plan.Q, plan.K))
    side = _side(plan)
    packed = None
    if side is None:
        dense = np.broadcast_to(plan.runs.to_dense(), (items, 1, plan.Q, plan.K)).reshape(items, plan.Q * plan.K)
        packed = tensor_from_array(np.packbits(dense, axis=1, bitorder="little").reshape(-1), device)
    left, right = side or (None, None)
    values = [right == 0, UNBOUNDED if left is None else left, packed]
    return dict(zip(NAMES, [*bounds, *values], strict=True))


def lift(representation: Any) -> Plan:
    """Read the arguments, of requests that are all of one length.

    Args:
        representation: dict of ``qo_indptr``, ``kv_indptr``, ``causal``, ``window_left`` and ``packed_custom_mask``,
            the last three False, -1 and None if left out.

    Returns:
        A Plan.

    Raises:
        ArgumentError: other values, requests of several lengths, or as many bytes as fit other lengths.

    Source: as ``lower``.

    >>> lift({"qo_indptr": [0, 2], "kv_indptr": [0, 5], "causal": True}).pairs
    9
    """
    given = read_arguments(representation, NAMES, WHERE)
    items, q, k = _lengths(
        *(read_bounds(value, argument, WHERE) for value, argument in zip(given, NAMES[:2], strict=False))
    )
    causal, window_left, packed = given[2:]
    left, _ = window_from_one_side(UNBOUNDED if window_left is None else window_left)
    window = band_runs((left, 0 if causal and packed is None else None), Align.END, q, k)
    if packed is None:
        return Plan(window)
    if left is not None:
        raise ArgumentError(
            "got packed_custom_mask and window_left", where=WHERE, fix="flashinfer has no name for both: give one"
        )
    return plan_from_dense(_unpacked(packed, (items, q, k)))


def _side(plan: Plan) -> Window | None:
    """The window, if flashinfer has arguments for it."""
    sides = band(plan, Align.END) if plan.B == plan.H == 1 else None
    return sides if sides is not None and sides[1] in (0, None) else None


def _lengths(queries: IntArray, keys: IntArray) -> tuple[int, int, int]:
    one_length = [np.unique(np.diff(bounds)) for bounds in (queries, keys)]
    if len(queries) != len(keys) or any(len(lengths) != 1 for lengths in one_length):
        raise ArgumentError(
            f"qo_indptr is {queries.tolist()}, kv_indptr is {keys.tolist()}",
            where=WHERE,
            fix="give as many requests in both, all of one length: a Plan has one Q and one K; lift others one by one",
        )
    return len(queries) - 1, int(one_length[0][0]), int(one_length[1][0])


def _unpacked(packed: Any, shape: tuple[int, int, int]) -> BoolArray:
    items, q, k = shape
    octets = read_array(packed, "packed_custom_mask")
    expected = items * -(-q * k // 8)
    if octets.dtype != np.uint8 or octets.shape != (expected,):
        raise ArgumentError(
            f"packed_custom_mask holds {octets.dtype} values in shape {octets.shape}",
            where=WHERE,
            fix=f"with these requests give uint8 ({expected},); without packing it is custom_mask, bools",
        )
    bits = np.unpackbits(octets.reshape(items, -1 if octets.size else 0), axis=1, count=q * k, bitorder="little")
    return bits.astype(bool).reshape(items, 1, q, k)
