"""Every format, every kind of mask, every shape: the same set comes back, or every reason is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attnmask.compiler.plan import plan_from_dense
from attnmask.errors import CannotExpressError
from attnmask.formats import FORMATS, lift, lower
from tests.atoms import bools
from tests.formats.cases import HEADS, KINDS, SHAPES, VARIANTS, Variant, always
from tests.formats.contract.pages import FOLDER, PLANS, outcome, section, shapes_that_can, written_sections
from tests.strategies import cases, plan_of

PARTIAL = [name for name in VARIANTS if any(shapes_that_can(name, kind) != list(SHAPES) for kind in KINDS)]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_plan_comes_back_or_every_reason_is_named(name: str) -> None:
    # After a change that is wanted, `python -m tests.formats.contract.pages` writes the pages anew.
    assert section(name) == written_sections()[name]


def test_there_is_a_page_for_each_format_and_no_other_section() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(FORMATS)
    assert set(written_sections()) == set(VARIANTS)


def test_every_format_is_met() -> None:
    assert {variant.format for variant in VARIANTS.values()} == set(FORMATS)


def test_a_wrong_lift_is_seen() -> None:
    # The contract itself must be able to fail: read what was written for causal as if it were transposed.
    plan = PLANS["causal, square"]
    assert lift("dense", lower(plan, "dense").swapaxes(2, 3)) != plan


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Any bool array (B, H, Q, K)."""
    b, h = draw(st.integers(1, 3)), draw(st.sampled_from([1, HEADS]))
    return bools(draw, b, h, draw(st.integers(0, 5)), draw(st.integers(0, 5)))


@settings(max_examples=50, deadline=None)
@given(arrays())
@pytest.mark.parametrize("name", VARIANTS)
def test_any_array_comes_back(name: str, array: NDArray[np.bool_]) -> None:
    plan = plan_from_dense(array)
    found = outcome(VARIANTS[name], plan)
    if name not in PARTIAL:
        assert found == "can"
    elif name == "mha":
        assert (found == "can") == array.any(-1).all()


@settings(max_examples=50, deadline=None)
@given(cases())
@pytest.mark.parametrize("name", [*PARTIAL, "sdpa"])
def test_any_composed_mask_comes_back(name: str, case: tuple) -> None:
    domain, mask = case
    assert outcome(VARIANTS[name], plan_of(mask, domain))  # it comes back, or has reasons


@settings(max_examples=500, deadline=None)
@given(arrays(), st.booleans(), st.booleans())
def test_padding_is_refused_only_where_it_is_none(array: NDArray[np.bool_], of_keys: bool, causal: bool) -> None:
    queries, keys = array.shape[2:]
    below = np.tri(queries, keys, keys - queries, dtype=bool)
    if of_keys and queries:
        array = np.broadcast_to(array[:, :1, -1:], array.shape) & (below if causal else True)
    plan = plan_from_dense(array)
    refused = outcome(Variant("hf_2d", always(causal=causal), always(causal=causal, q=queries)), plan) != "can"
    impossible = queries == 0 or (causal and queries > keys)
    assert refused == (impossible or not _is_padding(array, below if causal else np.ones_like(below)))


def _is_padding(array: NDArray[np.bool_], shape: NDArray[np.bool_]) -> bool:
    """By trying every mask of keys."""
    keys = shape.shape[1]
    every = (np.arange(2**keys)[:, None] >> np.arange(keys)) & 1
    candidates = every[:, None, :].astype(bool) & shape
    same_heads = (array == array[:, :1]).all()
    return bool(same_heads and all((candidates == item[0]).all(axis=(1, 2)).any() for item in array))


@settings(max_examples=200, deadline=None)
@given(arrays())
def test_sdpa_writes_a_mask_only_where_it_needs_one(array: NDArray[np.bool_]) -> None:
    causal = np.tri(*array.shape[2:], dtype=bool)
    for pairs in (array, array | True, (array | True) & causal):
        lowered = lower(plan_from_dense(pairs), "sdpa")
        is_full, is_causal = pairs.all(), (pairs == causal).all()
        assert (lowered["attn_mask"] is None) == bool(is_full or is_causal)
        assert lowered["is_causal"] == bool(is_causal and not is_full)


def test_the_table_says_what_lower_does() -> None:
    # Every fourth: each kind of mask on two of the nine shapes, and each shape with a quarter of the kinds.
    for plan in list(PLANS.values())[::4]:
        for name, reasons in plan.formats().items():
            if reasons:
                with pytest.raises(CannotExpressError) as error:
                    lower(plan, name)
                assert list(error.value.reasons) == reasons
            else:
                lower(plan, name)


def test_what_is_written_is_what_the_docstrings_say() -> None:
    for plan in PLANS.values():
        dense = plan.runs.to_dense()
        np.testing.assert_array_equal(lower(plan, "integers"), np.where(dense, 1, 0))
        np.testing.assert_array_equal(lower(plan, "additive").numpy(), np.where(dense, 0, -np.inf))
        least = torch.finfo(torch.float32).min
        np.testing.assert_array_equal(lower(plan, "hf_4d").numpy(), np.where(dense, 0, least))
        assert lower(plan, "dense").dtype == bool
        assert lower(plan, "dense_torch").dtype is torch.bool
        assert tuple(lower(plan, "dense_torch").shape) == plan.shape
