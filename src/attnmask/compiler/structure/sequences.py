"""Sets in which queries and keys fall into sequences that see only themselves, all through one window.

It is what flash-attention's varlen kernels, xformers' block diagonals and the lengths of cuDNN and TransformerEngine
can say. Parameters are read off the runs, and the set they mean is compared with the runs, so that the answer may be
"none" but is never wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from attnmask.compiler.algebra import unite
from attnmask.compiler.difference import diff_from_runs
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs, runs_from_counts
from attnmask.compiler.structure.remembered import remembered
from attnmask.conventions import Align, BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.tables.lookup_tables import ragged_indices

Window = tuple[int | None, int | None]


@dataclass(frozen=True)
class Sequences:
    """Sequences one after the other, and what a query sees of its own.

    Attributes:
        queries, keys: int64, the tokens that are in a sequence, ascending: indices among B * Q queries, B * K keys.
        query_bounds, key_bounds: int64 (N + 1,), where each sequence begins among those tokens and the last one ends.
        window: (left, right) as in ``window(left, right)``, None for no bound.
        align: whether the first or the last query and key of a sequence stand together.
    """

    queries: IntArray
    keys: IntArray
    query_bounds: IntArray
    key_bounds: IntArray
    window: Window
    align: Align

    def runs(self, shape: tuple[int, int, int]) -> Runs:
        """The set, for (B, Q, K)."""
        b, q, k = shape
        first, last = _keys_seen(*self.rows(), self.window)
        row = np.flatnonzero(last > first)
        starts, stops = first[row], last[row]
        begin, end = _pieces_from_tokens(self.keys)
        first, last = np.searchsorted(end, starts, side="right"), np.searchsorted(begin, stops, side="left")
        piece = ragged_indices(first, last - first)
        run = np.repeat(np.arange(len(row)), last - first)
        starts, stops = np.maximum(starts[run], begin[piece]), np.minimum(stops[run], end[piece])
        before = self.queries[row[run]] // max(q, 1) * k
        counts = np.zeros(b * q, dtype=np.int64)
        counts[self.queries[row]] = last - first
        return runs_from_counts((b, 1, q), k, counts, self.keys[starts] - before, self.keys[stops - 1] + 1 - before)

    def rows(self) -> tuple[IntArray, IntArray, IntArray]:
        """Per query token: its position in its sequence, and where the keys of the sequence begin and end."""
        lengths, key_lengths = np.diff(self.query_bounds), np.diff(self.key_bounds)
        sequence = np.repeat(np.arange(len(lengths)), lengths)
        position = np.arange(len(sequence)) - self.query_bounds[sequence]
        if self.align is Align.END:
            position = position + (key_lengths - lengths)[sequence]
        return position, self.key_bounds[sequence], self.key_bounds[sequence + 1]


def checked_runs(sequences: Sequences, shape: tuple[int, int, int], where: str) -> Runs:
    """The set of somebody else's sequences, for (B, Q, K)."""
    _, q, k = shape
    _, begin, end = sequences.rows()
    some = end > begin
    item, begin, end = sequences.queries[some] // max(q, 1), begin[some], end[some]
    if ((sequences.keys[begin] // max(k, 1) != item) | (sequences.keys[end - 1] // max(k, 1) != item)).any():
        raise ArgumentError(
            "a sequence lies in two items", where=where, fix="give the lengths and the batch= of the padded tensors"
        )
    return sequences.runs(shape)


@remembered
def packed_sequences(runs: Runs, align: Align) -> Sequences | None:
    """The sequences of a set without the queries that see nothing and the keys that nothing sees; None if it has none.

    As few as there can be: items as they are, and only if no window fits them all, cut wherever no query sees across.
    """
    found = (_with_window(*guess) for guess in _packed_guesses(runs, align))
    return next((sequences for sequences, fits in found if fits), None)


@remembered
def unbroken_sequences(runs: Runs, align: Align) -> Sequences | None:
    """Sequences of all queries and all keys, also those that nothing sees; None if the set has none."""
    b, h, q = runs.shape
    if h > 1 or len(runs.starts) != runs.rows or not runs.one_per_row:
        return None
    before = runs.item_of_run * runs.keys
    for guess, *_ in _packed_guesses(runs, align):
        # Keys that nothing sees stand at the far end from where a sequence is lined up.
        begins, ends = guess.keys[guess.key_bounds[:-1]], guess.keys[guess.key_bounds[1:] - 1] + 1
        key_bounds = np.append(0, ends) if align is Align.END else np.append(begins, b * runs.keys)
        in_item = key_bounds[:-1] // runs.keys == guess.query_bounds[:-1] // q
        between_items = np.isin(np.arange(b + 1) * runs.keys, key_bounds)
        if not (between_items.all() and in_item.all()):
            continue
        tokens = np.arange(b * q), np.arange(b * runs.keys)
        whole = Sequences(*tokens, guess.query_bounds, key_bounds, (None, None), align)
        found, fits = _with_window(whole, runs.starts + before, runs.stops + before)
        if fits:
            return found
    return None


def first_tokens(
    query_lengths: IntArray, key_lengths: IntArray, axes: tuple[int, int], window: Window, align: Align
) -> Sequences:
    """One sequence for each item, of its first queries and keys; the axes are Q and K."""
    b = len(query_lengths)
    queries, keys = (
        ragged_indices(np.arange(b) * axis, own) for axis, own in zip(axes, (query_lengths, key_lengths), strict=True)
    )
    query_bounds, key_bounds = (np.append(0, np.cumsum(own)) for own in (query_lengths, key_lengths))
    return Sequences(queries, keys, query_bounds, key_bounds, window, align)


@remembered
def padded_sequences(runs: Runs, align: Align) -> Sequences | None:
    """One sequence for each item, its first queries and first keys; None if the set is none of this kind."""
    b, h, q = runs.shape
    if h > 1 or not runs.one_per_row:
        return None
    item, row = np.divmod(runs.row_of_run, max(q, 1))
    lengths = np.zeros((2, b), dtype=np.int64)
    np.maximum.at(lengths[0], item, row + 1)
    np.maximum.at(lengths[1], item, runs.stops)
    whole = first_tokens(lengths[0], lengths[1], (q, runs.keys), (None, None), align)
    before = np.repeat(whole.key_bounds[:-1], lengths[0])
    starts, stops = (bound[whole.queries] + before for bound in runs.single())
    guess, fits = _with_window(whole, starts, stops)
    return guess if fits else None


def reasons_against_packing(plan: Plan, align: Align) -> list[str]:
    """Every reason why a plan has no packed sequences."""
    reasons = [f"it differs between its {plan.H} heads"] if plan.H > 1 else []
    between = _hole(plan.runs)
    if between is not None:
        reasons.append(
            f"(b, h, q, k) = {between} does not attend, though its row sees keys on both sides of it and another row "
            "sees that key: a query sees one stretch of its sequence"
        )
    elif plan.H == 1 and packed_sequences(plan.runs, align) is None:
        *_, last = _packed_guesses(plan.runs, align)
        guess, _ = _with_window(*last)
        difference = diff_from_runs(plan.runs, guess.runs((plan.B, plan.Q, plan.K)))
        pair = difference.first_left or difference.first_right
        reasons.append(
            f"one window (left, right) for all sequences does not give it: with {guess.window}, None for no bound, "
            f"(b, h, q, k) = {pair} would {'not ' if difference.first_left else ''}attend; queries of padding count "
            "too, unless padding(..., of='both') masks them out"
        )
    return reasons


def _packed_guesses(runs: Runs, align: Align) -> Iterator[tuple[Sequences, IntArray, IntArray]]:
    """Sequences that could be, without a window, and the first and last key token plus one of each query token."""
    rows = _without_unseen(runs)
    if runs.shape[1] > 1 or rows is None:
        return
    queries, keys, starts, stops = rows
    item_of_query, item_of_key = queries // max(runs.shape[2], 1), keys // max(runs.keys, 1)
    highest = np.maximum.accumulate(stops)
    lowest = np.minimum.accumulate(starts[::-1])[::-1]
    items = np.flatnonzero(np.diff(item_of_query, prepend=-1))
    blocks = np.flatnonzero(np.append(np.full(min(len(queries), 1), True), lowest[1:] >= highest[:-1]))
    for begins, key_begins in ((items, np.searchsorted(item_of_key, item_of_query[items])), (blocks, lowest[blocks])):
        bounds = np.append(begins, len(queries)), np.append(key_begins, len(keys))
        yield Sequences(queries, keys, *bounds, (None, None), align), starts, stops


def keys_seen(runs: Runs) -> BoolArray:
    """The keys that some query of an item sees, bool (B, K)."""
    return runs.keys_seen


def union_of_items(runs: Runs) -> Runs:
    """What attends in some item, as Runs of one item."""
    b, h, q = runs.shape
    if b == 1:
        return runs
    union = unite([runs.take(rows, (1, h, q)) for rows in np.arange(runs.rows).reshape(b, -1)])
    # Of the same class, which may be one that is not written out pair by pair.
    return replace(runs, shape=union.shape, indptr=union.indptr, starts=union.starts, stops=union.stops)


def _hole(runs: Runs) -> tuple[int, int, int, int] | None:
    """The first (b, h, q, k) that does not attend though its row sees keys on both sides, and others see that key."""
    edges = _seen_before(runs)
    first, second = np.flatnonzero(_same_row(runs)), np.flatnonzero(_same_row(runs)) + 1
    item = runs.item_of_run * runs.keys
    begin, end = item[first] + runs.stops[first], item[second] + runs.starts[second]
    found = np.flatnonzero(edges[end] > edges[begin])
    if not len(found):
        return None
    at = found[0]
    b, h, q = np.unravel_index(runs.row_of_run[first[at]], runs.shape)
    key = np.searchsorted(edges, edges[begin[at]], side="right") - 1
    return int(b), int(h), int(q), int(key - item[first[at]])


def _seen_before(runs: Runs) -> IntArray:
    """How many of the B * K keys before each one are seen by some query, int64 (B * K + 1,)."""
    return np.append(0, np.cumsum(runs.keys_seen))


def _without_unseen(runs: Runs) -> tuple[IntArray, IntArray, IntArray, IntArray] | None:
    """Queries that see something, keys that are seen, and per query its first and last key plus one among these.

    None if some query then sees more than one run.
    """
    before = _seen_before(runs)
    item = runs.item_of_run * runs.keys
    starts, stops = before[item + runs.starts], before[item + runs.stops]
    same = _same_row(runs)
    if (starts[1:] != stops[:-1])[same].any():
        return None
    first, last = np.append(True, ~same), np.append(~same, True)
    some = slice(0, len(starts))
    return runs.row_of_run[first[some]], np.flatnonzero(np.diff(before)), starts[first[some]], stops[last[some]]


def _same_row(runs: Runs) -> BoolArray:
    """Whether each run but the first is in the row of the one before."""
    return np.diff(runs.row_of_run) == 0


def _with_window(sequences: Sequences, starts: IntArray, stops: IntArray) -> tuple[Sequences, bool]:
    """The sequences with the only window that they could have, and whether each query then sees its own keys alone.

    Args:
        sequences: without a window. starts, stops: the first and last key token plus one of each query token.
    """
    position, begin, end = sequences.rows()
    some = stops > starts
    left, right = position + begin - starts, stops - 1 - begin - position
    seen_left, seen_right = _first(left[some & (starts > begin)]), _first(right[some & (stops < end)])
    # Where no row sees the end of a side, one that sees nothing may still lie beyond it.
    if seen_left is None and (~some & (position >= end - begin)).any():
        seen_left = int(left[some].max(initial=0))
    if seen_right is None and (~some & (position < 0)).any():
        seen_right = int(right[some].max(initial=0))
    # The last key ends a row that stands there, whatever its right side is: what decodes with a window is causal.
    if seen_left is not None and seen_right is None and (position == end - begin - 1).all():
        seen_right = 0
    first, last = _keys_seen(position, begin, end, (seen_left, seen_right))
    fits = ((last > first) == some).all() and (first == starts)[some].all() and (last == stops)[some].all()
    return replace(sequences, window=(seen_left, seen_right)), bool(fits)


def _keys_seen(position: IntArray, begin: IntArray, end: IntArray, window: Window) -> tuple[IntArray, IntArray]:
    """The first key token of each query token and its last plus one, which is no more where it sees none."""
    left, right = window
    starts = begin if left is None else np.maximum(begin, begin + position - left)
    stops = end if right is None else np.minimum(end, begin + position + right + 1)
    return starts, stops


def _first(values: IntArray) -> int | None:
    return max(int(values[0]), 0) if len(values) else None


def _pieces_from_tokens(tokens: IntArray) -> tuple[IntArray, IntArray]:
    """Where each stretch of consecutive tokens begins and ends."""
    cuts = np.flatnonzero(np.diff(tokens) != 1) + 1
    ends = np.append(cuts, len(tokens)) if len(tokens) else cuts
    return np.append(0, cuts)[: len(ends)], ends
