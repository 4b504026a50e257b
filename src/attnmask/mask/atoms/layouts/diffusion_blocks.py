"""Block diffusion: noised blocks attend to themselves and to the clean blocks before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.arguments import positive_number, whole_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask
from attnmask.mask.tables.lookup_tables import ragged_indices


@dataclass(frozen=True, repr=False)
class BlockDiffusion(Atom):
    size: int
    length: int

    def attends(self, at: Points) -> BoolArray:
        n = self.length
        inside = (at.q >= 0) & (at.q < 2 * n) & (at.k < 2 * n)
        noised_q, noised_k = at.q < n, at.k < n
        block_q = (at.q - np.where(noised_q, 0, n)) // self.size
        block_k = (at.k - np.where(noised_k, 0, n)) // self.size
        of_noised = np.where(noised_k, block_q == block_k, block_k < block_q)
        return inside & np.where(noised_q, of_noised, ~noised_k & (block_k <= block_q))

    def bounds(self, domain: Domain) -> Bounds:
        q, n = domain.positions, self.length
        noised, inside = q < n, (q >= 0) & (q < 2 * n)
        block = (q - np.where(noised, 0, n)) // self.size
        first, after = block * self.size, np.minimum((block + 1) * self.size, n)
        # A noised row has its own block, then clean ones; the last block touches them, and is one run with them.
        joined = noised & ((after == n) | (block == 0))
        starts = np.stack([np.where(noised, first, n), np.full_like(q, n)])
        own = np.where((after == n) & (block > 0), n + first, after)
        stops = np.stack([np.where(noised, own, n + after), n + first])
        counts = np.where(inside, np.where(noised & ~joined, 2, 1), 0)
        which = ragged_indices(np.zeros(len(q), dtype=np.int64), counts)
        row = np.repeat(np.arange(len(q)), counts)
        return Bounds((1, 1, domain.Q), starts[which, row], stops[which, row], counts[None, None])

    def arguments(self) -> dict[str, object]:
        return {"size": self.size, "length": self.length}


@public
def block_diffusion(size: int, length: int) -> Mask:
    """Noised text, then the same text clean; attends iff k is in q's own noised block, or clean and before it.

    With block(x) = (x mod length) // size: a noised q (below length) sees noised k of the same block and clean k of
    earlier blocks; a clean q sees clean k of earlier blocks and of its own. All else sees nothing and is not seen.

    Args:
        size: tokens of a block, 1 or more.
        length: tokens of the text; the row has twice as many.

    Returns:
        A mask.

    Raises:
        ArgumentError: numbers that are not whole, or too small.

    Source: Arriola et al. 2025, "Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models".

    >>> from attnmask.mask.reference import grid
    >>> print(grid(block_diffusion(size=2, length=4), q=8))
    1 1 0 0 0 0 0 0
    1 1 0 0 0 0 0 0
    0 0 1 1 1 1 0 0
    0 0 1 1 1 1 0 0
    0 0 0 0 1 1 0 0
    0 0 0 0 1 1 0 0
    0 0 0 0 1 1 1 1
    0 0 0 0 1 1 1 1
    """
    return BlockDiffusion(
        positive_number(size, "size", "block_diffusion"), whole_number(length, "length", "block_diffusion")
    )
