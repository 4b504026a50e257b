"""Sets combined some rows at a time, seen from their keys, and compared row by row: the same as all at once."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attnmask.compiler import algebra
from attnmask.compiler.algebra import complement, intersect, subtract, symmetric_difference, unite
from attnmask.compiler.columns import masked_runs_per_column, runs_per_column, transposed
from attnmask.compiler.difference import diff_from_runs
from attnmask.compiler.runs import runs_from_dense
from attnmask.conventions import BoolArray, IntArray


def _stretches(attends: BoolArray) -> IntArray:
    """How often each key begins to be attended to, over the queries."""
    before = np.pad(attends, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
    return (attends & ~before).sum(axis=2)


@st.composite
def two_sets(draw: st.DrawFn) -> tuple[BoolArray, BoolArray]:
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(0, 7), st.integers(0, 9)))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
    left, right = (chance.random(shape) < density for _ in range(2))
    alike = draw(st.integers(0, shape[2]))
    right[:, :, :alike] = left[:, :, :alike]
    if draw(st.booleans()):
        left[:, :, 1::2] = left[:, :, 0 : shape[2] // 2 * 2 : 2]
    return left, right


@given(sets=two_sets(), at_once=st.integers(1, 20))
@settings(max_examples=150)
def test_sets_combined_some_rows_at_a_time(sets: tuple[BoolArray, BoolArray], at_once: int) -> None:
    left, right = (runs_from_dense(one) for one in sets)
    a, b = sets
    with patch.object(algebra, "RUNS_AT_ONCE", at_once):
        assert complement(left) == runs_from_dense(~a)
        assert intersect([left, right]) == runs_from_dense(a & b)
        assert unite([left, right]) == runs_from_dense(a | b)
        assert subtract(left, right) == runs_from_dense(a & ~b)
        assert symmetric_difference(left, right) == runs_from_dense(a ^ b)


@given(sets=two_sets())
@settings(max_examples=150)
def test_a_set_seen_from_its_keys_and_its_rows(sets: tuple[BoolArray, BoolArray]) -> None:
    attends, _ = sets
    runs = runs_from_dense(attends)
    np.testing.assert_array_equal(runs.to_dense(), attends)
    np.testing.assert_array_equal(runs.keys_seen, attends.any(axis=(1, 2)))
    np.testing.assert_array_equal(runs_per_column(runs), _stretches(attends))
    np.testing.assert_array_equal(masked_runs_per_column(runs), _stretches(~attends))
    assert transposed(runs) == runs_from_dense(attends.swapaxes(2, 3))
    b, h, q, k = attends.shape
    rows = attends.reshape(b * h * q, k)
    changes = [row for row in range(len(rows)) if row % q == 0 or (rows[row] != rows[row - 1]).any()]
    np.testing.assert_array_equal(runs.changes, changes)


@given(sets=two_sets())
@settings(max_examples=150)
def test_the_first_pairs_of_a_difference(sets: tuple[BoolArray, BoolArray]) -> None:
    left, right = sets
    difference = diff_from_runs(*(runs_from_dense(one) for one in sets))
    for first, only in ((difference.first_left, left & ~right), (difference.first_right, right & ~left)):
        assert first == (tuple(map(int, np.argwhere(only)[0])) if only.any() else None)
    assert bool(difference) == (left != right).any()
