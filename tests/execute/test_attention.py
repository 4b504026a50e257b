"""Attention computes what the reference means, as exactly as a plain implementation of its precision could."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import attnmask as am
from attnmask.execute.tiles import schedule as scheduling
from attnmask.mask.domain import Domain
from tests.execute.peers import (
    BATCH,
    LENGTH,
    by_autograd,
    by_recomputation,
    masks,
    root_mean_square,
    tensors,
    with_grads,
)
from tests.strategies import cases

HEADS = 4


@pytest.fixture(params=["as shipped", "small tiles"])
def tile_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The schedule's own sizes, and sizes at which a few rows already have full, partial and merged parts."""
    if request.param == "small tiles":
        for name, size in (("TILE_ROWS", 4), ("LEAST_FULL_KEYS", 2), ("LEAST_BLOCK_ROWS", 2)):
            monkeypatch.setattr(scheduling, name, size)
        monkeypatch.setattr(scheduling, "LEAST_CONSTANT_ROWS", 3)
        monkeypatch.setattr(scheduling, "MOST_MASKED_KEYS", 5)
    scheduling.schedule_from_plan.cache_clear()
    yield request.param
    scheduling.schedule_from_plan.cache_clear()


LOW_PRECISION = [
    ("native", torch.float32),
    ("native", torch.bfloat16),
    ("tiled", torch.float32),
    ("tiled", torch.bfloat16),
    ("tiled", torch.float16),
]


@pytest.mark.parametrize(("backend", "dtype"), LOW_PRECISION, ids=str)
@pytest.mark.parametrize("name", sorted(set(masks()) - {"diagonal"}))
def test_error_is_within_twice_that_of_a_plain_implementation(name: str, backend: str, dtype: torch.dtype) -> None:
    plan = am.compile(masks()[name], q=LENGTH, batch=BATCH, heads=HEADS)
    q, k, v, grad = tensors(*[(BATCH, HEADS, LENGTH, 32)] * 4, dtype=dtype)
    attends = torch.from_numpy(plan.runs.to_dense())
    ours = with_grads(lambda q, k, v: am.attention(q, k, v, plan, backend=backend), (q, k, v), grad)
    exact = by_autograd(q.double(), k.double(), v.double(), attends, grad.double())
    plain = [run(q, k, v, attends, grad) for run in (by_autograd, by_recomputation)]
    for got, want, *others in zip(ours, exact, *plain, strict=True):
        budget = 2 * max(root_mean_square(other - want) for other in others)
        assert root_mean_square(got - want) <= budget


@pytest.mark.parametrize(("backend", "dtype"), LOW_PRECISION, ids=str)
def test_rows_of_one_key_are_within_a_few_roundings(backend: str, dtype: torch.dtype) -> None:
    # A plain softmax over one score is exactly 1, so twice its error is no budget: count the roundings of
    # exp(score - log-sum-exp) instead, which are relative to the size of the score.
    plan = am.compile(masks()["diagonal"], q=LENGTH)
    q, k, v, grad = tensors(*[(BATCH, HEADS, LENGTH, 32)] * 4, dtype=dtype)
    out, *grads = with_grads(lambda q, k, v: am.attention(q, k, v, plan, backend=backend), (q, k, v), grad)
    score = (q.double() * k.double()).sum(-1).abs().max() / 32**0.5
    terms = (grad.double() * v.double()).sum(-1).abs().max() * max(q.double().abs().max(), k.double().abs().max())
    assert torch.equal(out, v.double())
    for got, want, size in zip(grads, (0 * q, 0 * k, grad), (terms, terms, grad.double().abs().max()), strict=True):
        assert (got - want.double()).abs().max() <= 2 * torch.finfo(dtype).eps * (1 + score) * size


def _agrees_with_the_reference(backend: str, dtype: torch.dtype, examples: int, **tolerance: float) -> None:
    @given(case=cases(), groups=st.sampled_from([1, 2]), wide=st.integers(1, 5), seed=st.integers(0, 99))
    @settings(max_examples=examples, deadline=None)
    def agrees(case: tuple[Domain, am.Mask], groups: int, wide: int, seed: int) -> None:
        at, mask = case
        plan = am.compile(mask, q=at.Q, k=at.K, batch=at.B, heads=at.H, offset=at.offset)
        heads = at.H * groups if plan.H == 1 else at.H
        kv_heads = at.H if plan.H == 1 else 1
        shapes = (at.B, heads, at.Q, 3), (at.B, kv_heads, at.K, 3), (at.B, kv_heads, at.K, wide)
        q, k, v, grad = tensors(*shapes, (at.B, heads, at.Q, wide), dtype=dtype, seed=seed)
        results: list[list[Tensor]] = []
        for name in (backend, "reference"):
            _, lse = am.attention(q, k, v, plan, backend=name, return_lse=True)
            run = with_grads(lambda q, k, v, name=name: am.attention(q, k, v, plan, backend=name), (q, k, v), grad)
            results.append([lse, *run])
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, **tolerance)

    agrees()


