"""Slices of MagiAttention: ranges of queries and keys, each with one of four shapes inside."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from attnmask.compiler.algebra import runs_from_pieces
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Int64, Runs
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import lengths_hinted, read_arguments, read_array
from attnmask.formats.shared.writing import batch_items, tensor_from_array
from attnmask.mask.arguments import positive_number
from attnmask.mask.tables.lookup_tables import int32_from, ragged_indices

if TYPE_CHECKING:
    import torch

name = "magi"
summary = "dict for MagiAttention: q_ranges, k_ranges torch.int32 (N, 2), attn_type_map torch.int32 (N,)"
WHERE = "lift('magi', arguments)"
NAMES = ["q_ranges", "k_ranges", "attn_type_map"]


class SliceType(IntEnum):
    """What a slice holds: bit 0, a causal mask at its lower right corner; bit 1, an inverse one at its upper left."""

    FULL = 0
    CAUSAL = 1
    INVCAUSAL = 2
    BICAUSAL = 3


def refusals(plan: Plan, **options: Any) -> list[str]:
    """Heads that differ: all heads share the slices."""
    return [f"it differs between its {plan.H} heads"] if plan.H > 1 else []


def lower(plan: Plan, *, batch: int | None = None, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Cut the set into slices, each as many rows long as its runs go on in one way.

    From one row to the next a run may keep its start or move it by one key, and its end likewise: the four types.
    Items lie one after the other, as queries B * Q and keys B * K. No two slices share a pair.

    Args:
        plan: the set.
        batch: items to write out; needed where the plan is the same for all of several items.
        device: where the tensors are put.

    Returns:
        ``{"q_ranges": torch.int32 (N, 2), "k_ranges": torch.int32 (N, 2), "attn_type_map": torch.int32 (N,)}``,
        ranges half-open, types 0 full, 1 causal, 2 inverse causal, 3 both.

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: magi_attention.functional.flex_flash_attn_func, MagiAttention 1.1.

    >>> import attnmask as am
    >>> slices = am.compile(am.causal() & am.window(left=2, right=0), q=6).to("magi")
    >>> [slices[name].tolist() for name in ("q_ranges", "k_ranges", "attn_type_map")]
    [[[0, 3], [3, 6]], [[0, 3], [1, 6]], [1, 3]]
    """
    runs = plan.runs.broadcast_to((batch_items(plan, batch), 1, plan.Q))
    first, last, kind = _slices(runs)
    before = runs.row_of_run[first] // max(plan.Q, 1) * plan.K
    queries = np.stack([runs.row_of_run[first], runs.row_of_run[last] + 1], axis=1)
    keys = np.stack([runs.starts[first] + before, runs.stops[last] + before], axis=1)
    return {
        argument: tensor_from_array(int32_from(values), device)
        for argument, values in zip(NAMES, (queries, keys, kind), strict=True)
    }


def lift(representation: Any, *, q: int | None = None, k: int | None = None, batch: int = 1) -> Plan:
    """Read slices.

    Args:
        representation: dict of ``q_ranges``, ``k_ranges`` and ``attn_type_map``, all full if that is left out.
        q, k: queries and keys of an item.
        batch: items, one after the other.

    Returns:
        A Plan.

    Raises:
        ArgumentError: ranges outside of the lengths or in two items, unknown types, or slices that share a pair,
            which the kernel would count twice.

    Source: as ``lower``.

    >>> lift({"q_ranges": [[0, 2]], "k_ranges": [[0, 5]], "attn_type_map": [1]}, q=2, k=5).pairs
    9
    """
    given = read_arguments(representation, NAMES, WHERE)
    rows, keys = lengths_hinted(q, k, WHERE)
    items = positive_number(batch, "batch", "lift")
    queries, ranges = (
        _ranges(value, argument, items * axis)
        for value, argument, axis in zip(given, NAMES[:2], (rows, keys), strict=False)
    )
    kinds = _kinds(given[2], queries, ranges)
    heights = queries[:, 1] - queries[:, 0]
    row, of = ragged_indices(queries[:, 0], heights), np.repeat(np.arange(len(heights)), heights)
    inverse, causal = kinds[of] & SliceType.INVCAUSAL > 0, kinds[of] & SliceType.CAUSAL > 0
    starts = ranges[of, 0] + np.where(inverse, row - queries[of, 0], 0)
    stops = ranges[of, 1] - np.where(causal, queries[of, 1] - 1 - row, 0)
    some = stops > starts
    row, starts, stops = row[some], starts[some], stops[some]
    before = row // max(rows, 1) * keys
    if ((starts < before) | (stops > before + keys)).any():
        raise ArgumentError("a slice lies in two items", where=WHERE, fix="give the q=, k= and batch= of the tensors")
    runs = runs_from_pieces((items, 1, rows), keys, row, starts - before, stops - before)
    if runs.pairs != int((stops - starts).sum()):
        raise ArgumentError(
            f"{int((stops - starts).sum())} pairs in the slices, {runs.pairs} of them different ones",
            where=WHERE,
            fix="cover each pair once: the kernel would count it twice",
        )
    return Plan(runs.collapsed())


