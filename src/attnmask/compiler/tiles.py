"""From Runs to EMPTY, PARTIAL and FULL tiles of any block size, without a look at single pairs or empty tiles.

FlexAttention's BlockMask, the pictures and the schedule of the tiled backend are made from these tiles. The work
grows with rows times runs and with the tiles touched, never with queries times keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attnmask.compiler.algebra import sweep_steps, symmetric_difference
from attnmask.compiler.runs import Int32, Int64, Runs, Shape, runs_from_counts, runs_from_dense, runs_from_single
from attnmask.conventions import IntArray, TileState
from attnmask.mask.tables.lookup_tables import int32_from, ragged_indices

# The work on more would leave the processor's cache.
RUNS_AT_ONCE = 2**17


@dataclass(frozen=True)
class Tiles:
    """The tiles of a plan. Runs of tiles, just as a plan is runs of keys.

    Attributes:
        rows_per_tile, keys_per_tile: the block size; the last tile of an axis may be smaller.
        touched: tiles that hold some pair, as Runs of shape (B, H, tile rows) over tile columns.
        full: tiles that hold every pair.
    """

    rows_per_tile: int
    keys_per_tile: int
    touched: Runs
    full: Runs

    @cached_property
    def partial(self) -> Runs:
        """Tiles that hold some pairs but not all."""
        return symmetric_difference(self.touched, self.full)

    def states(self) -> IntArray:
        """TileState of every tile, int8 (B, H, tile rows, tile columns)."""
        touched, full = self.touched.to_dense(), self.full.to_dense()
        return np.where(full, TileState.FULL, np.where(touched, TileState.PARTIAL, TileState.EMPTY)).astype(np.int8)


def tile_lists(tiles: Runs) -> tuple[Int32, Int32]:
    """Runs of tiles as compressed rows of tile columns: indptr int32 (rows + 1,), columns int32."""
    lengths = (tiles.stops - tiles.starts).astype(np.int64)
    columns = int32_from(ragged_indices(tiles.starts.astype(np.int64), lengths))
    before = np.append(0, np.cumsum(lengths))
    return int32_from(before[tiles.indptr]), columns


def tiles_from_runs(runs: Runs, rows_per_tile: int, keys_per_tile: int) -> Tiles:
    """Cut the plane into tiles and say which are empty, partial and full.

    Args:
        runs: the set. rows_per_tile, keys_per_tile: block size, 1 or more.

    Returns:
        Tiles; exact, in time and memory O(rows x runs a row).
    """
    joined = _of_joined_rows(runs, rows_per_tile, keys_per_tile)
    if joined:
        return Tiles(rows_per_tile, keys_per_tile, *joined)
    if len(runs.starts) <= RUNS_AT_ONCE:
        return Tiles(rows_per_tile, keys_per_tile, *_touched_and_full(runs, rows_per_tile, keys_per_tile))
    parts = [_touched_and_full(part, rows_per_tile, keys_per_tile) for part in _row_blocks(runs, rows_per_tile)]
    b, h, q = runs.shape
    shape = (b, h, -(-q // rows_per_tile))
    touched, full = (_one_below_another(kind, shape) for kind in zip(*parts, strict=True))
    return Tiles(rows_per_tile, keys_per_tile, touched, full)


def _of_joined_rows(runs: Runs, height: int, width: int) -> tuple[Runs, Runs] | None:
    """Tiles of one run in every row, each of which touches that of the next row in its tile row; None of other sets.

    Such runs cover one stretch of keys together, from the least start to the last stop, and all of them cover the
    keys from the last start to the least stop.
    """
    b, h, q = runs.shape
    if not runs.rows or not runs.one_per_row or len(runs.starts) < runs.rows:
        return None
    first_row = (np.arange(b * h)[:, None] * q + np.arange(0, q, height)).reshape(-1)
    starts, stops = runs.starts, runs.stops
    apart = starts[1:] > stops[:-1]
    apart |= starts[:-1] > stops[1:]
    apart[first_row[1:] - 1] = False
    if apart.any():
        return None
    (least_start, least_stop), (last_start, last_stop) = (
        [extreme.reduceat(bound, first_row) for bound in (starts, stops)] for extreme in (np.minimum, np.maximum)
    )
    shape, columns = (b, h, -(-q // height)), -(-runs.keys // width)
    return (
        _from_columns(shape, columns, least_start // width, -(-last_stop // width)),
        _from_columns(shape, columns, -(-last_start // width), _last_full(least_stop, runs.keys, width)),
    )


def _from_columns(shape: Shape, columns: int, starts: IntArray, stops: IntArray) -> Runs:
    return runs_from_single(shape, columns, starts.reshape(shape), stops.reshape(shape))


def _last_full(stops: Int32, keys: int, width: int) -> IntArray:
    """Tile columns that end before a key; the last one of all may be narrower."""
    return np.where(stops == keys, -(-keys // width), stops // width)


def _row_blocks(runs: Runs, rows_per_tile: int) -> Iterator[Runs]:
    """Some tile rows of one item after the other, each block with a share of the runs."""
    b, h, q = runs.shape
    per_row = max(len(runs.starts) // max(runs.rows, 1), 1)
    step = max(RUNS_AT_ONCE // per_row // rows_per_tile, 1) * rows_per_tile
    for first in (item * q + start for item in range(b * h) for start in range(0, q, step)):
        last = min(first + step, first // q * q + q)
        begin, end = runs.indptr[first], runs.indptr[last]
        shape = (1, 1, last - first)
        yield runs_from_counts(shape, runs.keys, runs.counts[first:last], runs.starts[begin:end], runs.stops[begin:end])


def _one_below_another(parts: Sequence[Runs], shape: tuple[int, int, int]) -> Runs:
    counts, starts, stops = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("counts", "starts", "stops")
    )
    return runs_from_counts(shape, parts[0].keys, counts, starts, stops)


def _touched_and_full(runs: Runs, height: int, width: int) -> tuple[Runs, Runs]:
    columns = -(-runs.keys // width)
    first_touched, last_touched = runs.starts // width, -(-runs.stops // width)
    first_full = -(-runs.starts // width)
    last_full = _last_full(runs.stops, runs.keys, width)
    tile_row, tile_shape, heights = _tile_rows(runs, height)
    covered = _covered if len(runs.starts) < len(heights) * columns else _counted
    touched = covered(tile_row, first_touched, last_touched, tile_shape, columns, np.ones_like(heights))
    full = covered(tile_row, first_full, last_full, tile_shape, columns, heights)
    return touched, full


def _tile_rows(runs: Runs, height: int) -> tuple[Int64, Shape, Int64]:
    """Per run the tile row it is in, the (B, H, tile rows), and the query rows in each tile row."""
    b, h, q = runs.shape
    per_item = -(-q // height)
    heights = np.tile(np.minimum(height, q - height * np.arange(per_item)), b * h)
    borders = np.append(0, np.cumsum(heights))
    tile_row = np.repeat(np.arange(len(heights)), np.diff(runs.indptr[borders]))
    return tile_row, (b, h, per_item), heights


def _covered(tile_row: Int64, starts: IntArray, stops: IntArray, shape: Shape, columns: int, least: Int64) -> Runs:
    """Tile columns that at least ``least`` of the runs of a tile row cover."""
    at, weight = _stretches(tile_row, starts, stops)
    keep = stops[at] > starts[at]
    at, weight = at[keep], weight[keep]
    line = tile_row[at] * (columns + 1)
    edge, step = np.concatenate([line + starts[at], line + stops[at]]), np.concatenate([weight, -weight])
    order = np.argsort(edge, kind="stable")
    edges = edge[order]
    last = np.append(edges[1:] != edges[:-1], True) if len(edges) else np.zeros(0, dtype=bool)
    threshold = least[edges[last] // (columns + 1)] if len(edges) else edges
    covered = sweep_steps(edges, step[order], lambda depth: depth >= threshold)
    row, column = np.divmod(covered, columns + 1)
    counts = np.bincount(row[0::2], minlength=int(np.prod(shape)))
    return runs_from_counts(shape, columns, counts, column[0::2], column[1::2])


def _counted(tile_row: Int64, starts: IntArray, stops: IntArray, shape: Shape, columns: int, least: Int64) -> Runs:
    """The same tile by tile, for sets of more runs than tiles."""
    line = tile_row * (columns + 1)
    some = stops > starts
    begun, ended = (
        np.bincount((line + bound)[some], minlength=len(least) * (columns + 1)) for bound in (starts, stops)
    )
    depth = np.cumsum((begun - ended).reshape(len(least), columns + 1), axis=1)[:, :-1]
    return runs_from_dense((depth >= least[:, None]).reshape(*shape, columns))


def _stretches(tile_row: Int64, starts: IntArray, stops: IntArray) -> tuple[Int64, Int64]:
    """The first of each stretch of consecutive runs that agree, and how many agree: rows of a tile mostly do."""
    fresh = np.ones(len(starts), dtype=bool)
    np.not_equal(starts[1:], starts[:-1], out=fresh[1:])
    fresh[1:] |= stops[1:] != stops[:-1]
    fresh[1:] |= tile_row[1:] != tile_row[:-1]
    at = np.flatnonzero(fresh)
    return at, np.diff(np.append(at, len(starts)))
