"""Random calls of ``attention``, forward and backward, against softmax attention in float64 by its definition."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import attnmask as am
from tests.attack.expressions import expression
from tests.attack.oracle import dense
from tests.attack.random_masks import Drawer
from tests.attack.tensor_layouts import HUGE, laid_out

LENGTHS = (0, 1, 2, 3, 5, 8, 15, 17, 33, 64, 65, 130)
WIDTHS = (1, 2, 3, 5, 8, 16, 17, 32, 64)
DTYPES = (torch.float64, torch.float32, torch.float32, torch.bfloat16, torch.float16)
LARGEST_POWER = {torch.float64: 600, torch.float32: 80, torch.bfloat16: 80, torch.float16: 10}
POISON = (math.nan, math.inf, -math.inf)


@dataclass
class Call:
    """One call: tensors in their layouts, the set, and how it is asked for."""

    seed: int
    q: Tensor
    k: Tensor
    v: Tensor
    grad: Tensor
    weights: Tensor | None
    scale: float | None
    backend: str
    pairs: Tensor
    mask: am.Mask | am.Plan
    given: dict[str, Any]

    @property
    def factor(self) -> float:
        return 1 / math.sqrt(self.q.shape[3]) if self.scale is None else self.scale

    def __str__(self) -> str:
        tensors = ", ".join(
            f"{name} {tuple(x.shape)} strides {x.stride()}" for name, x in (("q", self.q), ("k", self.k), ("v", self.v))
        )
        weighted = "none" if self.weights is None else tuple(self.weights.shape)
        return (
            f"call {self.seed}: {self.q.dtype} {tensors}, weights {weighted}, scale {self.scale}, "
            f"backend {self.backend}, {self.mask!r:.300}"
        )


def call_of(seed: int) -> Call:
    """The call of a seed."""
    chance = random.Random(f"call {seed}")
    torch.manual_seed(seed)
    draw = Drawer(chance)
    kv_heads, group = chance.choice((1, 1, 2)), chance.choice((1, 1, 2, 3))
    draw.H, draw.Q = kv_heads * group, chance.choice(LENGTHS)
    draw.K = draw.Q if chance.random() < 0.5 else chance.choice(LENGTHS)
    draw.offset, draw.longest = chance.choice((0, draw.K - draw.Q, -3, 5)), max(draw.Q, draw.K) + 3
    tree = draw.tree(chance.choice((1, 2, 2, 3)))
    pairs = torch.from_numpy(np.array(dense(tree, *draw.box)))
    mask = expression(tree, chance)
    given: dict[str, Any] = {"offset": draw.offset}
    if chance.random() < 0.5:
        mask, given = am.compile(mask, q=draw.Q, k=draw.K, batch=draw.B, heads=draw.H, offset=draw.offset), {}
    dtype, width, width_v = chance.choice(DTYPES), chance.choice(WIDTHS), chance.choice(WIDTHS)
    width_v = width if chance.random() < 0.7 else width_v
    on_q, on_k = (draw.B, draw.H, draw.Q), (draw.B, kv_heads, draw.K)
    shapes = [(*on_q, width), (*on_k, width), (*on_k, width_v), (*on_q, width_v)]
    narrow = dtype == torch.float16  # whose largest number is 65504
    loud = chance.choice((0.1, 1, 1, 1, 4, 4 if narrow else 20))
    q, k, v, grad = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    q, k, v = q * loud, k * chance.choice((1, loud)), v * chance.choice((1, 1, 4 if narrow else 100))
    if chance.random() < 0.5:
        _poison(chance, q, k, v, grad, pairs)
    q, k, v, grad = (laid_out(x.to(dtype), chance) for x in (q, k, v, grad))
    weights = _weights(chance, draw) if chance.random() < 0.3 else None
    scale = chance.choice((None, None, None, 1.0, 0.3, -0.5, 0.0 if weights is None else 2.0))
    return Call(seed, q, k, v, grad, weights, scale, _backend(chance, dtype, weights, scale), pairs, mask, given)


def _poison(chance: random.Random, q: Tensor, k: Tensor, v: Tensor, grad: Tensor, pairs: Tensor) -> None:
    """Non-finite or huge values at keys that no row attends to, and in rows without a key."""
    unseen = ~pairs.unflatten(1, (k.shape[1], -1)).flatten(2, 3).any(2)
    empty = ~pairs.any(-1)
    for x, where in ((k, unseen), (v, unseen), (q, empty), (grad, empty)):
        value = chance.choice((*POISON, 1e30))
        x[where & (torch.rand(where.shape) < 0.7)] = value


def _weights(chance: random.Random, draw: Drawer) -> Tensor:
    B, H, Q, K = draw.B, draw.H, draw.Q, draw.K
    shape = chance.choice(((K,), (B, K), (B, H, 1, K), (1, 1, 1, K), (B, H, Q, K), (1, H, Q, K)))
    weights = torch.rand(shape, dtype=chance.choice((torch.float32, torch.float64))) * 3
    return laid_out(weights * (torch.rand(shape) > chance.choice((0, 0.3, 1))), chance)


def _backend(chance: random.Random, dtype: torch.dtype, weights: Tensor | None, scale: float | None) -> str:
    names = ["auto", "dense", "reference"]
    if (scale is None or scale > 0) and (weights is None or weights.ndim < 4 or weights.shape[2] == 1):
        names += ["auto", "tiled", "tiled"]
        names += ["native"] * 3 if dtype in (torch.float32, torch.bfloat16) else []
    return chance.choice(names)


def check_call(call: Call) -> None:
    """Raise AssertionError unless output, log-sum-exp and all gradients are right."""
    inputs = [x for x in (call.q, call.k, call.v, call.weights) if x is not None]
    before = [x.detach().clone() for x in inputs]
    got = _gradients(call, inputs, _ours)
    for x, copy in zip(inputs, before, strict=True):
        assert torch.equal(x.detach().nan_to_num(7), copy.nan_to_num(7)), "an input was written to"
    clean = [_clean(x) for x in before]
    want = _gradients(call, [x.double() for x in clean], _by_definition)
    plain = _gradients(call, clean, _by_definition)
    room = _rounding(call, [x.double() for x in clean])
    names = ("out", "lse", "grad_q", "grad_k", "grad_v", "grad_weights")
    for name, ours, right, low, size in zip(names, got, want, plain, room, strict=False):
        _within(f"{name} of {call.backend}", ours, right, low, size)


def _clean(x: Tensor) -> Tensor:
    """Zeros in place of what must not have any influence."""
    return x.nan_to_num(0, 0, 0).masked_fill(x.abs() > HUGE, 0)


def _ours(call: Call, q: Tensor, k: Tensor, v: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return am.attention(
        q, k, v, call.mask, weights=weights, scale=call.scale, backend=call.backend, return_lse=True, **call.given
    )


def _by_definition(call: Call, q: Tensor, k: Tensor, v: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Plain attention in the precision of its inputs; a row without a key is 0."""
    group, pairs = q.shape[1] // k.shape[1], call.pairs
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    scores = (q @ k.mT * call.factor).masked_fill(~pairs, -math.inf)
    factors = torch.ones(()) if weights is None else _four_axes(weights)
    # A key of weight 0 does not count, but its weight has a gradient, which may be too large for any number.
    most = (
        scores.detach().masked_fill(factors == 0, -math.inf).amax(-1, keepdim=True) if k.shape[2] else torch.zeros(())
    )
    most = most.masked_fill(most == -math.inf, 0)
    share = (scores - most).clamp_max(LARGEST_POWER[q.dtype]).exp() * factors.to(q.dtype)
    total = share.sum(-1, keepdim=True)
    empty = total == 0
    out = (share / total.masked_fill(empty, 1) @ v).masked_fill(empty, 0)
    lse = (total.masked_fill(empty, 1).log() + most).masked_fill(empty, -math.inf)
    return out, lse.squeeze(-1)


