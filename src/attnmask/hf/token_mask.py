"""An attention mask on two axes, read without a guess: which positions are tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.hf.packed_mask import PackedMask


def tokens_of(attention_mask: Tensor, where: str) -> Tensor:
    """Which positions are tokens, bool (B, L).

    Args:
        attention_mask: (B, L), 1 or True for a token, of any dtype; or a PackedMask. where: who asks, for errors.

    Raises:
        ArgumentError: other axes, or values other than 0 and 1.
        AmbiguousError: floats of 0 alone.
    """
    if isinstance(attention_mask, PackedMask):
        return torch.from_numpy(attention_mask.documents.ids() >= 0).to(attention_mask.device)
    if not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2:
        got = tuple(attention_mask.shape) if isinstance(attention_mask, Tensor) else type(attention_mask).__name__
        raise ArgumentError(f"attention_mask is {got}", where=where, fix="give a tensor (B, L), 1 for a token")
    if attention_mask.dtype == torch.bool:
        return attention_mask
    tokens = attention_mask == 1
    neither = ~(tokens | (attention_mask == 0))
    if bool(neither.any()):
        at = tuple(int(i) for i in neither.nonzero()[0])
        raise ArgumentError(
            f"attention_mask[{at[0]}, {at[1]}] is {attention_mask[at].item():g}, neither 1 (a token) nor 0 (padding)",
            where=where,
            fix="of a mask added to the scores give mask == 0; weights of tokens are for hf.weighted and hf.pool",
        )
    if attention_mask.is_floating_point() and attention_mask.numel() and not bool(tokens.any()):
        raise AmbiguousError(
            f"attention_mask {tuple(attention_mask.shape)} holds 0.0 alone: no token, or nothing masked if it is to be "
            "added to the scores",
            where=where,
            fix="give bools or integers, 1 for a token",
        )
    return tokens
