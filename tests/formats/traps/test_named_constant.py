"""Additive masks whose constant the caller names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am

CONSTANTS = [-100.0, -100, -1, -0.5, -1e4, -65504.0, -1e9, float("-inf"), np.float32(-3.5), np.int64(-7)]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(CONSTANTS),
    st.sampled_from(["float16", "float32", "float64"]),
    st.sampled_from(["additive", "hf_4d"]),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_a_constant_that_is_named_is_read(masked: Any, dtype: str, format: str, bits: list[bool]) -> None:
    pairs = np.array(bits).reshape(1, 1, 3, 4)
    with np.errstate(over="ignore"):
        array = np.where(pairs, 0, np.float64(masked)).astype(dtype)
    np.testing.assert_array_equal(
        np.broadcast_to(am.lift(format, array, masked=float(masked)).runs.to_dense(), pairs.shape), pairs
    )


def test_the_mask_of_swin_windows_is_read_as_their_regions() -> None:
    # Shifted windows of 2 x 2 on a 4 x 4 image, as Swin's get_attn_mask makes them.
    regions = np.zeros((4, 4))
    for number, (rows, columns) in enumerate(
        (r, c) for r in (slice(0, 2), slice(2, 3), slice(3, 4)) for c in (slice(0, 2), slice(2, 3), slice(3, 4))
    ):
        regions[rows, columns] = number
    windows = torch.tensor(regions.reshape(2, 2, 2, 2).swapaxes(1, 2).reshape(4, 4))
    difference = windows.unsqueeze(1) - windows.unsqueeze(2)
    mask = difference.masked_fill(difference != 0, -100.0).masked_fill(difference == 0, 0.0)
    plan = am.lift("additive", mask[:, None], masked=-100.0)
    assert plan == am.compile(am.spans(windows.long()), q=4)
    with pytest.raises(am.AttnMaskError, match=r"if this number masks .* lift\('additive', array, masked=-100\)"):
        am.lift("additive", mask[:, None])


@pytest.mark.parametrize(
    ("array", "masked", "message"),
    [
        ([[0.0, -100.0]], -10.0, "-100, neither 0 .attends. nor -10 .masked=."),
        ([[0.0, -100.0, -1e9]], -100.0, r"array\[0, 2\] is -1e\+09, neither 0"),
        ([[0.0, -100.0]], 100.0, "masked is 100.0"),
        ([[0.0, -100.0]], 0.0, "masked is 0.0"),
        ([[0.0, -100.0]], float("nan"), "masked is nan"),
        ([[0.0, -100.0]], True, "masked is True"),
        ([[0.0, -100.0]], "min", "masked is 'min'"),
        (np.zeros((1, 2), dtype=np.float16), -1e-12, "masked is -1e-12"),
        ([[0.0, 1.0]], -100.0, "array holds only 0.0 and 1.0"),
        ([[0.0, float("nan")]], -100.0, "is nan, neither 0"),
    ],
)
def test_any_other_value_is_refused(array: Any, masked: Any, message: str) -> None:
    with pytest.raises(am.AttnMaskError, match=message):
        am.lift("additive", array, masked=masked)


def test_two_other_values_are_a_bias() -> None:
    with pytest.raises(am.AttnMaskError, match="separate the bias from the mask: a set of pairs holds no bias"):
        am.lift("additive", [[0.0, -1.0, -2.0]])
    with pytest.raises(am.AttnMaskError, match="masked is not used with bools"):
        am.lift("hf_4d", np.ones((1, 1, 2, 2), dtype=bool), masked=-100.0)
