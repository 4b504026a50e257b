"""What a set is, read off its Runs and never off how it was written.

Each function proposes the only parameters the set could have and then checks them against every row, so that the
answer may be None but is never wrong.
"""

from __future__ import annotations

import numpy as np

from attnmask.compiler.columns import masked_runs_per_column
from attnmask.compiler.runs import Runs, runs_from_single
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.compiler.structure.outline import Outline
from attnmask.compiler.structure.recognise import chunk_size_guesses, is_set
from attnmask.compiler.structure.remembered import remembered
from attnmask.conventions import BoolArray, IntArray
from attnmask.mask.atoms import causal, chunked, documents, window
from attnmask.mask.domain import Domain


def is_full(runs: Runs) -> bool:
    """Whether every query attends to every key."""
    return runs.pairs == runs.rows * runs.keys


@remembered
def causal_offset(runs: Runs) -> int | None:
    """The offset under which the set is causal: row i attends iff k <= i + offset.

    None if there is none. Where several are right, as for a full set, the one nearest to 0.
    """
    if not _same_for_all_items(runs) or not runs.one_per_row:
        return None
    rows, (_, stops) = np.arange(runs.rows), runs.single()
    inner = (stops > 0) & (stops < runs.keys)
    if inner.any():
        offset = int((stops - 1 - rows)[inner][0])
    else:
        # Every row is empty or full: the offset is only bounded, by the last empty and the first full row.
        least = max((runs.keys - 1 - rows[stops == runs.keys]).max(initial=-runs.rows - runs.keys), -runs.rows)
        most = (-1 - rows[stops == 0]).min(initial=runs.keys) if runs.keys else runs.keys
        offset = int(np.clip(0, least, most)) if least <= most else 0
    expected = runs_from_single(runs.shape, runs.keys, np.array([0]), rows + offset + 1)
    return offset if runs == expected else None


@remembered
def window_sides(runs: Runs, offset: int) -> tuple[int | None, int | None] | None:
    """The (left, right) of the window that the set is, for queries at row + offset; None if it is none.

    A side that no row shows the end of is None, unbounded.
    """
    if not _same_for_all_items(runs) or not runs.one_per_row or not len(runs.starts):
        return None
    position = runs.row_of_run + offset
    left = _one((position - runs.starts)[runs.starts > 0])
    right = _one((runs.stops - 1 - position)[runs.stops < runs.keys])
    # Where no run ends inside the keys, a row that just misses them still shows the end of a side.
    if left is None and runs.row_of_run[-1] < runs.rows - 1:
        left = int(position[-1]) + 1 - runs.keys
    if right is None and runs.row_of_run[0] > 0:
        right = -int(position[0])
    if min(left or 0, right or 0) < 0:
        return None
    domain = Domain(1, 1, runs.rows, runs.keys, offset)
    return (left, right) if runs_from_mask(window(left, right), domain) == runs else None


@remembered
def key_mask(runs: Runs) -> BoolArray | None:
    """The 0/1 mask of keys, bool (B, K), of a set in which all rows and heads of an item see the same keys."""
    b, h, q = runs.shape
    if h != 1 or q == 0:
        return None
    firsts = runs.take(np.arange(b) * q, (b, 1, 1))
    return firsts.to_dense()[:, 0, 0] if firsts.broadcast_to(runs.shape) == runs else None


@remembered
def document_ids(runs: Runs) -> IntArray | None:
    """The document of each position, int64 (B, S), -1 for none, of a set in which each document sees just itself."""
    b, h, q = runs.shape
    if h != 1 or q != runs.keys or not runs.one_per_row:
        return None
    starts, stops = (bound.reshape(b, q) for bound in runs.single())
    in_document = stops > starts
    begins = in_document & (starts == np.arange(q))
    ids = np.where(in_document, np.cumsum(begins, axis=1) - 1, -1)
    expected = runs_from_mask(documents(ids=ids), Domain(b, 1, q, q))
    return ids if expected == runs else None


@remembered
def chunk_size(runs: Runs, offset: int) -> int | None:
    """The positions of a chunk, where queries see their own chunk alone, all of it or up to themselves."""
    if runs.shape[1] != 1 or not runs.one_per_row:
        return None
    for size in chunk_size_guesses(runs):
        if any(is_set(mask, Outline(runs, offset)) for mask in (chunked(size), causal() & chunked(size))):
            return size
    return None


def most_runs_per_row(runs: Runs) -> int:
    """The most runs of keys that any query attends to."""
    return int(runs.counts.max(initial=0))


def most_masked_runs_per_column(runs: Runs) -> int:
    """The most runs of queries by which any key is masked out."""
    return int(masked_runs_per_column(runs).max(initial=0))


def _one(values: IntArray) -> int | None:
    return int(values[0]) if len(values) else None


def _same_for_all_items(runs: Runs) -> bool:
    return runs.shape[:2] == (1, 1)
