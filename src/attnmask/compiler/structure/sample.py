"""A sample of pairs, which refutes most guesses before they are compiled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.compiler.structure.outline import Outline
from attnmask.conventions import BoolArray, IntArray
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Mask
from attnmask.mask.reference import attends

ROWS, KEYS_A_ROW = 64, 16


@dataclass(frozen=True)
class Sample:
    """Pairs, and whether each is in the set."""

    at: Points
    attends: BoolArray

    def refutes(self, mask: Mask) -> bool:
        """Whether a mask is another set, as one of the pairs shows."""
        return not (attends(mask, self.at) == self.attends).all()


def sample_from_outline(outline: Outline) -> Sample:
    """Rows from the first to the last, also of those that see keys; their ends, what is around them, other keys.

    Half of the others lie where a window around the row would reach, as far as any row does.
    """
    b, _, q = outline.runs.shape
    keys = outline.runs.keys
    rows = np.union1d(_spread(np.arange(b * q * (keys > 0))), _spread(np.flatnonzero(outline.runs.counts)))
    first, stop, position = outline.first.reshape(-1)[rows], outline.stop.reshape(-1)[rows], rows % max(q, 1)
    position = position + outline.offset
    ends = np.stack([first - 1, first, stop - 1, stop, position - 1, position, position + 1], axis=1)
    back, ahead = outline.reach if outline.some.any() else (0, 0)
    random, size = np.random.default_rng(0), (len(rows), KEYS_A_ROW)
    near = position[:, None] + random.integers(-back, ahead, size, endpoint=True)
    others = [random.integers(0, max(keys, 1), size), near]
    k = np.clip(np.concatenate([ends, *others], axis=1), 0, max(keys - 1, 0))
    row = np.broadcast_to(rows[:, None], k.shape)
    own = [index.reshape(1, 1, 1, -1) for index in (row // max(q, 1), row % max(q, 1), k)]
    domain = Domain(b, 1, q, keys, outline.offset)
    at = Points(b=own[0], h=np.zeros_like(own[0]), row=own[1], q=own[1] + outline.offset, k=own[2], domain=domain)
    return Sample(at, _are_pairs(outline, rows, k).reshape(1, 1, 1, -1))


def _spread(rows: IntArray) -> IntArray:
    return rows[np.linspace(0, len(rows) - 1, ROWS).astype(np.int64)] if len(rows) else rows


def _are_pairs(outline: Outline, rows: IntArray, k: IntArray) -> BoolArray:
    """Whether some rows, (N,), attend to keys, (N, M)."""
    some = outline.runs.take(rows, (1, 1, len(rows)))
    apart = outline.runs.keys + 1
    at = np.arange(len(rows))[:, None] * apart + k
    stops = np.append(some.row_of_run * apart + some.stops, 0)
    run = np.searchsorted(some.row_of_run * apart + some.starts, at, side="right") - 1
    return at < stops[run]
