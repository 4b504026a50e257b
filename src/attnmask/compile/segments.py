"""Segments: ids of queries and of keys, of which those that are equal see each other."""

from __future__ import annotations

import numpy as np

from attnmask.compile.algebra import intersect
from attnmask.compile.lower import hull_of
from attnmask.compile.runs import Int64, Runs, runs_from_counts
from attnmask.conventions import IntArray
from attnmask.mask.tables import ragged_indices


def finest_segments(runs: Runs) -> tuple[Int64, Int64]:
    """The most segments under which every pair of a set is of one segment: ids of queries (B, Q), of keys (B, K).

    Whoever asks whether a set is some other set within segments need try no others: fewer would let more pairs attend.
    A row without a key is of segment -1, which no key is of. O(runs x the longest chain of rows that share keys).

    >>> from attnmask.compile.lower import runs_from_mask
    >>> from attnmask.mask.atoms import documents
    >>> from attnmask.mask.domain import Domain
    >>> finest_segments(runs_from_mask(documents(lengths=[2, 1]), Domain(1, 1, 3, 3, 0)))[1].tolist()
    [[0, 0, 2]]
    """
    b, _, q = runs.shape
    island = _islands(runs)
    item = runs.row_of_run // max(runs.rows // b, 1)
    own = island[item * runs.keys + runs.starts]
    row = item * q + runs.row_of_run % max(q, 1)
    first = np.full(b * q, -1)
    first[row[::-1]] = own[::-1]
    label = _joined(first[row], own, len(island))
    before = np.arange(b)[:, None] * runs.keys
    queries = np.where(first.reshape(b, q) < 0, -1, label[first].reshape(b, q) - before)
    return queries, label[island].reshape(b, runs.keys) - before


def within_segments(runs: Runs, queries: IntArray, keys: IntArray) -> Runs:
    """The pairs of a set whose ids are equal, of ids (B, Q) and (B, K)."""
    first, counts, starts, stops = _reached(runs, queries, keys)
    at = ragged_indices(first, counts)
    return intersect(
        [runs, runs_from_counts((len(queries), 1, runs.shape[2]), runs.keys, counts, starts[at], stops[at])]
    )


def count_within_segments(runs: Runs, queries: IntArray, keys: IntArray) -> int:
    """The runs of the same, of a set of one run a row, without making them."""
    return int(_reached(runs, queries, keys)[1].sum(dtype=np.int64))


def _reached(runs: Runs, queries: IntArray, keys: IntArray) -> tuple[Int64, Int64, Int64, Int64]:
    """Of each row the first stretch of its id that is between its first and last key, and their number; all stretches.

    Stretches are in the order of items and ids; their starts and stops are keys.
    """
    b, q = queries.shape
    together = np.concatenate([queries.reshape(-1), keys.reshape(-1)]).astype(np.int64)
    names: Int64 = np.unique(together, return_inverse=True)[1]
    several, apart = int(names.max(initial=-1)) + 1, runs.keys + 1
    of_query = names[: b * q] + np.repeat(np.arange(len(queries)), q) * several
    of_key = names[b * q :] + np.repeat(np.arange(len(queries)), runs.keys) * several
    begins = np.flatnonzero(np.diff(of_key, prepend=-1))
    order = np.argsort(of_key[begins], kind="stable")
    starts = (begins % max(runs.keys, 1))[order]
    stops = starts + np.diff(begins, append=len(of_key))[order]
    line = of_key[begins][order] * apart
    hull, rows = hull_of(runs), (b, q)
    low = np.broadcast_to(hull.starts.min(axis=1), rows).reshape(-1)
    high = np.broadcast_to(hull.stops.max(axis=1), rows).reshape(-1)
    first = np.searchsorted(line + stops, of_query * apart + low, side="right")
    after = np.searchsorted(line + starts, of_query * apart + high, side="left")
    return first, np.maximum(after - first, 0), starts, stops


def _islands(runs: Runs) -> Int64:
    """Of each key of each item the first key of the stretch that single runs join, (B * K,)."""
    b, keys = runs.shape[0], runs.keys
    item = runs.row_of_run // max(runs.rows // b, 1) * keys
    edges = np.zeros(b * keys + 1, dtype=np.int64)
    np.add.at(edges, item + runs.starts + 1, 1)
    np.subtract.at(edges, item + runs.stops, 1)
    apart = np.cumsum(edges)[:-1] == 0
    return np.maximum.accumulate(np.where(apart, np.arange(b * keys), 0))


def _joined(left: Int64, right: Int64, count: int) -> Int64:
    """The least of all numbers that pairs join to each number."""
    label = np.arange(count)
    while True:
        least = np.minimum(label[left], label[right])
        lower = label.copy()
        for side in (left, right):
            np.minimum.at(lower, side, least)
            np.minimum.at(lower, label[side], least)
        lower = lower[lower]
        if (lower == label).all():
            return label
        label = lower
