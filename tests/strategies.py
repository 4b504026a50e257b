"""Random domains, atoms and composed masks, for laws that must hold of all of them.

The atoms are those of ``tests/atoms.py``.
"""

from __future__ import annotations

import operator

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import attnmask as am
from attnmask.mask.atoms import ATOMS
from attnmask.mask.atoms.layouts.placement import sized_atoms_in
from attnmask.mask.domain import Domain
from tests.atoms import EXAMPLES

LENGTHS = st.sampled_from([8, 5, 3, 2, 1, 0])
SHIFTS = st.integers(-4, 4)
COIN = st.booleans()
LEAVES = st.sampled_from([1, 2, 3, 4, 6])
UNARY = st.sampled_from(["none", "not", "shift"])
BINARY = st.sampled_from([operator.and_, operator.or_, operator.sub, operator.xor])
DOMAINS = st.builds(Domain, B=st.integers(1, 3), H=st.integers(1, 2), Q=LENGTHS, K=LENGTHS, offset=st.integers(-4, 6))


@st.composite
def masks(draw: st.DrawFn, domain: Domain) -> am.Mask:
    """Composed masks: & | ~ - ^ and shift over the atoms that fit a domain."""
    return composed(draw, domain, draw(LEAVES))


@st.composite
def cases(draw: st.DrawFn, count: int = 1) -> tuple[Domain, *tuple[am.Mask, ...]]:
    """A domain and composed masks that fit it.

    Square, wide, tall, one row, no key, no query; several items and heads; queries before and after the keys.
    """
    domain = draw(DOMAINS)
    return (domain, *(draw(masks(domain)) for _ in range(count)))


def composed(draw: st.DrawFn, domain: Domain, leaves: int) -> am.Mask:
    if leaves == 1:
        mask = EXAMPLES[draw(NAMES)].draw(draw, domain)
    else:
        left = draw(SPLITS[leaves])
        combine = draw(BINARY)
        mask = combine(composed(draw, domain, left), composed(draw, domain, leaves - left))
    match draw(UNARY):
        case "not":
            return ~mask
        case "shift":
            return mask.shift(draw(SHIFTS))
        case _:
            return mask


NAMES = st.sampled_from(list(EXAMPLES))
SPLITS = {leaves: st.integers(1, leaves - 1) for leaves in range(2, 7)}


def missing_strategies() -> set[str]:
    """Atoms that no law sees."""
    return set(ATOMS) - set(EXAMPLES)


def plan_of(mask: am.Mask, domain: Domain) -> am.Plan:
    """The plan of a mask on a domain."""
    return am.compile(mask, q=domain.Q, k=domain.K, batch=domain.B, heads=domain.H, offset=domain.offset)


def speaks_of_more(mask: am.Mask, domain: Domain) -> bool:
    """Whether lengths in a mask exceed the domain's, which ``compile`` refuses."""
    sizes = {"Q": domain.Q, "K": domain.K}
    return any(least > sizes[axis] for atom in sized_atoms_in(mask) for axis, least in atom.least_sizes().items())


def dense_of(plan: am.Plan, domain: Domain) -> NDArray[np.bool_]:
    """Every pair of a plan, bool (B, H, Q, K), broadcast axes written out."""
    return np.broadcast_to(plan.runs.to_dense(), (domain.B, domain.H, domain.Q, domain.K))
