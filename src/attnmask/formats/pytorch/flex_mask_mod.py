"""mask_mod functions that read a set from tensors, so that another set of the same structure compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from attnmask.compiler.runs import Runs
from attnmask.compiler.tiles import tiles_from_runs
from attnmask.conventions import IntArray, TileState
from attnmask.formats.shared.writing import power_of_two, tensor_from_array
from attnmask.mask.tables.lookup_tables import ragged_indices

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

# Comparing loads two bounds of each run once a row; looking up loads two words for each pair. A search among the
# runs would need no table, but inductor writes out both outcomes of each of its steps, and those of their steps.
MOST_COMPARED = 16
TILE, WORD = 128, 32
FULL_SLOT = 1


def mask_mod_from_runs(runs: Runs, device: str | torch.device) -> MaskMod:
    """The function (b, h, q, k) -> bool of a set.

    Sets of the same structure share their code and the shapes of their tensors, which is all that torch.compile
    compares: the number of runs of a row, rounded up to 1, 2, 4, 8 or 16, and above that the number of partial
    tiles, rounded up to a power of two.
    """
    most = int(runs.counts.max(initial=1))
    return _compared(runs, most, device) if most <= MOST_COMPARED else _looked_up(runs, device)


def _compared(runs: Runs, most: int, device: str | torch.device) -> MaskMod:
    """Compare with every run of the row."""
    width = power_of_two(most)
    bounds = np.zeros((2, width, runs.rows), dtype=np.int32)
    if width == 1:
        bounds[0, 0], bounds[1, 0] = runs.single()
    else:
        place = np.arange(len(runs.starts)) - runs.indptr[runs.row_of_run]
        bounds[0, place, runs.row_of_run], bounds[1, place, runs.row_of_run] = runs.starts, runs.stops
    starts, stops = tensor_from_array(bounds.reshape(2, width, *runs.shape), device)

    def attends(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        b, h = _own(b, starts.shape[1]), _own(h, starts.shape[2])
        inside = (starts[0, b, h, q] <= k) & (k < stops[0, b, h, q])
        for run in range(1, starts.shape[0]):
            inside = inside | (starts[run, b, h, q] <= k) & (k < stops[run, b, h, q])
        return inside

    return attends


def _looked_up(runs: Runs, device: str | torch.device) -> MaskMod:
    """Look a pair up among the bits of its tile; empty and full tiles share theirs."""
    slots, partial = _slots(runs)
    table, bits = tensor_from_array(slots, device), tensor_from_array(_bits(runs, slots, partial), device)

    def attends(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        slot = table[_own(b, table.shape[0]), _own(h, table.shape[1]), q // TILE, k // TILE]
        word = bits[slot, q % TILE, k % TILE // WORD]
        return (word >> (k % WORD)) & 1 == 1

    return attends


def _slots(runs: Runs) -> tuple[IntArray, int]:
    """Where the bits of each tile are, int32 (B, H, tile rows, tile columns), and how many tiles have their own."""
    states = tiles_from_runs(runs, TILE, TILE).states()
    partial = states == TileState.PARTIAL
    own = np.cumsum(partial.reshape(-1), dtype=np.int32).reshape(states.shape) + FULL_SLOT
    return np.where(partial, own, np.where(states == TileState.FULL, FULL_SLOT, 0)), int(partial.sum())


def _bits(runs: Runs, slots: IntArray, partial: int) -> IntArray:
    """One bit for every pair of a partial tile, int32 (slots, TILE, words); as many slots as a power of two."""
    row, column, starts, stops = _cut_at_tiles(runs)
    item, query = np.divmod(row, runs.shape[2])
    slot = slots.reshape(-1, *slots.shape[2:])[item, query // TILE, column]
    words = TILE // WORD
    bits = np.zeros((power_of_two(FULL_SLOT + 1 + partial), TILE, words), dtype=np.int64)
    bits[FULL_SLOT] = (1 << WORD) - 1
    own = slot > FULL_SLOT
    line, starts, stops = (slot[own] * TILE + query[own] % TILE) * words, starts[own], stops[own]
    for word in range(words):
        low, high = (np.clip(bound - word * WORD, 0, WORD) for bound in (starts, stops))
        np.add.at(bits.reshape(-1), line + word, np.left_shift(1, high) - np.left_shift(1, low))
    return bits.astype(np.uint32).view(np.int32)


def _cut_at_tiles(runs: Runs) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Per piece of a run in one tile: row, tile column, start and stop within the tile."""
    first = runs.starts.astype(np.int64) // TILE
    counts = -(-runs.stops // TILE) - first
    column, run = ragged_indices(first, counts), np.repeat(np.arange(len(first)), counts)
    starts, stops = (np.clip(bound[run] - column * TILE, 0, TILE) for bound in (runs.starts, runs.stops))
    return runs.row_of_run[run], column, starts, stops


def _own(index: Tensor, size: int) -> Tensor:
    """The index along an axis that may be 1 and broadcast."""
    return index if size > 1 else index * 0
