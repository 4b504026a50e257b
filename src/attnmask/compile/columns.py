"""A set seen from its keys: which queries attend to each."""

from __future__ import annotations

import numpy as np

from attnmask.compile.algebra import symmetric_difference
from attnmask.compile.runs import Int64, Runs, runs_from_counts
from attnmask.mask.tables import ragged_indices


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
    changed = _changes(runs)
    line = changed.row_of_run // (q + 1) * (runs.keys + 1)
    edges = np.zeros(b * h * (runs.keys + 1), dtype=np.int64)
    np.add.at(edges, line + changed.starts, 1)
    np.subtract.at(edges, line + changed.stops, 1)
    return np.cumsum(edges.reshape(b, h, runs.keys + 1), axis=2)[:, :, :-1] // 2


def _changes(runs: Runs) -> Runs:
    """Per row, and once more after the last, the keys that begin or cease to attend there."""
    counts = runs.counts.reshape(runs.shape)
    b, h, q = runs.shape
    here, before = (
        runs_from_counts((b, h, q + 1), runs.keys, np.pad(counts, ((0, 0), (0, 0), side)), runs.starts, runs.stops)
        for side in ((0, 1), (1, 0))
    )
    return symmetric_difference(here, before)
