"""From a set to the shortest expression that can be proved to be the same set.

Guesses are read off the outline of the set, the only parameters that each form could have; each guess is compiled and
compared. So a set may stay without a name, but never gets a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np

from attnmask.compiler.algebra import complement
from attnmask.compiler.runs import Runs
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.compiler.structure.layouts import layout_guesses, tree_guesses
from attnmask.compiler.structure.outline import Outline
from attnmask.compiler.structure.sample import sample_from_outline
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.atoms import (
    block_causal,
    causal,
    chunked,
    cross_documents,
    dilated,
    documents,
    empty,
    full,
    global_tokens,
    padding,
    per_head,
    prefix,
    sinks,
    spans,
    window,
)
from attnmask.mask.domain import Domain
from attnmask.mask.expression import Mask
from attnmask.mask.tables.lookup_tables import ragged_indices

# Guesses at larger sets would take seconds each, and gigabytes.
MOST_RUNS, MOST_KEYS = 2**23, 2**24
# A set whose complement has a short form has few runs a row, or is small.
FEW_RUNS, SMALL = 3, 2**18
ROWS_ASKED = 4096

Guess = Callable[[Outline], Iterator[Mask]]


def mask_from_runs(runs: Runs, offset: int) -> Mask | None:
    """The shortest expression that is this set for queries at row + offset; None if none is found.

    Args:
        runs: the set, B and H of 1 where it does not depend on them. offset: position of query row 0.
    """
    if len(runs.starts) > MOST_RUNS or runs.shape[0] * runs.keys > MOST_KEYS:
        return None
    if runs.shape[1] > 1:
        return _mask_per_head(runs, offset)
    outline = Outline(runs, offset)
    sample = sample_from_outline(outline)
    likely = (mask for mask in chain(_guesses(outline), layout_guesses(outline)) if not sample.refutes(mask))
    # A pair of a deep tree takes as many steps as the tree has levels.
    return next((mask for mask in chain(likely, tree_guesses(outline)) if is_set(mask, outline)), None)


def is_set(mask: Mask, outline: Outline) -> bool:
    b, _, q = outline.runs.shape
    domain = Domain(b, 1, q, outline.runs.keys, outline.offset)
    try:
        return runs_from_mask(mask, domain).collapsed() == outline.runs.collapsed()
    except ArgumentError:  # it has more runs than any set may have
        return False


def _mask_per_head(runs: Runs, offset: int) -> Mask | None:
    b, h, q = runs.shape
    rows = np.arange(runs.rows).reshape(runs.shape)
    heads = [runs.take(rows[:, head].reshape(-1), (b, 1, q)).collapsed() for head in range(h)]
    masks = [mask_from_runs(one, offset) for one in heads]
    found = [mask for mask in masks if mask is not None]
    return per_head(found) if len(found) == h else None


def _guesses(outline: Outline) -> Iterator[Mask]:
    """From the shortest expression up."""
    if outline.runs.pairs in (0, outline.runs.rows * outline.runs.keys):
        yield full() if outline.runs.pairs else empty()
        yield full()
        return
    kinds, tokens, texts = (list(guesses(outline)) for guesses in (_kinds, _paddings, _documents))
    yield from [*kinds, *tokens, *texts]
    if len(outline.runs.starts) <= SMALL or outline.runs.counts.max() <= FEW_RUNS:
        yield from (~mask for mask in _kinds(_complement(outline)))
    shifted = list(_shifted_windows(outline))
    yield from shifted
    kinds += shifted
    yield from (kind & token for kind in kinds for token in tokens)
    yield from (kind & text for text in texts for kind in kinds)
    yield from (kind & text & token for text in texts for kind in kinds for token in tokens)


def _complement(outline: Outline) -> Outline:
    return Outline(complement(outline.runs), outline.offset)


def _kinds(outline: Outline) -> Iterator[Mask]:
    """Forms that know no lengths of a batch's items, but for prefixes and spans."""
    if not outline.some.any():
        return
    for guesses in (band_guesses, _chunks, _prefixes, _spans, _sinks, _dilated, _global_tokens):
        yield from guesses(outline)


def band_guesses(outline: Outline) -> Iterator[Mask]:
    """Causal and windows, of a set that is not empty."""
    left, right = outline.reach
    yield causal() if right == 0 else causal().shift(right)
    for sides in ((left, None), (None, right), (left, right)):
        if min(side or 0 for side in sides) >= 0:
            yield window(*sides)


