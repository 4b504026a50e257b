"""A predicate: a function of one's own, evaluated only at pairs that other terms leave open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, KeyRange, Mask, all_keys
from attnmask.mask.tables.lookup_tables import check_row_count, check_run_count, int32_from, runs_of_rows

Rule = Callable[[Any, Any, Any, Any], Any]
FlatInt32 = tuple[IntArray, NDArray[np.int32], NDArray[np.int32]]
PAIRS_AT_ONCE = 1 << 22
ROWS_AT_ONCE = 256


@dataclass(frozen=True, repr=False)
class Predicate(Atom):
    fn: Rule

    @property
    def costly(self) -> bool:
        return True

    def attends(self, at: Points) -> BoolArray:
        return self._answer(at.b, at.h, at.q, at.k)

    def bounds(self, domain: Domain) -> Bounds:
        return self.bounds_within(domain, all_keys(domain))

    def bounds_within(self, domain: Domain, within: KeyRange) -> Bounds:
        shape = (domain.B, domain.H, domain.Q)
        starts, stops = (np.broadcast_to(side, shape) for side in within)
        blocks = [
            self._runs_of_block(
                domain,
                (b, h),
                rows,
                (int(starts[b, h, rows].min(initial=domain.K)), int(stops[b, h, rows].max(initial=0))),
            )
            for b in range(domain.B)
            for h in range(domain.H)
            for rows in _row_blocks(domain)
        ]
        none = np.zeros(0, dtype=np.int32)
        counts, first, last = (np.concatenate([none, *(block[part] for block in blocks)]) for part in range(3))
        check_run_count(len(first))
        return Bounds(shape, first, last, counts.reshape(shape))

    def arguments(self) -> dict[str, object]:
        return {"fn": self.fn}

    def __repr__(self) -> str:
        return f"predicate(<{getattr(self.fn, '__qualname__', type(self.fn).__name__)}>)"

    def _runs_of_block(self, domain: Domain, item: tuple[int, int], rows: slice, keys: tuple[int, int]) -> FlatInt32:
        first, last = keys
        check_row_count(last - first, "too many keys to ask for at once", "predicate")
        b, h = (np.array(index).reshape(1, 1) for index in item)
        answer = self._answer(b, h, domain.positions[rows, None], np.arange(first, max(first, last))[None])
        counts, starts, stops = runs_of_rows(answer)
        return counts, int32_from(starts + first), int32_from(stops + first)

    def _answer(self, b: IntArray, h: IntArray, q: IntArray, k: IntArray) -> BoolArray:
        shape = np.broadcast_shapes(b.shape, h.shape, q.shape, k.shape)
        try:
            answer = np.asarray(self.fn(b, h, q, k))
        except Exception as error:
            raise ArgumentError(
                f"the function raised {type(error).__name__}: {error}",
                where=repr(self),
                fix="write it for arrays of indices: & | ~ and np.where, not and / or / not and if",
            ) from error
        if answer.dtype != bool or answer.ndim > len(shape) or np.broadcast_shapes(answer.shape, shape) != shape:
            raise ArgumentError(
                f"the function gave {answer.dtype} {answer.shape}, the indices are {shape}",
                where=repr(self),
                fix="return bools of the shape to which the indices broadcast",
            )
        return np.broadcast_to(answer, shape)


def _row_blocks(domain: Domain) -> Iterator[slice]:
    height = min(max(PAIRS_AT_ONCE // max(domain.K, 1), 1), ROWS_AT_ONCE)
    # Without rows it is asked too, of nothing: a rule that is wrong is wrong on any lengths.
    return (slice(first, first + height) for first in range(0, max(domain.Q, 1), height))


@public
def predicate(fn: Rule) -> Mask:
    """A rule of one's own; attends iff fn(b, h, q, k).

    It is asked for blocks of pairs, in bounded memory; in ``predicate(fn) & window(...)`` only for those that the
    window leaves. Two predicates are equal iff they hold the same function.

    Args:
        fn: from integer arrays of batch, head, query position and key position, which broadcast against each other, to
            bools of the shape to which they do. NumPy arrays, not tensors.

    Returns:
        A mask. It pickles if the function does, and has no text or JSON form.

    Raises:
        ArgumentError: fn cannot be called; and in ``compile``: it raises, or gives no bools or another shape.

    Source: the ``mask_mod`` of torch's FlexAttention.

    >>> from attnmask.mask.reference import grid
    >>> print(grid(predicate(lambda b, h, q, k: (q + k) % 3 == 0), q=3))
    1 0 0
    0 0 1
    0 1 0
    """
    if not callable(fn) or isinstance(fn, type | Mask):
        raise ArgumentError(f"fn is {type(fn).__name__}", where="predicate(fn=)", fix="give a function of b, h, q, k")
    return Predicate(fn)
