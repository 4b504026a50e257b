"""The Mask of tokamax: bounds of keys for each query, of queries for each key, and bools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attnmask.compiler.algebra import intersect
from attnmask.compiler.columns import rows_asked, runs_per_column, transposed
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs, runs_from_dense, runs_from_single
from attnmask.compiler.structure.facts import is_full
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import at_lengths, lengths_hinted, read_array, with_leading_axes
from attnmask.formats.shared.writing import reasons_against_pairs

name = "tokamax"
summary = "dataclass with the fields of tokamax's Mask: k_start, k_end (B, H, Q), q_start, q_end (B, H, K), bool_mask"
WHERE = "lift('tokamax', mask)"


@dataclass(frozen=True, eq=False)
class Mask:
    """The fields of ``tokamax.Mask``; a pair attends if every field that is not None lets it.

    Attributes:
        bool_mask: bool (B, H, Q, K), True attends.
        q_start, q_end: int32 (B, H, K): the queries from q_start to before q_end attend to the key.
        k_start, k_end: int32 (B, H, Q): the query attends to the keys from k_start to before k_end.
        is_causal: query row i attends to the keys 0 to i.
    """

    bool_mask: BoolArray | None = None
    q_start: IntArray | None = None
    q_end: IntArray | None = None
    k_start: IntArray | None = None
    k_end: IntArray | None = None
    is_causal: bool = False


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out, of a set that needs them."""
    return reasons_against_pairs(plan, lambda: _bounds(plan) is not None)


def lower(plan: Plan) -> Mask:
    """Give the bounds of each query's keys, or else of each key's queries, or else every pair.

    Args:
        plan: the set.

    Returns:
        A Mask, whose fields ``tokamax.Mask(**vars(mask))`` takes; NumPy arrays; B or H is 1, and broadcasts, where
        the set does not depend on it.

    Source: ``Mask`` of tokamax 0.0.12, https://github.com/openxla/tokamax/blob/main/tokamax/_src/ops/attention/base.py.

    >>> import attnmask as am
    >>> am.compile(am.causal() & am.documents(lengths=[2, 2]), q=4).to("tokamax")
    Mask(bool_mask=None, q_start=None, q_end=None, k_start=array([[[0, 0, 2, 2]]], dtype=int32), k_end=None,
         is_causal=True)
    """
    bounds = _bounds(plan)
    return Mask(bool_mask=plan.runs.to_dense()) if bounds is None else bounds


def lift(representation: Any, *, q: int | None = None, k: int | None = None) -> Plan:
    """Read a Mask, of tokamax or as ``lower`` gives it.

    Args:
        representation: an object with the fields of Mask; bounds are (Q,), (H, Q) or (B, H, Q), or of keys likewise.
        q, k: queries and keys; needed without ``bool_mask``.

    Returns:
        A Plan.

    Raises:
        ArgumentError: no such object, fields of other values or lengths, or no lengths.

    Source: as ``lower``.

    >>> lift(Mask(k_start=np.array([0, 1, 1]), is_causal=True), q=3, k=3).pairs
    4
    """
    fields = {field: getattr(representation, field, None) for field in vars(Mask())}
    if not all(hasattr(representation, field) for field in fields):
        raise ArgumentError(
            f"the representation is {type(representation).__name__}",
            where=WHERE,
            fix=f"give an object with the fields {', '.join(fields)}",
        )
    pairs = None if fields["bool_mask"] is None else at_lengths(_bools(fields["bool_mask"]), q, k, "bool_mask", WHERE)
    rows, keys = lengths_hinted(q, k, WHERE) if pairs is None else pairs.shape[2:]
    causal_stop = np.arange(rows) + 1 if fields["is_causal"] else np.full(rows, keys)
    parts = [
        runs_from_single((1, 1, rows), keys, np.zeros(1, dtype=np.int64), causal_stop),
        _bounded(fields["k_start"], fields["k_end"], "k", rows, keys),
        transposed(_bounded(fields["q_start"], fields["q_end"], "q", keys, rows)),
    ]
    parts += [] if pairs is None else [runs_from_dense(pairs)]
    return Plan(intersect(parts).collapsed())


def _bounds(plan: Plan) -> Mask | None:
    """The mask in bounds of queries, or of keys, without every pair; None if that cannot be."""
    if plan.runs.one_per_row:
        return _by_query(plan.runs)
    if any(runs_per_column(plan.runs.of_queries(rows)).max(initial=0) > 1 for rows in rows_asked(plan.runs)):
        return None
    starts, stops = (bound.reshape(plan.B, plan.H, plan.K) for bound in transposed(plan.runs).single())
    return Mask(q_start=starts, q_end=stops)


def _by_query(runs: Runs) -> Mask:
    starts, stops = (bound.reshape(runs.shape) for bound in runs.single())
    if is_full(runs):
        return Mask()
    causal_stop = np.minimum(np.arange(runs.shape[2]) + 1, runs.keys)
    empty = stops == starts
    if ((stops == causal_stop) | empty).all():
        starts = np.where(empty, np.int32(runs.keys), starts)
        return Mask(k_start=starts if starts.any() else None, is_causal=True)
    return Mask(k_start=starts if starts.any() else None, k_end=stops)


def _bounded(start: Any, end: Any, of: str, lines: int, most: int) -> Runs:
    """Runs of each query's keys, or of each key's queries."""
    bounds = [_bound(start, f"{of}_start", lines, 0), _bound(end, f"{of}_end", lines, most)]
    b, h, _ = np.broadcast_shapes(*(bound.shape for bound in bounds))
    return runs_from_single((b, h, lines), most, *bounds)


def _bound(values: Any, field: str, lines: int, unbounded: int) -> IntArray:
    if values is None:
        return np.full((1, 1, lines), unbounded)
    array = read_array(values, field)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2, 3) or array.shape[-1] not in (1, lines):
        raise ArgumentError(
            f"{field} is {array.dtype} of shape {array.shape}",
            where=WHERE,
            fix=f"give whole numbers ({lines},), (H, {lines}) or (B, H, {lines})",
        )
    return array.reshape((1,) * (3 - array.ndim) + array.shape).astype(np.int64)


def _bools(mask: Any) -> BoolArray:
    array = read_array(mask, "bool_mask")
    if array.dtype.kind != "b":
        raise ArgumentError(f"bool_mask holds {array.dtype} values", where=WHERE, fix="give bools, True attends")
    return with_leading_axes(array, "bool_mask", WHERE)