def _shifted_windows(outline: Outline) -> Iterator[Mask]:
    """Windows that lie before the query, or after it."""
    left, right = outline.reach
    if left + right >= 0 and right < 0:
        yield window(left + right, 0).shift(right)
    elif left + right >= 0 and left < 0:
        yield window(0, left + right).shift(-left)


def _chunks(outline: Outline) -> Iterator[Mask]:
    for size in chunk_size_guesses(outline.runs):
        yield chunked(size)
        yield causal() & chunked(size)
        back = (outline.position // size - outline.first // size)[outline.some]
        if back.max() >= 0:
            yield block_causal(size, left=int(back.max()))
    yield block_causal(int(outline.stop[outline.some].min()))


def chunk_size_guesses(runs: Runs) -> list[int]:
    """Sizes of which all chunks begin, or begin and end, at a multiple."""
    begins, ends = runs.starts[runs.starts > 0], runs.stops[runs.stops < runs.keys]
    if not len(begins):
        return []
    size = int(np.gcd.reduce(begins))
    return sorted({size, int(np.gcd.reduce(ends, initial=size))}, reverse=True)


def _prefixes(outline: Outline) -> Iterator[Mask]:
    lengths = outline.stop[:, 0]
    if (lengths > 1).any():
        yield causal() | prefix(lengths)
        if (left := _left_of_last_runs(outline)) is not None:
            yield window(left, 0) | prefix(lengths)


def _left_of_last_runs(outline: Outline) -> int | None:
    """How far the last of several runs of a row reaches back."""
    several = (outline.runs.counts > 1).reshape(outline.some.shape)
    return max(int((outline.position - outline.last_run)[several].max()), 0) if several.any() else None


def _spans(outline: Outline) -> Iterator[Mask]:
    """Rows of one span end together, and all but the last of them see ahead."""
    ahead = outline.stop > outline.position + 1
    inside = ahead | (np.pad(ahead, ((0, 0), (1, 0)))[:, :-1] & (outline.stop == outline.position + 1))
    if not ahead.any() or outline.offset or outline.runs.shape[2] != outline.runs.keys:
        return
    begins = inside & (np.diff(np.where(inside, outline.stop, 0), axis=1, prepend=0) != 0)
    images = spans(np.where(inside, np.cumsum(begins, axis=1) - 1, -1))
    yield causal() | images
    text = outline.some & ~inside
    if text.any():
        back = int((outline.position - outline.first)[text].max())
        yield window(back, 0) | images
        yield window(back, None) & (causal() | images)


def _sinks(outline: Outline) -> Iterator[Mask]:
    left = _left_of_last_runs(outline)
    several = (outline.runs.counts > 1).reshape(outline.some.shape)
    if left is not None and not outline.first[several].any():
        begin = outline.runs.indptr[:-1].reshape(several.shape)[several]
        yield causal() & (window(left, 0) | sinks(int(outline.runs.stops[begin].max())))


def _dilated(outline: Outline) -> Iterator[Mask]:
    """Single keys, all as far apart: of anything else the guess could have far more runs than the set."""
    runs = outline.runs
    if (runs.stops[:ROWS_ASKED] - runs.starts[:ROWS_ASKED] != 1).any() or (runs.stops - runs.starts != 1).any():
        return
    gaps = np.diff(runs.starts)[np.diff(runs.row_of_run) == 0]
    if not len(gaps) or (gaps != gaps[0]).any():
        return
    every = dilated(int(gaps[0]))
    from_first, to_last = outline.first < gaps[0], outline.stop + gaps[0] > runs.keys
    left, right = outline.reach
    if (from_first & to_last)[outline.some].all():
        yield every
    if from_first[outline.some].all() and right == 0:
        yield causal() & every
    if min(left, right) >= 0:
        yield every & window(left, right)


def _global_tokens(outline: Outline) -> Iterator[Mask]:
    """Tokens whose rows see all that any row sees; of a padded batch, those of the longest item."""
    seen = outline.key_seen
    item = int(seen.sum(axis=1).argmax())
    own = np.flatnonzero(seen[item])
    one_run = (outline.runs.counts == 1).reshape(outline.some.shape)[item]
    sees_all = one_run & (outline.first[item] == own[0]) & (outline.stop[item] == own[-1] + 1)
    others, tokens = np.flatnonzero(outline.some[item] & ~sees_all), outline.position[sees_all]
    if len(others) and len(tokens) and tokens[0] >= 0:
        asked = others[:: len(others) // ROWS_ASKED + 1]
        back, ahead = _own_run(outline, asked + item * outline.runs.shape[2])
        yield global_tokens(tokens) | window(int(np.median(back)), int(np.median(ahead)))


def _own_run(outline: Outline, rows: IntArray) -> tuple[IntArray, IntArray]:
    """How far the run that holds a row's own position reaches back and ahead, for the rows that have one."""
    runs = outline.runs
    wanted = np.zeros(runs.rows, dtype=bool)
    wanted[rows] = True
    own = np.flatnonzero(wanted[runs.row_of_run])
    position, starts, stops = outline.position[runs.row_of_run[own] % runs.shape[2]], runs.starts[own], runs.stops[own]
    holds = (starts <= position) & (position < stops)
    if not holds.any():
        return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    return (position - starts)[holds], (stops - 1 - position)[holds]


def _paddings(outline: Outline) -> Iterator[Mask]:
    of_keys, of_queries = (list(_paddings_of(*of)) for of in ((outline.key_seen, "keys"), (outline.some, "queries")))
    yield from of_keys
    if outline.runs.shape[2] == outline.runs.keys:
        yield from _paddings_of(outline.key_seen, "both")
    yield from of_queries
    yield from (queries & keys for queries in of_queries for keys in of_keys)


def _paddings_of(seen: BoolArray, of: str) -> Iterator[Mask]:
    """The lengths of items whose tokens are all at one end; else which positions are tokens."""
    lengths = seen.sum(axis=1)
    index = np.arange(seen.shape[1], dtype=np.int64)
    if seen.all():
        return
    if (seen == (index < lengths[:, None])).all():
        yield padding(lengths=lengths, of=of)
    elif (seen == (index >= seen.shape[1] - lengths[:, None])).all():
        yield padding(lengths=lengths, side="left", of=of)
    else:
        yield padding(attention_mask=seen, of=of)


def _documents(outline: Outline) -> Iterator[Mask]:
    ids = document_guess(outline)
    if ids is not None and ids.max() > 0:
        yield documents(ids=ids)
    yield from _cross_documents(outline.runs)


def _cross_documents(runs: Runs) -> Iterator[Mask]:
    """Neighbouring rows that see the same keys are a document, and each sees keys behind those of the one before."""
    if not is_block_diagonal(runs) or not len(runs.starts):
        return
    b, _, q = runs.shape
    starts, stops = (bound.reshape(b, q) for bound in runs.single())
    begins = (stops > 0) & (np.diff(stops, axis=1, prepend=0) != 0)
    queries = np.where(stops > 0, np.cumsum(begins, axis=1) - 1, -1)
    keys = np.full((b, runs.keys), -1)
    for item in range(b):
        own = begins[item]
        keys[item, ragged_indices(starts[item, own], (stops - starts)[item, own])] = np.repeat(
            queries[item, own], (stops - starts)[item, own]
        )
    if queries.max() > 0:
        yield cross_documents(query_ids=queries, key_ids=keys)


def is_block_diagonal(runs: Runs) -> bool:
    """Whether queries fall into groups of neighbours that see the same stretch of keys, each after the one before."""
    if not runs.one_per_row:
        return False
    after = runs.starts[1:] >= runs.stops[:-1]
    same = (runs.starts[1:] == runs.starts[:-1]) & (runs.stops[1:] == runs.stops[:-1])
    neighbours = same & (np.diff(runs.row_of_run) == 1)
    return bool((after | neighbours | (np.diff(runs.item_of_run) > 0)).all())


def document_guess(outline: Outline) -> IntArray | None:
    """The documents that could be, int64 (B, S): one begins where no row sees across; what sees nothing is in none."""
    b, _, q = outline.runs.shape
    if q != outline.runs.keys or outline.offset or not outline.some.any():
        return None
    member = outline.some | outline.key_seen
    low = np.where(outline.some, np.minimum(outline.first, outline.position), outline.position)
    high = np.where(outline.some, np.maximum(outline.stop - 1, outline.position), outline.position)
    edges = np.zeros((b, q + 1), dtype=np.int64)
    item = np.arange(b)[:, None]
    np.add.at(edges, (item, low + 1), 1)
    np.subtract.at(edges, (item, high + 1), 1)
    borders = np.cumsum(edges, axis=1)[:, :-1] == 0
    ids = np.where(member, np.cumsum(borders & member, axis=1) - 1, -1)
    return ids[:, : np.flatnonzero(member.any(axis=0))[-1] + 1]
