"""One call of attention: check the arguments, choose a backend, run it.

``attend`` compiles the mask if it is an expression, asks ``backend_choice`` which backend can run the call, and
passes it the Runs (native, tiled), a lowered form (varlen, flex) or the set as bools (dense, reference). Weights of
keys become extra columns of q and k; what no backend can do exactly is refused before anything runs.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from attnmask.compiler.algebra import common_shape, intersect
from attnmask.compiler.plan import Plan, compile
from attnmask.compiler.runs import Runs, runs_from_dense
from attnmask.execute.backend_choice import Call, choose_backend
from attnmask.execute.cuda.flex_attention import attention_by_flex
from attnmask.execute.cuda.varlen_attention import attention_by_varlen
from attnmask.execute.folding import folded, of_one_width, under_autocast, unfolded
from attnmask.execute.key_weights import EXTRA, ZeroWeightGradient, overflow, with_weight_columns
from attnmask.execute.native.native_attention import Settings, native_attention
from attnmask.execute.nonfinite_guard import guarded
from attnmask.execute.reference_attention import attention_reference
from attnmask.execute.surroundings import refuse_tracing, transform_around, use_one_thread_if_forked
from attnmask.execute.tensor_checks import (
    check_fit,
    check_options,
    check_plan,
    check_tensor,
    usable_scale,
    weights_on_four_axes,
)
from attnmask.execute.tiles.schedule import Schedule, flat_runs, schedule_from_plan, schedule_from_runs
from attnmask.execute.tiles.tiled_attention import TiledAttention
from attnmask.mask.atoms.values.predicates import Predicate
from attnmask.mask.expression import Mask, atoms_in

ON_CUDA = {"varlen": attention_by_varlen, "flex": attention_by_flex}
_kept = lru_cache(maxsize=32, typed=True)(compile)


def compile_cached(mask: Mask, **lengths: Any) -> Plan:
    """``compile``, whose last results are kept; not those of a predicate, whose function may answer otherwise later."""
    return _kept(mask, **lengths) if _always_means_the_same(mask, lengths) else compile(mask, **lengths)


def _always_means_the_same(mask: Mask, lengths: dict[str, Any]) -> bool:
    try:
        hash((mask, *lengths.values()))
        return not any(isinstance(atom, Predicate) for atom in atoms_in(mask))
    except (TypeError, RecursionError):  # no mask, no number, or nested too deeply: compile says so
        return False


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
    """Compute what ``attention`` returns; its arguments, without defaults."""
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
    chosen, something_to_do = choose_backend(backend, call).name, bool(q.numel() and k.numel())
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
        out, lse = _tiled(q_wide, k, v_wide, plan.runs, schedule_from_plan(plan), scale)
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
