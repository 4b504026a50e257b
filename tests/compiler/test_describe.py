"""What a plan says of itself is never wrong, and what people use is recognised from bare 0/1 arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.compiler.columns import runs_per_column, transposed
from attnmask.compiler.plan import plan_from_dense
from attnmask.mask.domain import Domain
from tests.strategies import cases, dense_of, plan_of, speaks_of_more

MANY = settings(max_examples=300, deadline=None)
LEFT: dict[str, Any] = {"side": "left"}
IMAGES = am.spans([-1, 0, 0, 0, 0, -1, 1, 1, 1, 1, -1, -1])
# (mask, the expression by which it is known once only its pairs are left), on 12 queries and keys.
KNOWN: list[tuple[am.Mask, str]] = [
    (am.full(), "full()"),
    (am.empty(), "empty()"),
    (am.causal(), "causal()"),
    (am.causal().shift(2), "causal().shift(2)"),
    (am.causal().shift(-2), "causal().shift(-2)"),
    (~am.causal(), "~causal()"),
    (am.window(left=2, right=0), "window(left=2, right=0)"),
    (am.causal() & am.window(left=2, right=3), "window(left=2, right=0)"),
    (am.window(left=1, right=3), "window(left=1, right=3)"),
    (am.window(left=None, right=3), "causal().shift(3)"),
    (am.window(left=3, right=None), "window(left=3, right=None)"),
    (am.padding(lengths=[5, 12, 3]), "padding(lengths=[5, 12, 3])"),
    (am.padding(lengths=[5, 12, 3], **LEFT), "padding(lengths=[5, 12, 3], side='left')"),
    (am.padding(lengths=[5, 3], of="both"), "padding(lengths=[5, 3], of='both')"),
    (am.padding(lengths=[5, 3], of="queries"), "padding(lengths=[5, 3], of='queries')"),
    (am.padding(attention_mask=[[1, 0, 1] * 4]), f"padding(attention_mask=[{[1, 0, 1] * 4}])"),
    (am.causal() & am.padding(lengths=[5, 12]), "causal() & padding(lengths=[5, 12])"),
    (am.causal() & am.padding(lengths=[5, 12], **LEFT), "causal() & padding(lengths=[5, 12], side='left')"),
    (am.window(2, 0) & am.padding(lengths=[6, 12]), "window(left=2, right=0) & padding(lengths=[6, 12])"),
    (am.documents(lengths=[3, 5, 4]), "documents(lengths=[3, 5, 4])"),
    (am.documents(lengths=[[3, 5], [6, 6]]), "documents(lengths=[[3, 5], [6, 6]])"),
    (am.causal() & am.documents(lengths=[3, 5, 4]), "causal() & documents(lengths=[3, 5, 4])"),
    (am.window(2, 0) & am.documents(lengths=[3, 5, 4]), "window(left=2, right=0) & documents(lengths=[3, 5, 4])"),
    (am.causal() & am.documents(lengths=[[3, 5], [7, 4]]), "causal() & documents(lengths=[[3, 5], [7, 4]])"),
    (am.causal() | am.prefix([4]), "causal() | prefix(lengths=[4])"),
    (am.causal() | am.prefix([4, 1, 7]), "causal() | prefix(lengths=[4, 1, 7])"),
    (am.prefix([4, 7]), "padding(lengths=[4, 7])"),
    (am.chunked(5), "chunked(size=5)"),
    (am.causal() & am.chunked(5), "causal() & chunked(size=5)"),
    (am.block_causal(4), "block_causal(size=4)"),
    (am.block_causal(2, left=1), "block_causal(size=2, left=1)"),
    (am.block_causal(3, left=0), "chunked(size=3)"),
    (
        am.cross_documents(query_lengths=[3, 5, 4], key_lengths=[5, 2, 5]),
        "cross_documents(query_lengths=[3, 5, 4], key_lengths=[5, 2, 5])",
    ),
    (
        am.cross_documents(query_lengths=[[3, 5], [4, 4]], key_lengths=[[5, 2], [1, 11]]),
        "cross_documents(query_lengths=[[3, 5], [4, 4]], key_lengths=[[5, 2], [1, 11]])",
    ),
    (am.causal() | IMAGES, f"causal() | {IMAGES!r}"),
    (am.window(2, 1).shift(-3), "window(left=3, right=0).shift(-2)"),
    (am.window(1, 2).shift(3), "window(left=0, right=3).shift(2)"),
    ((am.causal() & am.window(2, 0)) | IMAGES, f"window(left=2, right=0) | {IMAGES!r}"),
    ((am.causal() | IMAGES) & am.window(2, None), f"window(left=2, right=None) & (causal() | {IMAGES!r})"),
    ((am.causal() & am.window(2, 0)) | am.prefix([4]), "window(left=2, right=0) | prefix(lengths=[4])"),
    (am.causal() & (am.window(2, 0) | am.sinks(2)), "causal() & (window(left=2, right=0) | sinks(n=2))"),
    (am.cross_padding([3, 9], [5, 7]), "padding(lengths=[3, 9], of='queries') & padding(lengths=[5, 7])"),
    (am.dilated(3) & am.window(7, 7), "dilated(step=3) & window(left=6, right=6)"),
    (am.dilated(3) & am.window(7, 0) & am.documents(lengths=[8, 4]), ""),
    (
        (am.global_tokens([0, 1]) | am.window(1, 1)) & am.padding(lengths=[12, 8]),
        "(global_tokens(indices=[0, 1]) | window(left=1, right=1)) & padding(lengths=[12, 8])",
    ),
    (am.dilated(3), "dilated(step=3)"),
    (am.causal() & am.dilated(3), "causal() & dilated(step=3)"),
    (am.global_tokens([0, 7]) | am.window(1, 1), "global_tokens(indices=[0, 7]) | window(left=1, right=1)"),
    (am.grid(3, 4, radius=1), "grid(height=3, width=4, radius=1, border='clip')"),
    (am.grid(3, 4, radius=1, border="natten"), "grid(height=3, width=4, radius=1, border='natten')"),
    (am.block_diffusion(size=2, length=6), "block_diffusion(size=2, length=6)"),
    (am.shared_prefix(prompt=4, answers=[3, 3, 2]), ""),
    (am.causal() & am.shared_prefix(prompt=4, answers=[3, 1, 4]), ""),
    (am.blocks([[1, 0, 1], [1, 1, 0], [0, 1, 1]], size=4), ""),
    (am.blocks([[0, 1, 0], [1, 0, 1], [0, 1, 1]], size=5), ""),
    (am.tree([-1, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 6]), f"tree(parents=[{[-1, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 6]}])"),
    (am.tree([-1, 0, 1, 2, 3, 3, 4, 5, 6, 7, -1, 10]), ""),
    (am.per_head([am.causal(), am.chunked(5)]), "per_head([causal(), chunked(size=5)])"),
]

OF_ANY_LENGTH = [known for known in KNOWN if "attention_mask" not in known[1]]


@pytest.mark.parametrize(("mask", "expected"), KNOWN, ids=[repr(mask) for mask, _ in KNOWN])
def test_a_bare_array_of_what_people_use_is_recognised(mask: am.Mask, expected: str) -> None:
    plan = plan_from_dense(am.compile(mask, q=12).runs.to_dense())
    found = plan.describe().mask
    assert found is not None
    assert am.compile(found, q=12) == plan
    assert repr(found) == expected or not expected
    assert repr(found) in str(plan.describe())


@MANY
@given(cases(), st.booleans())
def test_what_is_found_is_equal(case: tuple[Domain, am.Mask], known: bool) -> None:
    domain, mask = case
    plan = plan_of(mask, domain)
    bare = am.Plan(plan.runs, plan.offset, plan.mask if known else None)
    found = bare.describe().mask
    assert found is not None or not known
    if found is not None:
        assert plan_of(found, domain) == plan


@MANY
@given(st.sampled_from(OF_ANY_LENGTH), st.integers(1, 14), st.integers(1, 14), st.integers(-3, 6))
def test_what_is_found_is_equal_at_other_lengths_too(known: tuple[am.Mask, str], q: int, k: int, offset: int) -> None:
    if speaks_of_more(known[0], Domain(1, 1, q, k, offset)):
        return
    plan = am.compile(known[0], q=q, k=k, offset=offset)
    found = am.Plan(plan.runs, offset).describe().mask
    if found is not None:
        assert am.compile(found, q=q, k=k, offset=offset, batch=plan.B) == plan


def test_a_guess_of_too_many_runs_is_no_error() -> None:
    # Every second key, at a length at which dilated(2) alone could not be compiled.
    plan = am.compile(am.dilated(2) & am.window(left=5, right=0) & am.documents(lengths=[2**15] * 2), q=2**16)
    assert am.Plan(plan.runs).describe().mask == am.dilated(2) & am.window(4, 0) & am.documents(lengths=[2**15] * 2)


def test_what_nobody_knows_has_no_short_form() -> None:
    plan = plan_from_dense(np.random.default_rng(0).random((1, 1, 9, 9)) < 0.5)
    assert plan.describe().mask is None
    assert "no short form found" in str(plan.describe())


def test_the_sizes_are_those_of_the_set() -> None:
    plan = am.compile(am.causal() & am.padding(lengths=[3, 1]), q=4)
    assert plan.nbytes_dense == plan.runs.to_dense().nbytes
    assert plan.flops(64) == 4 * 64 * int(plan.runs.to_dense().sum())
    assert "12 of 32 (37.5%)" not in str(plan.describe())
    assert f"{plan.pairs} of 32" in str(plan.describe())
    with pytest.raises(am.AttnMaskError, match="dim"):
        plan.flops(-1)


@MANY
@given(cases())
def test_columns_are_rows_of_the_transposed_array(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    plan = plan_of(mask, domain)
    expected = plan_from_dense(dense_of(plan, domain).swapaxes(2, 3)).runs
    runs = transposed(plan.runs)
    assert runs.broadcast_to((domain.B, domain.H, domain.K)).collapsed() == expected
    assert (runs_per_column(plan.runs).reshape(-1) == runs.counts).all()
