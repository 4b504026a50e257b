"""Every format, every kind of mask, every shape: the same set comes back, or every reason is named."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import attnmask as am
from attnmask.compiler.plan import plan_from_dense
from attnmask.errors import CannotExpressError
from attnmask.formats import FORMATS, lift, lower
from tests.atoms import bools
from tests.formats.cases import HEADS, KINDS, SHAPES, VARIANTS, Variant, always, plans
from tests.strategies import cases, plan_of

PLANS = plans()
GOLDEN = Path(__file__).with_name("contract.txt")


def outcome(variant: Variant, plan: am.Plan) -> str:
    """What became of a plan: "expressed", or "refused" with reasons."""
    options = variant.options(plan)
    reasons = import_module(FORMATS[variant.format]).refusals(plan, **options)
    if reasons:
        return "refused" if all(reasons) else "refused without a reason"
    lowered = lower(plan, variant.format, **options)
    assert lift(variant.format, lowered, **variant.hints(plan)) == plan
    return "expressed"


def cells_of(name: str) -> dict[str, str]:
    """For each kind what became of it on each shape, in the order of SHAPES: + expressed, - refused with reasons."""
    signs = {"expressed": "+", "refused": "-"}
    return {
        kind: "".join(signs[outcome(VARIANTS[name], PLANS[f"{kind}, {shape}"])] for shape in SHAPES) for kind in KINDS
    }


def table_of(cells: dict[str, dict[str, str]]) -> str:
    """The contract: a row for each kind, a column for each variant."""
    shapes = [f"{place}: {shape}, (Q, K, offset) = {SHAPES[shape]}" for place, shape in enumerate(SHAPES, 1)]
    columns = [f"{chr(ord('A') + number // 26)}{chr(ord('a') + number % 26)}" for number in range(len(cells))]
    names = [f"{column}: {name}" for column, name in zip(columns, cells, strict=True)]
    width = max(map(len, KINDS))
    head = " ".join([" " * width, *(column.ljust(len(SHAPES)) for column in columns)]).rstrip()
    rows = [" ".join([kind.ljust(width), *(of[kind] for of in cells.values())]) for kind in KINDS]
    text = ["+ expressed, - refused with reasons, on each shape:", *shapes, "", *names, "", head, *rows]
    return "\n".join(text) + "\n"


def golden_cells() -> dict[str, dict[str, str]]:
    """The contract as it was written down."""
    _, names, rows = GOLDEN.read_text(encoding="utf-8").split("\n\n")
    variants = [line.partition(": ")[2] for line in names.splitlines()]
    cells = [row[-(len(SHAPES) + 1) * len(variants) :].split() for row in rows.splitlines()[1:]]
    columns = zip(*cells, strict=True)
    return {name: dict(zip(KINDS, column, strict=True)) for name, column in zip(variants, columns, strict=True)}


CONTRACT = golden_cells() if GOLDEN.exists() else {}
PARTIAL = [name for name, cells in CONTRACT.items() if "-" in "".join(cells.values())]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_plan_comes_back_or_every_reason_is_named(name: str) -> None:
    # A sign that changes is a format that refuses what it used to express, or learnt something: read the difference
    # after `python -m tests.formats.contract.test_contract`, which writes the table anew.
    assert cells_of(name) == CONTRACT[name]


def test_the_table_has_no_blank_cell_and_no_other_column() -> None:
    assert list(CONTRACT) == list(VARIANTS)
    assert table_of(CONTRACT) == GOLDEN.read_text(encoding="utf-8")


def test_every_target_is_met() -> None:
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
        assert found == "expressed"
    elif name == "mha":
        assert found == ("expressed" if array.any(-1).all() else "refused")
    else:
        assert found in ("expressed", "refused")


@settings(max_examples=50, deadline=None)
@given(cases())
@pytest.mark.parametrize("name", [*PARTIAL, "sdpa"])
def test_any_composed_mask_comes_back(name: str, case: tuple) -> None:
    domain, mask = case
    assert outcome(VARIANTS[name], plan_of(mask, domain)) in ("expressed", "refused")


@settings(max_examples=500, deadline=None)
@given(arrays(), st.booleans(), st.booleans())
def test_padding_is_refused_only_where_it_is_none(array: NDArray[np.bool_], of_keys: bool, causal: bool) -> None:
    queries, keys = array.shape[2:]
    below = np.tri(queries, keys, keys - queries, dtype=bool)
    if of_keys and queries:
        array = np.broadcast_to(array[:, :1, -1:], array.shape) & (below if causal else True)
    plan = plan_from_dense(array)
    refused = outcome(Variant("hf_2d", always(causal=causal), always(causal=causal, q=queries)), plan) == "refused"
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
    for plan in PLANS.values():
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


if __name__ == "__main__":
    GOLDEN.write_text(table_of({name: cells_of(name) for name in VARIANTS}), encoding="utf-8")
