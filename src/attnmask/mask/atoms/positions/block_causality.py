"""Causal between blocks, bidirectional within one: block-wise generation, chunks of streaming speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.arguments import positive_number, whole_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask


@dataclass(frozen=True, repr=False)
class BlockCausal(Atom):
    size: int
    left: int | None = None

    def attends(self, at: Points) -> BoolArray:
        back = at.q // self.size - at.k // self.size
        return (back >= 0) if self.left is None else (back >= 0) & (back <= self.left)

    def bounds(self, domain: Domain) -> Bounds:
        block = domain.positions // self.size
        starts = np.array([0]) if self.left is None else (block - self.left) * self.size
        return Bounds((1, 1, domain.Q), starts, (block + 1) * self.size)

    def arguments(self) -> dict[str, object]:
        return {"size": self.size} if self.left is None else {"size": self.size, "left": self.left}


@public
def block_causal(size: int, left: int | None = None) -> Mask:
    """Queries see their own block and the blocks before it; attends iff 0 <= q // size - k // size <= left.

    With ``left`` it is chunked attention of streaming speech models, where it is called left chunks or left context
    chunks. Without, it is block-wise generation.

    Args:
        size: positions of a block, 1 or more; with 1 it is causal, or a window.
        left: blocks seen before the own one, 0 or more; None for all of them (-1 in WeNet).

    Returns:
        A mask.

    Raises:
        ArgumentError: size is no whole number, or below 1; left is no whole number, or below 0.

    Source: Arriola et al. 2025, "Block Diffusion", its clean half; ``num_left_chunks`` of WeNet's
    ``subsequent_chunk_mask`` (Zhang et al. 2020, "Unified Streaming and Non-streaming Two-pass End-to-end Model for
    Speech Recognition"), ``speech_encoder_left_chunk_num`` of SeamlessM4T v2 in transformers.

    >>> from attnmask.mask.reference import grid
    >>> print(grid(block_causal(2), q=4))
    1 1 0 0
    1 1 0 0
    1 1 1 1
    1 1 1 1
    >>> print(grid(block_causal(2, left=1), q=6))
    1 1 0 0 0 0
    1 1 0 0 0 0
    1 1 1 1 0 0
    1 1 1 1 0 0
    0 0 1 1 1 1
    0 0 1 1 1 1
    """
    before = None if left is None else whole_number(left, "left", "block_causal")
    return BlockCausal(positive_number(size, "size", "block_causal"), before)
