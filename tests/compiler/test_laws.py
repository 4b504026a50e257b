"""The laws of the algebra, checked on plans: the set is the same however it is written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate
from tests.strategies import SHIFTS, cases, plan_of

Mask = am.Mask
LAWS: dict[str, tuple[Callable[..., Mask], Callable[..., Mask]]] = {
    "De Morgan, and": (lambda a, b, c: ~(a & b), lambda a, b, c: ~a | ~b),
    "De Morgan, or": (lambda a, b, c: ~(a | b), lambda a, b, c: ~a & ~b),
    "double negation": (lambda a, b, c: ~~a, lambda a, b, c: a),
    "and over or": (lambda a, b, c: a & (b | c), lambda a, b, c: a & b | a & c),
    "or over and": (lambda a, b, c: a | b & c, lambda a, b, c: (a | b) & (a | c)),
    "absorption": (lambda a, b, c: a & (a | b), lambda a, b, c: a),
    "and commutes": (lambda a, b, c: a & b, lambda a, b, c: b & a),
    "or commutes": (lambda a, b, c: a | b, lambda a, b, c: b | a),
    "and associates": (lambda a, b, c: a & (b & c), lambda a, b, c: (a & b) & c),
    "or associates": (lambda a, b, c: a | (b | c), lambda a, b, c: (a | b) | c),
    "xor associates": (lambda a, b, c: a ^ (b ^ c), lambda a, b, c: (a ^ b) ^ c),
    "idempotence": (lambda a, b, c: a & a | a, lambda a, b, c: a),
    "excluded middle": (lambda a, b, c: a | ~a, lambda a, b, c: am.full()),
    "contradiction": (lambda a, b, c: a & ~a, lambda a, b, c: am.empty()),
    "neutral of and": (lambda a, b, c: a & am.full(), lambda a, b, c: a),
    "neutral of or": (lambda a, b, c: a | am.empty(), lambda a, b, c: a),
    "difference": (lambda a, b, c: a - b, lambda a, b, c: a & ~b),
    "chained difference": (lambda a, b, c: a - b - c, lambda a, b, c: a - (b | c)),
    "exclusive or": (lambda a, b, c: a ^ b, lambda a, b, c: (a | b) - (a & b)),
    "exclusive or of itself": (lambda a, b, c: a ^ a, lambda a, b, c: am.empty()),
}
SHIFT_LAWS: dict[str, tuple[Callable[..., Mask], Callable[..., Mask]]] = {
    "shifts add up": (lambda a, b, m, n: a.shift(m).shift(n), lambda a, b, m, n: a.shift(m + n)),
    "no shift": (lambda a, b, m, n: a.shift(0), lambda a, b, m, n: a),
    "shift over and": (lambda a, b, m, n: (a & b).shift(n), lambda a, b, m, n: a.shift(n) & b.shift(n)),
    "shift over or": (lambda a, b, m, n: (a | b).shift(n), lambda a, b, m, n: a.shift(n) | b.shift(n)),
    "shift over xor": (lambda a, b, m, n: (a ^ b).shift(n), lambda a, b, m, n: a.shift(n) ^ b.shift(n)),
    "shift over not": (lambda a, b, m, n: (~a).shift(n), lambda a, b, m, n: ~a.shift(n)),
}


@settings(max_examples=40, deadline=None)
@given(cases(3))
@pytest.mark.parametrize("law", LAWS)
def test_law_of_sets(law: str, case: tuple[Domain, Mask, Mask, Mask]) -> None:
    domain, *operands = case
    left, right = (side(*operands) for side in LAWS[law])
    assert plan_of(left, domain) == plan_of(right, domain)


@settings(max_examples=60, deadline=None)
@given(cases(2), SHIFTS, SHIFTS)
@pytest.mark.parametrize("law", SHIFT_LAWS)
def test_law_of_shift(law: str, case: tuple[Domain, Mask, Mask], m: int, n: int) -> None:
    domain, a, b = case
    left, right = (side(a, b, m, n) for side in SHIFT_LAWS[law])
    assert plan_of(left, domain) == plan_of(right, domain)


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(0, 3))
def test_shifted_queries_see_what_later_queries_see(case: tuple[Domain, Mask], n: int) -> None:
    domain, mask = case
    if n > domain.Q or _has_query_axis_of_its_own(mask):
        return
    # Left padding of queries counts rows from the last one, so only the rows that both see can be compared.
    shifted, plain = evaluate(mask.shift(n), domain), evaluate(mask, domain)
    np.testing.assert_array_equal(shifted[:, :, : domain.Q - n], plain[:, :, n:])


def _has_query_axis_of_its_own(mask: Mask) -> bool:
    return "queries" in repr(mask) or "both" in repr(mask)


# What the repr of a mask holds that speaks of rows, not of positions.
OF_ROWS = ("dense", "queries", "both", "cross_documents", "preceding_images", "cache=")


@settings(max_examples=100, deadline=None)
@given(cases())
def test_an_offset_is_a_shift_of_all_that_speaks_of_positions(case: tuple[Domain, Mask]) -> None:
    domain, mask = case
    if any(word in repr(mask) for word in OF_ROWS):
        return
    at_zero = Domain(domain.B, domain.H, domain.Q, domain.K, 0)
    assert plan_of(mask, domain) == plan_of(mask.shift(domain.offset), at_zero)


def test_laws_can_fail() -> None:
    domain = Domain(1, 1, 3, 3)
    assert plan_of(am.causal() - am.window(0, 0), domain) != plan_of(am.window(0, 0) - am.causal(), domain)
    assert plan_of(am.causal().shift(1), domain) != plan_of(am.causal(), domain)
