"""``attnmask.attention``: softmax attention over exactly the pairs of a mask."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from torch import Tensor

from attnmask.calls import public
from attnmask.compile.algebra import common_shape, intersect
from attnmask.compile.plan import Plan, compile
from attnmask.compile.runs import Runs, runs_from_dense
from attnmask.execute.backend import Call, backend_of
from attnmask.execute.check import (
    check_fit,
    check_options,
    check_plan,
    check_tensor,
    usable_scale,
    weights_on_four_axes,
)
from attnmask.execute.flex import attention_by_flex
from attnmask.execute.fold import folded, of_one_width, under_autocast, unfolded
from attnmask.execute.guard import guarded
from attnmask.execute.native.function import Settings, native_attention
from attnmask.execute.reference import attention_reference
from attnmask.execute.schedule import Schedule, flat_runs, schedule_from_runs, schedule_of
from attnmask.execute.surroundings import refuse_tracing, transform_around, use_one_thread_if_forked
from attnmask.execute.tiled import TiledAttention
from attnmask.execute.varlen import attention_by_varlen
from attnmask.execute.weights import EXTRA, ZeroWeightGradient, overflow, with_weight_columns
from attnmask.mask.atoms.predicate import Predicate
from attnmask.mask.expr import Mask, atoms_of

ON_CUDA = {"varlen": attention_by_varlen, "flex": attention_by_flex}
_kept = lru_cache(maxsize=32, typed=True)(compile)


def compile_cached(mask: Mask, **lengths: Any) -> Plan:
    """``compile``, whose last results are kept; not those of a predicate, whose function may answer otherwise later."""
    return _kept(mask, **lengths) if _always_means_the_same(mask, lengths) else compile(mask, **lengths)


def _always_means_the_same(mask: Mask, lengths: dict[str, Any]) -> bool:
    try:
        hash((mask, *lengths.values()))
        return not any(isinstance(atom, Predicate) for atom in atoms_of(mask))
    except (TypeError, RecursionError):  # no mask, no number, or nested too deeply: compile says so
        return False


@overload
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | Plan,
    weights: Tensor | None = None,
    scale: float | None = None,
    backend: str = "auto",
    return_lse: Literal[False] = False,
    *,
    offset: int | None = None,
    align: str | None = None,
) -> Tensor: ...
@overload
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | Plan,
    weights: Tensor | None = None,
    scale: float | None = None,
    backend: str = "auto",
    *,
    return_lse: Literal[True],
    offset: int | None = None,
    align: str | None = None,
) -> tuple[Tensor, Tensor]: ...
@public
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | Plan,
    weights: Tensor | None = None,
    scale: float | None = None,
    backend: str = "auto",
    return_lse: bool = False,
    *,
    offset: int | None = None,
    align: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Softmax attention over exactly the pairs of a mask, forward and backward.

    A row without a key gives 0, log-sum-exp -inf and gradients 0. What stands at a masked-out key or value, NaN and
    inf included, reaches neither the output nor a gradient; a row that does attend to a non-finite key or value is NaN.

    Args:
        q: queries (B, H, Q, D), floating point.
        k, v: keys (B, Hkv, K, D) and values (B, Hkv, K, Dv), of q's dtype; Hkv divides H (grouped-query attention).
        mask: an expression, compiled here, or a Plan. Give layers of a model the same Plan: it is cut up once.
        weights: 0 or more; per key (K,), (B, K) or (B, H, 1, K), or per pair (B, H, Q, K), B and H may be 1. Key j's
            un-normalised attention is multiplied by it: 1 changes nothing, 0 masks, 2 counts as two copies of it.
        scale: factor of the scores; 1 / sqrt(D) if left out.
        backend: "native" (no Q x K array; CPU, float32 and bfloat16; compiled on first use, about 20 s), "tiled" (no
            Q x K array, CPU), "varlen" (torch's, CUDA, packed documents in half precision), "flex" (torch's, CUDA),
            "dense" (a Q x K array, any device), "reference" (float64), or "auto": the first of them that can run
            this; ``plan.backend_for`` says which and why.
        return_lse: also return the log-sum-exp of the scores, which carries no gradient.
        offset, align: how queries and keys line up, for an expression where Q and K differ; see ``compile``.

    Returns:
        Output (B, H, Q, Dv) in q's dtype; with ``return_lse`` also (B, H, Q), float32 or float64.

    Raises:
        ArgumentError: shapes, dtypes or weights that do not fit.
        AlignmentError: Q and K differ and nothing says how they line up.

    >>> import torch, attnmask as am
    >>> x = torch.eye(3).reshape(1, 1, 3, 3)
    >>> am.attention(x, x, x, am.causal(), scale=0.0)[0, 0]
    tensor([[1.0000, 0.0000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.3333, 0.3333, 0.3333]])
    """
    if torch.compiler.is_compiling():
        from attnmask.execute.graphs import attend_between_graphs

        return attend_between_graphs(q, k, v, mask, weights, scale, backend, return_lse, offset, align)
    return attend(q, k, v, mask, weights, scale, backend, return_lse, offset, align)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | Plan,
    weights: Tensor | None,
    scale: float | None,
    backend: str,
    return_lse: bool,
    offset: int | None,
    align: str | None,
) -> Tensor | tuple[Tensor, Tensor]:
    """What ``attention`` does, without its defaults."""
    use_one_thread_if_forked()
    refuse_tracing()
    check_options(mask, offset, align, return_lse)
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_tensor(x, name)
    q, k, v = under_autocast(q, k, v)
    check_fit(q, k, v)
    scale = usable_scale(scale, q)
    plan = mask if isinstance(mask, Plan) else _compiled(q, k, mask, offset, align)
    check_plan(plan, q, k)
    w = None if weights is None else weights_on_four_axes(weights, q, k, scale)
    weighted = {"weighted": w is not None, "per_pair": w is not None and w.shape[2] > 1}
    around = transform_around(q, k, v, *([] if w is None else [w]))
    call = Call(q, plan, **weighted, scale=scale, overflows=overflow(w, q, scale), transform=around)
    chosen, something_to_do = backend_of(backend, call).name, bool(q.numel() and k.numel())
    if chosen in ("native", "tiled") and something_to_do:
        out, lse = _by_runs(q, k, v, plan, w, scale, chosen)
    elif chosen in ON_CUDA and something_to_do:
        kernel = partial(ON_CUDA[chosen], plan=plan, scale=scale)
        out, lse = guarded(kernel, q, k, v, plan.runs)
    else:
        dtype = torch.promote_types(q.dtype, torch.float64 if chosen == "reference" else torch.float32)
        out, lse = attention_reference(q, k, v, plan, w, scale, dtype)
        out, lse = out.to(q.dtype), lse.to(torch.promote_types(q.dtype, torch.float32))
    return (out, lse.detach()) if return_lse else out


