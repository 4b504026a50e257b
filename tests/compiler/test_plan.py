"""A plan is a value: equal, hashable, picklable, sliceable, and it prints itself."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.compiler.plan import plan_from_dense
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate
from tests.strategies import cases, dense_of, plan_of

GIVEN = settings(max_examples=200, deadline=None)


@GIVEN
@given(cases(2))
def test_plans_are_equal_iff_their_sets_are(case: tuple[Domain, am.Mask, am.Mask]) -> None:
    domain, left, right = case
    same = bool((evaluate(left, domain) == evaluate(right, domain)).all())
    assert (plan_of(left, domain) == plan_of(right, domain)) == same


@GIVEN
@given(cases())
def test_equal_plans_hash_alike_however_they_came_about(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    plan, lifted = plan_of(mask, domain), plan_from_dense(evaluate(mask, domain))
    assert plan == lifted
    assert hash(plan) == hash(lifted)
    assert len({plan, lifted}) == 1


def test_plans_of_other_lengths_are_not_equal() -> None:
    assert am.compile(am.empty(), q=2, k=3, offset=0) != am.compile(am.empty(), q=3, k=2, offset=0)
    assert am.compile(am.empty(), q=2) != "a plan"


def test_the_offset_and_the_way_of_writing_do_not_count_in_equality() -> None:
    plan = am.compile(am.full(), q=3)
    assert plan == replace(plan, offset=7)
    assert replace(plan, offset=7).offset == 7
    assert plan == am.compile(~am.empty(), q=3)


@GIVEN
@given(cases())
def test_a_pickled_plan_is_the_same_plan(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    plan = plan_of(mask, domain)
    again = pickle.loads(pickle.dumps(plan))
    assert (again, again.offset, again.mask, hash(again)) == (plan, plan.offset, plan.mask, hash(plan))


@GIVEN
@given(cases(), st.data())
def test_rows_of_a_plan_are_the_plan_of_those_rows(case: tuple[Domain, am.Mask], data: st.DataObject) -> None:
    domain, mask = case
    plan = plan_of(mask, domain)
    start, stop = sorted((data.draw(st.integers(0, domain.Q)), data.draw(st.integers(0, domain.Q))))
    part = plan[start:stop]
    assert part == plan_from_dense(evaluate(mask, domain)[:, :, start:stop])
    assert part.offset == domain.offset + start
    assert part.shape[2] == stop - start


def test_rows_of_a_plan_of_positions_are_compiled_at_their_offset() -> None:
    mask = am.causal() & am.window(left=2, right=0) & am.documents(lengths=[4, 5])
    plan = am.compile(mask, q=9)
    for start in range(9):
        assert plan[start:] == am.compile(mask, q=9 - start, k=9, offset=start)
    assert plan[-1] == am.compile(mask, q=1, k=9, align="end")


def test_rows_are_taken_as_python_takes_them() -> None:
    plan = am.compile(am.causal(), q=4)
    assert plan[:] == plan
    assert plan[2] == plan[2:3] == plan[-2]
    assert plan[3:1].shape == (1, 1, 0, 4)
    assert plan[:99].Q == 4


@GIVEN
@given(cases())
def test_a_row_explains_itself_as_the_whole_plan_does(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    plan = plan_of(mask, domain)
    for row in range(domain.Q):
        alone = plan[row]
        for key in range(domain.K):
            why = alone.explain(0, 0, 0, key)
            assert why.attends == plan.explain(0, 0, row, key).attends
            assert all(answer == why.attends for depth, _, answer in why.steps if depth == 0)


def test_a_plan_counts_its_pairs() -> None:
    plan = am.compile(am.causal() & am.padding(lengths=[2, 0]), q=4)
    assert (plan.B, plan.H, plan.Q, plan.K) == plan.shape == (2, 1, 4, 4)
    assert plan.pairs == 1 + 2 + 2 + 2
    assert plan.density == 7 / 32
    assert plan.empty_rows == 4
    assert repr(plan) == "Plan(B=2, H=1, Q=4, K=4, pairs=7, density=0.219, empty_rows=4)"


def test_a_plan_counts_its_bytes() -> None:
    plan = am.compile(am.causal(), q=4)
    assert plan.nbytes == 4 * (5 + 4 + 4)


@pytest.mark.parametrize(("q", "k"), [(0, 3), (3, 0), (0, 0)])
def test_a_plan_without_a_pair_has_density_0(q: int, k: int) -> None:
    plan = am.compile(am.full(), q=q, k=k, offset=0)
    assert (plan.pairs, plan.density, plan.shape) == (0, 0, (1, 1, q, k))


def test_the_arrays_of_a_plan_cannot_be_written() -> None:
    plan = am.compile(am.causal(), q=4)
    for array in (plan.runs.indptr, plan.runs.starts, plan.runs.stops):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_batch_and_heads_come_from_the_data_or_are_1() -> None:
    dense = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4) % 5 == 0
    assert am.compile(am.dense(dense), q=4).shape == (2, 3, 4, 4)
    assert am.compile(am.causal() & am.padding(lengths=[1, 2, 3]), q=4).shape == (3, 1, 4, 4)
    assert am.compile(am.causal(), q=4, batch=5, heads=2).shape == (1, 1, 4, 4)


def test_the_dense_form_has_the_items_of_the_plan() -> None:
    domain = Domain(2, 1, 2, 2)
    plan = plan_of(am.padding(lengths=[1, 2]), domain)
    assert dense_of(plan, domain).tolist() == [[[[True, False]] * 2], [[[True, True]] * 2]]


def test_the_rows_of_a_plan_can_be_gone_through() -> None:
    plan = am.compile(am.causal(), q=3)
    assert [row.pairs for row in plan] == [1, 2, 3]


def test_rows_of_a_plan_at_the_last_positions_can_be_compiled_too() -> None:
    plan = am.compile(am.window(left=3, right=0).shift(-(2**31) + 30), q=20, k=9, offset=2**31 - 1 - 20)
    for start in range(20):
        assert plan[start:].mask is not None
        again = am.compile(plan[start:].mask, q=20 - start, k=9, offset=plan[start:].offset)
        assert again == plan[start:]
