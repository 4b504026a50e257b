"""Attention inside what people wrap around it: autocast, torch.compile, threads."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import attnmask as am
from tests.execute.peers import tensors, with_grads


def test_autocast_lowers_precision_as_it_does_for_torchs_own_attention() -> None:
    q, k, v = tensors(*[(1, 2, 50, 16)] * 3, dtype=torch.float32)
    q.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = am.attention(q, k.bfloat16(), v, am.causal())
        torchs = torch.nn.functional.scaled_dot_product_attention(q, k.bfloat16(), v, is_causal=True)
    assert ours.dtype == torchs.dtype == torch.bfloat16
    lowered = am.attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), am.causal())
    assert torch.equal(ours, lowered)
    assert torch.autograd.grad(ours.sum(), q)[0].dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert am.attention(q.double(), k.double(), v.double(), am.causal()).dtype == torch.float64


# Tensors that cross from one graph to the next are asked for their .grad by torch itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_function_around_it() -> None:
    plan = am.compile(am.causal() & am.window(left=9, right=0), q=40)

    def block(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return am.attention(q * 2, k + 1, v, plan).sin() * 3

    inputs, grad = tensors(*[(1, 2, 40, 8)] * 3, dtype=torch.float32), torch.ones(1, 2, 40, 8)
    compiled = torch.compile(block, backend="aot_eager")
    for got, want in zip(with_grads(compiled, inputs, grad), with_grads(block, inputs, grad), strict=True):
        assert torch.equal(got, want)
    torch._dynamo.reset()
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="disable"):
        compiled(*inputs)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("backend", ["native", "tiled", "dense"])
def test_a_checkpoint_that_computes_it_again_gives_the_same_gradients(backend: str, weighted: bool) -> None:
    *inputs, grad = tensors(*[(1, 2, 40, 8)] * 4, dtype=torch.float32)
    weights = torch.arange(40.0) if weighted else None

    def block(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return am.attention(q, k, v, am.causal(), weights, backend=backend)

    def again(*inputs: Tensor) -> Tensor:
        return checkpoint(block, *inputs, use_reentrant=False)

    for got, want in zip(with_grads(again, inputs, grad), with_grads(block, inputs, grad), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("heads", [1, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_run_gives_the_same_bits_and_threads_change_only_rounding(heads: int, dtype: torch.dtype) -> None:
    inputs = tensors(*[(1, heads, 700, 16)] * 4, dtype=dtype)
    plan = am.compile(am.causal() & am.documents(lengths=[300, 1, 2, 397]), q=700)

    def run() -> list[Tensor]:
        return with_grads(lambda q, k, v: am.attention(q, k, v, plan), inputs[:3], inputs[3])

    first, again = run(), run()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = run()
        torch.set_num_threads(4)
        many = run()
    finally:
        torch.set_num_threads(threads)
    tolerance = 4 * torch.finfo(dtype).eps
    for one, two, three, four in zip(first, again, alone, many, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(one, three, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(one, four, rtol=tolerance, atol=tolerance)


def test_prefill_in_chunks_and_steps_equals_one_pass() -> None:
    q, k, v = tensors((2, 8, 600, 16), (2, 2, 600, 16), (2, 2, 600, 16), dtype=torch.float32)
    plan = am.compile(am.causal() & am.padding(lengths=[600, 431], side="left"), q=600)
    whole = am.attention(q, k, v, plan)
    cuts = [0, 256, 512, 515, *range(516, 601)]
    parts = [am.attention(q[:, :, a:b], k, v, plan[a:b]) for a, b in itertools.pairwise(cuts)]
    torch.testing.assert_close(torch.cat(parts, 2), whole, rtol=2e-6, atol=2e-6)


def test_odd_widths_and_strides() -> None:
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        q, k, v = tensors((1, 2, 70, 5), (1, 2, 70, 5), (1, 2, 70, 9), dtype=dtype)
        want = am.attention(q, k, v, am.causal(), backend="reference")
        torch.testing.assert_close(am.attention(q, k, v, am.causal()), want, rtol=tolerance, atol=tolerance)
        across = [x.transpose(2, 3).contiguous().transpose(2, 3) for x in (q, k, v)]
        torch.testing.assert_close(am.attention(*across, am.causal()), want, rtol=tolerance, atol=tolerance)
        wide = torch.cat([q, k, v, v], -1)[..., 1:]
        some = wide[..., 9:13], wide[..., 1:5], wide[..., 13:17]
        want = am.attention(*some, am.full(), backend="reference")
        torch.testing.assert_close(am.attention(*some, am.full()), want, rtol=tolerance, atol=tolerance)
        expanded = q[:, :1, :1].expand(1, 2, 70, 5)
        torch.testing.assert_close(
            am.attention(expanded, k, v, am.causal()),
            am.attention(expanded.contiguous(), k, v, am.causal()),
            rtol=tolerance,
            atol=tolerance,
        )
