"""Segments: ids of queries and of keys, of which those that are equal see each other."""

from __future__ import annotations

import numpy as np

from attnmask.compiler.algebra import intersect
from attnmask.compiler.runs import Int64, Runs, runs_from_counts
from attnmask.compiler.runs_from_mask import hull_of
from attnmask.conventions import IntArray
from attnmask.mask.tables.run_table import RunTable, range_of


def finest_segments(runs: Runs) -> tuple[Int64, Int64]:
    """The most segments under which every pair of a set is of one segment: ids of queries (B, Q), of keys (B, K).

    Whoever asks whether a set is some other set within segments need try no others: fewer would let more pairs attend.
    A row without a key is of segment -1, which no key is of. O(runs x the longest chain of rows that share keys).

    >>> from attnmask.compiler.runs_from_mask import runs_from_mask
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
    return within_table(runs, *table_of_segments(queries, keys))


def within_table(runs: Runs, table: RunTable, of_query: IntArray) -> Runs:
    """The same, of what ``table_of_segments`` gives."""
    items = len(of_query)
    counts, starts, stops = table.within(of_query, *range_of(hull_of(runs), items, 1))
    segments = runs_from_counts((items, 1, runs.shape[2]), runs.keys, counts.reshape(-1), starts, stops)
    return intersect([runs, segments])


def count_within_table(runs: Runs, table: RunTable, of_query: IntArray) -> int:
    """The runs of the same, of a set of one run a row, without making them."""
    counts = table.reached(of_query, *range_of(hull_of(runs), len(of_query), 1))[1]
    return int(counts.sum(dtype=np.int64))


def table_of_segments(queries: IntArray, keys: IntArray) -> tuple[RunTable, IntArray]:
    """A row for each id of each item: its stretches of keys; and the row of each query, (B, 1, Q)."""
    b, q, length = len(queries), int(queries.shape[1]), int(keys.shape[1])
    together = np.concatenate([queries, keys], axis=1).astype(np.int64)
    names: Int64 = np.unique(together, return_inverse=True)[1]
    several = int(names.max(initial=-1)) + 1
    rows = names.reshape(b, q + length) + several * np.arange(b).reshape(b, 1)
    of_key = rows[:, q:].reshape(-1)
    begins = np.flatnonzero(np.diff(of_key, prepend=-1))
    order = np.argsort(of_key[begins], kind="stable")
    starts = (begins % max(length, 1))[order]
    stops = starts + np.diff(begins, append=len(of_key))[order]
    return RunTable(of_key[begins][order], starts, stops, length), rows[:, None, :q]


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
        # What has one label keeps one: few pairs are left after the first round.
        apart = label[left] != label[right]
        left, right = left[apart], right[apart]
