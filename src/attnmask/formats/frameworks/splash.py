"""Mask objects and segment ids of JAX splash attention."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np

from attnmask.compiler.algebra import intersect, unite
from attnmask.compiler.columns import rows_asked
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Int64, Runs, runs_from_dense, runs_of_heads
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.compiler.structure.facts import causal_offset, chunk_size, is_full, window_sides
from attnmask.compiler.structure.outline import Outline
from attnmask.compiler.structure.segments import finest_segments, keys_before, within_segments
from attnmask.compiler.structure.sequences import Window, union_of_items
from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import read_arguments, read_array
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
Lazy = tuple[str, tuple[Any, ...]]


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
        plan, lambda: all(lazy is not None for _, lazy in _static_and_segments(plan)[0])
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
    masks = [_mask(one, lazy) for one, lazy in static]
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
    mask, segment_ids = read_arguments(representation, ["mask", "segment_ids"], WHERE)
    runs = _runs(mask)
    if segment_ids is None:
        return Plan(runs.collapsed())
    queries, keys = (np.atleast_2d(read_array(ids, "segment_ids")) for ids in (segment_ids.q, segment_ids.kv))
    if queries.ndim > 2 or queries.shape != (len(keys), runs.shape[2]) or keys.shape[1] != runs.keys:
        raise ArgumentError(
            f"segment_ids are of q {queries.shape} and kv {keys.shape}, the mask is (Q, K) = "
            f"{(runs.shape[2], runs.keys)}",
            where=WHERE,
            fix="make them agree",
        )
    return Plan(within_segments(runs, queries, keys).collapsed())


def _static_and_segments(plan: Plan) -> tuple[list[tuple[Runs, Lazy | None]], Segments]:
    """The mask of each head, one for all items and lazy if any is, and the segments that make the set of them."""
    runs = plan.runs
    if plan.B == 1 and (plan.H > 1 or _lazy(runs) is not None):
        return _heads(runs), None
    segments = finest_segments(runs)
    if plan.H == 1 and (sides := _window_within(runs, *segments)) is not None:
        return _heads(runs_from_mask(window(*sides), Domain(1, 1, plan.Q, plan.K, 0))), segments
    parts = ((runs.of_queries(rows), segments[0][:, rows]) for rows in rows_asked(runs))
    is_union = plan.B > 1 and all(_is_union_within(part, queries, segments[1]) for part, queries in parts)
    return (_heads(union_of_items(runs)), segments) if is_union else (_heads(runs), None)


def _is_union_within(runs: Runs, queries: Int64, keys: Int64) -> bool:
    """Whether what attends in some item is, within the segments of each, the set: it holds no less."""
    union = union_of_items(runs)
    count = keys_before(queries[:, union.row_of_run % max(runs.shape[2], 1)], keys)
    return count(union.stops) - count(union.starts) == runs.pairs


def _window_within(runs: Runs, queries: Int64, keys: Int64) -> Window | None:
    """The widest window to which all rows keep, with and without its bounds, that is the set within its segments."""
    if not len(runs.starts):
        return None
    position, count = np.arange(runs.shape[2]), keys_before(queries, keys)
    back, ahead = Outline(runs, 0).reach

    @cache
    def before(side: int | None) -> int:
        return count(np.array(0)) if side is None else count(position - side)

    @cache
    def up_to(side: int | None) -> int:
        return count(np.array(runs.keys)) if side is None else count(position + side + 1)

    for left, right in product((None, back), (None, ahead)):
        # All pairs of the set are of the window and within segments: it is no other set if there are no more.
        if min(left or 0, right or 0) >= 0 and up_to(right) - before(left) == runs.pairs:
            return left, right
    return None


def _heads(runs: Runs) -> list[tuple[Runs, Lazy | None]]:
    _, h, q = runs.shape
    heads = [runs.take(np.arange(q) + head * q, (1, 1, q)) if h > 1 else runs for head in range(h)]
    return [(one, _lazy(one)) for one in heads]


def _lazy(runs: Runs) -> Lazy | None:
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


def _mask(runs: Runs, lazy: Lazy | None) -> Any:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_masks

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
    attends = read_array(mask[:, :] if hasattr(mask, "shape") and len(mask.shape) == 2 else mask, "mask")
    if attends.dtype.kind != "b" or attends.ndim not in (2, 3) or 0 in attends.shape[:-2]:
        raise ArgumentError(
            f"mask is {type(mask).__name__} of {attends.dtype}, shape {attends.shape}",
            where=WHERE,
            fix="give a splash Mask, or bools (Q, K) or (H, Q, K)",
        )
    return runs_from_dense(attends[None, None] if attends.ndim == 2 else attends[None])