def _four_axes(weights: Tensor) -> Tensor:
    return weights if weights.ndim == 4 else torch.atleast_2d(weights)[:, None, None]


def _gradients(call: Call, inputs: list[Tensor], run: Callable[..., tuple[Tensor, Tensor]]) -> list[Tensor]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    out, lse = run(call, *leaves)
    grad = call.grad if run is _ours else _clean(call.grad)
    grads = torch.autograd.grad(out, leaves, grad.to(out.dtype), allow_unused=True)
    pairs = zip(grads, leaves, strict=True)
    return [out.detach(), lse.detach(), *(torch.zeros_like(x) if grad is None else grad for grad, x in pairs)]


def _rounding(call: Call, inputs: list[Tensor]) -> list[Tensor]:
    """Rounding of each result, relative to what it would be if nothing cancelled."""
    q, k, v, *rest = inputs
    shared = k.shape[:2]
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    _, lse = _by_definition(call, *inputs)
    weights = _four_axes(rest[0]) if rest else torch.ones(())
    seen = call.pairs & (lse > -math.inf)[..., None]
    raw = (q @ k.mT * call.factor - lse[..., None]).masked_fill(~seen, -math.inf).clamp_max(600).exp()
    share, grad = raw * weights, _clean(call.grad).double().abs()
    out = share @ v.abs()
    of_share = grad @ v.mT.abs() + (grad * out).sum(-1, keepdim=True)
    of_score = share * of_share * abs(call.factor)
    to_kv = [_summed(x, shared) for x in (of_score.mT @ q.abs(), share.mT @ grad)]
    # A score of s, rounded, moves its share by s units in the last place.
    far = 1 + abs(call.factor) * float(q.norm(dim=-1).max() * k.norm(dim=-1).max()) if raw.numel() else 1.0
    sizes = [out, 1 + lse.masked_fill(lse == -math.inf, 0).abs(), of_score @ k.abs(), *to_kv]
    sizes += [(raw * of_share).sum_to_size(weights.shape).reshape(rest[0].shape)] if rest else []
    accumulated = torch.float64 if call.q.dtype == torch.float64 else torch.float32
    precision = torch.finfo(call.q.dtype).eps + far * torch.finfo(accumulated).eps
    return [4 * precision * size for size in sizes]


