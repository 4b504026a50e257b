"""Pool the hidden states of each text's tokens to one vector; padding never counts."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from attnmask.calls import public
from attnmask.errors import ArgumentError
from attnmask.hf.implementation.token_mask import described, read_token_mask
from attnmask.hf.packing.packed_mask import PackedMask
from attnmask.mask.arguments import one_of

WHERE = "pool(hidden, attention_mask)"


class Pool(StrEnum):
    """How a text is pooled."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "last"


@public
def pool(hidden: Tensor, attention_mask: Any, how: str = "mean", *, weights: Tensor | None = None) -> Tensor:
    """Pool the hidden states of a batch, padded on any side.

    Args:
        hidden: (B, L, D), floating point. Values at padding, even NaN, never affect the result or the gradients.
        attention_mask: (B, L), 1 or True for a token, as a tensor, array or lists; or a PackedMask, each of whose N
            documents is pooled separately.
        how: "mean" of the tokens, "cls" for the first token, "last" for the last.
        weights: weight of each token in the mean, (B, L), floating point, 0 or more; if left out, those of the
            PackedMask, or 1. A weight of 2 is the same as the token occurring twice, 0 as its absence. They are
            differentiable.

    Returns:
        (B, D), or (N, D), of hidden's dtype.

    Raises:
        ArgumentError: shapes or values that do not fit, weights for "cls" or "last", or an item without tokens or
            whose weights are all 0.

    Source: sentence-transformers' pooling modes, without its rule that padding is on the right.

    >>> import torch
    >>> hidden = torch.tensor([[[9.0], [1.0], [2.0], [9.0]]])
    >>> mask = torch.tensor([[0, 1, 1, 0]])
    >>> [pool(hidden, mask, how).item() for how in ("mean", "cls", "last")]
    [1.5, 1.0, 2.0]
    >>> pool(hidden, mask, weights=torch.tensor([[0.0, 3.0, 1.0, 0.0]])).item()
    1.25
    """
    wanted = one_of(Pool, how, "how", "pool")
    tokens = _checked_token_mask(hidden, attention_mask)
    if weights is not None:
        _check_weights(weights, tokens, wanted)
    if isinstance(attention_mask, PackedMask):
        layout = attention_mask.documents
        at, lengths = (torch.from_numpy(x).to(hidden.device) for x in (layout.places(), layout.lengths))
        own = attention_mask.weights if weights is None else weights
        token_weights = None if own is None else own.to(hidden.device).flatten()[at]
        return pool_packed(hidden.flatten(0, 1)[at], lengths, wanted, token_weights)
    if wanted is Pool.MEAN:
        return _mean(hidden, tokens, weights)
    order = torch.arange(hidden.shape[1], device=hidden.device)
    # Tokens rank above padding, and the wanted token highest, so that argmax finds it whatever the side of padding.
    ranked = torch.where(tokens, order + 1 if wanted is Pool.LAST else len(order) - order, 0)
    return hidden[torch.arange(len(hidden), device=hidden.device), ranked.argmax(1)]


def _mean(hidden: Tensor, tokens: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        # masked_fill instead of a product with the mask, since 0 * NaN is NaN.
        return hidden.masked_fill(~tokens[..., None], 0).sum(1) / tokens.sum(1, keepdim=True)
    own = torch.where(tokens, weights.to(hidden.device), 0)
    total = own.sum(1, keepdim=True)
    _check_totals(total, "item")
    return (_weighted(hidden, own).sum(1) / total).to(hidden.dtype)


def _weighted(hidden: Tensor, weights: Tensor) -> Tensor:
    """Multiply hidden states (..., D) by weights (...); zero-weight NaNs are dropped.

    Finite states of weight 0 stay in the product, since the gradient of their weight depends on them.
    """
    dropped = (weights == 0) & ~hidden.isfinite().all(-1)
    return hidden.masked_fill(dropped[..., None], 0) * weights[..., None]


def _checked_token_mask(hidden: Any, attention_mask: Any) -> Tensor:
    tokens = read_token_mask(attention_mask, WHERE)
    fits = isinstance(hidden, Tensor) and hidden.ndim == 3 and hidden.is_floating_point()
    if not fits or tokens.shape != hidden.shape[:2]:
        raise ArgumentError(
            f"hidden is {described(hidden)}, attention_mask {tuple(tokens.shape)}",
            where=WHERE,
            fix="give floating-point (B, L, D) and (B, L)",
        )
    tokens = tokens.to(hidden.device)
    empty = (~tokens.any(1)).nonzero()
    if len(empty):
        raise ArgumentError(f"item {int(empty[0])} has no token", where=WHERE, fix="leave it out of the batch")
    return tokens


def _check_weights(weights: Any, tokens: Tensor, how: Pool) -> None:
    where = "pool(weights=)"
    if how is not Pool.MEAN:
        raise ArgumentError(f"how is {how.value!r}, which uses no weights", where=where, fix='give how="mean"')
    if (
        not isinstance(weights, Tensor)
        or weights.shape != tokens.shape
        or not weights.is_floating_point()
        or weights.is_meta
    ):
        raise ArgumentError(
            f"weights are {described(weights)}, attention_mask {tuple(tokens.shape)}",
            where=where,
            fix="give floating-point (B, L)",
        )
    wrong = tokens & ~(weights.isfinite() & (weights >= 0)).to(tokens.device)
    if bool(wrong.any()):
        at = tuple(int(i) for i in wrong.nonzero()[0])
        raise ArgumentError(
            f"weights[{at[0]}, {at[1]}] is {weights[at].item():g}", where=where, fix="weights are finite and 0 or more"
        )


def _check_totals(totals: Tensor, name: str) -> None:
    empty = (totals.flatten() == 0).nonzero()
    if len(empty):
        raise ArgumentError(
            f"all tokens of {name} {int(empty[0])} weigh 0", where="pool(weights=)", fix="leave it out of the batch"
        )


def pool_packed(hidden: Tensor, lengths: Tensor, how: Pool, weights: Tensor | None) -> Tensor:
    """Pool texts laid end to end.

    Args:
        hidden: (T, D). lengths: int64 (texts,), each 1 or more, of sum T. how: as in ``pool``.
        weights: weight of each token in the mean, (T,); None if all are 1.

    Returns:
        (texts, D), of hidden's dtype.
    """
    stops = lengths.cumsum(0)
    if how is not Pool.MEAN:
        return hidden[stops - lengths if how is Pool.CLS else stops - 1]
    if weights is None:
        return torch.segment_reduce(hidden, "mean", lengths=lengths)
    totals = torch.segment_reduce(weights, "sum", lengths=lengths)
    _check_totals(totals, "document")
    summed = torch.segment_reduce(_weighted(hidden, weights), "sum", lengths=lengths)
    return (summed / totals[:, None]).to(hidden.dtype)
