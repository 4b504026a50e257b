"""Whatever is given to an atom, it is a mask that compiles right or one clear error, never another exception."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.errors import AttnMaskError
from attnmask.mask.atoms import ATOMS
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate
from tests.atoms import EXAMPLES

GOOD = {name: example.good for name, example in EXAMPLES.items()}
NUMBERS = [-1, 0, 1, 7, 2**31, 2**64, -(2**70), 1.0, 1.5, -0.5, math.nan, math.inf, True, np.int8(3), np.float32(2), 1j]
LISTS = [
    [],
    [-1],
    [0],
    [3, -2],
    [1.5],
    [math.nan],
    [[]],
    [[1, 2], [3]],
    [[[1]]],
    ["a"],
    [None],
    [True],
    [2**40],
    [5, 5, 5],
]
ARRAYS = [
    np.zeros((0, 3), dtype=int),
    np.ones((5, 5)),
    np.full((5, 5), np.nan),
    np.arange(5)[::-1],
    np.array([1, 2, 0]),  # a cycle, as parents
    np.array(3),
    np.ones((2, 3, 4, 5), dtype=bool),
    np.array([b"x"]),
    np.array([{}], dtype=object),
    np.array(["2020-01-01"], dtype="datetime64[D]"),
    np.full((3,), 2**63, dtype=np.uint64),
]
OTHERS = [None, "", "right", "nonsense", b"x", {}, {1: 2}, set(), object(), print, int, (1, 2), range(3), am.causal()]
BAD = st.sampled_from([*NUMBERS, *LISTS, *ARRAYS, *OTHERS])
SIZES = st.sampled_from([(5, 5, 0), (3, 7, 2), (1, 5, 4), (0, 3, 0), (4, 0, -1)])


def test_every_atom_is_tried() -> None:
    assert set(GOOD) == set(ATOMS)


@pytest.mark.parametrize("name", sorted(GOOD))
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_argument_makes_a_mask_that_is_right_or_one_clear_error(name: str, data: st.DataObject) -> None:
    atom = ATOMS[name]
    names = sorted(inspect.signature(atom).parameters)
    changed = data.draw(st.lists(st.sampled_from(names), max_size=2)) if names else []
    arguments = {**GOOD[name], **{one: data.draw(BAD) for one in changed}}
    q, k, offset = data.draw(SIZES)
    refused = None
    try:
        mask = atom(**arguments)
        plan = am.compile(mask, q=q, k=k, offset=offset)
    except AttnMaskError as error:
        refused = error
    if refused is not None:
        assert "\n  to do: " in str(refused)
        return
    domain = Domain(plan.B, plan.H, q, k, offset)
    np.testing.assert_array_equal(plan.runs.to_dense(), evaluate(mask, domain))
    assert hash(mask) == hash(atom(**arguments))
    assert repr(mask)
