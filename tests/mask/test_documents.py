"""Packed documents, in the three ways in which people hold them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(LENGTHS)
def test_lengths_borders_and_ids_say_the_same(lengths: list[int]) -> None:
    by_lengths = am.documents(lengths=lengths)
    assert by_lengths == am.documents(cu_seqlens=np.cumsum([0, *lengths], dtype=np.int32))
    assert by_lengths == am.documents(ids=np.repeat(np.arange(len(lengths)), lengths))


@settings(max_examples=200, deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=4))
def test_every_item_of_a_ragged_batch_has_its_own_documents(items: list[list[int]]) -> None:
    longest = max(map(sum, items)) + 1
    plan = am.compile(am.documents(lengths=items), q=longest)
    for b, lengths in enumerate(items):
        alone = am.compile(am.documents(lengths=lengths), q=longest).runs.to_dense()
        np.testing.assert_array_equal(plan.runs.to_dense()[min(b, plan.B - 1)], alone[0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-2, 3), min_size=1, max_size=8))
def test_two_positions_see_each_other_iff_their_ids_agree(ids: list[int]) -> None:
    dense = am.compile(am.documents(ids=ids), q=len(ids)).runs.to_dense()[0, 0]
    for q, k in np.ndindex(*dense.shape):
        assert dense[q, k] == (ids[q] == ids[k] >= 0)


def test_an_array_of_lengths_is_one_item() -> None:
    assert am.documents(lengths=np.array([2, 1])) == am.documents(lengths=[[2, 1]])


def test_an_item_may_hold_fewer_tokens_than_another() -> None:
    assert am.documents(lengths=[[2], [1, 2]]) == am.documents(ids=[[0, 0, -1], [0, 1, 1]])


def test_an_empty_document_takes_no_place() -> None:
    assert am.compile(am.documents(lengths=[0, 2, 0, 1]), q=3) == am.compile(am.documents(lengths=[2, 1]), q=3)


@pytest.mark.parametrize("position", [-3, 9])
def test_a_position_outside_every_document_sees_nothing(position: int) -> None:
    assert am.compile(am.documents(lengths=[2, 1]), q=1, k=3, offset=position).pairs == 0