def _slices(runs: Runs) -> tuple[IntArray, IntArray, IntArray]:
    """The first and the last run of each slice, and its type, from the first query on."""
    step, follower = _steps(runs)
    order = _by_path(follower)
    links = step[order]
    begins = np.flatnonzero((np.diff(links, prepend=-2) != 0) | (np.append(-1, links[:-1]) < 0))
    ends, kind = np.append(begins[1:], len(links))[: len(begins)], links[begins]
    first = begins + ~_free(kind < 0, ends - begins == 1)
    alone = (kind < 0) & (first == begins)
    kept = np.flatnonzero(alone | (kind >= 0) & (first < ends))
    last, kind = np.where(alone, begins, ends)[kept], np.maximum(kind, SliceType.FULL)[kept]
    first = first[kept]
    by_query = np.argsort(order[first])
    return order[first][by_query], order[last][by_query], kind[by_query]


def _free(is_end: BoolArray, is_one: BoolArray) -> BoolArray:
    """Whether the run at which each stretch of equal steps begins is in no slice yet.

    After the end of a path it is. A stretch takes in the first run of the next one, but for a stretch of one step whose
    own first run is taken: such stretches take turns.
    """
    number = np.arange(len(is_end))
    known = np.maximum.accumulate(np.append(-1, np.where(is_end | ~is_one, number, -1)))[:-1]
    after_known = np.append(True, is_end)[known + 1]
    return after_known ^ ((number - known) % 2 == 0)


def _steps(runs: Runs) -> tuple[IntArray, Int64]:
    """How each run goes on in the next row of its item, as a type, -1 if it does not, and the run it becomes."""
    width, number = runs.keys + 1, len(runs.starts)
    place = runs.row_of_run * width + runs.starts
    step, follower = np.full(number, -1), np.full(number, -1)
    goes_on = runs.row_of_run % max(runs.shape[2], 1) < runs.shape[2] - 1
    for moved in (0, 1):
        wanted = place + width + moved
        at = np.minimum(np.searchsorted(place, wanted), number - 1)
        grown = runs.stops[at] - runs.stops
        fits = goes_on & (place[at] == wanted) & ((grown == 0) | (grown == 1))
        step[fits], follower[fits] = SliceType.INVCAUSAL * moved + grown[fits], at[fits]
    return step, follower


def _by_path(follower: Int64) -> Int64:
    """The runs in such an order that each comes right after the one that it follows."""
    root = np.arange(len(follower))
    root[follower[follower >= 0]] = np.flatnonzero(follower >= 0)
    while (root[root] != root).any():
        root = root[root]
    return np.argsort(root, kind="stable")


def _ranges(value: Any, argument: str, most: int) -> IntArray:
    ranges = read_array([] if value is None else value, argument)
    ranges = ranges.reshape(0, 2) if not ranges.size else ranges
    whole = ranges.dtype.kind in "iu" or not ranges.size
    if not whole or ranges.ndim != 2 or ranges.shape[1] != 2:
        raise ArgumentError(
            f"{argument} holds {ranges.dtype} values in shape {ranges.shape}", where=WHERE, fix="give integers (N, 2)"
        )
    ranges = ranges.astype(np.int64)
    wrong = np.flatnonzero((ranges[:, 0] < 0) | (ranges[:, 1] < ranges[:, 0]) | (ranges[:, 1] > most))
    if len(wrong):
        raise ArgumentError(
            f"{argument}[{wrong[0]}] is {ranges[wrong[0]].tolist()}", where=WHERE, fix=f"stay within 0 to {most}"
        )
    return ranges


def _kinds(value: Any, queries: IntArray, keys: IntArray) -> IntArray:
    kinds = read_array(np.zeros(len(queries), dtype=np.int64) if value is None else value, "attn_type_map")
    if not (len(queries) == len(keys) == len(kinds)) or not np.isin(kinds, list(SliceType)).all():
        raise ArgumentError(
            f"{len(queries)} ranges of queries, {len(keys)} of keys, attn_type_map is {kinds.tolist()}",
            where=WHERE,
            fix="give as many of each, types 0 to 3",
        )
    return kinds.astype(np.int64).reshape(-1)
