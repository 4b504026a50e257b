"""The difference of two plans, and the reason for one pair."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

import attnmask as am
from attnmask.compiler.plan import plan_from_dense
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate
from tests.strategies import cases, plan_of


@settings(max_examples=400, deadline=None)
@given(cases(2))
def test_a_diff_holds_the_pairs_that_one_has_and_the_other_has_not(
    case: tuple[Domain, am.Mask, am.Mask],
) -> None:
    domain, *masks = case
    left, right = (plan_of(mask, domain) for mask in masks)
    a, b = np.broadcast_arrays(left.runs.to_dense(), right.runs.to_dense())
    diff = left.diff(right)
    np.testing.assert_array_equal(diff.only_left.to_dense(), a & ~b)
    np.testing.assert_array_equal(diff.only_right.to_dense(), b & ~a)
    assert bool(diff) == (left != right) == bool((a ^ b).any())
    assert diff.only_left.pairs + diff.only_right.pairs == (a ^ b).sum()
    for first, pairs in ((diff.first_left, a & ~b), (diff.first_right, b & ~a)):
        assert first == (tuple(np.argwhere(pairs)[0].tolist()) if pairs.any() else None)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_explain_answers_as_the_set_at_every_pair(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    plan, expected = plan_of(mask, domain), evaluate(mask, domain)
    for b, h, q, k in np.ndindex(*expected.shape):
        if (b, h, q, k) >= (1, 1, 3, 0):  # enough pairs of a large case
            break
        why = plan.explain(b, h, q, k)
        assert why.attends == expected[b, h, q, k]
        depth, _, answer = why.steps[0]
        assert (depth, answer) == (0, why.attends)


def test_an_explanation_names_every_part_and_its_answer() -> None:
    mask = (am.causal() & ~am.window(left=0, right=0)).shift(1) | (am.prefix(1) ^ am.full())
    assert str(am.compile(mask, q=3, k=4, offset=1).explain(0, 0, 0, 1)) == (
        "query row 0 (position 1) attends to key 1 (batch 0, head 0)\n"
        "  yes  or\n"
        "  yes    shift(1)\n"
        "  yes      and\n"
        "  yes        causal()\n"
        "  yes        not\n"
        "  no           window(left=0, right=0)\n"
        "  yes    exactly one of\n"
        "  no       prefix(lengths=[1])\n"
        "  yes      full()"
    )


def test_a_plan_from_an_array_explains_only_the_answer() -> None:
    why = plan_from_dense(np.eye(2, dtype=bool)[None, None]).explain(0, 0, 0, 1)
    assert not why.attends
    assert why.steps == ()
    assert str(why) == "query row 0 (position 0) does not attend to key 1 (batch 0, head 0)"


def test_any_item_of_a_broadcast_axis_can_be_explained() -> None:
    assert am.compile(am.causal(), q=2, batch=8).explain(5, 3, 1, 0).attends


def test_a_diff_prints_its_counts_and_first_pairs() -> None:
    left, right = am.compile(am.causal(), q=3), am.compile(am.window(left=1, right=1), q=3)
    assert str(left.diff(left)) == "equal"
    assert str(left.diff(right)) == (
        "only left: 1 pairs, first (b, h, q, k) = (0, 0, 2, 0)\nonly right: 2 pairs, first (b, h, q, k) = (0, 0, 0, 1)"
    )


def test_a_head_is_explained_by_its_own_mask() -> None:
    plan = am.compile(am.causal() & am.per_head([am.full(), am.window(left=0, right=0) | am.sinks(1)]), q=4)
    assert [step[1] for step in plan.explain(0, 1, 2, 1).steps] == [
        "and",
        "causal()",
        "head 1",
        "or",
        "window(left=0, right=0)",
        "sinks(n=1)",
    ]
    assert not plan.explain(0, 1, 2, 1).attends
    assert [step[1] for step in plan.explain(0, 0, 2, 1).steps] == ["and", "causal()", "head 0", "full()"]


def test_a_slice_of_rows_explains_itself_unless_its_mask_counts_rows() -> None:
    plan = am.compile(am.causal() & am.window(left=1, right=0), q=6)
    assert plan[3:5].mask == plan.mask
    for row in range(2):
        for key in range(6):
            part, whole = plan[3:5].explain(0, 0, row, key), plan.explain(0, 0, row + 3, key)
            assert (part.attends, part.steps) == (whole.attends, whole.steps)
    assert am.compile(am.dense([[1, 0], [1, 1]]), q=2)[1:].mask is None
    assert am.compile(am.padding(lengths=[1], of="both"), q=2)[1:].mask is None
