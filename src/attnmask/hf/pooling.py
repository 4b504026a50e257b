"""One vector per text from the hidden states of its tokens; padding never counts."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

from attnmask.errors import ArgumentError
from attnmask.hf.packed_mask import PackedMask
from attnmask.mask.arguments import one_of


class Pool(StrEnum):
    """What stands for a text."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "last"


def pool(hidden: Tensor, attention_mask: Tensor, how: str = "mean") -> Tensor:
    """Pool the hidden states of a padded batch, on whichever side it is padded.

    Args:
        hidden: (B, L, D), floating point. What stands at padding, NaN included, reaches neither result nor gradient.
        attention_mask: (B, L), 1 or True for a token; or a PackedMask, whose N documents are pooled each by itself,
            by their weights if there are any.
        how: "mean" of the tokens, "cls" for the first token, "last" for the last.

    Returns:
        (B, D), or (N, D), of hidden's dtype.

    Raises:
        ArgumentError: shapes or values that do not fit, or an item without a token.

    Source: sentence-transformers' pooling modes, without its rule that padding is on the right.

    >>> import torch
    >>> hidden = torch.tensor([[[9.0], [1.0], [2.0], [9.0]]])
    >>> mask = torch.tensor([[0, 1, 1, 0]])
    >>> [pool(hidden, mask, how).item() for how in ("mean", "cls", "last")]
    [1.5, 1.0, 2.0]
    """
    wanted = one_of(Pool, how, "how", "pool")
    if isinstance(attention_mask, PackedMask):
        ids = attention_mask.documents.ids()
        tokens = torch.from_numpy(ids >= 0).to(hidden.device)
        lengths = torch.from_numpy(attention_mask.documents.lengths).to(hidden.device)
        weights = attention_mask.weights
        return pool_packed(hidden[tokens], lengths, wanted, None if weights is None else weights[tokens])
    is_token = _is_token(hidden, attention_mask)
    if wanted is Pool.MEAN:
        # Selecting instead of multiplying: 0 * NaN is NaN.
        total = hidden.masked_fill(~is_token[..., None], 0).sum(1)
        return total / is_token.sum(1, keepdim=True)
    order = torch.arange(hidden.shape[1], device=hidden.device)
    ranked = torch.where(is_token, order + 1 if wanted is Pool.LAST else len(order) - order, 0)
    return hidden[torch.arange(len(hidden), device=hidden.device), ranked.argmax(1)]


def _is_token(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    where = "pool(hidden, attention_mask)"
    if hidden.ndim != 3 or not hidden.is_floating_point() or attention_mask.shape != hidden.shape[:2]:
        raise ArgumentError(
            f"hidden is {tuple(hidden.shape)} {hidden.dtype}, attention_mask {tuple(attention_mask.shape)}",
            where=where,
            fix="give floating-point (B, L, D) and (B, L)",
        )
    is_token = attention_mask == 1
    if not bool((is_token | (attention_mask == 0)).all()):
        raise ArgumentError("attention_mask holds values other than 0 and 1", where=where, fix="1 is a token")
    empty = (~is_token.any(1)).nonzero()
    if len(empty):
        raise ArgumentError(f"item {int(empty[0])} has no token", where=where, fix="leave it out of the batch")
    return is_token.to(hidden.device)


def pool_packed(hidden: Tensor, lengths: Tensor, how: Pool, weights: Tensor | None) -> Tensor:
    """The same for texts laid end to end, where tokens may weigh differently in the mean.

    Args:
        hidden: (T, D). lengths: int64 (texts,), 1 or more, of sum T. how: as above. weights: (T,), None for all 1.

    Returns:
        (texts, D).
    """
    stops = lengths.cumsum(0)
    if how is not Pool.MEAN:
        return hidden[stops - lengths if how is Pool.CLS else stops - 1]
    if weights is None:
        return torch.segment_reduce(hidden, "mean", lengths=lengths)
    total = torch.segment_reduce(hidden * weights[:, None], "sum", lengths=lengths)
    return total / torch.segment_reduce(weights, "sum", lengths=lengths)[:, None]
