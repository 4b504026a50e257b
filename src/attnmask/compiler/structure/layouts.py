"""Guesses at masks over a layout: images, blocks, trees, several answers to one prompt. See ``recognise``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attnmask.compiler.runs import Runs, runs_from_counts
from attnmask.compiler.structure.outline import Outline
from attnmask.mask.atoms import block_diffusion, blocks, causal, grid, shared_prefix, tree
from attnmask.mask.expression import Mask

# A layout of more blocks says no more than the runs do.
MOST_BLOCKS = 2**24


def layout_guesses(outline: Outline) -> Iterator[Mask]:
    """Of sets that are the same for all items, whose queries are the keys."""
    if _is_one_square(outline):
        for guesses in (_grids, _block_diffusions, _shared_prefixes, _blocks):
            yield from guesses(outline.runs)


def _is_one_square(outline: Outline) -> bool:
    runs = outline.runs
    return runs.shape == (1, 1, runs.keys) and not outline.offset and len(runs.starts) > 0


def _grids(runs: Runs) -> Iterator[Mask]:
    """The first pixel sees the beginning of some lines."""
    if runs.counts[0] < 2 or runs.starts[0] or runs.keys % runs.starts[1]:
        return
    width, seen = int(runs.starts[1]), int(runs.stops[0])
    height = runs.keys // width
    yield grid(height, width, seen - 1)
    if seen % 2 and seen <= min(height, width):
        yield grid(height, width, seen // 2, border="natten")


def _block_diffusions(runs: Runs) -> Iterator[Mask]:
    """The first block sees itself alone, and stands in the first half."""
    if runs.counts[0] == 1 and runs.keys % 2 == 0:
        yield block_diffusion(int(runs.stops[0]), runs.keys // 2)


def _shared_prefixes(runs: Runs) -> Iterator[Mask]:
    """Rows of two runs see the prompt and their answer; the first answer touches the prompt."""
    several = np.flatnonzero(runs.counts == 2)
    if not len(several):
        return
    prompt = int(runs.stops[runs.indptr[several[0]]])
    later = np.unique(runs.starts[runs.indptr[several] + 1])
    end = int(np.flatnonzero(runs.counts)[-1]) + 1
    if prompt < later[0] and later[-1] < end:
        answers = np.diff([prompt, *later, end])
        yield causal() & shared_prefix(prompt, answers)
        yield shared_prefix(prompt, answers)


def _blocks(runs: Runs) -> Iterator[Mask]:
    """All runs of keys, and of queries, begin and end at multiples of one size."""
    borders = [runs.starts, runs.stops[runs.stops < runs.keys]]
    size = int(np.gcd.reduce(np.concatenate(borders)))
    size = int(np.gcd.reduce(runs.changes, initial=size)) if size > 1 else size
    blocks_a_side = -(-runs.keys // max(size, 1))
    if size > 1 and blocks_a_side**2 <= MOST_BLOCKS:
        firsts = runs.take(np.arange(blocks_a_side) * size, (1, 1, blocks_a_side))
        of_blocks = firsts.starts // size, -(-firsts.stops // size)
        yield blocks(runs_from_counts(firsts.shape, blocks_a_side, firsts.counts, *of_blocks).to_dense()[0, 0], size)


def tree_guesses(outline: Outline) -> Iterator[Mask]:
    """Each row ends with itself, and has one key more than its parent, which is the last key before."""
    runs = outline.runs
    if not _is_one_square(outline) or not runs.counts.all():
        return
    node, last = np.arange(runs.keys), runs.indptr[1:] - 1
    follows = runs.starts[last] < node
    upper = runs.stops[np.maximum(last - 1, 0)] - 1
    parents = np.where(follows, node - 1, np.where(runs.counts > 1, upper, -1))
    if (runs.stops[last] != node + 1).any() or (parents >= node).any():
        return
    # As many runs as the parent, and one more where it does not stand before: then the tree has no more than the set.
    of_parent = np.append(runs.counts, 0)[parents]
    if (runs.counts == of_parent + (parents != node - 1) + (node == 0)).all():
        yield tree(parents)
