"""Mask objects and segment ids of JAX splash attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from attnmask.compiler.algebra import intersect, unite
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs, runs_from_dense, runs_of_heads
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.compiler.structure.facts import causal_offset, chunk_size, is_full, window_sides
from attnmask.compiler.structure.segments import (
    count_within_table,
    finest_segments,
    table_of_segments,
    within_segments,
    within_table,
)
from attnmask.compiler.structure.sequences import union_of_items
from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import arguments_of, array_of
from attnmask.formats.shared.writing import reasons_against_pairs
from attnmask.mask.arguments import positive_number
from attnmask.mask.atoms import causal, chunked, full, window
from attnmask.mask.domain import Domain
from attnmask.mask.expression import Mask
from attnmask.mask.tables.lookup_tables import int32_from

name = "splash"
summary = "dict for JAX splash attention: mask, a MultiHeadMask (H, Q, K), and segment_ids of q (B, Q) and kv (B, K)"
WHERE = "lift('splash', arguments)"
Segments = tuple[IntArray, IntArray] | None


def refusals(plan: Plan, **options: Any) -> list[str]:
    """Rows without a key, whose softmax splash leaves undefined; items that differ by more than segments."""
    reasons: list[str] = []
    if plan.empty_rows:
        reasons.append(
            f"{plan.empty_rows} of {plan.runs.rows} rows attend to nothing: splash leaves their softmax undefined"
        )
    if plan.B > 1 and _static_and_segments(plan)[1] is None:
        reasons.append("it differs between items, in another way than one mask for all within segments of tokens")
    return reasons or reasons_against_pairs(
        plan, lambda: all(_lazy(one) is not None for one in _heads(_static_and_segments(plan)[0]))
    )


def lower(plan: Plan, *, heads: int | None = None) -> dict[str, Any]:
    """Give the mask of ``make_splash_mha`` and the segment ids to call it with, item by item under jax.vmap.

    Causal, local and chunked masks stay lazy; what is packed or padded becomes segments; an array of bools is written
    out only for the rest. The kernel itself wants lengths that its blocks divide.

    Args:
        plan: the set.
        heads: heads of the queries; needed where the set does not depend on them, because splash does not broadcast.

    Returns:
        ``{"mask": MultiHeadMask (H, Q, K), "segment_ids": SegmentIds of int32 NumPy arrays q (B, Q) and kv (B, K), or
        None}``; B is 1 where the set does not depend on it.

    Raises:
        ArgumentError: another number of heads than the plan has.
        ImportError: jax is not installed.

    Source: jax.experimental.pallas.ops.tpu.splash_attention of jax 0.10, https://github.com/jax-ml/jax/blob/main/jax/
    experimental/pallas/ops/tpu/splash_attention/splash_attention_mask.py.

    >>> import attnmask as am
    >>> given = am.compile(am.causal() & am.documents(lengths=[1, 2]), q=3).to("splash")
    >>> type(given["mask"].masks[0]).__name__, given["segment_ids"].kv.tolist()
    ('CausalMask', [[0, 1, 1]])
    """
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_kernel import SegmentIds
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask import MultiHeadMask

    count = plan.H if heads is None else positive_number(heads, "heads", "lower")
    if plan.H not in (1, count):
        raise ArgumentError(
            f"heads is {count}, the plan has {plan.H} heads", where="lower(heads=)", fix="make them agree"
        )
    static, segments = _static_and_segments(plan)
    masks = [_mask(one) for one in _heads(static)]
    arrays: list[Any] = [] if segments is None else [int32_from(each) for each in segments]
    every_head = MultiHeadMask(masks if len(masks) == count else masks * count)
    return {"mask": every_head, "segment_ids": SegmentIds(*arrays) if arrays else None}


def lift(representation: Any) -> Plan:
    """Read a mask, alone or with segment ids; a pair attends if both let it.

    Args:
        representation: dict of ``mask``, any splash Mask, also of ``&`` and ``|``, or bools (Q, K) or (H, Q, K); and
            ``segment_ids``, an object with q, (Q,) or (B, Q), and kv, (K,) or (B, K), or None.

    Returns:
        A Plan.

    Raises:
        ArgumentError: no mask, or segment ids of other lengths.

    Source: as ``lower``.

    >>> from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask import CausalMask, LocalMask
    >>> lift({"mask": CausalMask((3, 4), offset=1) & LocalMask((3, 4), (1, None), offset=1)}).pairs
    6
    """
    mask, segment_ids = arguments_of(representation, ["mask", "segment_ids"], WHERE)
    runs = _runs(mask)
    if segment_ids is None:
        return Plan(runs.collapsed())
    queries, keys = (np.atleast_2d(array_of(ids, "segment_ids")) for ids in (segment_ids.q, segment_ids.kv))
    if queries.ndim > 2 or queries.shape != (len(keys), runs.shape[2]) or keys.shape[1] != runs.keys:
        raise ArgumentError(
            f"segment_ids are of q {queries.shape} and kv {keys.shape}, the mask is (Q, K) = "
            f"{(runs.shape[2], runs.keys)}",
            where=WHERE,
            fix="make them agree",
        )
    return Plan(within_segments(runs, queries, keys).collapsed())


def _static_and_segments(plan: Plan) -> tuple[Runs, Segments]:
    """One mask for all items, lazy if any is, and the segments that make the set of it."""
    if plan.B == 1 and all(_lazy(one) is not None for one in _heads(plan.runs)):
        return plan.runs, None
    segments = finest_segments(plan.runs)
    table = table_of_segments(*segments)
    for band in _bands(plan.runs):
        few = count_within_table(band, *table) <= len(plan.runs.starts)
        if few and within_table(band, *table).collapsed() == plan.runs:
            return band, segments
    union = union_of_items(plan.runs)
    return union, segments if plan.B > 1 and within_table(union, *table).collapsed() == plan.runs else None


def _bands(runs: Runs) -> Iterator[Runs]:
    """Full, and the tightest window that all rows keep to, with and without its bounds."""
    if not len(runs.starts):
        return
    position, domain = runs.row_of_run % runs.shape[2], Domain(1, 1, runs.shape[2], runs.keys, 0)
    left, right = int((position - runs.starts).max()), int((runs.stops - 1 - position).max())
    for sides in ((None, None), (None, right), (left, None), (left, right)):
        if min(side or 0 for side in sides) >= 0:
            yield runs_from_mask(window(*sides), domain)


def _heads(runs: Runs) -> list[Runs]:
    _, h, q = runs.shape
    return [runs.take(np.arange(q) + head * q, (1, 1, q)) for head in range(h)]


def _lazy(runs: Runs) -> tuple[str, tuple[Any, ...]] | None:
    """Name and arguments of the lazy mask that a set of one head is."""
    q, k = runs.shape[2], runs.keys
    if is_full(runs):
        return "FullMask", ()
    if (offset := causal_offset(runs)) is not None:
        return "CausalMask", (offset,)
    for offset in (0, k - q):
        if (sides := window_sides(runs, offset)) is not None:
            return "LocalMask", (sides, offset)
    size = chunk_size(runs, 0)
    is_causal = size is not None and runs_from_mask(causal() & chunked(size), Domain(1, 1, q, k, 0)) == runs
    return ("ChunkedCausalMask", (size,)) if is_causal else None


def _mask(runs: Runs) -> Any:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_masks

    lazy = _lazy(runs)
    if lazy is None:
        return splash_masks.NumpyMask(runs.to_dense()[0, 0])
    return getattr(splash_masks, lazy[0])((runs.shape[2], runs.keys), *lazy[1])


def _runs(mask: Any) -> Runs:
    kind = type(mask).__name__
    if kind == "MultiHeadMask":
        return runs_of_heads([_runs(one) for one in mask.masks])
    if kind in ("LogicalOr", "LogicalAnd"):
        both = [_runs(mask.left), _runs(mask.right)]
        return unite(both) if kind == "LogicalOr" else intersect(both)
    if (known := _known(mask, kind)) is not None:
        (q, k), (expression, offset) = mask.shape, known
        return runs_from_mask(expression, Domain(1, 1, q, k, offset)).broadcast_to((1, 1, q))
    return _runs_of_bools(mask)


def _known(mask: Any, kind: str) -> tuple[Mask, int] | None:
    """What a lazy mask means, and the position of its first query; None of one whose queries are in another order."""
    in_order = kind == "FullMask" or _in_order(mask)
    match kind if in_order else "":
        case "FullMask":
            return full(), 0
        case "CausalMask":
            return causal(), mask.offset
        case "LocalMask":
            return window(*mask.window_size), mask.offset
        case "ChunkedCausalMask":
            return causal() & chunked(mask.chunk_size), 0
        case _:
            return None


def _in_order(mask: Any) -> bool:
    rows = getattr(mask, "q_sequence", None)
    return rows is not None and np.array_equal(rows, np.arange(len(rows)))


def _runs_of_bools(mask: Any) -> Runs:
    attends = array_of(mask[:, :] if hasattr(mask, "shape") and len(mask.shape) == 2 else mask, "mask")
    if attends.dtype.kind != "b" or attends.ndim not in (2, 3) or 0 in attends.shape[:-2]:
        raise ArgumentError(
            f"mask is {type(mask).__name__} of {attends.dtype}, shape {attends.shape}",
            where=WHERE,
            fix="give a splash Mask, or bools (Q, K) or (H, Q, K)",
        )
    return runs_from_dense(attends[None, None] if attends.ndim == 2 else attends[None])
