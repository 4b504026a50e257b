"""Key runs of queries that attend to the keys of their own id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.conventions import IntArray
from attnmask.mask.expression import Bounds, KeyRange
from attnmask.mask.tables.id_stretches import Stretches
from attnmask.mask.tables.run_table import RunTable, range_over_items


@dataclass(frozen=True)
class EqualIds:
    """Queries and keys by their ids; a negative id sees nothing.

    Attributes:
        queries: the ids of queries.
        table: a row for each id of each item, of its stretches of keys.
        row: int64 (items, stretches), the row of the table that each stretch of queries sees, -1 for none.
        come_back: whether an id has several stretches of keys, so that a query may have as many runs.
    """

    queries: Stretches
    table: RunTable
    row: IntArray
    come_back: bool

    def bounds(self, first: int, count: int, within: KeyRange) -> Bounds:
        """The runs of some queries, counted among the ids, in a range of keys."""
        if not self.come_back:
            of_stretch = (np.append(bound, 0)[self.row] for bound in (self.table.starts, self.table.stops))
            starts, stops = (self.queries.spread(bound, first, count, outside=0)[:, None] for bound in of_stretch)
            return Bounds(starts.shape, starts, stops)
        row = self.queries.spread(self.row, first, count, outside=-1)[:, None]
        low, high = (np.broadcast_to(bound, row.shape) for bound in range_over_items(within, len(row), 1))
        counts, starts, stops = self.table.within(row, low, high)
        return Bounds(row.shape, starts, stops, counts)


def equal_ids(queries: Stretches, keys: Stretches) -> EqualIds:
    """Look up which keys the queries see."""
    item, column = np.nonzero((keys.ids.values >= 0) & (keys.ends.values > keys.begins))
    ids = keys.ids.values[item, column]
    order = np.lexsort((column, ids, item))
    item, column, ids = item[order], column[order], ids[order]
    head = np.append(True, (np.diff(item) != 0) | (np.diff(ids) != 0))[: len(ids)]
    begins, ends = keys.begins[item, column], keys.ends.values[item, column]
    table = RunTable(np.cumsum(head) - 1, begins, ends, int(ends.max(initial=0)))
    of_item = item[head] if keys.items > 1 else None
    return EqualIds(queries, table, _rows(queries, of_item, ids[head], keys.items), not head.all())


def _rows(queries: Stretches, item: IntArray | None, ids: IntArray, items: int) -> IntArray:
    """The row of the table of each stretch of queries; the table has these items, or one for all, and these ids."""
    items = max(items, queries.items)
    asked = np.broadcast_to(queries.ids.values, (items, queries.ids.values.shape[1]))
    names = np.unique(ids)
    if not len(names):
        return np.full(asked.shape, -1)
    name = np.minimum(np.searchsorted(names, asked), len(names) - 1)
    known = np.searchsorted(names, ids)
    wanted = name
    if item is not None:
        known, wanted = known + item * len(names), name + np.arange(items)[:, None] * len(names)
    row = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where((known[row] == wanted) & (names[name] == asked), row, -1)
