"""Key runs of queries that see the keys of their own id."""

from __future__ import annotations

import numpy as np

from attnmask.conventions import IntArray
from attnmask.mask.expr import Bounds, KeyRange
from attnmask.mask.run_table import RunTable, range_of
from attnmask.mask.stretches import Stretches


def bounds_of_equal_ids(queries: Stretches, keys: Stretches, first: int, count: int, within: KeyRange) -> Bounds:
    """The runs of keys whose id is that of the query.

    Args:
        queries, keys: their ids; a query with a negative id sees nothing.
        first, count: the queries asked about, as positions among ``queries``.
        within: keys that matter.
    """
    table, heads = _table_of_ids(keys)
    items = max(queries.items, keys.items)
    row = _rows_of_ids(queries, keys, heads, items)
    if len(heads[0]) == len(table.rows):
        bounds = (np.append(bound, 0)[row] for bound in (table.starts, table.stops))
        starts, stops = (queries.spread(bound, first, count, outside=0)[:, None] for bound in bounds)
        return Bounds(starts.shape, starts, stops)
    row = queries.spread(row, first, count, outside=-1)[:, None]
    low, high = (np.broadcast_to(bound, row.shape) for bound in range_of(within, items, 1))
    counts, starts, stops = table.within(row, low, high)
    return Bounds(row.shape, starts, stops, counts)


def ids_come_back(keys: Stretches) -> bool:
    """Whether an id has several stretches in an item, so that a query may have as many runs."""
    table, heads = _table_of_ids(keys)
    return len(heads[0]) < len(table.rows)


def _table_of_ids(keys: Stretches) -> tuple[RunTable, tuple[IntArray, IntArray]]:
    """A row for each id of each item: its stretches of keys; and the item and id of each row."""
    item, column = np.nonzero((keys.ids.values >= 0) & (keys.ends.values > keys.begins))
    ids = keys.ids.values[item, column]
    order = np.lexsort((column, ids, item))
    item, column, ids = item[order], column[order], ids[order]
    head = np.append(True, (np.diff(item) != 0) | (np.diff(ids) != 0))[: len(ids)]
    bounds = keys.begins[item, column], keys.ends.values[item, column]
    return RunTable(np.cumsum(head) - 1, *bounds, int(bounds[1].max(initial=0))), (item[head], ids[head])


def _rows_of_ids(queries: Stretches, keys: Stretches, heads: tuple[IntArray, IntArray], items: int) -> IntArray:
    """The row of the table that each stretch of queries sees, -1 for none, (items, stretches)."""
    asked = np.broadcast_to(queries.ids.values, (items, queries.ids.values.shape[1]))
    names = np.unique(heads[1])
    if not len(names):
        return np.full(asked.shape, -1)
    name = np.minimum(np.searchsorted(names, asked), len(names) - 1)
    of_item = np.arange(items)[:, None] * (keys.items > 1) * len(names)
    codes = heads[0] * len(names) + np.searchsorted(names, heads[1])
    row = np.minimum(np.searchsorted(codes, of_item + name), len(codes) - 1)
    return np.where((codes[row] == of_item + name) & (names[name] == asked), row, -1)
