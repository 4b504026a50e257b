"""Sets that are a window between tokens: the form that most libraries take as arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attnmask.compiler.runs import Runs
from attnmask.compiler.structure.outline import Outline
from attnmask.compiler.structure.recognise import is_set
from attnmask.compiler.structure.remembered import remembered
from attnmask.compiler.structure.sample import sample_from_outline
from attnmask.conventions import BoolArray, IntArray
from attnmask.mask.atoms import padding, window
from attnmask.mask.expression import Mask

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


@remembered
def band_from_runs(runs: Runs) -> Band | None:
    """The window and the tokens that a set consists of, with as few bounds as it needs; None if it is no such set.

    >>> from attnmask.compiler.runs_from_mask import runs_from_mask
    >>> from attnmask.mask.atoms import causal
    >>> from attnmask.mask.domain import Domain
    >>> band_from_runs(runs_from_mask(causal() & padding(lengths=[3, 1]), Domain(2, 1, 3, 3, 0)))
    Band(left=None, right=0, queries=None, keys=array([[ True,  True,  True],
           [ True, False, False]]))
    """
    outline = Outline(runs, 0)
    if runs.shape[1] != 1 or not outline.some.any():
        return None
    unpadded = [(None, None), (None, outline.key_seen), (outline.some, None), (outline.some, outline.key_seen)]
    bands = (Band(*sides, *tokens) for tokens in unpadded for sides in _sides(outline))
    sample = sample_from_outline(outline)
    return next((band for band in bands if not sample.refutes(_mask(band)) and is_set(_mask(band), outline)), None)


def lengths_from_tokens(tokens: BoolArray) -> IntArray | None:
    """The tokens of each item, int32 (B,), if they all stand before its padding."""
    lengths = tokens.sum(axis=1, dtype=np.int32)
    return lengths if (tokens == (np.arange(tokens.shape[1]) < lengths[:, None])).all() else None


def _sides(outline: Outline) -> Iterator[Sides]:
    back, ahead = outline.reach
    for left, right in ((None, None), (None, ahead), (back, None), (back, ahead)):
        if min(left or 0, right or 0) >= 0:
            yield left, right


def _mask(band: Band) -> Mask:
    mask = window(band.left, band.right)
    mask = mask if band.keys is None else mask & padding(attention_mask=band.keys)
    return mask if band.queries is None else mask & padding(attention_mask=band.queries, of="queries")
