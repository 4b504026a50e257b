"""``attnmask.attention``: softmax attention over exactly the pairs of a mask."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from attnmask.calls import public
from attnmask.compiler.plan import Plan
from attnmask.execute.dispatch import attend
from attnmask.mask.expression import Mask


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
        from attnmask.execute.compiled_graphs import attend_between_graphs

        return attend_between_graphs(q, k, v, mask, weights, scale, backend, return_lse, offset, align)
    return attend(q, k, v, mask, weights, scale, backend, return_lse, offset, align)
