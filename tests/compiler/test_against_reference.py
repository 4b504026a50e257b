"""The compiled set is the set that the reference sees, pair by pair, whatever is composed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import attnmask as am
from attnmask.compiler.runs import Runs, runs_from_counts, runs_from_dense
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate
from tests.strategies import cases, dense_of, missing_strategies, plan_of


def check_canonical(runs: Runs) -> None:
    assert runs.indptr.dtype == runs.starts.dtype == runs.stops.dtype == np.int32
    assert runs.indptr[0] == 0
    assert runs.indptr[-1] == len(runs.starts) == len(runs.stops)
    assert len(runs.indptr) == np.prod(runs.shape) + 1
    assert (np.diff(runs.indptr) >= 0).all()
    assert ((runs.starts >= 0) & (runs.stops <= runs.keys)).all()
    assert (runs.starts < runs.stops).all()
    same_row = np.diff(runs.row_of_run) == 0
    assert (runs.starts[1:] > runs.stops[:-1])[same_row].all(), "runs of a row overlap, touch or are out of order"


# Others in every run; `make attack` compares a million with formulas that share no code with the package.
@settings(max_examples=1_000, deadline=None)
@given(cases())
def test_every_composed_mask_compiles_to_what_the_reference_sees(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    plan = plan_of(mask, domain)
    expected = evaluate(mask, domain)
    np.testing.assert_array_equal(dense_of(plan, domain), expected)
    # Equal as Runs too: the canonical form must not depend on the way that led to it.
    assert plan.runs == runs_from_dense(expected).collapsed()
    check_canonical(plan.runs)
    assert plan.pairs == plan.runs.to_dense().sum()
    assert plan.empty_rows == (~plan.runs.to_dense().any(axis=-1)).sum()


@settings(max_examples=300, deadline=None)
@given(cases())
def test_an_axis_is_1_exactly_where_the_set_does_not_depend_on_it(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    plan, dense = plan_of(mask, domain), evaluate(mask, domain)
    items = 1 if (dense == dense[:1]).all() else domain.B
    heads = 1 if (dense == dense[:, :1]).all() else domain.H
    assert plan.shape == (items, heads, domain.Q, domain.K)


def test_no_atom_is_left_out_of_the_random_masks() -> None:
    assert missing_strategies() == set()


@pytest.mark.parametrize(
    ("starts", "stops"),
    [([0, 3], [2, 3]), ([0, 2], [2, 4]), ([2, 0], [4, 1]), ([0, 1], [3, 4]), ([-1], [2]), ([3], [9])],
    ids=["empty run", "touching", "out of order", "overlapping", "before the keys", "after the keys"],
)
def test_the_check_of_the_canonical_form_sees_what_is_not_canonical(starts: list[int], stops: list[int]) -> None:
    bad = runs_from_counts((1, 1, 1), 5, np.array([len(starts)]), np.array(starts), np.array(stops))
    with pytest.raises(AssertionError):
        check_canonical(bad)
