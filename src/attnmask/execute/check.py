"""Checks of what people pass to ``attention``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attnmask.compile.plan import Plan
from attnmask.errors import ArgumentError

WHERE = "attention"


def check_tensors(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise unless q, k and v fit each other."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
            shape = f"shape {tuple(x.shape)}, {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise ArgumentError(f"{name} is {shape}", where=WHERE, fix="give floating-point tensors (B, H, L, D)")
        if x.dtype != q.dtype or x.device != q.device:
            raise ArgumentError(
                f"{name} is {x.dtype} on {x.device}, q is {q.dtype} on {q.device}",
                where=WHERE,
                fix="give q, k and v of one dtype on one device",
            )
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if k.shape[:3] != v.shape[:3] or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ArgumentError(shapes, where=WHERE, fix="shapes are q (B, H, Q, D), k (B, Hkv, K, D), v (B, Hkv, K, Dv)")
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ArgumentError(shapes, where=WHERE, fix="the heads of k and v divide the heads of q")


def check_plan(plan: Plan, q: Tensor, k: Tensor) -> None:
    """Raise unless the plan is for these lengths."""
    lengths = (*q.shape[:3], k.shape[2])
    fits = [
        size in (1, length) if axis < 2 else size == length
        for axis, (size, length) in enumerate(zip(plan.shape, lengths, strict=True))
    ]
    if not all(fits) and q.shape[0]:
        raise ArgumentError(
            f"the plan is (B, H, Q, K) = {plan.shape}, the tensors are {lengths}",
            where=WHERE,
            fix="compile the mask for the tensors' lengths; B and H of the plan may be 1",
        )


def weights_on_four_axes(weights: Tensor, q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Weights as (B or 1, H or 1, Q or 1, K), in float32 or float64."""
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        got = str(weights.dtype) if isinstance(weights, Tensor) else type(weights).__name__
        raise ArgumentError(f"weights are {got}", where="attention(weights=)", fix="give a floating-point tensor")
    sizes = (*q.shape[:3], k.shape[2])
    shape = {1: (1, 1, 1, -1), 2: (-1, 1, 1, weights.shape[-1]), 4: tuple(weights.shape)}.get(weights.ndim)
    if shape is None or not _fits(weights, sizes):
        raise ArgumentError(
            f"weights have shape {tuple(weights.shape)}, the tensors (B, H, Q, K) = {sizes}",
            where="attention(weights=)",
            fix="give (K,), (B, K) or (B, H, 1, K) per key, or (B, H, Q, K) per pair; B and H may be 1",
        )
    usable = torch.isfinite(weights) & (weights >= 0)
    if not bool(usable.all()):
        at = tuple(int(i) for i in (~usable).nonzero()[0])
        raise ArgumentError(
            f"weights[{', '.join(map(str, at))}] is {weights[at].item()}",
            where="attention(weights=)",
            fix="weights are finite and 0 or more",
        )
    if not math.isfinite(scale) or scale == 0:
        raise ArgumentError(
            f"scale is {scale}", where="attention(scale=)", fix="with weights, give a finite scale but 0"
        )
    dtype = torch.promote_types(torch.promote_types(weights.dtype, q.dtype), torch.float32)
    return weights.reshape(shape).to(dtype)


def _fits(weights: Tensor, sizes: tuple[int, ...]) -> bool:
    if weights.ndim == 1:
        return weights.shape[0] == sizes[3]
    if weights.ndim == 2:
        return weights.shape[0] in (1, sizes[0]) and weights.shape[1] == sizes[3]
    own = tuple(weights.shape)
    return own[3] == sizes[3] and all(size in (1, length) for size, length in zip(own, sizes, strict=True))