def _summed(x: Tensor, shared: torch.Size) -> Tensor:
    return x.unflatten(1, (shared[1], -1)).sum(2)


def _within(name: str, got: Tensor, want: Tensor, plain: Tensor, rounding: Tensor) -> None:
    """Within twice the largest error of a plain implementation of the same precision, and the rounding of a result."""
    assert got.shape == want.shape, f"{name} has shape {tuple(got.shape)}"
    # -inf is the log-sum-exp of a row without a key; a gradient may be too large for its dtype.
    finite = want.abs() < (1e4 if "weights" in name else torch.finfo(got.dtype).max / 2)
    assert torch.equal(got == -math.inf, want == -math.inf) or "grad" in name, f"{name} is -inf elsewhere"
    error, low = ((x.double() - want).abs().masked_fill(~finite, 0) for x in (got, plain))
    low = low.nan_to_num(0, 0, 0)
    allowed = 2 * low.max() + rounding + torch.finfo(got.dtype).tiny if low.numel() else low
    wrong = ~(error <= allowed) & finite
    if wrong.any():
        at = tuple(wrong.nonzero()[0].tolist())
        raise AssertionError(
            f"{name}{at} is {got[at].item()}, not {want[at].item()}, allowed {allowed[at].item():.2g}; "
            f"{int(wrong.sum())} of {wrong.numel()}"
        )
