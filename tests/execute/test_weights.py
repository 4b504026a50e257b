"""Soft weights: 1 changes nothing, 0 masks, 2 counts as two copies, and all of it can be learnt."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import attnmask as am
from tests.execute.peers import tensors, with_grads

MASK = am.causal() | am.documents(lengths=[5, 3, 12])
SHAPES = {"per key": (20,), "per item": (2, 20), "per head": (2, 4, 1, 20), "per pair": (2, 4, 20, 20)}


def _qkv(kv_heads: int = 2) -> list[Tensor]:
    return tensors((2, 4, 20, 8), (2, kv_heads, 20, 8), (2, kv_heads, 20, 8))


@pytest.mark.parametrize("name", SHAPES)
def test_one_changes_nothing(name: str) -> None:
    q, k, v = _qkv()
    torch.testing.assert_close(
        am.attention(q, k, v, MASK, weights=torch.ones(SHAPES[name])), am.attention(q, k, v, MASK)
    )


@pytest.mark.parametrize("name", ["per key", "per item"])
def test_zero_is_padding(name: str) -> None:
    q, k, v = _qkv()
    kept = torch.rand(SHAPES[name]) < 0.6
    k[:, :, ~kept.reshape(-1, 20)[0]] = k[:, :, ~kept.reshape(-1, 20)[0]]
    padded = MASK & am.padding(attention_mask=kept)
    assert torch.equal(
        am.attention(q, k, v, MASK, weights=kept.float()), am.attention(q, k, v, padded, weights=torch.ones(20))
    )
    torch.testing.assert_close(am.attention(q, k, v, MASK, weights=kept.float()), am.attention(q, k, v, padded))


def test_zero_masks_even_a_key_that_is_not_a_number() -> None:
    q, k, v = _qkv()
    weights = torch.ones(20)
    weights[3] = 0
    want = am.attention(q, k, v, MASK, weights=weights)
    k[:, :, 3], v[:, :, 3] = math.nan, math.inf
    assert torch.equal(am.attention(q, k, v, MASK, weights=weights), want)


@pytest.mark.parametrize("copies", [2, 3])
def test_a_whole_number_counts_as_copies(copies: int) -> None:
    q, k, v = _qkv()
    weights, index = torch.ones(20), list(range(20)) + [6] * (copies - 1)
    weights[6] = copies
    seen = torch.from_numpy(am.compile(MASK, q=20).runs.to_dense())[..., index]
    want = am.attention(q, k[:, :, index], v[:, :, index], am.dense(seen), offset=0)
    torch.testing.assert_close(am.attention(q, k, v, MASK, weights=weights), want)


@pytest.mark.parametrize("kv_heads", [2, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_gradients_agree_with_the_reference_also_at_zero(name: str, kv_heads: int) -> None:
    inputs = [*_qkv(kv_heads), torch.rand(SHAPES[name], dtype=torch.float64) * 3]
    inputs[3][inputs[3] < 0.7] = 0
    grad = tensors((2, 4, 20, 8), seed=5)[0]
    runs = [
        with_grads(lambda q, k, v, w, b=b: am.attention(q, k, v, MASK, weights=w, backend=b), inputs, grad)
        for b in ("auto", "reference")
    ]
    at_zero = runs[0][4][inputs[3] == 0]
    assert (at_zero != 0).any()
    for got, want in zip(*runs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_the_gradient_at_zero_is_the_slope_there() -> None:
    q, k, v = _qkv()
    weights = torch.ones(20, dtype=torch.float64)
    weights[4] = 0
    weights.requires_grad_()
    loss = am.attention(q, k, v, MASK, weights=weights).square().sum()
    (grad,) = torch.autograd.grad(loss, weights)
    nudged = weights.detach().clone()
    nudged[4] = 1e-6
    slope = (am.attention(q, k, v, MASK, weights=nudged).square().sum() - loss.detach()) / 1e-6
    assert grad[4] == pytest.approx(float(slope), rel=1e-4)


def test_log_sum_exp_counts_the_weights() -> None:
    q, k, v = _qkv()
    _, plain = am.attention(q, k, v, am.full(), return_lse=True)
    _, tripled = am.attention(q, k, v, am.full(), weights=torch.full((20,), 3.0), return_lse=True)
    torch.testing.assert_close(tripled, plain + math.log(3))


def test_bfloat16_keeps_the_weight_exact() -> None:
    q, k, v = (torch.zeros(1, 1, n, 8, dtype=torch.bfloat16) for n in (1, 2, 2))
    v[0, 0, 1] = 1
    out = am.attention(q, k, v, am.full(), weights=torch.tensor([1.0, 1000.0]), align="start")
    assert float(out[0, 0, 0, 0]) == pytest.approx(1000 / 1001, abs=2**-8)
    _, lse = am.attention(q, k, v, am.full(), weights=torch.tensor([1.0, 1000.0]), align="start", return_lse=True)
    assert float(lse[0, 0, 0]) == pytest.approx(math.log(1001), rel=2**-14)


@pytest.mark.parametrize("backend", ["native", "tiled", "dense", "reference"])
def test_a_key_of_weight_0_far_above_the_others_has_no_influence(backend: str) -> None:
    q, k, v = torch.ones(1, 1, 1, 1), torch.tensor([[[[161.0], [19.0]]]]), torch.tensor([[[[1.0], [2.0]]]])
    weights = torch.tensor([0.0, 1.8])
    out, lse = am.attention(
        q, k, v, am.full(), weights=weights, scale=1.0, backend=backend, return_lse=True, align="end"
    )
    assert out.item() == 2
    assert lse.item() == pytest.approx(19 + math.log(1.8))


@pytest.mark.parametrize("backend", ["tiled", "dense"])
def test_weights_of_float32_are_exact_beside_float64(backend: str) -> None:
    q, k, v = (torch.randn(1, 2, 6, 4, dtype=torch.float64) for _ in range(3))
    weights = torch.rand(6)
    got = am.attention(q, k, v, am.causal(), weights=weights, backend=backend)
    want = am.attention(q, k, v, am.causal(), weights=weights.double(), backend="reference")
    torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13)
