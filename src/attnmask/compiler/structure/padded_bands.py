"""A set as a window between tokens: the three things that most libraries take as arguments of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attnmask.compiler.algebra import intersect
from attnmask.compiler.runs import Runs
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.compiler.structure.outline import Outline
from attnmask.conventions import BoolArray, IntArray
from attnmask.mask.atoms import padding, window
from attnmask.mask.domain import Domain

Sides = tuple[int | None, int | None]


@dataclass(frozen=True)
class Band:
    """``window(left, right)`` of queries that stand at their row, between the tokens of queries and of keys.

    Attributes:
        left, right: neighbours on each side, self not counted; None is unbounded.
        queries: which queries are tokens, (B, Q); None if all are. keys: likewise, (B, K).
    """

    left: int | None
    right: int | None
    queries: BoolArray | None = None
    keys: BoolArray | None = None

    @property
    def is_causal(self) -> bool:
        """Whether the window is bounded on the right alone, by the query itself."""
        return (self.left, self.right) == (None, 0)


def band_of(runs: Runs) -> Band | None:
    """The window and the tokens that a set consists of, with as few bounds as it needs; None if it is no such set.

    >>> from attnmask.mask.atoms import causal
    >>> band_of(runs_from_mask(causal() & padding(lengths=[3, 1]), Domain(2, 1, 3, 3, 0)))
    Band(left=None, right=0, queries=None, keys=array([[ True,  True,  True],
           [ True, False, False]]))
    """
    outline = Outline(runs, 0)
    if runs.shape[1] != 1 or not outline.some.any():
        return None
    unpadded = [(None, None), (None, outline.key_seen), (outline.some, None), (outline.some, outline.key_seen)]
    bands = (Band(*sides, *tokens) for tokens in unpadded for sides in _sides(outline))
    return next((band for band in bands if _runs_of(band, runs) == runs), None)


def lengths_of(tokens: BoolArray) -> IntArray | None:
    """The tokens of each item, int32 (B,), if they all stand before its padding."""
    lengths = tokens.sum(axis=1, dtype=np.int32)
    return lengths if (tokens == (np.arange(tokens.shape[1]) < lengths[:, None])).all() else None


def _sides(outline: Outline) -> Iterator[Sides]:
    back = (outline.position - outline.first)[outline.some].max()
    ahead = (outline.stop - 1 - outline.position)[outline.some].max()
    for left, right in ((None, None), (None, int(ahead)), (int(back), None), (int(back), int(ahead))):
        if min(left or 0, right or 0) >= 0:
            yield left, right


def _runs_of(band: Band, like: Runs) -> Runs:
    domain = Domain(like.shape[0], 1, like.shape[2], like.keys, 0)
    parts = [window(band.left, band.right)]
    parts += [] if band.keys is None else [padding(attention_mask=band.keys)]
    parts += [] if band.queries is None else [padding(attention_mask=band.queries, of="queries")]
    return intersect([runs_from_mask(part, domain) for part in parts]).broadcast_to(like.shape)
