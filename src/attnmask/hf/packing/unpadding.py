"""Out of a padded batch and back: the tokens alone, end to end, for layers of people's own."""

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
    """Where the T tokens of a padded batch (B, L) stood.

    Attributes:
        shape: (B, L). at: int64 (T,), their places in the flattened batch.
        lengths: int64 (texts,), tokens of each text; 0 for one without.
        position_ids: int64 (T,), how many tokens of its text stand before each.
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
        """Each text attends to itself, on T queries and T keys.

        For more, such as causality, compile ``documents(lengths=places.lengths) & causal()``.
        """
        return compile(documents(lengths=self.lengths.cpu().numpy()), q=len(self.at))


@public
def unpad(x: Tensor, attention_mask: Any) -> tuple[Tensor, TokenPlaces]:
    """Take the tokens out of a padded batch.

    Args:
        x: (B, L, ...), of any dtype and any axes after the first two. Gradients flow, 0 to padding; what stands
            there, NaN included, stays there.
        attention_mask: (B, L), 1 or True for a token, padded on either side and with holes; or a PackedMask, whose
            documents are then the texts.

    Returns:
        The rows (T, ...) of the T tokens, text after text, and their places: ``repad`` takes both, and ``.plan`` is
        for ``attnmask.attention`` on (1, H, T, D).

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
    """Put tokens back where they stood, and 0 at padding.

    Args:
        rows: (T, ...), of any dtype and any axes after the first. Gradients flow.
        places: what ``unpad`` returned.

    Returns:
        (B, L, ...).

    Raises:
        ArgumentError: other rows than there are tokens.

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