def _compiled(q: Tensor, k: Tensor, mask: Mask, offset: int | None, align: str | None) -> Plan:
    batch, heads = max(q.shape[0], 1), max(q.shape[1], 1)
    return compile_cached(mask, q=q.shape[2], k=k.shape[2], batch=batch, heads=heads, offset=offset, align=align)


def _by_runs(
    q: Tensor, k: Tensor, v: Tensor, plan: Plan, w: Tensor | None, scale: float, backend: str
) -> tuple[Tensor, Tensor]:
    q_wide, k, v_wide = of_one_width(q, k, v, multiple=2)
    if w is not None:
        out, lse = _weighted(q_wide, k, v_wide, plan, w, scale, backend)
    elif backend == "native":
        out, lse = native_attention(q_wide, k, v_wide, plan.runs, Settings(scale))
    else:
        out, lse = _tiled(q_wide, k, v_wide, plan.runs, schedule_of(plan), scale)
    return out[..., : v.shape[-1]], lse


def _tiled(q: Tensor, k: Tensor, v: Tensor, runs: Runs, schedule: Schedule, scale: float) -> tuple[Tensor, Tensor]:
    axes = runs.shape[0] > 1, runs.shape[1] > 1
    k, v = (_on_heads(x, q, axes[1]) for x in (k, v))
    result: Any = TiledAttention.apply(*(folded(x, *axes) for x in (q, k, v)), schedule, scale)  # pyright: ignore[reportUnknownVariableType]
    out, lse = cast(tuple[Tensor, Tensor], result)
    return unfolded(out, q, *axes), unfolded(lse, q, *axes)


def _weighted(
    q: Tensor, k: Tensor, v: Tensor, plan: Plan, w: Tensor, scale: float, backend: str
) -> tuple[Tensor, Tensor]:
    per_head = w.shape[1] > 1 or plan.H > 1
    k, v = (_on_heads(x, q, per_head) for x in (k, v))
    weights = w[:, :, 0].expand(k.shape[:3])
    q, k, v = with_weight_columns(q, k, v, weights, scale)
    kept, dropped = _split_by_weight(plan.runs, w)
    if backend == "native":
        out, lse = native_attention(q, k, v, kept, Settings(scale))
    else:
        out, lse = _tiled(q, k, v, kept, schedule_from_runs(flat_runs(kept)), scale)
    if dropped is not None and w.requires_grad:
        axes = kept.shape[0] > 1, kept.shape[1] > 1
        rest = [folded(x, *axes) for x in (q, k, v, lse)]
        schedule = schedule_from_runs(flat_runs(dropped))
        inputs = folded(out, *axes), folded(weights, *axes), *rest
        out = unfolded(cast(Tensor, ZeroWeightGradient.apply(*inputs, schedule, scale)), q, *axes)
    return out[..., :-EXTRA], lse


def _split_by_weight(runs: Runs, w: Tensor) -> tuple[Runs, Runs | None]:
    """The set of the keys with a weight, and that of the keys of weight 0; None if there is no such key."""
    positive = (w.detach()[:, :, :1] > 0).cpu().numpy()
    if positive.all():
        return runs, None
    kept, dropped = (_on_keys(runs, keys) for keys in (positive, np.logical_not(positive)))
    return kept, dropped


def _on_keys(runs: Runs, keys: np.ndarray) -> Runs:
    of_keys = runs_from_dense(keys)
    b, h, _ = common_shape([runs, of_keys])
    return intersect([runs, of_keys.broadcast_to((of_keys.shape[0], of_keys.shape[1], runs.shape[2]))]).broadcast_to(
        (b, h, runs.shape[2])
    )


def _on_heads(x: Tensor, q: Tensor, needed: bool) -> Tensor:
    return x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) if needed else x
