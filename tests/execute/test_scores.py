"""Attention whose scores are changed, against the textbook's way over all pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import attnmask as am
from attnmask.compile.plan import Plan
from attnmask.execute import scores
from attnmask.execute.scores import Changes, attention_by_scores
from tests.execute.peers import tensors

MASKS = {
    "causal": am.causal(),
    "rows without a key": am.causal() & am.padding(lengths=[9, 33]) & ~am.sinks(2),
    "windows of documents": am.window(5, 0) & am.documents(lengths=[20, 1, 19]),
    "per head": am.per_head([am.causal(), am.full(), am.empty(), am.window(2, 2)]),
}


def textbook(q: Tensor, k: Tensor, v: Tensor, plan: Plan, weights: Tensor | None, changes: Changes) -> Tensor:
    k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
    attends = torch.from_numpy(plan.to("dense"))
    s = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if changes.softcap:
        s = changes.softcap * torch.tanh(s / changes.softcap)
    if changes.bias is not None:
        s = s + changes.bias
    e = s.exp() * attends * (1 if weights is None else weights)
    total = e.sum(-1, keepdim=True) + (0 if changes.sinks is None else changes.sinks.exp())
    return e / total.masked_fill(total == 0, 1) @ v


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("what", ["softcap", "bias", "sinks", "all"])
@pytest.mark.parametrize("name", MASKS)
def test_it_is_the_textbook(name: str, what: str, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "MOST_ROWS", 7)
    plan = am.compile(MASKS[name], q=40, batch=2, heads=4)
    q, k, v, grad = tensors((2, 4, 40, 8), (2, 2, 40, 8), (2, 2, 40, 8), (2, 4, 40, 8))
    bias, sinks, logs = tensors((1, 4, 40, 40), (1, 4, 1, 1), (2, 1, 1, 40))
    given = {"softcap": 1.5, "bias": bias, "sinks": sinks}
    changes = Changes(**(given if what == "all" else {what: given[what]}))
    weights = logs.exp().masked_fill(logs > 1, 0) if weighted else None
    leaves = [x.requires_grad_() for x in (q, k, v, bias, sinks)]
    used = [
        x for x, name in zip(leaves, ("", "", "", "bias", "sinks"), strict=True) if name in ("", what) or what == "all"
    ]
    got = attention_by_scores(q, k, v, plan, weights, 1 / math.sqrt(8), changes)
    want = textbook(q, k, v, plan, weights, changes)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    for ours, right in zip(torch.autograd.grad(got, used, grad), torch.autograd.grad(want, used, grad), strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-9, atol=1e-9)


def test_masked_numbers_that_are_none_reach_nothing() -> None:
    q, k, v = tensors(*[(1, 2, 30, 8)] * 3)
    plan = am.compile(am.causal(), q=30)
    clean = attention_by_scores(q, k, v, plan, None, 0.3, Changes(softcap=2.0))
    k[0, :, 20], v[0, :, 25] = torch.nan, torch.inf
    spoilt = attention_by_scores(q, k, v, plan, None, 0.3, Changes(softcap=2.0))
    torch.testing.assert_close(spoilt[:, :, :20], clean[:, :, :20])
    assert bool(spoilt[:, :, 20:].isnan().all())


def test_dropout_drops_a_share_of_the_weights_and_keeps_the_mean() -> None:
    q, k = tensors(*[(1, 1, 64, 8)] * 2)
    v = torch.eye(64, dtype=torch.float64)[None, None]
    plan = am.compile(am.causal(), q=64)
    torch.manual_seed(0)
    runs = [attention_by_scores(q, k, v, plan, None, 0.3, Changes(dropout=0.25)) for _ in range(400)]
    plain = am.attention(q, k, v, plan, scale=0.3)
    dropped = torch.stack([(out == 0) & (plain > 0) for out in runs]).double().sum() / (400 * plan.pairs)
    assert abs(float(dropped) - 0.25) < 0.01
    torch.testing.assert_close(torch.stack(runs).mean(0), plain, rtol=0, atol=0.12)


def test_the_way_back_drops_the_same_weights() -> None:
    x = tensors((1, 1, 20, 4))[0].requires_grad_()
    plan = am.compile(am.causal(), q=20)
    torch.manual_seed(0)
    out = attention_by_scores(x, x, x, plan, None, 0.5, Changes(dropout=0.5))
    (grad,) = torch.autograd.grad(out.sum(), x)
    with torch.no_grad():
        step = torch.zeros_like(x)
        step[0, 0, 3, 1] = 1e-6
        torch.manual_seed(0)
        more = attention_by_scores(x + step, x + step, x + step, plan, None, 0.5, Changes(dropout=0.5)).sum()
    assert abs(float((more - out.detach().sum()) / 1e-6 - grad[0, 0, 3, 1])) < 1e-4
