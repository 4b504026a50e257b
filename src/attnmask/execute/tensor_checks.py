"""Checks of the arguments of ``attention``."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from attnmask.compiler.plan import Plan
from attnmask.errors import ArgumentError
from attnmask.execute.surroundings import inside_function_transform
from attnmask.mask.expression import Mask, mask_instead_of

WHERE = "attention"
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
SHAPES = "floating-point tensors (B, H, L, D), of 16, 32 or 64 bits"


def check_tensor(x: Any, name: str, where: str = WHERE) -> None:
    """Raise unless a tensor has four axes and holds floating-point numbers that a kernel can read."""
    if not isinstance(x, Tensor):
        raise ArgumentError(f"{name} is {type(x).__name__}", where=where, fix=f"give {SHAPES}")
    check_memory(x, f"{name} is", where)
    if x.ndim != 4 or x.dtype not in DTYPES:
        raise ArgumentError(f"{name} is shape {tuple(x.shape)}, {x.dtype}", where=where, fix=f"give {SHAPES}")


def check_memory(x: Tensor, subject: str, where: str) -> None:
    """Raise unless a tensor's elements lie in memory, each at its strides."""
    if x.is_nested:
        what, fix = "a nested tensor", "pad it, or pack its items one after the other under documents(lengths=)"
    elif x.layout != torch.strided:
        what, fix = f"of layout {x.layout}", "call its to_dense()"
    elif x.is_meta:
        what, fix = "on meta, where tensors hold no numbers", "give tensors that hold numbers"
    elif _dispatch(type(x)) is not _dispatch(Tensor):  # FakeTensor, DTensor
        what, fix = f"a {type(x).__name__}, whose numbers may be elsewhere", "give plain tensors"
    else:
        return
    raise ArgumentError(f"{subject} {what}", where=where, fix=fix)


def _dispatch(kind: Any) -> Any:
    return kind.__torch_dispatch__


def check_fit(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise unless q, k and v fit each other."""
    for name, x in (("k", k), ("v", v)):
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


def check_options(mask: Any, offset: Any, align: Any, return_lse: Any) -> None:
    """Raise for a mask of another type, and for arguments that would change nothing."""
    if not isinstance(mask, Mask | Plan):
        raise ArgumentError(f"mask is {type(mask).__name__}", where="attention(mask=)", fix=mask_instead_of(mask))
    given = " and ".join(
        f"{name}={value!r}" for name, value in (("offset", offset), ("align", align)) if value is not None
    )
    if isinstance(mask, Plan) and given:
        raise ArgumentError(
            f"got {given} and a Plan, which is compiled for its offset",
            where=WHERE,
            fix="leave it out, or compile the mask with it",
        )
    if not isinstance(return_lse, bool):
        raise ArgumentError(
            f"return_lse is {type(return_lse).__name__}", where="attention(return_lse=)", fix="give True or False"
        )


def check_plan(plan: Plan, q: Tensor, k: Tensor) -> None:
    """Raise unless the plan is for these lengths."""
    if not _plan_fits(plan, q) or k.shape[2] != plan.K:
        raise ArgumentError(
            f"the plan is (B, H, Q, K) = {plan.shape}, the tensors are {(*q.shape[:3], k.shape[2])}",
            where=WHERE,
            fix="compile the mask for the tensors' lengths; B and H of the plan may be 1",
        )


def check_rows(plan: Plan, q: Tensor, where: str) -> None:
    """Raise unless the plan is for these queries."""
    if not _plan_fits(plan, q):
        raise ArgumentError(
            f"the plan is (B, H, Q) = {plan.shape[:3]}, q is {tuple(q.shape[:3])}",
            where=where,
            fix="give queries (B, H, Q, D) that the plan is for; B and H of the plan may be 1",
        )


def _plan_fits(plan: Plan, q: Tensor) -> bool:
    return plan.B in (1, q.shape[0]) and plan.H in (1, q.shape[1]) and q.shape[2] == plan.Q


def usable_scale(scale: Any, q: Tensor) -> float:
    """The factor of the scores, 1 / sqrt(D) for None; heads of width 0 have no scores to multiply."""
    if scale is None:
        return 1 / math.sqrt(max(q.shape[-1], 1))
    if isinstance(scale, bool) or not isinstance(scale, int | float | np.integer | np.floating):
        fix = "give a number; multiply q by a learnt scale" if isinstance(scale, Tensor) else "give a number"
        raise ArgumentError(f"scale is {type(scale).__name__}", where="attention(scale=)", fix=fix)
    try:
        number = float(cast(float, scale))
    except OverflowError:
        number = math.inf
    dtype = torch.promote_types(q.dtype, torch.float32)
    if not abs(number) <= torch.finfo(dtype).max:
        raise ArgumentError(
            f"scale is {number}", where="attention(scale=)", fix=f"give a number that is finite as {dtype}"
        )
    return number


def weights_on_four_axes(weights: Any, q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Weights as (B or 1, H or 1, Q or 1, K), in float32 or float64."""
    where = "attention(weights=)"
    if isinstance(weights, Tensor):
        check_memory(weights, "weights are", where)
    if not isinstance(weights, Tensor) or weights.dtype not in DTYPES:
        got = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise ArgumentError(f"weights are {got}", where=where, fix="give a floating-point tensor")
    if weights.device != q.device:
        raise ArgumentError(f"weights are on {weights.device}, q is on {q.device}", where=where, fix="move them")
    if inside_function_transform():
        raise ArgumentError(
            "weights inside a torch.func transform", where=where, fix="use torch.autograd, or leave them out"
        )
    _check_weight_shape(weights, sizes := (*q.shape[:3], k.shape[2]))
    usable = torch.isfinite(weights) & (weights >= 0)
    if not bool(usable.all()):
        at = tuple(int(i) for i in (~usable).nonzero()[0])
        raise ArgumentError(
            f"weights[{', '.join(map(str, at))}] is {weights[at].item()}",
            where=where,
            fix="weights are finite and 0 or more",
        )
    if scale == 0:
        raise ArgumentError("scale is 0.0", where="attention(scale=)", fix="with weights, give another scale than 0")
    batch = weights.shape[0] if weights.ndim == 2 else 1
    shape = tuple(weights.shape) if weights.ndim == 4 else (batch, 1, 1, sizes[3])
    # The logarithm of a weight is added to scores of q's precision.
    dtype = torch.promote_types(torch.promote_types(weights.dtype, q.dtype), torch.float32)
    return weights.reshape(shape).to(dtype)


def _check_weight_shape(weights: Tensor, sizes: tuple[int, ...]) -> None:
    """Raise unless weights are (K,), (B, K) or (B, H, Q, K), of which B, H and Q may be 1."""
    axes = {1: (3,), 2: (0, 3), 4: (0, 1, 2, 3)}.get(weights.ndim)
    own = tuple(weights.shape)
    if axes is None or not all(
        size == sizes[axis] or (size == 1 and axis < 3) for size, axis in zip(own, axes, strict=True)
    ):
        raise ArgumentError(
            f"weights have shape {own}, the tensors (B, H, Q, K) = {sizes}",
            where="attention(weights=)",
            fix="give (K,), (B, K) or (B, H, 1, K) per key, or (B, H, Q, K) per pair; B and H may be 1",
        )
