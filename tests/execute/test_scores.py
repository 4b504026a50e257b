"""Attention whose scores are changed, against the textbook's way over all pairs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import attnmask as am
from attnmask.compiler.plan import Plan
from attnmask.execute import score_changes as scores
from attnmask.execute.score_changes import Changes, attention_by_scores, attention_with_changes
from tests.execute.peers import tensors

DROPOUT = Changes(dropout=0.25)
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


NATIVE = [torch.float32, torch.bfloat16]
WHAT = ["softcap", "bias", "bias by item", "bias by key", "sinks", "cap and sinks", "bias and sinks"]
MOST_ROWS = {"many rows": 150, "few rows": 3}


def error(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want.detach()).square().mean().sqrt())


@pytest.mark.parametrize("dtype", NATIVE, ids=str)
@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("name", MASKS)
def test_natively_the_error_is_within_twice_that_of_plain_operations(name: str, what: str, dtype: torch.dtype) -> None:
    plan = am.compile(MASKS[name], q=150, batch=2, heads=4)
    q, grad = tensors(*[(2, 4, 150, 32)] * 2, dtype=dtype)
    k, v = tensors(*[(2, 2, 150, 32)] * 2, dtype=dtype)
    sinks = torch.tensor([0.5, -1.0, 2.0, 0.0]).view(1, 4, 1, 1)
    bias, by_item, by_key = tensors((1, 4, 150, 150), (2, 4, 150, 150), (2, 1, 1, 150), dtype=torch.float32)
    given = {
        "softcap": {"softcap": 1.5},
        "bias": {"bias": bias},
        "bias by item": {"bias": by_item},
        "bias by key": {"bias": by_key},
        "sinks": {"sinks": sinks},
        "cap and sinks": {"softcap": 1.5, "sinks": sinks},
        "bias and sinks": {"bias": bias, "sinks": sinks},
    }[what]
    assert plan.backend_for(q).name == "native"

    def results(attend: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        leaves = [x.detach().to(dtype).requires_grad_() for x in (q, k, v)]
        changes = dict(given)
        if "bias" in given:
            # Biases are learnt in float32.
            exact = torch.float64 if dtype == torch.float64 else torch.float32
            leaves.append(given["bias"].to(exact).requires_grad_())
            changes["bias"] = leaves[-1]
        out = attend(*leaves[:3], plan, None, 0.3, Changes(**changes))
        return [out, *torch.autograd.grad(out, leaves, grad.to(dtype))]

    exact = results(attention_by_scores, torch.float64)
    native, plain = results(attention_with_changes, dtype), results(attention_by_scores, dtype)
    for ours, theirs, right in zip(native, plain, exact, strict=True):
        assert ours.dtype == theirs.dtype
        assert error(ours, right) <= 2 * error(theirs, right)
    # Few rows, as in decoding, take another way forward.
    if "bias" in given and given["bias"].shape[2] > 1:
        given["bias"] = given["bias"][:, :, -3:]
    few = attention_with_changes(q[:, :, -3:], k, v, plan[-3:], None, 0.3, Changes(**given))
    assert error(few, exact[0][:, :, -3:]) <= 2 * error(plain[0][:, :, -3:], exact[0][:, :, -3:])


@pytest.mark.parametrize("dtype", NATIVE, ids=str)
def test_natively_sinks_have_the_gradient_of_the_textbook(dtype: torch.dtype) -> None:
    plan = am.compile(MASKS["rows without a key"], q=40, batch=2, heads=4)
    q, k, v, grad = tensors((2, 4, 40, 8), (2, 2, 40, 8), (2, 2, 40, 8), (2, 4, 40, 8), dtype=dtype)
    sinks = torch.zeros(1, 4, 1, 1, requires_grad=True)
    out = attention_with_changes(q, k, v, plan, None, 0.3, Changes(sinks=sinks))
    exact = sinks.detach().double().requires_grad_()
    want = attention_by_scores(*(x.double() for x in (q, k, v)), plan, None, 0.3, Changes(sinks=exact))
    (ours,), (right,) = torch.autograd.grad(out, sinks, grad), torch.autograd.grad(want, exact, grad.double())
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(ours.double(), right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", MOST_ROWS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)], ids=str)
def test_natively_what_is_dropped_is_dropped_on_the_way_back(dtype: torch.dtype, tolerance: float, rows: str) -> None:
    plan = am.compile(MASKS["windows of documents"], q=40, batch=2, heads=4)[-MOST_ROWS[rows] :]
    changes = Changes(dropout=0.3, softcap=3.0)
    q, k, v, grad = tensors((2, 4, plan.Q, 40), (2, 2, 40, 40), (2, 2, 40, 40), (2, 4, plan.Q, 40), dtype=dtype)
    leaves = [x.requires_grad_() for x in (q, k, v)]

    def dropped(v: Tensor) -> Tensor:
        torch.manual_seed(5)
        return attention_with_changes(q, k, v, plan, None, 0.1, changes)

    out = dropped(v)
    # The values of the unit matrix show the weights.
    kept = (dropped(torch.eye(40, dtype=dtype).expand(2, 2, 40, 40)) != 0).double() / (1 - changes.dropout)
    exact = [x.detach().double().requires_grad_() for x in leaves]
    keys, values = (x.repeat_interleave(2, 1) for x in exact[1:])
    scores_ = 3 * torch.tanh(exact[0] @ keys.transpose(-1, -2) * 0.1 / 3)
    share = scores_.masked_fill(~torch.from_numpy(plan.to("dense")), -torch.inf).softmax(-1)
    want = share * kept @ values
    for ours, right in zip(
        (out, *torch.autograd.grad(out, leaves, grad)),
        (want, *torch.autograd.grad(want, exact, grad.double())),
        strict=True,
    ):
        torch.testing.assert_close(ours.double(), right, rtol=tolerance, atol=tolerance)


def test_natively_every_pair_is_dropped_by_its_own_coin() -> None:
    q, k = tensors(*[(2, 4, 512, 512)] * 2, dtype=torch.float32)
    v = torch.eye(512).expand(2, 4, 512, 512)
    torch.manual_seed(0)
    first, second = (attention_with_changes(q, k, v, am.compile(am.full(), q=512), None, 0.05, DROPOUT) for _ in "ab")
    coin = (first == 0).double() - DROPOUT.dropout
    neighbours = {
        "row": coin[:, :, 1:] * coin[:, :, :-1],
        "key": coin[..., 1:] * coin[..., :-1],
        "both": coin[:, :, 1:, 1:] * coin[:, :, :-1, :-1],
        "head": coin[:, 1:] * coin[:, :-1],
        "item": coin[1:] * coin[:-1],
        "call": coin * ((second == 0).double() - DROPOUT.dropout),
    }
    spread = DROPOUT.dropout * (1 - DROPOUT.dropout)
    assert abs(float(coin.mean())) < 5 * math.sqrt(spread / coin.numel())
    for name, product in neighbours.items():
        assert abs(float(product.mean())) < 5 * spread / math.sqrt(product.numel()), name
    for per_line in (coin.mean(-1), coin.mean(-2)):
        assert 0.9 < float(per_line.std()) / math.sqrt(spread / 512) < 1.1


def test_natively_numbers_that_are_none_reach_those_that_attend_to_them() -> None:
    plan = am.compile(am.causal(), q=30)
    for changes in (Changes(softcap=2.0), Changes(sinks=torch.zeros(1, 2, 1, 1))):
        q, k, v = tensors(*[(1, 2, 30, 8)] * 3, dtype=torch.float32)
        clean = attention_with_changes(q, k, v, plan, None, 0.3, changes)
        k[0, :, 20], q[0, :, 10] = torch.inf, torch.inf
        spoilt = attention_with_changes(q, k, v, plan, None, 0.3, changes)
        fine = [row for row in range(20) if row != 10]
        torch.testing.assert_close(spoilt[:, :, fine], clean[:, :, fine])
        assert bool(spoilt[:, :, [10, *range(20, 30)]].isnan().all())


def test_all_weights_may_be_dropped() -> None:
    q, k, v = tensors(*[(1, 2, 30, 8)] * 3, dtype=torch.float32)
    out = attention_with_changes(q, k, v, am.compile(am.causal(), q=30), None, 0.3, Changes(dropout=1.0))
    assert torch.equal(out, torch.zeros_like(out))


def test_under_autocast_it_is_what_lower_precision_gives() -> None:
    q, k, v = tensors(*[(1, 2, 30, 8)] * 3, dtype=torch.float32)
    plan, changes, half = am.compile(am.causal(), q=30), Changes(softcap=2.0), torch.bfloat16
    with torch.autocast("cpu", dtype=half):
        out = attention_with_changes(q, k, v.to(half), plan, None, 0.3, changes)
    want = attention_with_changes(q.to(half), k.to(half), v.to(half), plan, None, 0.3, changes)
    assert torch.equal(out, want)
