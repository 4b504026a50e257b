"""A mask is a value: equal as written, hashable, picklable, and without a truth value."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings

import attnmask as am
from attnmask.errors import ArgumentError
from attnmask.mask.domain import Domain
from attnmask.mask.expression import atoms_in
from tests.strategies import cases


@settings(max_examples=200, deadline=None)
@given(cases())
def test_a_pickled_mask_is_the_same_mask(case: tuple[Domain, am.Mask]) -> None:
    _, mask = case
    again = pickle.loads(pickle.dumps(mask))
    assert again == mask
    assert hash(again) == hash(mask)
    assert repr(again) == repr(mask)


@pytest.mark.parametrize("copy", [lambda mask: mask, lambda mask: pickle.loads(pickle.dumps(mask))])
def test_the_array_of_a_mask_cannot_be_written_and_neither_can_that_of_its_pickle(copy: object) -> None:
    mask = copy(am.dense([[1, 0]]))  # type: ignore[operator]
    with pytest.raises(ValueError, match="read-only"):
        mask.array.values[0, 0] = False


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (am.prefix(3), am.prefix([3])),
        (am.prefix([1, 2]), am.prefix(np.array([1, 2], dtype=np.uint8))),
        (am.padding(lengths=[2]), am.padding(lengths=2, side="right", of="keys")),
        (am.documents(lengths=[2, 1]), am.documents(ids=[[0, 0, 1]])),
        (am.documents(lengths=[2, 1]), am.documents(cu_seqlens=[0, 2, 3])),
        (am.documents(lengths=[2, 1]), am.documents(ids=np.array([0, 0, 1], dtype=np.int32))),
        (am.dense([[1, 0]]), am.dense(np.array([[True, False]]))),
        (am.dense([[1, 0]]), am.dense(np.asfortranarray([[1, 0]]))),
        (am.causal() - am.full(), am.causal() & ~am.full()),
        (am.causal() & (am.full() & am.empty()), am.causal() & am.full() & am.empty()),
    ],
    ids=repr,
)
def test_masks_of_the_same_content_are_equal_and_hash_alike(left: am.Mask, right: am.Mask) -> None:
    assert left == right
    assert hash(left) == hash(right)
    assert len({left, right}) == 1


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (am.window(left=1, right=0), am.window(left=0, right=1)),
        (am.prefix([1, 2]), am.prefix([2, 1])),
        (am.padding(lengths=2), am.padding(lengths=2, side="left")),
        (am.padding(lengths=2), am.prefix(2)),
        (am.dense([[1, 0]]), am.dense([[1], [0]])),
        (am.causal() & am.full(), am.full() & am.causal()),
        (am.causal(), ~~am.causal()),
        (am.causal().shift(1), am.causal().shift(2)),
    ],
    ids=repr,
)
def test_masks_written_in_another_way_are_not_equal(left: am.Mask, right: am.Mask) -> None:
    assert left != right


def test_a_mask_does_not_change_when_its_owner_writes_to_the_array() -> None:
    array = np.array([[True, False]])
    mask = am.dense(array)
    before = hash(mask)
    array[0, 0] = False
    assert mask == am.dense([[1, 0]])
    assert hash(mask) == before


@pytest.mark.parametrize("use", [bool, lambda m: m and m, lambda m: m or m, lambda m: not m, lambda m: 1 if m else 2])
def test_a_mask_has_no_truth_value(use: object) -> None:
    with pytest.raises(ArgumentError) as error:
        use(am.causal())  # type: ignore[operator]
    assert str(error.value) == (
        "a mask has no truth value\n"
        "  where: causal()\n"
        "  to do: combine masks with & | ~ - ^, not with and / or / not; "
        "compare sets with compile(a) == compile(b)"
    )


def test_atoms_are_listed_from_left_to_right() -> None:
    mask = (am.causal() | ~am.prefix(1)).shift(2) & (am.full() ^ am.empty())
    assert atoms_in(mask) == [am.causal(), am.prefix(1), am.full(), am.empty()]


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (am.causal() & am.full() | am.empty(), "(causal() & full()) | empty()"),
        (am.causal() & (am.full() | am.empty()), "causal() & (full() | empty())"),
        (am.causal() ^ am.full() ^ am.empty(), "(causal() ^ full()) ^ empty()"),
        (am.causal() - am.window(left=1, right=None), "causal() & ~window(left=1, right=None)"),
        (~(am.causal() & am.full()), "~(causal() & full())"),
        ((~am.causal()).shift(-1), "(~causal()).shift(-1)"),
        (~am.causal().shift(1), "~causal().shift(1)"),
        ((am.causal() | am.full()).shift(2), "(causal() | full()).shift(2)"),
        (am.padding(lengths=3, side="left", of="both"), "padding(lengths=[3], side='left', of='both')"),
        (am.padding(attention_mask=[True, False]), "padding(attention_mask=[[1, 0]])"),
        (am.dense(np.zeros((65, 1), bool)), "dense(array=<bool array (65, 1) 5f6c030f>)"),
    ],
    ids=repr,
)
def test_a_mask_prints_as_it_is_written(mask: am.Mask, text: str) -> None:
    assert repr(mask) == text
