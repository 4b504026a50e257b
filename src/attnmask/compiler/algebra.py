"""Set algebra on Runs, never on pairs.

Rows are laid end to end on one line, ``keys + 1`` apart so that runs of neighbouring rows never touch. A set is
then a sorted list of edges, and any combination of sets is one sweep over the merged edges that counts how many
sets cover each stretch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from attnmask.compiler.runs import Int64, Runs, Shape, runs_from_counts, runs_from_flat, runs_from_single
from attnmask.conventions import BoolArray, IntArray

# Rows of so many runs are swept at once, so that the work stays small beside the sets themselves.
RUNS_AT_ONCE = 2**19


def intersect(operands: Sequence[Runs]) -> Runs:
    """Pairs that are in every operand."""
    if len(operands) == 1:
        return operands[0]
    shape = common_shape(operands)
    single = [runs for runs in operands if runs.one_per_row]
    several = [runs for runs in operands if not runs.one_per_row]
    if not single:
        return _combine(several, shape, lambda depth: depth == len(several))
    clip = _intersect_single(single, shape)
    if not several:
        return clip
    return _clip_rows(_combine(several, shape, lambda depth: depth == len(several)), clip)


def unite(operands: Sequence[Runs]) -> Runs:
    """Pairs that are in some operand."""
    shape = common_shape(operands)
    single = [runs for runs in operands if runs.one_per_row]
    several = [runs for runs in operands if not runs.one_per_row]
    if len(single) != 1 or not several:
        return _combine(operands, shape, lambda depth: depth > 0)
    return _with_run(_combine(several, shape, lambda depth: depth > 0), single[0].broadcast_to(shape))


def symmetric_difference(left: Runs, right: Runs) -> Runs:
    """Pairs that are in exactly one of two."""
    shape = common_shape([left, right])
    return _in_blocks([left.broadcast_to(shape), right.broadcast_to(shape)], _difference_at_once)


def complement(runs: Runs) -> Runs:
    """Pairs that are not in the set."""
    # A row of n runs has n + 1 gaps, of which those at its ends may be empty.
    counts = runs.counts + 1
    starts, stops = np.empty((2, len(runs.starts) + runs.rows), dtype=np.int32)
    begins = runs.indptr[:-1] + np.arange(runs.rows)
    place = np.arange(len(runs.starts)) + runs.row_of_run
    starts[begins], stops[begins + runs.counts] = 0, runs.keys
    starts[place + 1], stops[place] = runs.stops, runs.starts
    return runs_from_flat(runs.shape, runs.keys, counts, starts, stops)


def subtract(left: Runs, right: Runs) -> Runs:
    """Pairs that are in the first and not in the second."""
    shape = common_shape([left, right])
    left, right = left.broadcast_to(shape), right.broadcast_to(shape)
    changed = rows_that_differ(left, right)
    apart = (1, 1, len(changed))
    rest = intersect([left.take(changed, apart), complement(right.take(changed, apart))])
    counts = np.zeros(left.rows, dtype=np.int64)
    counts[changed] = rest.counts
    return runs_from_counts(shape, left.keys, counts, rest.starts, rest.stops)


def rows_that_differ(left: Runs, right: Runs) -> Int64:
    """The rows, ascending, whose runs two sets of one shape do not share."""
    differs = left.counts != right.counts
    alike = np.flatnonzero(~differs)
    if len(alike) == left.rows:
        pairs = left, right
    else:
        pairs = left.take(alike, (1, 1, len(alike))), right.take(alike, (1, 1, len(alike)))
    moved = (pairs[0].starts != pairs[1].starts) | (pairs[0].stops != pairs[1].stops)
    differs[alike[pairs[0].row_of_run[moved]]] = True
    return np.flatnonzero(differs)


def runs_from_pieces(shape: Shape, keys: int, row: IntArray, starts: IntArray, stops: IntArray) -> Runs:
    """Runs from stretches of keys, none empty, in any order; those of a row that touch or overlap become one."""
    line = row * (keys + 1)
    order = np.argsort(line + starts, kind="stable")
    begin, reached = (line + starts)[order], np.maximum.accumulate((line + stops)[order])
    first = np.flatnonzero(np.append(True, begin[1:] > reached[:-1])[: len(begin)])
    last = np.append(first[1:], len(begin))[: len(first)] - 1
    row, line = row[order[first]], line[order[first]]
    counts = np.bincount(row, minlength=int(np.prod(shape)))
    return runs_from_counts(shape, keys, counts, begin[first] - line, reached[last] - line)


def common_shape(operands: Sequence[Runs]) -> Shape:
    """The (B, H, Q) to which all operands broadcast."""
    b, h, q = np.broadcast_shapes(*(runs.shape for runs in operands))
    return b, h, q


def sweep(edges: Sequence[Int64], wanted: Callable[[Int64], BoolArray]) -> Int64:
    """Edges of the stretches of a line that are covered by a wanted number of sets.

    Args:
        edges: per set, ascending positions at which it begins and ends in turn.
        wanted: from counts of covering sets to whether such a stretch is in the result; False of 0.

    >>> sweep([np.array([0, 4]), np.array([2, 6])], lambda depth: depth == 2)
    array([2, 4])
    """
    position = np.concatenate(list(edges))
    order = np.argsort(position, kind="stable")
    step = np.concatenate([np.where(np.arange(len(one)) % 2, -1, 1) for one in edges])
    return sweep_steps(position[order], step[order], wanted)


def sweep_steps(position: Int64, step: Int64, wanted: Callable[[Int64], BoolArray]) -> Int64:
    """The same for ascending positions, at each of which the number of covering sets changes by ``step``."""
    if not len(position):
        return position
    last_of_equal = np.append(position[1:] != position[:-1], True)
    covered = wanted(np.cumsum(step)[last_of_equal])
    changes = np.diff(covered, prepend=False)
    return position[last_of_equal][changes]


def _combine(operands: Sequence[Runs], shape: Shape, wanted: Callable[[Int64], BoolArray]) -> Runs:
    written_out = [runs.broadcast_to(shape) for runs in operands]
    if len(written_out) == 1:
        return written_out[0]
    return _in_blocks(
        written_out,
        lambda parts: _runs_from_edges(sweep([_edges(runs) for runs in parts], wanted), parts[0].shape, parts[0].keys),
    )


def _in_blocks(operands: Sequence[Runs], combine: Callable[[Sequence[Runs]], Runs]) -> Runs:
    """Sets of one shape, combined some rows at a time."""
    shape, keys = operands[0].shape, operands[0].keys
    before: Int64 = np.stack([runs.indptr for runs in operands], dtype=np.int64).sum(axis=0)
    if before[-1] <= RUNS_AT_ONCE:
        return combine(operands)
    cuts = np.searchsorted(before, np.arange(0, int(before[-1]), RUNS_AT_ONCE))
    borders: list[int] = np.unique(np.append(cuts, [0, operands[0].rows])).tolist()
    parts = [combine([runs.between(first, last) for runs in operands]) for first, last in pairwise(borders)]
    counts, starts, stops = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("counts", "starts", "stops")
    )
    return runs_from_counts(shape, keys, counts, starts, stops)


def _difference_at_once(operands: Sequence[Runs]) -> Runs:
    both = np.concatenate([_edges(runs) for runs in operands])
    return _runs_from_edges(_lone(both), operands[0].shape, operands[0].keys)


def _intersect_single(operands: Sequence[Runs], shape: Shape) -> Runs:
    bounds = [[bound.reshape(runs.shape) for bound in runs.single()] for runs in operands]
    starts, stops = bounds[0]
    for other_starts, other_stops in bounds[1:]:
        starts, stops = np.maximum(starts, other_starts), np.minimum(stops, other_stops)
    return runs_from_single(shape, operands[0].keys, starts, stops)


def _with_run(runs: Runs, added: Runs) -> Runs:
    """One more run in each row, which takes in those that it touches; nothing is sorted, as in a sweep."""
    # In int64, since what stands behind all keys may not fit into int32.
    some, (first, last) = added.counts > 0, (bound.astype(np.int64) for bound in added.single())
    # What a row without a run puts behind all keys touches nothing.
    first[~some] = last[~some] = runs.keys + 1
    before, after = runs.stops < first[runs.row_of_run], runs.starts > last[runs.row_of_run]
    keep = before | after
    taken = np.flatnonzero(~keep)
    row = runs.row_of_run[taken]
    np.minimum.at(first, row, runs.starts[taken])
    np.maximum.at(last, row, runs.stops[taken])
    counts = runs.counts - np.bincount(row, minlength=runs.rows) + some
    place = np.append(0, np.cumsum(counts))[:-1] + np.bincount(runs.row_of_run[before], minlength=runs.rows)
    is_added = np.zeros(int(counts.sum()), dtype=bool)
    is_added[place[some]] = True
    starts, stops = np.empty((2, len(is_added)), dtype=np.int32)
    starts[is_added], stops[is_added] = first[some], last[some]
    starts[~is_added], stops[~is_added] = runs.starts[keep], runs.stops[keep]
    return runs_from_counts(runs.shape, runs.keys, counts, starts, stops)


def _clip_rows(runs: Runs, clip: Runs) -> Runs:
    least, most = (bound[runs.row_of_run] for bound in clip.single())
    starts, stops = np.maximum(runs.starts, least), np.minimum(runs.stops, most)
    return runs_from_flat(runs.shape, runs.keys, runs.counts, starts, stops)


def _lone(edges: Int64) -> Int64:
    """Edges that occur once: where two sets change together, their difference does not."""
    edges = np.sort(edges, kind="stable")
    lone = np.ones(len(edges), dtype=bool)
    twice = np.flatnonzero(edges[1:] == edges[:-1])
    lone[twice] = lone[twice + 1] = False
    return edges[lone]


def _edges(runs: Runs) -> Int64:
    line = runs.row_of_run * (runs.keys + 1)
    return np.stack([line + runs.starts, line + runs.stops], axis=1).reshape(-1)


def _runs_from_edges(edges: Int64, shape: Shape, keys: int) -> Runs:
    row, key = np.divmod(edges, keys + 1)
    counts = np.bincount(row[0::2], minlength=int(np.prod(shape)))
    return runs_from_counts(shape, keys, counts, key[0::2], key[1::2])
