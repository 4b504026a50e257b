"""Expression + domain -> Runs, by run algebra."""

from __future__ import annotations

from attnmask.compile.algebra import complement, intersect, symmetric_difference, unite
from attnmask.compile.runs import Runs, runs_from_bounds
from attnmask.mask.domain import Domain
from attnmask.mask.expr import And, Atom, Mask, Not, Or, Shift, Xor


def runs_from_mask(mask: Mask, domain: Domain) -> Runs:
    """The canonical form of a mask on a domain.

    Args:
        mask: an expression. domain: lengths and offset.

    Returns:
        Runs; B or H is 1 where no atom depends on it.
    """
    match mask:
        case And(terms):
            return intersect([runs_from_mask(term, domain) for term in terms])
        case Or(terms):
            return unite([runs_from_mask(term, domain) for term in terms])
        case Xor(left, right):
            return symmetric_difference(runs_from_mask(left, domain), runs_from_mask(right, domain))
        case Not(inner):
            return complement(runs_from_mask(inner, domain))
        case Shift(inner, n):
            return runs_from_mask(inner, domain.shifted(n))
        case Atom():
            return runs_from_bounds(mask.bounds(domain), domain.Q, domain.K)
        case _:
            raise TypeError(f"not a mask: {mask!r}")
