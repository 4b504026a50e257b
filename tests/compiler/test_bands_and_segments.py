"""Bands and segments against every pair."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.compiler.structure.padded_bands import band_from_runs
from attnmask.compiler.structure.segments import finest_segments, within_segments
from tests.atoms import bools
from tests.strategies import cases, plan_of


@settings(max_examples=300, deadline=None)
@given(cases())
def test_a_band_that_is_found_is_the_set(case: tuple) -> None:
    domain, mask = case
    plan = plan_of(mask, domain)
    if (band := band_from_runs(plan.runs)) is not None:
        parts = am.window(band.left, band.right)
        parts = parts if band.keys is None else parts & am.padding(attention_mask=band.keys)
        parts = parts if band.queries is None else parts & am.padding(attention_mask=band.queries, of="queries")
        assert am.compile(parts, q=plan.Q, k=plan.K, offset=0) == plan


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([(None, None), (None, 0), (2, 0), (1, 1), (3, None)]),
    st.lists(st.integers(0, 6), min_size=2, max_size=2),
    st.sampled_from([(6, 6), (3, 6), (6, 3)]),
)
def test_every_padded_window_is_found(sides: tuple, lengths: list[int], shape: tuple[int, int]) -> None:
    tokens = am.padding(lengths=np.minimum(lengths, shape[1]))
    plan = am.compile(am.window(*sides) & tokens, q=shape[0], k=shape[1], offset=0)
    assert (band_from_runs(plan.runs) is None) == (plan.pairs == 0)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_finest_segments_hold_every_pair_and_no_finer_do(data: st.DataObject) -> None:
    b, h, q, k = (data.draw(st.integers(1, most)) for most in (2, 2, 5, 5))
    pairs = bools(data.draw, b, h, q, k)
    plan = am.compile(am.dense(pairs), q=q, k=k, offset=0, batch=b, heads=h)
    runs = plan.runs
    queries, keys = finest_segments(runs)
    dense = np.broadcast_to(runs.to_dense(), (*runs.shape, k)).any(1)
    same = queries[:, :, None] == keys[:, None]
    assert (same | ~dense).all()
    every = am.compile(am.full(), q=q, k=k, offset=0).runs
    np.testing.assert_array_equal(within_segments(every, queries, keys).to_dense()[:, 0], same)
    static = bools(data.draw, data.draw(st.sampled_from([1, len(queries)])), h, q, k)
    within = within_segments(am.compile(am.dense(static), q=q, k=k, offset=0).runs, queries, keys)
    np.testing.assert_array_equal(*np.broadcast_arrays(within.to_dense(), static & same[:, None]))
    for item, reach in enumerate(dense):
        # Which queries are joined by keys that they share: the closure of one step.
        step = (reach.astype(int) @ reach.T.astype(int)) > 0
        closure = np.linalg.matrix_power(step.astype(int) + np.eye(q, dtype=int), q) > 0
        some = reach.any(1)
        both = some[:, None] & some
        np.testing.assert_array_equal((queries[item][:, None] == queries[item])[both], closure[both])
