"""Segments: ids of queries and of keys, of which those that are equal see each other."""

from __future__ import annotations

import numpy as np

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


def runs_of_segments(queries: IntArray, keys: IntArray) -> Runs:
    """The pairs whose ids are equal, of ids (B, Q) and (B, K)."""
    b, q = queries.shape
    together = np.concatenate([queries.reshape(-1), keys.reshape(-1)]).astype(np.int64)
    names: Int64 = np.unique(together, return_inverse=True)[1]
    several = int(names.max(initial=-1)) + 1
    of_query = names[: b * q] + np.repeat(np.arange(len(queries)), q) * several
    of_key = names[b * q :] + np.repeat(np.arange(len(queries)), keys.shape[1]) * several
    begins = np.flatnonzero(np.diff(of_key, prepend=-1))
    stops = np.append(begins[1:], len(of_key))[: len(begins)]
    name, count = of_key[begins], np.bincount(of_key[begins], minlength=b * several)
    counts, order = count[of_query], np.argsort(name, kind="stable")
    at = order[ragged_indices((np.cumsum(count) - count)[of_query], counts)]
    starts = begins[at] % max(keys.shape[1], 1)
    return runs_from_counts((b, 1, q), keys.shape[1], counts, starts, starts + (stops - begins)[at])


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
