"""Segments: ids of queries and keys such that a query attends to the keys of its own id."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attnmask.compiler.algebra import intersect
from attnmask.compiler.runs import Int32, Int64, Runs, runs_from_counts
from attnmask.compiler.runs_from_mask import hull_from_runs
from attnmask.conventions import IntArray
from attnmask.mask.tables.run_table import RunTable, range_over_items


def finest_segments(runs: Runs) -> tuple[Int64, Int64]:
    """The most segments under which every pair of a set is of one segment: ids of queries (B, Q), of keys (B, K).

    Whoever asks whether a set is some other set within segments need try no others: fewer would let more pairs attend.
    A row without a key is of segment -1, which no key is of.

    >>> from attnmask.compiler.runs_from_mask import runs_from_mask
    >>> from attnmask.mask.atoms import documents
    >>> from attnmask.mask.domain import Domain
    >>> finest_segments(runs_from_mask(documents(lengths=[2, 1]), Domain(1, 1, 3, 3, 0)))[1].tolist()
    [[0, 0, 2]]
    """
    b, h, q = runs.shape
    item = runs.item_of_run * runs.keys
    island = _islands(runs, item)
    own = island[item + runs.starts]
    none = len(island)
    of_row = np.full(b * h * q, none, dtype=np.int32)
    of_row[runs.counts > 0] = own[runs.indptr[:-1][runs.counts > 0]]
    first = of_row.reshape(b, h, q).min(axis=1)
    left = np.repeat(np.broadcast_to(first[:, None], (b, h, q)).reshape(-1), runs.counts)
    label = _joined(left, own, none)
    before = np.arange(b)[:, None] * runs.keys
    queries: Int64 = np.where(first == none, -1, np.append(label, 0)[first] - before)
    return queries, label[island].reshape(b, runs.keys) - before


def within_segments(runs: Runs, queries: IntArray, keys: IntArray) -> Runs:
    """The pairs of a set whose ids are equal, of ids (B, Q) and (B, K)."""
    table, of_query = _table_of_segments(queries, keys)
    items = len(of_query)
    counts, starts, stops = table.within(of_query, *range_over_items(hull_from_runs(runs), items, 1))
    segments = runs_from_counts((items, 1, runs.shape[2]), runs.keys, counts.reshape(-1), starts, stops)
    return intersect([runs, segments])


def keys_before(queries: Int64, keys: Int64) -> Callable[[IntArray], int]:
    """Count the keys of their own segment that stand before a key, one for each query, over all queries and items.

    Args:
        queries, keys: the ids of ``finest_segments``.

    >>> keys_before(np.array([[0, -1, 2]]), np.array([[0, 0, 2]]))(np.array([1, 2, 3]))
    2
    """
    b, length = len(keys), int(keys.shape[1])
    item = np.arange(b).reshape(b, 1) * length
    of_key, some = (keys + item).reshape(-1), queries >= 0
    begins = np.append(0, np.cumsum(np.bincount(of_key, minlength=b * length)))
    by_segment = np.argsort(of_key, kind="stable")
    line = of_key[by_segment] * (length + 1) + by_segment % max(length, 1)
    own = (queries + item)[some]

    def count(bound: IntArray) -> int:
        bounds = np.broadcast_to(bound, queries.shape)[some]
        before = begins[own + (bounds >= length)]
        # A search costs much where neighbours are of other segments.
        inner = np.flatnonzero((bounds > 0) & (bounds < length))
        before[inner] = np.searchsorted(line, own[inner] * (length + 1) + bounds[inner])
        return int((before - begins[own]).sum())

    return count


def _table_of_segments(queries: IntArray, keys: IntArray) -> tuple[RunTable, IntArray]:
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


def _islands(runs: Runs, item: Int64) -> Int32:
    """Of each key of each item the first key of the stretch that single runs join, (B * K,)."""
    count = runs.shape[0] * runs.keys
    edges = np.bincount(item + runs.starts + 1, minlength=count + 1)
    edges -= np.bincount(item + runs.stops, minlength=count + 1)
    apart = np.cumsum(edges)[:-1] == 0
    return np.maximum.accumulate(np.where(apart, np.arange(count, dtype=np.int32), 0))


def _joined(left: Int32, right: Int32, count: int) -> Int32:
    """The least of all numbers that pairs join to each number."""
    label = np.arange(count, dtype=np.int32)
    while len(apart := np.flatnonzero(left != right)):
        low, high = np.minimum(left[apart], right[apart]), np.maximum(left[apart], right[apart])
        np.minimum.at(label, high, low)
        while ((further := label[label]) != label).any():
            label = further
        # Only the least numbers are joined from here on: what hangs on them goes with them.
        left, right = label[low], label[high]
    return label
