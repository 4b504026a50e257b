"""BlockMask of torch.nn.attention.flex_attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from attnmask.compiler.algebra import complement, intersect, runs_from_pieces, symmetric_difference, unite
from attnmask.compiler.columns import transposed
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Int32, Runs, runs_from_counts
from attnmask.compiler.tiles import Tiles, tile_lists
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.pytorch.flex_mask_mod import mask_mod_from_runs
from attnmask.formats.shared.foreign_arrays import read_array
from attnmask.formats.shared.writing import power_of_two, tensor_from_array
from attnmask.mask.arguments import is_whole
from attnmask.mask.tables.lookup_tables import runs_of_rows

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn.attention.flex_attention import BlockMask

name = "flex"
summary = "torch BlockMask for flex_attention, with tensors that its mask_mod reads"
WHERE = "lift('flex', block_mask)"
# Pairs of partial blocks that are asked for at once: a few tens of megabytes.
PAIRS_AT_ONCE = 1 << 22
# Entries of block lists that are filled in at once: what is in between takes a few megabytes.
BLOCKS_AT_ONCE = 1 << 18


def refusals(plan: Plan, **options: Any) -> list[str]:
    """None: every set is a block mask."""
    return []


def lower(
    plan: Plan,
    *,
    device: str | torch.device = "cpu",
    block_size: int | tuple[int, int] = 128,
    narrow: bool = False,
) -> BlockMask:
    """Make the blocks straight from the tiles, without evaluating a pair.

    Equal, tensor for tensor, to what ``create_block_mask`` makes of the same set: as there, a block that hangs over
    the last query or key is never full. The mask_mod reads its runs from tensors; plans of one structure (as many
    runs a row, up to the next power of two) share its code, so that torch.compile compiles once for all of them.

    Args:
        plan: the set.
        device: where the tensors are put.
        block_size: rows and keys of a block, or (rows, keys).
        narrow: keep only as many columns of block indices as the longest row needs, up to the next power of two.
            The tensors keep their shape, (B, H, row blocks, key blocks), as views whose rows overlap: entries past
            a row's number of blocks, which no kernel reads, then hold other values. Whoever copies such a tensor,
            as ``.to(device)`` does, gets one of full size.

    Returns:
        torch BlockMask with indices of both sides, int32; B or H is 1, and broadcasts, where the set does not
        depend on it.

    Source: torch.nn.attention.flex_attention.create_block_mask.

    >>> import attnmask as am
    >>> block_mask = am.compile(am.causal(), q=300).to("flex")
    >>> block_mask.kv_num_blocks.tolist(), block_mask.full_kv_num_blocks.tolist()
    ([[[1, 1, 3]]], [[[0, 1, 0]]])
    """
    from torch.nn.attention.flex_attention import BlockMask

    rows, keys = _block_size(block_size)
    tiles = plan.tiles(rows, keys)
    full = _without_overhang(tiles, plan)
    partial = symmetric_difference(tiles.touched, full)
    both = _stacked(partial, full)
    lists = [
        one for side in (both, transposed(both)) for one in _of_partial_and_full(*_block_lists(side, device, narrow))
    ]
    return BlockMask((plan.Q, plan.K), *lists, BLOCK_SIZE=(rows, keys), mask_mod=mask_mod_from_runs(plan.runs, device))


def lift(representation: Any) -> Plan:
    """Read a block mask, whoever made it, by asking its mask_mod for the pairs of its partial blocks alone.

    Args:
        representation: torch BlockMask.

    Returns:
        A Plan.

    Raises:
        ArgumentError: no BlockMask, one that lists a block twice or outside of the lengths, or a mask_mod that fails.

    Source: as ``lower``; blocks without a list of full ones are all partial.

    >>> import attnmask as am
    >>> lift(am.compile(am.causal(), q=300).to("flex")) == am.compile(am.causal(), q=300)
    True
    """
    from torch.nn.attention.flex_attention import BlockMask

    if not isinstance(representation, BlockMask):
        kind = type(representation).__name__
        raise ArgumentError(f"the representation is {kind}", where=WHERE, fix="give a torch BlockMask")
    partial, full = (_tiles_listed(representation, side) for side in ("kv", "full_kv"))
    if len(intersect([partial, full]).starts):
        raise ArgumentError("a block is listed as partial and as full", where=WHERE, fix="list it once")
    return Plan(unite([_runs_of_partial(representation, partial), _runs_of_full(representation, full)]).collapsed())


def _block_size(given: Any) -> tuple[int, int]:
    sizes = cast(tuple[Any, ...], given) if isinstance(given, tuple) else (given, given)
    if len(sizes) != 2 or not all(is_whole(size) and size > 0 for size in sizes):
        raise ArgumentError(
            f"block_size is {given!r}", where="lower(block_size=)", fix="give 1 or more, or (rows, keys)"
        )
    return int(sizes[0]), int(sizes[1])


def _without_overhang(tiles: Tiles, plan: Plan) -> Runs:
    """The full tiles, less those that hang over the last row or key: torch pads the set there."""
    full = tiles.full
    rows, columns = plan.Q // tiles.rows_per_tile, plan.K // tiles.keys_per_tile
    stops = np.minimum(full.stops, columns)
    keep = (full.starts < stops) & (full.row_of_run % max(full.shape[2], 1) < rows)
    counts = np.bincount(full.row_of_run[keep], minlength=full.rows)
    return runs_from_counts(full.shape, full.keys, counts, full.starts[keep], stops[keep])


def _stacked(first: Runs, second: Runs) -> Runs:
    """The items of one set, and behind them those of another."""
    b, h, q = first.shape
    counts, starts, stops = (
        np.concatenate([getattr(one, name) for one in (first, second)]) for name in ("counts", "starts", "stops")
    )
    return runs_from_counts((2 * b, h, q), first.keys, counts, starts, stops)


def _block_lists(tiles: Runs, device: str | torch.device, narrow: bool) -> tuple[Tensor, Tensor]:
    """How many blocks each row of blocks has, and which: these first, ascending, and then all others, ascending."""
    indptr, _ = listed = tile_lists(tiles)
    numbers = np.diff(indptr)
    width = power_of_two(int(numbers.max(initial=1)))
    if narrow and width < tiles.keys:
        indices = _as_shape(tensor_from_array(_narrow(listed, tiles, width), device), tiles, width)
    else:
        indices = tensor_from_array(_ordered(tiles).reshape(*tiles.shape, tiles.keys), device)
    return tensor_from_array(numbers.reshape(tiles.shape), device), indices


def _of_partial_and_full(numbers: Tensor, indices: Tensor) -> Iterator[Tensor]:
    """The lists of partial blocks, then those of full ones, of items stacked one behind the other."""
    for of_kind in zip(numbers.chunk(2), indices.chunk(2), strict=True):
        yield from of_kind


def _ordered(tiles: Runs) -> Int32:
    """All key blocks in order, but that the listed ones of a row stand before the others."""
    others = complement(tiles)
    order = np.argsort(np.concatenate([tiles.row_of_run, others.row_of_run]), kind="stable")
    starts, stops = (
        np.concatenate([listed, other])[order]
        for listed, other in ((tiles.starts, others.starts), (tiles.stops, others.stops))
    )
    borders = np.append(0, np.cumsum(stops - starts))
    lists = np.empty(tiles.rows * tiles.keys, dtype=np.int32)
    at_once = max(BLOCKS_AT_ONCE // max(tiles.keys, 1), 1)
    for first in range(0, len(starts), at_once):
        some = slice(first, first + at_once)
        begins, end = borders[:-1][some], borders[1:][some][-1]
        moved_by = (starts[some] - (begins - begins[0])).astype(np.int32)
        moved = np.repeat(moved_by, stops[some] - starts[some])
        np.add(moved, np.arange(len(moved), dtype=np.int32), out=lists[begins[0] : end])
    return lists.reshape(tiles.rows, tiles.keys)


def _narrow(listed: tuple[Int32, Int32], tiles: Runs, width: int) -> Int32:
    """The lists alone, ``width`` apart, and so much after them that the last one can be as long as any."""
    lists = np.zeros(tiles.rows * width + tiles.keys - width, dtype=np.int32)
    indptr, columns = listed
    row = np.repeat(np.arange(tiles.rows), np.diff(indptr))
    lists[row * width + np.arange(len(columns)) - indptr[row]] = columns
    return lists


def _as_shape(lists: Tensor, tiles: Runs, width: int) -> Tensor:
    """The view (B, H, row blocks, key blocks) of lists that lie ``width`` apart."""
    _, h, rows = tiles.shape
    return lists.as_strided((*tiles.shape, tiles.keys), (h * rows * width, rows * width, width, 1))


def _tiles_listed(block_mask: BlockMask, side: str) -> Runs:
    """The blocks of one list of a block mask, as Runs of shape (B, H, row blocks) over key blocks."""
    b, h, rows, columns = _four_axes(block_mask.kv_indices)
    numbers, indices = getattr(block_mask, f"{side}_num_blocks"), getattr(block_mask, f"{side}_indices")
    shape = (b, h, rows)
    if numbers is None:
        return runs_from_counts(shape, columns, np.zeros(b * h * rows, int), np.zeros(0, int), np.zeros(0, int))
    numbers, indices = read_array(numbers, f"{side}_num_blocks"), read_array(indices, f"{side}_indices")
    if not numbers.dtype.kind == indices.dtype.kind == "i":
        raise ArgumentError(
            f"{side}_num_blocks holds {numbers.dtype}, {side}_indices {indices.dtype}", where=WHERE, fix="give integers"
        )
    if numbers.shape != shape or indices.shape != (*shape, columns):
        raise ArgumentError(
            f"{side}_num_blocks has shape {numbers.shape}, {side}_indices {indices.shape}",
            where=WHERE,
            fix=f"with these kv_indices give {shape} and {(*shape, columns)}",
        )
    listed = np.arange(columns) < numbers.reshape(-1, 1)
    row, place = np.nonzero(listed)
    column = indices.reshape(b * h * rows, columns)[row, place]
    if len(column) and not 0 <= column.min() <= column.max() < columns:
        raise ArgumentError(
            f"{side}_indices names a block outside of 0 to {columns - 1}", where=WHERE, fix="check the block mask"
        )
    return runs_from_pieces(shape, columns, row, column, column + 1)


def _four_axes(indices: Tensor) -> tuple[int, int, int, int]:
    if indices.dim() != 4:
        raise ArgumentError(
            f"kv_indices has shape {tuple(indices.shape)}",
            where=WHERE,
            fix="give a BlockMask of (B, H, row blocks, key blocks)",
        )
    b, h, rows, columns = indices.shape
    return b, h, rows, columns


def _runs_of_full(block_mask: BlockMask, full: Runs) -> Runs:
    """Every pair of the full blocks."""
    (q, k), (rows, keys) = block_mask.seq_lengths, block_mask.BLOCK_SIZE
    b, h, tile_rows = full.shape
    tile_row = np.arange(b * h)[:, None] * tile_rows + np.arange(q) // rows
    by_row = full.take(tile_row.reshape(-1), (b, h, q))
    counts, starts, stops = by_row.counts, by_row.starts * keys, np.minimum(by_row.stops * keys, k)
    return runs_from_counts(by_row.shape, k, counts, starts, stops)


def _runs_of_partial(block_mask: BlockMask, partial: Runs) -> Runs:
    """The pairs of the partial blocks for which the mask_mod is true."""
    (q, k), (rows, keys) = block_mask.seq_lengths, block_mask.BLOCK_SIZE
    b, h, tile_rows = partial.shape
    indptr, column = tile_lists(partial)
    item, row = np.divmod(np.repeat(np.arange(partial.rows), np.diff(indptr)), max(tile_rows, 1))
    at_once = max(PAIRS_AT_ONCE // (rows * keys), 1)
    pieces = [np.zeros((3, 0), dtype=np.int64)]
    for at in range(0, len(column), at_once):
        some = slice(at, at + at_once)
        pairs = _pairs(block_mask, *np.divmod(item[some], h), row[some], column[some])
        counts, starts, stops = runs_of_rows(pairs)
        line = np.repeat(
            (item[some, None] * q + row[some, None] * rows + np.arange(rows)).reshape(-1), counts.reshape(-1)
        )
        first = np.repeat(column[some].astype(np.int64) * keys, counts.sum(axis=1))
        pieces.append(np.stack([line, first + starts, first + stops]))
    return runs_from_pieces((b, h, q), k, *np.concatenate(pieces, axis=1))


def _pairs(block_mask: BlockMask, b: IntArray, h: IntArray, row: IntArray, column: IntArray) -> BoolArray:
    """What the mask_mod says of some blocks, bool (blocks, rows, keys), False outside of the lengths."""
    import torch
    from torch.nn.attention.flex_attention import create_mask

    (q, k), (rows, keys) = block_mask.seq_lengths, block_mask.BLOCK_SIZE
    device = block_mask.kv_num_blocks.device
    of_b, of_h, first_q, first_k = (tensor_from_array(one, device) for one in (b, h, row * rows, column * keys))

    def mask_mod(block: Tensor, _: Tensor, i: Tensor, j: Tensor) -> Tensor:
        # Tables of the mask_mod are as long as the sequence, and the last block may hang over it.
        query, key = torch.clamp(first_q[block] + i, max=q - 1), torch.clamp(first_k[block] + j, max=k - 1)
        return block_mask.mask_mod(of_b[block], of_h[block], query, key)

    try:
        pairs = create_mask(mask_mod, len(b), 1, rows, keys, device)[:, 0]
    except Exception as error:
        raise ArgumentError(
            f"its mask_mod raises {type(error).__name__}: {error}",
            where=WHERE,
            fix="lift the whole BlockMask, unsliced",
        ) from error
    inside_q, inside_k = row[:, None] * rows + np.arange(rows) < q, column[:, None] * keys + np.arange(keys) < k
    return read_array(pairs, "mask_mod").astype(bool) & inside_q[:, :, None] & inside_k[:, None, :]
