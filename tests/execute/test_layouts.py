"""How tensors lie in memory changes nothing: every backend, dtype and layout, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

import attnmask as am
from attnmask.compiler.plan import Plan
from attnmask.execute.dispatch import ON_CUDA
from attnmask.execute.nonfinite_guard import guarded
from attnmask.execute.score_changes import Changes, attention_with_changes
from tests.execute.peers import by_autograd, by_recomputation, tensors
from tests.execute.programs.test_on_cuda import _kernel
from tests.execute.tensor_strides import LAYOUTS, any_layout

HALVES = [torch.bfloat16, torch.float16]
WIDE = [torch.float32, torch.float64]
PAIRS = [
    *[("native", dtype) for dtype in (torch.float32, torch.bfloat16)],
    *[(backend, dtype) for backend in ("tiled", "dense", "reference") for dtype in (*WIDE, *HALVES)],
    *[("varlen", dtype) for dtype in (torch.float64, torch.bfloat16)],
]
# Every structure that a backend treats in its own way: items and heads alike or not, full and partial tiles, few rows.
MASKS: dict[str, Callable[[int], am.Mask]] = {
    "full": lambda _: am.full(),
    "causal": lambda _: am.causal(),
    "documents": lambda length: am.documents(lengths=[length // 3, 1, length - length // 3 - 1]),
    "items": lambda length: am.padding(lengths=[length, length // 2]),
    "heads": lambda length: am.per_head([am.causal(), am.window(2, 2), am.full(), am.sinks(1)]),
    "scattered": lambda length: am.dilated(3) | am.window(1, 0),
}


@pytest.fixture(autouse=True)
def kernels_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", _kernel)


def attend(backend: str, q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Tensor:
    if backend not in ON_CUDA:
        return am.attention(q, k, v, plan, backend=backend)
    scale = 1 / math.sqrt(q.shape[-1])
    return guarded(lambda *qkv: ON_CUDA[backend](*qkv, plan=plan, scale=scale), q, k, v, plan.runs)[0]


def results(backend: str, plan: Plan, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Output and gradients, from leaves and a gradient of the output that lie in memory as they are given."""
    *leaves, grad = (x.detach() for x in inputs)
    leaves = [x.requires_grad_() for x in leaves]
    out = attend(backend, *leaves, plan)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def check(backend: str, plan: Plan, inputs: Sequence[Tensor], context: object) -> None:
    """Compare with float64 on tensors side by side; the budget is what plain implementations err by, and rounding."""
    dtype = inputs[0].dtype
    plain = [x.clone(memory_format=torch.contiguous_format) for x in inputs]
    attends = torch.from_numpy(plan.runs.to_dense())
    groups = plain[0].shape[1] // plain[1].shape[1]

    def by(run: Callable[..., list[Tensor]], q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> list[Tensor]:
        out, of_q, *of_keys = run(q, *(x.repeat_interleave(groups, 1) for x in (k, v)), attends, grad)
        return [out, of_q, *(x.unflatten(1, (-1, groups)).sum(2) for x in of_keys)]

    exact = by(by_autograd, *(x.double() for x in plain))
    rough = [by(run, *plain) for run in (by_autograd, by_recomputation)]
    for name, got, want, *others in zip("oqkv", results(backend, plan, inputs), exact, *rough, strict=True):
        assert got.dtype == dtype
        assert got.shape == want.shape
        error = max(float((other - want).abs().max()) for other in others)
        budget = 4 * error + 8 * torch.finfo(dtype).eps * float(want.abs().max())
        assert float((got.double() - want).abs().max()) <= budget, (context, name)


def inputs_of(rng: np.random.Generator, dtype: torch.dtype, backend: str = "") -> tuple[Plan, list[Tensor]]:
    """A plan and values for it: items, heads, grouped queries, and widths that are odd, even or one."""
    length, rows = int(rng.choice([3, 17, 70])), 0
    name = str(rng.choice(["documents", "causal", "full"] if backend == "varlen" else list(MASKS)))
    if backend != "varlen" and name not in ("documents", "items") and rng.random() < 0.3:
        rows = int(rng.integers(length))
    plan = am.compile(MASKS[name](length), q=length, batch=2, heads=4)[rows:]
    d, wide, kv_heads = int(rng.choice([1, 5, 8, 16])), int(rng.choice([1, 6, 16])), int(rng.choice([1, 2, 4]))
    shapes = (2, 4, plan.Q, d), (2, kv_heads, length, d), (2, kv_heads, length, wide), (2, 4, plan.Q, wide)
    return plan, tensors(*shapes, dtype=dtype, seed=int(rng.integers(1 << 30)))


@pytest.mark.parametrize(("backend", "dtype"), PAIRS, ids=str)
def test_each_layout_of_all_tensors(backend: str, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    for layout, lay_out in LAYOUTS.items():
        plan, inputs = inputs_of(rng, dtype, backend)
        check(backend, plan, [lay_out(x) for x in inputs], (layout, plan, [x.shape for x in inputs]))


@pytest.mark.parametrize(("backend", "dtype"), PAIRS, ids=str)
def test_any_layout_of_each_tensor(backend: str, dtype: torch.dtype) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        plan, inputs = inputs_of(rng, dtype, backend)
        inputs = [any_layout(x, rng) for x in inputs]
        check(backend, plan, inputs, (seed, plan, [(x.shape, x.stride()) for x in inputs]))


@pytest.mark.parametrize("backend", ["native", "tiled", "dense"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 20), (2, 4, 1, 20), (2, 4, 20, 20)], ids=["key", "head", "pair"])
def test_layouts_of_weights(backend: str, shape: tuple[int, ...]) -> None:
    if shape[2] > 1 and backend != "dense":
        backend = "auto"
    q, k, v = tensors(*[(2, 4, 20, 8)] * 3, dtype=torch.float32)
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    values[..., ::3] = 0
    for layout in ("last two transposed", "all reversed", "every second element", "expanded elements", "negative bit"):
        weights = LAYOUTS[layout](values)
        if layout == "expanded elements":
            weights = values[..., 1:2].expand(shape)
        found = []
        for given in (weights, weights.clone(memory_format=torch.contiguous_format)):
            leaf = given.detach().requires_grad_()
            out = am.attention(q, k, v, am.causal(), weights=leaf, backend=backend)
            found.append((out, *torch.autograd.grad(out.sum(), leaf)))
        for got, want in zip(*found, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_layouts_of_biases_and_sinks(dtype: torch.dtype) -> None:
    plan = am.compile(am.causal(), q=20)
    q, k, v, grad = tensors(*[(2, 4, 20, 8)] * 4, dtype=dtype)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        bias, sinks = (any_layout(x, rng) for x in tensors((1, 4, 20, 20), (1, 4, 1, 1), dtype=torch.float32))
        bias = torch._neg_view(-bias) if seed % 3 == 0 else bias
        found = []
        for given in ((bias, sinks), (bias.clone(memory_format=torch.contiguous_format), sinks.clone())):
            leaves = [x.detach().requires_grad_() for x in (LAYOUTS["all reversed"](q), k, v, *given)]
            out = attention_with_changes(*leaves[:3], plan, None, 0.3, Changes(bias=leaves[3], sinks=leaves[4]))
            found.append((out, *torch.autograd.grad(out, leaves[2:], any_layout(grad, np.random.default_rng(seed)))))
        for got, want in zip(*found, strict=True):
            torch.testing.assert_close(got, want)


def test_layouts_of_arrays_in_masks() -> None:
    rng = np.random.default_rng(0)
    allowed = torch.from_numpy(rng.random((20, 20)) < 0.5)
    wide = torch.zeros(40, 40, dtype=torch.bool)
    wide[::2, 1::2] = allowed
    want = am.compile(am.dense(allowed), q=20)
    for given in (
        allowed.T.contiguous().T,
        wide[::2, 1::2],
        wide.numpy()[::2, 1::2],
        np.asfortranarray(allowed.numpy()),
    ):
        assert am.compile(am.dense(given), q=20) == want
    q = tensors((2, 4, 20, 8), dtype=torch.float32)[0]
    tokens = torch.ones(1, 20, dtype=torch.long)
    same = am.attention(q, q, q, am.padding(attention_mask=tokens[:, :1].expand(2, 20)))
    assert torch.equal(same, am.attention(q, q, q, am.full()))


def test_a_sum_and_a_mean_give_gradients_of_one_number() -> None:
    x = tensors((1, 2, 9, 6))[0]
    for reduce in (torch.sum, torch.mean):
        q, p = x.clone().requires_grad_(), x.clone().requires_grad_()
        reduce(am.attention(q, q, q, am.causal(), backend="tiled")).backward()
        reduce(am.attention(p, p, p, am.causal(), backend="reference")).backward()
        torch.testing.assert_close(q.grad, p.grad)


@pytest.mark.parametrize("backend", ["native", "tiled", "dense", "reference"])
@pytest.mark.parametrize(
    ("q", "k", "d", "wide"), [(0, 5, 4, 4), (5, 0, 4, 4), (0, 0, 4, 4), (5, 5, 0, 4), (5, 5, 4, 0), (5, 5, 0, 0)]
)
def test_sizes_of_zero(backend: str, q: int, k: int, d: int, wide: int) -> None:
    inputs = tensors((2, 4, q, d), (2, 2, k, d), (2, 2, k, wide), dtype=torch.float32)
    leaves = [x.requires_grad_() for x in inputs]
    out, lse = am.attention(*leaves, am.full(), align="start", backend=backend, return_lse=True)
    grads = torch.autograd.grad(out.sum(), leaves, allow_unused=True)
    # Without a width all scores are 0: every key counts alike.
    mean = inputs[2].mean(2, keepdim=True).repeat_interleave(2, 1).expand(2, 4, q, wide)
    want = torch.zeros(2, 4, q, wide) if k == 0 or d > 0 else mean
    if d == 0 or 0 in (q, k, wide):
        torch.testing.assert_close(out, want)
    if k == 0:
        assert bool((lse == -torch.inf).all())
    for grad, leaf in zip(grads, leaves, strict=True):
        assert grad is None or (grad.shape == leaf.shape and not bool(grad.isnan().any()))
