"""Questions about keys: which queries attend to each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attnmask.compiler.algebra import symmetric_difference
from attnmask.compiler.runs import Int64, Runs, runs_from_counts
from attnmask.conventions import IntArray
from attnmask.mask.tables.lookup_tables import check_row_count, ragged_indices

# More runs are refused by some of their rows, if these are enough.
LARGE = 2**19


def transposed(runs: Runs) -> Runs:
    """Runs of queries of every key: shape (B, H, K) over Q queries.

    In time and memory O(runs in + runs out), however many pairs they hold.
    """
    b, h, q = runs.shape
    changed = _changes(runs)
    counts = changed.stops - changed.starts
    item, query = np.divmod(np.repeat(changed.row_of_run, counts), q + 1)
    line = item * runs.keys + ragged_indices(changed.starts.astype(np.int64), counts)
    order = np.argsort(line, kind="stable")
    per_key = np.bincount(line, minlength=b * h * runs.keys) // 2
    bounds = query[order]
    return runs_from_counts((b, h, runs.keys), q, per_key, bounds[0::2], bounds[1::2])


def runs_per_column(runs: Runs) -> Int64:
    """Number of runs of queries of every key, int64 (B, H, K); O(runs + K), for any number of them."""
    b, h, q = runs.shape
    check_row_count(b * h * (runs.keys + 1), f"too many keys to look at each, B={b}, H={h}, K={runs.keys}", "plan")
    changed = _changes(runs)
    line = changed.row_of_run // (q + 1) * (runs.keys + 1)
    edges = np.bincount(line + changed.starts, minlength=b * h * (runs.keys + 1))
    edges -= np.bincount(line + changed.stops, minlength=b * h * (runs.keys + 1))
    return np.cumsum(edges.reshape(b, h, runs.keys + 1), axis=2)[:, :, :-1] // 2


def rows_asked(runs: Runs) -> Iterator[Int64]:
    """The query rows to look at, then all of them if these do not answer: of a large set at first few, from all over.

    Among these a key has no more runs of queries than among all.
    """
    q = runs.shape[2]
    if len(runs.starts) > LARGE:
        yield np.unique(np.linspace(0, q - 1, max(q * LARGE // len(runs.starts) // 2, 2)).astype(np.int64))
    yield np.arange(q)


def masked_runs_per_column(runs: Runs) -> Int64:
    """Number of runs of queries that do not attend to a key, of every key, int64 (B, H, K)."""
    b, h, q = runs.shape
    if q == 0:
        return np.zeros((b, h, runs.keys), dtype=np.int64)
    # They alternate with those that attend, of which there is one more or less where an end attends.
    at_ends = [runs.take(np.arange(b * h) * q + row, (b * h, 1, 1)).keys_seen for row in (0, q - 1)]
    first, last = (seen.reshape(b, h, runs.keys).astype(np.int64) for seen in at_ends)
    return runs_per_column(runs) + 1 - first - last


def _changes(runs: Runs) -> Runs:
    """Per row, and once more after the last, the keys that begin or cease to attend there."""
    b, h, q = runs.shape
    # What is the same as in the row before cancels out: most rows of a layout need not be looked at.
    row = runs.changes
    item, query = np.divmod(row, max(q, 1))
    here = item * (q + 1) + query
    before = np.append(row - 1, np.arange(1, b * h + 1) * q - 1 if q else row[:0])
    at = np.append(here, np.arange(1, b * h + 1) * (q + 1) - 1 if q else here[:0])
    order = np.argsort(at, kind="stable")
    none = len(before) - len(row)
    counts = [
        np.append(runs.counts[row], np.zeros(none, dtype=np.int32))[order],
        np.append(np.where(query == 0, 0, runs.counts[row - 1]), runs.counts[before[len(row) :]])[order],
    ]
    lines = [np.append(row, before[len(row) :])[order], before[order]]
    parts = [_rows_of(runs, line, count) for line, count in zip(lines, counts, strict=True)]
    changed = symmetric_difference(*parts)
    spread = np.zeros(b * h * (q + 1), dtype=np.int64)
    spread[at[order]] = changed.counts
    return runs_from_counts((b, h, q + 1), runs.keys, spread, changed.starts, changed.stops)


def _rows_of(runs: Runs, rows: Int64, counts: IntArray) -> Runs:
    """Some rows, each with its runs or, of a count of 0, without any."""
    at = ragged_indices(runs.indptr[rows].astype(np.int64), counts)
    return runs_from_counts((1, 1, len(rows)), runs.keys, counts, runs.starts[at], runs.stops[at])
