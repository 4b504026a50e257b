"""What attention is compared with: masks by name, plain implementations, and an error budget computed from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

import attnmask as am

LENGTH = 300
BATCH = 2


def masks() -> dict[str, am.Mask]:
    """One mask of every structure that the schedule treats in its own way, for BATCH items of LENGTH tokens."""
    rng = np.random.default_rng(0)
    return {
        "full": am.full(),
        "empty": am.empty(),
        "causal": am.causal(),
        "causal window": am.causal() & am.window(left=70, right=0),
        "two-sided window": am.window(left=40, right=150),
        "diagonal": am.window(left=0, right=0),
        "documents": am.documents(lengths=[37, 120, 3, 1, 1, 2, 100, 36]),
        "equal documents": am.documents(lengths=[30] * 10),
        "causal documents": am.causal() & am.documents(lengths=[37, 120, 3, 1, 100]),
        "padding right": am.padding(lengths=[LENGTH, 13]),
        "padding left, causal": am.causal() & am.padding(lengths=[LENGTH, 33], side="left"),
        "padding of both": am.padding(lengths=[200, 0], of="both"),
        "prefix": am.causal() | am.prefix([50, 200]),
        "sinks and window": am.causal() & (am.window(left=30, right=0) | am.prefix(4)),
        "holes": am.causal() - am.documents(ids=[0, 1, 2] * 100),
        "random": am.dense(rng.random((LENGTH, LENGTH)) < 0.1),
        "random per head": am.dense(rng.random((1, 4, LENGTH, LENGTH)) < 0.3),
        "random per item": am.dense(rng.random((BATCH, 1, LENGTH, LENGTH)) < 0.5),
    }


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    """Standard normal tensors, rounded to a dtype."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def with_grads(run: Callable[..., Tensor], inputs: Sequence[Tensor], grad_out: Tensor) -> list[Tensor]:
    """The output of ``run`` and its gradients, in float64."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = run(*leaves)
    grads = torch.autograd.grad(out, leaves, grad_out.to(out.dtype))
    return [out.detach().double(), *(grad.double() for grad in grads)]


def by_autograd(q: Tensor, k: Tensor, v: Tensor, attends: Tensor, grad_out: Tensor) -> list[Tensor]:
    """Output and gradients of attention as textbooks write it, in the precision of its inputs."""

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen = attends.any(-1, keepdim=True)
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        return (torch.softmax(scores.masked_fill(~attends & seen, -math.inf), -1) * seen) @ v

    return with_grads(forward, (q, k, v), grad_out)


def by_recomputation(q: Tensor, k: Tensor, v: Tensor, attends: Tensor, grad_out: Tensor) -> list[Tensor]:
    """The same with the backward written out from the log-sum-exp, as every flash-attention does it."""
    scale = 1 / math.sqrt(q.shape[-1])
    scores = ((q @ k.transpose(-1, -2)) * scale).masked_fill(~attends, -math.inf)
    lse = torch.logsumexp(scores, -1, keepdim=True)
    share = (scores - lse.masked_fill(lse == -math.inf, math.inf)).exp()
    out = share @ v
    slope = share * (grad_out @ v.transpose(-1, -2) - (grad_out * out).sum(-1, keepdim=True))
    grads = (slope @ k) * scale, (slope.transpose(-1, -2) @ q) * scale, share.transpose(-1, -2) @ grad_out
    return [x.double() for x in (out, *grads)]


def root_mean_square(x: Tensor) -> float:
    """Size of an error over all elements."""
    return float(x.square().mean().sqrt())