def test_any_composed_mask_agrees_with_the_reference(tile_size: str) -> None:
    _agrees_with_the_reference("tiled", torch.float64, 150, rtol=1e-9, atol=1e-9)


# Sums of at most 8 products of numbers around 1, of which some rounded before: some ten units in the last place.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.2)], ids=str)
def test_any_composed_mask_agrees_with_the_reference_natively(dtype: torch.dtype, tolerance: float) -> None:
    _agrees_with_the_reference("native", dtype, 300, rtol=tolerance, atol=tolerance)


def test_the_reference_agrees_with_textbook_attention() -> None:
    q, k, v, grad = tensors(*[(BATCH, HEADS, LENGTH, 8)] * 4)
    for mask in masks().values():
        plan = am.compile(mask, q=LENGTH, batch=BATCH, heads=HEADS)
        run = with_grads(lambda q, k, v, plan=plan: am.attention(q, k, v, plan, backend="reference"), (q, k, v), grad)
        for got, want in zip(run, by_autograd(q, k, v, torch.from_numpy(plan.runs.to_dense()), grad), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("scale", [0.0, -0.5, 2.0])
def test_any_scale_agrees_with_the_reference(scale: float) -> None:
    q, k, v = tensors(*[(1, 2, 20, 4)] * 3)
    got, want = (am.attention(q, k, v, am.causal(), scale=scale, backend=b) for b in ("auto", "reference"))
    torch.testing.assert_close(got, want)


def test_gradcheck() -> None:
    q, k, v = (x.requires_grad_() for x in tensors((2, 4, 9, 3), (2, 2, 9, 3), (2, 2, 9, 3)))
    plan = am.compile(am.causal() & am.documents(lengths=[[4, 5], [2, 3]]), q=9)
    assert torch.autograd.gradcheck(lambda *x: am.attention(*x, plan), (q, k, v))


def test_a_second_derivative_is_refused() -> None:
    q = tensors((1, 1, 4, 2))[0].requires_grad_()
    with pytest.raises(am.AttnMaskError, match="no second derivative"):
        torch.autograd.grad(am.attention(q, q, q, am.causal()).sum(), q, create_graph=True)
    dense = am.attention(q, q, q, am.causal(), backend="dense")
    (grad,) = torch.autograd.grad(dense.sum(), q, create_graph=True)
    assert torch.autograd.grad(grad.sum(), q)[0].shape == q.shape


def test_rows_without_a_key_are_exactly_zero() -> None:
    plan = am.compile(am.padding(lengths=[3], of="both"), q=5)
    q, k, v, grad = tensors(*[(1, 2, 5, 4)] * 4, dtype=torch.float32)
    out, lse = am.attention(q, k, v, plan, return_lse=True)
    assert (out[:, :, 3:] == 0).all()
    assert (lse[:, :, 3:] == -torch.inf).all()
    assert torch.isfinite(lse[:, :, :3]).all()
    for grads in with_grads(lambda q, k, v: am.attention(q, k, v, plan), (q, k, v), grad)[1:]:
        assert (grads[:, :, 3:] == 0).all()


def test_layouts_do_not_matter() -> None:
    q, k, v = tensors(*[(2, 50, 4, 8)] * 3, dtype=torch.float32)
    plan = am.compile(am.documents(lengths=[20, 20, 10]), q=50)
    views = [x.transpose(1, 2) for x in (q, k, v)]
    assert torch.equal(am.attention(*views, plan), am.attention(*(x.contiguous() for x in views), plan))


def test_an_expression_says_how_queries_and_keys_line_up() -> None:
    q, k = tensors((1, 1, 2, 4), (1, 1, 5, 4))
    with pytest.raises(am.AttnMaskError, match="nothing says how they line up"):
        am.attention(q, k, k, am.causal())
    plan = am.compile(am.causal(), q=2, k=5, offset=3)
    assert torch.equal(am.attention(q, k, k, am.causal(), align="end"), am.attention(q, k, k, plan))


def test_decoding_in_steps_equals_one_pass() -> None:
    q, k, v = tensors(*[(2, 2, 40, 8)] * 3)
    plan = am.compile(am.causal() & am.padding(lengths=[40, 31], side="left") & am.window(left=9, right=0), q=40)
    whole = am.attention(q, k, v, plan)
    steps = [am.attention(q[:, :, t : t + 1], k, v, plan[t]) for t in range(40)]
    torch.testing.assert_close(torch.cat(steps, 2), whole)


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (1, 2, 0, 4), (2, 2, 3, 4)])
def test_no_items_no_queries_no_keys(shape: tuple[int, int, int, int]) -> None:
    q, k = torch.ones(shape), torch.ones(shape[0], 2, 0, 4)
    out, lse = am.attention(q, k, k, am.full(), align="start", return_lse=True)
    assert out.shape == shape
    assert (out == 0).all()
    assert (lse == -torch.inf).all()


def test_memory_is_not_queries_times_keys() -> None:
    length = 1 << 16
    q = torch.zeros(1, 1, length, 8)
    out = am.attention(q, q, q, am.causal() & am.window(left=63, right=0))
    assert out.shape == q.shape
