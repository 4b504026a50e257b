"""The meaning of a mask: every pair is evaluated, without any shortcut.

All other code is compared with this file, so it stays under 100 lines and does nothing clever.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from attnmask.conventions import BoolArray
from attnmask.mask.domain import Domain, Points, points_from_domain
from attnmask.mask.expression import And, Atom, Mask, Not, Or, Shift, Xor, unknown_mask


def evaluate(mask: Mask, domain: Domain) -> BoolArray:
    """Evaluate a mask at every pair of a domain.

    Args:
        mask: an expression.
        domain: lengths B, H, Q, K and the offset of the queries.

    Returns:
        Bool array (B, H, Q, K), True where the pair attends.
    """
    shape = (domain.B, domain.H, domain.Q, domain.K)
    return np.broadcast_to(attends(mask, points_from_domain(domain)), shape).copy()


def attends(mask: Mask, at: Points) -> BoolArray:
    """Whether a mask attends at each of the given points."""
    match mask:
        case And(terms):
            return reduce(np.logical_and, (attends(term, at) for term in terms))
        case Or(terms):
            return reduce(np.logical_or, (attends(term, at) for term in terms))
        case Xor(left, right):
            return np.logical_xor(attends(left, at), attends(right, at))
        case Not(inner):
            return np.logical_not(attends(inner, at))
        case Shift(inner, n):
            return attends(inner, at.shifted(n))
        case Atom():
            return mask.attends(at)
        case _:
            raise unknown_mask(mask)


def grid(mask: Mask, q: int, k: int | None = None, offset: int = 0, batch: int = 0, head: int = 0) -> str:
    """The 0/1 grid of a mask, a line per query row, for examples and small tests.

    >>> from attnmask.mask.atoms import causal
    >>> print(grid(causal(), q=2, k=3, offset=1))
    1 1 0
    1 1 1
    """
    domain = Domain(B=batch + 1, H=head + 1, Q=q, K=q if k is None else k, offset=offset)
    pairs = evaluate(mask, domain)[batch, head]
    return "\n".join(" ".join(str(int(pair)) for pair in row) for row in pairs)
