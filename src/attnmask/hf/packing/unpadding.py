"""Remove the padding of a batch, and restore it, for use in custom layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from attnmask.calls import public
from attnmask.compiler.plan import Plan, compile
from attnmask.errors import ArgumentError
from attnmask.hf.implementation.token_mask import described, read_token_mask
from attnmask.hf.packing.packed_mask import PackedMask
from attnmask.mask.arguments import instance_of
from attnmask.mask.atoms import documents


@dataclass(frozen=True)
class TokenPlaces:
    """The places of the T tokens of a padded batch (B, L).

    Attributes:
        shape: (B, L). at: int64 (T,), indices of the tokens in the flattened batch.
        lengths: int64 (texts,), number of tokens of each text, possibly 0.
        position_ids: int64 (T,), position of each token inside its text.
    """

    shape: tuple[int, int]
    at: Tensor
    lengths: Tensor

    @cached_property
    def position_ids(self) -> Tensor:
        before = self.lengths.cumsum(0) - self.lengths
        return torch.arange(len(self.at), device=self.at.device) - before.repeat_interleave(self.lengths)

    @cached_property
    def plan(self) -> Plan:
        """The plan of T queries and T keys in which each text attends to itself.

        For other masks, such as a causal one, compile ``documents(lengths=places.lengths) & causal()``.
        """
        return compile(documents(lengths=self.lengths.cpu().numpy()), q=len(self.at))


@public
def unpad(x: Tensor, attention_mask: Any) -> tuple[Tensor, TokenPlaces]:
    """Remove the padding of a batch.

    Args:
        x: (B, L, ...), of any dtype and with any axes after the first two. It is differentiable, with a gradient of 0
            at padding; values at padding, even NaN, never affect the result.
        attention_mask: (B, L), 1 or True for a token, padded on any side and with holes; or a PackedMask, whose
            documents are then the texts.

    Returns:
        The rows (T, ...) of the T tokens, text after text, and their places. ``repad`` takes both; use ``places.plan``
        with ``attnmask.attention`` on (1, H, T, D).

    Raises:
        ArgumentError: shapes or values that do not fit.

    Source: the ``unpad_input`` of flash-attention's bert_padding.

    >>> import torch
    >>> rows, places = unpad(torch.tensor([[7, 8, 0], [0, 0, 9]]), torch.tensor([[1, 1, 0], [0, 0, 1]]))
    >>> rows.tolist(), places.lengths.tolist(), places.position_ids.tolist()
    ([7, 8, 9], [2, 1], [0, 1, 0])
    >>> repad(rows, places).tolist()
    [[7, 8, 0], [0, 0, 9]]
    """
    where = "unpad(x, attention_mask)"
    tokens = read_token_mask(attention_mask, where)
    if not isinstance(x, Tensor) or x.shape[:2] != tokens.shape:
        raise ArgumentError(
            f"x is {described(x)}, attention_mask {tuple(tokens.shape)}", where=where, fix="give (B, L, ...) and (B, L)"
        )
    if isinstance(attention_mask, PackedMask):
        layout = attention_mask.documents
        at, lengths = torch.from_numpy(layout.places()), torch.from_numpy(layout.lengths)
    else:
        at, lengths = tokens.flatten().nonzero()[:, 0], tokens.sum(1)
    at = at.to(x.device)
    return x.flatten(0, 1)[at], TokenPlaces((x.shape[0], x.shape[1]), at, lengths.to(x.device))


@public
def repad(rows: Tensor, places: TokenPlaces) -> Tensor:
    """Put the tokens of ``unpad`` back to their places in the batch, with 0 at padding.

    Args:
        rows: (T, ...), of any dtype and with any axes after the first. It is differentiable.
        places: the second result of ``unpad``.

    Returns:
        (B, L, ...).

    Raises:
        ArgumentError: the number of rows is not the number of tokens.

    Source: the ``pad_input`` of flash-attention's bert_padding.
    """
    instance_of(TokenPlaces, places, "places", "repad", "give what unpad returned")
    if not isinstance(rows, Tensor) or rows.shape[:1] != places.at.shape:
        raise ArgumentError(
            f"rows is {described(rows)}, places has {len(places.at)} tokens",
            where="repad(rows, places)",
            fix="give (T, ...)",
        )
    batch = rows.new_zeros(places.shape[0] * places.shape[1], *rows.shape[1:])
    return batch.index_copy(0, places.at.to(rows.device), rows).view(*places.shape, *rows.shape[1:])
