"""From an expression and a domain to Runs, by run algebra.

Each atom gives the ranges of keys of its rows; ``&``, ``|``, ``~`` and ``^`` merge sorted ranges. Atoms whose ranges
are many, such as predicates or interleaved documents, are evaluated last, and only where the other terms of an ``&``
leave keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeGuard

import numpy as np

from attnmask.compiler.algebra import complement, intersect, symmetric_difference, unite
from attnmask.compiler.runs import (
    Runs,
    clip_bounds,
    runs_from_bounds,
    runs_from_counts,
    runs_from_singles,
    runs_of_heads,
    runs_of_queries,
)
from attnmask.mask.atoms.layouts.placement import Placed
from attnmask.mask.atoms.values.predicates import Predicate
from attnmask.mask.domain import Domain
from attnmask.mask.expression import (
    And,
    Atom,
    Bounds,
    KeyRange,
    Mask,
    Not,
    Or,
    Shift,
    Xor,
    all_keys,
    atoms_in,
    unknown_mask,
)
from attnmask.mask.heads import PerHead
from attnmask.mask.tables import lookup_tables as tables
from attnmask.mask.tables.lookup_tables import check_row_count, check_run_count, ragged_indices

# What is costly has many runs a row; so many of them stay in the processor's cache, and need little memory.
RUNS_AT_ONCE = 2**19
FIRST_ROWS = 64
ROWS_ASKED = 32


def runs_from_mask(mask: Mask, domain: Domain) -> Runs:
    """The canonical form of a mask on a domain.

    Args:
        mask: an expression. domain: lengths and offset.

    Returns:
        Runs; B or H is 1 where no atom depends on it.

    Raises:
        ArgumentError: there are more query rows, or runs, than any memory should be filled with.
    """
    atoms = atoms_in(mask)
    _check_rows(atoms, domain)
    one_by_one = _is_plain(mask) or not any(atom.costly for atom in atoms)
    if one_by_one or domain.Q <= FIRST_ROWS or any(atom.by_row for atom in atoms):
        return _lower(mask, domain, all_keys(domain))
    return runs_of_queries(list(_row_blocks(mask, domain)))


def _check_rows(atoms: Sequence[Atom], domain: Domain) -> None:
    """Raise where the rows are too many, over the items and heads on which some atom depends."""
    sizes = [atom.sizes() for atom in atoms]
    items, heads = (max(size.get(axis, 1) for size in sizes) for axis in "BH")
    if any(isinstance(atom, Predicate) for atom in atoms):
        items, heads = domain.B, domain.H
    rows = items * heads * max(domain.Q, 1)
    check_row_count(rows, f"too many query rows, B={items}, H={heads}, Q={domain.Q}", "compile")


def _row_blocks(mask: Mask, domain: Domain) -> Iterator[Runs]:
    """Some query rows after the other, as many at once as the rows before let expect few enough runs of."""
    start, rows, count, estimated = 0, FIRST_ROWS, 0, False
    while start < domain.Q:
        part = replace(domain, Q=min(rows, domain.Q - start), offset=domain.offset + start)
        runs = _lower(mask, part, all_keys(part))
        yield runs
        start, count = start + part.Q, count + len(runs.starts)
        check_run_count(count)
        if not estimated and count * domain.Q // start > tables.MOST:
            check_run_count(_estimated_runs(mask, domain) // 2)
            estimated = True
        rows = min(2 * rows, max(RUNS_AT_ONCE * start // max(count, 1), 1))


def _estimated_runs(mask: Mask, domain: Domain) -> int:
    """How many runs some rows, anywhere, let expect of all: to refuse what is far too large before it is computed."""
    rows = np.random.default_rng(0).integers(0, domain.Q, ROWS_ASKED)
    parts = (replace(domain, Q=1, offset=domain.offset + int(row)) for row in rows)
    return sum(len(_lower(mask, part, all_keys(part)).starts) for part in parts) * domain.Q // ROWS_ASKED


def _lower(mask: Mask, domain: Domain, within: KeyRange) -> Runs:
    """Runs that are right within a range of keys; a caller cuts off what lies outside."""
    match mask:
        case And(terms):
            return _intersection(terms, domain, within)
        case Or(terms):
            return unite([_lower(term, domain, within) for term in terms])
        case Xor(left, right):
            return symmetric_difference(_lower(left, domain, within), _lower(right, domain, within))
        case Not(inner):
            return complement(_lower(inner, domain, within))
        case Shift(inner, n):
            return _lower(inner, domain.shifted(n), within)
        case PerHead(masks):
            return runs_of_heads([_lower(one, domain, within) for one in masks])
        case Placed():
            return _placed(mask, domain)
        case Atom():
            return runs_from_bounds(mask.bounds_within(domain, within), domain.Q, domain.K)
        case _:
            raise unknown_mask(mask)


def _intersection(terms: Sequence[Mask], domain: Domain, within: KeyRange) -> Runs:
    """What costs much is computed last, and only where all else leaves keys."""
    costly = [any(atom.costly for atom in atoms_in(term)) for term in terms]
    cheap = [term for term, dear in zip(terms, costly, strict=True) if not dear]
    runs = _intersection_at_once(cheap, domain, within) if cheap else None
    for term, dear in zip(terms, costly, strict=True):
        if dear:
            last = _lower(term, domain, within if runs is None else hull_from_runs(runs))
            runs = last if runs is None else intersect([runs, last])
    assert runs is not None
    return runs


def _intersection_at_once(terms: Sequence[Mask], domain: Domain, within: KeyRange) -> Runs:
    """The atoms of one run a row first, whose bounds need not become Runs each."""
    single: list[Bounds] = []
    parts: list[Runs] = []
    for term in terms:
        bounds = term.bounds_within(domain, within) if _is_plain(term) else None
        if bounds is None:
            parts.append(_lower(term, domain, within))
        elif bounds.counts is None:
            single.append(clip_bounds(bounds, domain.K))
        else:
            parts.append(runs_from_bounds(bounds, domain.Q, domain.K))
    return intersect([*parts, runs_from_singles(single, domain.Q, domain.K)] if single else parts)


def _is_plain(mask: Mask) -> TypeGuard[Atom]:
    return isinstance(mask, Atom) and not isinstance(mask, PerHead | Placed)


def _placed(mask: Placed, domain: Domain) -> Runs:
    """The runs of a mask on lengths of its own, moved along queries and keys."""
    at, first = mask.at.values, domain.offset + domain.shift
    low, high = _rows_asked(mask, first, domain.Q)
    part = replace(mask.inner_domain(domain), Q=high - low, shift=low)
    seen = KeyRange(np.zeros((1, 1, 1), np.int64), np.clip(np.full((1, 1, 1), domain.K) - at.min(), 0, mask.length))
    inner = _lower(mask.mask, part, seen)
    b, h, rows = inner.shape
    row = np.arange(first, first + domain.Q) - at[:, None, None] - low
    line = (np.arange(b)[:, None, None] * h + np.arange(h)[:, None]) * rows + np.clip(row, 0, max(rows - 1, 0))
    inside = np.broadcast_to((row >= 0) & (row < rows), line.shape)
    line = line[inside]
    counts = np.zeros(inside.shape, dtype=np.int64)
    counts[inside] = inner.counts[line]
    which = ragged_indices(inner.indptr[line].astype(np.int64), counts[inside])
    moved = np.repeat(np.broadcast_to(at[:, None, None], counts.shape).reshape(-1), counts.reshape(-1))
    starts, stops = inner.starts[which] + moved, np.minimum(inner.stops[which] + moved, domain.K)
    keep = starts < stops
    kept = np.bincount(np.repeat(np.arange(counts.size), counts.reshape(-1))[keep], minlength=counts.size)
    return runs_from_counts((len(counts), h, domain.Q), domain.K, kept, starts[keep], stops[keep])


def _rows_asked(mask: Placed, first: int, count: int) -> tuple[int, int]:
    """The rows of the mask that stand at one of some positions in some item; all of them if it counts rows."""
    if any(atom.by_row for atom in atoms_in(mask.mask)):
        check_row_count(mask.length, "too many rows of a placed mask", "placed")
        return 0, mask.length
    edges = np.clip(np.array([[first], [first + count]]) - mask.at.values, 0, mask.length)
    low, high = edges[:, edges[1] > edges[0]]
    if not len(low):
        return 0, 0
    check_row_count(int(high.max() - low.min()), "too many rows of a placed mask", "placed")
    return int(low.min()), int(high.max())


def hull_from_runs(runs: Runs) -> KeyRange:
    """From the first to the last key of each row."""
    starts, stops = np.zeros(runs.rows, np.int64), np.zeros(runs.rows, np.int64)
    some = runs.counts > 0
    starts[some], stops[some] = runs.starts[runs.indptr[:-1][some]], runs.stops[runs.indptr[1:][some] - 1]
    return KeyRange(starts.reshape(runs.shape), stops.reshape(runs.shape))
